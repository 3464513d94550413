"""Our own engines in the simulator: every datagram of a device by phase, the operations that it called, what it keeps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from keymote.bench import operations
from keymote.bench.operations import Counts
from keymote.bench.reproduce.paper000.held import identities, octets
from keymote.bench.reproduce.paper000.scheme import AUTHENTICATION, ENROLMENT, SESSION_KEY
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.metered import MeteredSuite
from keymote.engine.base import MULTICAST
from keymote.engine.chain import Trust
from keymote.engine.faces import OWN_ENROLMENT, session_of
from keymote.errors import CallerFault
from keymote.lab.energy import Traffic
from keymote.lab.scene_founding import two_operators
from keymote.lab.scenes import Scene
from keymote.lab.simulator import Datagram
from keymote.wire.pairwise import Fin1, Fin2, Keyreq, Keyresp, Link
from keymote.wire.registry import peek

DEVICE: Final = "d1"
PEER: Final = "d2"
MOST_S: Final = 60.0
"""Virtual seconds within which a session opens."""


@dataclass(frozen=True, slots=True)
class Path:
    """How a session is opened: whether the managers push their shares, and vouch for the peer's key."""

    fast: bool
    compact: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """One device that enrolled and opened one session.

    `called` holds the operations of `bench/operations.toml` that a metering suite saw, by part; `held` the bytes of its
    durable records and of its session: open, and at its largest on the way.
    """

    traffic: Mapping[str, Traffic]
    called: Mapping[str, Counts]
    durable: Mapping[str, int]
    session_open: int
    session_peak: int
    trace: str

    def excess(self, path: Path, *, has_map: bool) -> Mapping[str, Counts]:
        """Return what was called more often than the specification prescribes; empty as long as all is well."""
        prescribed = {
            ENROLMENT: operations.enrolment()["device"],
            "session": operations.session(fast=path.fast, compact=path.compact)["I"],
        }
        return {
            part: over
            for part, counts in prescribed.items()
            if (over := self.called[part] - operations.as_metered(counts, has_map=has_map))
        }


def measure(seed: bytes, suite: int, path: Path) -> Measured:
    """Let a device enrol and open a session as initiator with a device of another operator, whose managers have met.

    Raises:
        CallerFault: it did not come to that, which no seed should bring about on a channel without loss.
    """
    homes = {DEVICE: "nm1", PEER: "nm2", "d3": "nm1"}
    scene = two_operators(seed, suite=suite, homes=homes, accept_compact=True, enrolled=False)
    meter = _metered(scene, seed)
    scene.enrol(PEER, "d3")
    scene.open("d3", PEER)
    meter.counts.clear()
    begun = len(scene.sim.air)
    scene.enrol(DEVICE)
    enrolment, called = _traffic(_of_device(scene.sim.air[begun:])), {ENROLMENT: _taken(meter)}
    durable = {key.kind: len(row.record) for key, row in sorted(scene.sim.hosts[DEVICE].disk.items())}
    begun = len(scene.sim.air)
    opened, peak = _opened(scene, path)
    called["session"] = _taken(meter)
    by_phase = dict(_divided(list(_of_device(scene.sim.air[begun:]))))
    return Measured({ENROLMENT: enrolment, **by_phase}, called, durable, opened, peak, scene.sim.trace)


def _metered(scene: Scene, seed: bytes) -> MeteredSuite:
    """Give the device a suite that counts, for its own operations and for the signatures that it checks."""
    context = scene.devices[DEVICE]
    meter = MeteredSuite(scene.suite)
    scene.devices[DEVICE] = replace(
        context,
        suite=meter,
        signing=meter.generate_signing_key(SeededEntropy(seed).fork("metered")),
        trust=Trust(context.trust.pins, {meter.id: meter}),
    )
    scene.sim.reboot(DEVICE)
    return meter


def _taken(meter: MeteredSuite) -> Counts:
    """Return and forget what was counted, sealing and opening as one."""
    counts = meter.counts.copy()
    meter.counts.clear()
    counts["aead"] = counts.pop("aead_seal", 0) + counts.pop("aead_open", 0)
    return +counts


def _opened(scene: Scene, path: Path) -> tuple[int, int]:
    """Open a session; return the bytes of its cell when it is open, and the most that it held on the way."""
    host = scene.sim.hosts[DEVICE]
    kept = identities(host.cells[OWN_ENROLMENT])
    psid = scene.ask(DEVICE, PEER, fast=path.fast, compact=path.compact)
    held: list[int] = []

    def both_ready() -> bool:
        held.append(octets(host.cells.get(session_of(psid)), kept))
        return all(scene.ready(name, psid) for name in (DEVICE, PEER))

    if not scene.sim.run_until(both_ready, MOST_S):
        raise CallerFault(f"no session within {MOST_S} s")
    return held[-1], max(held)


def _of_device(air: Iterable[Datagram]) -> Iterator[Datagram]:
    return (each for each in air if DEVICE in (each.source, each.target) and each.target != MULTICAST)


def _traffic(datagrams: Iterable[Datagram]) -> Traffic:
    taken = list(datagrams)
    return Traffic(
        tuple(len(each.data) for each in taken if each.source == DEVICE),
        tuple(len(each.data) for each in taken if each.target == DEVICE),
    )


def _divided(datagrams: Sequence[Datagram]) -> Iterator[tuple[str, Traffic]]:
    """Yield the initiator's datagrams by phase.

    A3, A4 and FIN carry and confirm the key. Of LINK records, whose content nobody else can read, the first each way are
    SESSREQ and PEERCRED, and all later ones SHREQ and SHRESP (Triad-1 2.6; on the fast path SHRESP comes before A3).
    """
    key: list[Datagram] = []
    authentication: list[Datagram] = []
    links_from: set[str] = set()
    for each in datagrams:
        mt, _ = peek(each.data)
        of_key = mt in (Keyreq.mt, Keyresp.mt, Fin1.mt, Fin2.mt) or (mt == Link.mt and each.source in links_from)
        if mt == Link.mt:
            links_from.add(each.source)
        (key if of_key else authentication).append(each)
    yield AUTHENTICATION, _traffic(authentication)
    yield SESSION_KEY, _traffic(key)
