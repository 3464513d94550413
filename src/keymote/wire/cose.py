"""COSE_Sign1 by hand (RFC 9052 section 4), exactly as Triad-1 1.4 binds it: one protected header per suite, nothing else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final, Protocol, Self

from keymote import cbor
from keymote.cbor import bstr, uint
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import Sizes
from keymote.wire.layout import MISMATCH, Like, Part, likewise, octets

PROTECTED: Final = {
    1: bytes.fromhex("a10132"),
    2: bytes.fromhex("a10132"),
    3: bytes.fromhex("a10132"),
    17: bytes.fromhex("a10128"),
}
"""Suite id of the signer's key -> the only accepted protected header: {1: -19} Ed25519, {1: -9} ESP256 (RFC 9864)."""

_KID: Final = 4
_KID_HEADER: Final = b"\xa1\x04\x48"
_SIGNATURE_HEAD: Final = b"\x58\x40"
_SIGNATURE_SIZE: Final = 64
_KID_AT: Final = 5
"""Where the unprotected header lies: behind `84 43 protected`."""
_ANY_PROTECTED: Final = frozenset(PROTECTED.values())
_SIGNATURE1: Final = b"\x84" + cbor.encode("Signature1")
_TRIAD1: Final = b"\x84" + cbor.encode("TRIAD1")
_take_payload: Final = octets(0, cbor.MAX_SIZE_LARGE)


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
        """Return the one encoding of this object."""
        unprotected = b"\xa0" if self.kid is None else _KID_HEADER + self.kid
        return b"\x84" + bstr(self.protected) + unprotected + bstr(self.payload) + bstr(self.signature)

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

    octets: ClassVar[bool] = False
    kid: bool

    def accept(self, item: object, sizes: Sizes) -> object:
        return Sign1.from_items(item, kid=self.kid)

    def emit(self, value: object) -> object:
        assert isinstance(value, Sign1)
        return value.items()

    def part(self, sizes: Sizes) -> Part:
        return _take_with_kid if self.kid else _take_without_kid

    def write(self, value: Sign1) -> bytes:
        return value.encode()


def _take_with_kid(data: bytes, at: int, values: list[Any]) -> int:
    if data[at + _KID_AT : at + _KID_AT + 3] != _KID_HEADER:
        return MISMATCH
    start = at + _KID_AT + 3
    return _take(data, at, data[start : start + 8], start + 8, values)


def _take_without_kid(data: bytes, at: int, values: list[Any]) -> int:
    return _take(data, at, None, at + _KID_AT + 1, values) if data[at + _KID_AT] == 0xA0 else MISMATCH


def _take(data: bytes, at: int, kid: bytes | None, rest: int, values: list[Any]) -> int:
    """Read `84 43 protected`, whose unprotected header has been read, and what lies from `rest` on."""
    protected = data[at + 2 : at + _KID_AT]
    if data[at : at + 2] != b"\x84\x43" or protected not in _ANY_PROTECTED:
        return MISMATCH
    found: list[Any] = []
    end = _take_payload(data, rest, found)
    if end < 0 or data[end : end + 2] != _SIGNATURE_HEAD:
        return MISMATCH
    values.append(Sign1(protected, kid, found[0], data[end + 2 : end + 66]))
    return end + 66


def sign1(signer: Signer, mt: int, payload: bytes, *, ctx: bytes = b"", kid: bytes | None = None) -> Sign1:
    """Sign `payload` as message type `mt` in session context `ctx`."""
    protected = PROTECTED[signer.suite_id]
    signature = signer.sign(_to_be_signed(protected, signer.suite_id, mt, ctx, payload))
    return Sign1(protected, kid, payload, signature)


def _to_be_signed(protected: bytes, suite: int, mt: int, ctx: bytes, payload: bytes) -> bytes:
    """Return Sig_structure (RFC 9052 4.4) with external_aad = CBOR["TRIAD1", mt, suite, ctx] (Triad-1 1.4)."""
    return _before_payload(protected, suite, mt, ctx) + bstr(payload)


@lru_cache(maxsize=64)
def _before_payload(protected: bytes, suite: int, mt: int, ctx: bytes) -> bytes:
    """Return all but the payload: the same for every signature in one context, such as a ring's second round."""
    external_aad = _TRIAD1 + uint(mt) + uint(suite) + bstr(ctx)
    return _SIGNATURE1 + bstr(protected) + bstr(external_aad)


# ------------------------------------------------------------------ a message that is one COSE_Sign1, read as its like was

SignedReader = Callable[[bytes], tuple[Sign1, Sequence[Any]] | None]
"""Returns a COSE_Sign1 and the fields of the array that is its payload; None unless the bytes lie as those did."""


def signed_likewise(opening: bytes, envelope: Sign1, claims: tuple[bytes, Sequence[Like]]) -> SignedReader:
    """Return the reader of messages that lie as one did: `opening`, then this envelope around an array laid as `claims`.

    Envelope and payload are read in one step where each takes a few.
    """
    protected, kid, payload = envelope.protected, envelope.kid, envelope.payload
    inner, fields = claims
    head = bstr(payload)[: -len(payload)]
    first = Like(head + inner + fields[0].head, fields[0].length, fields[0].take)
    unprotected = b"\xa0" if kid is None else _KID_HEADER
    named = () if kid is None else (Like(b"", len(kid), None),)
    lie = (*named, first, *fields[1:], Like(_SIGNATURE_HEAD, _SIGNATURE_SIZE, None))
    read = likewise(opening + b"\x84\x43" + protected + unprotected, lie)
    start = len(opening) + _KID_AT + len(unprotected) + len(kid or b"") + len(head)
    stop, names = start + len(payload), len(named)

    def read_signed(data: bytes) -> tuple[Sign1, Sequence[Any]] | None:
        values = read(data)
        if values is None:
            return None
        envelope = Sign1(protected, values[0] if names else None, data[start:stop], values[-1])
        return envelope, values[names:-1]

    return read_signed
