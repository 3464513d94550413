"""Sealing to an X25519 key: HPKE in base mode (RFC 9180); agents hand a client's context over by it (Triad-1 8 on 4.6).

DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305; the ciphertext is enc (32) ‖ ct. The library draws the ephemeral
key itself, so this is a door like that of `hybrid`, and a simulated world puts its tape before it.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from keymote.crypto.entropy import Entropy
from keymote.crypto.hybrid import HybridDoor as SealingDoor
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, ErrorCode, PeerFault

KEY_SIZE: Final = 32
"""Bytes of a private and of a public key."""
OVERHEAD: Final = 48
"""Bytes that sealing adds: the ephemeral key and the tag."""
_SUITE: Final = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


class HpkeX25519:
    """The door to the library."""

    __slots__ = ()

    def seal(self, public: bytes, info: bytes, plaintext: bytes) -> bytes:
        """Return `plaintext`, 48 bytes longer, for the owner of `public`, bound to `info`; E_POINT for a key that is none."""
        try:
            return _SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(public), info)
        except ValueError as error:  # another length, or a point of small order
            raise PeerFault(ErrorCode.E_POINT, "not an X25519 public key to seal to") from error

    def open(self, seed: Secret, info: bytes, ciphertext: bytes) -> bytes:
        """Return what `seal` sealed to the key of `seed`; E_AUTH for another key, `info` or a changed byte."""
        try:
            return _SUITE.decrypt(ciphertext, seed.parsed(X25519PrivateKey.from_private_bytes), info)
        except (InvalidTag, ValueError) as error:
            raise PeerFault(ErrorCode.E_AUTH, "not sealed to this key for this purpose") from error


@dataclass(frozen=True, slots=True)
class SealingKey:
    """An X25519 key pair to be sealed to, and the door through which it is used; `seed` (32 bytes) is all that is stored."""

    seed: Secret
    public: bytes
    door: SealingDoor

    @classmethod
    def of(cls, seed: Secret, door: SealingDoor | None = None) -> "SealingKey":
        """Return the key pair of a stored seed; CallerFault for a seed of another length."""
        if len(seed) != KEY_SIZE:
            raise CallerFault(f"an X25519 key has {KEY_SIZE} bytes, this one {len(seed)}")
        return cls(
            seed, seed.parsed(X25519PrivateKey.from_private_bytes).public_key().public_bytes_raw(), door or HpkeX25519()
        )

    @classmethod
    def draw(cls, entropy: Entropy) -> "SealingKey":
        """Return a new key pair."""
        return cls.of(Secret(entropy.draw(KEY_SIZE)))
