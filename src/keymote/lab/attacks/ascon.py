"""Ascon twice: as NIST standardised it (SP 800-232) and as it was submitted (v1.2). Their names are the same.

The two differ in byte order, initial value, padding and the place of one bit; each decrypts what it encrypted, so that
only a published answer tells them apart (attack I-09). Pure Python, for this comparison only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

_MASK: Final = (1 << 64) - 1
_ROTATIONS: Final = ((19, 28), (61, 39), (1, 6), (10, 17), (7, 41))
_RATE: Final = 16
TAG_SIZE: Final = 16

Words = list[int]


def _rotated(word: int, by: int) -> int:
    return (word >> by | word << (64 - by)) & _MASK


def _permute(S: Words, rounds: int) -> None:
    """Apply the last `rounds` of the twelve rounds of p."""
    for constant in range(12 - rounds, 12):
        x0, x1, x2, x3, x4 = S
        x2 ^= 0xF0 - constant * 0x0F
        x0 ^= x4
        x4 ^= x3
        x2 ^= x1
        t0, t1, t2, t3, t4 = (~x0 & x1, ~x1 & x2, ~x2 & x3, ~x3 & x4, ~x4 & x0)
        x0, x1, x2, x3, x4 = x0 ^ t1, x1 ^ t2, x2 ^ t3, x3 ^ t4, x4 ^ t0
        x1 ^= x0
        x0 ^= x4
        x3 ^= x2
        x2 = ~x2 & _MASK
        for n, (word, (one, two)) in enumerate(zip((x0, x1, x2, x3, x4), _ROTATIONS, strict=True)):
            S[n] = word & _MASK ^ _rotated(word & _MASK, one) ^ _rotated(word & _MASK, two)


@dataclass(frozen=True, slots=True)
class Variant:
    """What the two versions disagree on: byte order, initial value, first padding byte, domain separation of S4."""

    byte_order: Literal["little", "big"]
    iv: int
    padding: int
    separation: int

    def _words(self, data: bytes) -> Iterator[int]:
        return (int.from_bytes(data[n : n + 8], self.byte_order) for n in range(0, len(data), 8))

    def _bytes(self, *words: int) -> bytes:
        return b"".join(word.to_bytes(8, self.byte_order) for word in words)

    def _padded(self, block: bytes) -> bytes:
        return block + bytes([self.padding]) + bytes(_RATE - 1 - len(block))

    def _opened(self, key: bytes, nonce: bytes, aad: bytes) -> Words:
        S = [self.iv, *self._words(key), *self._words(nonce)]
        _permute(S, 12)
        K0, K1 = self._words(key)
        S[3] ^= K0
        S[4] ^= K1
        if aad:
            for at in range(0, len(aad) + 1, _RATE):
                block = aad[at : at + _RATE]
                for n, word in enumerate(self._words(block if len(block) == _RATE else self._padded(block))):
                    S[n] ^= word
                _permute(S, 8)
        S[4] ^= self.separation
        return S

    def _tag(self, S: Words, key: bytes) -> bytes:
        K0, K1 = self._words(key)
        S[2] ^= K0
        S[3] ^= K1
        _permute(S, 12)
        return self._bytes(S[3] ^ K0, S[4] ^ K1)

    def encrypt(self, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Return ciphertext and tag; key and nonce have 16 bytes."""
        S = self._opened(key, nonce, aad)
        out = b""
        for at in range(0, len(plaintext) + 1, _RATE):
            block = plaintext[at : at + _RATE]
            last = len(block) < _RATE
            for n, word in enumerate(self._words(self._padded(block) if last else block)):
                S[n] ^= word
            out += self._bytes(S[0], S[1])[: len(block)]
            if not last:
                _permute(S, 8)
        return out + self._tag(S, key)

    def decrypt(self, key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes | None:
        """Return the plaintext, None when the tag is another one."""
        body, tag = ciphertext[:-TAG_SIZE], ciphertext[-TAG_SIZE:]
        S = self._opened(key, nonce, aad)
        out = b""
        for at in range(0, len(body) + 1, _RATE):
            block = body[at : at + _RATE]
            mask = self._bytes(S[0], S[1])
            plain = bytes(a ^ b for a, b in zip(block, mask, strict=False))
            out += plain
            last = len(block) < _RATE
            for n, word in enumerate(self._words(self._padded(plain) if last else plain)):
                S[n] ^= word
            if not last:
                _permute(S, 8)
        return out if self._tag(S, key) == tag else None


STANDARD: Final = Variant("little", 0x00001000808C0001, 0x01, 1 << 63)
"""Ascon-AEAD128 of SP 800-232."""
SUBMITTED: Final = Variant("big", 0x80800C0800000000, 0x80, 1)
"""Ascon-128a, version 1.2, as older packages offer it."""
