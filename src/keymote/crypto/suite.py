"""A cipher suite: the one object through which the protocols reach every algorithm (Triad-1 1.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from keymote.crypto.aead import Aead
from keymote.crypto.entropy import Entropy
from keymote.crypto.group import SCALAR_SIZE, Group, Point
from keymote.crypto.pake import Pake
from keymote.crypto.secret import Secret
from keymote.crypto.sign import SignatureScheme, SigningKey, VerifyKey

__all__ = ["Point", "Secret", "SigningKey", "Suite", "VerifyKey"]


@dataclass(frozen=True, slots=True)
class Suite:
    """Group, signature, AEADs and password exchange under one number.

    A point that comes from the network becomes a `Point` by `check` alone; all arithmetic takes and returns `Point`,
    and refuses an identity result with PeerFault E_POINT. Keys are `Secret`.
    """

    id: int
    name: str
    group: Group
    signatures: SignatureScheme
    establishment: Aead
    payload: Aead
    exchange: Pake

    @property
    def point_size(self) -> int:
        """Bytes of an encoded point: 32 or 33."""
        return self.group.point_size

    @property
    def scalar_size(self) -> int:
        """Bytes of an encoded scalar: 32."""
        return SCALAR_SIZE

    @property
    def order(self) -> int:
        """The prime order q of the group."""
        return self.group.order

    @property
    def generator(self) -> Point:
        """The standard generator of the group."""
        return self.group.generator

    @property
    def pake(self) -> bool:
        """Whether a code below 128 bits may enrol (Triad-1 2.3); False means: refuse it with E_SUITE."""
        return self.exchange.takes_short_codes

    # Group: Triad-1 1.1, 1.2.3, 1.2.4

    def check(self, encoding: bytes) -> Point:
        """Return a received encoding as a point; PeerFault E_POINT unless canonical, on the curve, not the identity."""
        return self.group.check(encoding)

    def check_scalar(self, encoding: bytes) -> bytes:
        """Return a received scalar of 32 bytes from 1 to q - 1; PeerFault E_FORMAT for anything else."""
        return self.group.check_scalar(encoding)

    def random_scalar(self, entropy: Entropy) -> Secret:
        """Return a uniform scalar other than zero."""
        return self.group.random_scalar(entropy)

    def random_point(self, entropy: Entropy) -> Point:
        """Return a uniform point; its logarithm is unknown (map) or forgotten at once (P-256)."""
        return self.group.random_point(entropy)

    def base_mul(self, k: Secret) -> Point:
        """Return k times the standard generator."""
        return self.group.base_mul(k)

    def mul(self, k: Secret, P: Point) -> Point:
        """Return k times P."""
        return self.group.mul(k, P)

    def add(self, P: Point, Q: Point) -> Point:
        """Return P + Q."""
        return self.group.add(P, Q)

    def sub(self, P: Point, Q: Point) -> Point:
        """Return P - Q."""
        return self.group.sub(P, Q)

    def partial_sums(self, P: Point, received: Sequence[bytes]) -> Sequence[Point]:
        """Return P + Q1, P + Q1 + Q2 and so on for encodings that were received, checking each Q as `check` does.

        Where the library's addition decodes and examines both points by itself, nothing is decoded twice.
        """
        return self.group.partial_sums(P, received)

    def sum(self, *points: Point) -> Point:
        """Return the sum of one or more points; an identity on the way, not only at the end, is E_POINT."""
        return reduce(self.add, points)

    def hash_to_scalar(self, data: bytes) -> Secret:
        """Return H2S: SHA-512 of `data` mod q, never zero."""
        return self.group.hash_to_scalar(data)

    def scalar_mul_add(self, c: Secret, d: Secret, k: Secret) -> Secret:
        """Return c·d + k mod q."""
        return self.group.scalar_mul_add(c, d, k)

    # Signatures: Triad-1 1.2.5, 1.4

    def generate_signing_key(self, entropy: Entropy) -> SigningKey:
        """Return a new key pair."""
        return self.signing_key(self.signatures.draw_seed(entropy))

    def signing_key(self, seed: Secret) -> SigningKey:
        """Return the key pair of a stored 32-byte seed; CallerFault for a seed that is none."""
        public, sign = self.signatures.signer(seed)
        return SigningKey(self.id, public, seed, sign)

    def verify_key(self, encoding: bytes) -> VerifyKey:
        """Return a received public key, parsed; PeerFault E_POINT for one that Triad-1 1.2.5 refuses."""
        return VerifyKey(self.id, encoding, self.signatures.verifier(encoding))

    # Encryption: Triad-1 1.1, 1.7, 2.8

    def seal_once(self, key: Secret, aad: bytes, plaintext: bytes) -> bytes:
        """Encrypt the one plaintext of a key-establishment key (zero nonce, 16-byte tag)."""
        return self.establishment.seal_once(key, aad, plaintext)

    def open_once(self, key: Secret, aad: bytes, ciphertext: bytes) -> bytes:
        """Decrypt what `seal_once` made; PeerFault E_AUTH for anything else."""
        return self.establishment.open_once(key, aad, ciphertext)

    def seal_record(self, key: Secret, seq: int, aad: bytes, plaintext: bytes) -> bytes:
        """Encrypt LINK record number `seq` (16-byte tag)."""
        return self.establishment.seal_record(key, seq, aad, plaintext)

    def open_record(self, key: Secret, seq: int, aad: bytes, ciphertext: bytes) -> bytes:
        """Decrypt a LINK record; PeerFault E_AUTH."""
        return self.establishment.open_record(key, seq, aad, ciphertext)

    def seal_payload(self, key: Secret, seq: int, aad: bytes, plaintext: bytes) -> bytes:
        """Encrypt SREC number `seq` with the suite's default payload AEAD (tag of 16 or 8 bytes)."""
        return self.payload.seal_record(key, seq, aad, plaintext)

    def open_payload(self, key: Secret, seq: int, aad: bytes, ciphertext: bytes) -> bytes:
        """Decrypt a SREC; PeerFault E_AUTH."""
        return self.payload.open_record(key, seq, aad, ciphertext)

    def seal_group(self, key: Secret, base_iv: bytes, seq: int, aad: bytes, plaintext: bytes) -> bytes:
        """Encrypt GSEC number `seq` of one sender with the suite's default payload AEAD (Triad-1 3.8)."""
        return self.payload.seal_numbered(key, base_iv, seq, aad, plaintext)

    def open_group(self, key: Secret, base_iv: bytes, seq: int, aad: bytes, ciphertext: bytes) -> bytes:
        """Decrypt a GSEC; PeerFault E_AUTH."""
        return self.payload.open_numbered(key, base_iv, seq, aad, ciphertext)

    # Enrolment: Triad-1 2.4 E1, E2

    def pake_start(self, prs: bytes, ci: bytes, sid: bytes) -> Point:
        """Return B, the generator of this run, from the codes, the identities and hello_n."""
        return self.exchange.start(prs, ci, sid)

    def pake_isk(self, sid: bytes, K: Point, Y_D: Point, ad_D: bytes, Y_N: Point, ad_N: bytes) -> Secret:
        """Return the 64-byte ISK of the run in which the device sent Y_D and the manager Y_N."""
        return self.exchange.isk(sid, K, Y_D, ad_D, Y_N, ad_N)
