"""The packets of MQTT-SN 1.2: bytes to values and back, nothing of their order.

A foreign protocol, so its encodings are what its text allows: a packet below 256 bytes may come with a length of one or of
three bytes, and flags that mean nothing in a packet are ignored. What is written has the shorter length and zeros there.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, ClassVar, Final, Self, TypeVar, dataclass_transform, get_args, get_type_hints

from keymote.wire.mqttsn_fields import (
    MOST,
    Field,
    Flags,
    Number,
    OrAbsent,
    Rest,
    RestText,
    ReturnCode,
    Topic,
    TopicId,
    TopicName,
    number_of,
    numbered,
    octets,
    refuse,
    text,
    type_of,
)

PROTOCOL_ID: Final = 1
MOST_CLIENT_ID: Final = 23

U8: Final = Number(1, 0xFF)
U16: Final = Number(2, 0xFFFF)
CODE: Final = Number(1, max(ReturnCode), ReturnCode)
CLIENT_ID: Final = RestText(1, MOST_CLIENT_ID)
TOPIC_NAME: Final = RestText(1)


class Packet:
    """A packet; `kind` is its MsgType."""

    __slots__ = ()
    kind: ClassVar[int]
    _form: ClassVar[tuple[tuple[str, Field], ...]] = ()

    def body(self) -> bytes:
        """Return what stands behind MsgType; E_FORMAT for a value that the packet cannot carry."""
        return b"".join(field.write(getattr(self, name)) for name, field in self._form)

    @classmethod
    def of_body(cls, body: bytes) -> Self:
        """Return the packet with this body; E_FORMAT unless it has exactly the packet's form."""
        values, at = [], 0
        for _, field in cls._form:
            value, at = field.read(body, at)
            values.append(value)
        if at != len(body):
            raise refuse(f"{len(body) - at} bytes behind {cls.__name__}")
        return cls(*values)

    def encode(self) -> bytes:
        """Return the packet's bytes."""
        return _framed(self.kind, self.body())


P = TypeVar("P", bound=Packet)
_PACKETS: Final[dict[int, type[Packet]]] = {}


@dataclass_transform(frozen_default=True)
def packet(kind: int) -> Callable[[type[P]], type[P]]:
    """Make a packet out of a class whose fields are annotated with their `Field`, unless it has a form of its own."""

    def declare(cls: type[P]) -> type[P]:
        made = dataclass(frozen=True, slots=True)(cls)
        hints = get_type_hints(made, include_extras=True)
        made.kind = kind
        if made.body is Packet.body:
            form = ((entry.name, get_args(hints[entry.name])[1]) for entry in fields(made))  # type: ignore[arg-type]
            made._form = tuple(form)  # noqa: SLF001  # the class decorator fills its own class
        _PACKETS[kind] = made
        return made

    return declare


def decode(data: bytes) -> Packet:
    """Return the packet in a datagram; E_FORMAT unless it is one packet of a known type, in full."""
    kind, body, beyond = _unframed(data)
    if kind == Forward.kind:
        return Forward.of_parts(body, beyond)
    if kind not in _PACKETS or beyond:
        raise refuse(f"packet type {kind:#04x} with {len(beyond)} bytes behind it")
    return _PACKETS[kind].of_body(body)


def kinds() -> dict[int, type[Packet]]:
    """Return every packet by its MsgType."""
    return dict(_PACKETS)


def _framed(kind: int, body: bytes, beyond: bytes = b"") -> bytes:
    """Return length, type and body; `beyond` follows and does not count (an encapsulated packet)."""
    length = 2 + len(body)
    if length > 0xFF:
        length += 2
    if length > MOST:
        raise refuse(f"a packet of {length} bytes")
    head = bytes((length,)) if length <= 0xFF else b"\x01" + length.to_bytes(2, "big")
    return head + bytes((kind,)) + body + beyond


def _unframed(data: bytes) -> tuple[int, bytes, bytes]:
    """Return type, body and what follows the packet; E_FORMAT for a length that is not there."""
    if data[:1] == b"\x01":
        length, start = int.from_bytes(data[1:3], "big"), 3
    else:
        length, start = data[0] if data else 0, 1
    if length <= start or len(data) < length:
        raise refuse(f"a length of {length} in {len(data)} bytes")
    return data[start], data[start + 1 : length], data[length:]


# ------------------------------------------------------------------ gateways


@packet(0x00)
class Advertise(Packet):
    """Gateway -> all: here I am, and again within `duration_s`."""

    gw_id: Annotated[int, U8]
    duration_s: Annotated[int, U16]


@packet(0x01)
class SearchGw(Packet):
    """Client -> all within `radius` hops: who is a gateway?"""

    radius: Annotated[int, U8]


@packet(0x02)
class GwInfo(Packet):
    """Gateway, or a client on its behalf (then with its address): there is one."""

    gw_id: Annotated[int, U8]
    address: Annotated[bytes, Rest()] = b""


# ------------------------------------------------------------------ connection and will


@packet(0x04)
class Connect(Packet):
    """Client -> gateway; `duration_s` is the keep-alive."""

    client_id: str
    duration_s: int
    clean: bool = True
    will: bool = False

    def body(self) -> bytes:
        flags = Flags(will=self.will, clean=self.clean).octet()
        return bytes((flags, PROTOCOL_ID)) + U16.write(self.duration_s) + CLIENT_ID.write(self.client_id)

    @classmethod
    def of_body(cls, body: bytes) -> Self:
        flags, at = U8.read(body, 0)
        protocol, at = U8.read(body, at)
        duration, at = U16.read(body, at)
        if protocol != PROTOCOL_ID:
            raise refuse(f"protocol {protocol}")
        found = Flags.of(flags)
        return cls(CLIENT_ID.read(body, at)[0], duration, found.clean, found.will)


@packet(0x05)
class Connack(Packet):
    code: Annotated[ReturnCode, CODE]


@packet(0x06)
class WillTopicReq(Packet):
    """Gateway -> client: where does your will go?"""


@dataclass(frozen=True, slots=True)
class _WillTopic(Packet):
    """A will's topic with QoS and retain; no topic ("" and no flags at all) takes the will away."""

    topic: str
    qos: int = 0
    retain: bool = False

    def body(self) -> bytes:
        if not self.topic:
            return b""
        return bytes((Flags(qos=self.qos, retain=self.retain).octet(),)) + TOPIC_NAME.write(self.topic)

    @classmethod
    def of_body(cls, body: bytes) -> Self:
        if not body:
            return cls("")
        flags = Flags.of(body[0])
        return cls(TOPIC_NAME.read(body, 1)[0], flags.qos, flags.retain)


@packet(0x07)
class WillTopic(_WillTopic):
    """Client -> gateway: where the will goes."""


@packet(0x08)
class WillMsgReq(Packet):
    """Gateway -> client: what does your will say?"""


@packet(0x09)
class WillMsg(Packet):
    message: Annotated[bytes, Rest()]


@packet(0x1A)
class WillTopicUpd(_WillTopic):
    """Client -> gateway: where it goes from now on."""


@packet(0x1B)
class WillTopicResp(Packet):
    code: Annotated[ReturnCode, CODE]


@packet(0x1C)
class WillMsgUpd(Packet):
    message: Annotated[bytes, Rest()]


@packet(0x1D)
class WillMsgResp(Packet):
    code: Annotated[ReturnCode, CODE]


@packet(0x16)
class Pingreq(Packet):
    """A sleeping client names itself and gets what was kept for it."""

    client_id: Annotated[str | None, OrAbsent(CLIENT_ID)] = None


@packet(0x17)
class Pingresp(Packet):
    """Alive; to a sleeping client: that was all."""


@packet(0x18)
class Disconnect(Packet):
    """`duration_s` says how long the client sleeps; without it the client goes."""

    duration_s: Annotated[int | None, OrAbsent(U16)] = None


# ------------------------------------------------------------------ topics


@packet(0x0A)
class Register(Packet):
    """A number for a topic: asked for by a client (`topic_id` 0), told by a gateway."""

    topic_id: Annotated[int, U16]
    msg_id: Annotated[int, U16]
    name: Annotated[str, TOPIC_NAME]


@packet(0x0B)
class Regack(Packet):
    topic_id: Annotated[int, U16]
    msg_id: Annotated[int, U16]
    code: Annotated[ReturnCode, CODE]


@packet(0x0C)
class Publish(Packet):
    """A message; `topic` is not a whole name. `msg_id` is 0 with QoS 0 and -1."""

    topic: Topic
    data: bytes
    qos: int = 0
    msg_id: int = 0
    retain: bool = False
    dup: bool = False

    def body(self) -> bytes:
        flags = Flags(self.dup, self.qos, self.retain, topic_type=type_of(self.topic)).octet()
        return bytes((flags,)) + number_of(self.topic) + U16.write(self.msg_id) + self.data

    @classmethod
    def of_body(cls, body: bytes) -> Self:
        octet, at = U8.read(body, 0)
        flags = Flags.of(octet)
        msg_id, end = U16.read(body, at + 2)
        topic = numbered(flags.topic_type, body[at : at + 2])
        return cls(topic, body[end:], flags.qos, msg_id, flags.retain, flags.dup)


@packet(0x0D)
class Puback(Packet):
    """The answer to a PUBLISH of QoS 1, or to any that is refused; a short topic stands as its two bytes."""

    topic_id: Annotated[int, U16]
    msg_id: Annotated[int, U16]
    code: Annotated[ReturnCode, CODE]


@packet(0x0E)
class Pubcomp(Packet):
    msg_id: Annotated[int, U16]


@packet(0x0F)
class Pubrec(Packet):
    msg_id: Annotated[int, U16]


@packet(0x10)
class Pubrel(Packet):
    msg_id: Annotated[int, U16]


@dataclass(frozen=True, slots=True)
class _Subscription(Packet):
    """A topic by name, predefined number or two characters."""

    topic: Topic
    msg_id: int

    def _octets(self, flags: Flags) -> bytes:
        topic = self.topic
        named = octets(topic.name) if isinstance(topic, TopicName) else number_of(topic)
        if not named or isinstance(topic, TopicId):
            raise refuse("a subscription names a topic, a predefined number or a short topic")
        return bytes((flags._replace(topic_type=type_of(topic)).octet(),)) + U16.write(self.msg_id) + named

    @staticmethod
    def _read(body: bytes) -> tuple[Flags, int, Topic]:
        octet, at = U8.read(body, 0)
        flags = Flags.of(octet)
        msg_id, at = U16.read(body, at)
        if flags.topic_type:
            return flags, msg_id, numbered(flags.topic_type, body[at:])
        if not body[at:]:
            raise refuse("a subscription to nothing")
        return flags, msg_id, TopicName(text(body[at:]))


@packet(0x12)
class Subscribe(_Subscription):
    """Client -> gateway: a topic or filter, at most at this QoS."""

    qos: int = 0
    dup: bool = False

    def body(self) -> bytes:
        return self._octets(Flags(self.dup, self.qos))

    @classmethod
    def of_body(cls, body: bytes) -> Self:
        flags, msg_id, topic = cls._read(body)
        return cls(topic, msg_id, flags.qos, flags.dup)


@packet(0x13)
class Suback(Packet):
    """`topic_id` is 0 for a filter with wildcards; its topics are told by REGISTER."""

    qos: int
    topic_id: int
    msg_id: int
    code: ReturnCode

    def body(self) -> bytes:
        flags = Flags(qos=self.qos).octet()
        return bytes((flags,)) + U16.write(self.topic_id) + U16.write(self.msg_id) + CODE.write(self.code)

    @classmethod
    def of_body(cls, body: bytes) -> Self:
        octet, at = U8.read(body, 0)
        topic_id, at = U16.read(body, at)
        msg_id, at = U16.read(body, at)
        code, at = CODE.read(body, at)
        if at != len(body):
            raise refuse("bytes behind SUBACK")
        return cls(Flags.of(octet).qos, topic_id, msg_id, ReturnCode(code))


@packet(0x14)
class Unsubscribe(_Subscription):
    """Client -> gateway: no more of it."""

    def body(self) -> bytes:
        return self._octets(Flags())

    @classmethod
    def of_body(cls, body: bytes) -> Self:
        _, msg_id, topic = cls._read(body)
        return cls(topic, msg_id)


@packet(0x15)
class Unsuback(Packet):
    msg_id: Annotated[int, U16]


# ------------------------------------------------------------------ forwarders


@packet(0xFE)
class Forward(Packet):
    """Forwarder <-> gateway: a packet of, or for, a wireless node; `radius` is where it is to be heard, 0 to 3 hops."""

    radius: int
    node: bytes
    inner: bytes

    def body(self) -> bytes:
        if not 0 <= self.radius <= _MOST_RADIUS:
            raise refuse(f"a radius of {self.radius}")
        return bytes((self.radius,)) + self.node

    def encode(self) -> bytes:
        _check_inner(self.inner)
        return _framed(self.kind, self.body(), self.inner)

    @classmethod
    def of_parts(cls, body: bytes, inner: bytes) -> Self:
        """Return the packet of its own body and the forwarded bytes, which are one packet and no forwarded one."""
        ctrl, at = U8.read(body, 0)
        _check_inner(inner)
        return cls(ctrl & _MOST_RADIUS, body[at:], inner)


_MOST_RADIUS: Final = 3


def _check_inner(inner: bytes) -> None:
    kind, _, beyond = _unframed(inner)
    if kind not in _PACKETS or kind == Forward.kind or beyond:
        raise refuse("what is forwarded is not one packet")
