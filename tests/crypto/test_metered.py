"""The counting suite computes what the plain one computes, and misses nothing."""

import inspect
from collections.abc import Callable

import pytest

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.metered import MeteredSuite
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.crypto.suites import SUITES, suite_by_id

every_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
KEY = Secret(bytes(range(32)))


def draw() -> SeededEntropy:
    return SeededEntropy(b"metered")


OPERATIONS: dict[str, Callable[[Suite], object]] = {
    "check": lambda s: s.check(s.base_mul(s.random_scalar(draw()))),
    "check_scalar": lambda s: s.check_scalar(s.random_scalar(draw()).expose()),
    "random_scalar": lambda s: s.random_scalar(draw()),
    "random_point": lambda s: s.random_point(draw()),
    "base_mul": lambda s: s.base_mul(s.random_scalar(draw())),
    "mul": lambda s: s.mul(s.random_scalar(draw()), s.random_point(draw())),
    "add": lambda s: s.add(s.random_point(draw()), s.random_point(draw())),
    "sub": lambda s: s.sub(s.add(s.random_point(draw()), s.random_point(draw())), s.random_point(draw())),
    "partial_sums": lambda s: s.partial_sums(s.random_point(draw()), [s.base_mul(s.random_scalar(draw()))]),
    "hash_to_scalar": lambda s: s.hash_to_scalar(b"data"),
    "scalar_mul_add": lambda s: s.scalar_mul_add(*[s.hash_to_scalar(b"%d" % n) for n in range(3)]),
    "signing_key": lambda s: s.signing_key(KEY).sign(b"m"),
    "verify_key": lambda s: s.verify_key(s.signing_key(KEY).public).verify(b"m", s.signing_key(KEY).sign(b"m")),
    "seal_once": lambda s: s.seal_once(KEY, b"a", b"p"),
    "open_once": lambda s: s.open_once(KEY, b"a", s.seal_once(KEY, b"a", b"p")),
    "seal_record": lambda s: s.seal_record(KEY, 1, b"a", b"p"),
    "open_record": lambda s: s.open_record(KEY, 1, b"a", s.seal_record(KEY, 1, b"a", b"p")),
    "seal_payload": lambda s: s.seal_payload(KEY, 1, b"a", b"p"),
    "seal_group": lambda s: s.seal_group(KEY, bytes(s.payload.nonce_size), 1, b"a", b"p"),
    "open_group": lambda s: s.open_group(KEY, bytes(s.payload.nonce_size), 1, b"a", s.seal_payload(KEY, 1, b"a", b"p")),
    "open_payload": lambda s: s.open_payload(KEY, 1, b"a", s.seal_payload(KEY, 1, b"a", b"p")),
    "pake_start": lambda s: s.pake_start(b"prs", b"ci", b"sid"),
    "pake_isk": lambda s: s.pake_isk(b"sid", *([s.random_point(draw())] * 2), b"d", s.random_point(draw()), b"n"),
}


@every_suite
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_metered_suite_answers_like_the_plain_one(suite: Suite, operation: str) -> None:
    metered = MeteredSuite(suite)
    assert OPERATIONS[operation](metered) == OPERATIONS[operation](suite)
    assert metered.counts or (operation == "pake_start" and not suite.pake)


def test_every_operation_of_the_face_is_counted() -> None:
    built_from_counted = {"sum", "generate_signing_key"}
    face = {name for name, member in vars(Suite).items() if inspect.isfunction(member) and not name.startswith("_")}
    assert face - built_from_counted == set(OPERATIONS)
    assert face - built_from_counted <= set(vars(MeteredSuite)), "an operation that MeteredSuite does not override"


def test_counts_add_up() -> None:
    metered, entropy = MeteredSuite(suite_by_id(1)), SeededEntropy(b"count")
    points = [metered.random_point(entropy) for _ in range(4)]
    metered.sum(*points)
    key = metered.generate_signing_key(entropy)
    verifier = metered.verify_key(key.public)
    for message in (b"1", b"2"):
        verifier.verify(message, key.sign(message))
    assert metered.counts == {"map": 4, "add": 3, "keygen": 1, "verify_key": 1, "sign": 2, "verify": 2}


def test_IM05_a_key_establishment_key_that_seals_twice_is_seen() -> None:
    metered = MeteredSuite(suite_by_id(1))
    metered.seal_once(KEY, b"T", b"share")
    metered.seal_record(KEY, 1, b"", b"records may repeat a key")
    assert max(metered.seals.values()) == 1
    metered.seal_once(Secret(KEY.expose()), b"T", b"share")
    assert max(metered.seals.values()) == 2


def test_IM10_the_meter_holds_no_key() -> None:
    metered = MeteredSuite(suite_by_id(1))
    metered.seal_once(KEY, b"T", b"share")
    assert KEY.expose() not in metered.seals
    assert "seals" not in repr(metered)
