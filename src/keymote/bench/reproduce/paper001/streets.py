"""Our engines on a street of meters that compute slowly and share one radio channel: latency, bytes, operations, state.

Nodes are those of `bench.ring` under the simulator with a pace: each operation that a metering suite sees takes the time of
the device's profile, each datagram holds the medium for its frames. What has been computed once in a world is remembered,
which changes nothing that anybody sees and lets a hundred runs fit into minutes.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from statistics import fmean, stdev
from typing import Any, Final

from keymote.bench.operations import Counts
from keymote.bench.reproduce.paper000.carrier import in_coap
from keymote.bench.reproduce.paper000.held import octets
from keymote.bench.ring import GID, GW, Cast, Terms
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.metered import MeteredSuite
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.crypto.suites import suite_by_id
from keymote.engine.base import MULTICAST, Peer, Report
from keymote.engine.group.faces import HERE, GroupReady, Level, Rekey, membership_of, ring_of
from keymote.errors import CallerFault
from keymote.lab.energy import Profile, Traffic
from keymote.lab.energy.radio import air
from keymote.lab.simulator import EPOCH, Channel, Pace, Simulator
from keymote.wire.group import EDGE, RELAY
from keymote.wire.group_fields import Cause
from keymote.wire.registry import peek

AT_ONCE: Final = Cause(4)
PAUSE_S: Final = 3.0
"""Virtual seconds between two runs of one street, in which late answers pass."""
MOST_S: Final = 120.0
Z95: Final = 1.96


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a figure: which suite on which devices, led how, over which channel."""

    name: str
    title: str
    suite: int
    meter: str
    gateway: str
    mode: int
    level: Level
    loss: float = 0.0

    @property
    def channel(self) -> Channel:
        """5 ms and up to 5 ms more on the way, which is what makes runs differ, and less than a message is on the air: one
        channel does not reorder.
        """
        return Channel(0.005, 0.005, self.loss)

    def terms(self, n: int) -> Terms:
        return Terms(self.suite, n, self.mode, self.level, multicast=True)


SERIES: Final = (
    Series(
        "suite1-v1",
        "suite 1, V1",
        1,
        "paper-001-curve25519",
        "gateway-curve25519",
        RELAY,
        Level.V1,
    ),
    Series(
        "suite1-v0",
        "suite 1, V0 in edge mode",
        1,
        "paper-001-curve25519",
        "gateway-curve25519",
        EDGE,
        Level.V0,
    ),
    Series("suite17-v1", "suite 17, V1", 17, "paper-001-p256", "gateway-p256", RELAY, Level.V1),
    Series("suite17-v0", "suite 17, V0 in edge mode", 17, "paper-001-p256", "gateway-p256", EDGE, Level.V0),
    Series("cortex-m4-v1", "suite 17, V1 on a Cortex-M4", 17, "cortex-m4", "gateway-p256", RELAY, Level.V1),
    Series(
        "suite1-v1-lossy",
        "suite 1, V1, 1 % lost",
        1,
        "paper-001-curve25519",
        "gateway-curve25519",
        RELAY,
        Level.V1,
        loss=0.01,
    ),
)
"""The lines of the figures; the last one loses datagrams."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from START to the last member's ACTIVE, over `runs`: mean, half of the 95 % interval, extremes."""

    n: int
    runs: int
    mean_ms: float
    ci95_ms: float
    least_ms: float
    most_ms: float

    @classmethod
    def of(cls, n: int, seconds: Sequence[float]) -> "Latency":
        half = Z95 * stdev(seconds) / len(seconds) ** 0.5 if len(seconds) > 1 else 0.0
        return cls(n, len(seconds), fmean(seconds) * 1e3, half * 1e3, min(seconds) * 1e3, max(seconds) * 1e3)

    def as_json(self) -> dict[str, object]:
        values = {name: round(getattr(self, name), 2) for name in ("mean_ms", "ci95_ms", "least_ms", "most_ms")}
        return {"n": self.n, "runs": self.runs, **values}


@dataclass(frozen=True, slots=True)
class Street:
    """What a street of `n` showed: latency, and of its first meter in one run operations, traffic and state in bytes.

    `on_air`: bytes of all messages of that run, each once. `sizes`: message type -> its largest.
    """

    series: Series
    latency: Latency
    operations: Counts
    traffic: Traffic
    on_air: int
    sizes: Mapping[int, int]
    state: Mapping[str, int]
    trace: str

    @property
    def carried(self) -> Traffic:
        """The traffic in its carrier, as the radio has it."""
        return Traffic(tuple(map(in_carrier, self.traffic.sent)), tuple(map(in_carrier, self.traffic.received)))


@cache
def in_carrier(size: int) -> int:
    """Return the UDP payload that a message of this size makes: CoAP with its options, in one piece as NON is."""
    return in_coap(Traffic((min(size, 512),))).sent[0] + max(0, size - 512)


# ------------------------------------------------------------------ a world


class _Remembering:
    """A group that computes nothing twice."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self.point_size, self.order, self.generator = group.point_size, group.order, group.generator
        for name in ("check", "check_scalar", "hash_to_scalar", "add", "sub"):
            setattr(self, name, lru_cache(8192)(getattr(group, name)))
        self._mul = lru_cache(8192)(lambda k, P: group.mul(Secret(k), P))

    def mul(self, k: Secret, P: Any) -> Any:
        return self._mul(k.expose(), P)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._group, name)


class _RememberingKeys:
    """A signature scheme that judges a signature once."""

    def __init__(self, scheme: Any) -> None:
        self._scheme = scheme
        self.verifier = lru_cache(8192)(lambda encoding: lru_cache(256)(scheme.verifier(encoding)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheme, name)


@dataclass(slots=True)
class World:
    """A street under the simulator. `computed`: operations by node; `readied`: when each member was done with its newest run."""

    series: Series
    n: int
    sim: Simulator
    computed: Mapping[Peer, Counter[str]]
    names: Sequence[Peer]
    readied: dict[str, float] = field(default_factory=dict)

    def hear(self, name: str, report: Report) -> None:
        if isinstance(report, GroupReady):
            assert self.sim.pace is not None
            self.readied[name] = self.sim.pace.done_at(name, self.sim.now)

    def run(self, look: Callable[[], None] = lambda: None) -> float:
        """Begin a run and return the seconds until the last member is ACTIVE; `look` is called before each event.

        CallerFault when that never comes.
        """
        self.readied.clear()
        begun = self.sim.now
        self.sim.command(GW, ring_of(GID), Rekey(AT_ONCE))

        def reached() -> bool:
            look()
            return len(self.readied) == self.n

        if not self.sim.run_until(reached, MOST_S):
            raise CallerFault(f"{self.series.name}: {len(self.readied)} of {self.n} agree after {MOST_S:g} s")
        return max(self.readied.values()) - begun

    def rest(self) -> None:
        """Let everybody finish and late answers pass."""
        assert self.sim.pace is not None
        done = max(self.sim.pace.done_at(name, self.sim.now) for name in self.computed)
        self.sim.run_for(done - self.sim.now + PAUSE_S)


def world(series: Series, n: int, devices: Mapping[str, Profile], seed: bytes) -> World:
    """Return a street that has agreed once."""
    terms = series.terms(n)
    base = suite_by_id(series.suite)
    once: Suite = replace(base, group=_Remembering(base.group), signatures=_RememberingKeys(base.signatures))
    meters: dict[Peer, MeteredSuite] = {}

    def suite_of(name: Peer) -> Suite:
        return meters.setdefault(name, MeteredSuite(once))

    entropy = SeededEntropy(seed).fork(f"{series.name} {n}")
    cast = Cast(terms, suite_of, entropy, EPOCH)
    sim = Simulator(entropy.draw(32), channel=series.channel)
    profile_of = {name: devices[series.gateway if name == GW else series.meter] for name in (GW, *terms.names)}
    labour = _Labour(meters, profile_of)
    sim.pace = Pace(labour, _airtime)
    made = World(series, n, sim, labour.totals, (*terms.names, *([GW] if terms.mode == EDGE else [])))
    sim.hear = made.hear
    for name in (GW, *terms.names):
        sim.add(name, _builder(cast, name), segment=GW)
    for name in terms.names:
        sim.command(name, membership_of(GID), cast.joining(name, GW))
    if terms.mode == EDGE:
        sim.command(GW, membership_of(GID), cast.joining(GW, HERE))
    addresses: dict[Peer, Peer] = {name: name for name in terms.names} | ({GW: HERE} if terms.mode == EDGE else {})
    sim.command(GW, ring_of(GID), cast.forming(addresses))
    if not sim.run_until(lambda: len(made.readied) == n, MOST_S):
        raise CallerFault(f"{series.name}: {len(made.readied)} of {n} formed a ring in {MOST_S:g} s")
    made.rest()
    return made


def _builder(cast: Cast, name: Peer) -> Any:
    return lambda: cast.node(name)


class _Labour:
    """Seconds that each node has computed since it was asked last, by its profile."""

    def __init__(self, meters: Mapping[Peer, MeteredSuite], profile_of: Mapping[Peer, Profile]) -> None:
        self._meters, self._profile_of = meters, profile_of
        self.totals = {name: Counter[str]() for name in profile_of}

    def __call__(self, name: str) -> float:
        counts = self._meters[name].counts
        if not counts:
            return 0.0
        spent = self._profile_of[name].seconds(priced(counts))
        self.totals[name].update(counts)
        counts.clear()
        return spent


def priced(counts: Mapping[str, int]) -> Counts:
    """Return metered counts under the names that profiles price; making a signing key again costs what keeping it would."""
    found = Counts()
    names = {"aead_seal": "aead", "aead_open": "aead", "verify_key": "key_check"}
    for name, number in counts.items():
        if name != "keygen":
            found[names.get(name, name)] += number
    return found


def _airtime(size: int) -> float:
    """Return for how long a message holds an IEEE 802.15.4 channel: its frames with 6LoWPAN headers at 250 kbit/s."""
    return air(in_carrier(size)).octets * 8 / 250_000


# ------------------------------------------------------------------ a street measured


def measure(series: Series, n: int, runs: int, devices: Mapping[str, Profile], seed: bytes) -> Street:
    """Let a street of `n` agree again and again, and look closely at its first meter in the first of these runs."""
    made = world(series, n, devices, seed)
    first = made.names[0]
    before, said = made.computed[first].copy(), len(made.sim.air)
    peak = 0

    def look() -> None:
        nonlocal peak
        peak = max(peak, octets(made.sim.hosts[first].cells.get(membership_of(GID))))

    seconds = [made.run(look)]
    made.rest()
    operations = priced(made.computed[first] - before)
    heard = made.sim.air[said:]
    traffic = Traffic(
        tuple(len(d.data) for d in heard if d.source == first),
        tuple(len(d.data) for d in heard if d.target == first or (d.target == MULTICAST and d.source != first)),
    )
    sizes: dict[int, int] = {}
    for datagram in heard:
        mt, _ = peek(datagram.data)
        sizes[mt] = max(sizes.get(mt, 0), len(datagram.data))
    host = made.sim.hosts[first]
    state = {
        "record": sum(len(row.record) for row in host.disk.values()),
        "active": octets(host.cells.get(membership_of(GID))),
        "peak": peak,
    }
    made.sim.recording = False  # nobody looks at the further runs but for their time
    for _ in range(runs - 1):
        seconds.append(made.run())
        made.rest()
    return Street(
        series,
        Latency.of(n, seconds),
        operations,
        traffic,
        sum(len(d.data) for d in heard),
        sizes,
        state,
        made.sim.trace,
    )
