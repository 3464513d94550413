"""`keymote bench pairwise`: what a key costs, beside the bare primitives and the peers, all in one run.

Each round makes a new world and measures everything in turn, so that drift hits all alike; a ratio is taken within a round.
Processor time is that of this thread. Every figure of a round, ours, the peers' and the primitives', is the least of
`TRIES` tries: what else the machine does can only add to it. The floor of a figure is the specification's count of
operations (operations.toml) times the fastest vetted call of each, measured in the same round.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from keymote.bench import operations
from keymote.bench.handshakes import Cost, Handshake, least, peers
from keymote.bench.loopback import sessions_over_coap
from keymote.bench.operations import Counts
from keymote.bench.primitives import prices
from keymote.bench.report import Metric, metric
from keymote.bench.world import Host, World
from keymote.crypto.suites import suite_by_id
from keymote.transports.memory import Frame

GOAL_RATIO: Final = 1.5
GOAL_BYTES: Final = 2 / 3
TRIES: Final = 3
AT_ONCE: Final = 4
"""Pairs of devices that open a session, or newcomers that enrol, at the same time: managers serve many."""

Progress = Callable[[int, int], None]
Note = Callable[[str, float], None]
Roles = Mapping[str, Counts]


def microseconds(call: Callable[[], object]) -> float:
    """Return the processor time of this thread during one `call`."""
    started = time.thread_time_ns()
    call()
    return (time.thread_time_ns() - started) / 1000


@dataclass(slots=True)
class Bench:
    """A world with `AT_ONCE` pairs of enrolled devices, and the bytes that the first device has sent or received."""

    suite: int
    world: World
    pairs: Sequence[tuple[Host, Host]]
    octets: int = 0
    _names: Iterator[int] = field(default_factory=count)

    @classmethod
    def ready(cls, suite: int) -> "Bench":
        """Return a world whose managers have met, and whose devices have met nobody."""
        world = World(lambda _name: suite_by_id(suite))
        met = world.device("a", "nm1"), world.device("b", "nm2")
        world.open(*met, fast=False, compact=False)
        pairs = [(world.device(f"a{n}", "nm1"), world.device(f"b{n}", "nm2")) for n in range(AT_ONCE)]
        bench = cls(suite, world, pairs)
        world.network.disturb = bench._overhear
        return bench

    def _overhear(self, frame: Frame) -> Sequence[Frame]:
        if self.pairs[0][0].name in (frame.source, frame.target):
            self.octets += len(frame.data)
        return (frame,)

    def sessions(self, *, fast: bool, compact: bool) -> float:
        """Let every pair open a session at the same time; return the processor time of all nodes for one, in microseconds."""
        psids: list[bytes] = []

        def run() -> None:
            psids.extend(self.world.want(*pair, fast=fast, compact=compact) for pair in self.pairs)
            self.world.network.run()

        spent = microseconds(run) / AT_ONCE
        for psid, pair in zip(psids, self.pairs, strict=True):
            self.world.check_ready(psid, *pair)
        return spent

    def devices(self, *, fast: bool, compact: bool) -> tuple[float, int]:
        """Return a device's own processor time for a session, the mean of both roles, and its bytes on the air."""
        self.octets = 0
        hosts = [host for pair in self.pairs for host in pair]
        for host in hosts:
            host.spent_ns = 0
        self.sessions(fast=fast, compact=compact)
        return sum(host.spent_ns for host in hosts) / 1000 / len(hosts), self.octets

    def enrolments(self) -> float:
        """Let newcomers enrol at the same time; return the processor time of both sides for one, in microseconds."""
        hosts = [self.world.newcomer(f"n{next(self._names)}", "nm1") for _ in range(AT_ONCE)]
        hello = self.world.hello("nm1")

        def run() -> None:
            for host in hosts:
                self.world.network.put(Frame("nm1", host.name, hello))
            self.world.network.run()

        spent = microseconds(run) / AT_ONCE
        for host in hosts:
            host.membership()
        return spent


def run(suite: int, rounds: int, progress: Progress) -> Iterator[Metric]:
    """Measure `rounds` rounds and yield the metrics; goals are those of suite 1."""
    handshakes = peers()
    table: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        table.setdefault(name, []).append(value)

    for number in range(rounds):
        bench = Bench.ready(suite)
        gc.collect()
        gc.freeze()  # the world itself is not garbage: collections look at what the sessions leave behind
        _round(bench, handshakes, note)
        gc.unfreeze()
        progress(number + 1, rounds)
    prefix = "pairwise" if suite == 1 else f"pairwise.suite{suite}"
    goals = {
        "session.cpu_ratio": GOAL_RATIO,
        "enrolment.cpu_ratio": GOAL_RATIO,
        "device.vs_dtls_mutual_cert": GOAL_RATIO,
        "device.bytes_vs_dtls": GOAL_BYTES,
    }
    for name, values in table.items():
        yield metric(f"{prefix}.{name}", _unit(name), values, goals.get(name) if suite == 1 else None)
    rate, octets = sessions_over_coap(suite, max(2, rounds))
    yield metric(f"{prefix}.coap.session_rate", "1/s", [rate])
    yield metric(f"{prefix}.coap.session_bytes", "B", [float(octets)])


def _unit(name: str) -> str:
    last = name.rpartition(".")[2]
    if last.endswith("_us"):
        return "us"
    if last.endswith("rate"):
        return "1/s"
    return "B" if last in ("bytes", "octets") else "ratio"


def _round(bench: Bench, handshakes: Mapping[str, Handshake], note: Note) -> None:
    first = bench.sessions(fast=False, compact=False)
    bench.sessions(fast=True, compact=True)
    sessions, enrolments, price = [], [], prices(bench.suite)
    for _ in range(TRIES):
        sessions.append(bench.sessions(fast=False, compact=False))
        enrolments.append(bench.enrolments())
        again = prices(bench.suite)
        price = {name: min(price[name], again[name]) for name in price}
    for roles, name, spent in (
        (operations.session(fast=False, compact=False), "session", min(sessions)),
        (operations.enrolment(), "enrolment", min(enrolments)),
    ):
        bare = _floor(roles, price)
        note(f"{name}.cpu_ratio", spent / bare)
        note(f"{name}.cpu_us", spent)
        note(f"{name}.floor_us", bare)
        note(f"{name}.rate", 1e6 / spent)
        if name == "session":
            note("session.first_meeting.cpu_ratio", first / bare)
    costs = {name: least([handshake() for _ in range(TRIES)]) for name, handshake in handshakes.items()}
    _devices(bench, costs["dtls_mutual_cert"], price, note)
    for name, cost in costs.items():
        note(f"peer.{name}.initiator_us", cost.initiator_us)
        note(f"peer.{name}.responder_us", cost.responder_us)
        note(f"peer.{name}.bytes", cost.octets)


def _devices(bench: Bench, dtls: Cost, price: Mapping[str, float], note: Note) -> None:
    """Compare a device's own part with one side of a DTLS handshake: compact on the fast path, then with the full chain.

    Beside it stands what the specification's operations alone cost: no implementation with these libraries is below that.
    """
    for pair in bench.pairs:
        for host in pair:
            bench.world.watch(host)
    side_us = (dtls.initiator_us + dtls.responder_us) / 2
    for name, compact in (("device", True), ("device.full", False)):
        measured = [bench.devices(fast=compact, compact=compact) for _ in range(TRIES)]
        spent, octets = min(spent for spent, _ in measured), max(octets for _, octets in measured)
        roles = operations.session(fast=compact, compact=compact)
        bare = _floor({role: roles[role] for role in ("I", "R")}, price) / 2
        note(f"{name}.vs_dtls_mutual_cert", spent / side_us)
        note(f"{name}.floor_vs_dtls_mutual_cert", bare / side_us)
        note(f"{name}.bytes_vs_dtls", octets / dtls.octets)
        note(f"{name}.cpu_us", spent)
        note(f"{name}.bytes", octets)


def _floor(roles: Roles, price: Mapping[str, float]) -> float:
    """Return what the operations of all roles cost bare, in microseconds."""
    return sum(number * price[operation] for operation, number in operations.total(roles).items())
