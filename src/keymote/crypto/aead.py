"""Authenticated encryption by OpenSSL and, for Ascon, by our own code; the home of `cryptography`'s AEADs.

Three ways to use a key, and no fourth: once with the zero nonce (a key-establishment key, Triad-1 1.1), once with a nonce
derived beside the key (EDHOC, RFC 9528 5.4.2), or for records whose nonce is their sequence number (Triad-1 1.7, 2.8). The
caller proves that a key is used once, or a number once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, ChaCha20Poly1305

from keymote.crypto.lightweight.ascon import AsconAead128
from keymote.crypto.secret import Secret
from keymote.errors import ErrorCode, PeerFault

KEY_SIZE: Final = 32
"""Bytes of every derived AEAD key; a 128-bit cipher uses the first 16 (Triad-1 1.1)."""


class Cipher(Protocol):
    """One key of an algorithm, as `cryptography` shapes it; `decrypt` raises InvalidTag."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Aead:
    """One algorithm with its nonce and tag lengths, in bytes; a `cose_alg` below -65536 is for private use."""

    cose_alg: int
    nonce_size: int
    tag_size: int
    _cipher: Callable[[bytes], Cipher] = field(repr=False)
    _zero_nonce: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_zero_nonce", bytes(self.nonce_size))

    def seal_once(self, key: Secret, aad: bytes, plaintext: bytes) -> bytes:
        """Return ciphertext and tag under the zero nonce; the key must never encrypt again (attack I-05)."""
        return self._cipher(key.expose()).encrypt(self._zero_nonce, plaintext, aad)

    def open_once(self, key: Secret, aad: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext of `seal_once`; PeerFault E_AUTH for anything else."""
        return self._open(self._cipher(key.expose()), self._zero_nonce, aad, ciphertext)

    def seal_with(self, key: Secret, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Return ciphertext and tag under a nonce that was derived like the key; the key must never encrypt again."""
        return self._cipher(key.expose()).encrypt(nonce, plaintext, aad)

    def open_with(self, key: Secret, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext of `seal_with`; PeerFault E_AUTH for anything else."""
        return self._open(self._cipher(key.expose()), nonce, aad, ciphertext)

    def seal_derived(self, material: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Return `seal_with` for the key of 32 bytes and the nonce behind it in `material`, which is used this once."""
        nonce = material[KEY_SIZE : KEY_SIZE + self.nonce_size]
        return self._cipher(material[:KEY_SIZE]).encrypt(nonce, plaintext, aad)

    def open_derived(self, material: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext of `seal_derived`; PeerFault E_AUTH for anything else."""
        nonce = material[KEY_SIZE : KEY_SIZE + self.nonce_size]
        return self._open(self._cipher(material[:KEY_SIZE]), nonce, aad, ciphertext)

    def seal_record(self, key: Secret, seq: int, aad: bytes, plaintext: bytes) -> bytes:
        """Return ciphertext and tag under the nonce `seq`, big endian and left padded; one `seq`, one plaintext."""
        return key.parsed(self._cipher).encrypt(seq.to_bytes(self.nonce_size, "big"), plaintext, aad)

    def open_record(self, key: Secret, seq: int, aad: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext of `seal_record`; PeerFault E_AUTH for anything else."""
        return self._open(key.parsed(self._cipher), seq.to_bytes(self.nonce_size, "big"), aad, ciphertext)

    def seal_numbered(self, key: Secret, base_iv: bytes, number: int, aad: bytes, plaintext: bytes) -> bytes:
        """Return ciphertext and tag under the nonce `base_iv` (of `nonce_size` bytes) xor `number`, left padded."""
        return key.parsed(self._cipher).encrypt(self._nonce(base_iv, number), plaintext, aad)

    def open_numbered(self, key: Secret, base_iv: bytes, number: int, aad: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext of `seal_numbered`; PeerFault E_AUTH for anything else."""
        return self._open(key.parsed(self._cipher), self._nonce(base_iv, number), aad, ciphertext)

    def _nonce(self, base_iv: bytes, number: int) -> bytes:
        if len(base_iv) != self.nonce_size:
            raise ValueError(f"a base IV of {self.nonce_size} bytes is due, not of {len(base_iv)}")
        return (int.from_bytes(base_iv, "big") ^ number).to_bytes(self.nonce_size, "big")

    def _open(self, cipher: Cipher, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        if len(ciphertext) < self.tag_size:
            raise PeerFault(ErrorCode.E_AUTH, f"no room for a tag of {self.tag_size} bytes")
        try:
            return cipher.decrypt(nonce, ciphertext, aad)
        except InvalidTag:
            raise PeerFault(ErrorCode.E_AUTH, "the ciphertext does not authenticate") from None


def _chacha20_poly1305(key: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(key)


def _aes_ccm_16(key: bytes) -> AESCCM:
    return AESCCM(key[:16], tag_length=16)


def _aes_ccm_8(key: bytes) -> AESCCM:
    return AESCCM(key[:16], tag_length=8)


def _ascon(key: bytes) -> AsconAead128:
    return AsconAead128(key[:16])


CHACHA20_POLY1305: Final = Aead(24, 12, 16, _chacha20_poly1305)
"""RFC 8439."""
AES_CCM_16_128_128: Final = Aead(30, 13, 16, _aes_ccm_16)
"""RFC 9053 4.2: 13-byte nonce, 128-bit tag, 128-bit key."""
AES_CCM_16_64_128: Final = Aead(10, 13, 8, _aes_ccm_8)
"""RFC 9053 4.2: 13-byte nonce, 64-bit tag, 128-bit key."""
ASCON_AEAD128: Final = Aead(-65601, 16, 16, _ascon)
"""NIST SP 800-232: 128-bit key; no COSE algorithm is registered yet (Triad-1 1.1)."""
