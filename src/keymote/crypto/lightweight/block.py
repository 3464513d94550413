"""The block ciphers of 64 bits by name: as key stream of counter mode, and as raw blocks, for known answers.

There is no decryption of a block: counter mode needs none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from keymote.crypto.lightweight import hight, rectangle, twine
from keymote.crypto.lightweight.kernel import Form, Kernel
from keymote.crypto.lightweight.rounds import BLOCK_SIZE, Encrypt, Expand

MOST_BLOCKS: Final = 1 << 13
"""Blocks of one message (Triad-1 4.5)."""
PREFIX_SIZE: Final = 4
"""Bytes of a counter block before the counter of 32 bits."""

Build = Callable[[Form], tuple[Expand, Encrypt]]


class Counter(Protocol):
    """Writes `data` xor the key stream to `out`.

    The key stream is the encryption of `first`, 8 bytes, and of its successors: the last 4 bytes count, big endian.
    """

    def __call__(self, key: bytes, first: bytes, data: bytes, out: bytearray, /) -> None: ...


@dataclass(frozen=True, slots=True)
class BlockCipher:
    """One algorithm; `key_size` in bytes."""

    name: str
    key_size: int
    counter: Kernel[Counter]

    def encrypt(self, key: bytes, block: bytes) -> bytes:
        """Return the encryption of one block of 8 bytes; ValueError for a key or block of another length."""
        if len(block) != BLOCK_SIZE:
            raise ValueError(f"a block of {BLOCK_SIZE} bytes is due, not of {len(block)}")
        return self._stream(key, block, bytes(BLOCK_SIZE))

    def xor(self, key: bytes, prefix: bytes, data: bytes) -> bytes:
        """Return `data` xor the key stream from counter block `prefix` (4 bytes) ‖ 0 on; one (key, prefix), one text.

        ValueError for more than 2^13 blocks, and for a key or prefix of another length.
        """
        if len(prefix) != PREFIX_SIZE or len(data) > MOST_BLOCKS * BLOCK_SIZE:
            raise ValueError(f"{len(prefix)} bytes before the counter, {len(data)} bytes of data")
        return self._stream(key, prefix + bytes(BLOCK_SIZE - PREFIX_SIZE), data)

    def _stream(self, key: bytes, first: bytes, data: bytes) -> bytes:
        if len(key) != self.key_size:
            raise ValueError(f"{self.name} has keys of {self.key_size} bytes, not of {len(key)}")
        out = bytearray(len(data))
        self.counter.run(key, first, data, out)
        return bytes(out)


def _counter(build: Build) -> Callable[[Form], Counter]:
    def built(form: Form) -> Counter:
        expand, encrypt = build(form)

        @form.jit
        def counter(key: bytes, first: bytes, data: bytes, out: bytearray) -> None:
            keys, block = expand(key), [0] * 8
            start = 0
            for i in range(4, 8):
                start = start << 8 | first[i]
            for at in range(0, len(data), 8):
                number = start + (at >> 3)
                for i in range(4):
                    block[i] = first[i]
                    block[4 + i] = number >> (24 - 8 * i) & 0xFF
                encrypt(keys, block)
                for i in range(min(8, len(data) - at)):
                    out[at + i] = data[at + i] ^ block[i]

        return counter

    return built


def _cipher(name: str, key_size: int, build: Build) -> BlockCipher:
    def trial(counter: Counter) -> bytes:
        out = bytearray(29)
        counter(bytes(range(key_size)), b"\1\2\3\4\0\0\0\xfe", bytes(29), out)
        return bytes(out)

    return BlockCipher(name, key_size, Kernel(_counter(build), trial))


HIGHT: Final = _cipher("hight", 16, hight.build)
TWINE_80: Final = _cipher("twine-80", 10, twine.build(80))
TWINE_128: Final = _cipher("twine-128", 16, twine.build(128))
RECTANGLE_80: Final = _cipher("rectangle-80", 10, rectangle.build(80))
RECTANGLE_128: Final = _cipher("rectangle-128", 16, rectangle.build(128))

BLOCK_CIPHERS: Final[Mapping[str, BlockCipher]] = {
    cipher.name: cipher for cipher in (HIGHT, TWINE_80, TWINE_128, RECTANGLE_80, RECTANGLE_128)
}
"""By the names that vector files use. Keys of 80 bits are for known answers only (Triad-1 4.5)."""
