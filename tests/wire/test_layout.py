"""Reading by layout and reading by items are one decoder: what one accepts, the other accepts with the same values."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymote import cbor
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.cose import PROTECTED, Sign1
from keymote.wire.fields import SIZES, Sizes
from keymote.wire.group_signed import FORMS, read
from keymote.wire.layout import Exactly, octets, reader, uint
from keymote.wire.message import Body, Message
from keymote.wire.registry import MESSAGES

B = TypeVar("B", bound=Body)
NOTHING: Final[Mapping[Any, Any]] = {}
INTEGERS = [0, 1, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1]
LENGTHS = [0, 1, 16, 23, 24, 32, 255, 256, 1040, 1041]


@pytest.mark.parametrize("value", INTEGERS)
@pytest.mark.parametrize("bits", [2, 8, 32])
def test_CM01_an_integer_is_read_in_its_shortest_form_alone(value: int, bits: int) -> None:
    read = reader(b"\x81", [uint(bits)])
    assert read(cbor.encode([value])) == ([value] if value < 1 << bits else None)
    for size, head in ((1, 0x18), (2, 0x19), (4, 0x1A), (8, 0x1B)):
        if value < 1 << 8 * size:
            longer = bytes((0x81, head)) + value.to_bytes(size, "big")
            expected = [value] if longer == cbor.encode([value]) and value < 1 << bits else None
            assert read(longer) == expected


@pytest.mark.parametrize("length", LENGTHS)
def test_CM01_a_byte_string_is_read_with_its_shortest_head_alone(length: int) -> None:
    value = bytes(length)
    ranged, exact = reader(b"\x81", [octets(16, 1040)]), reader(b"\x81", [Exactly(length)])
    encoded = cbor.encode([value])
    assert ranged(encoded) == ([value] if 16 <= length <= 1040 else None)
    assert list(exact(encoded) or ()) == [value]
    for size, head in ((1, 0x58), (2, 0x59), (4, 0x5A), (8, 0x5B)):
        longer = bytes((0x81, head)) + (length % (1 << 8 * size)).to_bytes(size, "big") + value
        if longer != encoded:
            assert ranged(longer) is None and exact(longer) is None
    assert ranged(b"\x81\x5f" + cbor.encode(value) + b"\xff") is None, "indefinite length"


def slowly(kind: type[Message], data: bytes, sizes: Sizes) -> Message | None:
    try:
        return kind.from_items(cbor.decode_array(data, max_size=kind.max_size), sizes)
    except PeerFault:
        return None


def quickly(kind: type[Message], data: bytes, sizes: Sizes) -> Message | None:
    """Read as `decode` does before it asks what is wrong, at first sight and with what was learned from it."""
    known = kind._known.get((len(data), data[:1], sizes.point))  # noqa: SLF001  # of a message of the same length
    before = None if known is None else known(data)
    values = kind._first_read(data, sizes)  # noqa: SLF001
    if values is None:
        assert before is None
        return None
    again = kind._known[len(data), data[:1], sizes.point](data)  # noqa: SLF001
    assert again is not None
    assert list(again) == list(values)
    assert before is None or list(before) == list(values)
    return kind(*values)


leaves = st.one_of(
    st.integers(0, 300),
    st.sampled_from(INTEGERS),
    st.sampled_from([8, 16, 32, 33, 48, 49, 64, 80, 96]).flatmap(lambda n: st.binary(min_size=n, max_size=n)),
    st.binary(max_size=300),
    st.tuples(
        st.sampled_from([b"\xa1\x012", b"\xa1\x01(", b"\xa1\x01'"]),
        st.sampled_from([{}, {4: bytes(8)}, {4: bytes(7)}, {5: bytes(8)}]),
        st.binary(max_size=40),
        st.sampled_from([bytes(64), bytes(63)]),
    ).map(list),
    st.tuples(
        st.sampled_from([b"", b"\0"]),
        st.fixed_dictionaries(
            {4: st.binary(min_size=1, max_size=8), 6: st.binary(max_size=4), 10: st.binary(min_size=2, max_size=3)},
            optional={12: st.sampled_from([bytes(64), bytes(63)]), 11: st.just(b"")},
        ),
        st.sampled_from([bytes(7), bytes(8), bytes(24), bytes(1040), bytes(1041)]),
    ).map(list),
    st.lists(st.integers(0, 300), max_size=9),
    st.none(),
    st.booleans(),
)


@given(kind=st.sampled_from(MESSAGES), sizes=st.sampled_from(list(SIZES.values())), data=st.data())
def test_CM04_both_ways_of_reading_agree_on_arrays(kind: type[Message], sizes: Sizes, data: Any) -> None:
    array = [kind.mt, *data.draw(st.lists(leaves, max_size=10))]
    wire = cbor.encode(array)
    assert quickly(kind, wire, sizes) == slowly(kind, wire, sizes)


@given(
    kind=st.sampled_from(MESSAGES),
    sizes=st.sampled_from(list(SIZES.values())),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=2),
    cut=st.integers(0, 3),
    data=st.data(),
)
def test_CM02_both_ways_of_reading_agree_on_damaged_messages(
    kind: type[Message], sizes: Sizes, changes: list[tuple[int, int]], cut: int, data: Any
) -> None:
    wire = bytearray(whole(kind, sizes).encode())
    for at, value in changes:
        wire[at % len(wire)] ^= value
    damaged = bytes(wire[: len(wire) - cut])
    quick, slow = quickly(kind, damaged, sizes), slowly(kind, damaged, sizes)
    assert quick == slow
    assert slow is None or slow.encode() == damaged


def whole(kind: type[B], sizes: Sizes, preferred: Mapping[Any, Any] = NOTHING) -> B:
    """Return a message of this kind with every field in place; `preferred` values go where they fit."""
    values: list[Any] = []
    for field in kind._types:  # noqa: SLF001
        for candidate in [*([preferred[field]] if field in preferred else []), *CANDIDATES]:
            try:
                values.append(field.accept(candidate, sizes))
                break
            except PeerFault:
                continue
        else:
            raise AssertionError(f"no sample for {field}")
    return kind(*values)


CANDIDATES = [
    3,
    "telemetry/power",
    1,
    [1, 17],
    [b"\xa1\x012", {4: bytes(8)}, b"payload", bytes(64)],
    [b"\xa1\x012", {}, b"payload", bytes(64)],
    [b"a message", bytes(300)],
    [b"", {4: b"\5", 6: b"\1\0", 10: b"\0\7", 12: bytes(64)}, bytes(24)],
    [b"telemetry"],
    [[bytes(8), bytes(32)], [b"\1" * 8, bytes(32)]],
    [[bytes(8), bytes(33)], [b"\1" * 8, bytes(33)]],
    [bytes(8)],
    bytes(4),
    [b"", {4: b"sess\1", 6: b"\1\0", 12: bytes(64)}, bytes(24)],
    *(bytes(length) for length in (*range(8, 400), 1168, 6)),
]


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_CM05_writing_is_the_encoding_of_the_items(kind: type[Message]) -> None:
    for sizes in SIZES.values():
        message = whole(kind, sizes)
        assert message.encode() == cbor.encode(message.items())
        assert message.encode(without=1) == cbor.encode(message.items()[:-1])
        assert quickly(kind, message.encode(), sizes) == message


def signed(claims: type[Body], sizes: Sizes, payload: bytes) -> bytes:
    """Return a message with these claims, whose signature is nobody's."""
    kid = bytes(8) if FORMS[claims].kid else None
    message: Message = FORMS[claims].message(Sign1(PROTECTED[1 if sizes.point == 32 else 17], kid, payload, bytes(64)))
    return message.encode()


def slowly_signed(claims: type[Body], data: bytes, sizes: Sizes) -> tuple[Any, Body] | None:
    message: type[Any] = FORMS[claims].message
    try:
        envelope = message.from_items(cbor.decode_array(data, max_size=message.max_size), sizes).envelope
        return envelope, claims.from_items(cbor.decode_array(envelope.payload, max_size=claims.max_size), sizes)
    except PeerFault:
        return None


@given(
    claims=st.sampled_from(sorted(FORMS, key=lambda kind: kind.__name__)),
    sizes=st.sampled_from([SIZES[1], SIZES[17]]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=2),
    data=st.data(),
)
def test_CM02_a_signed_message_is_read_in_one_step_as_in_two(
    claims: type[Body], sizes: Sizes, changes: list[tuple[int, int]], data: Any
) -> None:
    numbers = {kind: data.draw(st.sampled_from([1, 2, 23, 24, 31])) for kind in claims._types if not kind.octets}  # noqa: SLF001
    wire = signed(claims, sizes, whole(claims, sizes, numbers).encode())
    assert tuple(read(wire, claims, sizes)) == slowly_signed(claims, wire, sizes), "at first sight, or as learned"
    assert tuple(read(wire, claims, sizes)) == slowly_signed(claims, wire, sizes), "as learned"
    damaged = bytearray(wire)
    for at, value in changes:
        damaged[at % len(wire)] ^= value
    slow = slowly_signed(claims, bytes(damaged), sizes)
    if slow is not None:
        assert tuple(read(bytes(damaged), claims, sizes)) == slow
        return
    with pytest.raises(PeerFault) as refused:
        read(bytes(damaged), claims, sizes)
    assert refused.value.code is ErrorCode.E_FORMAT
