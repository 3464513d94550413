"""HIGHT (Hong et al., CHES 2006; ISO/IEC 18033-3): 64-bit block, 128-bit key, 32 rounds of bytes.

Byte strings are the numbers that the paper prints: P7 and MK15 come first.
"""

from keymote.crypto.lightweight.kernel import Form
from keymote.crypto.lightweight.rounds import Encrypt, Expand


def build(form: Form) -> tuple[Expand, Encrypt]:
    jit = form.jit

    @jit
    def expand(key: bytes) -> list[int]:
        """Return WK0 to WK7, then SK0 to SK127."""
        keys = [0] * 136
        for i in range(8):
            keys[i] = key[3 - i] if i < 4 else key[19 - i]  # MK(i + 12), then MK(i - 4); MKj is key[15 - j]
        delta = 0x5A
        for i in range(8):
            for j in range(8):
                keys[8 + 16 * i + j] = (key[15 - (j - i) % 8] + delta) & 0xFF
                delta = delta >> 1 | ((delta >> 3 ^ delta) & 1) << 6
            for j in range(8):
                keys[16 + 16 * i + j] = (key[7 - (j - i) % 8] + delta) & 0xFF
                delta = delta >> 1 | ((delta >> 3 ^ delta) & 1) << 6
        return keys

    @jit
    def f0(x: int) -> int:
        return (x << 1 | x >> 7) & 0xFF ^ (x << 2 | x >> 6) & 0xFF ^ (x << 7 | x >> 1) & 0xFF

    @jit
    def f1(x: int) -> int:
        return (x << 3 | x >> 5) & 0xFF ^ (x << 4 | x >> 4) & 0xFF ^ (x << 6 | x >> 2) & 0xFF

    @jit
    def encrypt(keys: list[int], block: list[int]) -> None:
        x0, x1 = (block[7] + keys[0]) & 0xFF, block[6]
        x2, x3 = block[5] ^ keys[1], block[4]
        x4, x5 = (block[3] + keys[2]) & 0xFF, block[2]
        x6, x7 = block[1] ^ keys[3], block[0]
        for at in range(8, 136, 4):
            y0 = x7 ^ (f0(x6) + keys[at + 3]) & 0xFF
            y2 = (x1 + (f1(x0) ^ keys[at])) & 0xFF
            y4 = x3 ^ (f0(x2) + keys[at + 1]) & 0xFF
            y6 = (x5 + (f1(x4) ^ keys[at + 2])) & 0xFF
            x1, x3, x5, x7 = x0, x2, x4, x6
            x0, x2, x4, x6 = y0, y2, y4, y6
        block[7], block[6] = (x1 + keys[4]) & 0xFF, x2
        block[5], block[4] = x3 ^ keys[5], x4
        block[3], block[2] = (x5 + keys[6]) & 0xFF, x6
        block[1], block[0] = x7 ^ keys[7], x0

    return expand, encrypt
