"""EDHOC's messages: one encoding each, both directions, and nothing else accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymote import cbor
from keymote.errors import PeerFault
from keymote.wire.edhoc import (
    Ccs,
    Ead,
    ErrorMessage,
    Message1,
    Plaintext2,
    Plaintext3,
    decode_ciphertext,
    decode_message_2,
    decode_plaintext_4,
    encode_ciphertext,
    encode_eads,
    encode_identifier,
    encode_message_2,
    id_cred_by_kid,
)

identifiers = st.binary(max_size=64)
eads = st.lists(st.builds(Ead, st.integers(-70000, 70000), st.none() | st.binary(max_size=30)), max_size=4).map(tuple)
id_creds = st.one_of(
    identifiers.map(id_cred_by_kid),
    st.binary(min_size=8, max_size=32).map(lambda hashed: cbor.encode({34: [-15, hashed]})),
    st.just(cbor.encode({14: {2: "dev", 8: {1: {1: 1, -1: 4, -2: bytes(32)}}}})),
)
suites = st.one_of(
    st.integers(-30, 300).map(lambda one: (one,)), st.lists(st.integers(-30, 300), min_size=2, max_size=5).map(tuple)
)
proofs = st.binary(min_size=8, max_size=70)


@given(message=st.builds(Message1, st.integers(0, 300), suites, st.binary(min_size=20, max_size=48), identifiers, eads))
def test_ED01_message_1_reads_as_it_was_written(message: Message1) -> None:
    assert Message1.decode(message.encode()) == message


@given(plaintext=st.builds(Plaintext2, identifiers, id_creds, proofs, eads))
def test_ED01_plaintext_2_reads_as_it_was_written(plaintext: Plaintext2) -> None:
    assert Plaintext2.decode(plaintext.encode()) == plaintext


@given(plaintext=st.builds(Plaintext3, id_creds, proofs, eads))
def test_ED01_plaintext_3_reads_as_it_was_written(plaintext: Plaintext3) -> None:
    assert Plaintext3.decode(plaintext.encode()) == plaintext


@given(eads=eads)
def test_ED01_plaintext_4_reads_as_it_was_written(eads: tuple[Ead, ...]) -> None:
    assert decode_plaintext_4(encode_eads(eads)) == eads


@given(data=st.binary(max_size=60))
def test_ED01_what_is_accepted_has_one_encoding(data: bytes) -> None:
    for kind in (Message1, Plaintext2, Plaintext3, ErrorMessage):
        try:
            read = kind.decode(data)
        except PeerFault:
            continue
        assert read.encode() == data


GOLDEN = [
    Message1(3, (2,), bytes(range(32)), b"\x0e"),
    Message1(0, (6, 2), bytes(range(32)), b"longer", (Ead(-1, b"x"), Ead(0))),
    Plaintext2(b"\x01", id_cred_by_kid(b"\x0a"), bytes(8)),
    Plaintext2(b"", id_cred_by_kid(b"longer"), bytes(64), (Ead(5, b""),)),
    Plaintext3(id_cred_by_kid(b"\x37"), bytes(8)),
    Plaintext3(cbor.encode({34: [-15, bytes(8)]}), bytes(64)),
]


@pytest.mark.parametrize("message", GOLDEN, ids=lambda message: type(message).__name__)
def test_ED01_truncations_and_additions_are_refused(message: Message1 | Plaintext2 | Plaintext3) -> None:
    data = message.encode()
    complete = message._replace(eads=()).encode()
    for end in range(len(complete)):
        with pytest.raises(PeerFault):
            type(message).decode(data[:end])
    for more in (b"\x40", b"\xff", b"\x60", b"\x9f", b"\x00\x40\x40"):
        with pytest.raises(PeerFault):
            type(message).decode(complete + more)


@pytest.mark.parametrize("byte", range(256))
def test_ED02_one_byte_stands_as_an_integer_where_it_is_one(byte: int) -> None:
    raw = bytes((byte,))
    is_integer = byte < 0x18 or 0x20 <= byte < 0x38
    assert encode_identifier(raw) == (raw if is_integer else b"\x41" + raw)
    assert raw == Plaintext2.decode(encode_identifier(raw) + b"\x00\x48" + bytes(8)).C_R
    if is_integer:
        for bad in (b"\x41" + raw + b"\x00", b"\x00\x41" + raw, b"\x00\xa1\x04\x41" + raw):
            with pytest.raises(PeerFault):
                Plaintext2.decode(bad + b"\x48" + bytes(8))


@pytest.mark.parametrize(
    "id_cred",
    [{}, {4: b"ab"}, {1.5: b""}, {(): b""}, [4], "kid", None, True, 24, -25],
    ids=str,
)
def test_ED08_what_is_no_reference_to_a_credential_is_refused(id_cred: object) -> None:
    with pytest.raises(PeerFault):
        Plaintext3.decode(cbor.encode(id_cred) + b"\x48" + bytes(8))


@given(key=st.binary(min_size=32, max_size=32), rest=st.binary(min_size=1, max_size=300))
def test_ED01_message_2_is_one_byte_string(key: bytes, rest: bytes) -> None:
    data = encode_message_2(key, rest)
    assert decode_message_2(data) == (key, rest)
    for bad in (data + b"\x00", data[:-1], b"\x58" + data, encode_ciphertext(key)):
        with pytest.raises(PeerFault):
            decode_message_2(bad)


@pytest.mark.parametrize("bad", [b"", b"\x40\x00", b"\x41", b"\x58\x01a", b"\x5f\x41a\xff", b"\x60", b"\x81\x40"])
def test_ED01_a_ciphertext_is_one_byte_string(bad: bytes) -> None:
    with pytest.raises(PeerFault):
        decode_ciphertext(bad)


@pytest.mark.parametrize(
    "error",
    [ErrorMessage(1, "why"), ErrorMessage(2, (0,)), ErrorMessage(2, (0, 2)), ErrorMessage(3, True), ErrorMessage(9, 5)],
)
def test_ED11_error_messages_read_as_they_were_written(error: ErrorMessage) -> None:
    assert ErrorMessage.decode(error.encode()) == error


@pytest.mark.parametrize("bad", ["", "00f6", "0102", "02820002 00", "0281", "028102", "03f4", "01", "6101", "0261 32"])
def test_ED11_other_error_messages_are_refused(bad: str) -> None:
    with pytest.raises(PeerFault):
        ErrorMessage.decode(bytes.fromhex(bad))


def test_ED08_claims_without_a_key_of_a_curve_are_refused() -> None:
    good = {1: 2, 2: b"\x0a", -1: 1, -2: bytes(32), -3: bytes(32)}
    claims = Ccs.decode(cbor.encode({2: "dev", 8: {1: good}}))
    assert (claims.sub, claims.kid, claims.crv, claims.x, claims.y) == ("dev", b"\x0a", 1, bytes(32), bytes(32))
    for change in ({1: 3}, {1: 1}, {2: 10}, {-1: b""}, {-2: bytes(31)}, {-2: "x"}, {-3: bytes(33)}, {-3: True}):
        with pytest.raises(PeerFault):
            Ccs.decode(cbor.encode({2: "dev", 8: {1: good | change}}))
    for other in ({2: "dev"}, {8: good}, {8: {1: {}}}, [8]):
        with pytest.raises(PeerFault):
            Ccs.decode(cbor.encode(other))
