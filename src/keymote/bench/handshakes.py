"""What devices would run instead: DTLS 1.2 by OpenSSL over memory BIOs, and EDHOC by lakers, in this very process.

Each handshake is run whole, both sides by turns; processor time is taken around each side's own calls. `octets` counts
record or message bytes of both directions, without UDP and IP.
"""

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from OpenSSL import SSL, crypto

from keymote import cbor
from keymote.errors import Unavailable

DTLS_1_2: Final = 0xFEFD
NO_AUTO_CHAIN: Final = 0x8
"""SSL_MODE_NO_AUTO_CHAIN: the leaf alone is sent, else OpenSSL adds the authority to each chain."""
MOST_TURNS: Final = 20
_PSK: Final = bytes(range(16))
_IDENTITY: Final = b"device-1"


@dataclass(slots=True)
class Cost:
    """One handshake: microseconds of each side's processor time, bytes and datagrams of both.

    `sent` and `received` are the lengths of the initiator's flights, in order.
    """

    initiator_us: float = 0.0
    responder_us: float = 0.0
    octets: int = 0
    datagrams: int = 0
    sent: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=list)


Handshake = Callable[[], Cost]


def peers() -> Mapping[str, Handshake]:
    """Return a handshake by name: each call runs one from the beginning."""
    return {
        "dtls_mutual_cert": mutual_certificates(),
        "dtls_ecdhe_psk": ecdhe_psk(),
        "edhoc": edhoc(),
    }


def least(tries: Sequence[Cost]) -> Cost:
    """Return each side's least disturbed time; bytes do not vary by more than a signature's encoding."""
    return Cost(
        min(cost.initiator_us for cost in tries),
        min(cost.responder_us for cost in tries),
        min(cost.octets for cost in tries),
        min(cost.datagrams for cost in tries),
    )


# ------------------------------------------------------------------ DTLS 1.2 by OpenSSL


def mutual_certificates() -> Handshake:
    """Return DTLS 1.2 ECDHE-ECDSA-AES128-CCM8 with a P-256 leaf certificate on both sides and a cookie exchange."""
    authority, authority_key = _certificate("a", None, None)
    client, server = (_context(SSL.DTLS_CLIENT_METHOD), _context(SSL.DTLS_SERVER_METHOD))
    for name, context in (("c", client), ("s", server)):
        certificate, key = _certificate(name, authority, authority_key)
        context.use_certificate(certificate)
        context.use_privatekey(key)
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(authority))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        context.set_cipher_list(b"ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0")
    return lambda: _dtls(client, server)


@dataclass(slots=True)
class _Psk:
    """OpenSSL's callbacks for a pre-shared key; kept alive as long as the contexts are."""

    identity: bytes = _IDENTITY
    kept: list[Any] = field(default_factory=list)

    def install(self, client: SSL.Context, server: SSL.Context) -> None:
        """Give both contexts the same key: pyOpenSSL has no face for it, the library that it is built on has."""
        binding = Binding()
        ffi, lib = binding.ffi, binding.lib

        @ffi.callback("unsigned int (*)(SSL *, const char *, char *, unsigned int, unsigned char *, unsigned int)")  # type: ignore[untyped-decorator]
        def ask(_ssl: Any, _hint: Any, identity: Any, _room: int, psk: Any, _most: int) -> int:
            ffi.memmove(identity, self.identity + b"\0", len(self.identity) + 1)
            ffi.memmove(psk, _PSK, len(_PSK))
            return len(_PSK)

        @ffi.callback("unsigned int (*)(SSL *, const char *, unsigned char *, unsigned int)")  # type: ignore[untyped-decorator]
        def find(_ssl: Any, _identity: Any, psk: Any, _most: int) -> int:
            ffi.memmove(psk, _PSK, len(_PSK))
            return len(_PSK)

        lib.SSL_CTX_set_psk_client_callback(client._context, ask)  # noqa: SLF001  the cffi handle has no public name
        lib.SSL_CTX_set_psk_server_callback(server._context, find)  # noqa: SLF001
        self.kept += [ask, find]


def ecdhe_psk() -> Handshake:
    """Return DTLS 1.2 ECDHE-PSK-AES128-CBC-SHA256 with a cookie exchange."""
    return _pre_shared(b"ECDHE-PSK-AES128-CBC-SHA256", _IDENTITY)


def plain_psk(identity: bytes = _IDENTITY) -> Handshake:
    """Return DTLS 1.2 PSK-AES128-CCM8 (RFC 6655) with a cookie exchange: no forward secrecy, nothing but hashes."""
    return _pre_shared(b"PSK-AES128-CCM8", identity)


def _pre_shared(cipher: bytes, identity: bytes) -> Handshake:
    client, server = (_context(SSL.DTLS_CLIENT_METHOD), _context(SSL.DTLS_SERVER_METHOD))
    psk = _Psk(identity)
    psk.install(client, server)
    for context in (client, server):
        context.set_cipher_list(cipher + b":@SECLEVEL=0")

    def run(_kept: _Psk = psk) -> Cost:
        return _dtls(client, server)

    return run


def _context(method: int) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(DTLS_1_2)
    context.set_max_proto_version(DTLS_1_2)
    for option in (SSL.OP_NO_TICKET, SSL.OP_COOKIE_EXCHANGE):
        assert option is not None  # every OpenSSL that speaks DTLS has both
        context.set_options(option)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(NO_AUTO_CHAIN)
    context.set_cookie_generate_callback(lambda _connection: b"cookie of sixteen")
    context.set_cookie_verify_callback(lambda _connection, cookie: cookie == b"cookie of sixteen")
    return context


def _dtls(client_context: SSL.Context, server_context: SSL.Context) -> Cost:
    cost, clock = Cost(), time.thread_time_ns
    started = clock()
    client = SSL.Connection(client_context, None)
    client.set_connect_state()
    cost.initiator_us += (clock() - started) / 1000
    started = clock()
    server = SSL.Connection(server_context, None)
    server.set_accept_state()
    for end in (client, server):
        end.set_ciphertext_mtu(1400)
    cost.responder_us += (clock() - started) / 1000
    listening = True
    done = {client: False, server: False}
    for _ in range(MOST_TURNS):
        started = clock()
        done[client] = _turn(client)
        sent = _drain(client, server, cost, cost.sent)
        cost.initiator_us += (clock() - started) / 1000
        started = clock()
        if listening:
            try:
                server.DTLSv1_listen()
                listening = False
            except SSL.WantReadError:
                pass
        if not listening:
            done[server] = _turn(server)
        sent += _drain(server, client, cost, cost.received)
        cost.responder_us += (clock() - started) / 1000
        if all(done.values()):
            return cost
        if not sent:
            break
    raise Unavailable("DTLS peers do not finish their handshake")


def _turn(end: SSL.Connection) -> bool:
    try:
        end.do_handshake()
    except SSL.WantReadError:
        return False
    return True


def _drain(source: SSL.Connection, target: SSL.Connection, cost: Cost, flights: list[int]) -> int:
    """Carry what `source` has written to `target`, flight by flight, and note their lengths."""
    sent = 0
    while True:
        try:
            flight = source.bio_read(65536)
        except SSL.WantReadError:
            return sent
        cost.octets += len(flight)
        cost.datagrams += 1
        flights.append(len(flight))
        sent += len(flight)
        target.bio_write(flight)


def _certificate(
    name: str, issuer: x509.Certificate | None, issuer_key: ec.EllipticCurvePrivateKey | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Return a P-256 certificate with nothing in it that is not needed, about 290 bytes."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(1 if issuer is None else 2)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
    )
    if issuer is None:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.sign(issuer_key or key, SHA256()), key


# ------------------------------------------------------------------ TLS 1.3 by OpenSSL


def tls13(plaintext: bytes) -> tuple[Cost, int]:
    """Run TLS 1.3 with P-256 and a leaf certificate on both sides; return it and the bytes of a record with `plaintext`.

    Flights, not segments: what one side has to say at once counts as one. Tickets that the server adds come last of all.
    """
    authority, authority_key = _certificate("a", None, None)
    contexts = []
    for name in ("c", "s"):
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_mode(NO_AUTO_CHAIN)
        certificate, key = _certificate(name, authority, authority_key)
        context.use_certificate(certificate)
        context.use_privatekey(key)
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(authority))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        Binding().lib.SSL_CTX_set1_curves_list(context._context, b"P-256")  # noqa: SLF001  pyOpenSSL has no face for it
        contexts.append(context)
    client, server = (SSL.Connection(context, None) for context in contexts)
    client.set_connect_state()
    server.set_accept_state()
    cost, clock = Cost(), time.thread_time_ns
    done = {client: False, server: False}
    for _ in range(MOST_TURNS):
        started = clock()
        done[client] = _turn(client)
        _drain(client, server, cost, cost.sent)
        cost.initiator_us += (clock() - started) / 1000
        started = clock()
        done[server] = _turn(server)
        _drain(server, client, cost, cost.received)
        cost.responder_us += (clock() - started) / 1000
        if all(done.values()):
            server.send(plaintext)
            return cost, len(server.bio_read(65536))
    raise Unavailable("TLS peers do not finish their handshake")


# ------------------------------------------------------------------ EDHOC by lakers


def edhoc() -> Handshake:
    """Return EDHOC method 3, suite 2, credentials by kid (RFC 9528), three messages."""
    import lakers  # noqa: PLC0415  a peer for measuring, not there at run time

    i_key, i_public = lakers.p256_generate_key_pair()
    r_key, r_public = lakers.p256_generate_key_pair()
    cred_i, cred_r = (_ccs(public, kid) for public, kid in ((i_public, 0x0A), (r_public, 0x0B)))

    def run() -> Cost:
        cost, clock = Cost(), time.thread_time_ns
        started = clock()
        initiator = lakers.EdhocInitiator()
        message_1 = initiator.prepare_message_1(c_i=[0x01])
        cost.initiator_us += (clock() - started) / 1000
        started = clock()
        responder = lakers.EdhocResponder(r_key, lakers.Credential(cred_r))
        responder.process_message_1(message_1)
        message_2 = responder.prepare_message_2(lakers.CredentialTransfer.ByReference, [0x02], None)
        cost.responder_us += (clock() - started) / 1000
        started = clock()
        _, id_cred_r, _ = initiator.parse_message_2(message_2)
        initiator.verify_message_2(
            i_key, lakers.Credential(cred_i), lakers.credential_check_or_fetch(id_cred_r, cred_r)
        )
        message_3, _ = initiator.prepare_message_3(lakers.CredentialTransfer.ByReference, None)
        ours = initiator.completed_without_message_4() or initiator.edhoc_exporter(0, [], 16)
        cost.initiator_us += (clock() - started) / 1000
        started = clock()
        id_cred_i, _ = responder.parse_message_3(message_3)
        responder.verify_message_3(lakers.credential_check_or_fetch(id_cred_i, cred_i))
        theirs = responder.completed_without_message_4() or responder.edhoc_exporter(0, [], 16)
        cost.responder_us += (clock() - started) / 1000
        if ours != theirs:
            raise Unavailable("EDHOC peers hold different keys")
        cost.sent, cost.received = [len(message_1), len(message_3)], [len(message_2)]
        cost.octets = sum(cost.sent) + sum(cost.received)
        cost.datagrams = 3
        return cost

    return run


def _ccs(public: bytes, kid: int) -> bytes:
    """Return a CWT claims set with a COSE key (RFC 9528 3.5.2): {2: subject, 8: {1: {1: 2, 2: kid, -1: 1, -2: x}}}."""
    key = bytes.fromhex("a4010202") + b"\x41" + bytes([kid]) + bytes.fromhex("2001215820") + bytes(public)
    return b"\xa2\x02" + cbor.encode("dev") + b"\x08\xa1\x01" + key
