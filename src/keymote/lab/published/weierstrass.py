"""Textbook arithmetic on y² = x³ + ax + b over a prime field, with every check left out.

Paper 000 lets the network manager choose EP(a, b) and announce it. Addition never uses b, so a point that satisfies the
equation for another b is computed with as if nothing were wrong; that is the whole of attack A-06. Not constant time.
"""

from dataclasses import dataclass
from typing import Final

Affine = tuple[int, int] | None
"""Affine coordinates, None for the identity O."""


@dataclass(frozen=True, slots=True)
class Curve:
    """EP(a, b) over the field of p elements, p = 3 mod 4."""

    p: int
    a: int
    b: int

    def add(self, P: Affine, Q: Affine) -> Affine:
        """Return P + Q by the chord and tangent rule; b does not enter."""
        if P is None:
            return Q
        if Q is None:
            return P
        (x1, y1), (x2, y2), p = P, Q, self.p
        if x1 == x2:
            if (y1 + y2) % p == 0:
                return None
            slope = (3 * x1 * x1 + self.a) * pow(2 * y1, -1, p)
        else:
            slope = (y2 - y1) * pow(x2 - x1, -1, p)
        x3 = (slope * slope - x1 - x2) % p
        return x3, (slope * (x1 - x3) - y1) % p

    def neg(self, P: Affine) -> Affine:
        """Return -P."""
        return None if P is None else (P[0], -P[1] % self.p)

    def sub(self, P: Affine, Q: Affine) -> Affine:
        """Return P - Q."""
        return self.add(P, self.neg(Q))

    def mul(self, k: int, P: Affine) -> Affine:
        """Return k·P by doubling and adding; a negative k negates."""
        if k < 0:
            return self.mul(-k, self.neg(P))
        result: Affine = None
        while k:
            if k & 1:
                result = self.add(result, P)
            P = self.add(P, P)
            k >>= 1
        return result

    def sum(self, *points: Affine) -> Affine:
        """Return the sum of all points."""
        total: Affine = None
        for point in points:
            total = self.add(total, point)
        return total

    def holds(self, P: Affine) -> bool:
        """Return whether P satisfies the equation: the question that the published scheme never asks."""
        return P is None or (P[1] * P[1] - P[0] ** 3 - self.a * P[0] - self.b) % self.p == 0

    def lift(self, x: int) -> Affine:
        """Return the point with this x and an even y, None when there is none."""
        square = (x**3 + self.a * x + self.b) % self.p
        y = pow(square, (self.p + 1) // 4, self.p)
        if y * y % self.p != square:
            return None
        return x % self.p, y if y % 2 == 0 else self.p - y


P256: Final = Curve(
    p=2**256 - 2**224 + 2**192 + 2**96 - 1,
    a=-3,
    b=0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
)
"""The curve that an honest manager announces (SEC 2, secp256r1)."""

ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The prime order of P-256."""
