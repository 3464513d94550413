"""Signed objects without a message: one form each, bound to type and key."""

import pytest

from keymote import cbor
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.suites import SUITES
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire import signed
from keymote.wire.cose import sign1
from keymote.wire.message import Body

KID = bytes(range(8))
SAMPLES: list[Body] = [
    signed.Receipt(bytes(32), 7, 1_700_000_000),
    signed.AuditHead(b"n" * 8, 3, bytes(32), 1_700_000_000),
    signed.CertificateAuthority(b"n" * 8, bytes(32), 1_800_000_000),
    signed.CertificateRequest(b"n" * 8, b"m" * 8, bytes(32)),
    signed.Lookup(b"n" * 8, b"o" * 8, b"d" * 8, 1_700_000_000),
    signed.CoordinatorRequest(b"n" * 8, 1, bytes(32), 1_700_000_000),
    signed.HybridPublic(b"m" * 8, b"h" * 32),
]


def key(suite: int = 1, seed: bytes = b"signed") -> object:
    return SUITES[suite].generate_signing_key(SeededEntropy(seed))


def sign(claims: Body, suite: int = 1) -> bytes:
    return signed.write(key(suite), claims, kid=KID if signed.FORMS[type(claims)].kid else None)


def verifier(suite: int = 1, seed: bytes = b"signed"):
    return SUITES[suite].verify_key(key(suite, seed).public)


@pytest.mark.parametrize("suite", [1, 17])
@pytest.mark.parametrize("claims", SAMPLES, ids=lambda c: type(c).__name__)
def test_what_is_written_reads_back_and_verifies(claims: Body, suite: int) -> None:
    found = signed.read(sign(claims, suite), type(claims))
    assert found.verified_by(verifier(suite)) == claims
    assert found.kid == (KID if signed.FORMS[type(claims)].kid else None)


@pytest.mark.parametrize("claims", SAMPLES, ids=lambda c: type(c).__name__)
def test_CM26_a_signature_is_bound_to_its_type(claims: Body) -> None:
    form = signed.FORMS[type(claims)]
    other = sign1(key(), form.mt + 1, claims.encode(), kid=KID if form.kid else None).encode()
    with pytest.raises(PeerFault) as fault:
        signed.read(other, type(claims)).verified_by(verifier())
    assert fault.value.code is ErrorCode.E_AUTH


@pytest.mark.parametrize("claims", SAMPLES, ids=lambda c: type(c).__name__)
def test_another_key_does_not_verify(claims: Body) -> None:
    with pytest.raises(PeerFault) as fault:
        signed.read(sign(claims), type(claims)).verified_by(verifier(seed=b"other"))
    assert fault.value.code is ErrorCode.E_AUTH


@pytest.mark.parametrize("claims", SAMPLES, ids=lambda c: type(c).__name__)
def test_CM02_no_truncation_and_no_further_byte_is_read(claims: Body) -> None:
    whole = sign(claims)
    for broken in [whole[:length] for length in range(len(whole))] + [whole + b"\0"]:
        with pytest.raises(PeerFault) as fault:
            signed.read(broken, type(claims))
        assert fault.value.code is ErrorCode.E_FORMAT


@pytest.mark.parametrize("claims", SAMPLES, ids=lambda c: type(c).__name__)
def test_CM27_kid_stands_exactly_where_it_is_due(claims: Body) -> None:
    form = signed.FORMS[type(claims)]
    wrong = None if form.kid else KID
    with pytest.raises(CallerFault):
        signed.write(key(), claims, kid=wrong)
    with pytest.raises(PeerFault) as fault:
        signed.read(sign1(key(), form.mt, claims.encode(), kid=wrong).encode(), type(claims))
    assert fault.value.code is ErrorCode.E_FORMAT


def test_our_types_lie_outside_the_registry() -> None:
    assert len({form.mt for form in signed.FORMS.values()}) == len(signed.FORMS)
    assert {form.mt for form in signed.FORMS.values()} - {12, 14} == {240, 241, 242, 243, 244, 245, 246}


def test_a_claim_of_another_length_is_refused() -> None:
    raw = sign1(key(), 12, cbor.encode([bytes(31), 1, 1])).encode()
    with pytest.raises(PeerFault) as fault:
        signed.read(raw, signed.Receipt)
    assert fault.value.code is ErrorCode.E_FORMAT
