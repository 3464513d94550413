"""X.509 and TLS 1.3 between coordinators, managers and operators: the home of certificates.

A coordinator is its own certificate authority (ECDSA P-256). Whom a certificate stands for is said in one place, a URI
in its subject alternative name: `urn:keymote:manager:<id>:<kid>`, `kid` being the Triad-1 credential under which it
was issued, so that a certificate dies with the credential.
"""

import contextlib
import ipaddress
import re
import ssl
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, ErrorCode, PeerFault

AUTHORITY_DAYS: Final = 3650
SERVER_DAYS: Final = 397
CLIENT_DAYS: Final = 90
_BACKDATE: Final = timedelta(minutes=5)
"""Clocks of managers are within 300 s (Triad-1 1.13)."""

GROUPS: Final = "X25519MLKEM768:X25519:prime256v1"
"""Key exchange by preference: the hybrid one first (Triad-1 2.5), the others for platforms without it."""

_MANAGER_URI: Final = re.compile(r"urn:keymote:manager:([0-9a-f]{16}):([0-9a-f]{16})")


class Issued(NamedTuple):
    """A certificate as PEM text and its private key as PEM encrypted under the caller's password."""

    certificate: str
    key: bytes


class ManagerName(NamedTuple):
    """Whom a client certificate stands for; ids of 8 bytes."""

    nm_id: bytes
    kid: bytes

    @property
    def uri(self) -> str:
        return f"urn:keymote:manager:{self.nm_id.hex()}:{self.kid.hex()}"


@dataclass(frozen=True, slots=True)
class Authority:
    """A coordinator's certificate authority: server certificates for itself, client certificates for its managers."""

    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def create(cls, name: str, now: int) -> "Authority":
        """Return a new authority called `name`, valid from `now` (UTC seconds) for ten years."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(subject, subject, key.public_key(), now, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, pem: str, key: bytes, password: Secret) -> "Authority":
        """Return the authority of a certificate and its encrypted key; CallerFault when they do not belong together."""
        certificate, private = load_certificate(pem), _load_key(key, password)
        if certificate.public_key() != private.public_key():
            raise CallerFault("the authority's certificate and its key do not belong together")
        return cls(certificate, private)

    def key_pem(self, password: Secret) -> bytes:
        """Return the private key as PEM, encrypted under `password`."""
        return _key_pem(self._key, password)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def not_after(self) -> int:
        return int(self.certificate.not_valid_after_utc.timestamp())

    def issue_server(self, names: Sequence[str], now: int, password: Secret, *, days: int = SERVER_DAYS) -> Issued:
        """Return a certificate and key for the host names and addresses in `names`."""
        if not names:
            raise CallerFault("a server certificate needs at least one host name")
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._leaf(names[0], key.public_key(), now, days, ExtendedKeyUsageOID.SERVER_AUTH).add_extension(
            x509.SubjectAlternativeName([_host(name) for name in names]), critical=False
        )
        return Issued(_pem(certificate.sign(self._key, hashes.SHA256())), _key_pem(key, password))

    def issue_client(self, request: bytes, name: ManagerName, now: int, *, days: int = CLIENT_DAYS) -> str:
        """Return a client certificate (PEM) for the key of a PKCS #10 request (DER); nothing else of it is taken over.

        Raises:
            PeerFault: E_FORMAT for what is no request for a P-256 key, E_AUTH when it is not signed by its own key.
        """
        try:
            csr = x509.load_der_x509_csr(request)
            public = csr.public_key()
            possessed = csr.is_signature_valid
        except Exception as error:  # the parser of foreign bytes documents no closed list
            raise PeerFault(ErrorCode.E_FORMAT, "not a certificate request") from error
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
            raise PeerFault(ErrorCode.E_FORMAT, "a manager's TLS key must be ECDSA P-256")
        if not possessed:
            raise PeerFault(ErrorCode.E_AUTH, "certificate request is not signed by its own key")
        certificate = self._leaf(name.nm_id.hex(), public, now, days, ExtendedKeyUsageOID.CLIENT_AUTH).add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name.uri)]), critical=True
        )
        return _pem(certificate.sign(self._key, hashes.SHA256()))

    def manager_of(self, der: bytes) -> ManagerName:
        """Return whom a client certificate (DER) stands for.

        The handshake has checked dates and signature; this asks for our own signature again, so that an authority added
        to the context for another purpose could never name a manager of ours.

        Raises:
            PeerFault: E_CRED when this authority did not issue it or it names no manager.
        """
        try:
            certificate = x509.load_der_x509_certificate(der)
            certificate.verify_directly_issued_by(self.certificate)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
            raise PeerFault(ErrorCode.E_CRED, "client certificate was not issued here") from error
        found = [_MANAGER_URI.fullmatch(uri) for uri in names.get_values_for_type(x509.UniformResourceIdentifier)]
        if len(found) != 1 or found[0] is None:
            raise PeerFault(ErrorCode.E_CRED, "client certificate names no manager")
        return ManagerName(bytes.fromhex(found[0][1]), bytes.fromhex(found[0][2]))

    def _leaf(
        self, name: str, public: ec.EllipticCurvePublicKey, now: int, days: int, purpose: x509.ObjectIdentifier
    ) -> x509.CertificateBuilder:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        issuer_key = self._key.public_key()
        return (
            _builder(subject, self.certificate.subject, public, now, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
        )


class Request(NamedTuple):
    """A manager's new TLS key, encrypted PEM, and the PKCS #10 request (DER) for it."""

    key: bytes
    der: bytes


def new_request(password: Secret) -> Request:
    """Return a fresh P-256 key and a certificate request for it; the coordinator decides what the certificate says."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return Request(_key_pem(key, password), request.public_bytes(serialization.Encoding.DER))


def load_certificate(pem: str) -> x509.Certificate:
    """Return the certificate in `pem`; PeerFault E_FORMAT for anything else."""
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise PeerFault(ErrorCode.E_FORMAT, "not an X.509 certificate in PEM") from error


def certificate_der(pem: str) -> bytes:
    """Return the DER bytes of a PEM certificate; PeerFault E_FORMAT for anything else."""
    return load_certificate(pem).public_bytes(serialization.Encoding.DER)


@dataclass(frozen=True, slots=True)
class Validity:
    """What an operator asks of a certificate: from when to when (UTC seconds) and for which names."""

    not_before: int
    not_after: int
    names: tuple[str, ...]

    def needs_renewal(self, now: int) -> bool:
        """Return whether less than a third of its life is left."""
        return now > self.not_after - (self.not_after - self.not_before) // 3


def validity_of(pem: str) -> Validity:
    """Return dates and host names of a certificate; PeerFault E_FORMAT for what is none."""
    certificate = load_certificate(pem)
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [*san.get_values_for_type(x509.DNSName), *map(str, san.get_values_for_type(x509.IPAddress))]
    except x509.ExtensionNotFound:
        names = []
    return Validity(
        int(certificate.not_valid_before_utc.timestamp()),
        int(certificate.not_valid_after_utc.timestamp()),
        tuple(names),
    )


# ------------------------------------------------------------------ contexts


def server_context(certificate: Path, key: Path, password: Secret, authority: str) -> ssl.SSLContext:
    """Return a TLS 1.3 context that asks for, but does not demand, a client certificate of `authority` (PEM text)."""
    context = prefer_hybrid(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    load_chain(context, certificate, key, password)
    context.load_verify_locations(cadata=authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def web_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a TLS 1.3 context that shows an operator's own certificate, whose key (PEM) has no password.

    Raises:
        CallerFault: a file is missing, does not fit, or the key can be read by others.
    """
    context = prefer_hybrid(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        open_to_others = stat.S_IMODE(key.stat().st_mode) & 0o077
    except OSError as error:
        raise CallerFault(f"cannot read {key}: {error.strerror}") from error
    if open_to_others:
        raise CallerFault(f"{key} can be read by others", do=f"chmod 600 {key}")
    load_chain(context, certificate, key, Secret(b""))
    return context


def client_context(
    authority: str, certificate: Path | None = None, key: Path | None = None, password: Secret | None = None
) -> ssl.SSLContext:
    """Return a TLS 1.3 context that trusts `authority` (PEM text) alone and shows `certificate` where one is given."""
    context = prefer_hybrid(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authority)
    if certificate is not None and key is not None and password is not None:
        load_chain(context, certificate, key, password)
    return context


def unverified_context() -> ssl.SSLContext:
    """Return a context that trusts nobody in particular: only for fetching what proves itself (docs/decisions/0030)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def prefer_hybrid(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let `context` prefer X25519MLKEM768 where the platform has it, and return it.

    OpenSSL from 3.5 on prefers it by itself; Python from 3.15 on lets us say so. Elsewhere the context stays as it is:
    the post-quantum promise of session keys rests on κ, not on TLS (Triad-1 8 on 1.17).
    """
    set_groups = getattr(context, "set_groups", None)
    if set_groups is not None:
        with contextlib.suppress(ssl.SSLError):  # an OpenSSL without that group keeps its own order
            set_groups(GROUPS)
    return context


def load_chain(context: ssl.SSLContext, certificate: Path, key: Path, password: Secret) -> None:
    """Let `context` show this certificate from the next handshake on; CallerFault when the files do not fit."""
    try:
        context.load_cert_chain(certificate, key, password=lambda: password.expose().hex())
    except FileNotFoundError as error:
        raise CallerFault(f"{certificate} or {key} is missing") from error
    except ssl.SSLError as error:
        raise CallerFault(f"{key} does not open or does not belong to {certificate}") from error


# ------------------------------------------------------------------ parts of certificates


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: int, days: int
) -> x509.CertificateBuilder:
    start = datetime.fromtimestamp(now, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - _BACKDATE)
        .not_valid_after(start + timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey, password: Secret) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password.expose().hex().encode()),
    )


def _load_key(pem: bytes, password: Secret) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password.expose().hex().encode())
    except (ValueError, TypeError) as error:
        raise CallerFault("the private key does not open", do="check the key-encryption key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CallerFault("the private key is not an ECDSA key")
    return key
