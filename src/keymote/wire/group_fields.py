"""Field types that only the group's messages have: values that may be null, rosters, reasons, sets of positions, bundles."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Final, NamedTuple

from keymote import cbor
from keymote.wire import layout
from keymote.wire.fields import FieldType, Sizes, refuse
from keymote.wire.layout import MISMATCH, Nullable, Part, Take

_ID_SIZE: Final = 8
MOST_CAUSES: Final = 4


class Entry(NamedTuple):
    """A member as a roster names it: kid of its credential (8 bytes) and its signature key."""

    kid: bytes
    sig_pk: bytes


class Cause(NamedTuple):
    """Why a run is started: 0 initial, 1 periodic, 2 join, 3 leave, 4 compromise; `psk_id` (8 bytes) names a PQ hedge."""

    reason: int
    psk_id: bytes = b""


@dataclass(frozen=True, slots=True)
class OrNull:
    """A field of another type, or null, which is None."""

    octets: ClassVar[bool] = False
    inner: FieldType

    def accept(self, item: object, sizes: Sizes) -> object:
        return None if item is None else self.inner.accept(item, sizes)

    def emit(self, value: object) -> object:
        return None if value is None else self.inner.emit(value)

    def part(self, sizes: Sizes) -> Part:
        return Nullable(self.inner.part(sizes))

    def write(self, value: Any) -> bytes:
        return b"\xf6" if value is None else self.inner.write(value)


@dataclass(frozen=True, slots=True)
class Reason:
    """`Cause`: a number from 0 to 4, or `[number, psk_id]`."""

    octets: ClassVar[bool] = False

    def accept(self, item: object, sizes: Sizes) -> object:
        match item:
            case int(reason) if _is_cause(reason):
                return Cause(reason)
            case [int(reason), bytes(psk_id)] if _is_cause(reason) and len(psk_id) == _ID_SIZE:
                return Cause(reason, psk_id)
        raise refuse("a reason from 0 to 4, alone or with the 8 bytes of a psk_id", item)

    def emit(self, value: object) -> object:
        assert isinstance(value, Cause)
        return [value.reason, value.psk_id] if value.psk_id else value.reason

    def part(self, sizes: Sizes) -> Part:
        return _take_cause

    def write(self, value: Cause) -> bytes:
        return cbor.encode(self.emit(value))


def _is_cause(reason: int) -> bool:
    return type(reason) is int and 0 <= reason <= MOST_CAUSES


def _take_cause(data: bytes, at: int, values: list[Any]) -> int:
    if data[at] <= MOST_CAUSES:
        values.append(Cause(data[at]))
        return at + 1
    if data[at] != 0x82 or data[at + 1] > MOST_CAUSES or data[at + 2] != 0x48:
        return MISMATCH
    values.append(Cause(data[at + 1], data[at + 3 : at + 11]))
    return at + 11


@dataclass(frozen=True, slots=True)
class RosterEntries:
    """A list of `least` to `most` entries `[kid, sig_pk]` that ascend by kid."""

    octets: ClassVar[bool] = False
    least: int
    most: int

    def accept(self, item: object, sizes: Sizes) -> object:
        if isinstance(item, list) and self.least <= len(item) <= self.most:
            entries = tuple(map(_entry, item))
            if all(entry is not None and len(entry.sig_pk) == sizes.point for entry in entries) and ascend(
                [entry.kid for entry in entries if entry is not None]
            ):
                return entries
        raise refuse(f"{self.least} to {self.most} entries [kid, sig_pk] in the order of their kids", item)

    def emit(self, value: object) -> object:
        assert isinstance(value, tuple)
        return [list(entry) for entry in value]

    def part(self, sizes: Sizes) -> Part:
        take = layout.listed(_take_entry(sizes.point), self.least, self.most)

        def take_ascending(data: bytes, at: int, values: list[Any]) -> int:
            end = take(data, at, values)
            return end if end > 0 and ascend([entry.kid for entry in values[-1]]) else MISMATCH

        return take_ascending

    def write(self, value: tuple[Entry, ...]) -> bytes:
        return cbor.encode([list(entry) for entry in value])


def _entry(item: object) -> Entry | None:
    match item:
        case [bytes(kid), bytes(sig_pk)] if len(kid) == _ID_SIZE:
            return Entry(kid, sig_pk)
    return None


def _take_entry(point: int) -> Take:
    head = b"\x58" + bytes((point,))
    size = 2 + _ID_SIZE + 2 + point

    def take(data: bytes, at: int, values: list[Any]) -> int:
        key = at + 2 + _ID_SIZE
        if data[at : at + 2] != b"\x82\x48" or data[key : key + 2] != head:
            return MISMATCH
        values.append(Entry(data[at + 2 : key], data[key + 2 : at + size]))
        return at + size

    return take


def ascend(kids: list[bytes]) -> bool:
    """Return whether each stands before the next, none twice."""
    return all(one < other for one, other in pairwise(kids))


@dataclass(frozen=True, slots=True)
class Kids:
    """A list of `least` to `most` kids in ascending order."""

    octets: ClassVar[bool] = False
    least: int
    most: int

    def accept(self, item: object, sizes: Sizes) -> object:
        if (
            isinstance(item, list)
            and self.least <= len(item) <= self.most
            and all(type(kid) is bytes and len(kid) == _ID_SIZE for kid in item)
            and ascend(item)
        ):
            return tuple(item)
        raise refuse(f"{self.least} to {self.most} kids in their order", item)

    def emit(self, value: object) -> object:
        assert isinstance(value, tuple)
        return list(value)

    def part(self, sizes: Sizes) -> Part:
        take = layout.listed(layout.octets(_ID_SIZE, _ID_SIZE), self.least, self.most)

        def take_ascending(data: bytes, at: int, values: list[Any]) -> int:
            end = take(data, at, values)
            return end if end > 0 and ascend(list(values[-1])) else MISMATCH

        return take_ascending

    def write(self, value: tuple[bytes, ...]) -> bytes:
        return cbor.encode(list(value))


@dataclass(frozen=True, slots=True)
class Which:
    """One position from 0 to `most`, or a set of positions as 4 bytes."""

    octets: ClassVar[bool] = False
    most: int

    def accept(self, item: object, sizes: Sizes) -> object:
        if (type(item) is int and 0 <= item <= self.most) or (type(item) is bytes and len(item) == 4):
            return item
        raise refuse(f"a position from 0 to {self.most}, or a set of them in 4 bytes", item)

    def emit(self, value: object) -> object:
        return value

    def part(self, sizes: Sizes) -> Part:
        number = layout.uint(8)

        def take(data: bytes, at: int, values: list[Any]) -> int:
            if data[at] == 0x44:
                values.append(data[at + 1 : at + 5])
                return at + 5
            end = number(data, at, values)
            return end if end < 0 or values[-1] <= self.most else MISMATCH

        return take

    def write(self, value: int | bytes) -> bytes:
        return cbor.uint(value) if isinstance(value, int) else cbor.bstr(value)


@dataclass(frozen=True, slots=True)
class Datagrams:
    """A list of `least` to `most` messages, each a byte string of 1 to `longest` bytes."""

    octets: ClassVar[bool] = False
    least: int
    most: int
    longest: int

    def accept(self, item: object, sizes: Sizes) -> object:
        if (
            isinstance(item, list)
            and self.least <= len(item) <= self.most
            and all(type(data) is bytes and 0 < len(data) <= self.longest for data in item)
        ):
            return tuple(item)
        raise refuse(f"{self.least} to {self.most} messages of at most {self.longest} bytes", item)

    def emit(self, value: object) -> object:
        assert isinstance(value, tuple)
        return list(value)

    def part(self, sizes: Sizes) -> Part:
        return layout.listed(layout.octets(1, self.longest), self.least, self.most)

    def write(self, value: tuple[bytes, ...]) -> bytes:
        return cbor.encode(list(value))
