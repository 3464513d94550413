"""Randomness as an input: the only file of the pure rooms that may ask the operating system."""

import hashlib
import os
from typing import Protocol

from keymote.errors import CallerFault


class Entropy(Protocol):
    """A stream of uniformly random bytes that belongs to one node."""

    def draw(self, n: int) -> bytes:
        """Return `n` fresh random bytes."""
        ...

    def fork(self, label: str) -> "Entropy":
        """Return a stream independent of this one and of every fork under another label."""
        ...


class SystemEntropy:
    """The operating system's generator, asked anew at each draw.

    Nothing is buffered in the process, so a forked process or a resumed machine snapshot does not repeat bytes that
    its twin has drawn (attack I-08).
    """

    __slots__ = ()

    def draw(self, n: int) -> bytes:
        """Return `n` bytes of `os.urandom`."""
        return os.urandom(n)

    def fork(self, label: str) -> "SystemEntropy":
        """Return this stream: the operating system keeps its readers apart."""
        return self


class SeededEntropy:
    """A deterministic stream for the simulator, the tests and the vectors; never for a product's keys.

    Draw number i of n bytes is SHAKE256(seed || uint32_be(i))[0:n]; with the seed `TRIAD1-KAT` this is the generator
    of the test vectors (Triad-1 section 6).
    """

    __slots__ = ("_draws", "_forks", "_seed")

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._draws = 0
        self._forks: set[str] = set()

    def draw(self, n: int) -> bytes:
        """Return the next `n` bytes; two draws of 16 bytes are not one draw of 32."""
        block = hashlib.shake_256(self._seed + self._draws.to_bytes(4, "big")).digest(n)
        self._draws += 1
        return block

    def fork(self, label: str) -> "SeededEntropy":
        """Return the stream named `label`; it depends on the seed and the label, not on what was drawn before.

        Raises:
            CallerFault: the label was forked before; two nodes would roll the same dice.
        """
        if label in self._forks:
            raise CallerFault(
                f"entropy was forked twice as {label!r}", do="give each node, and each of its boots, its own label"
            )
        self._forks.add(label)
        return SeededEntropy(
            hashlib.sha3_256(
                b"keymote/fork" + len(self._seed).to_bytes(4, "big") + self._seed + label.encode()
            ).digest()
        )
