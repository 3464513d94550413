"""A street on real sockets: from START to the last member that is ACTIVE, gateway and members in processes of their own.

The figure is a ratio: the wall time over what no implementation on this machine could do without, the bare operations
of all parties divided by the cores, and the same number and sizes of CoAP exchanges with empty handlers. All are taken in
one run by turns, each as the least of its tries.
"""

import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final

from keymote.bench import operations
from keymote.bench.group import Progress, Size, prefix
from keymote.bench.primitives import prices
from keymote.bench.report import Metric, metric
from keymote.bench.ring import GW, Terms, meters
from keymote.bench.ring_process import Agree, Done, Duty, Exchange, Meet, play
from keymote.engine.base import Peer
from keymote.engine.group.faces import Level
from keymote.errors import Unavailable
from keymote.wire.group import RELAY

GOAL_RATIO: Final = 1.5
TRIES: Final = 6
PATIENCE_S: Final = 60.0
PAPER_MS: Final = 450.0
"""Paper 001, section 5: below this for 25 meters, emulated."""


def rows(size: Size, progress: Progress) -> Iterator[Metric]:
    """Yield the ratio and the milliseconds of one street, beside the paper's."""
    for suite in size.suites:
        terms = Terms(suite, size.street, RELAY, Level.V1)
        name = f"{prefix(suite)}.n{terms.n}"
        samples = []
        with street(terms) as parties:
            for number in range(size.rounds):
                samples.append(_sample(parties))
                progress(f"suite {suite}, a street of {terms.n} on sockets", number + 1, size.rounds)
        goal = GOAL_RATIO if suite == 1 else None
        yield metric(f"{name}.wall_ratio", "ratio", [one.ratio for one in samples], goal)
        yield metric(f"{name}.wall_ms", "ms", [one.agreed.wall_ms for one in samples])
        yield metric(f"{name}.primitives_ms", "ms", [one.primitives_ms for one in samples])
        yield metric(f"{name}.exchanges_ms", "ms", [one.exchanged.wall_ms for one in samples])
        yield metric(f"{name}.cpu_ms", "ms", [one.agreed.cpu_ms for one in samples])
        yield metric(f"{name}.exchanges_cpu_ms", "ms", [one.exchanged.cpu_ms for one in samples])
        if terms.n == 25:
            yield metric(f"{name}.paper001_ms", "ms", [PAPER_MS])


@dataclass(frozen=True, slots=True)
class Sample:
    """One round, the least of its tries; the primitives are those of all parties, divided by the cores."""

    agreed: "Round"
    exchanged: "Round"
    primitives_ms: float

    @property
    def ratio(self) -> float:
        return self.agreed.wall_ms / (self.primitives_ms + self.exchanged.wall_ms)


@dataclass(frozen=True, slots=True)
class Round:
    """Milliseconds from the gateway's beginning to the last member, and of all processors; sizes of what each one heard."""

    wall_ms: float
    cpu_ms: float
    sizes: Mapping[Peer, Sequence[int]]


class Parties:
    """The processes of a street, all ready."""

    def __init__(self, terms: Terms, doors: Sequence[Connection]) -> None:
        self.terms = terms
        self._doors = doors
        addresses: dict[Peer, Peer] = {}
        for door in doors:
            addresses.update(_heard(door))
        self.together(Meet(addresses))

    def together(self, order: object) -> "Round":
        """Let all processes do this once."""
        gateway, *members = self._doors
        for door in members:
            door.send(order)
        for door in members:
            _heard(door)
        gateway.send(order)
        answers: list[Done] = [_heard(door) for door in self._doors]
        (began,), *ends = (answer.times for answer in answers)
        sizes = {name: several for answer in answers for name, several in answer.sizes.items()}
        wall = max(end for several in ends for end in several) - began
        return Round(wall / 1e6, sum(answer.spent_ns for answer in answers) / 1e6, sizes)


@contextmanager
def street(terms: Terms) -> Iterator[Parties]:
    """Start the gateway and the members, these spread over as many processes as there are cores."""
    cores, names = os.cpu_count() or 1, meters(terms.n)
    shares = [[GW], *(share for at in range(cores) if (share := names[at::cores]))]
    seed, at = secrets.token_bytes(32), int(time.time())
    context = get_context("spawn")
    doors, processes = [], []
    try:
        for share in shares:
            ours, theirs = context.Pipe()
            process = context.Process(target=play, args=(Duty(terms, seed, at, share), theirs), daemon=True)
            process.start()
            theirs.close()
            doors.append(ours)
            processes.append(process)
        yield Parties(terms, doors)
    finally:
        for door in doors:
            door.close()
        for process in processes:
            process.join(5.0)
            process.kill()


def _heard(door: Connection) -> Any:
    try:
        if door.poll(PATIENCE_S):
            return door.recv()
    except EOFError:
        pass
    raise Unavailable("a process of the bench gave no answer", do="run it again on a machine that is less busy")


def _sample(parties: Parties) -> Sample:
    terms = parties.terms
    agreed, exchanged, price = [], [], prices(terms.suite)
    for _ in range(TRIES):
        agreed.append(parties.together(Agree()))
        exchanged.append(parties.together(_exchange(terms, agreed[-1].sizes)))
        again = prices(terms.suite)
        price = {operation: min(cost, again[operation]) for operation, cost in price.items()}
    roles = operations.group(terms.n)
    bare = {
        role: sum(number * price[operation] for operation, number in counts.items()) for role, counts in roles.items()
    }
    all_us = terms.n * bare["member"] + bare["gateway"]
    return Sample(_least(agreed), _least(exchanged), all_us / 1000 / (os.cpu_count() or 1))


def _least(rounds: Sequence[Round]) -> Round:
    return Round(min(one.wall_ms for one in rounds), min(one.cpu_ms for one in rounds), rounds[0].sizes)


def _exchange(terms: Terms, sizes: Mapping[Peer, Sequence[int]]) -> Exchange:
    """Return the exchanges of a run by what a member heard, and what the gateway heard of the first, middle, last round."""
    return Exchange(sizes[terms.names[0]], sizes[GW][:: terms.n])
