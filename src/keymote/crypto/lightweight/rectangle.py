"""RECTANGLE (Zhang et al., Science China 2015): 64-bit block, 80- or 128-bit key, 25 rounds on rows of bits.

Byte strings hold the rows one after another, row 0 first, each big endian: as the paper prints its answers.
"""

from collections.abc import Callable
from typing import Final

from keymote.crypto.lightweight.kernel import Form
from keymote.crypto.lightweight.rounds import Encrypt, Expand

_ROUNDS: Final = 25


def build(bits: int) -> Callable[[Form], tuple[Expand, Encrypt]]:
    """Return what builds RECTANGLE-80 (five rows of 16 bits of key) or RECTANGLE-128 (four rows of 32)."""

    def build_form(form: Form) -> tuple[Expand, Encrypt]:
        jit = form.jit
        row, columns = (2, 4) if bits == 80 else (4, 8)
        ones, boxed, last = (1 << 8 * row) - 1, (1 << columns) - 1, bits == 128

        @jit
        def sbox(a0: int, a1: int, a2: int, a3: int, mask: int) -> tuple[int, int, int, int]:
            """The paper's 12 operations on whole rows: S = 6 5 C A 1 E 7 9 B 0 3 D 8 F 4 2 in every column."""
            t1 = a1 ^ mask
            t2 = a0 & t1
            t3 = a2 ^ a3
            b0 = t2 ^ t3
            t5 = a3 | t1
            t6 = a0 ^ t5
            b1 = a2 ^ t6
            t8 = a1 ^ a2
            t9 = t3 & t6
            b3 = t8 ^ t9
            t11 = b0 | t8
            return b0, b1, t6 ^ t11, b3

        @jit
        def expand(key: bytes) -> list[int]:
            """Return K0 to K25, four rows of 16 bits each."""
            v = [0] * 5
            for i in range(len(key)):
                v[i // row] = v[i // row] << 8 | key[i]
            keys = [0] * (4 * _ROUNDS + 4)
            constant = 1
            for r in range(_ROUNDS + 1):
                for j in range(4):
                    keys[4 * r + j] = v[j] & 0xFFFF
                b0, b1, b2, b3 = sbox(v[0] & boxed, v[1] & boxed, v[2] & boxed, v[3] & boxed, boxed)
                s0, s1 = v[0] & ~boxed | b0, v[1] & ~boxed | b1
                s2, s3 = v[2] & ~boxed | b2, v[3] & ~boxed | b3
                v[0] = ((s0 << 8 | s0 >> (8 * row - 8)) & ones) ^ s1 ^ constant
                v[1] = s2
                if last:
                    v[2] = ((s2 << 16 | s2 >> 16) & ones) ^ s3
                    v[3] = s0
                else:
                    v[2] = s3
                    v[3] = ((s3 << 12 | s3 >> 4) & ones) ^ v[4]
                    v[4] = s0
                constant = (constant << 1 & 0x1F) | (constant >> 4 ^ constant >> 2) & 1
            return keys

        @jit
        def encrypt(keys: list[int], block: list[int]) -> None:
            a0, a1 = block[0] << 8 | block[1], block[2] << 8 | block[3]
            a2, a3 = block[4] << 8 | block[5], block[6] << 8 | block[7]
            for at in range(0, 4 * _ROUNDS, 4):
                a0, a1, a2, a3 = sbox(a0 ^ keys[at], a1 ^ keys[at + 1], a2 ^ keys[at + 2], a3 ^ keys[at + 3], 0xFFFF)
                a1 = (a1 << 1 | a1 >> 15) & 0xFFFF
                a2 = (a2 << 12 | a2 >> 4) & 0xFFFF
                a3 = (a3 << 13 | a3 >> 3) & 0xFFFF
            at = 4 * _ROUNDS
            a0, a1, a2, a3 = a0 ^ keys[at], a1 ^ keys[at + 1], a2 ^ keys[at + 2], a3 ^ keys[at + 3]
            block[0], block[1], block[2], block[3] = a0 >> 8, a0 & 0xFF, a1 >> 8, a1 & 0xFF
            block[4], block[5], block[6], block[7] = a2 >> 8, a2 & 0xFF, a3 >> 8, a3 & 0xFF

        return expand, encrypt

    return build_form
