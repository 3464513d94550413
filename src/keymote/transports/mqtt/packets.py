"""The few MQTT packets that an agent speaks for a session that is not its own (MQTT 3.1.1 and 5); see `session`."""

from collections.abc import Sequence
from typing import Final, NamedTuple

CONNACK: Final = 2
PUBLISH: Final = 3
PUBACK: Final = 4
PUBREC: Final = 5
PUBREL: Final = 6
PUBCOMP: Final = 7
SUBACK: Final = 9
PINGRESP: Final = 13
PING: Final = b"\xc0\x00"
DISCONNECT: Final = b"\xe0\x00"
LEVEL_5: Final = 5
_USER_PROPERTY: Final = b"\x26"
_SESSION_EXPIRY: Final = b"\x11"
_FOR_EVER: Final = b"\xff\xff\xff\xff"


class Cut(Exception):
    """A packet that does not fit its own length."""


class Delivery(NamedTuple):
    """A message as the broker hands it to a session; `packet_id` 0 for QoS 0."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    packet_id: int


def connect(level: int, client_id: str, user: str, password: str, keep_alive_s: int, *, clean: bool) -> bytes:
    """Return CONNECT; with `clean` false the session stays when the connection ends."""
    flags = 0xC0 | (0x02 if clean else 0)
    body = text("MQTT") + bytes((level, flags)) + keep_alive_s.to_bytes(2, "big")
    if level >= LEVEL_5:
        body += b"\x00" if clean else bytes((5,)) + _SESSION_EXPIRY + _FOR_EVER
    return _packet(0x10, body + text(client_id) + text(user) + text(password))


def publish(level: int, message: Delivery, marks: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return PUBLISH; `marks` are user properties, which 3.1.1 has no place for."""
    head = 0x30 | message.qos << 1 | message.retain
    body = text(message.topic)
    if message.qos:
        body += message.packet_id.to_bytes(2, "big")
    if level >= LEVEL_5:
        properties = b"".join(_USER_PROPERTY + text(name) + text(value) for name, value in marks)
        body += length(len(properties)) + properties
    return _packet(head, body + message.payload)


def subscribe(level: int, packet_id: int, filters: Sequence[str], qos: int) -> bytes:
    """Return SUBSCRIBE to all of `filters`."""
    body = packet_id.to_bytes(2, "big") + (b"\x00" if level >= LEVEL_5 else b"")
    return _packet(0x82, body + b"".join(text(each) + bytes((qos,)) for each in filters))


def acknowledgement(kind: int, packet_id: int) -> bytes:
    """Return PUBACK, PUBREC, PUBREL or PUBCOMP."""
    return bytes((kind << 4 | (0x02 if kind == PUBREL else 0), 2)) + packet_id.to_bytes(2, "big")


def read_publish(level: int, head: int, body: bytes) -> Delivery:
    """Return the message of a PUBLISH; Cut when it is none."""
    qos, size = head >> 1 & 3, int.from_bytes(body[:2], "big")
    at = 2 + size
    packet_id = 0
    if qos:
        packet_id, at = int.from_bytes(body[at : at + 2], "big"), at + 2
    if level >= LEVEL_5:
        properties, at = read_length(body, at)
        at += properties
    if at > len(body) or qos > 2:
        raise Cut
    try:
        return Delivery(body[2 : 2 + size].decode(), body[at:], qos, bool(head & 1), packet_id)
    except UnicodeDecodeError:
        raise Cut from None


def text(value: str) -> bytes:
    """Return a string with its length of two bytes in front."""
    raw = value.encode()
    return len(raw).to_bytes(2, "big") + raw


def length(size: int) -> bytes:
    """Return a number in MQTT's form of 1 to 4 bytes."""
    octets = bytearray()
    while True:
        size, octet = size >> 7, size & 0x7F
        octets.append(octet | (0x80 if size else 0))
        if not size:
            return bytes(octets)


def read_length(data: bytes, at: int) -> tuple[int, int]:
    """Return such a number and where it ends; Cut when it does not."""
    size = 0
    for shift in (0, 7, 14, 21):
        if at >= len(data):
            break
        octet = data[at]
        at += 1
        size |= (octet & 0x7F) << shift
        if octet < 0x80:
            return size, at
    raise Cut


def _packet(head: int, body: bytes) -> bytes:
    return bytes((head,)) + length(len(body)) + body
