"""GSEC: application data under a group's key (Triad-1 3.8), an untagged COSE_Encrypt0 (RFC 9052 5.2) by hand.

`[44, [h'', {4: sender, 6: Partial IV, 10: epoch mod 2^16, ?12: countersignature}, ciphertext]]`. Which group and which
resource a record is for is known from its carrier, never sent, and bound by `external_aad`.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, NamedTuple, Self

from keymote.cbor import bstr, tstr, uint
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.cose import Signer, Verifier
from keymote.wire.encrypt0 import (
    COUNTERSIGNATURE,
    COUNTERSIGNATURE_HEADER,
    PARTIAL_IV,
    PARTIAL_IV_HEADER,
    countersignature_in,
    is_shortest,
    partial_iv,
    take_countersignature,
    take_partial_iv,
)
from keymote.wire.fields import TAG, Sizes, sizes_of
from keymote.wire.layout import MISMATCH, Part, octets
from keymote.wire.message import Message, message

MT: Final = 44
MAX_PLAINTEXT: Final = 1024
"""Bytes of one record, as in LINK and SREC."""
_LEAST_CIPHERTEXT: Final = 8
_MOST_CIPHERTEXT: Final = MAX_PLAINTEXT + TAG

_SENDER: Final = 4
_EPOCH: Final = 10
_SENDER_SIZES: Final = (1, 8)
_MOST_PARTIAL_IV: Final = 3
"""Bytes of header 6: numbers end below 2^20."""

_MAC_OPENING: Final = b"\x83\x40\xa3\x04"
_SIGNED_OPENING: Final = b"\x83\x40\xa4\x04"
_OPENINGS: Final = {_MAC_OPENING: False, _SIGNED_OPENING: True}
_SENDER_HEADS: Final = {0x41: 1, 0x48: 8}
_EPOCH_HEADER: Final = b"\x0a\x42"
_take_ciphertext: Final = octets(_LEAST_CIPHERTEXT, _MOST_CIPHERTEXT)


class Encrypt0(NamedTuple):
    """A record whose tag and countersignature nobody has checked yet.

    `sender`: its idx as 1 byte in a ring, its kid (8) in a root group. `epoch16` is the epoch mod 2^16. `countersignature`
    is 64 bytes of a signed record, None of one that only members' keys authenticate.
    """

    sender: bytes
    seq: int
    epoch16: int
    countersignature: bytes | None
    ciphertext: bytes

    def items(self) -> list[object]:
        """Return the 3-array `[protected, unprotected, ciphertext]`."""
        header: dict[int, bytes] = {
            _SENDER: self.sender,
            PARTIAL_IV: partial_iv(self.seq),
            _EPOCH: self.epoch16.to_bytes(2, "big"),
        }
        if self.countersignature is not None:
            header[COUNTERSIGNATURE] = self.countersignature
        return [b"", header, self.ciphertext]

    def encode(self) -> bytes:
        """Return the one encoding of this object."""
        tag = self.countersignature
        return b"".join(
            (
                _MAC_OPENING if tag is None else _SIGNED_OPENING,
                bstr(self.sender),
                PARTIAL_IV_HEADER,
                bstr(partial_iv(self.seq)),
                _EPOCH_HEADER,
                self.epoch16.to_bytes(2, "big"),
                b"" if tag is None else COUNTERSIGNATURE_HEADER + tag,
                bstr(self.ciphertext),
            )
        )

    @classmethod
    def from_items(cls, item: object) -> Self:
        """Return the object made of a decoded 3-array; E_FORMAT for any other header than the profile's."""
        match item:
            case [b"", dict(header), bytes(ciphertext)] if _LEAST_CIPHERTEXT <= len(ciphertext) <= _MOST_CIPHERTEXT:
                pass
            case _:
                raise PeerFault(ErrorCode.E_FORMAT, "not a COSE_Encrypt0 array with an empty protected header")
        match header:
            case {4: bytes(sender), 6: bytes(partial), 10: bytes(epoch), **rest} if (
                len(sender) in _SENDER_SIZES and is_shortest(partial, _MOST_PARTIAL_IV) and len(epoch) == 2
            ):
                pass
            case _:
                raise PeerFault(ErrorCode.E_FORMAT, "header without sender, shortest Partial IV and 2 bytes of epoch")
        return cls(sender, _number(partial), _number(epoch), countersignature_in(rest), ciphertext)


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "big")


@dataclass(frozen=True, slots=True)
class InlineEncrypt0:
    """Field type of a COSE_Encrypt0 that stands as an array inside a message."""

    octets: ClassVar[bool] = False

    def accept(self, item: object, sizes: Sizes) -> object:
        return Encrypt0.from_items(item)

    def emit(self, value: object) -> object:
        assert isinstance(value, Encrypt0)
        return value.items()

    def part(self, sizes: Sizes) -> Part:
        return _take

    def write(self, value: Encrypt0) -> bytes:
        return value.encode()


def _take(data: bytes, at: int, values: list[Any]) -> int:
    signed = _OPENINGS.get(data[at : at + 4])
    size = _SENDER_HEADS.get(data[at + 4])
    if signed is None or size is None:
        return MISMATCH
    at += 5
    sender, at = data[at : at + size], at + size
    partial, at = take_partial_iv(data, at, _MOST_PARTIAL_IV)
    if not partial:
        return MISMATCH
    if data[at : at + 2] != _EPOCH_HEADER:
        return MISMATCH
    epoch, at = data[at + 2 : at + 4], at + 4
    countersignature = None
    if signed:
        countersignature, at = take_countersignature(data, at)
        if countersignature is None:
            return MISMATCH
    found: list[Any] = []
    end = _take_ciphertext(data, at, found)
    if end > 0:
        values.append(Encrypt0(sender, _number(partial), _number(epoch), countersignature, found[0]))
    return end


@message(MT)
class Gsec(Message):
    """Member -> group: application data; carried where its group and resource are known (Triad-1 3.8)."""

    record: Annotated[Encrypt0, InlineEncrypt0()]


_OPENING: Final = b"\x82" + uint(MT)
_NO_POINTS: Final = sizes_of(1)
"""GSEC has no field whose length depends on the suite."""


def write(record: Encrypt0) -> bytes:
    """Return the GSEC that carries `record`: what `Gsec` encodes to, without the walk."""
    return _OPENING + record.encode()


def read(data: bytes) -> Encrypt0:
    """Return the record in a GSEC, without the walk that says what is wrong; E_FORMAT unless it has exactly its form."""
    found: list[Any] = []
    try:
        end = _take(data, len(_OPENING), found) if data.startswith(_OPENING) else MISMATCH
    except IndexError:
        end = MISMATCH
    if end != len(data):
        return Gsec.decode(data, _NO_POINTS).record
    return found[0]  # type: ignore[no-any-return]  # _take appends an Encrypt0


# ------------------------------------------------------------------ what protects a record besides its key

_TRIAD1_GSEC: Final = b"\x84" + tstr("TRIAD1") + uint(MT)
_ENCRYPT0: Final = b"\x83" + tstr("Encrypt0") + bstr(b"")
_COUNTERSIGNATURE0: Final = b"\x84" + tstr("CounterSignature0") + bstr(b"")
_SIGNED: Final = {False: b"\xf4", True: b"\xf5"}


def binding(suite: int, gid: bytes, epoch: int, kid: bytes) -> bytes:
    """Return how `external_aad` begins for all records of one sender in one epoch."""
    return b"".join((_TRIAD1_GSEC, uint(suite), b"\x86", bstr(gid), uint(epoch), bstr(kid)))


def external_aad(bound: bytes, seq: int, resource: str, *, signed: bool) -> bytes:
    """Return CBOR["TRIAD1", 44, suite, [gid, epoch, kid, seq, resource, signed]]; `bound` is the sender's `binding`."""
    return b"".join((bound, uint(seq), tstr(resource), _SIGNED[signed]))


def enc_structure(aad: bytes) -> bytes:
    """Return the associated data of the AEAD, the Enc_structure of RFC 9052 5.3 over `external_aad`."""
    return _ENCRYPT0 + bstr(aad)


def countersign(signer: Signer, aad: bytes, ciphertext: bytes) -> bytes:
    """Return header 12, an abbreviated countersignature (RFC 9338 3.2) over `external_aad` and the ciphertext."""
    return signer.sign(_to_be_countersigned(aad, ciphertext))


def check_countersignature(verifier: Verifier, aad: bytes, ciphertext: bytes, countersignature: bytes) -> None:
    """Return if header 12 is this key's over this record; E_AUTH else."""
    verifier.verify(_to_be_countersigned(aad, ciphertext), countersignature)


def _to_be_countersigned(aad: bytes, ciphertext: bytes) -> bytes:
    """Return Countersign_structure (RFC 9338 3.3) of a COSE_Encrypt0: ["CounterSignature0", h'', external_aad, ciphertext].

    A COSE_Encrypt0 has two byte strings, so that other_fields is absent, and with it the "V2" of the context
    (docs/decisions/0150).
    """
    return _COUNTERSIGNATURE0 + bstr(aad) + bstr(ciphertext)
