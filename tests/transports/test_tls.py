"""Certificates and contexts: what is issued connects, and nothing else does. Handshakes run in memory."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.transports import tls

NOW = 1_800_000_000
PASSWORD = Secret(bytes(range(32)))
NAME = tls.ManagerName(b"manager1", b"cred-kid")


@pytest.fixture(scope="module")
def authority() -> tls.Authority:
    return tls.Authority.create("nc-a", NOW)


def live_now() -> int:
    """OpenSSL judges dates by the real clock."""
    import time

    return int(time.time())


def request_der(key: object) -> bytes:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return request.sign(key, algorithm).public_bytes(serialization.Encoding.DER)


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(to_client, to_server, server_hostname=name)
    callee = server.wrap_bio(to_server, to_client, server_side=True)
    pending = [caller, callee]
    for _ in range(10):
        for side in list(pending):
            try:
                side.do_handshake()
                pending.remove(side)
            except ssl.SSLWantReadError:
                continue
        if not pending:
            return caller, callee
    raise AssertionError("the handshake does not end")


class Files:
    def __init__(self, folder: Path, certificate: str, key: bytes) -> None:
        self.certificate, self.key = folder / "cert.pem", folder / "key.pem"
        self.certificate.write_text(certificate)
        self.key.write_bytes(key)


def test_a_manager_is_recognised_by_the_certificate_that_it_shows(tmp_path: Path) -> None:
    authority = tls.Authority.create("nc-a", live_now())
    (tmp_path / "server").mkdir()
    issued = authority.issue_server(["localhost", "127.0.0.1"], live_now(), PASSWORD)
    server = Files(tmp_path / "server", issued.certificate, issued.key)
    request = tls.new_request(PASSWORD)
    client = Files(tmp_path, authority.issue_client(request.der, NAME, live_now()), request.key)
    listening = tls.server_context(server.certificate, server.key, PASSWORD, authority.pem)

    caller, callee = handshake(
        tls.client_context(authority.pem, client.certificate, client.key, PASSWORD), listening, "127.0.0.1"
    )
    assert caller.version() == "TLSv1.3"
    der = callee.getpeercert(binary_form=True)
    assert der is not None
    assert authority.manager_of(der) == NAME

    _, anonymous = handshake(tls.client_context(authority.pem), listening, "localhost")
    assert anonymous.getpeercert(binary_form=True) is None

    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tls.client_context(authority.pem), listening, "other.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tls.client_context(tls.Authority.create("nc-b", live_now()).pem), listening, "localhost")
    old = tls.client_context(authority.pem)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        handshake(old, listening, "localhost")


def test_a_server_certificate_does_not_admit_as_client(authority: tls.Authority) -> None:
    issued = authority.issue_server(["localhost"], NOW, PASSWORD)
    with pytest.raises(PeerFault) as fault:
        authority.manager_of(tls.certificate_der(issued.certificate))
    assert fault.value.code is ErrorCode.E_CRED


def test_another_authority_names_no_manager_of_ours(authority: tls.Authority) -> None:
    other = tls.Authority.create("nc-a", NOW)
    certificate = other.issue_client(tls.new_request(PASSWORD).der, NAME, NOW)
    assert other.manager_of(tls.certificate_der(certificate)) == NAME
    with pytest.raises(PeerFault) as fault:
        authority.manager_of(tls.certificate_der(certificate))
    assert fault.value.code is ErrorCode.E_CRED


def test_what_the_request_asks_for_is_not_taken_over(authority: tls.Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )
    certificate = tls.load_certificate(authority.issue_client(request, NAME, NOW))
    assert certificate.subject.rfc4514_string() == f"CN={NAME.nm_id.hex()}"
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == [NAME.uri]


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"", ErrorCode.E_FORMAT),
        (b"\x30\x03\x02\x01\x00", ErrorCode.E_FORMAT),
        (request_der(ec.generate_private_key(ec.SECP384R1())), ErrorCode.E_FORMAT),
        (request_der(ed25519.Ed25519PrivateKey.generate()), ErrorCode.E_FORMAT),
    ],
    ids=["empty", "no request", "P-384", "Ed25519"],
)
def test_other_requests_are_refused(authority: tls.Authority, request_bytes: bytes, code: ErrorCode) -> None:
    with pytest.raises(PeerFault) as fault:
        authority.issue_client(request_bytes, NAME, NOW)
    assert fault.value.code is code


def test_a_request_for_somebody_elses_key_is_refused(authority: tls.Authority) -> None:
    honest = bytearray(tls.new_request(PASSWORD).der)
    honest[-1] ^= 1
    with pytest.raises(PeerFault) as fault:
        authority.issue_client(bytes(honest), NAME, NOW)
    assert fault.value.code in {ErrorCode.E_AUTH, ErrorCode.E_FORMAT}


def test_an_authority_comes_back_from_its_files_with_the_right_password_only(authority: tls.Authority) -> None:
    key = authority.key_pem(PASSWORD)
    assert tls.Authority.load(authority.pem, key, PASSWORD).der == authority.der
    assert b"ENCRYPTED" in key
    with pytest.raises(CallerFault, match="does not open"):
        tls.Authority.load(authority.pem, key, Secret(bytes(32)))
    with pytest.raises(CallerFault, match="do not belong together"):
        tls.Authority.load(tls.Authority.create("x", NOW).pem, key, PASSWORD)
    assert "PRIVATE" not in repr(authority)


def test_validity_names_dates_and_hosts(authority: tls.Authority) -> None:
    issued = authority.issue_server(["localhost", "127.0.0.1"], NOW, PASSWORD, days=30)
    validity = tls.validity_of(issued.certificate)
    assert validity.names == ("localhost", "127.0.0.1")
    assert validity.not_after == NOW + 30 * 86400
    assert not validity.needs_renewal(NOW + 19 * 86400)
    assert validity.needs_renewal(NOW + 21 * 86400)


class Spied:
    """A context of a Python that lets us say which groups it offers."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.asked: list[str] = []
        self.fault = fault

    def set_groups(self, groups: str) -> None:
        self.asked.append(groups)
        if self.fault is not None:
            raise self.fault


@pytest.mark.parametrize("fault", [None, ssl.SSLError("no such group")])
def test_the_hybrid_group_is_preferred_where_it_can_be_said_and_missed_without_harm(fault: Exception | None) -> None:
    context = Spied(fault)
    assert tls.prefer_hybrid(context) is context
    (groups,) = context.asked
    assert groups.split(":")[0] == "X25519MLKEM768"
