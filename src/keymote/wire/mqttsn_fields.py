"""How the fields of MQTT-SN 1.2 lie in bytes: numbers, texts to the end, flags, topics."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple, Protocol

from keymote.errors import ErrorCode, PeerFault

MOST: Final = 65_535
"""Bytes of a packet (MQTT-SN 1.2, 5.2.1)."""


class Field(Protocol):
    """One field of a packet: `read` returns its value and the position behind it, `write` its bytes."""

    def read(self, data: bytes, at: int) -> tuple[Any, int]: ...

    def write(self, value: Any) -> bytes: ...


def refuse(what: str) -> PeerFault:
    return PeerFault(ErrorCode.E_FORMAT, f"MQTT-SN: {what}")


@dataclass(frozen=True, slots=True)
class Number:
    """An unsigned number of `size` bytes, big endian, of at most `most`, made into `kind`."""

    size: int
    most: int
    kind: Callable[[int], int] = int

    def read(self, data: bytes, at: int) -> tuple[int, int]:
        end = at + self.size
        value = int.from_bytes(data[at:end], "big")
        if end > len(data) or value > self.most:
            raise refuse(f"a number of {self.size} bytes up to {self.most} is due")
        return self.kind(value), end

    def write(self, value: int) -> bytes:
        if not 0 <= value <= self.most:
            raise refuse(f"{value} where at most {self.most} is due")
        return value.to_bytes(self.size, "big")


@dataclass(frozen=True, slots=True)
class Rest:
    """`least` to `most` bytes up to the end of the packet."""

    least: int = 0
    most: int = MOST

    def read(self, data: bytes, at: int) -> tuple[bytes, int]:
        self._check(len(data) - at)
        return data[at:], len(data)

    def write(self, value: bytes) -> bytes:
        self._check(len(value))
        return value

    def _check(self, length: int) -> None:
        if not self.least <= length <= self.most:
            raise refuse(f"{length} bytes where {self.least} to {self.most} are due")


@dataclass(frozen=True, slots=True)
class RestText:
    """A text of `least` to `most` bytes in UTF-8 up to the end of the packet, without U+0000."""

    least: int = 0
    most: int = MOST

    def read(self, data: bytes, at: int) -> tuple[str, int]:
        raw, end = Rest(self.least, self.most).read(data, at)
        return text(raw), end

    def write(self, value: str) -> bytes:
        return Rest(self.least, self.most).write(octets(value))


@dataclass(frozen=True, slots=True)
class OrAbsent:
    """A last field that may be left out, which is None."""

    field: Field

    def read(self, data: bytes, at: int) -> tuple[Any, int]:
        return (None, at) if at == len(data) else self.field.read(data, at)

    def write(self, value: Any) -> bytes:
        return b"" if value is None else self.field.write(value)


def text(raw: bytes) -> str:
    """Return UTF-8 without U+0000; E_FORMAT for anything else."""
    try:
        found = raw.decode()
    except UnicodeDecodeError:
        raise refuse("a text that is no UTF-8") from None
    if "\0" in found:
        raise refuse("a text with U+0000")
    return found


def octets(value: str) -> bytes:
    """Return a text in UTF-8; E_FORMAT for one that MQTT-SN cannot carry."""
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        raise refuse("a text that has no UTF-8") from None
    if b"\0" in raw:
        raise refuse("a text with U+0000")
    return raw


class ReturnCode(IntEnum):
    """What a gateway answers; other numbers are reserved."""

    ACCEPTED = 0
    CONGESTION = 1
    INVALID_TOPIC_ID = 2
    NOT_SUPPORTED = 3


class TopicId(NamedTuple):
    """A number that REGISTER or SUBSCRIBE gave a topic."""

    number: int


class Predefined(NamedTuple):
    """A number that both ends knew before."""

    number: int


class ShortTopic(NamedTuple):
    """A topic of two characters, of one byte each, which is its own number."""

    name: str


class TopicName(NamedTuple):
    """A topic, or in SUBSCRIBE a filter, by its whole name."""

    name: str


Topic = TopicId | Predefined | ShortTopic | TopicName


class Flags(NamedTuple):
    """The flags of a packet; where one has no meaning it is sent as 0 and ignored. QoS is -1 to 2."""

    dup: bool = False
    qos: int = 0
    retain: bool = False
    will: bool = False
    clean: bool = False
    topic_type: int = 0

    @classmethod
    def of(cls, octet: int) -> "Flags":
        qos = octet >> 5 & 3
        return cls(
            bool(octet & 0x80), -1 if qos == 3 else qos, bool(octet & 16), bool(octet & 8), bool(octet & 4), octet & 3
        )

    def octet(self) -> int:
        if not -1 <= self.qos <= 2:
            raise refuse(f"QoS {self.qos}")
        bits = self.dup << 7 | (self.qos & 3) << 5 | self.retain << 4
        return bits | self.will << 3 | self.clean << 2 | self.topic_type


_NUMBERED: Final = 0
_PREDEFINED: Final = 1
_SHORT: Final = 2


def type_of(topic: Topic) -> int:
    """Return the flag TopicIdType of a topic."""
    match topic:
        case TopicId() | TopicName():
            return _NUMBERED
        case Predefined():
            return _PREDEFINED
        case ShortTopic():
            return _SHORT


def number_of(topic: Topic) -> bytes:
    """Return the two bytes of a topic that has a number or is short."""
    match topic:
        case TopicId(number) | Predefined(number) if 0 < number < MOST:
            return number.to_bytes(2, "big")
        case ShortTopic(name) if len(raw := octets(name)) == 2:
            return raw
    raise refuse(f"{type(topic).__name__} that has no two bytes")


def numbered(topic_type: int, raw: bytes) -> TopicId | Predefined | ShortTopic:
    """Return the topic in two bytes; 0x0000 and 0xffff are reserved."""
    if len(raw) != 2:
        raise refuse(f"a topic of {len(raw)} bytes where 2 are due")
    if topic_type == _SHORT:
        return ShortTopic(text(raw))
    number = int.from_bytes(raw, "big")
    if topic_type > _SHORT or not 0 < number < MOST:
        raise refuse("a reserved topic type or topic number")
    return TopicId(number) if topic_type == _NUMBERED else Predefined(number)
