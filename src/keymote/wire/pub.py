"""PUB: a protected reading on its way through brokers (Triad-1 4.4, 4.5), an untagged COSE_Encrypt0 by hand like GSEC.

`[52, [h'', {4: sess[0:4] ‖ snd, 6: Partial IV, ?12: countersignature}, ciphertext]]`. The topic is known from the carrier,
never sent, and bound by `external_aad` together with everything else that names the sender's chain.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple, Self

from keymote import cbor
from keymote.cbor import BSTR_HEADS, bstr, tstr, uint
from keymote.errors import ErrorCode, PeerFault
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
from keymote.wire.fields import TAG, Sizes
from keymote.wire.gsec import enc_structure
from keymote.wire.layout import MISMATCH, Part, octets

MT: Final = 52
MAX_PLAINTEXT: Final = 1024
"""Bytes of one reading, as in every other record."""
SENDER_SIZE: Final = 5
"""Bytes of header 4: the first 4 of sess, then snd."""
_LEAST_CIPHERTEXT: Final = 8
_MOST_CIPHERTEXT: Final = MAX_PLAINTEXT + TAG
_MOST_PARTIAL_IV: Final = 4
_SENDER: Final = 4

_MAC_OPENING: Final = b"\x83\x40\xa2\x04\x45"
_SIGNED_OPENING: Final = b"\x83\x40\xa3\x04\x45"
_take_ciphertext: Final = octets(_LEAST_CIPHERTEXT, _MOST_CIPHERTEXT)


class Published(NamedTuple):
    """A reading whose tag and countersignature nobody has checked yet; `n` is its index in the chain of `sender`."""

    sender: bytes
    n: int
    countersignature: bytes | None
    ciphertext: bytes

    def items(self) -> list[object]:
        """Return the 3-array `[protected, unprotected, ciphertext]`."""
        header: dict[int, bytes] = {_SENDER: self.sender, PARTIAL_IV: partial_iv(self.n)}
        if self.countersignature is not None:
            header[COUNTERSIGNATURE] = self.countersignature
        return [b"", header, self.ciphertext]

    def encode(self) -> bytes:
        """Return the one encoding of this object."""
        tag = self.countersignature
        return b"".join(
            (
                _MAC_OPENING if tag is None else _SIGNED_OPENING,
                self.sender,
                PARTIAL_IV_HEADER,
                bstr(partial_iv(self.n)),
                b"" if tag is None else COUNTERSIGNATURE_HEADER + tag,
                bstr(self.ciphertext),
            )
        )

    @classmethod
    def from_items(cls, item: object) -> Self:
        """Return the object made of a decoded 3-array; E_FORMAT for any other header than the profile's."""
        match item:
            case [b"", {4: bytes(sender), 6: bytes(partial), **rest}, bytes(ciphertext)] if (
                len(sender) == SENDER_SIZE
                and is_shortest(partial, _MOST_PARTIAL_IV)
                and _LEAST_CIPHERTEXT <= len(ciphertext) <= _MOST_CIPHERTEXT
            ):
                n = int.from_bytes(partial, "big")
            case _:
                raise PeerFault(ErrorCode.E_FORMAT, "not a COSE_Encrypt0 array with a sender and a shortest Partial IV")
        return cls(sender, n, countersignature_in(rest), ciphertext)


@dataclass(frozen=True, slots=True)
class InlinePublished:
    """Field type of the COSE_Encrypt0 inside a PUB."""

    octets: ClassVar[bool] = False

    def accept(self, item: object, sizes: Sizes) -> object:
        return Published.from_items(item)

    def emit(self, value: object) -> object:
        assert isinstance(value, Published)
        return value.items()

    def part(self, sizes: Sizes) -> Part:
        return _take

    def write(self, value: Published) -> bytes:
        return value.encode()


def _take(data: bytes, at: int, values: list[Any]) -> int:
    opening = data[at : at + 5]
    if opening not in (_MAC_OPENING, _SIGNED_OPENING):
        return MISMATCH
    sender, at = data[at + 5 : at + 10], at + 10
    partial, at = take_partial_iv(data, at, _MOST_PARTIAL_IV)
    if not partial:
        return MISMATCH
    countersignature = None
    if opening == _SIGNED_OPENING:
        countersignature, at = take_countersignature(data, at)
        if countersignature is None:
            return MISMATCH
    found: list[Any] = []
    end = _take_ciphertext(data, at, found)
    if end > 0:
        values.append(Published(sender, int.from_bytes(partial, "big"), countersignature, found[0]))
    return end


_OPENING: Final = b"\x82" + uint(MT)
_MAC_START: Final = _OPENING + _MAC_OPENING
_LEAST_PUB: Final = 16 + 1 + _LEAST_CIPHERTEXT - 1


def write(published: Published) -> bytes:
    """Return the PUB that carries `published`."""
    return _OPENING + published.encode()


def opening(sender: bytes) -> bytes:
    """Return how a sender's PUB without countersignature begins."""
    return b"".join((_OPENING, _MAC_OPENING, sender, b"\x06"))


def write_behind(opened: bytes, n: int, ciphertext: bytes) -> bytes:
    """Return what `write` does for a reading without countersignature; `opened` is its sender's `opening`."""
    size = (n.bit_length() + 7) // 8 or 1
    return b"".join((opened, BSTR_HEADS[size], n.to_bytes(size, "big"), BSTR_HEADS[len(ciphertext)], ciphertext))


def read(data: bytes) -> Published:
    """Return what a PUB carries, the usual one without the walk; E_FORMAT unless it has exactly its form."""
    if len(data) > _LEAST_PUB and data.startswith(_MAC_START) and 0x41 <= data[14] <= 0x40 + _MOST_PARTIAL_IV:
        at = data[14] - 0x31  # behind 15 bytes and the Partial IV
        left = len(data) - at
        start = at + (1 if left <= 24 else 2 if left <= 257 else 3)
        size = len(data) - start
        if (
            _LEAST_CIPHERTEXT <= size <= _MOST_CIPHERTEXT
            and data[at:start] == BSTR_HEADS[size]
            and (data[15] or at == 16)
        ):
            return Published(data[8:13], int.from_bytes(data[15:at], "big"), None, data[start:])
    match cbor.decode_array(data):
        case [52, item]:
            return Published.from_items(item)
    raise PeerFault(ErrorCode.E_FORMAT, "not a PUB")


# ------------------------------------------------------------------ what protects a reading besides its key

_TRIAD1_PUB: Final = b"\x84" + tstr("TRIAD1") + uint(MT)


def binding(cs: int, topic: str, sess: bytes, epoch: int, snd: int) -> bytes:
    """Return how `external_aad` begins for all readings of one chain."""
    return b"".join((_TRIAD1_PUB, uint(cs), b"\x85", cbor.encode(topic), bstr(sess), uint(epoch), uint(snd)))


def external_aad(bound: bytes, index: bytes) -> bytes:
    """Return CBOR["TRIAD1", 52, cs, [topic, sess, epoch, snd, n]]; `bound` is the chain's `binding`, `index` CBOR(n)."""
    return bound + index


def aad_openings(bound: bytes) -> Mapping[int, bytes]:
    """Return bytes of CBOR(n) -> how the AEAD's associated data begin, Enc_structure over `external_aad`; CBOR(n) ends them."""
    return {size: enc_structure(bound + bytes(size))[:-size] for size in (1, 2, 3, 5)}
