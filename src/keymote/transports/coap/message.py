"""CoAP messages (RFC 7252 section 3, RFC 7959 section 2.2): the part of the format that carries Keymote's datagrams."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, Self

from keymote.errors import ErrorCode, PeerFault

MAX_MESSAGE: Final = 1472
"""Bytes: a UDP payload that fits one Ethernet frame; longer ones are not ours."""
OCTETS: Final = 60
"""Content-Format application/cbor."""
LINK_FORMAT: Final = 40
"""Content-Format application/link-format."""
MAX_SZX: Final = 5
"""Block size exponent that we offer and accept: 2^(5+4) = 512 bytes."""

_VERSION: Final = 1
_PAYLOAD_MARKER: Final = 0xFF


class Kind(IntEnum):
    """Message types of RFC 7252 4.2 and 4.3."""

    CON = 0
    NON = 1
    ACK = 2
    RST = 3


class Code(IntEnum):
    """Methods and response codes (class << 5 | detail) that the binding uses."""

    EMPTY = 0x00
    GET = 0x01
    POST = 0x02
    FETCH = 0x05
    CHANGED = 0x44
    CONTENT = 0x45
    CONTINUE = 0x5F
    BAD_REQUEST = 0x80
    BAD_OPTION = 0x82
    NOT_FOUND = 0x84
    METHOD_NOT_ALLOWED = 0x85
    NOT_ACCEPTABLE = 0x86
    INCOMPLETE = 0x88
    TOO_LARGE = 0x8D
    UNSUPPORTED_FORMAT = 0x8F


class Option(IntEnum):
    """Option numbers that the binding reads or writes; odd numbers are critical."""

    URI_HOST = 3
    URI_PORT = 7
    URI_PATH = 11
    CONTENT_FORMAT = 12
    URI_QUERY = 15
    ACCEPT = 17
    BLOCK2 = 23
    BLOCK1 = 27


class Block(NamedTuple):
    """A Block1 or Block2 option: block number, whether more follow, size exponent (bytes = 2^(szx+4))."""

    num: int
    more: bool
    szx: int

    @property
    def size(self) -> int:
        return 16 << self.szx

    @property
    def start(self) -> int:
        return self.num * self.size

    def encode(self) -> bytes:
        return uint(self.num << 4 | self.more << 3 | self.szx)

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Return the block that an option of at most 3 bytes names; E_FORMAT for the reserved size exponent."""
        if len(value) > 3:
            raise PeerFault(ErrorCode.E_FORMAT, "Block option longer than 3 bytes")
        number = int.from_bytes(value, "big")
        if number & 7 == 7:
            raise PeerFault(ErrorCode.E_FORMAT, "Block option with the reserved size exponent 7")
        return cls(number >> 4, bool(number & 8), number & 7)


def uint(value: int) -> bytes:
    """Return the shortest big-endian form of an option of format uint; zero is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


@dataclass(frozen=True, slots=True)
class CoapMessage:
    """One CoAP message over UDP. `code` is plain because peers send codes that we do not name."""

    kind: Kind
    code: int
    mid: int
    token: bytes = b""
    options: tuple[tuple[int, bytes], ...] = ()
    payload: bytes = b""

    @property
    def is_request(self) -> bool:
        return 0x01 <= self.code <= 0x1F

    @property
    def is_response(self) -> bool:
        return 0x40 <= self.code <= 0xBF

    def option(self, number: int) -> bytes | None:
        """Return the value of the first option of this number."""
        for known, value in self.options:
            if known == number:
                return value
        return None

    def block(self, number: int) -> Block | None:
        """Return the Block1 or Block2 option."""
        value = self.option(number)
        return None if value is None else Block.decode(value)

    @property
    def path(self) -> tuple[bytes, ...]:
        return tuple(value for number, value in self.options if number == Option.URI_PATH)

    def encode(self) -> bytes:
        """Return the wire form; options are sorted by number, equal numbers keep their order."""
        out = bytearray((_VERSION << 6 | self.kind << 4 | len(self.token), self.code))
        out += self.mid.to_bytes(2, "big") + self.token
        last = 0
        for number, value in sorted(self.options, key=lambda option: option[0]):
            delta, delta_more = _nibble(number - last)
            length, length_more = _nibble(len(value))
            out.append(delta << 4 | length)
            out += delta_more + length_more + value
            last = number
        if self.payload:
            out.append(_PAYLOAD_MARKER)
            out += self.payload
        return bytes(out)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the message in `data`; E_FORMAT for whatever RFC 7252 section 3 calls a message format error."""
        size = len(data)
        if not 4 <= size <= MAX_MESSAGE:
            raise PeerFault(ErrorCode.E_FORMAT, f"CoAP message of {size} bytes")
        first, code = data[0], data[1]
        token_end = 4 + (first & 0x0F)
        if first >> 6 != _VERSION or token_end > 12 or token_end > size:
            raise PeerFault(ErrorCode.E_FORMAT, "not a CoAP version 1 header")
        if code == Code.EMPTY and size != 4:
            raise PeerFault(ErrorCode.E_FORMAT, "an empty CoAP message carries something")
        options, at = _options(data, token_end)
        payload = data[at + 1 :] if at < size else b""
        if at < size and not payload:
            raise PeerFault(ErrorCode.E_FORMAT, "CoAP payload marker without a payload")
        return cls(Kind(first >> 4 & 3), code, data[2] << 8 | data[3], data[4:token_end], options, payload)


def empty(kind: Kind, mid: int) -> bytes:
    """Return the four bytes of an Empty message: an acknowledgement without an answer, or a reset."""
    return bytes((_VERSION << 6 | kind << 4, 0, mid >> 8, mid & 0xFF))


def _options(data: bytes, at: int) -> tuple[tuple[tuple[int, bytes], ...], int]:
    """Return the options that start at `at`, and where the payload marker or the end is."""
    options = []
    number = 0
    while at < len(data) and data[at] != _PAYLOAD_MARKER:
        head = data[at]
        delta, at = _extended(data, at + 1, head >> 4)
        length, at = _extended(data, at, head & 15)
        number += delta
        end = at + length
        if end > len(data):
            raise PeerFault(ErrorCode.E_FORMAT, "CoAP option beyond the end of its message")
        options.append((number, data[at:end]))
        at = end
    return tuple(options), at


def _nibble(value: int) -> tuple[int, bytes]:
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes((value - 13,))
    return 14, (value - 269).to_bytes(2, "big")


def _extended(data: bytes, at: int, nibble: int) -> tuple[int, int]:
    if nibble < 13:
        return nibble, at
    width = nibble - 12
    if nibble == 15 or at + width > len(data):
        raise PeerFault(ErrorCode.E_FORMAT, "CoAP option header is cut short or reserved")
    return int.from_bytes(data[at : at + width], "big") + (13 if nibble == 13 else 269), at + width
