"""A finished EDHOC session: keys for applications (RFC 9528 4.2, appendix A.1 and H)."""

from dataclasses import dataclass, field, replace
from typing import Final, Self

from keymote.crypto.secret import Secret
from keymote.engine.edhoc import schedule
from keymote.engine.edhoc.credentials import Peer
from keymote.errors import CallerFault

OSCORE_SECRET: Final = 0
OSCORE_SALT: Final = 1
OSCORE_SECRET_SIZE: Final = 16
OSCORE_SALT_SIZE: Final = 8
MOST_EXPORTED: Final = 255 * 32
"""Bytes that HKDF-Expand can give."""


@dataclass(frozen=True, slots=True)
class Oscore:
    """Input of an OSCORE context (RFC 9528 A.1): 16 bytes of master secret, 8 of salt, and both ids."""

    master_secret: Secret
    master_salt: bytes
    sender_id: bytes
    recipient_id: bytes


@dataclass(frozen=True, slots=True)
class Session:
    """PRK_out and what is derived of it; equal at both ends but for `initiator` and `peer`."""

    initiator: bool
    C_I: bytes
    C_R: bytes
    peer: Peer
    TH_4: bytes
    PRK_out: Secret
    PRK_exporter: Secret = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "PRK_exporter", schedule.prk_exporter(self.PRK_out))

    def exporter(self, label: int, context: bytes, length: int) -> bytes:
        """Return EDHOC_Exporter(label, context, length), 1 to 8160 bytes; labels are registered, from 32768 on private."""
        if label < 0 or not 0 < length <= MOST_EXPORTED:
            raise CallerFault(f"cannot export {length} bytes under label {label}")
        return schedule.edhoc_kdf(self.PRK_exporter, label, context, length)

    def updated(self, context: bytes) -> Self:
        """Return the session after EDHOC_KeyUpdate(context); what was exported before does not follow from it."""
        return replace(self, PRK_out=schedule.key_update(self.PRK_out, context))

    def oscore(self) -> Oscore:
        """Return the input of an OSCORE context: the peer's connection identifier is our sender id."""
        secret = Secret(self.exporter(OSCORE_SECRET, b"", OSCORE_SECRET_SIZE))
        salt = self.exporter(OSCORE_SALT, b"", OSCORE_SALT_SIZE)
        ids = (self.C_R, self.C_I) if self.initiator else (self.C_I, self.C_R)
        return Oscore(secret, salt, *ids)
