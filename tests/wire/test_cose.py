"""COSE_Sign1 by hand: what is signed, checked by another library, and each header that is not ours (I-10)."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.sign import SigningKey
from keymote.crypto.suites import SUITES
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.cose import PROTECTED, Sign1, sign1

SUITE_IDS = [1, 2, 17]
KEYS = {suite: SUITES[suite].generate_signing_key(SeededEntropy(b"cose %d" % suite)) for suite in SUITE_IDS}
KID = bytes(range(8))
VECTORS = Path(__file__).parents[1] / "vectors"
every_suite = pytest.mark.parametrize("suite", SUITE_IDS)


def verifier(suite: int) -> Any:
    return SUITES[suite].verify_key(KEYS[suite].public)


def to_be_signed(protected: bytes, mt: int, suite: int, ctx: bytes, payload: bytes) -> bytes:
    """Sig_structure (RFC 9052 4.4), written down a second time and encoded by another program."""
    external_aad = cbor2.dumps(["TRIAD1", mt, suite, ctx])
    return cbor2.dumps(["Signature1", protected, external_aad, payload])


def referee(suite: int, public: bytes, message: bytes, signature: bytes) -> None:
    """OpenSSL's own verification; raises InvalidSignature."""
    if suite == 17:
        numbers = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
        key.verify(encode_dss_signature(*numbers), message, ec.ECDSA(SHA256()))
    else:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)


def faults(envelope: Sign1, key: Any, mt: int, ctx: bytes = b"") -> ErrorCode:
    with pytest.raises(PeerFault) as fault:
        envelope.check(key, mt, ctx)
    return fault.value.code


def unreadable(item: object, *, kid: bool) -> None:
    with pytest.raises(PeerFault) as fault:
        Sign1.decode(cbor2.dumps(item, canonical=True), kid=kid)
    assert fault.value.code is ErrorCode.E_FORMAT


# ------------------------------------------------------------------ what is signed


@every_suite
@pytest.mark.parametrize("kid", [None, KID])
def test_CM26_another_library_verifies_what_we_sign(suite: int, kid: bytes | None) -> None:
    envelope = sign1(KEYS[suite], 25, b"payload", ctx=b"context", kid=kid)
    message = to_be_signed(envelope.protected, 25, suite, b"context", b"payload")
    referee(suite, KEYS[suite].public, message, envelope.signature)
    with pytest.raises(InvalidSignature):
        referee(suite, KEYS[suite].public, message + b"\0", envelope.signature)


@every_suite
def test_CM26_we_verify_what_the_definition_signs(suite: int) -> None:
    key: SigningKey = KEYS[suite]
    signature = key.sign(to_be_signed(PROTECTED[suite], 30, suite, b"", b"payload"))
    assert Sign1(PROTECTED[suite], KID, b"payload", signature).check(verifier(suite), 30) == b"payload"


@pytest.mark.parametrize(("suite", "file"), [(1, "triad1.json"), (17, "triad1-p256.json")])
def test_CM26_the_given_share_object_verifies_in_another_library(suite: int, file: str) -> None:
    session = json.loads((VECTORS / file).read_text())["A_session"]
    share = cbor2.loads(bytes.fromhex(session["messages"]["SHARE-OBJ (foreign NM)"]))
    credentials = {name: bytes.fromhex(text) for name, text in session["credentials"].items()}
    kid = {name: hashlib.sha256(raw).digest()[:8] for name, raw in credentials.items()}
    sig_pk = cbor2.loads(cbor2.loads(credentials["NM2"])[2])[-70001][4]
    psid = bytes.fromhex(session["values"]["psid"])
    ctx = cbor2.dumps(["TRIAD1/A/share", psid, kid["D1"], kid["D2"], kid["D1"], kid["NM2"]])
    assert share[1] == {4: kid["NM2"]}
    referee(suite, sig_pk, to_be_signed(share[0], 25, suite, ctx, share[2]), share[3])


@pytest.mark.parametrize(("suite", "header"), [(1, "a10132"), (2, "a10132"), (3, "a10132"), (17, "a10128")])
def test_CM25_IM13_the_protected_header_names_the_fully_specified_algorithm(suite: int, header: str) -> None:
    assert PROTECTED[suite].hex() == header
    assert cbor2.loads(PROTECTED[suite]) == {1: -9 if suite == 17 else -19}


@every_suite
def test_CM26_type_suite_context_and_payload_are_signed(suite: int) -> None:
    envelope = sign1(KEYS[suite], 25, b"payload", ctx=b"context", kid=KID)
    key = verifier(suite)
    assert envelope.check(key, 25, b"context") == b"payload"
    for mt, ctx in (
        (24, b"context"),
        (26, b"context"),
        (0, b"context"),
        (25, b""),
        (25, b"contexu"),
        (25, b"context\0"),
    ):
        assert faults(envelope, key, mt, ctx) is ErrorCode.E_AUTH
    other = Sign1(envelope.protected, KID, b"payloae", envelope.signature)
    assert faults(other, key, 25, b"context") is ErrorCode.E_AUTH
    for at in range(64):
        changed = bytearray(envelope.signature)
        changed[at] ^= 1
        forged = Sign1(envelope.protected, KID, b"payload", bytes(changed))
        assert faults(forged, key, 25, b"context") is ErrorCode.E_AUTH


def test_CM26_CR10_a_signature_under_suite_1_does_not_hold_under_suite_2() -> None:
    """Both have the same kind of key: only the number in external_aad tells them apart."""
    envelope = sign1(KEYS[1], 25, b"payload")
    twin = SUITES[2].verify_key(KEYS[1].public)
    assert faults(envelope, twin, 25) is ErrorCode.E_AUTH


def test_CR10_the_suite_is_that_of_the_signers_key() -> None:
    envelope = sign1(KEYS[17], 15, b"a credential of suite 1, vouched for by a key of suite 17")
    message = to_be_signed(b"\xa1\x01\x28", 15, 17, b"", envelope.payload)
    referee(17, KEYS[17].public, message, envelope.signature)


# ------------------------------------------------------------------ other headers

FOREIGN = {
    "EdDSA, polymorphic": {1: -8},
    "ES256, polymorphic": {1: -7},
    "ES512": {1: -36},
    "ESP384": {1: -51},
    "Ed448": {1: -53},
    "HMAC 256/256": {1: 5},
    "HMAC 256/64": {1: 4},
    "AES-CCM": {1: 10},
    "none": {},
    "an algorithm by name": {1: "Ed25519"},
    "the right one and a content type": {1: -19, 3: 0},
    "the right one and a critical header": {1: -19, 2: [1]},
    "the right one and a kid": {1: -19, 4: KID},
}


@pytest.mark.parametrize("why", FOREIGN)
@pytest.mark.parametrize("kid", [None, KID])
def test_CM25_IM09_any_other_algorithm_is_refused_before_a_key_is_touched(why: str, kid: bytes | None) -> None:
    header = {} if kid is None else {4: kid}
    for protected in (
        cbor2.dumps(FOREIGN[why], canonical=True),
        b"",
        b"\xa0",
        b"\xa1\x01\x38\x12",
        b"\xbf\x01\x32\xff",
    ):
        unreadable([protected, header, b"payload", bytes(64)], kid=kid is not None)


def test_IM09_a_mac_with_the_public_key_is_no_signature() -> None:
    """The classical confusion: HMAC keyed by what everybody knows."""
    message = to_be_signed(b"\xa1\x01\x32", 25, 1, b"", b"payload")
    tag = hmac.digest(KEYS[1].public, message, "sha512")
    assert faults(Sign1(b"\xa1\x01\x32", KID, b"payload", tag), verifier(1), 25) is ErrorCode.E_AUTH
    unreadable([b"\xa1\x01\x05", {4: KID}, b"payload", tag[:32]], kid=True)


@pytest.mark.parametrize(("key", "header"), [(1, 17), (2, 17), (17, 1)])
def test_CM25_the_algorithm_of_another_suite_is_refused(key: int, header: int) -> None:
    envelope = Sign1(PROTECTED[header], KID, b"payload", sign1(KEYS[header], 25, b"payload").signature)
    assert faults(envelope, verifier(key), 25) is ErrorCode.E_FORMAT


@pytest.mark.parametrize(
    "unprotected",
    [
        {}, {4: b""}, {4: bytes(7)}, {4: bytes(9)}, {4: "kid-text"}, {4: 7}, {4: None}, {4: [KID]}, {5: KID},
        {4: KID, 1: -19}, {4: KID, 1: -8}, {4: KID, 5: b""}, {"kid": KID}, {4: KID, "x": 1},
    ],
    ids=str,
)  # fmt: skip
def test_CM27_IM09_where_a_kid_is_due_nothing_else_passes(unprotected: dict[Any, Any]) -> None:
    unreadable([PROTECTED[1], unprotected, b"payload", bytes(64)], kid=True)


@pytest.mark.parametrize("unprotected", [{4: KID}, {1: -19}, {4: b""}, {4: None}, {33: b"certificate"}], ids=str)
def test_CM27_IM09_where_no_kid_is_due_the_header_is_empty(unprotected: dict[Any, Any]) -> None:
    unreadable([PROTECTED[1], unprotected, b"payload", bytes(64)], kid=False)
    assert Sign1.decode(cbor2.dumps([PROTECTED[1], {}, b"payload", bytes(64)]), kid=False).kid is None


@pytest.mark.parametrize(
    "item",
    [
        None, 1, b"", "", {}, [], [PROTECTED[1]], [PROTECTED[1], {}, b""], [PROTECTED[1], {}, b"", bytes(64), b""],
        [{1: -19}, {}, b"", bytes(64)], [PROTECTED[1], None, b"", bytes(64)], [PROTECTED[1], [], b"", bytes(64)],
        [PROTECTED[1], {}, None, bytes(64)], [PROTECTED[1], {}, "", bytes(64)], [PROTECTED[1], {}, [], bytes(64)],
        [PROTECTED[1], {}, b"", bytes(63)], [PROTECTED[1], {}, b"", bytes(65)], [PROTECTED[1], {}, b"", b""],
        [PROTECTED[1], {}, b"", None], [PROTECTED[1], {}, b"", [bytes(64)]], [True, {}, b"", bytes(64)],
        cbor2.CBORTag(18, [PROTECTED[1], {}, b"", bytes(64)]), cbor2.CBORTag(98, [PROTECTED[1], {}, b"", [bytes(64)]]),
    ],
    ids=repr,
)  # fmt: skip
def test_CM04_only_the_untagged_array_of_four_is_read(item: object) -> None:
    unreadable(item, kid=False)


@every_suite
@given(payload=st.binary(max_size=300), kid=st.none() | st.binary(min_size=8, max_size=8))
def test_CM05_an_envelope_reads_back_as_it_was_written(suite: int, payload: bytes, kid: bytes | None) -> None:
    envelope = sign1(KEYS[suite], 11, payload, kid=kid)
    data = envelope.encode()
    found = Sign1.decode(data, kid=kid is not None)
    assert (found, found.encode()) == (envelope, data)
    assert found.check(verifier(suite), 11) == payload
