"""CONNECT of MQTT 3.1, 3.1.1 and 5, as far as a doorkeeper needs it: who is there, and with what credentials."""

from asyncio import StreamReader
from typing import Final, NamedTuple

ACCEPTED_LEVEL: Final = 4
"""MQTT 3.1.1."""
_LEVEL_5: Final = 5
MOST_CONNECT: Final = 1 << 17
"""Bytes of a CONNECT: a will and a password of 65 535 bytes each nearly fit."""
_CONNECT: Final = 0x10
_USER, _PASSWORD, _WILL = 0x80, 0x40, 0x04
_V5_CODES: Final = {1: 0x84, 2: 0x85, 3: 0x97, 5: 0x87}
"""Return code of 3.1.1 -> reason code of 5 (Unsupported Protocol Version, Client Identifier not valid, Quota, Not authorized)."""


class BadConnect(Exception):
    """The first packet is no CONNECT; nobody is told, for who speaks is no MQTT client."""


class Connect(NamedTuple):
    """What a CONNECT says; `variable` and `payload` are its bytes up to the keep-alive and from there to the credentials.

    For version 5 only `level` is read: the rest has another form and is empty here.
    """

    level: int
    client_id: str
    user: str
    password: bytes
    variable: bytes
    payload: bytes

    def without_credentials(self) -> bytes:
        """Return the same CONNECT for whoever has no need of user and password."""
        flags = len(self.variable) - 3
        variable = bytearray(self.variable)
        variable[flags] &= 0xFF ^ _USER ^ _PASSWORD
        body = bytes(variable) + self.payload
        return bytes((_CONNECT,)) + _length(len(body)) + body


async def read_connect(reader: StreamReader) -> Connect:
    """Return the CONNECT with which a connection begins; BadConnect for anything else."""
    if await reader.readexactly(1) != bytes((_CONNECT,)):
        raise BadConnect("not a CONNECT")
    size = shift = 0
    while True:
        (octet,) = await reader.readexactly(1)
        size |= (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            break
        if shift > 21:
            raise BadConnect("a length of more than four bytes")
    if size > MOST_CONNECT:
        raise BadConnect(f"a CONNECT of {size} bytes")
    return parse(await reader.readexactly(size))


def parse(body: bytes) -> Connect:
    """Return a CONNECT from its bytes behind the fixed header; BadConnect unless they are exactly one."""
    name, at = _field(body, 0)
    if name not in (b"MQTT", b"MQIsdp") or len(body) < at + 4:
        raise BadConnect("not a CONNECT of MQTT")
    level, flags = body[at], body[at + 1]
    if level >= _LEVEL_5:
        return Connect(level, "", "", b"", b"", b"")
    begin = at + 4
    client_id, at = _field(body, begin)
    if flags & _WILL:
        _, at = _field(body, at)
        _, at = _field(body, at)
    end = at
    user = password = b""
    if flags & _USER:
        user, at = _field(body, at)
    if flags & _PASSWORD:
        password, at = _field(body, at)
    if at != len(body):
        raise BadConnect("bytes behind a CONNECT")
    try:
        return Connect(level, client_id.decode(), user.decode(), password, body[:begin], body[begin:end])
    except UnicodeDecodeError as error:
        raise BadConnect("a name that is no UTF-8") from error


def refusal(level: int, code: int) -> bytes:
    """Return the CONNACK that refuses with a return code of 3.1.1, in the form of the client's own version."""
    if level >= _LEVEL_5:
        return bytes((0x20, 3, 0, _V5_CODES[code], 0))
    return bytes((0x20, 2, 0, code))


def _field(body: bytes, at: int) -> tuple[bytes, int]:
    end = at + 2 + int.from_bytes(body[at : at + 2], "big")
    if end > len(body) or at + 2 > len(body):
        raise BadConnect("a CONNECT that is cut off")
    return body[at + 2 : end], end


def _length(size: int) -> bytes:
    octets = bytearray()
    while True:
        size, octet = size >> 7, size & 0x7F
        octets.append(octet | (0x80 if size else 0))
        if not size:
            return bytes(octets)
