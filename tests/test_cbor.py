"""One value, one encoding: what the codec writes, and every other form that it refuses."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymote import cbor
from keymote.errors import ErrorCode, PeerFault

RFC_8949_APPENDIX_A = {
    "00": 0,
    "01": 1,
    "0a": 10,
    "17": 23,
    "1818": 24,
    "1819": 25,
    "1864": 100,
    "1903e8": 1000,
    "1a000f4240": 1000000,
    "1b000000e8d4a51000": 1000000000000,
    "1bffffffffffffffff": 18446744073709551615,
    "3bffffffffffffffff": -18446744073709551616,
    "20": -1,
    "29": -10,
    "3863": -100,
    "3903e7": -1000,
    "f4": False,
    "f5": True,
    "f6": None,
    "40": b"",
    "4401020304": b"\1\2\3\4",
    "60": "",
    "6161": "a",
    "6449455446": "IETF",
    "62225c": '"\\',
    "62c3bc": "\u00fc",
    "63e6b0b4": "\u6c34",
    "64f0908591": "\U00010151",
    "80": [],
    "83010203": [1, 2, 3],
    "8301820203820405": [1, [2, 3], [4, 5]],
    "98190102030405060708090a0b0c0d0e0f101112131415161718181819": list(range(1, 26)),
    "a0": {},
    "a201020304": {1: 2, 3: 4},
    "a26161016162820203": {"a": 1, "b": [2, 3]},
    "826161a161626163": ["a", {"b": "c"}],
}

REFUSED = {
    "nothing": "",
    "an integer that fits the first byte, in two": "1817",
    "an integer in three bytes that fits two": "190018",
    "an integer in five bytes that fits three": "1a0000ffff",
    "an integer in nine bytes that fits five": "1b00000000ffffffff",
    "a negative integer in a longer form": "3800",
    "a byte string with a longer length": "580101",
    "a text string with a longer length": "780161",
    "an array with a longer length": "980101",
    "a map with a longer length": "b8010102",
    "an indefinite byte string": "5f4101ff",
    "an indefinite text string": "7f6161ff",
    "an indefinite array": "9f01ff",
    "an indefinite empty array": "9fff",
    "an indefinite map": "bf0102ff",
    "a break alone": "ff",
    "map keys out of order": "a203040102",
    "map keys ordered by length first where bytes decide": "a2616201616101",
    "a repeated key": "a201020103",
    "a repeated key with the same value": "a201020102",
    "a half float": "f93c00",
    "a single float": "fa47c35000",
    "a double float": "fb3ff199999999999a",
    "infinity": "f97c00",
    "not a number": "f97e00",
    "undefined": "f7",
    "a simple value": "f0",
    "a simple value in two bytes": "f8ff",
    "a simple value below 32 in two bytes": "f818",
    "a date as text": "c074323031332d30332d32315432303a30343a30305a",
    "a date as a number": "c11a514b67b0",
    "a bignum": "c249010000000000000000",
    "a negative bignum": "c349010000000000000000",
    "a bignum that fits an integer": "c24101",
    "a decimal fraction": "c48221196ab3",
    "a tagged COSE_Sign1": "d28443a10132a0404100",
    "a tag that nobody knows": "da000100004101",
    "self-described CBOR": "d9d9f7820102",
    "a shared reference": "d81c80",
    "text that is not UTF-8": "61ff",
    "text with a surrogate": "63eda080",
    "a reserved additional information": "1c",
    "an array that ends early": "8201",
    "a byte string that ends early": "4201",
    "an array of 2^64 - 1 items": "9bffffffffffffffff",
    "a byte string of 2^64 - 1 bytes": "5bffffffffffffffff",
    "a text as a map key out of order": "a2616101 01 02".replace(" ", ""),
    "an array as a map key": "a1800 0".replace(" ", ""),
    "a map as a map key": "a1a000",
    "a float as a map key": "a1f93c0001",
    "a second item": "0101",
    "a float deep inside": "8181f93c00",
    "a tag deep inside": "a10181c24101",
    "undefined deep inside": "a10181f7",
}


def refused(data: bytes) -> PeerFault:
    with pytest.raises(PeerFault) as fault:
        cbor.decode(data)
    assert fault.value.code is ErrorCode.E_FORMAT
    return fault.value


@pytest.mark.parametrize("text", RFC_8949_APPENDIX_A)
def test_CM01_examples_of_rfc8949_both_ways(text: str) -> None:
    value = RFC_8949_APPENDIX_A[text]
    found = cbor.decode(bytes.fromhex(text))
    assert (found, type(found)) == (value, type(value))
    assert cbor.encode(value).hex() == text


@pytest.mark.parametrize("why", REFUSED)
def test_CM01_IM03_every_other_form_is_refused(why: str) -> None:
    refused(bytes.fromhex(REFUSED[why]))


@pytest.mark.parametrize(
    "keys",
    [
        [0, 10, 23, 24, 100, 255, 256, 100000, 2**40],
        [-1, -24, -25, -70001, -(2**40)],
        ["", "b", "z", "aa", "zz", "aaa"],
        [b"", b"\xff", b"\0\0", bytes(24)],
        [1, 2, 4, 6, 7, -70001],
        [4, 6, 10, 12, "text"],
    ],
    ids=str,
)
def test_CM01_map_keys_are_sorted_by_their_encoded_bytes(keys: list[object]) -> None:
    data = cbor.encode(dict.fromkeys(reversed(keys), 0))
    assert data == cbor.encode(dict.fromkeys(keys, 0))
    found = cbor.decode(data)
    assert isinstance(found, dict)
    assert list(found) == keys
    assert [cbor.encode(key) for key in keys] == sorted(cbor.encode(key) for key in keys)


@pytest.mark.parametrize(
    ("short", "long"), [(-1, 100), ("a", 100000), (b"", 24), (False, 1000), (-1, 2**40), ("", -70001)]
)
def test_CM01_where_order_by_length_and_by_bytes_differ_both_are_refused(short: object, long: object) -> None:
    """RFC 7049 sorted by length first, as cbor2 does; RFC 8949 by bytes. Our maps are those on which both agree."""
    by_length = b"\xa2" + cbor.encode(short) + b"\0" + cbor.encode(long) + b"\0"
    by_bytes = b"\xa2" + cbor.encode(long) + b"\0" + cbor.encode(short) + b"\0"
    assert cbor.encode({short: 0, long: 0}) == by_length
    for data in (by_length, by_bytes, b"\x81" + by_length):
        refused(data)


def test_CM02_truncations_and_further_bytes_are_refused() -> None:
    data = cbor.encode([2, bytes(300), {1: "text", -1: [True, None, 2**33]}])
    for end in range(len(data)):
        refused(data[:end])
    for more in (b"\0", b"\xf6", b"\xff", data):
        refused(data + more)


def nested(depth: int, innermost: object = 1) -> object:
    value = innermost
    for level in range(depth):
        value = [value] if level % 2 else {1: value}
    return value


def test_CM03_depth_six_is_accepted_and_seven_refused() -> None:
    assert cbor.decode(cbor.encode(nested(6))) == nested(6)
    assert "deeper than 6" in str(refused(cbor.encode(nested(7))))
    assert cbor.decode(cbor.encode(nested(6, b"leaf"))) == nested(6, b"leaf")
    refused(cbor.encode(nested(7, b"leaf")))
    for bomb in (b"\x81" * 1279 + b"\0", b"\xa1\x00" * 600 + b"\0", b"\xc2" * 1000 + b"\0"):
        refused(bomb)


def test_CM03_a_message_above_its_limit_is_refused_before_it_is_read() -> None:
    assert cbor.decode(cbor.encode(bytes(1277))) == bytes(1277)
    assert "at most 1280" in str(refused(cbor.encode(bytes(1278))))
    assert cbor.decode(cbor.encode(bytes(2045)), max_size=cbor.MAX_SIZE_LARGE) == bytes(2045)
    with pytest.raises(PeerFault, match="at most 2048"):
        cbor.decode(cbor.encode(bytes(2046)), max_size=cbor.MAX_SIZE_LARGE)


def test_only_an_array_is_an_array() -> None:
    assert cbor.decode_array(b"\x82\x01\x02") == [1, 2]
    for data in (b"\xa0", b"\x01", b"\x41\x01", b"\x61a", b"\xf6", b"\xf5"):
        with pytest.raises(PeerFault, match="not a CBOR array"):
            cbor.decode_array(data)


def test_the_notation_of_the_text_is_an_array_of_its_arguments() -> None:
    assert cbor.encode_array("TRIAD1/A/k3", b"\1", 32) == cbor.encode(["TRIAD1/A/k3", b"\1", 32])
    assert cbor.encode_array() == b"\x80"


def test_IM10_a_refusal_does_not_repeat_the_bytes() -> None:
    secret = b"correct horse battery staple"
    for data in (b"\x9f" + cbor.encode(secret) + b"\xff", cbor.encode(secret) + b"\0", b"\xc1" + cbor.encode(secret)):
        assert "correct horse" not in str(refused(data))


leaves = st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=40) | st.text(max_size=20)
key_kinds = [st.integers(0, 2**64 - 1), st.integers(-(2**64), -1), st.binary(max_size=30), st.text(max_size=30)]
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.sampled_from(key_kinds).flatmap(lambda kind: st.dictionaries(kind, inner, max_size=4))
    ),
    max_leaves=12,
)


@given(st.lists(trees, max_size=30))
def test_the_notation_writes_what_the_encoding_of_the_list_is(items: list[object]) -> None:
    assert cbor.encode_array(*items) == cbor.encode(items)


def depth(value: object) -> int:
    match value:
        case list():
            return 1 + max(map(depth, value), default=0)
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
    return 0


@given(trees)
def test_CM05_whatever_is_written_reads_back_the_same(value: object) -> None:
    data = cbor.encode(value)
    if depth(value) > 6 or len(data) > 1280:
        refused(data)
    else:
        assert cbor.decode(data) == value
        assert cbor.encode(cbor.decode(data)) == data


@given(st.binary(max_size=100))
def test_CM01_CM05_any_bytes_decode_to_themselves_or_are_refused(data: bytes) -> None:
    try:
        value = cbor.decode(data)
    except PeerFault as fault:
        accepted = fault.code is not ErrorCode.E_FORMAT
        assert not accepted
    else:
        assert cbor.encode(value) == data


@given(trees, st.data())
def test_CM05_a_changed_encoding_is_another_value_or_refused(value: object, data: st.DataObject) -> None:
    """Two byte strings never mean one value: what a hash covers is what the receiver acts on (I-03)."""
    good = cbor.encode(value)
    at, bit = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 7))
    changed = good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :]
    try:
        found = cbor.decode(changed)
    except PeerFault:
        return
    assert cbor.encode(found) == changed != good


@given(trees)
def test_CM01_the_loose_encodings_of_a_value_are_refused(value: object) -> None:
    """Another encoder without the deterministic profile writes the same value otherwise, or the same."""
    loose = cbor2.dumps(value, canonical=False)
    if len(loose) > 1280 or depth(value) > 6:
        return
    if loose == cbor.encode(value):
        assert cbor.decode(loose) == value
    else:
        refused(loose)
