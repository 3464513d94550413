"""How fields lie in bytes: reading and writing a message without building the items between.

A `reader` accepts exactly the one encoding of one array and returns its values, or None for every other byte string;
`Body.from_items` then says what is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from keymote.cbor import BSTR_HEADS

Take = Callable[[bytes, int, list[Any]], int]
"""`(data, position, values)`: append the field's value and return the position behind it, or MISMATCH.

May raise IndexError for data that end too soon, and return a position beyond their end.
"""
Write = Callable[[Any], bytes]

MISMATCH: Final = -1


@dataclass(frozen=True, slots=True)
class Exactly:
    """A byte string of one length; runs of these are read in one step."""

    length: int


Part = Exactly | Take


def uint(bits: int) -> Take:
    """Return the reader of an unsigned integer of at most `bits` bits in its shortest form."""
    limit = 1 << bits

    def take(data: bytes, at: int, values: list[Any]) -> int:
        first = data[at]
        if first < 24:
            values.append(first)
            return at + 1 if first < limit else MISMATCH
        if not 24 <= first <= 27:
            return MISMATCH
        size = 1 << first - 24
        value = int.from_bytes(data[at + 1 : at + 1 + size], "big")
        if value >= limit or value < (24 if size == 1 else 1 << 4 * size):
            return MISMATCH
        values.append(value)
        return at + 1 + size

    return take


def octets(least: int, most: int) -> Take:
    """Return the reader of a byte string of `least` to `most` bytes, at most 65 535."""

    def take(data: bytes, at: int, values: list[Any]) -> int:
        first = data[at]
        if 0x40 <= first < 0x58:
            length, start = first - 0x40, at + 1
        elif first == 0x58 and data[at + 1] >= 24:
            length, start = data[at + 1], at + 2
        elif first == 0x59 and data[at + 1]:
            length, start = data[at + 1] << 8 | data[at + 2], at + 3
        else:
            return MISMATCH
        if not least <= length <= most:
            return MISMATCH
        values.append(data[start : start + length])
        return start + length

    return take


Reader = Callable[[bytes], Sequence[Any] | None]
"""Returns the values of the fields; None unless the bytes are the one encoding of such an array."""


def reader(opening: bytes, parts: Sequence[Part]) -> Reader:
    """Return the reader of one array: the constant `opening` (its head and message type), then `parts` in order."""
    runs: list[tuple[bytes, list[int], Take | None]] = [(opening, [], None)]
    for part in parts:
        if isinstance(part, Exactly):
            runs[-1][1].append(part.length)
        else:
            runs[-1] = (*runs[-1][:2], part)
            runs.append((b"", [], None))
    if len(runs) == 1:
        return _whole(opening, runs[0][1])
    takes: list[Take] = []
    for constant, lengths, then in runs:
        if constant or lengths:
            takes.append(_run(constant, lengths))
        if then is not None:
            takes.append(then)

    def read(data: bytes) -> Sequence[Any] | None:
        values: list[Any] = []
        at = 0
        try:
            for take in takes:
                at = take(data, at, values)
                if at < 0:
                    return None
        except IndexError:
            return None
        return values if at == len(data) else None

    return read


def _packed(opening: bytes, lengths: Sequence[int]) -> tuple[Struct, tuple[bytes, ...]]:
    """Return how byte strings of these lengths lie, each behind its head, and the heads, the first behind `opening`."""
    heads = [BSTR_HEADS[length] for length in lengths] or [b""]
    heads[0] = opening + heads[0]
    lie = zip(heads, [*lengths, 0], strict=False)
    return Struct("".join(f"{len(head)}s{length}s" for head, length in lie)), tuple(heads)


def _whole(opening: bytes, lengths: Sequence[int]) -> Reader:
    layout, heads = _packed(opening, lengths)
    size, unpack = layout.size, layout.unpack

    def read(data: bytes) -> Sequence[Any] | None:
        if len(data) != size:
            return None
        found = unpack(data)
        return found[1::2] if found[::2] == heads else None

    return read


def _run(opening: bytes, lengths: Sequence[int]) -> Take:
    layout, heads = _packed(opening, lengths)
    size, unpack_from, last = layout.size, layout.unpack_from, 2 * len(lengths)

    def take(data: bytes, at: int, values: list[Any]) -> int:
        end = at + size
        if len(data) < end:
            return MISMATCH
        found = unpack_from(data, at)
        if found[::2] != heads:
            return MISMATCH
        values += found[1:last:2]
        return end

    return take
