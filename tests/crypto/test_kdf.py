"""Derivation, tags and transcript against RFC 5869, an independent HKDF and the vectors of Triad-1."""

import hmac
import json
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from keymote.crypto import kdf
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault

VECTORS = [
    json.loads((Path(__file__).parents[1] / "vectors" / name).read_text())
    for name in ("triad1.json", "triad1-p256.json")
]
both_suites = pytest.mark.parametrize("vectors", VECTORS, ids=["suite 1", "suite 17"])
PRK = Secret(bytes(range(32)))


def test_CM16_extract_is_hmac_keyed_by_the_salt() -> None:
    """RFC 5869 test case 1."""
    prk = kdf.extract(bytes(range(13)), b"\x0b" * 22)
    assert prk.expose().hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"


@pytest.mark.parametrize("length", [0, 1, 16, 31, 32, 33, 55, 63, 64, 65, 131, 200])
def test_CM16_hmac_of_every_kind_of_key_is_that_of_the_library(length: int) -> None:
    """RFC 2104: shorter than a block, as long, and longer, which is hashed first."""
    key, message = bytes(range(length)), b"what is authenticated"
    assert kdf.extract(key, message).expose() == hmac.digest(key, message, "sha256")
    assert kdf.mac16(Secret(key), message[:5], message[5:]) == hmac.digest(key, message, "sha256")[:16]
    assert kdf.mac8(Secret(key), message) == hmac.digest(key, message, "sha256")[:8]


@both_suites
def test_CM16_expand_gives_the_vector(vectors: dict[str, Any]) -> None:
    case = vectors["kdf"]
    out = kdf.lexp(Secret(bytes.fromhex(case["prk"])), case["label"], bytes.fromhex(case["ctx"]), case["L"])
    assert out.expose().hex() == case["out"]


@given(
    label=st.sampled_from(sorted(kdf.LABELS)),
    ctx=st.binary(max_size=300),
    length=st.sampled_from([1, 8, 16, 23, 24, 31, 32, 33, 48, 64, 65, 255, 256, 8160]),
)
def test_CM16_expand_agrees_with_an_independent_hkdf(label: str, ctx: bytes, length: int) -> None:
    info = cbor2.dumps(["TRIAD1/" + label, ctx, length], canonical=True)
    assert kdf.expand(PRK, label, ctx, length) == HKDFExpand(SHA256(), length, info).derive(PRK.expose())


def test_CM16_label_context_and_length_separate() -> None:
    outputs = [
        kdf.expand(PRK, "A/k4", b"", 32),
        kdf.expand(PRK, "A/k5", b"", 32),
        kdf.expand(PRK, "A/k4", b"\0", 32),
        kdf.expand(PRK, "A/k4", b"", 33)[:32],
        kdf.expand(Secret(bytes(32)), "A/k4", b"", 32),
    ]
    assert len(set(outputs)) == len(outputs)


@pytest.mark.parametrize("label", ["", "A/k8", "A/K4", "TRIAD1/A/k4", "a/k4", "dleq"])
def test_CM17_an_unknown_label_is_refused(label: str) -> None:
    with pytest.raises(CallerFault, match="not a label"):
        kdf.lexp(PRK, label, b"")
    with pytest.raises(CallerFault, match="not a label"):
        kdf.Transcript.begin(label)


@pytest.mark.parametrize("length", [0, -1, 8161])
def test_CM16_a_length_that_hkdf_cannot_give_is_refused(length: int) -> None:
    with pytest.raises(CallerFault, match="cannot derive"):
        kdf.expand(PRK, "A/kid", b"", length)


@both_suites
def test_CM18_the_transcript_gives_the_vector(vectors: dict[str, Any]) -> None:
    case = vectors["transcript"]
    inputs = case["inputs"]
    psid, *items = map(bytes.fromhex, [inputs["psid"], *inputs["items"]])
    start = kdf.Transcript.begin(inputs["label"], inputs["suite"], psid, *items)
    assert start.value.hex() == case["T0"]
    assert start.add(bytes.fromhex(inputs["message"])).value.hex() == case["after_m1"]
    assert start.value.hex() == case["T0"], "adding leaves the earlier transcript as it was"


def test_CM18_message_boundaries_and_order_are_hashed() -> None:
    start = kdf.Transcript.begin("A/auth", 1)
    assert len({start.add(b"ab"), start.add(b"a").add(b"b"), start.add(b"b").add(b"a"), start.add(b"ab").add(b"")}) == 4


def test_CM19_tags_are_the_first_bytes_of_hmac_over_the_parts() -> None:
    full = hmac.digest(PRK.expose(), b"onetwo", "sha256")
    assert kdf.mac16(PRK, b"one", b"two") == full[:16]
    assert kdf.mac8(PRK, b"onetwo") == full[:8]


def test_derived_keys_are_secrets_and_public_outputs_are_bytes() -> None:
    assert repr(kdf.lexp(PRK, "A/link", b"")) == "Secret(32 bytes)"
    assert repr(kdf.extract(b"", b"")) == "Secret(32 bytes)"
    assert isinstance(kdf.expand(PRK, "A/lid", b"", 8), bytes)
