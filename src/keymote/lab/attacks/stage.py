"""Worlds to attack in, and what an adversary can do there: listen, hold, change, inject, own a node.

A `Stage` is a scene of the simulator with an antenna. Mallory's rules see each datagram first; whatever they return
travels on. Owning a node means reading its cells and speaking with its keys: insiders and rogue managers are played so,
by the very engines with one lie in them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Final

from keymote import cbor
from keymote.crypto.secret import Secret
from keymote.engine.base import CellKey, Peer, Refused, Send, Told
from keymote.engine.faces import ExpectDevice, SessionClosed, SessionKeys, enrolment_of
from keymote.engine.link_faces import SealBody
from keymote.errors import PeerFault
from keymote.lab.attacks.catalogue import Effort
from keymote.lab.scene_founding import HOMES, two_operators
from keymote.lab.scenes import Scene, identity
from keymote.lab.simulator import Datagram
from keymote.wire.registry import peek

WAIT_S: Final = 1.5
"""Long enough for every answer of a world without loss, short enough that nobody repeats anything (2 s)."""

Rule = Callable[[Datagram], Iterable[Datagram] | None]
"""Says what becomes of a datagram; None: not my business."""


def meeting(effort: Effort, *, suite: int = 1, homes: Mapping[str, str] = HOMES, enrolled: bool = True) -> Scene:
    """Return a world of two operators with the devices of `homes`."""
    return two_operators(effort.seed, suite=suite, homes=homes, enrolled=enrolled)


def label(scene: Scene, name: str) -> Secret:
    """Give a device a label and return PRS: what whoever read the label knows."""
    prs = scene.label(name)
    assert prs is not None, "the world's managers are up"
    return prs


def expect(scene: Scene, name: str, code: bytes, *, weak: bool = False) -> Secret:
    """Let a device's manager expect `code`, of which the device itself knows nothing; return PRS."""
    prs = Secret(cbor.encode([code, b""]))
    scene.sim.command(scene.homes[name], enrolment_of(identity(name)), ExpectDevice(identity(name), prs, weak))
    return prs


def type_of(data: bytes) -> int:
    """Return the message type of a datagram, -1 for junk."""
    try:
        return peek(data)[0]
    except PeerFault:
        return -1


@dataclass(slots=True)
class Mallory:
    """An adversary on the air of one scene. `held` keeps what her rules took away, in order."""

    scene: Scene
    rules: list[Rule] = field(default_factory=list)
    held: list[Datagram] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scene.sim.adversary = self._decide

    def _decide(self, datagram: Datagram) -> Iterable[Datagram]:
        for rule in self.rules:
            decided = rule(datagram)
            if decided is not None:
                return decided
        return (datagram,)

    def hold(self, mt: int, *, source: Peer | None = None, target: Peer | None = None) -> None:
        """From now on take datagrams of this type off the air and keep them."""

        def rule(datagram: Datagram) -> Iterable[Datagram] | None:
            wanted = type_of(datagram.data) == mt and source in (None, datagram.source)
            if not (wanted and target in (None, datagram.target)):
                return None
            self.held.append(datagram)
            return ()

        self.rules.append(rule)

    def take(self, mt: int, *, source: Peer | None = None, within_s: float = WAIT_S) -> bytes:
        """Return the next datagram of this type that is held; let time pass until it is there."""

        def found() -> Iterator[Datagram]:
            return (d for d in self.held if type_of(d.data) == mt and source in (None, d.source))

        if not self.scene.sim.run_until(lambda: any(True for _ in found()), within_s):
            raise LookupError(f"nobody sent a message of type {mt} within {within_s} s")
        first = next(found())
        self.held.remove(first)
        return first.data

    def release(self) -> None:
        """Let everything pass again; what is held stays held."""
        self.rules.clear()

    def send(self, source: Peer, target: Peer, data: bytes) -> "Reaction":
        """Inject a datagram in anybody's name and watch how its target takes it."""
        return self.watch(target, lambda: self.scene.sim.inject(source, target, data))

    def watch(self, name: str, act: Callable[[], object], for_s: float = 0.1) -> "Reaction":
        """Do something and return what the node `name` refused, reported and sent meanwhile."""
        host, sim = self.scene.sim.hosts[name], self.scene.sim
        before, said = len(host.reports), len(sim.air)
        act()
        sim.run_for(for_s)
        reports = [report for _, _, report in host.reports[before:]]
        sent = [datagram.data for datagram in sim.air[said:] if datagram.source == host.address]
        return Reaction(
            tuple(report for report in reports if isinstance(report, Refused)),
            tuple(report for report in reports if isinstance(report, SessionClosed)),
            tuple(sent),
        )

    def speaks_for(self, owned: str, link: CellKey, body: bytes) -> "Reaction":
        """Say `body` inside a link of a node that she owns, with its keys; return how the other end takes it."""
        sim = self.scene.sim
        host = sim.hosts[owned]
        done = host.step(link, Told(SealBody(body)), sim.now)
        (record,) = (effect for _, effect in done.effects if isinstance(effect, Send))
        target = next(name for name, each in sim.hosts.items() if each.address == record.peer)
        return self.watch(target, lambda: sim.inject(host.address, record.peer, record.data))


@dataclass(frozen=True, slots=True)
class Reaction:
    """How a node took something: refusals, sessions that ended, datagrams that it sent."""

    refusals: tuple[Refused, ...]
    closed: tuple[SessionClosed, ...]
    sent: tuple[bytes, ...]

    def stopped(self) -> tuple[str, str] | None:
        """Return the name of the error that refused the input and what it said; None when nothing was refused."""
        if self.refusals:
            return self.refusals[0].code.name, self.refusals[0].what
        for closed in self.closed:
            if closed.code is not None:
                return closed.code.name, closed.why
        return None

    def types(self) -> tuple[int, ...]:
        """Return the types of what was sent."""
        return tuple(map(type_of, self.sent))


def secrets_in(value: object) -> Iterator[bytes]:
    """Yield the bytes of every `Secret` inside a cell or report."""
    if isinstance(value, Secret):
        yield value.expose()
    elif is_dataclass(value) and not isinstance(value, type):
        for entry in fields(value):
            yield from secrets_in(getattr(value, entry.name))
    elif isinstance(value, tuple | list):
        for each in value:
            yield from secrets_in(each)


def everything_known(scene: Scene) -> list[bytes]:
    """Return every secret of a world that is at least 8 bytes long: codes, keys in cells, exports, ephemerals."""
    found = {code.expose() for code in scene.codes.values()} | set(scene.witness.scalars)
    for context in scene.devices.values():
        found.add(context.signing.seed.expose())
    for host in scene.sim.hosts.values():
        for cell in host.cells.values():
            found.update(secrets_in(cell))
        for _, _, report in host.reports:
            keys = getattr(report, "keys", None)
            if isinstance(keys, SessionKeys):
                found.update(secrets_in(keys))
    return sorted(value for value in found if len(value) >= 8)
