"""Sealing to a credential: the vector's foreign share, and what may not open."""

import json
from pathlib import Path

import pytest

from keymote import cbor
from keymote.crypto import seal
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.group import Point
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.crypto.suites import SUITES, suite_by_id
from keymote.errors import ErrorCode, PeerFault

every_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
CTX = b"context"


def owner(suite: Suite, seed: bytes = b"owner") -> tuple[Secret, Point, Point]:
    entropy = SeededEntropy(seed)
    d, E1 = suite.random_scalar(entropy), suite.random_point(entropy)
    return d, E1, suite.mul(d, E1)


def refusal(suite: Suite, *arguments: object) -> ErrorCode:
    with pytest.raises(PeerFault) as fault:
        seal.open_(suite, *arguments)  # type: ignore[arg-type]
    return fault.value.code


@pytest.mark.parametrize("name", ["triad1.json", "triad1-p256.json"])
def test_CM32_the_vector_s_foreign_share_opens_under_the_initiator_s_key(name: str) -> None:
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / name).read_text())
    session = vectors["A_session"]
    suite = suite_by_id(vectors["suite"])
    credentials = {who: bytes.fromhex(text) for who, text in session["credentials"].items()}
    kid = {who: sha256(credential)[:8] for who, credential in credentials.items()}
    claims = cbor.decode(cbor.decode_array(credentials["D1"])[2])  # type: ignore[arg-type]
    _, _, E1, E2, *_ = claims[-70001]  # type: ignore[index,call-overload,misc]
    share = cbor.decode_array(bytes.fromhex(session["messages"]["SHARE-OBJ (foreign NM)"]))
    psid, C1, ct = cbor.decode_array(share[2])  # type: ignore[arg-type]
    ctx = cbor.encode_array("TRIAD1/A/share", psid, kid["D1"], kid["D2"], kid["D1"], kid["NM2"])
    d = Secret(bytes.fromhex(session["private"]["d1"]))
    opened = seal.open_(suite, d, E1, E2, C1, ctx, ct)  # type: ignore[arg-type]
    assert opened.hex() == session["values"]["B2"]
    swapped = cbor.encode_array("TRIAD1/A/share", psid, kid["D2"], kid["D1"], kid["D1"], kid["NM2"])
    assert refusal(suite, d, E1, E2, C1, swapped, ct) is ErrorCode.E_AUTH


@every_suite
@pytest.mark.parametrize("length", [0, 1, 33, 1000])
def test_CM32_what_is_sealed_opens(suite: Suite, length: int) -> None:
    d, E1, E2 = owner(suite)
    plaintext = bytes(range(256)) * 4
    C1, ct = seal.seal(suite, E1, E2, CTX, plaintext[:length], SeededEntropy(b"r"))
    assert (len(C1), len(ct)) == (suite.point_size, length + 16)
    assert seal.open_(suite, d, E1, E2, C1, CTX, ct) == plaintext[:length]


@every_suite
def test_CM32_nothing_else_opens(suite: Suite) -> None:
    d, E1, E2 = owner(suite)
    other_d, other_E1, other_E2 = owner(suite, b"other")
    C1, ct = seal.seal(suite, E1, E2, CTX, b"share", SeededEntropy(b"r"))
    again, _ = seal.seal(suite, E1, E2, CTX, b"share", SeededEntropy(b"r'"))
    assert again != C1
    wrong = [
        (d, E1, E2, C1, CTX + b"'", ct),
        (d, E1, E2, C1, b"", ct),
        (d, E2, E1, C1, CTX, ct),
        (d, E1, other_E2, C1, CTX, ct),
        (d, other_E1, E2, C1, CTX, ct),
        (other_d, E1, E2, C1, CTX, ct),
        (d, E1, E2, again, CTX, ct),
        (d, E1, E2, C1, CTX, ct[:-1]),
        (d, E1, E2, C1, CTX, b""),
        *((d, E1, E2, C1, CTX, ct[:n] + bytes([ct[n] ^ 1]) + ct[n + 1 :]) for n in range(len(ct))),
    ]
    assert {refusal(suite, *arguments) for arguments in wrong} == {ErrorCode.E_AUTH}


@every_suite
def test_CM32_an_invalid_encapsulation_is_a_point_fault(suite: Suite) -> None:
    d, E1, E2 = owner(suite)
    C1, ct = seal.seal(suite, E1, E2, CTX, b"share", SeededEntropy(b"r"))
    for unfit in (bytes(suite.point_size), b"\xff" * suite.point_size, C1[:-1], C1 + b"\0", b""):
        assert refusal(suite, d, E1, E2, unfit, CTX, ct) is ErrorCode.E_POINT
