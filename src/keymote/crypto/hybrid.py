"""The hybrid channel between managers: HPKE with ML-KEM-768 and X25519 together (Triad-1 2.5, 2.9; RFC 9180).

The one door behind which a library draws its own randomness. Everything else of the engines is a function of bytes that
we drew, so whoever needs the same bytes twice (the conformance test, a simulated world) puts a tape in this door's place.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, ErrorCode, PeerFault

SEED_SIZE: Final = 96
"""Bytes of a private key: the 64 of ML-KEM's key generation (FIPS 203: d‖z), the 32 of X25519."""
PUBLIC_SIZE: Final = 1216
"""Bytes of a public key: ML-KEM-768 (1184), then X25519 (32)."""
OVERHEAD: Final = 1136
"""Bytes that sealing adds: encapsulations of ML-KEM-768 (1088) and X25519 (32), tag (16)."""
_MLKEM_SEED: Final = 64
_MLKEM_PUBLIC: Final = 1184
_SUITE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


class HybridDoor(Protocol):
    """How a short secret is sealed to a hybrid public key and opened again."""

    def seal(self, public: bytes, info: bytes, plaintext: bytes) -> bytes:
        """Return `plaintext`, 1136 bytes longer, for the owner of `public` (1216 bytes), bound to `info`.

        Raises:
            PeerFault: E_POINT for a public key that is none.
        """
        ...

    def open(self, seed: Secret, info: bytes, ciphertext: bytes) -> bytes:
        """Return what `seal` sealed to the key of `seed`; PeerFault E_AUTH for another key, `info` or a changed byte."""
        ...


class Hpke:
    """HPKE in base mode, single shot, as OpenSSL does it; who speaks is for the transcript around it to say."""

    __slots__ = ()

    def seal(self, public: bytes, info: bytes, plaintext: bytes) -> bytes:
        try:
            return _SUITE.encrypt(plaintext, _public(public), info)
        except ValueError as error:  # X25519 with a point of small order
            raise PeerFault(ErrorCode.E_POINT, "not a hybrid public key") from error

    def open(self, seed: Secret, info: bytes, ciphertext: bytes) -> bytes:
        try:
            return _SUITE.decrypt(ciphertext, seed.parsed(_private), info)
        except (InvalidTag, ValueError) as error:
            raise PeerFault(ErrorCode.E_AUTH, "not sealed to this hybrid key for this run") from error


@dataclass(frozen=True, slots=True)
class HybridKey:
    """A manager's hybrid key pair, and the door through which it is used; `seed` (96 bytes) is all that is stored."""

    seed: Secret
    public: bytes
    door: HybridDoor

    @classmethod
    def of(cls, seed: Secret, door: HybridDoor | None = None) -> "HybridKey":
        """Return the key pair of a stored seed; CallerFault for a seed of another length."""
        if len(seed) != SEED_SIZE:
            raise CallerFault(f"a hybrid key has a seed of {SEED_SIZE} bytes, this one {len(seed)}")
        raw = seed.expose()
        mlkem = MLKEM768PrivateKey.from_seed_bytes(raw[:_MLKEM_SEED]).public_key().public_bytes_raw()
        x25519 = X25519PrivateKey.from_private_bytes(raw[_MLKEM_SEED:]).public_key().public_bytes_raw()
        return cls(seed, mlkem + x25519, door or Hpke())


def draw_seed(entropy: Entropy) -> Secret:
    """Return the seed of a new key pair."""
    return Secret(entropy.draw(SEED_SIZE))


def _private(seed: bytes) -> hpke.MLKEM768X25519PrivateKey:
    mlkem = MLKEM768PrivateKey.from_seed_bytes(seed[:_MLKEM_SEED])
    return hpke.MLKEM768X25519PrivateKey(mlkem, X25519PrivateKey.from_private_bytes(seed[_MLKEM_SEED:]))


def _public(encoding: bytes) -> hpke.MLKEM768X25519PublicKey:
    """Return a received public key; ValueError for another length or a coefficient out of range (FIPS 203 7.2)."""
    mlkem = MLKEM768PublicKey.from_public_bytes(encoding[:_MLKEM_PUBLIC])
    return hpke.MLKEM768X25519PublicKey(mlkem, X25519PublicKey.from_public_bytes(encoding[_MLKEM_PUBLIC:]))
