"""One declaration per message gives its encoder, its decoder and its description.

A message is a CBOR array `[mt, fields...]`; the inner arrays that travel encrypted (`Body`) are the same without `mt`.
Fields are annotated with their `FieldType`; fields at the end may be optional, which means left out. None stands for null
only where a field's type says so, in messages without optional fields.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Self,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from keymote import cbor
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import FieldType, Sizes
from keymote.wire.layout import Like, Part, Reader, Write, like, likewise, reader

MOST_KNOWN: Final = 1024
"""Layouts kept of a message: more than the lengths that its own senders give it."""

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
    _templates: ClassVar[tuple[cbor.Template, ...]]
    _written: ClassVar[tuple[tuple[int, Write], ...]]
    """Places of the fields that are no byte strings, and what writes them."""
    _readers: ClassVar[dict[tuple[int, int], tuple[Sequence[Part], Reader]]]
    _known: ClassVar[dict[tuple[int, bytes, int], Reader]]
    """How messages lay that were read: by their length, their first byte and the size of points."""
    max_size: ClassVar[int] = cbor.MAX_SIZE

    def items(self) -> list[object]:
        """Return the CBOR items of this message, without optional fields that are absent."""
        values: list[object] = list(self._head)
        for place, (name, kind) in enumerate(zip(self._names, self._types, strict=True)):
            value = getattr(self, name)
            if value is None and place >= self._required:
                break
            values.append(kind.emit(value))
        return values

    def encode(self, *, without: int = 0) -> bytes:
        """Return the one encoding of this message, or of the array that lacks its last `without` fields."""
        values = self._values(self)
        count = len(values)
        missing = values[-1] is None and self._required < count
        if without or missing:
            count = (values.index(None, self._required) if missing else count) - without
            values = values[:count]
        if self._written:
            parts = list(values)
            for place, write in self._written:
                if place < count:
                    parts[place] = write(parts[place])
            values = tuple(parts)
        return self._templates[count].join(values)

    @classmethod
    def decode(cls, data: bytes, sizes: Sizes) -> Self:
        """Return the message in `data`; E_FORMAT unless it is the encoding of exactly this message."""
        known = cls._known.get((len(data), data[:1], sizes.point))
        values = None if known is None else known(data)
        if values is None:
            values = cls._first_read(data, sizes)
            if values is None:
                return cls.from_items(cbor.decode_array(data, max_size=cls.max_size), sizes)  # says what is wrong
        return cls(*values)

    @classmethod
    def _first_read(cls, data: bytes, sizes: Sizes) -> Sequence[Any] | None:
        """Return the fields of a message that lies as none did before, and remember how; None unless it is one."""
        count = data[0] - 0x80 - len(cls._head) if data else -1
        if not cls._required <= count <= len(cls._types) or len(data) > cls.max_size:
            return None
        _, read = cls._readers.get((count, sizes.point)) or cls._reader(count, sizes)
        values = read(data)
        if values is not None:
            if len(cls._known) >= MOST_KNOWN:
                cls._known.clear()
            cls._known[len(data), data[:1], sizes.point] = likewise(*cls._laid(values, sizes))
        return values

    def laid(self, sizes: Sizes) -> tuple[bytes, Sequence[Like]]:
        """Return how this message, which was read and has no optional field, lies: its opening and its fields."""
        return self._laid(self._values(self), sizes)

    @classmethod
    def _laid(cls, values: Sequence[Any], sizes: Sizes) -> tuple[bytes, Sequence[Like]]:
        count = len(values)
        parts, _ = cls._readers.get((count, sizes.point)) or cls._reader(count, sizes)
        kinds = cls._types[:count]
        fields = [like(part, value, kind.write) for part, value, kind in zip(parts, values, kinds, strict=True)]
        return cls._openings[count], fields

    @classmethod
    def _reader(cls, count: int, sizes: Sizes) -> tuple[Sequence[Part], Reader]:
        parts = [kind.part(sizes) for kind in cls._types[:count]]
        made = cls._readers[count, sizes.point] = parts, reader(cls._openings[count], parts)
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


class Message(Body):
    """A message of its own; `mt` is element 0 of its array (Triad-1 1.12)."""

    __slots__ = ()
    mt: ClassVar[int]

    @classmethod
    def opening(cls, fields: int) -> bytes:
        """Return what stands before the first of so many fields: the head of the array and the message type."""
        return cls._openings[fields]


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def message(mt: int, *, max_size: int = cbor.MAX_SIZE) -> Callable[[type[M]], type[M]]:
    """Make a message type out of an annotated class."""

    def declare(cls: type[M]) -> type[M]:
        made = body(cls)
        made.mt = mt
        made._head = (mt,)
        _lay_out(made)
        made.max_size = max_size
        return made

    return declare


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
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
    _lay_out(made)
    made._readers, made._known = {}, {}
    return made


def _lay_out(made: type[Body]) -> None:
    """Prepare how arrays with 0, 1, 2... fields are written: the head, the message type, and which fields write themselves."""
    mt = b"".join(map(cbor.uint, made._head))
    counts = range(len(made._types) + 1)
    made._written = tuple((place, kind.write) for place, kind in enumerate(made._types) if not kind.octets)
    made._openings = tuple(bytes((0x80 + len(made._head) + count,)) + mt for count in counts)
    written = frozenset(place for place, _ in made._written)
    made._templates = tuple(cbor.Template(opening, written) for opening in made._openings)


def _field_type(hint: Any) -> tuple[bool, FieldType]:
    optional = False
    if get_origin(hint) is not Annotated:
        (hint,) = (arm for arm in get_args(hint) if arm is not type(None))
        optional = True
    return optional, get_args(hint)[1]
