"""What applications outside Keymote get from a session's key: an OSCORE context and a pre-shared key (Triad-1 2.8)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from keymote.crypto.secret import Secret

if TYPE_CHECKING:
    from keymote.engine.faces import SessionKeys  # a device's configuration imports this file, the protocols come later

OSCORE_ALGORITHM: Final = "AES-CCM-16-64-128"
"""The AEAD of our OSCORE contexts, the one that RFC 8613 makes mandatory; the hash is SHA-256."""
INITIATOR_ID: Final = b"\x00"
RESPONDER_ID: Final = b"\x01"
PSK_SIZE: Final = 16


class PskForm(StrEnum):
    """`text32`: 32 hex characters, which command lines and psk files can carry; `binary16`: the 16 bytes they stand for."""

    TEXT32 = "text32"
    BINARY16 = "binary16"


@dataclass(frozen=True, slots=True)
class OscoreParameters:
    """The inputs of an OSCORE context (RFC 8613 3.2): `secret` 16 bytes, `salt` 8, ids 1; the ID Context is the psid."""

    psid: bytes
    secret: Secret
    salt: bytes
    sender_id: bytes
    recipient_id: bytes


def oscore_parameters(psid: bytes, keys: "SessionKeys", *, initiator: bool) -> OscoreParameters:
    """Return the context of one side of a session."""
    sender, recipient = (INITIATOR_ID, RESPONDER_ID) if initiator else (RESPONDER_ID, INITIATOR_ID)
    return OscoreParameters(psid, keys.oscore_ms, keys.oscore_salt, sender, recipient)


def psk_identity(psid: bytes, keys: "SessionKeys") -> str:
    """Return hex(psid)||hex(key_id), 32 ASCII characters (Triad-1 8)."""
    return psid.hex() + keys.key_id.hex()


def psk(keys: "SessionKeys", form: PskForm = PskForm.TEXT32) -> Secret:
    """Return dtls_psk[0:16] in one of its two forms (Triad-1 8): 32 or 16 bytes."""
    raw = keys.dtls_psk.expose()[:PSK_SIZE]
    match form:
        case PskForm.TEXT32:
            return Secret(raw.hex().encode("ascii"))
        case PskForm.BINARY16:
            return Secret(raw)
