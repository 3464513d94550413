"""Ascon-AEAD128 (NIST SP 800-232, 2025): little endian, rate 16, and not the Ascon-128 of before (attack I-09)."""

from typing import Final, Protocol

from cryptography.exceptions import InvalidTag

from keymote.crypto.lightweight.kernel import Form, Kernel
from keymote.crypto.secret import equal

KEY_SIZE: Final = 16
NONCE_SIZE: Final = 16
TAG_SIZE: Final = 16
_IV: Final = 0x00001000_808C0001
"""SP 800-232 table 4: version 1, p12 and p8, a tag of 128 bits, a rate of 16 bytes."""
_CONSTANTS: Final = (0xF0, 0xE1, 0xD2, 0xC3, 0xB4, 0xA5, 0x96, 0x87, 0x78, 0x69, 0x5A, 0x4B)
_ONES: Final = (1 << 64) - 1


class Crypt(Protocol):
    """`out` has room for `data` and a tag; it takes the other text, and the tag that belongs to the plaintext."""

    def __call__(self, key: bytes, nonce: bytes, ad: bytes, data: bytes, out: bytearray, opening: bool, /) -> None: ...


class Permute(Protocol):
    """The rounds from number `first` of 12 on, over the five words of the state."""

    def __call__(
        self, x0: int, x1: int, x2: int, x3: int, x4: int, first: int, /
    ) -> tuple[int, int, int, int, int]: ...


class Load(Protocol):
    """Returns `size` bytes, 0 to 8, as a little-endian word."""

    def __call__(self, data: bytes | bytearray, at: int, size: int, /) -> int: ...


class Store(Protocol):
    """Writes the low `size` bytes of a word."""

    def __call__(self, out: bytearray, at: int, size: int, value: int, /) -> None: ...


def _permutation(form: Form) -> Permute:
    jit, ones, constants = form.jit, form.word(_ONES), tuple(map(form.word, _CONSTANTS))

    @jit
    def permute(x0: int, x1: int, x2: int, x3: int, x4: int, first: int) -> tuple[int, int, int, int, int]:
        for i in range(first, 12):
            x2 ^= constants[i]
            x0 ^= x4
            x4 ^= x3
            x2 ^= x1
            y0 = x0 ^ (~x1 & x2)
            y1 = x1 ^ (~x2 & x3)
            y2 = x2 ^ (~x3 & x4)
            y3 = x3 ^ (~x4 & x0)
            y4 = x4 ^ (~x0 & x1)
            y1 ^= y0
            y0 ^= y4
            y3 ^= y2
            y2 ^= ones
            x0 = (y0 ^ (y0 >> 19 | y0 << 45) ^ (y0 >> 28 | y0 << 36)) & ones
            x1 = (y1 ^ (y1 >> 61 | y1 << 3) ^ (y1 >> 39 | y1 << 25)) & ones
            x2 = (y2 ^ (y2 >> 1 | y2 << 63) ^ (y2 >> 6 | y2 << 58)) & ones
            x3 = (y3 ^ (y3 >> 10 | y3 << 54) ^ (y3 >> 17 | y3 << 47)) & ones
            x4 = (y4 ^ (y4 >> 7 | y4 << 57) ^ (y4 >> 41 | y4 << 23)) & ones
        return x0, x1, x2, x3, x4

    return permute


def _words(form: Form) -> tuple[Load, Store]:
    jit, word, octet = form.jit, form.word, form.word(0xFF)

    @jit
    def load(data: bytes | bytearray, at: int, size: int) -> int:
        value = word(0)
        for i in range(size):
            value |= word(data[at + i]) << (8 * i)
        return value

    @jit
    def store(out: bytearray, at: int, size: int, value: int) -> None:
        for i in range(size):
            out[at + i] = (value >> (8 * i)) & octet

    return load, store


def _build(form: Form) -> Crypt:
    jit, word = form.jit, form.word
    iv, one, domain = word(_IV), word(1), word(1 << 63)
    permute = _permutation(form)
    load, store = _words(form)

    @jit
    def take(x: int, data: bytes, out: bytearray, at: int, size: int, opening: bool) -> int:
        """Return the state's word after `size` bytes of text at `at`, whose other form is written to `out`."""
        if opening:
            store(out, at, size, x ^ load(data, at, size))
            return x ^ load(out, at, size)
        x ^= load(data, at, size)
        store(out, at, size, x)
        return x

    @jit
    def crypt(key: bytes, nonce: bytes, ad: bytes, data: bytes, out: bytearray, opening: bool) -> None:
        k0, k1 = load(key, 0, 8), load(key, 8, 8)
        x0, x1, x2, x3, x4 = permute(iv, k0, k1, load(nonce, 0, 8), load(nonce, 8, 8), 0)
        x3 ^= k0
        x4 ^= k1
        if len(ad) > 0:
            whole = len(ad) - len(ad) % 16
            for at in range(0, whole, 16):
                x0 ^= load(ad, at, 8)
                x1 ^= load(ad, at + 8, 8)
                x0, x1, x2, x3, x4 = permute(x0, x1, x2, x3, x4, 4)
            rest = len(ad) - whole
            if rest < 8:
                x0 ^= load(ad, whole, rest) ^ one << (8 * rest)
            else:
                x0 ^= load(ad, whole, 8)
                x1 ^= load(ad, whole + 8, rest - 8) ^ one << (8 * (rest - 8))
            x0, x1, x2, x3, x4 = permute(x0, x1, x2, x3, x4, 4)
        x4 ^= domain
        whole = len(data) - len(data) % 16
        for at in range(0, whole, 16):
            x0 = take(x0, data, out, at, 8, opening)
            x1 = take(x1, data, out, at + 8, 8, opening)
            x0, x1, x2, x3, x4 = permute(x0, x1, x2, x3, x4, 4)
        rest = len(data) - whole
        if rest < 8:
            x0 = take(x0, data, out, whole, rest, opening) ^ one << (8 * rest)
        else:
            x0 = take(x0, data, out, whole, 8, opening)
            x1 = take(x1, data, out, whole + 8, rest - 8, opening) ^ one << (8 * (rest - 8))
        x0, x1, x2, x3, x4 = permute(x0, x1, x2 ^ k0, x3 ^ k1, x4, 0)
        store(out, len(data), 8, x3 ^ k0)
        store(out, len(data) + 8, 8, x4 ^ k1)

    return crypt


def _trial(crypt: Crypt) -> bytes:
    out = bytearray(39 + TAG_SIZE)
    crypt(bytes(range(16)), bytes(range(16, 32)), bytes(29), bytes(range(39)), out, False)
    back = bytearray(39 + TAG_SIZE)
    crypt(bytes(range(16)), bytes(range(16, 32)), bytes(29), bytes(out[:39]), back, True)
    return bytes(out + back)


KERNEL: Final = Kernel(_build, _trial)


class AsconAead128:
    """One key; the face of `cryptography`'s AEADs."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_SIZE:
            raise ValueError(f"a key of {KEY_SIZE} bytes is due, not of {len(key)}")
        self._key = key

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Return ciphertext and tag; `nonce` has 16 bytes and serves this key once."""
        out = bytearray(len(data) + TAG_SIZE)
        KERNEL.run(self._key, _nonce(nonce), associated_data or b"", data, out, False)
        return bytes(out)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Return the plaintext; InvalidTag, and nothing of it, unless the tag is right."""
        size = len(data) - TAG_SIZE
        if size < 0:
            raise InvalidTag
        out = bytearray(len(data))
        KERNEL.run(self._key, _nonce(nonce), associated_data or b"", data[:size], out, True)
        if not equal(bytes(out[size:]), data[size:]):
            raise InvalidTag
        return bytes(out[:size])


def _nonce(nonce: bytes) -> bytes:
    if len(nonce) != NONCE_SIZE:
        raise ValueError(f"a nonce of {NONCE_SIZE} bytes is due, not of {len(nonce)}")
    return nonce
