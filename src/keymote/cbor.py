"""The one deterministic CBOR codec (RFC 8949 section 4.2.1; Triad-1 1.2.1).

One value has one encoding: `decode` refuses whatever `encode` would have written otherwise, so that a transcript hash
over received bytes and one over re-encoded values can never differ (attack I-03).
"""

from functools import lru_cache
from typing import Any, Final

import cbor2

from keymote.errors import ErrorCode, PeerFault

MAX_SIZE: Final = 1280
"""Bytes of an ordinary message (Triad-1 1.2.1)."""
MAX_SIZE_LARGE: Final = 2048
"""Bytes of ROSTER and of NMAUTH A1/A2 that carry a post-quantum share."""
MAX_DEPTH: Final = 6

Item = int | bytes | str | bool | None | list["Item"] | dict["Item", "Item"]


def encode(value: object) -> bytes:
    """Return the one deterministic encoding of `value` (ints, byte and text strings, arrays, maps, booleans, null).

    Map keys must be such that their order by length (cbor2's, RFC 7049) is the order by bytes (RFC 8949 4.2.1), as in every
    map of Triad-1; `decode` refuses other maps, in either order.
    """
    return cbor2.dumps(value, canonical=True)


def encode_array(*items: Any) -> bytes:
    """Return `CBOR[items...]`, the notation of Triad-1 1.1.

    What contexts and transcripts consist of, byte strings, small numbers and labels, is joined here: this is called some
    70 times in a session, and the walk of the library costs twice as much.
    """
    if len(items) >= 24:
        return cbor2.dumps(items, canonical=True)
    parts = [_ARRAY_HEADS[len(items)]]
    for item in items:
        kind = type(item)
        if kind is bytes and len(item) <= MAX_SIZE_LARGE:
            parts.append(BSTR_HEADS[len(item)])
            parts.append(item)
        elif kind is int and 0 <= item < 256:
            parts.append(_UINTS[item])
        elif kind is str:
            parts.append(_text(item))
        else:
            return cbor2.dumps(items, canonical=True)
    return b"".join(parts)


@lru_cache(256)
def _text(value: str) -> bytes:
    return cbor2.dumps(value)


def bstr(value: bytes) -> bytes:
    """Return the encoding of a byte string: what `encode` returns, without the walk."""
    length = len(value)
    return BSTR_HEADS[length] + value if length <= MAX_SIZE_LARGE else cbor2.dumps(bytes(value))


def uint(value: int) -> bytes:
    """Return the encoding of an unsigned integer: what `encode` returns, without the walk."""
    return _UINTS[value] if 0 <= value < 256 else cbor2.dumps(value)


def decode(data: bytes, *, max_size: int = MAX_SIZE) -> Item:
    """Return the value that `data` encodes.

    Raises:
        PeerFault: E_FORMAT when `data` is longer than `max_size` bytes, nested deeper than `MAX_DEPTH`, followed by
            further bytes, of a type outside the profile, or not the one encoding of its value.
    """
    if len(data) > max_size:
        raise PeerFault(ErrorCode.E_FORMAT, f"message of {len(data)} bytes, at most {max_size} are accepted")
    try:
        value = cbor2.loads(data)
    except Exception as exc:  # cbor2 interprets tags while it decodes; what those decoders raise is not a closed list
        raise PeerFault(ErrorCode.E_FORMAT, "not well-formed CBOR") from exc
    _check(value, MAX_DEPTH)
    if cbor2.dumps(value, canonical=True) != data:
        raise PeerFault(ErrorCode.E_FORMAT, "not the deterministic encoding of its value")
    return value  # type: ignore[no-any-return]  # cbor2 returns Any; _check has walked it


def decode_array(data: bytes, *, max_size: int = MAX_SIZE) -> list[Item]:
    """Return the array that `data` encodes; refuse any other type as `decode` does."""
    value = decode(data, max_size=max_size)
    if not isinstance(value, list):
        raise PeerFault(ErrorCode.E_FORMAT, "not a CBOR array")
    return value


def _check(value: object, depth: int) -> None:
    kind = type(value)
    if kind in _LEAVES:
        return
    if isinstance(value, int):
        if -(2**64) <= value < 2**64:
            return
        raise PeerFault(ErrorCode.E_FORMAT, "integer beyond 64 bits")
    if depth == 0:
        raise PeerFault(ErrorCode.E_FORMAT, f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, list):
        for item in value:
            if type(item) not in _LEAVES:
                _check(item, depth - 1)
    elif isinstance(value, dict):
        majors = [_major(key) for key in value]
        if majors != sorted(majors):
            raise PeerFault(ErrorCode.E_FORMAT, "map keys are sorted by length, not by their bytes")
        for key, item in value.items():
            _check(key, depth - 1)
            _check(item, depth - 1)
    else:
        raise PeerFault(ErrorCode.E_FORMAT, f"type {kind.__name__} is outside the profile")


def _major(key: object) -> int:
    """Return a rank that orders keys of different kinds as the first bits of their encodings do (RFC 8949 3.1)."""
    match key:
        case bool() | None:
            return 7
        case int():
            return 0 if key >= 0 else 1
        case bytes():
            return 2
        case str():
            return 3
    return 4


BSTR_HEADS: Final = tuple(cbor2.dumps(bytes(length))[: -length or None] for length in range(MAX_SIZE_LARGE + 1))
"""What stands before a byte string of so many bytes, for each length that fits into a message."""
_ARRAY_HEADS: Final = tuple(bytes((0x80 + count,)) for count in range(24))
_UINTS: Final = tuple(cbor2.dumps(value) for value in range(256))
_LEAVES: Final[frozenset[type]] = frozenset({bytes, str, bool, type(None)})
