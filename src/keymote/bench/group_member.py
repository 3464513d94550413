"""What a run costs a member: its processor time from START to ACTIVE against the operations that Triad-1 prescribes.

For each n a ring runs again and again, by turns with the bare operations. A member's figure is the sum of its phases, each
the least over tries and members, an operation's price the least over its tries: what else the machine does can only add
to either.
"""

import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from keymote.bench import operations
from keymote.bench.group import Progress, Size, prefix
from keymote.bench.operations import Counts
from keymote.bench.primitives import prices
from keymote.bench.report import Metric, metric
from keymote.bench.ring import GW, Ring, Terms
from keymote.crypto.metered import MeteredSuite
from keymote.crypto.suite import Suite
from keymote.crypto.suites import suite_by_id
from keymote.engine.base import Peer
from keymote.engine.group.faces import Level
from keymote.wire.group import EDGE, RELAY

GOAL_RATIO: Final = 1.3
GOAL_GROWTH: Final = 2.6
VERIFICATIONS: Final = 2
MULTIPLICATIONS: Final = 5
FEWEST: Final = 3
TRIES: Final = 4
RUNS_OF_SMALL: Final = 24
"""By this over n a ring runs in each try, so that the members of a small one are measured about as often."""
SHOWN: Final = (3, 4, 6, 8, 12, 16, 20, 25, 32)
"""Rings of which the output has rows of their own; in suite 17, whose figures have no goal, the only ones."""
PHASES: Final = ("start", "round1", "round2", "commit")
"""What a member does on START, on the others' R1, on their R2 and on COMMIT: one message each where the gateway hands on."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one ring, in microseconds: a member's phases, the gateway's time, and what the operations cost bare.

    `closed` is the floor of a member that closes the ring by its walk alone: n additions where 3.5 counts 2 (n - 1).
    """

    phases: Sequence[float]
    gateway: float
    floor: float
    closed: float
    gateway_floor: float

    @property
    def member(self) -> float:
        return sum(self.phases)


def rows(size: Size, progress: Progress) -> Iterator[Metric]:
    """Yield the ratio for all n and its worst, one street phase by phase, and the growth and the counts of edge mode."""
    for suite in size.suites:
        yield from _relay(suite, size, progress)
        yield from _edge(suite, size, progress)


# ------------------------------------------------------------------ relay mode, V1


def _relay(suite: int, size: Size, progress: Progress) -> Iterator[Metric]:
    name = prefix(suite)
    sizes = [n for n in range(FEWEST, size.largest + 1) if suite == 1 or n in SHOWN]
    samples: dict[int, list[Sample]] = {}
    for done, n in enumerate(sizes, 1):
        samples[n] = _samples(Terms(suite, n, RELAY, Level.V1), size.rounds)
        progress(f"suite {suite}, ring of {n}", done, len(sizes))
    ratios = {
        n: metric(f"{name}.member.n{n}.cpu_ratio", "ratio", [one.member / one.floor for one in several])
        for n, several in samples.items()
    }
    worst = max(ratios, key=lambda n: ratios[n].value)
    found = [one.member / one.floor for one in samples[worst]]
    yield metric(f"{name}.member.cpu_ratio", "ratio", found, GOAL_RATIO if suite == 1 else None)
    yield metric(f"{name}.member.cpu_ratio_at_n", "members", [float(worst)])
    closed = {n: metric("", "ratio", [one.member / one.closed for one in samples[n]]).value for n in samples}
    yield metric(f"{name}.member.cpu_ratio_closed_by_walk", "ratio", [max(closed.values())])
    yield from (ratios[n] for n in SHOWN if n in ratios)
    if size.street in samples:
        yield from _street(f"{name}.n{size.street}", samples[size.street])


def _street(name: str, samples: Sequence[Sample]) -> Iterator[Metric]:
    for place, phase in enumerate(PHASES):
        yield metric(f"{name}.member.{phase}_us", "us", [one.phases[place] for one in samples])
    yield metric(f"{name}.member.cpu_us", "us", [one.member for one in samples])
    yield metric(f"{name}.member.floor_us", "us", [one.floor for one in samples])
    yield metric(f"{name}.gateway.cpu_us", "us", [one.gateway for one in samples])
    yield metric(f"{name}.gateway.floor_us", "us", [one.gateway_floor for one in samples])


def _samples(terms: Terms, rounds: int) -> list[Sample]:
    ring, roles = Ring(terms, lambda _: suite_by_id(terms.suite)), operations.group(terms.n)
    closed = roles["member"] + Counts(add=1 + terms.n - roles["member"]["add"])
    gc.collect()
    gc.freeze()  # the ring itself is not garbage: collections look at what the runs leave behind
    samples = []
    for _ in range(rounds):
        phases, gateway, price = _least(ring)
        floors = (_floor(counts, price) for counts in (roles["member"], closed, roles["gateway"]))
        of_member, of_closed, of_gateway = floors
        samples.append(Sample(phases, gateway, of_member, of_closed, of_gateway))
    gc.unfreeze()
    return samples


def _least(ring: Ring) -> tuple[Sequence[float], float, Mapping[str, float]]:
    """Return the least of each phase of a member, of all messages at the gateway, and the least price of each operation."""
    members: list[Sequence[int]] = []
    gateway: list[Sequence[int]] = []
    price: Mapping[str, float] = {}
    for _ in range(TRIES):
        for _ in range(max(1, RUNS_OF_SMALL // ring.terms.n)):
            ring.run()
            members += [tuple(ring.hosts[name].spent_ns) for name in ring.terms.names]
            gateway.append(tuple(ring.hosts[GW].spent_ns))
        again = prices(ring.terms.suite)
        price = {operation: min(cost, price.get(operation, cost)) for operation, cost in again.items()}
    return _least_of_each(members), sum(_least_of_each(gateway)), price


def _least_of_each(tries: Sequence[Sequence[int]]) -> Sequence[float]:
    """Return the least of each message over all tries, in microseconds: everybody hears the same messages in one order."""
    return [min(spent) / 1000 for spent in zip(*tries, strict=True)]


def _floor(counts: Counts, price: Mapping[str, float]) -> float:
    """Return what these operations cost bare, in microseconds."""
    return sum(number * price[operation] for operation, number in counts.items())


# ------------------------------------------------------------------ edge mode, V0


def _edge(suite: int, size: Size, progress: Progress) -> Iterator[Metric]:
    """The weakest members: whatever n, two verifications and five multiplications; what grows are additions and hashes."""
    name = f"{prefix(suite)}.member"
    few, many = (Terms(suite, n, EDGE, Level.V0) for n in (FEWEST, size.largest))
    rings = [Ring(terms, lambda _: suite_by_id(suite)) for terms in (few, many)]
    costs: list[Sequence[float]] = []
    for number in range(size.rounds):
        costs.append([sum(_least(ring)[0]) for ring in rings])
        progress(f"suite {suite}, edge mode", number + 1, size.rounds)
    growth = [large / small for small, large in costs]
    yield metric(f"{name}.v0_growth", "ratio", growth, GOAL_GROWTH if suite == 1 else None)
    for place, terms in enumerate((few, many)):
        counts = counted(terms)[terms.names[0]]
        yield metric(f"{name}.v0_n{terms.n}_us", "us", [cost[place] for cost in costs])
        yield metric(f"{name}.v0_n{terms.n}_verifications", "calls", [float(counts["verify"])], VERIFICATIONS)
        multiplications = counts["mul"] + counts["base_mul"]
        yield metric(f"{name}.v0_n{terms.n}_multiplications", "calls", [float(multiplications)], MULTIPLICATIONS)


def counted(terms: Terms) -> Mapping[Peer, Counts]:
    """Return what everybody computes in one run, by suites that count."""
    suites: dict[Peer, MeteredSuite] = {}

    def suite_of(name: Peer) -> Suite:
        return suites.setdefault(name, MeteredSuite(suite_by_id(terms.suite)))

    ring = Ring(terms, suite_of)
    for suite in suites.values():
        suite.counts.clear()
    ring.run()
    return {name: suites[name].counts for name in ring.hosts}
