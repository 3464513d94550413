"""Readings of one topic in the order in which they were published, for a subscriber who needs that (docs/decisions/0199).

One broker keeps the order of what passes through it. A publisher that moves on leaves readings behind at a broker that may be
slower than the next one, or just down; then the number `n` of a reading tells that others are still to come. It is held for
them, for `patience_s` at most; nothing is dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from keymote.engine.base import replace
from keymote.engine.topic.readings import Reading

PATIENCE_S: Final = 10.0
MOST_HELD: Final = 256
"""Readings that are held; the ratchet does not keep keys for more that are missing, either."""
MOST_CHAINS: Final = 256
"""Chains whose next number is remembered, the newest ones."""

Chain = tuple[int, int]
"""Epoch and snd."""
_NONE: Final[Mapping[Chain, int]] = MappingProxyType({})


class Held(NamedTuple):
    """A reading before which others are missing, since when (seconds of a clock that only grows)."""

    chain: Chain
    n: int
    reading: Reading
    since: float


@dataclass(frozen=True, slots=True)
class InOrder:
    """One topic: `following` is the number that is next in each chain, `held` stands in order. Duplicates must not be fed."""

    patience_s: float = PATIENCE_S
    following: Mapping[Chain, int] = field(default_factory=lambda: _NONE)
    held: tuple[Held, ...] = ()

    def take(self, reading: Reading, now: float) -> tuple["InOrder", tuple[Reading, ...]]:
        """Return the state and what may be read now: what follows on what was read, and what comes too late for that.

        The first reading of a chain waits for none: nobody knows what was said before a subscriber came.
        """
        new = Held((reading.epoch, reading.snd), reading.n, reading, now)
        if not self.held and new.n <= self.following.get(new.chain, new.n):
            return self._read(new), (reading,)
        return replace(self, held=tuple(sorted((*self.held, new), key=lambda each: each[:2]))).due(now)

    def due(self, now: float) -> tuple["InOrder", tuple[Reading, ...]]:
        """Return the state and what may be read now, with what was held long enough though others are missing."""
        state, ready = self, list[Reading]()
        while state.held:
            chosen = next(filter(state._follows, state.held), None)
            if chosen is None and state._is_patient(now):
                break
            first = chosen or state.held[0]
            ready.append(first.reading)
            state = state._read(first)
        return state, tuple(ready)

    @property
    def deadline(self) -> float | None:
        """Return when `due` has something to do; None for never."""
        return min((each.since + self.patience_s for each in self.held), default=None)

    def _follows(self, held: Held) -> bool:
        """Return whether nothing is missing before it: neither in its chain nor in an epoch before, as far as one can know."""
        return held.n <= self.following.get(held.chain, held.n) and held.chain[0] == self.held[0].chain[0]

    def _is_patient(self, now: float) -> bool:
        deadline = self.deadline
        return len(self.held) <= MOST_HELD and deadline is not None and now < deadline

    def _read(self, held: Held) -> "InOrder":
        following = dict(self.following)
        following[held.chain] = max(following.get(held.chain, 0), held.n + 1)
        while len(following) > MOST_CHAINS:
            del following[min(following)]
        return replace(
            self, following=MappingProxyType(following), held=tuple(each for each in self.held if each is not held)
        )
