"""How fields lie in bytes: reading and writing a message without building the items between.

A `reader` accepts exactly the one encoding of one array and returns its values, or None for every other byte string;
`Body.from_items` then says what is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from keymote.cbor import BSTR_HEADS, UINTS

Take = Callable[[bytes, int, list[Any]], int]
"""`(data, position, values)`: append the field's value and return the position behind it, or MISMATCH.

May raise IndexError for data that end too soon, and return a position beyond their end.
"""
Write = Callable[[Any], bytes]

MISMATCH: Final = -1
_SMALL: Final = {encoded: value for value, encoded in enumerate(UINTS)}
"""Encoding of a number below 256 -> the number."""


@dataclass(frozen=True, slots=True)
class Exactly:
    """A byte string of one length; runs of these are read in one step."""

    length: int


@dataclass(frozen=True, slots=True)
class Between:
    """A byte string of `least` to `most` bytes, at most 65 535."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Unsigned:
    """An unsigned integer of at most `bits` bits, 8 to 64."""

    bits: int


Part = Exactly | Between | Unsigned | Take


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


def text(most: int) -> Take:
    """Return the reader of a text string of at most `most` bytes in UTF-8, below 256."""

    def take(data: bytes, at: int, values: list[Any]) -> int:
        first = data[at]
        if 0x60 <= first < 0x78:
            length, start = first - 0x60, at + 1
        elif first == 0x78 and data[at + 1] >= 24:
            length, start = data[at + 1], at + 2
        else:
            return MISMATCH
        raw = data[start : start + length]
        if length > most or len(raw) < length:
            return MISMATCH
        try:
            values.append(raw.decode())
        except UnicodeDecodeError:
            return MISMATCH
        return start + length

    return take


def take_of(part: Part) -> Take:
    """Return the reader of one field."""
    match part:
        case Exactly(length):
            return _run(b"", [length])
        case Between(least, most):
            return octets(least, most)
        case Unsigned(bits):
            return uint(bits)
        case _:
            return part


def listed(take: Take, least: int, most: int) -> Take:
    """Return the reader of an array of `least` to `most` fields of one form, whose value is a tuple; `most` below 256."""

    def take_list(data: bytes, at: int, values: list[Any]) -> int:
        count, at = data[at] - 0x80, at + 1
        if count == 24:
            count, at = data[at], at + 1
            if count < 24:
                return MISMATCH
        elif not 0 <= count < 24:
            return MISMATCH
        if not least <= count <= most:
            return MISMATCH
        entries: list[Any] = []
        while count and at > 0:
            at = take(data, at, entries)
            count -= 1
        values.append(tuple(entries))
        return at

    return take_list


Reader = Callable[[bytes], Sequence[Any] | None]
"""Returns the values of the fields; None unless the bytes are the one encoding of such an array."""


def reader(opening: bytes, parts: Sequence[Part]) -> Reader:
    """Return the reader of one array: the constant `opening` (its head and message type), then `parts` in order."""
    runs: list[tuple[bytes, list[int], Take | None]] = [(opening, [], None)]
    for part in parts:
        match part:
            case Exactly(length):
                runs[-1][1].append(length)
                continue
            case Between(least, most):
                take = octets(least, most)
            case Unsigned(bits):
                take = uint(bits)
            case _:
                take = part
        runs[-1] = (*runs[-1][:2], take)
        runs.append((b"", [], None))
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


def likewise(opening: bytes, parts: Sequence[Part], values: Sequence[Any]) -> Reader | None:
    """Return the reader of the arrays whose fields are as long as those of `values`, which `reader` has accepted.

    It takes one step where `reader` takes one for each field. None where such a reader could accept anything else.
    """
    heads: list[bytes] = []
    lengths: list[int] = []
    numbers: list[tuple[int, int]] = []
    for place, (part, value) in enumerate(zip(parts, values, strict=True)):
        if isinstance(part, (Exactly, Between)):
            heads.append(BSTR_HEADS[len(value)])
            lengths.append(len(value))
        elif isinstance(part, Unsigned) and value < 256:
            heads.append(b"")
            lengths.append(len(UINTS[value]))
            numbers.append((place, 1 << part.bits))
        else:
            return None
    layout, due = _packed(opening, heads, lengths)
    size, unpack = layout.size, layout.unpack

    def read(data: bytes) -> Sequence[Any] | None:
        if len(data) != size:
            return None
        found = unpack(data)
        if found[::2] != due:
            return None
        if not numbers:
            return found[1::2]
        values = list(found[1::2])
        for place, limit in numbers:
            value = _SMALL.get(values[place], limit)
            if value >= limit:
                return None
            values[place] = value
        return values

    return read


def _packed(opening: bytes, heads: Sequence[bytes], lengths: Sequence[int]) -> tuple[Struct, tuple[bytes, ...]]:
    """Return how strings of these lengths lie, each behind its head, and the heads, the first behind `opening`."""
    due = [*heads] or [b""]
    due[0] = opening + due[0]
    lie = zip(due, [*lengths, 0], strict=False)
    return Struct("".join(f"{len(head)}s{length}s" for head, length in lie)), tuple(due)


def _run(opening: bytes, lengths: Sequence[int]) -> Take:
    layout, heads = _packed(opening, [BSTR_HEADS[length] for length in lengths], lengths)
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
