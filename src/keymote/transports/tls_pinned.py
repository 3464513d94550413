"""Mutual TLS 1.3 between brokers' agents: each shows a certificate of its own making, which the federation's list names.

No authority and no host names: whoever shows the certificate of a broker's card, byte for byte, is that broker's agent.
"""

import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from keymote.crypto.secret import Secret
from keymote.errors import ErrorCode, PeerFault
from keymote.transports.tls import load_chain, prefer_hybrid

DAYS: Final = 3650
_BACKDATE: Final = timedelta(minutes=5)


def self_signed(name: str, now: int, password: Secret) -> tuple[bytes, bytes, bytes]:
    """Return (certificate PEM, its DER, key PEM encrypted under `password`) of a new P-256 key, good from `now` for ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    start = datetime.fromtimestamp(now, UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - _BACKDATE)
        .not_valid_after(start + timedelta(days=DAYS))
        .sign(key, hashes.SHA256())
    )
    encryption = serialization.BestAvailableEncryption(password.expose().hex().encode())
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    der = certificate.public_bytes(serialization.Encoding.DER)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return pem, der, private


def server_context(certificate: Path, key: Path, password: Secret, known: Iterable[bytes]) -> ssl.SSLContext:
    """Return a context that lets in who shows one of the `known` certificates (DER); see `also_knows`."""
    context = prefer_hybrid(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    load_chain(context, certificate, key, password)
    context.verify_mode = ssl.CERT_REQUIRED
    also_knows(context, known)
    return context


def client_context(certificate: Path, key: Path, password: Secret, peer: bytes) -> ssl.SSLContext:
    """Return a context that shows `certificate` to whoever shows `peer` (DER), and to nobody else."""
    context = prefer_hybrid(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    load_chain(context, certificate, key, password)
    also_knows(context, [peer])
    return context


def also_knows(context: ssl.SSLContext, known: Iterable[bytes]) -> None:
    """Let a context believe these certificates (DER) from the next handshake on; who is no longer listed is refused above TLS.

    Raises:
        PeerFault: E_FORMAT for what is no certificate.
    """
    for der in known:
        try:
            context.load_verify_locations(cadata=der)
        except ssl.SSLError as error:
            raise PeerFault(ErrorCode.E_FORMAT, "a broker's card without a certificate") from error
