"""What other ways to a group key cost: bytes of real messages, and processor time of real primitives, in the same run.

Key wraps and HPKE by cryptography, signatures and points by our suite 1, TLS 1.3 by OpenSSL over memory BIOs. The sizes feed
`lab.baselines`, which replays the schemes over the simulated network.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Final, NamedTuple

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap

from keymote import cbor
from keymote.bench.group import Progress, Size
from keymote.bench.report import Metric, metric
from keymote.crypto.entropy import SystemEntropy
from keymote.crypto.suites import suite_by_id
from keymote.lab.baselines.schemes import Sizes, depth
from keymote.lab.energy import Kind
from keymote.wire.cose import sign1

SHOWN: Final = (3, 10, 25, 30)
MT: Final = 240
"""Stands for a message type in what is signed."""
KEY: Final = bytes(range(16))
GID, KID, NONCE = b"a street", b"somebody", bytes(16)
TS: Final = 1_700_000_000
RECORDED_TLS: Final = (244, 746, 480)
RECORDED_RECORD: Final = 42
_HPKE: Final = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_128_GCM)
_SUITE: Final = suite_by_id(1)


class Spent(NamedTuple):
    """Microseconds of whoever makes the key, and of one member, for one rekeying of `n`."""

    server_us: float
    member_us: float


@dataclass(frozen=True, slots=True)
class Tls:
    """A mutual TLS 1.3 handshake with P-256 certificates: flights in bytes, a record that holds a key, processor time."""

    flights: Sequence[int]
    record: int
    client_us: float
    server_us: float
    kind: Kind


def rows(size: Size, progress: Progress) -> Iterator[Metric]:
    """Yield bytes and processor time of each baseline for a rekeying; TLS's per meter."""
    sizes_of_n = [n for n in SHOWN if n <= size.largest]
    for done, n in enumerate(sizes_of_n, 1):
        found = sizes(n)
        octets = {"lkh": found.lkh_leave, "treekem": found.tree_commit}
        octets["central_dh"] = found.dh_start + n * (found.dh_share + found.dh_wrap)
        octets["tls_each"] = n * (sum(found.tls) + found.tls_record)
        octets["mqtt_tls"] = n * found.mqtt_publish
        for name, makes in _SCHEMES.items():
            spent = [makes(n) for _ in range(size.rounds)]
            row = f"group.baseline.{name}.n{n}"
            yield metric(f"{row}.bytes", "B", [float(octets[name])])
            yield metric(f"{row}.server_us", "us", [each.server_us for each in spent])
            yield metric(f"{row}.member_us", "us", [each.member_us for each in spent])
        yield metric(f"group.baseline.mqtt_tls.n{n}.bytes", "B", [float(octets["mqtt_tls"])])
        progress(f"other ways to a group key, {n} members", done, len(sizes_of_n))


# ------------------------------------------------------------------ bytes


def sizes(n: int) -> Sizes:
    """Return the bytes of real messages for `n` meters."""
    tls = handshake()
    levels = depth(n)
    key = _SUITE.generate_signing_key(SystemEntropy())
    point = bytes(_SUITE.base_mul(_SUITE.random_scalar(SystemEntropy())))
    wrap = aes_key_wrap(KEY, KEY)
    sealed = _seal()

    def signed(*items: object) -> int:
        return len(cbor.encode([MT, sign1(key, MT, cbor.encode([*items]), kid=KID).items()]))

    path = cbor.encode([[node, KEY] for node in range(levels + 1)])
    topic = f"g/{GID.hex()}/key".encode()
    return Sizes(
        lkh_path=len(cbor.encode([MT, KID, 7, path + bytes(8)])),
        lkh_leave=signed(GID, 7, [[node, wrap] for node in range(2 * levels - 1)]),
        dh_start=signed(GID, 7, NONCE, point, bytes(32), TS),
        dh_share=signed(GID, 24, point, NONCE[:8], TS),
        dh_wrap=len(cbor.encode([MT, GID, 24, 7, wrap, bytes(16)])),
        tree_package=signed(point, point, point, KID, TS, TS, bytes(64)),
        tree_welcome=signed(GID, 7, [[KID, sealed] for _ in range(n - 1)], [point] * (2 * n - 1), bytes(32)),
        tree_commit=signed(GID, 7, 3, [[point, sealed] for _ in range(levels)], bytes(32)),
        tls=tls.flights,
        tls_record=tls.record,
        mqtt_connect=_record(12 + 2 + len(KID)),
        mqtt_connack=_record(4),
        mqtt_subscribe=_record(2 + 2 + 2 + len(topic) + 1),
        mqtt_suback=_record(5),
        mqtt_publish=_record(2 + 2 + len(topic) + 2 + len(KEY) + 4),
    )


def _record(octets: int) -> int:
    """Return what a TLS 1.3 record makes of so many bytes: header 5, content type 1, tag 16."""
    return octets + 22


def _seal() -> bytes:
    return _HPKE.encrypt(bytes(32), X25519PrivateKey.generate().public_key(), b"path")


# ------------------------------------------------------------------ processor time


def _timed(work: Callable[[], object]) -> float:
    """Return the least microseconds of three tries."""
    spent = []
    for _ in range(3):
        started = time.thread_time_ns()
        work()
        spent.append((time.thread_time_ns() - started) / 1000)
    return min(spent)


def _lkh(n: int) -> Spent:
    levels = depth(n)
    key = _SUITE.generate_signing_key(SystemEntropy())
    wraps = [aes_key_wrap(KEY, KEY) for _ in range(2 * levels - 1)]
    message = cbor.encode([GID, 7, [[node, wrap] for node, wrap in enumerate(wraps)]])
    signature = key.sign(message)

    def server() -> None:
        for _ in range(2 * levels - 1):
            aes_key_wrap(KEY, KEY)
        key.sign(message)

    def member() -> None:
        _SUITE.verify_key(key.public).verify(message, signature)
        for wrap in wraps[:levels]:
            aes_key_unwrap(KEY, wrap)

    return Spent(_timed(server), _timed(member))


def _central_dh(n: int) -> Spent:
    entropy = SystemEntropy()
    key = _SUITE.generate_signing_key(entropy)
    x = _SUITE.random_scalar(entropy)
    X = _SUITE.base_mul(x)
    message = cbor.encode([GID, 24, bytes(X), NONCE[:8], TS])
    signature, wrap = key.sign(message), aes_key_wrap(KEY, KEY)

    def server() -> None:
        _SUITE.base_mul(x)
        key.sign(message)
        for _ in range(n):
            _SUITE.verify_key(key.public).verify(message, signature)
            _SUITE.mul(x, _SUITE.check(X))
            aes_key_wrap(KEY, KEY)

    def member() -> None:
        _SUITE.verify_key(key.public).verify(message, signature)
        own = _SUITE.random_scalar(entropy)
        _SUITE.base_mul(own)
        key.sign(message)
        _SUITE.mul(own, _SUITE.check(X))
        aes_key_unwrap(KEY, wrap)

    return Spent(_timed(server), _timed(member))


def _treekem(n: int) -> Spent:
    levels = depth(n)
    key = _SUITE.generate_signing_key(SystemEntropy())
    private = X25519PrivateKey.generate()
    public, message = private.public_key(), bytes(100 * levels)
    sealed, signature = _HPKE.encrypt(bytes(32), public, b"path"), key.sign(message)

    def server() -> None:
        for _ in range(levels):
            X25519PrivateKey.generate().public_key().public_bytes_raw()
            _HPKE.encrypt(bytes(32), public, b"path")
        key.sign(message)

    def member() -> None:
        _SUITE.verify_key(key.public).verify(message, signature)
        _HPKE.decrypt(sealed, private, b"path")

    return Spent(_timed(server), _timed(member))


def _tls_each(n: int) -> Spent:
    once = measured() if find_spec("OpenSSL") else handshake()
    return Spent(n * once.server_us, once.client_us)


_SCHEMES: Final[Mapping[str, Callable[[int], Spent]]] = {
    "lkh": _lkh,
    "central_dh": _central_dh,
    "treekem": _treekem,
    "tls_each": _tls_each,
}


# ------------------------------------------------------------------ TLS


@cache
def handshake() -> Tls:
    """Return a measured handshake, and a recorded one that says so where OpenSSL's Python face is not installed."""
    if find_spec("OpenSSL") is None:
        return Tls(RECORDED_TLS, RECORDED_RECORD, 0.0, 0.0, Kind.RECORDED)
    return measured()


def measured() -> Tls:
    """Run one handshake and send one key."""
    from keymote.bench import handshakes  # noqa: PLC0415  its libraries are of the test group

    cost, record = handshakes.tls13(KEY + bytes(4))
    client = [*cost.sent]
    return Tls(
        (client[0], cost.received[0], sum(client[1:])), record, cost.initiator_us, cost.responder_us, Kind.MEASURED
    )
