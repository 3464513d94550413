"""CPace against its draft's vectors; what the password exchange binds; the exchange without a map."""

import json
from pathlib import Path

import pytest

from keymote import cbor
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.group import Point
from keymote.crypto.pake import CPACE_RISTRETTO255, generator_string, lv
from keymote.crypto.secret import Secret
from keymote.crypto.suites import suite_by_id
from keymote.errors import PeerFault

DRAFT = {
    name: bytes.fromhex(value) if isinstance(value, str) and name != "origin" else value
    for name, value in json.loads(
        (Path(__file__).parents[1] / "vectors" / "cpace-ristretto255.json").read_text()
    ).items()
}
PRS, CI, SID = DRAFT["PRS"], DRAFT["CI"], DRAFT["sid"]
suite = suite_by_id(1)


def test_EN10_generator_string_of_the_draft() -> None:
    assert generator_string(CPACE_RISTRETTO255, PRS, CI, SID) == DRAFT["generator_string"]


@pytest.mark.parametrize("cpace_suite", [1, 2])
def test_EN10_generator_shares_and_isk_of_the_draft(cpace_suite: int) -> None:
    suite = suite_by_id(cpace_suite)
    B = suite.pake_start(PRS, CI, SID)
    assert DRAFT["generator"] == B
    Y_a, Y_b = suite.mul(Secret(DRAFT["ya"]), B), suite.mul(Secret(DRAFT["yb"]), B)
    assert (Y_a, Y_b) == (DRAFT["Ya"], DRAFT["Yb"])
    K = suite.mul(Secret(DRAFT["ya"]), suite.check(Y_b))
    assert K == suite.mul(Secret(DRAFT["yb"]), suite.check(Y_a)) == DRAFT["K"]
    assert suite.pake_isk(SID, K, Y_a, DRAFT["ADa"], Y_b, DRAFT["ADb"]) == Secret(DRAFT["ISK"])


def test_EN10_scalar_mult_vfy_of_the_draft() -> None:
    case = {name: bytes.fromhex(value) for name, value in DRAFT["scalar_mult"].items()}
    assert suite.mul(Secret(case["s"]), suite.check(case["X"])) == case["sX"]
    for refused in (case["invalid_X"], bytes(32)):
        with pytest.raises(PeerFault, match="E_POINT"):
            suite.check(refused)


def test_EN10_the_isk_binds_every_input_and_its_place() -> None:
    B = suite.pake_start(PRS, CI, SID)
    P, Q, K = (suite.mul(suite.random_scalar(SeededEntropy(seed)), B) for seed in (b"P", b"Q", b"K"))
    base = (SID, K, P, b"device", Q, b"manager")
    variants = [
        base,
        (SID + b"\0", *base[1:]),
        (SID, P, *base[2:]),
        (SID, K, Q, b"device", P, b"manager"),
        (SID, K, P, b"manager", Q, b"device"),
        (SID, K, P, b"devicem", Q, b"anager"),
    ]
    assert len({suite.pake_isk(*variant).expose() for variant in variants}) == len(variants)


@pytest.mark.parametrize("change", ["prs", "ci", "sid"])
def test_EN10_the_generator_binds_code_identities_and_nonce(change: str) -> None:
    inputs = {"prs": PRS, "ci": CI, "sid": SID}
    B = suite.pake_start(**inputs)
    assert suite.pake_start(**{**inputs, change: inputs[change] + b"\0"}) != B


@pytest.mark.parametrize("length", [0, 1, 108, 109, 110, 127, 128, 300, 16384])
def test_EN10_the_password_fills_whole_blocks_alone(length: int) -> None:
    prs = b"\x5a" * length
    text = generator_string(CPACE_RISTRETTO255, prs, b"CI", b"sid")
    padding = max(0, 127 - len(lv(prs)) - len(lv(CPACE_RISTRETTO255)))
    assert text == lv(CPACE_RISTRETTO255, prs, bytes(padding), b"CI", b"sid")
    start_of_ci = len(text) - len(lv(b"CI", b"sid"))
    assert start_of_ci >= 128
    assert text.index(lv(bytes(padding), b"CI")) == len(lv(CPACE_RISTRETTO255, prs))


@pytest.mark.parametrize(
    ("length", "prefix"), [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (16384, "808001")]
)
def test_EN10_lengths_are_leb128(length: int, prefix: str) -> None:
    assert lv(bytes(length)) == bytes.fromhex(prefix) + bytes(length)


def test_EN07_suite_17_takes_no_short_codes_and_starts_from_its_generator() -> None:
    p256 = suite_by_id(17)
    assert (suite.pake, suite_by_id(2).pake, p256.pake) == (True, True, False)
    one = (1).to_bytes(32, "big")
    assert p256.pake_start(PRS, CI, SID) == p256.pake_start(b"", b"", b"") == p256.base_mul(Secret(one))


@pytest.mark.parametrize("name", ["triad1.json", "triad1-p256.json"])
def test_EN13_enrolment_arithmetic_gives_the_vector(name: str) -> None:
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / name).read_text())
    enrolment = vectors["A_enrol"]
    given = {key: bytes.fromhex(text) for key, text in (enrolment["inputs"] | enrolment["values"]).items()}
    suite = suite_by_id(vectors["suite"])
    ci = cbor.encode_array("TRIAD1/A/enrol", suite.id, given["dev_id"], given["nm_id"], given["nc_id"])
    B = suite.pake_start(given["otc_cbor"], ci, given["hello_nonce"])
    y_D, y_N, d_D, d_NM = (Secret(given[key]) for key in ("yD", "yN", "d", "dN"))
    e_NM, e_D = suite.check(given["eNM"]), suite.check(given["eD"])
    Y_D, Y_N = suite.mul(y_D, B), suite.mul(y_N, B)
    W, V = suite.mul(d_D, e_NM), suite.mul(d_NM, e_D)
    E1 = suite.add(e_NM, V)
    E2 = suite.add(suite.mul(d_D, V), W)
    computed: dict[str, Point] = {"B": B, "YD": Y_D, "YN": Y_N, "W": W, "V": V, "E1": E1, "E2": E2}
    assert computed == {key: given[key] for key in computed}
    assert suite.mul(y_D, Y_N) == suite.mul(y_N, Y_D) == given["K"]
    assert suite.mul(d_D, E1) == E2
