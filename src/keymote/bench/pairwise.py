"""`keymote bench pairwise`: what a key costs, beside the bare primitives and the peers, all in one run.

Each round measures everything once, one after the other, so that drift hits all alike; a ratio is taken within a round.
Processor time is that of this thread. The floor of a figure is the specification's count of operations (operations.toml)
times the fastest vetted call of each, measured in the same round.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from keymote.bench import operations
from keymote.bench.handshakes import Cost, peers
from keymote.bench.loopback import sessions_over_coap
from keymote.bench.operations import Counts
from keymote.bench.primitives import prices
from keymote.bench.report import Metric, metric
from keymote.bench.world import Host, World
from keymote.crypto.suites import suite_by_id
from keymote.engine.member import MOST_SESSIONS
from keymote.transports.memory import Frame

GOAL_RATIO: Final = 1.5
GOAL_BYTES: Final = 2 / 3
SESSIONS: Final = 5
"""Sessions of each kind in a round."""
ENROLMENTS: Final = 3

Progress = Callable[[int, int], None]


def microseconds(call: Callable[[], object]) -> float:
    """Return the processor time of this thread during one `call`."""
    started = time.thread_time_ns()
    call()
    return (time.thread_time_ns() - started) / 1000


def floor(roles: Mapping[str, Counts], price: Mapping[str, float]) -> float:
    """Return what the operations of all roles cost bare, in microseconds."""
    return sum(number * price[operation] for operation, number in operations.total(roles).items())


@dataclass(slots=True)
class Bench:
    """Two enrolled devices of two managers that have met, and what is counted about the first device."""

    suite: int
    world: World
    one: Host
    other: Host
    octets: int = 0
    newcomers: int = 0
    opened: int = 0

    @classmethod
    def ready(cls, suite: int) -> "Bench":
        """Return a world in which everything has happened once, so that nothing is loaded while it is measured."""
        world = World(lambda _name: suite_by_id(suite))
        bench = cls(suite, world, world.device("d1", "nm1"), world.device("d2", "nm2"))
        world.network.disturb = bench._overhear
        bench.sessions(1, fast=False, compact=False)
        bench.sessions(1, fast=True, compact=True)
        return bench

    def _overhear(self, frame: Frame) -> Sequence[Frame]:
        if self.one.name in (frame.source, frame.target):
            self.octets += len(frame.data)
        return (frame,)

    def sessions(self, number: int, *, fast: bool, compact: bool) -> float:
        """Open sessions and return the processor time of all four nodes for each, in microseconds."""
        self.opened += number
        if self.opened > MOST_SESSIONS:
            self._replace_devices(number)
        psids: list[bytes] = []

        def run() -> None:
            psids.extend(self.world.open(self.one, self.other, fast=fast, compact=compact) for _ in range(number))

        spent = microseconds(run) / number
        for psid in psids:
            self.world.check_ready(psid, self.one, self.other)
        return spent

    def _replace_devices(self, number: int) -> None:
        """Go on with new devices before a manager has to end the oldest sessions, which is not what is measured."""
        self.newcomers += 2
        self.one = self.world.device(f"a{self.newcomers}", "nm1")
        self.other = self.world.device(f"b{self.newcomers}", "nm2")
        self.opened = number

    def device(self, number: int, *, fast: bool, compact: bool) -> tuple[float, int]:
        """Return one device's own processor time and bytes on the air for a session: the mean of both roles' times."""
        if self.opened + number > MOST_SESSIONS:
            self._replace_devices(0)
        self.octets = 0
        for host in (self.one, self.other):
            host.spent_ns = 0
        self.sessions(number, fast=fast, compact=compact)
        return (self.one.spent_ns + self.other.spent_ns) / 2000 / number, self.octets // number

    def enrolments(self, number: int) -> float:
        """Enrol devices and return the processor time of both sides for each, in microseconds."""
        spent = 0.0
        for _ in range(number):
            self.newcomers += 1
            host = self.world.newcomer(f"n{self.newcomers}", "nm1")
            hello = self.world.hello("nm1")
            spent += microseconds(lambda host=host, hello=hello: self.world.enrol(host, "nm1", hello))  # type: ignore[misc]  # bound now
            host.membership()
        return spent / number


def run(suite: int, rounds: int, progress: Progress) -> Iterator[Metric]:
    """Measure `rounds` rounds and yield the metrics; goals are those of suite 1."""
    bench, handshakes = Bench.ready(suite), peers()
    for handshake in handshakes.values():
        handshake()
    table: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        table.setdefault(name, []).append(value)

    for number in range(rounds):
        _round(bench, handshakes, note)
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
    rate, octets = sessions_over_coap(suite, SESSIONS * max(1, rounds // 4))
    yield metric(f"{prefix}.coap.session_rate", "1/s", [rate])
    yield metric(f"{prefix}.coap.session_bytes", "B", [float(octets)])


def _unit(name: str) -> str:
    last = name.rpartition(".")[2]
    if last.endswith("_us"):
        return "us"
    if last.endswith("rate"):
        return "1/s"
    return "B" if last in ("bytes", "octets") else "ratio"


def _round(bench: Bench, handshakes: Mapping[str, Callable[[], Cost]], note: Callable[[str, float], None]) -> None:
    before = prices(bench.suite)
    session = bench.sessions(SESSIONS, fast=False, compact=False)
    enrolment = bench.enrolments(ENROLMENTS)
    compact_us, octets = bench.device(SESSIONS, fast=True, compact=True)
    full_us, full_octets = bench.device(SESSIONS, fast=False, compact=False)
    costs = {name: handshake() for name, handshake in handshakes.items()}
    after = prices(bench.suite)
    price = {name: min(before[name], after[name]) for name in before}
    bare_session = floor(operations.session(fast=False, compact=False), price)
    bare_enrolment = floor(operations.enrolment(), price)
    dtls = costs["dtls_mutual_cert"]
    dtls_us = (dtls.initiator_us + dtls.responder_us) / 2
    note("session.cpu_ratio", session / bare_session)
    note("enrolment.cpu_ratio", enrolment / bare_enrolment)
    note("device.vs_dtls_mutual_cert", compact_us / dtls_us)
    note("device.bytes_vs_dtls", octets / dtls.octets)
    note("device.full.vs_dtls_mutual_cert", full_us / dtls_us)
    note("device.full.bytes_vs_dtls", full_octets / dtls.octets)
    note("session.cpu_us", session)
    note("session.floor_us", bare_session)
    note("session.rate", 1e6 / session)
    note("enrolment.cpu_us", enrolment)
    note("enrolment.floor_us", bare_enrolment)
    note("enrolment.rate", 1e6 / enrolment)
    note("device.cpu_us", compact_us)
    note("device.full.cpu_us", full_us)
    note("device.bytes", octets)
    note("device.full.bytes", full_octets)
    for name, cost in costs.items():
        note(f"peer.{name}.initiator_us", cost.initiator_us)
        note(f"peer.{name}.responder_us", cost.responder_us)
        note(f"peer.{name}.bytes", cost.octets)
