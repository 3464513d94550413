"""The credential: its one form, whose word it is, and everything that is not one."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.suites import SUITES
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.cose import Sign1, sign1
from keymote.wire.credential import Claims, Role, SignedCredential, digest_of, issue, kid_of

VECTORS = {
    suite: json.loads((Path(__file__).parents[1] / "vectors" / name).read_text())["A_session"]
    for suite, name in ((1, "triad1.json"), (17, "triad1-p256.json"))
}
KEYS = {suite: SUITES[suite].generate_signing_key(SeededEntropy(b"credential %d" % suite)) for suite in (1, 2, 17)}
every_suite = pytest.mark.parametrize("suite", [1, 2, 17])
both_suites = pytest.mark.parametrize("suite", [1, 17])


def claims(suite: int = 1, **other: Any) -> Claims:
    point = bytes([2]) * (33 if suite == 17 else 32)
    usual = Claims(
        b"issuer--", b"subject-", 2_000_000_000, 1_700_000_000, b"serial--", suite, b"nc------", point, point, point, 3,
        Role.DEVICE,
    )  # fmt: skip
    return dataclasses.replace(usual, **other)


def plain(suite: int = 1) -> dict[Any, Any]:
    """The claim set as another program writes it."""
    it = claims(suite)
    triad = [suite, it.nc_id, it.E1, it.E2, it.sig_pk, it.status_epoch, 0]
    return {1: it.iss, 2: it.sub, 4: it.exp, 6: it.iat, 7: it.serial, -70001: triad}


def verifier(suite: int) -> Any:
    return SUITES[suite].verify_key(KEYS[suite].public)


def code_of(payload: bytes) -> ErrorCode:
    with pytest.raises(PeerFault) as fault:
        Claims.decode(payload)
    return fault.value.code


@every_suite
def test_CR01_the_claim_set_is_the_map_of_the_text(suite: int) -> None:
    data = cbor2.dumps(plain(suite), canonical=True)
    assert claims(suite).encode() == data
    assert Claims.decode(data) == claims(suite)


@both_suites
@pytest.mark.parametrize("name", ["D1", "D2", "NM1", "NM2"])
def test_CR01_given_credentials_read_and_write_the_same(suite: int, name: str) -> None:
    raw = bytes.fromhex(VECTORS[suite]["credentials"][name])
    found = SignedCredential.decode(raw)
    assert len(raw) == (236 if suite == 17 else 233)
    assert found.envelope.encode() == raw
    assert found.claims.encode() == found.envelope.payload
    assert found.claims.role is (Role.DEVICE if name.startswith("D") else Role.MANAGER)
    assert found.claims.suite == suite


@both_suites
def test_CR01_given_devices_are_signed_by_their_managers_only(suite: int) -> None:
    given = {name: SignedCredential.decode(bytes.fromhex(text)) for name, text in VECTORS[suite]["credentials"].items()}
    managers = {name: SUITES[suite].verify_key(given[name].claims.sig_pk) for name in ("NM1", "NM2")}
    assert given["D1"].verified_by(managers["NM1"]).claims == given["D1"].claims
    assert given["D2"].verified_by(managers["NM2"]).claims == given["D2"].claims
    for device, manager in (("D1", "NM2"), ("D2", "NM1")):
        with pytest.raises(PeerFault) as fault:
            given[device].verified_by(managers[manager])
        assert fault.value.code is ErrorCode.E_CRED


def test_CM28_a_kid_is_the_first_8_bytes_of_the_hash() -> None:
    raw = bytes.fromhex(VECTORS[1]["credentials"]["D2"])
    assert kid_of(raw) == hashlib.sha256(raw).digest()[:8] == bytes.fromhex("ef50f7b81053aa1b")
    assert digest_of(raw) == hashlib.sha256(raw).digest()
    issued = issue(KEYS[1], claims())
    assert (issued.kid, issued.digest) == (kid_of(issued.raw), digest_of(issued.raw))


@every_suite
def test_CR01_what_is_issued_is_verified_and_has_the_size_of_the_text(suite: int) -> None:
    for other, more in (({"iat": 1}, 0), ({}, 4), ({"status_epoch": 2**32 - 1}, 8)):
        issued = issue(KEYS[suite], claims(suite, **other))
        found = SignedCredential.decode(issued.raw)
        assert found.verified_by(verifier(suite)) == issued
        assert found.envelope.kid is None
        assert len(issued.raw) == (236 if suite == 17 else 233) + more, "a date takes 4 bytes more than the text's 1"


@every_suite
def test_CR01_every_changed_byte_is_refused(suite: int) -> None:
    raw = issue(KEYS[suite], claims(suite)).raw
    for at in range(len(raw)):
        for mask in (1, 0x80):
            changed = raw[:at] + bytes([raw[at] ^ mask]) + raw[at + 1 :]
            with pytest.raises(PeerFault) as fault:
                SignedCredential.decode(changed).verified_by(verifier(suite))
            assert fault.value.code in {ErrorCode.E_FORMAT, ErrorCode.E_SUITE, ErrorCode.E_CRED}


def test_CR01_CM26_the_signature_is_over_type_15_and_an_empty_context() -> None:
    payload = claims().encode()
    for mt, ctx in ((14, b""), (16, b""), (15, b"\0")):
        raw = sign1(KEYS[1], mt, payload, ctx=ctx).encode()
        with pytest.raises(PeerFault) as fault:
            SignedCredential.decode(raw).verified_by(verifier(1))
        assert fault.value.code is ErrorCode.E_CRED
    assert SignedCredential.decode(sign1(KEYS[1], 15, payload).encode()).verified_by(verifier(1))


def test_CM27_a_credential_names_no_kid() -> None:
    raw = sign1(KEYS[1], 15, claims().encode(), kid=bytes(8)).encode()
    with pytest.raises(PeerFault) as fault:
        SignedCredential.decode(raw)
    assert fault.value.code is ErrorCode.E_FORMAT


def test_CM25_the_algorithm_is_that_of_the_issuers_suite() -> None:
    payload = claims(17).encode()
    raw = Sign1(b"\xa1\x01\x28", None, payload, sign1(KEYS[1], 15, payload).signature).encode()
    with pytest.raises(PeerFault) as fault:
        SignedCredential.decode(raw).verified_by(verifier(1))
    assert fault.value.code is ErrorCode.E_FORMAT


def test_CR10_an_issuer_may_have_another_suite_than_the_subject() -> None:
    raw = issue(KEYS[17], claims(1)).raw
    assert SignedCredential.decode(raw).verified_by(verifier(17)).claims.suite == 1


# ------------------------------------------------------------------ other claims

WRONG_IDS = [None, b"", bytes(7), bytes(9), "eight ch", 0, [bytes(8)], {}]
WRONG_NUMBERS = [None, -1, 2**32, True, False, 1.5, "0", b"\0", [0]]
WRONG_POINTS = [b"", bytes(31), bytes(33), bytes(64), 0, "x" * 32, [bytes(32)], True, {}]


@pytest.mark.parametrize(
    ("key", "values"),
    [(1, WRONG_IDS), (2, WRONG_IDS), (7, WRONG_IDS), (4, WRONG_NUMBERS), (6, WRONG_NUMBERS)],
    ids=["iss", "sub", "serial", "exp", "iat"],
)
def test_CR01_a_claim_of_another_form_is_refused(key: int, values: list[Any]) -> None:
    for value in values:
        assert code_of(cbor2.dumps(plain() | {key: value}, canonical=True)) is ErrorCode.E_FORMAT, value


@pytest.mark.parametrize(
    ("at", "values"),
    [
        (0, [None, True, "1", b"\1", 1.0, [1]]),
        (1, WRONG_IDS),
        (2, [*WRONG_POINTS, None]),
        (3, [*WRONG_POINTS, None]),
        (4, [*WRONG_POINTS, None]),
        (5, WRONG_NUMBERS),
        (6, [None, True, -1, 6, 7, 255, 2**32, "0", b"\0", [0], 0.0]),
    ],
    ids=["suite", "nc_id", "E1", "E2", "sig_pk", "status_epoch", "role"],
)
def test_CR01_a_key_claim_of_another_form_is_refused(at: int, values: list[Any]) -> None:
    for value in values:
        triad = plain()[-70001]
        triad[at] = value
        assert code_of(cbor2.dumps(plain() | {-70001: triad}, canonical=True)) is ErrorCode.E_FORMAT, value


def test_CR01_missing_and_further_claims_are_refused() -> None:
    whole = plain()
    for gone in whole:
        less = {key: value for key, value in whole.items() if key != gone}
        assert code_of(cbor2.dumps(less, canonical=True)) is ErrorCode.E_FORMAT
    for more in ({3: b"aud"}, {5: 0}, {8: {}}, {-70002: 0}, {"iss": bytes(8)}):
        assert code_of(cbor2.dumps(whole | more, canonical=True)) is ErrorCode.E_FORMAT
    for triad in ([], whole[-70001][:-1], [*whole[-70001], 0], None, {}, b""):
        assert code_of(cbor2.dumps(whole | {-70001: triad}, canonical=True)) is ErrorCode.E_FORMAT
    for item in (None, [], b"", 1, list(whole.items())):
        assert code_of(cbor2.dumps(item, canonical=True)) is ErrorCode.E_FORMAT


def test_CM24_an_unknown_suite_is_refused_by_name() -> None:
    for suite in (0, 4, 16, 18, 255, -1, 2**40):
        triad = plain()[-70001]
        triad[0] = suite
        assert code_of(cbor2.dumps(plain() | {-70001: triad}, canonical=True)) is ErrorCode.E_SUITE


def test_points_of_another_suite_are_refused() -> None:
    for suite, other in ((1, 17), (17, 1)):
        triad = plain(suite)[-70001]
        triad[0] = other
        assert code_of(cbor2.dumps(plain(suite) | {-70001: triad}, canonical=True)) is ErrorCode.E_FORMAT


def test_CR07_E1_and_E2_come_together_or_not_at_all() -> None:
    gateway = claims(E1=None, E2=None, role=Role.GATEWAY)
    assert Claims.decode(gateway.encode()) == gateway
    for E1, E2 in ((None, bytes(32)), (bytes(32), None)):
        triad = plain()[-70001]
        triad[2:4] = [E1, E2]
        assert code_of(cbor2.dumps(plain() | {-70001: triad}, canonical=True)) is ErrorCode.E_FORMAT


def test_CR03_the_authority_is_no_role_on_the_wire() -> None:
    assert [int(role) for role in Role] == list(range(7))
    for role in set(Role) - {Role.AUTHORITY}:
        assert Claims.decode(claims(role=role).encode()).role is role
    assert code_of(claims(role=Role.AUTHORITY).encode()) is ErrorCode.E_FORMAT


def test_CM02_truncations_further_bytes_and_length_are_refused() -> None:
    raw = issue(KEYS[1], claims()).raw
    for data in [raw[:end] for end in range(len(raw))] + [raw + b"\0", raw * 2, bytes(257)]:
        with pytest.raises(PeerFault) as fault:
            SignedCredential.decode(data)
        assert fault.value.code is ErrorCode.E_FORMAT
    assert "at most 256" in str(fault.value)


ids = st.binary(min_size=8, max_size=8)
numbers = st.integers(0, 2**32 - 1)


@given(st.data())
def test_CM05_every_credential_reads_back_as_it_was_written(data: st.DataObject) -> None:
    suite = data.draw(st.sampled_from([1, 2, 17]))
    points = st.binary(min_size=33, max_size=33) if suite == 17 else st.binary(min_size=32, max_size=32)
    both = st.tuples(points, points) | st.just((None, None))
    it = Claims(
        data.draw(ids), data.draw(ids), data.draw(numbers), data.draw(numbers), data.draw(ids), suite, data.draw(ids),
        *data.draw(both), data.draw(points), data.draw(numbers), Role(data.draw(st.integers(0, 5))),
    )  # fmt: skip
    issued = issue(KEYS[suite], it)
    found = SignedCredential.decode(issued.raw)
    assert (found.claims, found.verified_by(verifier(suite))) == (it, issued)
    assert len(issued.raw) <= 256
