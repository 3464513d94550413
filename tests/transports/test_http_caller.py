"""What a failed call means: Triad-1's code first, then the status; and introductions that only the root can vouch for."""

import pytest

from keymote.coordinator.authority import Root, new_request
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.kdf import sha256
from keymote.crypto.suites import SUITES
from keymote.engine.introduction import introduced
from keymote.errors import CallerFault, ErrorCode, KeymoteError, PeerFault, RefusedByPolicy, Unavailable
from keymote.transports.http_caller import refusal, unreachable
from keymote.wire import admin, signed
from keymote.wire.credential import Credential

URL = "https://nc.example"
NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("status", "problem", "kind", "code"),
    [
        (409, admin.Problem("Conflict", 409, code="E_CRED"), PeerFault, ErrorCode.E_CRED),
        (409, None, PeerFault, ErrorCode.E_CRED),
        (404, admin.Problem("x", 404, code="E_UNKNOWN_ID"), PeerFault, ErrorCode.E_UNKNOWN_ID),
        (404, None, CallerFault, None),
        (403, admin.Problem("x", 403, code="E_NOSHARE"), PeerFault, ErrorCode.E_NOSHARE),
        (403, None, RefusedByPolicy, None),
        (401, admin.Problem("x", 401, code="E_AUTH"), PeerFault, ErrorCode.E_AUTH),
        (400, admin.Problem("x", 400), CallerFault, None),
        (429, admin.Problem("x", 429, code="E_LIMIT"), Unavailable, None),
        (429, None, Unavailable, None),
        (503, admin.Problem("x", 503), Unavailable, None),
        (500, None, Unavailable, None),
        (502, admin.Problem("x", 502, code="E_NONSENSE"), Unavailable, None),
    ],
)
def test_an_answer_comes_back_as_one_of_the_four_roots(
    status: int, problem: admin.Problem | None, kind: type[KeymoteError], code: ErrorCode | None
) -> None:
    content = b"<html>proxy</html>" if problem is None else admin.encode(problem)
    error = refusal(URL, status, content)
    assert type(error) is kind
    assert getattr(error, "code", None) is code


def test_what_to_do_travels_with_the_problem() -> None:
    problem = admin.Problem("Conflict", 409, detail="taken", do="retire it there", code="E_CRED")
    assert str(refusal(URL, 409, admin.encode(problem))) == "E_CRED: taken; retire it there"


def test_a_dead_service_and_an_untrusted_one_read_differently() -> None:
    import ssl

    assert "does not answer" in str(unreachable(URL, OSError("refused")))
    untrusted = OSError("handshake")
    untrusted.__cause__ = ssl.SSLCertVerificationError("bad")
    untrusted.__cause__.verify_message = "self-signed certificate"
    assert "self-signed certificate" in str(unreachable(URL, untrusted))


# ------------------------------------------------------------------ introductions


def coordinator(nc_id: bytes, root: Root, *, days: int = 730) -> tuple[object, Credential]:
    key = SUITES[1].generate_signing_key(SeededEntropy(nc_id))
    return key, root.certify(new_request(key, nc_id, NOW), NOW, nc_id, days=days)


def binding(key: object, credential: Credential, der: bytes, **changes: object) -> bytes:
    claims = signed.CertificateAuthority(
        changes.get("nc_id", credential.claims.sub), sha256(der), changes.get("not_after", NOW + 1000)
    )
    return signed.write(key, claims, kid=changes.get("kid", credential.kid))


ROOT = Root.create(1, SeededEntropy(b"root"))
KEY, CREDENTIAL = coordinator(b"coord--A", ROOT)
DER = b"the DER of a certificate authority"


def test_the_root_vouches_for_a_certificate_authority() -> None:
    found = introduced(CREDENTIAL.raw, DER, binding(KEY, CREDENTIAL, DER), ROOT.pin, NOW)
    assert found.claims.sub == b"coord--A"


OTHER_KEY, OTHER = coordinator(b"coord--B", ROOT)


@pytest.mark.parametrize(
    ("credential", "der", "bound", "now", "code"),
    [
        (CREDENTIAL.raw, b"another", binding(KEY, CREDENTIAL, DER), NOW, ErrorCode.E_CRED),
        (CREDENTIAL.raw, DER, binding(OTHER_KEY, CREDENTIAL, DER), NOW, ErrorCode.E_AUTH),
        (CREDENTIAL.raw, DER, binding(KEY, CREDENTIAL, DER, kid=b"otherkid"), NOW, ErrorCode.E_CRED),
        (CREDENTIAL.raw, DER, binding(KEY, CREDENTIAL, DER, nc_id=b"coord--B"), NOW, ErrorCode.E_CRED),
        (CREDENTIAL.raw, DER, binding(KEY, CREDENTIAL, DER), NOW + 1001, ErrorCode.E_CRED),
        (OTHER.raw, DER, binding(KEY, CREDENTIAL, DER), NOW, ErrorCode.E_AUTH),
        (CREDENTIAL.raw, DER, binding(KEY, CREDENTIAL, DER), NOW + 800 * 86400, ErrorCode.E_CRED),
        (
            coordinator(b"coord--A", Root.create(1, SeededEntropy(b"false root")))[1].raw,
            DER,
            binding(KEY, CREDENTIAL, DER),
            NOW,
            ErrorCode.E_CRED,
        ),
    ],
    ids=["other CA", "other key", "other kid", "other id", "binding old", "swapped", "credential old", "other root"],
)
def test_nothing_else_makes_a_certificate_authority_trusted(
    credential: bytes, der: bytes, bound: bytes, now: int, code: ErrorCode
) -> None:
    with pytest.raises(PeerFault) as fault:
        introduced(credential, der, bound, ROOT.pin, now)
    assert fault.value.code is code
