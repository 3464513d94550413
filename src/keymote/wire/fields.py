"""Field types of messages: each knows its one accepted form and, where it depends on the suite, its length."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

from keymote import cbor
from keymote.errors import ErrorCode, PeerFault
from keymote.wire import layout
from keymote.wire.layout import MISMATCH, Between, Exactly, Part, Unsigned


@dataclass(frozen=True, slots=True)
class Sizes:
    """Lengths in bytes that a suite fixes (Triad-1 1.1); `point` is also the length of its signature keys."""

    point: int


SIZES: Final = {1: Sizes(32), 2: Sizes(32), 3: Sizes(32), 17: Sizes(33)}
"""Suite id -> lengths."""

TAG: Final = 16
"""Bytes that a key-establishment AEAD adds."""


def sizes_of(suite: int) -> Sizes:
    """Return the lengths of `suite`; E_SUITE when it is unknown."""
    try:
        return SIZES[suite]
    except KeyError:
        raise PeerFault(ErrorCode.E_SUITE, f"suite {suite} is unknown") from None


class FieldType(Protocol):
    """One accepted form of a field, as a decoded CBOR item and as bytes.

    `accept` turns an item into the field's value, refusing every other form with E_FORMAT; `emit` is its inverse. `part`
    says how the same field lies in bytes, `write` writes it. `octets`: its values are byte strings, its form theirs.
    """

    octets: ClassVar[bool]

    def accept(self, item: object, sizes: Sizes) -> object: ...

    def emit(self, value: object) -> object: ...

    def part(self, sizes: Sizes) -> Part: ...

    def write(self, value: Any) -> bytes: ...


def refuse(expected: str, item: object) -> PeerFault:
    found = f"{len(item)} bytes" if isinstance(item, bytes) else type(item).__name__
    return PeerFault(ErrorCode.E_FORMAT, f"expected {expected}, found {found}")


@dataclass(frozen=True, slots=True)
class Uint:
    """An unsigned integer of at most `bits` bits."""

    octets: ClassVar[bool] = False
    bits: int = 32

    def accept(self, item: object, sizes: Sizes) -> object:
        if type(item) is int and 0 <= item < 1 << self.bits:
            return item
        raise refuse(f"an unsigned integer of {self.bits} bits", item)

    def emit(self, value: object) -> object:
        return value

    def part(self, sizes: Sizes) -> Part:
        return Unsigned(self.bits)

    def write(self, value: int) -> bytes:
        return cbor.uint(value)


@dataclass(frozen=True, slots=True)
class Octets:
    """A byte string of `least` to `most` bytes (`most` 0: exactly `least`)."""

    octets: ClassVar[bool] = True
    least: int
    most: int = 0

    def accept(self, item: object, sizes: Sizes) -> object:
        if type(item) is bytes and self.least <= len(item) <= (self.most or self.least):
            return item
        raise refuse(f"{self.least}{f' to {self.most}' if self.most else ''} bytes", item)

    def emit(self, value: object) -> object:
        return value

    def part(self, sizes: Sizes) -> Part:
        return Between(self.least, self.most) if self.most else Exactly(self.least)

    def write(self, value: bytes) -> bytes:
        return cbor.bstr(value)


@dataclass(frozen=True, slots=True)
class Sized:
    """A byte string whose length follows from the suite."""

    octets: ClassVar[bool] = True
    length: Callable[[Sizes], int]

    def accept(self, item: object, sizes: Sizes) -> object:
        if type(item) is bytes and len(item) == self.length(sizes):
            return item
        raise refuse(f"{self.length(sizes)} bytes", item)

    def emit(self, value: object) -> object:
        return value

    def part(self, sizes: Sizes) -> Part:
        return Exactly(self.length(sizes))

    def write(self, value: bytes) -> bytes:
        return cbor.bstr(value)


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few byte lengths, for fields that are empty or whole."""

    octets: ClassVar[bool] = True
    lengths: tuple[int, ...]

    def accept(self, item: object, sizes: Sizes) -> object:
        if type(item) is bytes and len(item) in self.lengths:
            return item
        raise refuse(f"one of {self.lengths} bytes", item)

    def emit(self, value: object) -> object:
        return value

    def part(self, sizes: Sizes) -> Part:
        take = layout.octets(min(self.lengths), max(self.lengths))

        def take_one(data: bytes, at: int, values: list[Any]) -> int:
            end = take(data, at, values)
            return end if end < 0 or len(values[-1]) in self.lengths else MISMATCH

        return take_one

    def write(self, value: bytes) -> bytes:
        return cbor.bstr(value)


@dataclass(frozen=True, slots=True)
class Number:
    """An unsigned integer from `least` to `most`, below 256, for fields whose other values mean nothing."""

    octets: ClassVar[bool] = False
    least: int
    most: int

    def accept(self, item: object, sizes: Sizes) -> object:
        if type(item) is int and self.least <= item <= self.most:
            return item
        raise refuse(f"a number from {self.least} to {self.most}", item)

    def emit(self, value: object) -> object:
        return int(value)  # type: ignore[call-overload]  # a number or its name in an IntEnum

    def part(self, sizes: Sizes) -> Part:
        take = layout.uint(8)

        def take_known(data: bytes, at: int, values: list[Any]) -> int:
            end = take(data, at, values)
            return end if end < 0 or self.least <= values[-1] <= self.most else MISMATCH

        return take_known

    def write(self, value: int) -> bytes:
        return cbor.uint(value)


@dataclass(frozen=True, slots=True)
class UintList:
    """A list of 1 to `most` unsigned integers of 8 bits, held as a tuple."""

    octets: ClassVar[bool] = False
    most: int = 8

    def accept(self, item: object, sizes: Sizes) -> object:
        if (
            isinstance(item, list)
            and 1 <= len(item) <= self.most
            and all(type(entry) is int and 0 <= entry < 256 for entry in item)
        ):
            return tuple(item)
        raise refuse(f"1 to {self.most} suite ids", item)

    def emit(self, value: object) -> object:
        return value

    def part(self, sizes: Sizes) -> Part:
        take = layout.uint(8)

        def take_list(data: bytes, at: int, values: list[Any]) -> int:
            count = data[at] - 0x80
            if not 1 <= count <= self.most:
                return MISMATCH
            entries: list[int] = []
            at += 1
            while count and at > 0:
                at = take(data, at, entries)
                count -= 1
            values.append(tuple(entries))
            return at

        return take_list

    def write(self, value: tuple[int, ...]) -> bytes:
        return cbor.encode(value)


@dataclass(frozen=True, slots=True)
class Text:
    """A text string of at most `most` bytes in UTF-8, below 256."""

    octets: ClassVar[bool] = False
    most: int

    def accept(self, item: object, sizes: Sizes) -> object:
        if type(item) is str and 0 <= _utf8_size(item) <= self.most:
            return item
        raise refuse(f"a text of at most {self.most} bytes", item)

    def emit(self, value: object) -> object:
        return value

    def part(self, sizes: Sizes) -> Part:
        return layout.text(self.most)

    def write(self, value: str) -> bytes:
        return cbor.tstr(value)


def _utf8_size(text: str) -> int:
    """Return how many bytes a text takes, -1 for a lone surrogate, which JSON can name and UTF-8 cannot."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return -1


CODE: Final = Number(min(ErrorCode), max(ErrorCode))
"""One of the error codes of Triad-1 1.11, which leave no gap."""
ID: Final = Octets(8)
HASH: Final = Octets(32)
MAC: Final = Octets(TAG)
POINT: Final = Sized(lambda sizes: sizes.point)
SCALAR: Final = Octets(32)
SIGNATURE: Final = Octets(64)


def sealed(plaintext: Callable[[Sizes], int]) -> Sized:
    """Return the type of an AEAD ciphertext whose plaintext has `plaintext(sizes)` bytes."""
    return Sized(lambda sizes: plaintext(sizes) + TAG)


def bstr_size(length: int) -> int:
    """Return how many bytes the CBOR encoding of a byte string of `length` bytes takes."""
    return length + (1 if length < 24 else 2 if length < 256 else 3)
