"""One declaration per message gives its encoder, its decoder and its description.

A message is a CBOR array `[mt, fields...]`; the inner arrays that travel encrypted (`Body`) are the same without `mt`.
Fields are annotated with their `FieldType`; fields at the end may be optional, which means left out, never null.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Annotated, Any, ClassVar, Self, TypeVar, dataclass_transform, get_args, get_origin, get_type_hints

from keymote import cbor
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import FieldType, Sizes
from keymote.wire.layout import Reader, reader

B = TypeVar("B", bound="Body")
M = TypeVar("M", bound="Message")


class Body:
    """An array of fields without a message type of its own."""

    __slots__ = ()
    _names: ClassVar[tuple[str, ...]] = ()
    _types: ClassVar[tuple[FieldType, ...]] = ()
    _required: ClassVar[int] = 0
    _head: ClassVar[tuple[int, ...]] = ()
    _values: ClassVar[Any]
    """Returns the values of a message's fields in order."""
    _openings: ClassVar[tuple[bytes, ...]]
    _readers: ClassVar[dict[tuple[bytes, int], Reader]]
    max_size: ClassVar[int] = cbor.MAX_SIZE

    def items(self) -> list[object]:
        """Return the CBOR items of this message, without optional fields that are absent."""
        values: list[object] = list(self._head)
        for name, kind in zip(self._names, self._types, strict=True):
            value = getattr(self, name)
            if value is None:
                break
            values.append(kind.emit(value))
        return values

    def encode(self, *, without: int = 0) -> bytes:
        """Return the one encoding of this message, or of the array that lacks its last `without` fields."""
        values = self._values(self)
        if without or values[-1] is None:
            values = values[: (values.index(None) if values[-1] is None else len(values)) - without]
        heads, parts = cbor.BSTR_HEADS, [self._openings[len(values)]]
        for value, kind in zip(values, self._types, strict=False):
            if type(value) is bytes:
                parts.append(heads[len(value)])
                parts.append(value)
            else:
                parts.append(kind.write(value))
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes, sizes: Sizes) -> Self:
        """Return the message in `data`; E_FORMAT unless it is the encoding of exactly this message."""
        read = cls._readers.get((data[:1], sizes.point)) or cls._reader(data[:1], sizes)
        values = read(data)
        if values is None or len(data) > cls.max_size:
            return cls.from_items(cbor.decode_array(data, max_size=cls.max_size), sizes)  # says what is wrong
        return cls(*values)

    @classmethod
    def _reader(cls, first: bytes, sizes: Sizes) -> Reader:
        """Return the reader of arrays with this first byte, which tells the number of elements."""
        count = first[0] - 0x80 - len(cls._head) if first else -1
        if not cls._required <= count <= len(cls._types):
            return _unreadable
        made = reader(cls._openings[count], [kind.part(sizes) for kind in cls._types[:count]])
        cls._readers[first, sizes.point] = made
        return made

    @classmethod
    def from_items(cls, items: list[Any], sizes: Sizes) -> Self:
        """Return the message made of already decoded `items`."""
        head = len(cls._head)
        count = len(items) - head
        if not cls._required <= count <= len(cls._types):
            raise PeerFault(ErrorCode.E_FORMAT, f"{cls.__name__} with {len(items)} elements")
        if head and (items[0] != cls._head[0] or type(items[0]) is not int):
            raise PeerFault(ErrorCode.E_FORMAT, f"message type {items[0]!r} where {cls.__name__} is due")
        values = [kind.accept(item, sizes) for kind, item in zip(cls._types, items[head:], strict=False)]
        return cls(*values)


def _unreadable(_data: bytes) -> None:
    return None


class Message(Body):
    """A message of its own; `mt` is element 0 of its array (Triad-1 1.12)."""

    __slots__ = ()
    mt: ClassVar[int]


@dataclass_transform(frozen_default=True)
def message(mt: int, *, max_size: int = cbor.MAX_SIZE) -> Callable[[type[M]], type[M]]:
    """Make a message type out of an annotated class."""

    def declare(cls: type[M]) -> type[M]:
        made = body(cls)
        made.mt = mt
        made._head = (mt,)
        made._openings = _openings(made)
        made.max_size = max_size
        return made

    return declare


@dataclass_transform(frozen_default=True)
def body(cls: type[B]) -> type[B]:
    """Make an inner array out of an annotated class."""
    hints = get_type_hints(cls, include_extras=True)
    made = dataclass(frozen=True, slots=True)(cls)
    names = tuple(entry.name for entry in fields(made))  # type: ignore[arg-type]  # dataclass() returns type[B]
    kinds: list[FieldType] = []
    required = 0
    for name in names:
        optional, kind = _field_type(hints[name])
        kinds.append(kind)
        if not optional:
            required = len(kinds)
    made._names = names
    made._types = tuple(kinds)
    made._required = required
    values = attrgetter(*names)
    made._values = staticmethod(values if len(names) > 1 else lambda one: (values(one),))
    made._openings = _openings(made)
    made._readers = {}
    return made


def _openings(made: type[Body]) -> tuple[bytes, ...]:
    """Return what precedes 0, 1, 2... fields: the head of the array and the message type."""
    mt = b"".join(map(cbor.uint, made._head))
    return tuple(bytes((0x80 + len(made._head) + count,)) + mt for count in range(len(made._types) + 1))


def _field_type(hint: Any) -> tuple[bool, FieldType]:
    optional = False
    if get_origin(hint) is not Annotated:
        (hint,) = (arm for arm in get_args(hint) if arm is not type(None))
        optional = True
    return optional, get_args(hint)[1]
