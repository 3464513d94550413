"""Codes as they are printed, typed back and misread."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymote import cbor
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.engine.label import Code, check_character, new_code, parse_code
from keymote.errors import CallerFault

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


@given(st.binary(min_size=16, max_size=16))
def test_EN06_what_is_printed_is_read_back(raw: bytes) -> None:
    code = Code(Secret(raw), weak=False)
    printed = code.printed()
    assert len(printed.replace("-", "")) == 27
    assert parse_code(printed) == parse_code(f" {printed.lower().replace('-', ' ')}\n") == code


@given(st.binary(min_size=16, max_size=16), st.integers(0, 26), st.integers(1, 31))
def test_EN06_every_single_wrong_character_is_noticed(raw: bytes, at: int, by: int) -> None:
    plain = Code(Secret(raw), weak=False).printed().replace("-", "")
    wrong = ALPHABET[(ALPHABET.index(plain[at]) + by) % 32]
    with pytest.raises(CallerFault):
        parse_code(plain[:at] + wrong + plain[at + 1 :])


def test_the_check_character_is_luhn_mod_32() -> None:
    # worked by hand: "ABC2" has the values 0 1 2 26; doubled from the right 26 -> 52 = 1 + 20, 1 -> 2: 0 + 2 + 2 + 21 = 25
    assert check_character("ABC2") == ALPHABET[-25 % 32]


def test_a_new_code_is_fresh_and_strong() -> None:
    entropy = SeededEntropy(b"labels")
    first, second = new_code(entropy), new_code(entropy)
    assert first != second
    assert not first.weak
    assert len(first.otc) == 16


def test_digit_codes_are_weak_until_they_hold_128_bits() -> None:
    assert parse_code("1234 5678") == Code(Secret(b"12345678"), weak=True)
    assert parse_code("1" * 38).weak
    assert not parse_code("1" * 39).weak
    assert parse_code("1234-5678").printed() == "12345678"
    assert parse_code("9" * 39).printed() == "9" * 39


@pytest.mark.parametrize(
    "text", ["", "1234567", "1" * 65, "ABC", "A" * 26, "A" * 28, "A" * 26 + "1", "Ä" * 27, "٣" * 8]
)
def test_what_is_no_code_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(CallerFault) as refused:
        parse_code(text)
    assert not text or text not in str(refused.value)


def test_spare_bits_of_the_last_character_must_be_zero() -> None:
    plain = "A" * 25 + "B"
    with pytest.raises(CallerFault, match="last character"):
        parse_code(plain + check_character(plain))


def test_EN05_prs_holds_both_codes_as_byte_strings() -> None:
    assert parse_code("12345678").prs() == Secret(cbor.encode([b"12345678", b""]))
    assert parse_code("12345678").prs(b"special") == Secret(cbor.encode([b"12345678", b"special"]))


def test_a_code_does_not_show_itself() -> None:
    assert "12345678" not in repr(parse_code("12345678"))
