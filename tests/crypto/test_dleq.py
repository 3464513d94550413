"""The proof of one scalar behind two points: its vector, and everything that must not pass for it."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from keymote import cbor
from keymote.crypto import dleq
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.group import SCALAR_SIZE, Point
from keymote.crypto.kdf import Transcript, lexp
from keymote.crypto.metered import MeteredSuite
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.crypto.suites import SUITES, suite_by_id
from keymote.errors import CallerFault, ErrorCode, PeerFault

LABEL, CTX = "A/dleq", b"transcript"
every_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)


class Statement(NamedTuple):
    d: Secret
    B1: Point
    P1: Point
    B2: Point
    P2: Point


def statement(suite: Suite, seed: bytes = b"statement") -> Statement:
    entropy = SeededEntropy(seed)
    d, B1, B2 = suite.random_scalar(entropy), suite.random_point(entropy), suite.random_point(entropy)
    return Statement(d, B1, suite.mul(d, B1), B2, suite.mul(d, B2))


def proof(suite: Suite, of: Statement, ctx: bytes = CTX, seed: bytes = b"proof") -> tuple[bytes, bytes]:
    return dleq.prove(suite, *of, LABEL, ctx, SeededEntropy(seed))


def refusal(suite: Suite, c: bytes, s: bytes, *points: bytes, label: str = LABEL, ctx: bytes = CTX) -> ErrorCode:
    B1, P1, B2, P2 = points
    with pytest.raises(PeerFault) as fault:
        dleq.verify(suite, c, s, B1, P1, B2, P2, label, ctx)
    return fault.value.code


@pytest.mark.parametrize("name", ["triad1.json", "triad1-p256.json"])
def test_CM30_the_proof_in_the_vector_s_bind_holds_for_its_transcript_only(name: str) -> None:
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / name).read_text())
    suite = suite_by_id(vectors["suite"])
    enrolment = vectors["A_enrol"]
    given = {key: bytes.fromhex(text) for key, text in (enrolment["inputs"] | enrolment["values"]).items()}
    wire = {key: bytes.fromhex(text) for key, text in enrolment["messages"].items()}
    T = Transcript.begin("A/enrol", suite.id, given["dev_id"], given["nm_id"]).add(wire["HELLO"]).add(wire["JOIN"])
    T = T.add(cbor.encode_array(3, given["YN"], given["eNM"])).add(wire["SHARE"]).add(wire["VPT"])
    bind = cbor.decode_array(wire["BIND"])[1]
    assert isinstance(bind, bytes)
    body = suite.open_once(lexp(Secret(given["P"]), "A/k6", T.value), T.value, bind)
    E2, c, s, _ = (bytes(item) for item in cbor.decode_array(body))  # type: ignore[arg-type]
    dleq.verify(suite, c, s, given["eNM"], given["W"], given["E1"], E2, LABEL, T.value)
    assert refusal(suite, c, s, given["eNM"], given["W"], given["E1"], E2, ctx=T.add(b"").value) is ErrorCode.E_DLEQ


@every_suite
def test_CM30_a_proof_verifies_and_is_bound_to_label_and_context(suite: Suite) -> None:
    of = statement(suite)
    c, s = proof(suite, of)
    assert (len(c), len(s)) == (32, 32)
    dleq.verify(suite, c, s, *of[1:], LABEL, CTX)
    assert refusal(suite, c, s, *of[1:], ctx=b"another transcript") is ErrorCode.E_DLEQ
    assert refusal(suite, c, s, *of[1:], label="B/dleq") is ErrorCode.E_DLEQ
    with pytest.raises(CallerFault, match="not a label"):
        dleq.verify(suite, c, s, *of[1:], "A/other", CTX)


@every_suite
def test_CM30_a_proof_for_another_scalar_or_exchanged_points_is_refused(suite: Suite) -> None:
    of, other = statement(suite), statement(suite, b"other")
    c, s = proof(suite, of)
    B1, P1, B2, P2 = of[1:]
    wrong = [
        (B2, P2, B1, P1),
        (P1, B1, P2, B2),
        (B1, P2, B2, P1),
        (B1, P1, B2, other.P2),
        (B1, other.P1, B2, P2),
        (other.B1, P1, B2, P2),
        (B1, P1, other.B2, P2),
        (B1, suite.add(P1, P1), B2, suite.add(P2, P2)),
    ]
    assert {refusal(suite, c, s, *points) for points in wrong} == {ErrorCode.E_DLEQ}
    lie = Statement(of.d, B1, P1, B2, other.P2)
    assert refusal(suite, *proof(suite, lie), *lie[1:]) is ErrorCode.E_DLEQ
    assert refusal(suite, s, c, *of[1:]) is ErrorCode.E_DLEQ
    assert refusal(suite, *proof(suite, other), *of[1:]) is ErrorCode.E_DLEQ


@every_suite
def test_CM31_each_of_the_four_points_is_checked(suite: Suite) -> None:
    of = statement(suite)
    c, s = proof(suite, of)
    for place in range(4):
        for unfit in (bytes(suite.point_size), b"\xff" * suite.point_size, b"", of.B1[:-1]):
            points: list[bytes] = list(of[1:])  # type: ignore[arg-type]
            points[place] = unfit
            assert refusal(suite, c, s, *points) is ErrorCode.E_POINT


@every_suite
def test_CM08_a_challenge_or_response_that_is_no_scalar_is_a_format_fault(suite: Suite) -> None:
    of = statement(suite)
    c, s = proof(suite, of)
    order = "big" if suite.id >= 16 else "little"
    for unfit in (
        bytes(32),
        suite.order.to_bytes(SCALAR_SIZE, order),  # type: ignore[arg-type]
        (suite.order + 1).to_bytes(SCALAR_SIZE, order),  # type: ignore[arg-type]
        b"\xff" * 32,
        c[:31],
        c + b"\0",
        b"",
    ):
        assert refusal(suite, unfit, s, *of[1:]) is ErrorCode.E_FORMAT
        assert refusal(suite, c, unfit, *of[1:]) is ErrorCode.E_FORMAT


class Lenient(Suite):
    """A suite whose scalars nobody checks."""

    def check_scalar(self, encoding: bytes) -> bytes:
        return encoding


def test_IM06_without_the_scalar_check_one_proof_has_a_second_form() -> None:
    suite = suite_by_id(1)
    lenient = Lenient(
        suite.id, suite.name, suite.group, suite.signatures, suite.establishment, suite.payload, suite.exchange
    )
    of = statement(suite)
    c, s = proof(suite, of)
    twin = (int.from_bytes(s, "little") + suite.order).to_bytes(32, "little")
    dleq.verify(lenient, c, twin, *of[1:], LABEL, CTX)
    assert refusal(suite, c, twin, *of[1:]) is ErrorCode.E_FORMAT


@every_suite
def test_IM06_a_commitment_at_the_identity_is_a_refused_proof(suite: Suite) -> None:
    """s = c·d makes A1 = A2 = O, which needs no nonce: whoever knows d may try, and gets no second form of error."""
    of = statement(suite)
    c = suite.hash_to_scalar(b"chosen")
    zero = Secret(bytes(32))
    s = suite.scalar_mul_add(c, of.d, zero)
    assert refusal(suite, c.expose(), s.expose(), *of[1:]) is ErrorCode.E_DLEQ


@every_suite
def test_CM30_the_nonce_is_hedged(suite: Suite) -> None:
    """With a generator that repeats itself, another d or ctx still gives another nonce; with a good one, each proof."""
    of = statement(suite)
    stuck = b"repeats itself"
    proofs = {proof(suite, of, seed=stuck), proof(suite, of, CTX + b"'", seed=stuck), proof(suite, of, seed=b"good")}
    assert len({s for _, s in proofs}) == 3
    (c1, s1), (c2, s2) = proof(suite, of, seed=stuck), proof(suite, of, CTX + b"'", seed=stuck)
    order = "big" if suite.id >= 16 else "little"
    rise = int.from_bytes(s1, order) - int.from_bytes(s2, order)  # type: ignore[arg-type]
    run = int.from_bytes(c1, order) - int.from_bytes(c2, order)  # type: ignore[arg-type]
    leaked = rise * pow(run, -1, suite.order) % suite.order  # what an equal nonce would give away
    assert leaked != int.from_bytes(of.d.expose(), order)  # type: ignore[arg-type]


@every_suite
def test_a_proof_costs_two_and_its_check_four_multiplications(suite: Suite) -> None:
    of, metered = statement(suite), MeteredSuite(suite)
    c, s = proof(metered, of)
    assert metered.counts["mul"] == 2
    metered.counts.clear()
    dleq.verify(metered, c, s, *of[1:], LABEL, CTX)
    assert (metered.counts["mul"], metered.counts["add"], metered.counts["check"]) == (4, 2, 4)
