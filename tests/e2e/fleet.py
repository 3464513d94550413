"""Managers and devices under the product's driver and stores, in virtual time: the demo's story for tests of faults.

The contexts, coordinators and seeds are those of `lab.scene_founding`; the simulator's own host is not used. Links behave like
confirmable CoAP: an answer rides back, a node that is down or cannot serve makes the sender's `Send` fail.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from keymote import cbor
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.engine.base import MULTICAST, CellKey, Command, Now, Peer, Refused, Report, Send
from keymote.engine.enrolment.device_cell import Registered
from keymote.engine.enrolment.registrar_cell import RegistrarCell
from keymote.engine.faces import (
    OWN_ENROLMENT,
    DeviceRevoked,
    Enrolled,
    ExpectAgain,
    ExpectDevice,
    KeyReady,
    Opened,
    OpenSession,
    Protect,
    Protected,
    Provision,
    RevokeDevice,
    SessionClosed,
    enrolment_of,
    session_of,
)
from keymote.engine.member import REVOKED
from keymote.engine.pairwise.states import Open
from keymote.errors import KeymoteError, Unavailable
from keymote.host.driver import Driver
from keymote.host.ports import Done, Store, Write
from keymote.lab.scenes import Scene, identity
from keymote.lab.simulator import EPOCH, Host
from keymote.storage.memory import MemoryStore
from keymote.wire.credential import SignedCredential
from keymote.wire.pairwise import Link, Srec

LATENCY_S = 0.005
GIVES_UP_S = 5.0
DOWN_S = 1.0
PATIENCE_S = 7200.0
"""How long a person waits for the fleet to help itself; a code whose use nobody confirmed is free again after an hour."""


class PowerLoss(Exception):
    """The process of this store is gone; what called the store never sees an answer."""


@dataclass
class FaultyStore:
    """A store in front of another one that fails from the k-th commit on, or takes its process with it at that commit.

    `full_from`: this commit and all later ones change nothing and end in Unavailable, until `heal`. `dies_at`: at this
    commit the process ends, `landed` tells whether the disk still got it. `failed` hears of the first failure.
    """

    inner: Store
    full_from: int | None = None
    dies_at: int | None = None
    landed: bool = False
    failed: Callable[[], None] = lambda: None
    commits: int = 0
    refused: int = 0
    written: list[bytes] = field(default_factory=list)

    def load(self, key: CellKey) -> bytes | None:
        return self.inner.load(key)

    def find(self, kind: str, alias: bytes) -> CellKey | None:
        return self.inner.find(kind, alias)

    def due(self, wall: int, limit: int) -> Sequence[CellKey]:
        return self.inner.due(wall, limit)

    def next_wake(self) -> int | None:
        return self.inner.next_wake()

    def commit(self, writes: Sequence[Write], done: Done) -> None:
        self.commits += 1
        if self.full_from is not None and self.commits >= self.full_from:
            self.refused += 1
            if self.refused == 1:
                self.failed()
            done(Unavailable("no space left on device"))
            return
        self.written += [write.record for write in writes if write.record is not None]
        dies = self.commits == self.dies_at
        if not dies or self.landed:
            self.inner.commit(writes, (lambda _error: None) if dies else done)
        if dies:
            self.failed()

    def heal(self) -> None:
        self.full_from = None

    def close(self) -> None:
        self.inner.close()


class Node:
    """One process: a driver over a store that outlives it."""

    reliable = True

    def __init__(self, fleet: "Fleet", host: Host, store: FaultyStore) -> None:
        self.fleet = fleet
        self.name = host.name
        self.store = store
        self.boots = 0
        self.up = False
        self.code: Secret | None = None
        self.rejoin = False
        self.heard: list[Report] = []
        self.bugs: list[tuple[str, Exception]] = []
        self._host = host
        self._entropy = SeededEntropy(b"fleet " + host.name.encode())
        self.driver: Driver

    # ------------------------------------------------------------------ its process

    def start(self) -> None:
        """Start with what the store holds, as `manager run` and `device run` do."""
        self.boots += 1
        self.up = True
        self.booted_at = self.fleet.at
        boot = self.boots
        node = self._host.build()
        self.kinds = node.kinds
        self.driver = Driver(
            node, self.store, self, self, self._entropy.fork(f"boot {boot}"),
            lambda _key, query, answer: self._asked(boot, query, answer), self._reported,
            fault=lambda where, error: self.bugs.append((where, error)),
        )  # fmt: skip
        self.driver.start()
        for key, command in self._host.at_boot:
            self.driver.command(key, command, self._start_over)
        if self.code is not None and self.driver.peek(OWN_ENROLMENT) is None:
            self.driver.command(OWN_ENROLMENT, Provision(self.code))

    def die(self) -> None:
        """End as by SIGKILL; somebody starts it again soon."""
        self.up = False
        boots = self.boots
        self.fleet.after(DOWN_S, lambda: self.start() if self.boots == boots else None)

    def _start_over(self, outcome: object) -> None:
        """A process that cannot say its first word ends, and its supervisor starts it again."""
        if isinstance(outcome, Exception):
            self.die()

    def _asked(self, boot: int, query: object, answer: Callable[[object], None]) -> None:
        try:
            result = self.fleet.federation.answer(self.name, query)
        except KeymoteError as error:
            result = error
        if result is not None:
            self.fleet.after(0.02, lambda: answer(result) if self.up and self.boots == boot else None)

    def _reported(self, key: CellKey, report: Report) -> None:
        if self.up:
            self.heard.append(report)
            self.fleet.federation.hear(self.name, report)
            self._check_acknowledged(key, report)

    def _check_acknowledged(self, key: CellKey, report: Report) -> None:
        """What the application is told is on disk: a process that starts now knows it (DR-01)."""
        if isinstance(report, Enrolled):
            cell = self.saved(key)
            held = cell.membership.credential.raw if isinstance(cell, Registered) else cell.member.credential
            assert held == report.credential
        elif isinstance(report, DeviceRevoked):
            assert self.saved(key).member.status == REVOKED

    # ------------------------------------------------------------------ what the driver sees

    def now(self) -> Now:
        return Now(self.fleet.at - self.booted_at, int(EPOCH + self.fleet.at))

    def send(self, peer: Peer, data: bytes, failed: Callable[[], None] | None) -> None:
        if self.up:
            boot = self.boots
            self.fleet.carry(self.name, peer, data, lambda: failed() if failed and self._is(boot) else None)

    def _is(self, boot: int) -> bool:
        return self.up and self.boots == boot

    # ------------------------------------------------------------------ what people do and see

    def command(self, key: CellKey, command: Command) -> Sequence[Any] | Exception:
        """Return the reports, or Unavailable when it is not done (no process, no disk)."""
        outcome: list[Any] = []
        if self.up:
            self.driver.command(key, command, outcome.append)
        return outcome[0] if outcome and self.up else Unavailable("nobody answers")

    def saved(self, key: CellKey) -> Any:
        """Return the cell under `key` as a process that starts now finds it."""
        record, load = self.store.load(key), self.kinds[key.kind].load
        return None if record is None or load is None else load(key.id, record)

    def told(self, kind: type[Report], psid: bytes) -> bool:
        return any(isinstance(report, kind) and report.psid == psid for report in self.heard)  # type: ignore[attr-defined]


class Fleet:
    """Two devices at the managers of two operators; `nodes` by name (d1, d2, nm1, nm2)."""

    def __init__(self, scene: Scene, open_store: Callable[[str], Store] = lambda _name: MemoryStore()) -> None:
        self.at = 0.0
        self.scene = scene
        self.federation = scene.federation.copy()
        self.air: list[tuple[Peer, Peer, bytes]] = []
        self.labels = dict.fromkeys(scene.homes, 0)
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0
        self._psids = 0
        self.nodes = {
            name: Node(self, host, FaultyStore(open_store(name))) for name, host in scene.sim.hosts.items()
        }  # fmt: skip

    def start(self) -> None:
        for node in self.nodes.values():
            node.start()

    # ------------------------------------------------------------------ time and air

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        self._count += 1
        heappush(self._queue, (self.at + seconds, self._count, call))

    def carry(self, source: Peer, target: Peer, data: bytes, failed: Callable[[], None]) -> None:
        """Bring a datagram to its target, or in the end its failure to the sender."""
        self.air.append((source, target, data))
        if target == MULTICAST:
            for name, home in self.scene.homes.items():
                if home == source:
                    self.after(LATENCY_S, lambda name=name: self._arrive(source, name, data, failed))
        else:
            self.after(LATENCY_S, lambda: self._arrive(source, target, data, failed))

    def _arrive(self, source: Peer, target: Peer, data: bytes, failed: Callable[[], None]) -> None:
        node = self.nodes[target]

        def answered(outcome: Sequence[Send | Report] | Exception) -> None:
            if not node.up:
                return
            if isinstance(outcome, Exception):
                self.after(GIVES_UP_S, failed)
                return
            for effect in outcome:
                if isinstance(effect, Send):
                    node.send(effect.peer, effect.data, None)

        if node.up:
            node.driver.receive(source, data, answered)
        else:
            self.after(GIVES_UP_S, failed)

    def run(self, reached: Callable[[], bool], within_s: float) -> bool:
        """Let time pass until `reached()`, at most `within_s`; return whether it was."""
        end = self.at + within_s
        for _ in range(200_000):
            if reached():
                return True
            at, ring = self._next()
            if at > end:
                self.at = end
                return False
            self.at = max(self.at, at)
            ring()
        raise AssertionError(f"the nodes talk in circles at {self.at}")

    def _next(self) -> tuple[float, Callable[[], object]]:
        at = self._queue[0][0] if self._queue else float("inf")
        for node in self.nodes.values():
            deadline = node.driver.next_deadline() if node.up else None
            if deadline is not None and node.booted_at + deadline < at:
                return node.booted_at + deadline + 1e-6, node.driver.tick
        return at, self._ring

    def _ring(self) -> None:
        heappop(self._queue)[2]()

    # ------------------------------------------------------------------ the story, told by people who try again

    def insist(self, name: str, key: CellKey, command: Command) -> Sequence[Any]:
        """Say something to a cell until it is done; people wait a little when the process says that it cannot."""
        for _ in range(600):
            outcome = self.nodes[name].command(key, command)
            if not isinstance(outcome, Exception) and not any(isinstance(said, Refused) for said in outcome):
                return outcome
            assert isinstance(outcome, Unavailable | Sequence), outcome
            self.run(lambda: False, 5.0)
        raise AssertionError(f"{name} does not take {type(command).__name__}: {outcome}")

    def enrol(self, name: str, *, again: bool = False) -> None:
        """Give a device one label and wait until both sides hold its credential."""
        self.labels[name] += 1
        prs = Secret(cbor.encode([sha256(name.encode() + bytes([self.labels[name]]))[:16], b""]))
        home, dev_id, device = self.scene.homes[name], identity(name), self.nodes[name]
        expect = (ExpectAgain if again else ExpectDevice)(dev_id, prs)
        self.insist(home, enrolment_of(dev_id), expect)
        before = device.saved(OWN_ENROLMENT) if again else None
        device.code = prs
        self.insist(name, OWN_ENROLMENT, Provision(prs))

        def done() -> bool:
            held = device.saved(OWN_ENROLMENT)
            return isinstance(held, Registered) and held != before and self.agree(name)

        assert self.run(done, PATIENCE_S), f"{name} is not enrolled: {self.held(name)}"

    def held(self, name: str) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Return the credential of a device as it, its manager and the register have it on disk."""
        own = self.nodes[name].saved(OWN_ENROLMENT)
        registrar = self.nodes[self.scene.homes[name]].saved(enrolment_of(identity(name)))
        entries = [
            each.devices[identity(name)] for each in self.federation.coordinators if identity(name) in each.devices
        ]
        assert len(entries) <= 1, "two coordinators hold this device"
        return (
            own.membership.credential.raw if isinstance(own, Registered) else None,
            registrar.member.credential if isinstance(registrar, RegistrarCell) and registrar.member else None,
            entries[0].credential if entries else None,
        )

    def agree(self, name: str) -> bool:
        held = self.held(name)
        return held[0] is not None and held[0] == held[1] == held[2]

    def talk(self, one: str, other: str) -> bytes:
        """Open a session and bring a reading each way through it; the application begins anew when it breaks."""
        for attempt in range(40):
            text = b"reading %d" % attempt
            psid = self.open(one, other)
            if psid is not None and self._say(one, other, psid, text) and self._say(other, one, psid, text):
                return psid
            self.run(lambda: False, 5.0)
        raise AssertionError(f"{one} and {other} do not come to talk")

    def open(self, one: str, other: str) -> bytes | None:
        """Return the psid of a session that both sides hold; None when it does not come about in 60 s."""
        self._psids += 1
        psid = sha256(b"psid" + self._psids.to_bytes(8, "big"))[:8]
        self.nodes[one].command(OWN_ENROLMENT, OpenSession(psid, identity(other), other))
        both = [self.nodes[name] for name in (one, other)]
        self.run(
            lambda: self.nodes[one].told(SessionClosed, psid) or all(node.told(KeyReady, psid) for node in both), 60.0
        )
        alive = all(node.up and isinstance(node.driver.peek(session_of(psid)), Open) for node in both)
        return psid if alive else None

    def _say(self, source: str, target: str, psid: bytes, text: bytes) -> bool:
        outcome = self.nodes[source].command(session_of(psid), Protect(text))
        records = [] if isinstance(outcome, Exception) else [said for said in outcome if isinstance(said, Protected)]
        if not records:
            return False
        self.nodes[source].send(target, records[0].record, None)
        heard = self.nodes[target].heard
        return self.run(
            lambda: any(isinstance(said, Opened) and (said.psid, said.plaintext) == (psid, text) for said in heard), 2.0
        )

    def revoke(self, name: str) -> None:
        """Bar it at its coordinator, whose event the manager acts on until that is acknowledged: then it must hold."""
        home, key = self.scene.homes[name], enrolment_of(identity(name))
        self.federation.bar(identity(name), barred=True)
        self.insist(home, key, RevokeDevice(1))
        assert self.nodes[home].saved(key).member.status == REVOKED

    def story(self) -> None:
        """Enrol, pair, talk, revoke, be refused, rejoin, talk: what `keymote demo` tells and what follows on it."""
        self.start()
        self.enrol("d1")
        self.enrol("d2")
        self.talk("d1", "d2")
        psid = self.talk("d2", "d1")
        self.revoke("d1")
        gone = session_of(psid)
        assert self.run(lambda: self.nodes["d2"].up and self.nodes["d2"].driver.peek(gone) is None, 900.0)
        for one, other in (("d1", "d2"), ("d2", "d1")):
            assert self.open(one, other) is None
        assert self.nodes["nm1"].saved(enrolment_of(identity("d1"))).member.status == REVOKED
        self.enrol("d1", again=True)
        self.talk("d1", "d2")
        self.talk("d2", "d1")

    # ------------------------------------------------------------------ what must hold in the end

    def check(self) -> None:
        """Nothing acknowledged is lost, nothing is done twice, and nobody met a bug."""
        assert {name: node.bugs for name, node in self.nodes.items() if node.bugs} == {}
        for name, labels in self.labels.items():
            assert self.agree(name)
            issued = {
                report.credential
                for node in self.nodes.values()
                for report in node.heard
                if isinstance(report, Enrolled) and report.dev_id == identity(name)
            }
            assert len(issued) == labels, f"{len(issued)} credentials of {name} for {labels} labels"
        serials = [serial for each in self.federation.coordinators for serial in each.serials]
        assert len(serials) == sum(self.labels.values()), "a label made two credentials"
        current = {SignedCredential.decode(entry.credential).claims.serial for entry in self._entries()}
        assert current <= set(serials)
        assert repeated_numbers(self.air) == []

    def _entries(self) -> list[Any]:
        return [entry for each in self.federation.coordinators for entry in each.devices.values()]


def repeated_numbers(air: Sequence[tuple[Peer, Peer, bytes]]) -> list[tuple[Any, ...]]:
    """Return the records of LINK and SREC that left one node under the number of another record of it."""
    seen: dict[tuple[Any, ...], bytes] = {}
    repeated = []
    for source, _, data in air:
        mt, *fields, ct = cbor.decode_array(data)
        if mt in (Link.mt, Srec.mt):
            number = (source, mt, *fields)
            if seen.setdefault(number, ct) != ct:
                repeated.append(number)
    return repeated
