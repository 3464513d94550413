"""The JSON form of a group's messages: nothing is lost between the two forms, and each message has one of each."""

import json
from base64 import urlsafe_b64encode
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.suites import SUITES
from keymote.errors import ErrorCode, PeerFault
from keymote.wire import group, group_record, group_signed, gsec, masking
from keymote.wire.cose import PROTECTED, InlineSign1, Sign1
from keymote.wire.fields import FieldType, Number, Octets, OneOf, Sized, Sizes, Text, Uint, sizes_of
from keymote.wire.group_fields import Cause, Datagrams, Entry, Kids, OrNull, Reason, RosterEntries, Which
from keymote.wire.gsec import Encrypt0, InlineEncrypt0
from keymote.wire.json_form import KINDS, MOST_JSON, from_json, to_json
from keymote.wire.message import Body, Message
from keymote.wire.registry import MESSAGES, name_of

VECTORS = {
    suite: json.loads((Path(__file__).parents[1] / "vectors" / name).read_text())
    for suite, name in ((1, "triad1.json"), (17, "triad1-p256.json"))
}
both_suites = pytest.mark.parametrize("suite", [1, 17], ids=["suite 1", "suite 17"])


def values(kind: type[Message], form: FieldType, suite: int) -> st.SearchStrategy[Any]:
    """Return what a field of this form may hold."""
    sizes = sizes_of(suite)
    eight = st.binary(min_size=8, max_size=8)
    match form:
        case OrNull(inner):
            return st.none() | values(kind, inner, suite)
        case Uint(bits):
            return st.integers(0, (1 << bits) - 1)
        case Number(least, most):
            return st.integers(least, most)
        case Text(most):
            return st.text(max_size=most // 4)
        case Octets(least, most):
            return st.binary(min_size=least, max_size=min(most or least, 200))
        case OneOf(lengths):
            return st.sampled_from(lengths).flatmap(lambda n: st.binary(min_size=n, max_size=n))
        case Sized(length):
            return st.binary(min_size=length(sizes), max_size=length(sizes))
        case Reason():
            return st.builds(Cause, st.integers(0, 4), st.just(b"") | eight)
        case RosterEntries(least, _):
            key = st.binary(min_size=sizes.point, max_size=sizes.point)
            entries = st.lists(st.builds(Entry, eight, key), min_size=least, max_size=5, unique_by=lambda e: e.kid)
            return entries.map(lambda found: tuple(sorted(found)))
        case Kids(least, _):
            return st.lists(eight, min_size=least, max_size=5, unique=True).map(lambda kids: tuple(sorted(kids)))
        case Which(most):
            return st.integers(0, most) | st.binary(min_size=4, max_size=4)
        case Datagrams():
            plain = [each for each in KINDS if each is not group.Bundle]
            inner = st.sampled_from(plain).flatmap(lambda each: messages(each, suite)).map(lambda m: m.encode())
            return st.lists(inner | st.binary(min_size=1, max_size=20), max_size=4).map(tuple)
        case InlineSign1(named):
            claims = [each for each, travels in group_signed.FORMS.items() if travels.message is kind]
            payload = st.sampled_from(claims).flatmap(lambda each: bodies(kind, each, suite)).map(lambda b: b.encode())
            signer, signature = eight if named else st.none(), st.binary(min_size=64, max_size=64)
            return st.builds(Sign1, st.just(PROTECTED[suite]), signer, payload, signature)
        case InlineEncrypt0():
            return st.builds(
                Encrypt0,
                st.binary(min_size=1, max_size=1) | eight,
                st.integers(0, (1 << 24) - 1),
                st.integers(0, (1 << 16) - 1),
                st.none() | st.binary(min_size=64, max_size=64),
                st.binary(min_size=8, max_size=100),
            )
    raise AssertionError(form)


def bodies(kind: type[Message], body: type[Body], suite: int) -> st.SearchStrategy[Any]:
    forms = [values(kind, form, suite) for form in body._types]  # noqa: SLF001  # as wire.schema reads them
    return st.tuples(*forms).map(lambda found: body(*found))


def messages(kind: type[Message], suite: int) -> st.SearchStrategy[Any]:
    return bodies(kind, kind, suite)


any_message = st.sampled_from([1, 17]).flatmap(
    lambda suite: st.sampled_from(KINDS).flatmap(lambda kind: st.tuples(st.just(suite), messages(kind, suite)))
)


@given(any_message)
def test_GF06_no_bit_is_lost_between_the_forms(made: tuple[int, Message]) -> None:
    suite, message = made
    data = message.encode()
    text = to_json(data, sizes_of(suite))
    assert from_json(text, sizes_of(suite)) == data
    assert to_json(from_json(text, sizes_of(suite)), sizes_of(suite)) == text
    assert len(text) <= MOST_JSON


def test_GF06_every_message_of_a_group_has_a_json_form() -> None:
    ours = {kind for kind in MESSAGES if kind.__module__ in {m.__name__ for m in (group, group_record, gsec, masking)}}
    assert set(KINDS) == ours


@both_suites
def test_GF06_given_messages_read_as_they_say(suite: int) -> None:
    ring, sizes = VECTORS[suite]["B_n3"], sizes_of(suite)
    for name in ("START", "COMMIT"):
        assert from_json(to_json(bytes.fromhex(ring[name]), sizes), sizes).hex() == ring[name]
    start = json.loads(to_json(bytes.fromhex(ring["START"]), sizes))
    assert start["message"] == "START"
    envelope = start["envelope"]
    assert envelope["alg"] == {1: -19, 17: -9}[suite]
    assert envelope["claims"]["gid"] == b64(bytes.fromhex(ring["gid"]))
    assert (envelope["claims"]["n"], envelope["claims"]["mode"], envelope["claims"]["reason"]) == (3, 0, 1)
    for name, due in (("R1", "ROUND1"), ("R2", "ROUND2"), ("R3", "ROUND3")):
        for text in ring[name]:
            form = to_json(bytes.fromhex(text), sizes)
            assert json.loads(form)["message"] == due
            assert from_json(form, sizes).hex() == text


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def signed_start(sizes: Sizes) -> dict[str, Any]:
    key = SUITES[1].generate_signing_key(SeededEntropy(b"gw"))
    claims = group.StartClaims(
        bytes(8), 1, 0, 0, 3, bytes(32), bytes(16), 7, 60, Cause(2, b"hedge id"),
    )  # fmt: skip
    started: dict[str, Any] = json.loads(to_json(group_signed.write(key, claims, kid=bytes(8)), sizes))
    return started


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where the objects of a JSON value are."""
    found = [path] if isinstance(value, dict) else []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += places(inner, (*path, key))
    return found


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def refused(value: object) -> None:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    with pytest.raises(PeerFault) as fault:
        from_json(text, sizes_of(1))
    assert fault.value.code is ErrorCode.E_FORMAT


def test_GF06_a_name_that_is_missing_or_unknown_is_refused_wherever_it_stands() -> None:
    sizes = sizes_of(1)
    roster = group.RosterClaims(bytes(8), 1, (Entry(bytes(8), bytes(32)), Entry(b"\1" * 8, bytes(32))), None, 0)
    key = SUITES[1].generate_signing_key(SeededEntropy(b"ra"))
    inner = group_signed.write(key, roster, kid=bytes(8))
    record = gsec.Gsec(Encrypt0(b"\1", 5, 1, None, bytes(16))).encode()
    bundle = json.loads(to_json(group.Bundle(bytes(8), (inner, record, b"no message")).encode(), sizes))
    for whole in (signed_start(sizes), bundle):
        assert from_json(json.dumps(whole).encode(), sizes)
        assert len(places(whole)) >= 3
        for path in places(whole):
            for name in at(whole, path):
                less = deepcopy(whole)
                del at(less, path)[name]
                refused(less)
            more = deepcopy(whole)
            at(more, path)["more"] = 1
            refused(more)


WRONG: list[Any] = [None, True, 1.0, 1e3, -1, 1 << 70, "A", "=", "AAAA=", "AAA", "Ā", "+/8", [], {}, [1, "AA"]]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_GF06_a_value_in_another_form_is_refused(wrong: Any) -> None:
    whole = signed_start(sizes_of(1))
    for path in [("envelope",), ("envelope", "alg"), ("envelope", "signature"), ("envelope", "claims"), ("message",)]:
        changed = deepcopy(whole)
        at(changed, path[:-1])[path[-1]] = wrong
        refused(changed)
    for name in whole["envelope"]["claims"]:
        if name in ("attempt", "lifetime_s", "ts", "epoch") and type(wrong) is int and 0 <= wrong < 1 << 32:
            continue
        changed = deepcopy(whole)
        changed["envelope"]["claims"][name] = wrong
        refused(changed)


def test_GF06_what_is_no_json_of_ours_is_refused() -> None:
    whole = json.dumps(signed_start(sizes_of(1)))
    for text in (
        b"",
        b"[",
        b"[" * 10_000,
        b"1",
        b'"START"',
        b"\xef\xbb\xbf" + whole.encode(),
        whole.encode("utf-16"),
        whole.replace('"epoch": 1', '"epoch": 1, "epoch": 1').encode(),
        whole.replace('"epoch": 1', '"epoch": NaN').encode(),
        whole.replace('"START"', '"HELLO"').encode(),
        whole.encode() + b" " * MOST_JSON,
        b'{"message": "BUNDLE", "of": "AAAAAAAAAAA", "datagrams": [{"message": "BUNDLE", "of": "AAAAAAAAAAA", "datagrams": []}]}',
    ):
        refused(text)


def test_GF06_a_message_in_a_bundle_is_an_object_and_nothing_else() -> None:
    sizes = sizes_of(1)
    need = group.Need(bytes(8), 1, 0).encode()
    whole = json.loads(to_json(group.Bundle(bytes(8), (need, b"junk")).encode(), sizes))
    assert whole["datagrams"][0]["message"] == "NEED"
    assert whole["datagrams"][1] == b64(b"junk")
    whole["datagrams"][0] = b64(need)
    refused(whole)


def test_GF06_other_messages_have_no_json_form() -> None:
    start = bytes.fromhex(VECTORS[1]["B_n3"]["START"])
    for data in (bytes.fromhex(VECTORS[1]["A_enrol"]["messages"]["JOIN"]), b"", b"\x80", start[:-1], start + b"\0"):
        with pytest.raises(PeerFault):
            to_json(data, sizes_of(1))
    assert name_of(group.Round1Compact) == "ROUND1-COMPACT"
