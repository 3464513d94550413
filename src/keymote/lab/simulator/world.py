"""The simulator: nodes, the air between them, the services they ask, and one clock that jumps from event to event.

Same seed, same calls: same bytes, same order, same `trace`. Nothing here waits, and nothing runs unless it is told to.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from keymote.crypto.entropy import SeededEntropy
from keymote.engine.base import MULTICAST, Answer, Ask, CellKey, Command, Due, Failed, Item, Peer, Report, Send
from keymote.errors import CallerFault, KeymoteError, PeerFault
from keymote.lab.simulator.host import ROUTE, Build, Done, Host, PowerLoss, Quartz, Row
from keymote.lab.simulator.network import Adversary, Channel, Datagram, Dice, passive
from keymote.lab.simulator.pace import Pace
from keymote.lab.simulator.reach import Reach
from keymote.lab.simulator.timeline import Arrival, Deadline, Departure, Event, PowerOn, Return, Timeline
from keymote.lab.simulator.witness import Witness
from keymote.wire.registry import peek

SERVICE_S: Final = 0.02
"""How long a service takes to answer, in seconds."""
GIVES_UP_S: Final = 10.0
"""After which a reliable channel says `Failed`."""
AGAIN_S: Final = 1.0
"""Pause before a cell whose deadline stayed in the past hears `Due` once more."""
MOST_EVENTS: Final = 200_000
"""Events in one call of `run_until`, unless a world says otherwise: more means that the nodes talk in circles."""

Answerer = Callable[[str, object], object | None]
"""`(name of the node, query)`: the services around it. None: no answer comes. A KeymoteError raised is the answer."""

Listener = Callable[[str, Report], None]
"""`(name of the node, report)`: the services around it hear what its application hears."""

R = TypeVar("R", bound=Report)


@dataclass(frozen=True, slots=True)
class Harvest:
    """What has become of some nodes of a world by virtual time `now`: name -> cells and disk; and all that they have sent."""

    now: float
    states: dict[str, tuple[dict[CellKey, Any], dict[CellKey, Row]]]
    messages: Counter[tuple[str, int]]
    octets: Counter[tuple[str, int]]


class Simulator:
    """A world. `channel` is the air where `channels[source, target]` says nothing else; both may change at any time.

    `recording` False: neither `air` nor `trace` nor the disks' journals are kept, for worlds of thousands of nodes.
    """

    def __init__(
        self, seed: bytes, *, channel: Channel | None = None, answer: Answerer | None = None, recording: bool = True
    ) -> None:
        self._seed = SeededEntropy(seed)
        self._dice = Dice(self._seed.fork("dice"))
        self.now = 0.0
        self.channel = channel or Channel()
        self.channels: dict[tuple[Peer, Peer], Channel] = {}
        self.answer: Answerer = answer or _nobody_answers
        self.hear: Listener = _nobody_listens
        self.witness = Witness()
        self.adversary: Adversary = passive
        self.pace: Pace | None = None
        """Set before the first event: how long nodes compute and datagrams hold the medium; None: neither takes time."""
        self.most_events = MOST_EVENTS
        self.hosts: dict[str, Host] = {}
        self.reach = Reach(self.hosts)
        self.air: list[Datagram] = []
        """Every datagram that was sent, in order: what somebody with an antenna has recorded."""
        self.messages: Counter[tuple[str, int]] = Counter()
        """(node, message type) -> datagrams sent."""
        self.octets: Counter[tuple[str, int]] = Counter()
        """(node, message type) -> bytes sent, headers of lower layers not counted."""
        self.recording = recording
        self._timeline = Timeline()
        self._digest = hashlib.sha256()

    @property
    def trace(self) -> str:
        """Return the hash over everything that has happened so far."""
        return self._digest.hexdigest()

    # ------------------------------------------------------------------ nodes and their power

    def add(
        self,
        name: str,
        build: Build,
        *,
        segment: str = "",
        quartz: Quartz | None = None,
        at_boot: Sequence[tuple[CellKey, Command]] = (),
    ) -> Host:
        """Put a node into the world and boot it. It hears multicasts of others in the same `segment`.

        `at_boot`: what its application says to its cells after each start.
        """
        if name in self.hosts:
            raise CallerFault(f"there is a node {name!r} already")
        host = Host(name, build, self._seed.fork(f"host {name}"), quartz or Quartz())
        self.hosts[name] = host
        self.reach.segments[name] = segment
        host.at_boot = tuple(at_boot)
        host.recording = self.recording
        self._boot(host)
        return host

    def reboot(self, name: str, down_s: float = 0.0) -> None:
        """Cut the power of a node; it comes back after `down_s` with what its disk holds."""
        host = self.hosts[name]
        host.lose_power()
        if down_s > 0.0:
            self._timeline.push(self.now + down_s, PowerOn(name, host.boots))
        else:
            self._boot(host)

    def restore(self, name: str, disk: dict[CellKey, Row]) -> None:
        """Start a node again from a copy of its disk, as after `keymote manager restore`."""
        host = self.hosts[name]
        host.lose_power()
        host.disk = dict(disk)
        self._boot(host)

    def harvest(self, names: Sequence[str]) -> "Harvest":
        """Return what has become of some nodes, for the process that this one was forked from."""
        states = {name: (self.hosts[name].cells, self.hosts[name].disk) for name in names}
        wanted = frozenset(names)
        messages = Counter({kind: count for kind, count in self.messages.items() if kind[0] in wanted})
        octets = Counter({kind: count for kind, count in self.octets.items() if kind[0] in wanted})
        return Harvest(self.now, states, messages, octets)

    def adopt(self, harvest: "Harvest") -> None:
        """Go on where some nodes have come to in another process; meanwhile nobody here may have heard of them."""
        self.now = max(self.now, harvest.now)
        for name, (cells, disk) in harvest.states.items():
            self.hosts[name].adopt(cells, disk)
            for key in cells:
                self._arm(self.hosts[name], key)
        for mine, theirs in ((self.messages, harvest.messages), (self.octets, harvest.octets)):
            for kind, count in theirs.items():
                mine[kind] = count

    def set_clock(self, name: str, quartz: Quartz) -> None:
        """Give a running node other clocks."""
        host = self.hosts[name]
        host.quartz = quartz
        for key in host.cells:
            self._arm(host, key)

    # ------------------------------------------------------------------ acting

    def command(self, name: str, key: CellKey, command: Command) -> Sequence[Report]:
        """Let the application of a node say something to one of its cells; return what it hears in the same step.

        A node whose fuse burns meanwhile says nothing: it is down, and comes back at once.
        """
        done = self._run(self.hosts[name], key, command)
        return [effect for _, effect in done.effects if isinstance(effect, Report)]

    def inject(self, source: Peer, target: Peer, data: bytes, *, after_s: float = 0.0) -> None:
        """Let an adversary send a datagram in anybody's name; it arrives."""
        datagram = Datagram(self.now, source, target, data)
        for name in self.reach.hearers(datagram):
            self._timeline.push(self.now + after_s, Arrival(name, datagram))

    def transmit(self, name: str, target: Peer, data: bytes) -> None:
        """Let the application of a node send bytes of its own, such as a record, through the air."""
        if self.hosts[name].up:
            self._send(self.hosts[name], ROUTE, target, data, 0)

    # ------------------------------------------------------------------ time

    def run_for(self, seconds: float) -> None:
        """Let `seconds` of virtual time pass."""
        self.run_until(lambda: False, seconds)

    def run_until(self, reached: Callable[[], bool], within_s: float) -> bool:
        """Run events until `reached()` or until `within_s` of virtual time have passed; return whether it was reached.

        Raises:
            RuntimeError: `most_events` were not enough.
        """
        end = self.now + within_s
        for _ in range(self.most_events):
            if reached():
                return True
            upcoming = self._timeline.pop(end)
            if upcoming is None:
                self.now = end
                return False
            self._next(*upcoming)
        raise RuntimeError(f"{self.most_events} events within {within_s} s: the nodes talk in circles")

    # ------------------------------------------------------------------ looking

    def heard(self, name: str, kind: type[R]) -> list[R]:
        """Return every report of this type that the application of a node was told."""
        return [report for _, _, report in self.hosts[name].reports if isinstance(report, kind)]

    def fork(self, label: str) -> "Simulator":
        """Return a copy of this world whose future is its own; `label` names its dice and its nodes' new entropy."""
        seed = self._seed.fork(f"fork {label}")
        twin = Simulator(b"", channel=self.channel, answer=self.answer)
        twin._seed, twin._dice = seed, Dice(seed.fork("dice"))
        twin.now, twin._timeline = self.now, self._timeline.copy()
        twin.adversary, twin.hear, twin.witness = self.adversary, self.hear, self.witness
        twin.pace = None if self.pace is None else self.pace.copy()
        twin.channels, twin.reach = dict(self.channels), self.reach.copy(twin.hosts)
        twin.recording, twin.air = self.recording, list(self.air)
        twin.messages, twin.octets = Counter(self.messages), Counter(self.octets)
        twin._digest = self._digest.copy()
        for name, host in self.hosts.items():
            twin.hosts[name] = host.copy(seed.fork(f"host {name}"))
        return twin

    # ------------------------------------------------------------------ events

    def _next(self, at: float, event: Event) -> None:
        self.now = max(self.now, at)
        match event:
            case Arrival(target, datagram):
                self._deliver(target, datagram)
            case Deadline(name, key):
                self._wake(self.hosts[name], key, at)
            case Return(name, boot, key, item):
                host = self.hosts[name]
                if host.up and host.boots == boot and host.get(key) is not None:
                    self._run(host, key, item)
            case Departure(name, boot, key, datagram, ref):
                host = self.hosts[name]
                if host.up and host.boots == boot:
                    assert self.pace is not None
                    self._launch(host, key, datagram, ref, self.pace.carried(len(datagram.data), self.now))
            case PowerOn(name, boot):
                host = self.hosts[name]
                if not host.up and host.boots == boot:
                    self._boot(host)

    def _boot(self, host: Host) -> None:
        host.boot(self.now)
        self._note(host.name, "boot", b"")
        for key in host.cells:
            self._arm(host, key)
        for key, command in host.at_boot:
            self._run(host, key, command)

    def _arm(self, host: Host, key: CellKey) -> None:
        due = host.due_at(key)
        if due is not None:
            self._timeline.set_alarm(host.name, key, max(due, self.now))

    def _wake(self, host: Host, key: CellKey, alarm: float) -> None:
        """Say Due to a cell whose time has come, unless the alarm was set anew meanwhile."""
        if not self._timeline.take_alarm(host.name, key, alarm):
            return
        due = host.due_at(key) if host.up else None
        if due is None:
            return
        if due > self.now:
            self._timeline.set_alarm(host.name, key, due)
            return
        self._run(host, key, Due())
        if host.due_at(key) == due:
            self._timeline.set_alarm(host.name, key, self.now + AGAIN_S)

    def _deliver(self, name: str, datagram: Datagram) -> None:
        host = self.hosts[name]
        if host.up:
            self._note(name, f"from {datagram.source}", datagram.data)
            self._unit(host, lambda: host.receive(datagram.source, datagram.data, self.now))

    def _run(self, host: Host, key: CellKey, item: Item) -> Done:
        if not host.up:
            return Done(())
        self._note(host.name, type(item).__name__, key.kind.encode() + key.id)
        return self._unit(host, lambda: host.step(key, item, self.now))

    def _unit(self, host: Host, work: Callable[[], Done]) -> Done:
        mark = self.witness.mark()
        try:
            done = work()
        except PowerLoss:
            self.witness.take_back(mark)
            self.reboot(host.name)
            return Done(())
        if self.pace is not None:
            self.pace.worked(host.name, self.now)
        for key, effect in done.effects:
            self._emit(host, key, effect)
        for key in done.changed:
            self._arm(host, key)
        return done

    def _note(self, name: str, what: str, data: bytes) -> None:
        if self.recording:
            head = f"{self.now:.6f} {name} {what} {len(data)} ".encode()
            self._digest.update(head + data)

    # ------------------------------------------------------------------ effects

    def _emit(self, host: Host, key: CellKey, effect: Send | Ask | Report) -> None:
        match effect:
            case Send(peer, data, ref):
                self._send(host, key, peer, data, ref)
            case Ask(ref, query):
                self._ask(host, key, ref, query)
            case Report():
                self._note(host.name, type(effect).__name__, key.kind.encode())
                self.hear(host.name, effect)

    def _send(self, host: Host, key: CellKey, peer: Peer, data: bytes, ref: int) -> None:
        if peer == MULTICAST:
            peer = self.reach.everybody(host.name, key.id)
        datagram = Datagram(self.now, host.address, peer, data)
        if self.recording:
            self.air.append(datagram)
        kind = (host.name, _type_of(data))
        self.messages[kind] += 1
        self.octets[kind] += len(data)
        if self.pace is None:
            self._launch(host, key, datagram, ref, 0.0)
        else:
            done_at = self.pace.done_at(host.name, self.now)
            self._timeline.push(done_at, Departure(host.name, host.boots, key, datagram, ref))

    def _launch(self, host: Host, key: CellKey, datagram: Datagram, ref: int, after_s: float) -> None:
        """Put a datagram on the air; it arrives `after_s` later than it would without a pace."""
        arrived = False
        for changed in self.adversary(datagram):
            channel = self.channels.get((changed.source, changed.target), self.channel)
            for name in self.reach.hearers(changed):
                for delay in self._dice.arrivals(channel):
                    self._timeline.push(self.now + after_s + delay, Arrival(name, changed))
                    arrived = True
        reliable = self.channels.get((host.address, datagram.target), self.channel).reliable
        if reliable and ref and not arrived:
            self._timeline.push(self.now + GIVES_UP_S, Return(host.name, host.boots, key, Failed(datagram.target, ref)))

    def _ask(self, host: Host, key: CellKey, ref: int, query: object) -> None:
        result: object | None
        try:
            result = self.answer(host.name, query)
        except KeymoteError as error:
            result = error
        if result is not None:
            self._timeline.push(self.now + SERVICE_S, Return(host.name, host.boots, key, Answer(ref, result)))


def _nobody_answers(_name: str, _query: object) -> object | None:
    return None


def _nobody_listens(_name: str, _report: Report) -> None:
    return None


def _type_of(data: bytes) -> int:
    try:
        return peek(data)[0]
    except PeerFault:
        return -1
