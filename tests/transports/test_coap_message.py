"""The CoAP format against RFC 7252's own examples, and against every way to spoil a message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymote.errors import ErrorCode, PeerFault
from keymote.transports.coap.message import Block, CoapMessage, Code, Kind, Option, empty, uint

# RFC 7252 appendix A, figure 16: CON GET, MID 0x7d34, /temperature; and its piggybacked answer "22.3 C"
GET_TEMPERATURE = bytes.fromhex("40017d34bb") + b"temperature"
ANSWER = bytes.fromhex("60457d34ff") + b"22.3 C"


def test_reads_and_writes_the_examples_of_rfc_7252() -> None:
    request = CoapMessage(Kind.CON, Code.GET, 0x7D34, b"", ((Option.URI_PATH, b"temperature"),))
    assert request.encode() == GET_TEMPERATURE
    assert CoapMessage.decode(GET_TEMPERATURE) == request
    assert CoapMessage.decode(ANSWER) == CoapMessage(Kind.ACK, Code.CONTENT, 0x7D34, payload=b"22.3 C")
    assert CoapMessage.decode(ANSWER).encode() == ANSWER


def test_options_are_sorted_and_long_ones_extended() -> None:
    message = CoapMessage(Kind.NON, Code.POST, 1, b"\x01\x02", ((292, b"x"), (Option.URI_PATH, b"a" * 300)), b"p")
    assert CoapMessage.decode(message.encode()).options == ((Option.URI_PATH, b"a" * 300), (292, b"x"))


def test_an_empty_message_is_four_bytes() -> None:
    assert empty(Kind.RST, 0x1234) == bytes.fromhex("70001234")
    assert CoapMessage.decode(empty(Kind.ACK, 7)) == CoapMessage(Kind.ACK, Code.EMPTY, 7)


@pytest.mark.parametrize(
    "spoiled",
    [
        b"",
        GET_TEMPERATURE[:3],
        b"\x00" + GET_TEMPERATURE[1:],  # version 0
        b"\x49" + GET_TEMPERATURE[1:],  # token of 9 bytes
        b"\x48\x01\x00\x00abc",  # token cut short
        GET_TEMPERATURE[:-1],  # option cut short
        b"\x40\x01\x00\x00\xff",  # marker without payload
        b"\x40\x01\x00\x00\xf0",  # reserved option delta
        b"\x40\x01\x00\x00\xd0",  # extended delta cut short
        b"\x40\x00\x00\x00x",  # empty message with something in it
        b"\x40\x01\x00\x00" + bytes(1500),
    ],
)
def test_refuses_what_is_not_a_message(spoiled: bytes) -> None:
    with pytest.raises(PeerFault) as refused:
        CoapMessage.decode(spoiled)
    assert refused.value.code is ErrorCode.E_FORMAT


@given(st.binary(max_size=80))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        message = CoapMessage.decode(data)
    except PeerFault:
        return
    assert CoapMessage.decode(message.encode()) == message


@given(
    st.sampled_from(Kind),
    st.integers(1, 255),
    st.integers(0, 65535),
    st.binary(max_size=8),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=40)), max_size=6),
    st.binary(max_size=64),
)
def test_what_is_encoded_is_decoded(
    kind: Kind, code: int, mid: int, token: bytes, options: list[tuple[int, bytes]], payload: bytes
) -> None:
    ordered = tuple(sorted(options, key=lambda option: option[0]))
    message = CoapMessage(kind, code, mid, token, ordered, payload)
    assert CoapMessage.decode(message.encode()) == message


@pytest.mark.parametrize(("block", "encoded"), [((0, False, 0), ""), ((0, True, 5), "0d"), ((37, False, 5), "0255")])
def test_blocks_are_shortest_integers(block: tuple[int, bool, int], encoded: str) -> None:
    assert Block(*block).encode().hex() == encoded
    assert Block.decode(bytes.fromhex(encoded)) == Block(*block)


def test_a_reserved_or_long_block_is_refused() -> None:
    for value in (b"\x07", bytes(4)):
        with pytest.raises(PeerFault):
            Block.decode(value)


def test_uint_is_shortest() -> None:
    assert (uint(0), uint(60), uint(11542)) == (b"", b"\x3c", b"\x2d\x16")
