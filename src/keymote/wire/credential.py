"""The credential that a registrar vouches with, and the chain up to a pinned key (Triad-1 1.6)."""

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final, Self

from keymote import cbor
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.cose import Sign1, Signer, Verifier, sign1
from keymote.wire.fields import Sizes, sizes_of

MT_CREDENTIAL: Final = 15
_TRIAD: Final = -70001
_CLAIMS: Final = {1, 2, 4, 6, 7, _TRIAD}
MAX_CREDENTIAL: Final = 256
"""Bytes; 233 with suite 1, 236 with suite 17."""
_REMEMBERED: Final = 1024
"""Credentials whose digest and claims are kept: each message of a session names the same few."""


class Role(IntEnum):
    """What a key may vouch for; a verifier refuses everything else."""

    DEVICE = 0
    MANAGER = 1
    COORDINATOR = 2
    GATEWAY = 3
    ROSTER_AUTHORITY = 4
    BROKER = 5
    AUTHORITY = 6
    """Not on the wire: the role of a pinned root, which has no credential of its own."""


@lru_cache(_REMEMBERED)
def digest_of(credential: bytes) -> bytes:
    """Return the SHA-256 of a credential, by which transcripts and compact PEERCRED name it."""
    return hashlib.sha256(credential).digest()


def kid_of(credential: bytes) -> bytes:
    """Return the first 8 bytes of the SHA-256 of a credential, by which messages name it (Triad-1 1.5)."""
    return digest_of(credential)[:8]


@dataclass(frozen=True, slots=True)
class Claims:
    """What a credential says, whoever signed it. E1 and E2 are None for a member that never runs protocol A."""

    iss: bytes
    sub: bytes
    exp: int
    iat: int
    serial: bytes
    suite: int
    nc_id: bytes
    E1: bytes | None
    E2: bytes | None
    sig_pk: bytes
    status_epoch: int
    role: Role

    def encode(self) -> bytes:
        """Return the CWT claim set (RFC 8392) that is signed."""
        triad = [self.suite, self.nc_id, self.E1, self.E2, self.sig_pk, self.status_epoch, int(self.role)]
        return cbor.encode(
            {1: self.iss, 2: self.sub, 4: self.exp, 6: self.iat, 7: self.serial, _TRIAD: triad},
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the claims in `data`; E_FORMAT or E_SUITE unless every field has its one form."""
        item = cbor.decode(data)
        if not isinstance(item, dict) or set(item) != _CLAIMS:
            raise PeerFault(ErrorCode.E_FORMAT, "not the claim set of a credential")
        match item[_TRIAD]:
            case [suite, bytes(nc_id), E1, E2, bytes(sig_pk), status_epoch, role] if type(suite) is int:
                sizes = sizes_of(suite)
            case _:
                raise PeerFault(ErrorCode.E_FORMAT, "not the key claim of a credential")
        iss, sub, serial, exp, iat = item[1], item[2], item[7], item[4], item[6]
        for name, value in (("iss", iss), ("sub", sub), ("serial", serial), ("nc_id", nc_id)):
            if not (type(value) is bytes and len(value) == 8):
                raise PeerFault(ErrorCode.E_FORMAT, f"{name} of a credential must be 8 bytes")
        for number in (exp, iat, status_epoch):
            if not (type(number) is int and 0 <= number < 1 << 32):
                raise PeerFault(ErrorCode.E_FORMAT, "times and epochs of a credential are unsigned integers of 32 bits")
        if (E1 is None) != (E2 is None) or not (
            _is_point(E1, sizes) and _is_point(E2, sizes) and len(sig_pk) == sizes.point
        ):
            raise PeerFault(ErrorCode.E_FORMAT, "a key of the credential has another length than its suite's")
        if type(role) is not int or not 0 <= role <= Role.BROKER:
            raise PeerFault(ErrorCode.E_FORMAT, f"role {role!r} is unknown")
        return cls(iss, sub, exp, iat, serial, suite, nc_id, E1, E2, sig_pk, status_epoch, Role(role))  # type: ignore[arg-type]  # narrowed by the loops above


def _is_point(value: object, sizes: Sizes) -> bool:
    return value is None or (type(value) is bytes and len(value) == sizes.point)


@dataclass(frozen=True, slots=True)
class SignedCredential:
    """A credential as received: its claims are a promise until `verified_by` has run."""

    raw: bytes
    claims: Claims
    envelope: Sign1

    @staticmethod
    def decode(raw: bytes) -> "SignedCredential":
        """Return the credential in `raw`; E_FORMAT or E_SUITE unless every field has its one form."""
        return _decoded(raw)

    def verified_by(self, verifier: Verifier) -> "Credential":
        """Return the credential after checking the issuer's signature; E_CRED when it is not the issuer's."""
        try:
            self.envelope.check(verifier, MT_CREDENTIAL)
        except PeerFault as fault:
            if fault.code is ErrorCode.E_FORMAT:
                raise
            raise PeerFault(ErrorCode.E_CRED, "credential is not signed by its issuer") from fault
        return Credential(self.raw, self.claims, kid_of(self.raw))


@lru_cache(_REMEMBERED)
def _decoded(raw: bytes) -> SignedCredential:
    if len(raw) > MAX_CREDENTIAL:
        raise PeerFault(ErrorCode.E_FORMAT, f"credential of {len(raw)} bytes, at most {MAX_CREDENTIAL}")
    envelope = Sign1.decode(raw, kid=False)
    return SignedCredential(raw, Claims.decode(envelope.payload), envelope)


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential whose signature was checked; `digest` is SHA256 of its bytes where transcripts need it."""

    raw: bytes
    claims: Claims
    kid: bytes

    @property
    def digest(self) -> bytes:
        return digest_of(self.raw)


def issue(signer: Signer, claims: Claims) -> Credential:
    """Sign `claims`; the issuer vouches for every field."""
    raw = sign1(signer, MT_CREDENTIAL, claims.encode()).encode()
    return Credential(raw, claims, kid_of(raw))
