"""How fields lie in bytes: reading and writing a message without building the items between.

A `reader` accepts exactly the one encoding of one array and returns its values, or None for every other byte string;
`Body.from_items` then says what is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final, NamedTuple

from keymote.cbor import BSTR_HEADS

Take = Callable[[bytes, int, list[Any]], int]
"""`(data, position, values)`: append the field's value and return the position behind it, or MISMATCH.

May raise IndexError for data that end too soon, and return a position beyond their end.
"""
Write = Callable[[Any], bytes]

MISMATCH: Final = -1
_NULL: Final = 0xF6


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


@dataclass(frozen=True, slots=True)
class Nullable:
    """A field of another form, or null, which is None."""

    inner: "Part"


Part = Exactly | Between | Unsigned | Nullable | Take


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
        case Nullable(inner):
            return _or_null(take_of(inner))
        case _:
            return part


def _or_null(inner: Take) -> Take:
    def take(data: bytes, at: int, values: list[Any]) -> int:
        if data[at] == _NULL:
            values.append(None)
            return at + 1
        return inner(data, at, values)

    return take


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
        if isinstance(part, Exactly):
            runs[-1][1].append(part.length)
            continue
        runs[-1] = (*runs[-1][:2], take_of(part))
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


class Like(NamedTuple):
    """How one field of a message that was read lay: a constant `head`, then `length` bytes that are the value or, with a
    `take`, its whole encoding.
    """

    head: bytes
    length: int
    take: Take | None


def like(part: Part, value: Any, write: Write) -> Like:
    """Return how the field lies whose value `part` has read; `write` is what writes it."""
    match part:
        case Exactly() | Between():
            return Like(BSTR_HEADS[len(value)], len(value), None)
        case Nullable(inner) if value is not None:
            return like(inner, value, write)
        case _:
            return Like(b"", len(write(value)), take_of(part))


def likewise(opening: bytes, fields: Sequence[Like]) -> Reader:
    """Return the reader of the arrays whose fields lie as these, which `reader` has accepted.

    It takes one step where `reader` takes one for each field.
    """
    layout, due = _packed(opening, [field.head for field in fields], [field.length for field in fields])
    size, unpack = layout.size, layout.unpack
    taken = [(place, _Remembered(field.take, field.length)) for place, field in enumerate(fields) if field.take]

    def read(data: bytes) -> Sequence[Any] | None:
        if len(data) != size:
            return None
        found = unpack(data)
        if found[::2] != due:
            return None
        if not taken:
            return found[1::2]
        values = list(found[1::2])
        for place, known in taken:
            value = values[place] = known[values[place]]
            if value is _NONE:
                return None
        return values

    return read


_NONE: Final = object()
_MOST_REMEMBERED: Final = 64
_LONGEST_REMEMBERED: Final = 9
"""Bytes of the longest integer: indices, numbers of epochs and timestamps come again and again."""


class _Remembered(dict[bytes, Any]):
    """Whole encodings of `length` bytes -> their values by `take`, `_NONE` for any other; short ones are read once."""

    def __init__(self, take: Take, length: int) -> None:
        self._take, self._length = take, length

    def __missing__(self, encoding: bytes) -> Any:
        values: list[Any] = []
        try:
            end = self._take(encoding, 0, values)
        except IndexError:
            return _NONE
        if end != self._length:
            return _NONE
        if self._length <= _LONGEST_REMEMBERED:
            if len(self) >= _MOST_REMEMBERED:
                self.clear()
            self[encoding] = values[0]
        return values[0]


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
