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
MAX_SIZE_BUNDLE: Final = 8192
"""Bytes of the answer to NEED, which carries up to 32 messages of a group's round (docs/decisions/0140)."""
MAX_DEPTH: Final = 6

Item = int | bytes | str | bool | None | list["Item"] | dict["Item", "Item"]


def encode(value: object) -> bytes:
    """Return the one deterministic encoding of `value` (ints, byte and text strings, arrays, maps, booleans, null).

    Map keys must be such that their order by length (cbor2's, RFC 7049) is the order by bytes (RFC 8949 4.2.1), as in every
    map of Triad-1; `decode` refuses other maps, in either order.
    """
    return cbor2.dumps(value, canonical=True)


class Template:
    """Arrays of one shape, written by one formatting call: what stands between their items depends on lengths alone.

    `opening` is the head of the array and what precedes the items; the items at the places `written` come encoded, all
    others are byte strings.
    """

    __slots__ = ("_known", "_opening", "_written")

    def __init__(self, opening: bytes, written: frozenset[int]) -> None:
        self._opening = opening
        self._written = written
        self._known: dict[tuple[int, ...], bytes] = {}

    def join(self, items: tuple[bytes, ...]) -> bytes:
        """Return the encoding of the array of `items`; TypeError for an item that is no byte string."""
        lengths = tuple(map(len, items))
        known = self._known.get(lengths)
        if known is None:
            known = self._learn(lengths)
        return known % items

    def _learn(self, lengths: tuple[int, ...]) -> bytes:
        heads = [b"" if place in self._written else _bstr_head(length) for place, length in enumerate(lengths)]
        parts = [part.replace(b"%", b"%%") for part in (self._opening, *heads)]
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[lengths] = template = b"".join([parts[0], *(part + b"%b" for part in parts[1:])])
        return template


def encode_array(*items: Any) -> bytes:
    """Return `CBOR[items...]`, the notation of Triad-1 1.1, for at most 255 items.

    What contexts and transcripts consist of, byte strings, small numbers and labels, is joined here: this is called some
    50 times in a session or an enrolment, and the walk of the library costs two to three times as much.
    """
    parts = [_ARRAY_HEADS[len(items)]]
    for item in items:
        kind = type(item)
        if kind is bytes:
            parts += _bstr_head(len(item)), item
        elif kind is int:
            parts.append(uint(item))
        else:
            parts.append(tstr(item) if kind is str else encode(item))
    return b"".join(parts)


@lru_cache(256)
def tstr(value: str) -> bytes:
    """Return the encoding of a text string: what `encode` returns, kept for the few that come again and again."""
    return cbor2.dumps(value)


def bstr(value: bytes) -> bytes:
    """Return the encoding of a byte string: what `encode` returns, without the walk."""
    return _bstr_head(len(value)) + value


def _bstr_head(length: int) -> bytes:
    return BSTR_HEADS[length] if length <= MAX_SIZE_LARGE else cbor2.dumps(bytes(length))[:-length]


def uint(value: int) -> bytes:
    """Return the encoding of an unsigned integer: what `encode` returns, without the walk."""
    return UINTS[value] if 0 <= value < 256 else cbor2.dumps(value)


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


def decode_sequence(data: bytes, *, max_size: int = MAX_SIZE) -> list[Item]:
    """Return the items of a CBOR sequence (RFC 8742), possibly none; refuse what `decode` would refuse of any of them."""
    if len(data) > max_size:
        raise PeerFault(ErrorCode.E_FORMAT, f"message of {len(data)} bytes, at most {max_size} are accepted")
    try:
        items = cbor2.loads(b"\x9f" + data + b"\xff")  # the items of an array of indefinite length
    except Exception as exc:  # as in `decode`
        raise PeerFault(ErrorCode.E_FORMAT, "not well-formed CBOR") from exc
    _check(items, MAX_DEPTH + 1)
    # a break inside `data` ends the array early: then its items are fewer than the data
    if b"".join([cbor2.dumps(item, canonical=True) for item in items]) != data:
        raise PeerFault(ErrorCode.E_FORMAT, "not the deterministic encoding of its items")
    return items  # type: ignore[no-any-return]  # cbor2 returns Any; _check has walked it


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
UINTS: Final = tuple(cbor2.dumps(value) for value in range(256))
_ARRAY_HEADS: Final = tuple(cbor2.dumps([None] * length)[: -length or None] for length in range(256))
"""What stands before the items of an array, for each number of them."""
_MOST_KNOWN: Final = 1024
"""Templates kept of a kind: more than the lengths that a protocol's own messages come in."""
_LEAVES: Final[frozenset[type]] = frozenset({bytes, str, bool, type(None)})
