"""TWINE (Suzaki, Minematsu, Morioka, Kobayashi, SAC 2012): 64-bit block, 80- or 128-bit key, 36 rounds of nibbles."""

from collections.abc import Callable
from typing import Final

from keymote.crypto.lightweight.kernel import Form
from keymote.crypto.lightweight.rounds import Encrypt, Expand

_SBOX: Final = (0xC, 0x0, 0xF, 0xA, 0x2, 0xB, 0x9, 0x5, 0x8, 0x3, 0xD, 0x7, 0x1, 0xE, 0x6, 0x4)
_SHUFFLE: Final = (5, 0, 1, 4, 7, 12, 3, 8, 13, 6, 9, 2, 15, 10, 11, 14)
"""pi: nibble h of one round is nibble pi[h] of the next."""
_ROUNDS: Final = 36
_TAPS: Final = {80: (1, 3, 4, 6, 13, 14, 15, 16), 128: (2, 3, 12, 15, 17, 18, 28, 31)}
"""Bits of the key -> which of its nibbles are a round's key (the paper's algorithms A.1 and A.2)."""


def build(bits: int) -> Callable[[Form], tuple[Expand, Encrypt]]:
    """Return what builds TWINE-80 or TWINE-128."""

    def build_form(form: Form) -> tuple[Expand, Encrypt]:
        jit, sbox, shuffle, taps, nibbles = form.jit, _SBOX, _SHUFFLE, _TAPS[bits], bits // 4

        @jit
        def expand(key: bytes) -> list[int]:
            """Return RK1 to RK36, 8 nibbles each."""
            wk = [0] * nibbles
            for i in range(nibbles):
                wk[i] = key[i // 2] & 0xF if i % 2 else key[i // 2] >> 4
            keys = [0] * (8 * _ROUNDS)
            constant = 1
            for r in range(_ROUNDS):
                for j in range(8):
                    keys[8 * r + j] = wk[taps[j]]
                wk[1] ^= sbox[wk[0]]
                wk[4] ^= sbox[wk[16]]
                if nibbles == 32:
                    wk[23] ^= sbox[wk[30]]
                wk[7] ^= constant >> 3
                wk[19] ^= constant & 7
                constant <<= 1
                if constant > 0x3F:
                    constant ^= 0x43  # z^6 + z + 1
                first = [wk[1], wk[2], wk[3], wk[0]]
                for i in range(nibbles - 4):
                    wk[i] = wk[i + 4]
                for i in range(4):
                    wk[nibbles - 4 + i] = first[i]
            return keys

        @jit
        def encrypt(keys: list[int], block: list[int]) -> None:
            x = [0] * 16
            for i in range(8):
                x[2 * i] = block[i] >> 4
                x[2 * i + 1] = block[i] & 0xF
            y = [0] * 16
            for r in range(_ROUNDS):
                for j in range(8):
                    x[2 * j + 1] ^= sbox[x[2 * j] ^ keys[8 * r + j]]
                if r < _ROUNDS - 1:
                    for h in range(16):
                        y[shuffle[h]] = x[h]
                    x, y = y, x
            for i in range(8):
                block[i] = x[2 * i] << 4 | x[2 * i + 1]

        return expand, encrypt

    return build_form
