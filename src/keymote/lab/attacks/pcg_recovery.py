"""From a few outputs of pcg-rand to its state, forward and backward, in plain integers (attacks C-03 and C-03b).

Whoever guesses an output's rotation, which is bits 59 to 63 of the state, undoes it and the shift, and holds bits 27 to 63.
Two such states h + l and h' + l', l and l' below 2^27, of one congruence s' = a s + c satisfy l' = a l + t (mod 2^64) with a
known t: a point near the origin of a shifted lattice of determinant 2^64. Its box has 2^54 points, so that a wrong guess
passes once in 2^10, and a right one is found by rounding in the reduced basis (Babai).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from keymote.lab.published.pcg import INVERSE, MASK32, MASK64, MULTIPLIER, output

_UNKNOWN: Final = 27
"""Low bits of a state that no output shows."""
_SPAN: Final = 1 << _UNKNOWN
_MODULUS: Final = 1 << 64


class Basis(NamedTuple):
    """Two short vectors of the lattice {(u, v): v = a u (mod 2^64)}; `sign` is that of their determinant, of size 2^64."""

    x1: int
    y1: int
    x2: int
    y2: int
    sign: int


def reduced(multiplier: int) -> Basis:
    """Return the shortest basis (Lagrange and Gauss)."""
    short, long = (1, multiplier), (0, _MODULUS)
    while True:
        dot = short[0] * long[0] + short[1] * long[1]
        norm = short[0] ** 2 + short[1] ** 2
        times = (2 * dot + norm) // (2 * norm)
        long = (long[0] - times * short[0], long[1] - times * short[1])
        if long[0] ** 2 + long[1] ** 2 >= norm:
            sign = 1 if short[0] * long[1] > short[1] * long[0] else -1
            return Basis(*short, *long, sign)
        short, long = long, short


_BASIS: Final = reduced(MULTIPLIER)


def near(t: int) -> tuple[int, int]:
    """Return (u, v) with v = a u + t (mod 2^64) near the origin."""
    x1, y1, x2, y2, sign = _BASIS
    half = _MODULUS >> 1
    times1 = (-sign * t * x2 + half) >> 64
    times2 = (sign * t * x1 + half) >> 64
    return -times1 * x1 - times2 * x2, t - times1 * y1 - times2 * y2


def visible(out: int) -> list[int]:
    """Return, for each of the 32 rotations, the state that gave this output with its low 27 bits zero."""
    found = []
    for turn in range(32):
        word = (out << turn | out >> (32 - turn)) & MASK32  # bits 27 to 58 of s ^ s >> 18
        mixed = turn << 59 | word << 27
        top = mixed ^ mixed >> 46 << 28  # bits 46 to 63 stand as they are, and cover the 18 below
        found.append(top ^ top >> 18 & _SPAN)  # of these, bit 45 covers bit 27
    return found


def states(outputs: tuple[int, int], increment: int) -> Iterator[int]:
    """Yield the states that give two outputs one after the other in a known stream: the true one, and about one more."""
    firsts, seconds = visible(outputs[0]), visible(outputs[1])
    middle = _SPAN >> 1
    for first in firsts:
        # v = a u + t for u = l - middle, v = l' - middle
        ahead = MULTIPLIER * (first + middle) + increment - middle
        for second in seconds:
            u, v = near((ahead - second) & MASK64)
            if -middle <= u < middle and -middle <= v < middle:
                yield first + middle + u


@dataclass(frozen=True, slots=True)
class Walk:
    """A generator of unknown stream: the low bits of `state` lie in `least` to `most`, the step behind it is known exactly.

    From state s_0 on, s_j = s_0 + (1 + a + ... + a^(j-1)) d.
    """

    top: int
    step: int
    least: int
    most: int

    def travelled(self, count: int) -> int:
        """Return s_count - s_0; a negative count goes back."""
        total, step = 0, self.step
        for _ in range(count):
            total, step = (total + step) & MASK64, step * MULTIPLIER & MASK64
        for _ in range(-count):
            step = step * INVERSE & MASK64
            total = (total - step) & MASK64
        return total

    def outputs(self, count: int) -> list[int]:
        """Return what s_count may give: one output, or two where the low bits decide about a carry."""
        at = self.top + self.travelled(count)
        least, most = at + self.least, at + self.most
        tops = range(least >> _UNKNOWN, (most >> _UNKNOWN) + 1)
        return [output((top << _UNKNOWN) & MASK64) for top in tops]

    def confirmed(self, count: int, top: int) -> "Walk | None":
        """Return the walk with low bits that bring s_count to these top bits; None if none do."""
        missing = (top - self.top - self.travelled(count)) & MASK64
        if missing >= _MODULUS >> 1:
            missing -= _MODULUS
        least, most = max(self.least, missing), min(self.most, missing + _SPAN - 1)
        return Walk(self.top, self.step, least, most) if least <= most else None


def walks(outputs: tuple[int, int, int, int]) -> Iterator[Walk]:
    """Yield the walks that give four outputs one after the other, whatever the stream; hardly ever more than the true one."""
    tops = [visible(out) for out in outputs[:3]]
    for first in tops[0]:
        for second in tops[1]:
            ahead = MULTIPLIER * (second - first) + second
            for third in tops[2]:
                # differences d_0 = second - first + u, d_1 = third - second + v; d_1 = a d_0
                u, v = near((ahead - third) & MASK64)
                if -_SPAN < u < _SPAN and -_SPAN < v < _SPAN:
                    yield from _checked(
                        Walk(first, (second - first + u) & MASK64, 0, _SPAN - 1), second, third, outputs[3]
                    )


def _checked(walk: Walk, second: int, third: int, last: int) -> Iterator[Walk]:
    for count, top in ((1, second), (2, third)):
        found = walk.confirmed(count, top)
        if found is None:
            return
        walk = found
    for top in visible(last):
        found = walk.confirmed(3, top)
        if found is not None:
            yield found
