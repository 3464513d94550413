"""COSE_Sign1 by hand (RFC 9052 section 4), exactly as Triad-1 1.4 binds it: one protected header per suite, nothing else."""

from dataclasses import dataclass
from typing import Final, Protocol, Self

from keymote import cbor
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import Sizes

PROTECTED: Final = {
    1: bytes.fromhex("a10132"),
    2: bytes.fromhex("a10132"),
    3: bytes.fromhex("a10132"),
    17: bytes.fromhex("a10128"),
}
"""Suite id of the signer's key -> the only accepted protected header: {1: -19} Ed25519, {1: -9} ESP256 (RFC 9864)."""

_KID: Final = 4
_ANY_PROTECTED: Final = frozenset(PROTECTED.values())


class Signer(Protocol):
    """A private signature key; `crypto` implements it."""

    @property
    def suite_id(self) -> int: ...

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`."""
        ...


class Verifier(Protocol):
    """A validated public signature key; `crypto` implements it."""

    @property
    def suite_id(self) -> int: ...

    def verify(self, message: bytes, signature: bytes) -> None:
        """Raise PeerFault E_AUTH unless `signature` is this key's over `message`."""
        ...


@dataclass(frozen=True, slots=True)
class Sign1:
    """An untagged COSE_Sign1 whose signature nobody has checked yet."""

    protected: bytes
    kid: bytes | None
    payload: bytes
    signature: bytes

    def items(self) -> list[object]:
        """Return the 4-array `[protected, unprotected, payload, signature]`."""
        return [self.protected, {} if self.kid is None else {_KID: self.kid}, self.payload, self.signature]

    def encode(self) -> bytes:
        return cbor.encode(self.items())

    @classmethod
    def decode(cls, data: bytes, *, kid: bool) -> Self:
        """Return the object in `data`; `kid` tells whether the header must or must not name the signer's credential."""
        return cls.from_items(cbor.decode(data), kid=kid)

    @classmethod
    def from_items(cls, item: object, *, kid: bool) -> Self:
        """Return the object made of a decoded 4-array; E_FORMAT for any other header than the profile's (I-10)."""
        match item:
            case [bytes(protected), dict(unprotected), bytes(payload), bytes(signature)]:
                pass
            case _:
                raise PeerFault(ErrorCode.E_FORMAT, "not a COSE_Sign1 array")
        if protected not in _ANY_PROTECTED:
            raise PeerFault(ErrorCode.E_FORMAT, "protected header is not exactly the algorithm of a suite")
        if len(signature) != 64:
            raise PeerFault(ErrorCode.E_FORMAT, f"signature of {len(signature)} bytes, 64 are due")
        signer = unprotected.get(_KID)
        if set(unprotected) != ({_KID} if kid else set()) or (kid and not (type(signer) is bytes and len(signer) == 8)):
            raise PeerFault(
                ErrorCode.E_FORMAT, "unprotected header must hold a kid of 8 bytes" if kid else "no kid is due"
            )
        return cls(protected, signer, payload, signature)

    def check(self, verifier: Verifier, mt: int, ctx: bytes = b"") -> bytes:
        """Return the payload after verifying the signature; E_FORMAT for the algorithm of another suite, E_AUTH else."""
        if self.protected != PROTECTED[verifier.suite_id]:
            raise PeerFault(ErrorCode.E_FORMAT, "signature algorithm is not that of the signer's suite")
        verifier.verify(_to_be_signed(self.protected, verifier.suite_id, mt, ctx, self.payload), self.signature)
        return self.payload


@dataclass(frozen=True, slots=True)
class InlineSign1:
    """Field type of a COSE_Sign1 that stands as an array inside a message."""

    kid: bool

    def accept(self, item: object, sizes: Sizes) -> object:
        return Sign1.from_items(item, kid=self.kid)

    def emit(self, value: object) -> object:
        assert isinstance(value, Sign1)
        return value.items()


def sign1(signer: Signer, mt: int, payload: bytes, *, ctx: bytes = b"", kid: bytes | None = None) -> Sign1:
    """Sign `payload` as message type `mt` in session context `ctx`."""
    protected = PROTECTED[signer.suite_id]
    signature = signer.sign(_to_be_signed(protected, signer.suite_id, mt, ctx, payload))
    return Sign1(protected, kid, payload, signature)


def _to_be_signed(protected: bytes, suite: int, mt: int, ctx: bytes, payload: bytes) -> bytes:
    """Return Sig_structure (RFC 9052 4.4) with external_aad = CBOR["TRIAD1", mt, suite, ctx] (Triad-1 1.4)."""
    external_aad = cbor.encode(["TRIAD1", mt, suite, ctx])
    return cbor.encode(["Signature1", protected, external_aad, payload])
