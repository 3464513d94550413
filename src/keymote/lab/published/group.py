"""Paper 001, section 3: one group key out of pairwise ECDH, word by word; and the least that lets anybody compute it.

As printed, member i knows the n - 1 values K_ij with itself in them, and the formula wants all n (n - 1) / 2. Where an
attack needs a key that comes about at all, `Meter.ring_key` does the Burmester-Desmedt round with nothing around it: no
signature on Y, no proof, no sum, no confirmation. What the paper leaves open is filled in the least inventive way.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import mac16, sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey, VerifyKey
from keymote.crypto.suites import SUITES
from keymote.errors import PeerFault
from keymote.lab.published.pairwise import SCALAR_SIZE
from keymote.lab.published.weierstrass import ORDER, P256, Affine

FRESH_S: Final = 300
"""Seconds by which a timestamp may be off; the paper names no number."""
G: Final = P256.neg(P256.lift(0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296))
_SUITE: Final = SUITES[17]
MODULUS: Final = 1 << 64


def encoded(P: Affine) -> bytes:
    """Return the compressed point; the identity, which nothing here refuses, as zeros."""
    return bytes(33) if P is None else bytes((2 + P[1] % 2,)) + P[0].to_bytes(32, "big")


def hashed(shared: Iterable[Affine]) -> bytes:
    """Return H(K ‖ K ‖ ...) over values in canonical order (section 3)."""
    return sha256(b"".join(map(encoded, shared)))


def formula(xs: Sequence[int]) -> bytes:
    """Return what the formula says: GK = H of all pairwise K_ij, for somebody who knows every secret; one does not exist."""
    return hashed(P256.mul(a * b, G) for a, b in combinations(xs, 2))


@dataclass(frozen=True, slots=True)
class Announcement:
    """Phase 1: a public key with nonce and timestamp under its owner's certified key. Nothing in it names a run."""

    name: str
    public: Affine
    nonce: bytes
    ts: int
    signature: bytes

    @staticmethod
    def signed_part(name: str, public: Affine, nonce: bytes, ts: int) -> bytes:
        return cbor.encode_array(name, encoded(public), nonce, ts)


@dataclass(slots=True)
class Meter:
    """A smart meter. `certified`: its certified key pair is the one that goes into ECDH, as "signs its public key" reads."""

    name: str
    entropy: Entropy
    identity: SigningKey
    certified: bool = False
    x: int = 0

    def announce(self, ts: int) -> Announcement:
        """Generate the ECC key pair and sign its public half (initialization phase)."""
        if self.certified:
            self.x = int.from_bytes(self.identity.seed.expose(), "big")
        else:
            self.x = 1 + int.from_bytes(self.entropy.draw(SCALAR_SIZE), "big") % (ORDER - 1)
        public, nonce = P256.mul(self.x, G), self.entropy.draw(8)
        signature = self.identity.sign(Announcement.signed_part(self.name, public, nonce, ts))
        return Announcement(self.name, public, nonce, ts, signature)

    def shared(self, public: Affine) -> Affine:
        """Return K = ECDH(sk, pk)."""
        return P256.mul(self.x, public)

    def walkthrough_key(self, keys: Mapping[str, Affine]) -> bytes:
        """Return what the walkthrough lets this meter hash: "A: K_AB ‖ K_AC"."""
        return hashed(self.shared(public) for name, public in sorted(keys.items()) if name != self.name)

    def contribution(self, keys: Mapping[str, Affine]) -> Affine:
        """Return Y_i = x_i (X_{i+1} - X_{i-1})."""
        ring = sorted(keys)
        at = ring.index(self.name)
        return self.shared(P256.sub(keys[ring[(at + 1) % len(ring)]], keys[ring[at - 1]]))

    def ring_key(self, keys: Mapping[str, Affine], Y: Mapping[str, Affine]) -> bytes:
        """Return the hash of all ring edges, reached from the own one by everybody's Y."""
        ring = sorted(keys)
        n, at = len(ring), ring.index(self.name)
        edges = {(at - 1) % n: self.shared(keys[ring[at - 1]])}
        for step in range(n - 1):
            j = (at + step) % n
            edges[j] = P256.add(edges[(j - 1) % n], Y[ring[j]])
        return hashed(edges[j] for j in sorted(edges, key=lambda j: sorted((j, (j + 1) % n))))


@dataclass(slots=True)
class Gateway:
    """The "initial trust anchor": it validates keys one by one, hands the list on, and writes down who has confirmed."""

    certificates: dict[str, VerifyKey]
    version: int = 0
    confirmed: set[str] = field(default_factory=set)

    def collect(self, announcements: Iterable[Announcement], ts: int) -> dict[str, Affine]:
        """Return the "list of authenticated keys": signature and freshness of each, nothing about the whole."""
        found: dict[str, Affine] = {}
        for said in announcements:
            signed = Announcement.signed_part(said.name, said.public, said.nonce, said.ts)
            try:
                self.certificates[said.name].verify(signed, said.signature)
            except PeerFault:
                continue
            if abs(ts - said.ts) <= FRESH_S:
                found[said.name] = said.public
        return found

    def acknowledge(self, name: str) -> None:
        """Take "session metadata" of phase 3, by which a meter says that it has the key."""
        self.confirmed.add(name)


@dataclass(slots=True)
class Sender:
    """Whoever sends under GK ("group keys were used to encrypt device-level instructions"), with a counter in RAM."""

    gk: bytes
    seq: int = 0

    def seal(self, plaintext: bytes) -> tuple[int, bytes]:
        """Return sequence number and ciphertext; neither sender, group, version nor resource is in it."""
        seq, self.seq = self.seq, self.seq + 1
        return seq, _SUITE.payload.seal_record(Secret(self.gk), seq, b"", plaintext)


def opened(gk: bytes, seq: int, ciphertext: bytes) -> bytes:
    """Return a command that "only authorized and actively synced meters" can read; PeerFault for another key."""
    return _SUITE.payload.open_record(Secret(gk), seq, b"", ciphertext)


@dataclass(frozen=True, slots=True)
class MaskedMeter:
    """Masked sums with one mask a pair and no second one, as in Triad-1 3.9 before its section 8."""

    idx: int
    seeds: Mapping[int, bytes]

    def mask(self, j: int, t: int) -> int:
        """Return r_ij,t, also to a gateway that calls j absent: that is the drop-out rule."""
        return int.from_bytes(mac16(Secret(self.seeds[j]), t.to_bytes(8, "big"))[:8], "big")

    def report(self, t: int, reading: int) -> int:
        return (reading + sum((1 if self.idx < j else -1) * self.mask(j, t) for j in self.seeds)) % MODULUS


def meters(entropy: Entropy, *names: str, certified: bool = False) -> tuple[list[Meter], Gateway]:
    """Return certified meters and a gateway that knows their certificates."""
    found = [
        Meter(name, entropy.fork(name), _SUITE.generate_signing_key(entropy.fork(f"{name} key")), certified)
        for name in names
    ]
    return found, Gateway({meter.name: _SUITE.verify_key(meter.identity.public) for meter in found})
