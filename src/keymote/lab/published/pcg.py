"""pcg-rand, the generator that paper 002 takes for a CSRNG: PCG XSH-RR 64/32 (O'Neill, HMC-CS-2014-0905).

The state is a linear congruence modulo 2^64; an output shows 37 bits of it to whoever guesses the five bits of its rotation.
"""

from dataclasses import dataclass
from typing import Final, Self

MULTIPLIER: Final = 6364136223846793005
MASK64: Final = (1 << 64) - 1
INVERSE: Final = pow(MULTIPLIER, -1, 1 << 64)
MASK32: Final = (1 << 32) - 1


def output(state: int) -> int:
    """Return the 32 bits that a state gives."""
    word = ((state >> 18 ^ state) >> 27) & MASK32
    turn = state >> 59
    return (word >> turn | word << (32 - turn)) & MASK32


def backward(state: int, increment: int) -> int:
    """Return the state before a state: what was drawn is told as easily as what will be."""
    return (state - increment) * INVERSE & MASK64


@dataclass(slots=True)
class Pcg32:
    """A generator; `increment` is odd and names its stream."""

    state: int
    increment: int

    @classmethod
    def seeded(cls, seed: int, sequence: int) -> Self:
        """Return what `pcg32_srandom_r` makes of a seed of 64 bits and a stream number of 63."""
        made = cls(0, (sequence << 1 | 1) & MASK64)
        made.draw()
        made.state = (made.state + seed) & MASK64
        made.draw()
        return made

    def draw(self) -> int:
        """Return the next 32 bits."""
        before = self.state
        self.state = (before * MULTIPLIER + self.increment) & MASK64
        return output(before)

    def key(self) -> bytes:
        """Return the next session key: "64-bit key size", hence two outputs."""
        return self.draw().to_bytes(4, "big") + self.draw().to_bytes(4, "big")
