"""The arithmetic of masked sums (Triad-1 3.9, 8): who shares which mask with whom, and what is left when they meet.

    y_i,t = v_i + b_i,t + sum over j > i of r_ij,t - sum over j < i of r_ij,t   mod 2^64

In a sum over members who all reported, every r cancels; the b of those who reported and the r towards those who did not
remain. Seeds come from scalars of their own, never from ring edges, which every member knows (B-14).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import expand, extract
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, Suite
from keymote.errors import CallerFault
from keymote.wire.masking import MASK_SIZE, MOST_MEMBERS

MODULUS: Final = 1 << 64
MOST_READING: Final = MODULUS // MOST_MEMBERS - 1
"""A reading is 0 to this, so that the sum of a ring is exact."""
_OWN_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class MaskScalar:
    """What a member draws for one epoch: m_i with M_i = m_i G, and the 32 bytes from which its own mask b comes."""

    m: Secret
    M: Point
    own: Secret

    @classmethod
    def draw(cls, suite: Suite, entropy: Entropy) -> Self:
        m = suite.random_scalar(entropy)
        return cls(m, suite.base_mul(m), Secret(entropy.draw(_OWN_SIZE)))


@dataclass(frozen=True, slots=True)
class Masks:
    """The seeds of member `idx` in one epoch; `shared[j]` with member j, None at its own place."""

    idx: int
    own: Secret
    shared: tuple[Secret | None, ...]

    @classmethod
    def agree(cls, suite: Suite, sid: bytes, idx: int, scalar: MaskScalar, public: Sequence[Point]) -> Self:
        """Return the seeds from the checked M_j of all members: extract(sid, m_i M_j) = extract(sid, m_j M_i)."""
        shared = (None if j == idx else extract(sid, suite.mul(scalar.m, M)) for j, M in enumerate(public))
        return cls(idx, extract(sid, scalar.own.expose()), tuple(shared))

    def own_mask(self, t: int) -> int:
        """Return b_i,t; CBOR[i, i, t] is the context of no pair."""
        return _mask(self.own, self.idx, self.idx, t)

    def shared_mask(self, j: int, t: int) -> int:
        """Return r_ij,t, which member j computes alike; CallerFault for the member itself."""
        seed = self.shared[j]
        if seed is None:
            raise CallerFault("a member shares no mask with itself")
        return _mask(seed, min(self.idx, j), max(self.idx, j), t)

    def masked(self, t: int, reading: int) -> int:
        """Return y_i,t; CallerFault for a reading whose sum could pass 2^64."""
        if not 0 <= reading <= MOST_READING:
            raise CallerFault(f"a reading of {reading}", do=f"report numbers from 0 to {MOST_READING}")
        others = (j for j in range(len(self.shared)) if j != self.idx)
        shared = sum(sign(self.idx, j) * self.shared_mask(j, t) for j in others)
        return (reading + self.own_mask(t) + shared) % MODULUS


def sign(i: int, j: int) -> int:
    """Return with which sign member i takes the mask that it shares with j."""
    return 1 if i < j else -1


def unmasked(masked: Iterable[int], residues: Iterable[int]) -> int:
    """Return the sum of the readings of those who reported.

    `residues`: for each of them b, and its r with those who did not report, signed as in its report.
    """
    return (sum(masked) - sum(residues)) % MODULUS


def _mask(seed: Secret, least: int, most: int, t: int) -> int:
    return int.from_bytes(expand(seed, "B/mask", cbor.encode_array(least, most, t), MASK_SIZE), "big")
