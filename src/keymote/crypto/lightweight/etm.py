"""The block ciphers as AEADs: counter mode, then HMAC-SHA-256 truncated to 16 bytes (Triad-1 4.5, label C/lw).

enc = lexp(key, "C/lw", h'01', 16), mac = lexp(key, "C/lw", h'02', 32); the nonce is 4 bytes, before a block counter of 32
bits from 0; the tag covers len(AAD) (8 bytes, big endian) ‖ AAD ‖ ciphertext. Why no CMAC: its tag would be 64 bits (row 13
of the specification's section 0). A key is for one message: two would share the key stream.
"""

from typing import Final

from cryptography.exceptions import InvalidTag

from keymote.crypto.aead import Aead
from keymote.crypto.kdf import expand, lexp, mac16
from keymote.crypto.lightweight.block import HIGHT, PREFIX_SIZE, RECTANGLE_128, TWINE_128, BlockCipher
from keymote.crypto.secret import Secret, equal

TAG_SIZE: Final = 16


class EncryptThenMac:
    """One key of 32 bytes under one cipher; the face of `cryptography`'s AEADs."""

    __slots__ = ("_cipher", "_enc", "_mac")

    def __init__(self, cipher: BlockCipher, key: bytes) -> None:
        prk = Secret(key)
        self._cipher = cipher
        self._enc = expand(prk, "C/lw", b"\x01", 16)
        self._mac = lexp(prk, "C/lw", b"\x02", 32)

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Return ciphertext and tag; ValueError for more than 64 KiB."""
        ciphertext = self._cipher.xor(self._enc, nonce, data)
        return ciphertext + self._tag(associated_data or b"", ciphertext)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Return the plaintext; InvalidTag, before anything is decrypted, unless the tag is right."""
        ciphertext, tag = data[:-TAG_SIZE], data[-TAG_SIZE:]
        if not equal(self._tag(associated_data or b"", ciphertext), tag):
            raise InvalidTag
        return self._cipher.xor(self._enc, nonce, ciphertext)

    def _tag(self, aad: bytes, ciphertext: bytes) -> bytes:
        return mac16(self._mac, len(aad).to_bytes(8, "big"), aad, ciphertext)


def _hight(key: bytes) -> EncryptThenMac:
    return EncryptThenMac(HIGHT, key)


def _twine_128(key: bytes) -> EncryptThenMac:
    return EncryptThenMac(TWINE_128, key)


def _rectangle_128(key: bytes) -> EncryptThenMac:
    return EncryptThenMac(RECTANGLE_128, key)


HIGHT_ETM: Final = Aead(-65616, PREFIX_SIZE, TAG_SIZE, _hight)
TWINE_128_ETM: Final = Aead(-65617, PREFIX_SIZE, TAG_SIZE, _twine_128)
RECTANGLE_128_ETM: Final = Aead(-65618, PREFIX_SIZE, TAG_SIZE, _rectangle_128)
"""Numbers of our own, as Ascon's -65601 is: no header carries them."""
