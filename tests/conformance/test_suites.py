"""The exam of a cipher suite: a new one adds a line to the table of suites and sits it whole."""

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.metered import MeteredSuite
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.crypto.suites import SUITES, suite_by_id
from keymote.errors import ErrorCode, PeerFault

UNDER_TEST: dict[str, Suite] = {suite.name: suite for suite in SUITES.values()}
UNDER_TEST |= {f"metered {suite.name}": MeteredSuite(suite) for suite in SUITES.values()}
every_suite = pytest.mark.parametrize("suite", UNDER_TEST.values(), ids=UNDER_TEST)
seeds = st.binary(min_size=8, max_size=8)
KEY = Secret(bytes(range(32)))


def code_of(refused: Callable[[], object]) -> ErrorCode:
    with pytest.raises(PeerFault) as fault:
        refused()
    return fault.value.code


def encoded(suite: Suite, value: int) -> bytes:
    return value.to_bytes(suite.scalar_size, "big" if suite.id >= 16 else "little")


def negative(suite: Suite, k: Secret) -> Secret:
    value = int.from_bytes(k.expose(), "big" if suite.id >= 16 else "little")
    return Secret(encoded(suite, suite.order - value))


# Group


@every_suite
@settings(max_examples=15)
@given(seed=seeds)
def test_group_laws(suite: Suite, seed: bytes) -> None:
    entropy = SeededEntropy(seed)
    a, b, one = suite.random_scalar(entropy), suite.random_scalar(entropy), Secret(encoded(suite, 1))
    P, Q, R = (suite.random_point(entropy) for _ in range(3))
    assert suite.add(P, Q) == suite.add(Q, P)
    assert suite.add(suite.add(P, Q), R) == suite.add(P, suite.add(Q, R)) == suite.sum(P, Q, R)
    assert suite.sub(suite.add(P, Q), Q) == P
    assert suite.mul(one, P) == P == suite.sum(P)
    assert suite.mul(a, suite.mul(b, P)) == suite.mul(b, suite.mul(a, P))
    assert suite.mul(a, suite.add(P, Q)) == suite.add(suite.mul(a, P), suite.mul(a, Q))
    assert suite.mul(suite.scalar_mul_add(a, b, one), P) == suite.add(suite.mul(a, suite.mul(b, P)), P)
    assert suite.mul(a, suite.base_mul(b)) == suite.mul(b, suite.base_mul(a))


@every_suite
@settings(max_examples=15)
@given(seed=seeds)
def test_CM06_what_the_arithmetic_returns_passes_check(suite: Suite, seed: bytes) -> None:
    entropy = SeededEntropy(seed)
    k, P, Q = suite.random_scalar(entropy), suite.random_point(entropy), suite.random_point(entropy)
    results = (suite.mul(k, P), suite.base_mul(k), suite.add(P, Q), suite.sub(P, Q), suite.pake_start(seed, b"", b""))
    for point in (P, Q, *results):
        raw = bytes(bytearray(point))
        assert len(raw) == suite.point_size
        assert suite.check(raw) == raw


@every_suite
@settings(max_examples=15)
@given(seed=seeds)
def test_CM06_partial_sums_are_sums_of_points_that_were_checked(suite: Suite, seed: bytes) -> None:
    entropy = SeededEntropy(seed)
    P, Q, R = (suite.random_point(entropy) for _ in range(3))
    received = [bytes(bytearray(point)) for point in (Q, R)]
    assert list(suite.partial_sums(P, received)) == [suite.add(P, Q), suite.sum(P, Q, R)]
    assert list(suite.partial_sums(P, [])) == []
    minus_P = suite.mul(negative(suite, Secret(encoded(suite, 1))), P)
    assert code_of(lambda: suite.partial_sums(P, [minus_P])) is ErrorCode.E_POINT
    unfit = [bytes(suite.point_size), b"\xff" * suite.point_size, received[0] + b"\0", b""]
    if suite.point_size == 32:
        unfit.append(received[0][:31] + bytes([received[0][31] | 0x80]))
    for encoding in unfit:
        assert code_of(partial(suite.partial_sums, P, [encoding, received[1]])) is ErrorCode.E_POINT
        assert code_of(partial(suite.partial_sums, P, [received[1], encoding])) is ErrorCode.E_POINT


@every_suite
@settings(max_examples=40)
@given(seed=st.binary(min_size=33, max_size=33))
def test_CM06_partial_sums_refuse_what_check_refuses(suite: Suite, seed: bytes) -> None:
    P = suite.random_point(SeededEntropy(seed))
    encoding = seed[: suite.point_size] if suite.point_size == 32 else bytes([2 + seed[0] % 4]) + seed[1:]
    try:
        Q = suite.check(encoding)
    except PeerFault:
        assert code_of(lambda: suite.partial_sums(P, [encoding])) is ErrorCode.E_POINT
    else:
        assert list(suite.partial_sums(P, [encoding])) == [suite.add(P, Q)]


@every_suite
@settings(max_examples=15)
@given(seed=seeds)
def test_CM07_an_identity_result_is_a_point_fault(suite: Suite, seed: bytes) -> None:
    entropy = SeededEntropy(seed)
    k, P = suite.random_scalar(entropy), suite.random_point(entropy)
    minus_kP = suite.mul(negative(suite, k), P)
    kP = suite.mul(k, P)
    zero = Secret(bytes(suite.scalar_size))
    for refused in (
        lambda: suite.sub(P, P),
        lambda: suite.add(kP, minus_kP),
        lambda: suite.sum(kP, minus_kP, P),
        lambda: suite.mul(zero, P),
        lambda: suite.base_mul(zero),
    ):
        assert code_of(refused) is ErrorCode.E_POINT


@every_suite
def test_CM06_check_refuses_identity_lengths_and_garbage(suite: Suite) -> None:
    good = suite.random_point(SeededEntropy(b"good"))
    size = suite.point_size
    unfit = [bytes(size), b"\xff" * size, b"", b"\0", good[:-1], good + b"\0", good[1:], bytes(64), bytes(65)]
    assert {code_of(lambda encoding=encoding: suite.check(encoding)) for encoding in unfit} == {ErrorCode.E_POINT}


@every_suite
@given(encoding=st.binary(max_size=70))
def test_CM06_check_answers_any_bytes_with_themselves_or_a_point_fault(suite: Suite, encoding: bytes) -> None:
    try:
        answer: object = suite.check(encoding)
    except PeerFault as fault:
        answer = fault.code
    assert answer in (encoding, ErrorCode.E_POINT)


@every_suite
def test_CM08_scalars_from_1_to_q_minus_1_are_accepted_and_no_others(suite: Suite) -> None:
    for value in (1, 2, suite.order - 1):
        assert suite.check_scalar(encoded(suite, value)) == encoded(suite, value)
    unfit = [encoded(suite, 0), encoded(suite, suite.order), encoded(suite, suite.order + 1), b"\xff" * 32]
    unfit += [b"", encoded(suite, 1)[:-1], encoded(suite, 1) + b"\0"]
    codes = {code_of(lambda scalar=scalar: suite.check_scalar(scalar)) for scalar in unfit}
    assert codes == {ErrorCode.E_FORMAT}


@every_suite
@given(seed=seeds)
def test_CM08_random_and_hashed_scalars_are_canonical(suite: Suite, seed: bytes) -> None:
    drawn, hashed = suite.random_scalar(SeededEntropy(seed)), suite.hash_to_scalar(seed)
    for k in (drawn, hashed):
        assert suite.check_scalar(k.expose()) == k.expose()
    assert suite.random_scalar(SeededEntropy(seed)) == drawn
    assert suite.hash_to_scalar(seed) == hashed != suite.hash_to_scalar(seed + b"\0")


@every_suite
def test_IM06_a_draw_that_reduces_to_zero_is_drawn_again(suite: Suite) -> None:
    draws = [bytes(64), (suite.order * 3).to_bytes(64, "big" if suite.id >= 16 else "little"), b"\1" * 64]

    class Reducing:
        def draw(self, n: int) -> bytes:
            assert n == 64
            return draws.pop(0)

        def fork(self, label: str) -> "Reducing":
            return self

    assert suite.random_scalar(Reducing()).expose() != bytes(32)
    assert draws == []


# Signatures


@every_suite
@settings(max_examples=15)
@given(seed=seeds, message=st.binary(max_size=300))
def test_keys_and_signatures_round_trip(suite: Suite, seed: bytes, message: bytes) -> None:
    key = suite.generate_signing_key(SeededEntropy(seed))
    signature = key.sign(message)
    assert len(signature) == 64
    assert signature == key.sign(message), "a signature is a function of key and message"
    again = suite.signing_key(Secret(key.seed.expose()))
    assert (again.public, again.sign(message)) == (key.public, signature)
    verifier = suite.verify_key(key.public)
    assert (verifier.suite_id, verifier.encoding) == (suite.id, key.public)
    verifier.verify(message, signature)


@every_suite
def test_forged_signatures_are_refused(suite: Suite) -> None:
    key, other = (suite.generate_signing_key(SeededEntropy(seed)) for seed in (b"one", b"two"))
    verifier = suite.verify_key(key.public)
    signature = key.sign(b"message")
    forged = [signature[:n] + bytes([signature[n] ^ flip]) + signature[n + 1 :] for n in range(64) for flip in (1, 128)]
    forged += [signature[:-1], signature + b"\0", b"", bytes(64), other.sign(b"message"), key.sign(b"message ")]
    forged += [signature[32:] + signature[:32]]
    codes = {code_of(lambda wrong=wrong: verifier.verify(b"message", wrong)) for wrong in forged}
    assert codes == {ErrorCode.E_AUTH}
    assert code_of(lambda: verifier.verify(b"massage", signature)) is ErrorCode.E_AUTH


@every_suite
def test_CM09_unfit_signature_keys_are_point_faults(suite: Suite) -> None:
    good = suite.generate_signing_key(SeededEntropy(b"one")).public
    unfit = [b"", bytes(len(good)), b"\xff" * len(good), good[:-1], good + b"\0", b"\1" + bytes(len(good) - 1)]
    assert {code_of(lambda encoding=encoding: suite.verify_key(encoding)) for encoding in unfit} == {ErrorCode.E_POINT}


@every_suite
def test_IM10_a_signing_key_shows_its_public_half_only(suite: Suite) -> None:
    key = suite.generate_signing_key(SeededEntropy(b"one"))
    assert "Secret(32 bytes)" in repr(key)
    assert repr(key.seed.expose())[2:-1] not in repr(key)


# Encryption


@every_suite
@given(plaintext=st.binary(max_size=600), aad=st.binary(max_size=100), seq=st.integers(0, 2**63))
def test_encryption_round_trips(suite: Suite, plaintext: bytes, aad: bytes, seq: int) -> None:
    sealed = suite.seal_once(KEY, aad, plaintext)
    assert len(sealed) == len(plaintext) + 16, "the tag of key establishment has 16 bytes in every suite"
    assert suite.open_once(KEY, aad, sealed) == plaintext
    assert suite.open_record(KEY, seq, aad, suite.seal_record(KEY, seq, aad, plaintext)) == plaintext
    record = suite.seal_payload(KEY, seq, aad, plaintext)
    assert len(record) == len(plaintext) + (16 if suite.id in {1, 3} else 8)
    assert suite.open_payload(KEY, seq, aad, record) == plaintext
    base_iv = bytes(range(200, 200 + suite.payload.nonce_size))
    of_group = suite.seal_group(KEY, base_iv, seq, aad, plaintext)
    assert suite.open_group(KEY, base_iv, seq, aad, of_group) == plaintext
    assert of_group == suite.seal_payload(KEY, int.from_bytes(base_iv, "big") ^ seq, aad, plaintext)


@every_suite
def test_another_key_number_or_context_does_not_open(suite: Suite) -> None:
    other = Secret(bytes(32))
    once, record = suite.seal_once(KEY, b"aad", b"pt"), suite.seal_record(KEY, 1, b"aad", b"pt")
    payload = suite.seal_payload(KEY, 1, b"aad", b"pt")
    refused: list[Callable[[], bytes]] = [
        lambda: suite.open_once(other, b"aad", once),
        lambda: suite.open_once(KEY, b"AAD", once),
        lambda: suite.open_once(KEY, b"aad", b""),
        lambda: suite.open_record(other, 1, b"aad", record),
        lambda: suite.open_record(KEY, 2, b"aad", record),
        lambda: suite.open_record(KEY, 1, b"", record),
        lambda: suite.open_payload(KEY, 2, b"aad", payload),
        lambda: suite.open_payload(other, 1, b"aad", payload),
        lambda: suite.open_payload(KEY, 1, b"aad", payload[1:]),
        lambda: suite.open_group(KEY, bytes(suite.payload.nonce_size), 2, b"aad", payload),
        lambda: suite.open_group(KEY, b"\1" * suite.payload.nonce_size, 1, b"aad", payload),
    ]
    assert {code_of(forgery) for forgery in refused} == {ErrorCode.E_AUTH}


@every_suite
def test_a_base_iv_of_another_length_is_a_mistake(suite: Suite) -> None:
    with pytest.raises(ValueError, match="base IV"):
        suite.seal_group(KEY, bytes(suite.payload.nonce_size - 1), 0, b"", b"pt")


# Password exchange


@every_suite
def test_both_sides_of_the_password_exchange_agree_and_a_wrong_code_does_not(suite: Suite) -> None:
    entropy = SeededEntropy(b"exchange")
    code = b"sixteen byte otc"
    y_D, y_N = suite.random_scalar(entropy), suite.random_scalar(entropy)
    B = suite.pake_start(code, b"ci", b"nonce")
    Y_D, Y_N = suite.mul(y_D, B), suite.mul(y_N, B)
    device = suite.pake_isk(b"nonce", suite.mul(y_D, Y_N), Y_D, b"device", Y_N, b"manager")
    manager = suite.pake_isk(b"nonce", suite.mul(y_N, Y_D), Y_D, b"device", Y_N, b"manager")
    assert device == manager
    assert len(device) == 64
    assert (suite.pake_start(code + b"'", b"ci", b"nonce") != B) is suite.pake


# The table


def test_CM24_a_suite_is_a_number() -> None:
    assert [SUITES[suite_id].id for suite_id in SUITES] == [1, 2, 3, 17]
    assert all(suite_by_id(suite_id) is SUITES[suite_id] for suite_id in SUITES)
    for unknown in (0, 4, 16, 18, -1, 2**64):
        assert code_of(lambda number=unknown: suite_by_id(number)) is ErrorCode.E_SUITE
        assert unknown not in SUITES


@every_suite
def test_sizes_of_the_table(suite: Suite) -> None:
    assert suite.scalar_size == 32
    assert suite.point_size == (33 if suite.id == 17 else 32)
    assert suite.pake is (suite.id != 17)
    assert len(suite.generate_signing_key(SeededEntropy(b"k")).public) == suite.point_size
