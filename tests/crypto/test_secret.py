"""Key material hides, compares itself and does not travel."""

import copy
import pickle

import pytest

from keymote.crypto.secret import Secret, equal

RAW = bytes(range(32))


def test_IM10_repr_and_format_tell_the_length_only() -> None:
    shown = f"{Secret(RAW)} {Secret(RAW)!r} {[Secret(RAW)]}"
    assert shown == "Secret(32 bytes) Secret(32 bytes) [Secret(32 bytes)]"
    assert RAW.hex() not in shown


def test_bytes_leave_through_one_door() -> None:
    assert Secret(RAW).expose() == RAW
    assert Secret(bytearray(RAW)).expose() == RAW
    with pytest.raises(TypeError):
        bytes(Secret(RAW))  # type: ignore[call-overload]


def test_equality_is_of_secrets_with_secrets() -> None:
    assert Secret(RAW) == Secret(bytes(RAW))
    assert Secret(RAW) != Secret(RAW[::-1])
    assert Secret(RAW) != Secret(RAW[:31])
    assert Secret(RAW) != RAW


@pytest.mark.parametrize(
    "leak",
    [pickle.dumps, copy.copy, copy.deepcopy, hash, bool, lambda secret: {secret: 1}],
    ids=["pickle", "copy", "deepcopy", "hash", "bool", "dict key"],
)
def test_a_secret_does_not_travel(leak: object) -> None:
    with pytest.raises(TypeError):
        leak(Secret(RAW))  # type: ignore[operator]


def test_a_secret_takes_no_further_attributes() -> None:
    with pytest.raises(AttributeError):
        Secret(RAW).note = "for the log"  # type: ignore[attr-defined]


def test_what_is_parsed_from_a_secret_is_parsed_once_and_per_maker() -> None:
    made: list[str] = []

    def first(raw: bytes) -> int:
        made.append("first")
        return len(raw)

    def second(raw: bytes) -> bytes:
        made.append("second")
        return raw[:1]

    secret = Secret(RAW)
    assert (secret.parsed(first), secret.parsed(first), secret.parsed(second), secret.parsed(second)) == (
        32,
        32,
        b"\0",
        b"\0",
    )
    assert made == ["first", "second"]


def test_equal_compares_bytes() -> None:
    assert equal(RAW, bytes(RAW))
    assert not equal(RAW, RAW[:-1])
    assert not equal(RAW, RAW[:-1] + b"\xff")
