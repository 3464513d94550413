"""What a city of clusters costs in messages (Triad-1 3.7): formulas, counted against the engines in `lab.city`.

A message is one datagram that somebody sends, a local multicast counted once. All is for a radio on which nothing is lost, rings
in relay mode that hear each other's multicasts, and gateways with a delegation that sign the rosters of changes.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from keymote.wire.group import (
    MOST,
    Commit,
    Delegation,
    JoinRequest,
    Need,
    Root,
    Roster,
    Round1,
    Round2,
    Round3,
    Start,
    Wrap,
)

REPORTERS: Final = 2
"""Members of the top ring who report a ratcheted key."""

Costs = Counter[int]
"""Message type -> messages."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many members each cluster has: `levels[0]` are the clusters of meters, the last level is the top ring alone."""

    levels: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, meters: int, most: int = MOST) -> "Plan":
        """Return the fewest clusters of at most `most` for so many meters, all of a level of about one size."""
        levels = [_even(meters, most)]
        while len(levels[-1]) > 1:
            levels.append(_even(len(levels[-1]), most))
        return cls(tuple(levels))

    @property
    def meters(self) -> int:
        return sum(self.levels[0])

    @property
    def clusters(self) -> int:
        """Rings of all levels."""
        return sum(len(level) for level in self.levels)

    @property
    def top(self) -> int:
        """Members of the top ring."""
        return self.levels[-1][0]

    @property
    def wraps(self) -> int:
        """WRAPs that bring a fresh root key to everybody: one for each ring but the top."""
        return self.clusters - 1


def _even(things: int, most: int) -> tuple[int, ...]:
    count = -(-things // most)
    size, rest = divmod(things, count)
    return (size + 1,) * rest + (size,) * (count - rest)


def run(n: int) -> Costs:
    """Return a run of Burmester-Desmedt in a ring of `n`: START, three rounds, COMMIT; 95 messages for 31 members."""
    return Counter({Start.mt: 1, Round1.mt: n, Round2.mt: n, Round3.mt: n, Commit.mt: 1})


def flood(plan: Plan) -> Costs:
    """Return how ROOT reaches everybody: each gateway says it once in its ring."""
    return Counter({Root.mt: plan.clusters})


def fresh(plan: Plan) -> Costs:
    """Return how a fresh root key reaches everybody."""
    return flood(plan) + Counter({Wrap.mt: plan.wraps})


def form(plan: Plan) -> Costs:
    """Return the beginning: delegation, roster and run of every ring, and the first root key."""
    rings = [run(n) + Counter({Delegation.mt: 1, Roster.mt: 1}) for level in plan.levels for n in level]
    return total(rings) + fresh(plan)


def join(plan: Plan, n: int) -> Costs:
    """Return a join that makes a leaf of `n` members.

    The newcomer is shown delegation and roster, the others the change; then the leaf's run, two reports of the ratcheted root key,
    its announcement, and one WRAP in the newcomer's leaf.
    """
    shown = Counter({Delegation.mt: 1, Roster.mt: 2})
    reported = Counter({Need.mt: 1, Round3.mt: REPORTERS})
    return shown + run(n) + reported + flood(plan) + Counter({Wrap.mt: 1})


def leave(plan: Plan, n: int) -> Costs:
    """Return the leave of an ordinary meter whose leaf has `n` members then: runs of leaf and top ring, and a fresh root."""
    asked = Counter({JoinRequest.mt: 1, Roster.mt: 1})
    return asked + run(n) + run(plan.top) + fresh(plan)


def delegate_loss(plan: Plan, sizes: Iterable[int]) -> Costs:
    """Return the loss of a delegate that sat in rings of `sizes` members, level 0 first, and whose places deputies take.

    In the rings above, the newcomer is shown delegation and roster. The leaf has one member less, the others as many as before.
    """
    leaf, *above = sizes
    costs = Counter({Roster.mt: 1}) + run(leaf - 1)
    for n in above:
        costs += Counter({Delegation.mt: 1, Roster.mt: 2}) + run(n)
    if len(above) < len(plan.levels) - 1:
        costs += run(plan.top)
    return costs + fresh(plan)


def total(parts: Iterable[Costs]) -> Costs:
    """Return the sum of costs."""
    summed: Costs = Counter()
    for part in parts:
        summed += part
    return summed
