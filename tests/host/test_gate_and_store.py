"""A registrar's door in the product's driver, over a store that fails: the door stays open."""

from collections.abc import Callable

import pytest

from keymote import cbor
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.crypto.suites import suite_by_id
from keymote.engine.base import MULTICAST, CellKey, Now, Peer, Refused, Report
from keymote.engine.faces import GATE, ExpectDevice, HelloIs, OpenDoor, SayHello, enrolment_of
from keymote.engine.node import registrar_node
from keymote.errors import Unavailable
from keymote.host.driver import Driver
from keymote.lab.scene_founding import two_operators
from keymote.lab.simulator import EPOCH
from keymote.storage.memory import MemoryStore
from keymote.wire.enrolment import Hello, Join, Offer
from keymote.wire.fields import sizes_of
from keymote.wire.registry import peek

DEVICE = b"device 1"
SUITE = suite_by_id(1)


class Registrar:
    """A manager's cells over a store in memory; time stands still until it is moved."""

    reliable = False

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.mono = 0.0
        self.sent: list[tuple[Peer, bytes]] = []
        self.reports: list[Report] = []
        context = two_operators(enrolled=False).managers["nm1"]
        self.period_s = context.policy.hello_period_s
        self.driver = Driver(
            registrar_node(context), self.store, self, self, SeededEntropy(b"door"), lambda *_asked: None, self.hear
        )
        self.driver.start()
        self.driver.command(GATE, OpenDoor())

    def now(self) -> Now:
        return Now(self.mono, EPOCH + int(self.mono))

    def send(self, peer: Peer, data: bytes, _failed: Callable[[], None] | None) -> None:
        self.sent.append((peer, data))

    def hear(self, _key: CellKey, report: Report) -> None:
        self.reports.append(report)

    def expect(self) -> list[object]:
        """Import the device's label; return what is heard of it once it is known."""
        ends: list[object] = []
        command = ExpectDevice(DEVICE, Secret(cbor.encode([b"a code of 128 bi", b""])))
        self.driver.command(enrolment_of(DEVICE), command, ends.append)
        return ends

    def hello(self) -> Hello:
        self.driver.command(GATE, SayHello())
        (said,) = (report for report in self.reports[-1:] if isinstance(report, HelloIs))
        return Hello.decode(said.wire, sizes_of(1))

    def join(self, hello: Hello, label: bytes, peer: Peer = "newcomer") -> None:
        Y_D = SUITE.random_point(SeededEntropy(label))
        self.driver.receive(peer, Join(1, DEVICE, hello.hello_n[:8], Y_D).encode())

    def announced(self) -> int:
        return sum(peer == MULTICAST for peer, _ in self.sent)

    def offers(self) -> int:
        return sum(peek(data)[0] == Offer.mt for _, data in self.sent)


@pytest.mark.parametrize("periods", [0.5, 1.0], ids=["as it was", "renewed by this JOIN"])
def test_DR06_EN03_a_join_that_cannot_be_committed_does_not_shut_the_door(periods: float) -> None:
    """The second JOIN replaces a run, which is counted on disk; the disk is full."""
    registrar = Registrar()
    assert registrar.expect() == [[]]
    registrar.join(registrar.hello(), b"first")
    assert registrar.offers() == 1
    hello = registrar.hello()
    registrar.mono += periods * registrar.period_s
    registrar.store.fail_from = 0
    registrar.join(hello, b"second")
    assert not any(isinstance(report, Refused) for report in registrar.reports)  # nothing of it left
    registrar.store.fail_from = None
    registrar.mono += 30.0
    announced = registrar.announced()
    registrar.mono += registrar.period_s
    registrar.driver.tick()
    assert registrar.announced() == announced + 1
    registrar.join(registrar.hello(), b"third")
    assert registrar.offers() == 2  # the run that was not stored is forgotten with the commit


def test_DR06_a_hello_that_was_announced_before_a_failed_commit_is_still_answered() -> None:
    registrar = Registrar()
    registrar.store.held = True
    ends = registrar.expect()
    hello = registrar.hello()
    registrar.mono += registrar.period_s
    registrar.join(hello, b"first")  # waits for the label's commit, and renews the HELLO
    registrar.store.release(Unavailable("disk full"))
    assert isinstance(ends[0], Unavailable)
    registrar.store.held = False
    registrar.expect()
    registrar.join(hello, b"first")
    assert registrar.offers() == 1
