"""One declaration per message gives its encoder, its decoder and its description.

A message is a CBOR array `[mt, fields...]`; the inner arrays that travel encrypted (`Body`) are the same without `mt`.
Fields are annotated with their `FieldType`; fields at the end may be optional, which means left out, never null.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Self, TypeVar, dataclass_transform, get_args, get_origin, get_type_hints

from keymote import cbor
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import FieldType, Sizes

B = TypeVar("B", bound="Body")
M = TypeVar("M", bound="Message")


class Body:
    """An array of fields without a message type of its own."""

    __slots__ = ()
    _names: ClassVar[tuple[str, ...]] = ()
    _types: ClassVar[tuple[FieldType, ...]] = ()
    _required: ClassVar[int] = 0
    _head: ClassVar[tuple[int, ...]] = ()
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

    def encode(self) -> bytes:
        """Return the one encoding of this message."""
        return cbor.encode(self.items())

    @classmethod
    def decode(cls, data: bytes, sizes: Sizes) -> Self:
        """Return the message in `data`; E_FORMAT unless it is the encoding of exactly this message."""
        return cls.from_items(cbor.decode_array(data, max_size=cls.max_size), sizes)

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


@dataclass_transform(frozen_default=True)
def message(mt: int, *, max_size: int = cbor.MAX_SIZE) -> Callable[[type[M]], type[M]]:
    """Make a message type out of an annotated class."""

    def declare(cls: type[M]) -> type[M]:
        made = body(cls)
        made.mt = mt
        made._head = (mt,)
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
    return made


def _field_type(hint: Any) -> tuple[bool, FieldType]:
    optional = False
    if get_origin(hint) is not Annotated:
        (hint,) = (arm for arm in get_args(hint) if arm is not type(None))
        optional = True
    return optional, get_args(hint)[1]
