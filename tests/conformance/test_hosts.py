"""One exam for every host: the same nodes, seeds and inputs give the same bytes, whoever stores, sends and waits.

The nodes are real: a coordinator that an authority certified and a manager that enrols there, every datagram of it heard
twice. The reference is the lab's host. A new host adds a line to HOSTS.
"""

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from keymote import cbor
from keymote.crypto.entropy import Entropy, SeededEntropy, SystemEntropy
from keymote.crypto.secret import Secret
from keymote.crypto.suites import suite_by_id
from keymote.engine.base import Answer, Ask, CellKey, Command, Node, Now, Peer, Report, Send
from keymote.engine.chain import Pin, Trust
from keymote.engine.context import DeviceContext, RegistrarContext, RegistrarPolicy
from keymote.engine.faces import GATE, OWN_ENROLMENT, ExpectDevice, HelloIs, Provision, SayHello, enrolment_of
from keymote.engine.node import device_node, registrar_node
from keymote.engine.queries import Receipt
from keymote.host.driver import Driver
from keymote.host.ports import Store
from keymote.lab.simulator.host import EPOCH, Quartz
from keymote.lab.simulator.host import Host as LabHost
from keymote.storage.file import FileStore
from keymote.storage.memory import MemoryStore
from keymote.storage.seal import FileKey
from keymote.storage.sql import open_database
from keymote.storage.sql_store import SqlStore
from keymote.wire.credential import Claims, Role, issue

Spoken = list[tuple[Peer, Peer, bytes]]
ROOT_ID, NC, NM = b"authoriy", b"coord--1", b"manager1"


class World:
    """Who is there, what was said, and what time it is: frames arrive in the order in which they were sent."""

    def __init__(self) -> None:
        self.at = 0.0
        self.said: Spoken = []
        self.queue: deque[tuple[Peer, Peer, bytes]] = deque()
        self.hosts: dict[Peer, Hosted] = {}
        self.reports: list[tuple[Peer, Report]] = []

    def send(self, source: Peer, target: Peer, data: bytes) -> None:
        self.said.append((source, target, data))
        self.queue.append((source, target, data))

    def run(self) -> None:
        while self.queue:
            source, target, data = self.queue.popleft()
            self.at += 0.01
            self.hosts[target].receive(source, data)


class Hosted(Protocol):
    def receive(self, peer: Peer, data: bytes) -> None: ...
    def command(self, key: CellKey, command: Command) -> None: ...
    def tick(self) -> None: ...


class InLab:
    """The simulator's host, without its air."""

    def __init__(self, world: World, name: Peer, build: Callable[[], Node], entropy: SeededEntropy) -> None:
        self._world, self._name = world, name
        self._host = LabHost(name, build, entropy, Quartz())
        self._host.boot(world.at)

    def receive(self, peer: Peer, data: bytes) -> None:
        self._emit(self._host.receive(peer, data, self._world.at).effects)

    def command(self, key: CellKey, command: Command) -> None:
        self._emit(self._host.step(key, command, self._world.at).effects)

    def _emit(self, effects: Sequence[tuple[CellKey, Any]]) -> None:
        for key, effect in effects:
            match effect:
                case Send(peer, data):
                    self._world.send(self._name, peer, data)
                case Ask(ref, _):
                    self._emit(self._host.step(key, Answer(ref, Receipt()), self._world.at).effects)
                case _:
                    self._world.reports.append((self._name, effect))

    def tick(self) -> None:
        for key in list(self._host.cells):
            assert self._host.due_at(key) is None or self._host.due_at(key) > self._world.at


class InDriver:
    """The product's driver over one of its stores."""

    reliable = False

    def __init__(
        self, world: World, name: Peer, build: Callable[[], Node], entropy: SeededEntropy, store: Store
    ) -> None:
        self._world, self._name = world, name
        self._driver = Driver(
            build(), store, self, self, entropy.fork("boot 1"), lambda _key, _query, answer: answer(Receipt()),
            lambda _key, report: world.reports.append((name, report)),
        )  # fmt: skip
        self._driver.start()

    def now(self) -> Now:
        return Now(self._world.at, int(EPOCH + self._world.at))

    def send(self, peer: Peer, data: bytes, _failed: object) -> None:
        self._world.send(self._name, peer, data)

    def receive(self, peer: Peer, data: bytes) -> None:
        self._driver.receive(peer, data)

    def command(self, key: CellKey, command: Command) -> None:
        self._driver.command(key, command)

    def tick(self) -> None:
        self._driver.tick()


Place = Callable[[World, Peer, Callable[[], Node], SeededEntropy, Path], Hosted]


def in_lab(world: World, name: Peer, build: Callable[[], Node], entropy: SeededEntropy, _folder: Path) -> Hosted:
    return InLab(world, name, build, entropy)


def in_memory(world: World, name: Peer, build: Callable[[], Node], entropy: SeededEntropy, _folder: Path) -> Hosted:
    return InDriver(world, name, build, entropy, MemoryStore())


def in_file(world: World, name: Peer, build: Callable[[], Node], entropy: SeededEntropy, folder: Path) -> Hosted:
    kek = FileKey(folder / "kek", SystemEntropy(), create=True)
    return InDriver(world, name, build, entropy, FileStore(folder / name, kek, SystemEntropy()))


def in_database(world: World, name: Peer, build: Callable[[], Node], entropy: SeededEntropy, folder: Path) -> Hosted:
    kek = FileKey(folder / "kek", SystemEntropy(), create=True)
    store = SqlStore(open_database(folder / name, history="cells"), kek, SystemEntropy())
    return InDriver(world, name, build, entropy, store)


HOSTS = [in_memory, in_file, in_database]


def contexts(suite_id: int, entropy: Entropy) -> tuple[RegistrarContext, DeviceContext]:
    suite = suite_by_id(suite_id)
    root, coordinator, newcomer = (suite.generate_signing_key(entropy) for _ in range(3))
    trust = Trust((Pin(ROOT_ID, suite.id, root.public, Role.AUTHORITY),), {suite.id: suite})
    claims = Claims(
        iss=ROOT_ID, sub=NC, exp=EPOCH + 10**7, iat=EPOCH - 10, serial=entropy.draw(8), suite=suite.id, nc_id=NC,
        E1=None, E2=None, sig_pk=coordinator.public, status_epoch=0, role=Role.COORDINATOR,
    )  # fmt: skip
    registrar = RegistrarContext(
        NC, NC, Role.COORDINATOR, coordinator, {suite.id: suite}, (issue(root, claims).raw,), trust,
        policy=RegistrarPolicy(multicast=False),
    )  # fmt: skip
    return registrar, DeviceContext(NM, suite, newcomer, trust, Role.MANAGER)


def enrol(place: Place, suite_id: int, seed: bytes, folder: Path) -> World:
    """Run an enrolment from the codes to DONE, with every datagram delivered twice, and a tick behind it."""
    entropy, world = SeededEntropy(seed), World()
    registrar, newcomer = contexts(suite_id, entropy.fork("contexts"))
    world.hosts["nc"] = place(world, "nc", lambda: registrar_node(registrar), entropy.fork("nc"), folder)
    world.hosts["nm"] = place(world, "nm", lambda: device_node(newcomer), entropy.fork("nm"), folder)
    prs = Secret(cbor.encode_array(entropy.draw(16), b""))
    world.hosts["nc"].command(enrolment_of(NM), ExpectDevice(NM, prs))
    world.hosts["nm"].command(OWN_ENROLMENT, Provision(prs))
    world.hosts["nc"].command(GATE, SayHello())
    hello = next(report.wire for _, report in world.reports if isinstance(report, HelloIs))
    world.hosts["nm"].receive("nc", hello)
    world.run()
    for source, target, data in list(world.said):
        world.hosts[target].receive(source, data)
    world.run()
    for host in world.hosts.values():
        host.tick()
    return world


@pytest.mark.parametrize("suite_id", [1, 17])
@pytest.mark.parametrize("place", HOSTS, ids=lambda place: place.__name__)
def test_DR13_every_host_says_the_same_bytes(place: Place, suite_id: int, tmp_path: Path) -> None:
    reference = enrol(in_lab, suite_id, b"seed", tmp_path)
    assert len(reference.said) >= 8, "the enrolment did not go through"
    world = enrol(place, suite_id, b"seed", tmp_path)
    assert world.said == reference.said
    assert [(name, type(report)) for name, report in world.reports] == [
        (name, type(report)) for name, report in reference.reports
    ]


def test_DR13_another_seed_says_other_bytes(tmp_path: Path) -> None:
    one, two = (enrol(in_memory, 1, seed, tmp_path).said for seed in (b"1", b"2"))
    assert len(one) == len(two)
    assert all(first != second for (_, _, first), (_, _, second) in zip(one, two, strict=True))
