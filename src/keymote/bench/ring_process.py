"""Some nodes of a ring in a process of their own, each on a real CoAP socket of loopback, told what to do through a pipe.

The process runs the ring's key agreement (`Agree`), or the same number and sizes of exchanges with handlers that do
nothing but answer (`Exchange`): what the sockets, the event loop and CoAP cost by themselves.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import Final

from keymote.bench.ring import AT_ONCE, GID, GW, Cast, Terms, unanswered
from keymote.crypto.entropy import SeededEntropy, SystemEntropy
from keymote.crypto.suites import suite_by_id
from keymote.engine.base import CellKey, Peer, Report, Send
from keymote.engine.group.faces import GroupReady, Rekey, membership_of, ring_of
from keymote.host.async_host import SystemClock
from keymote.host.driver import Driver
from keymote.storage.memory import MemoryStore
from keymote.transports.coap.endpoint import CoapEndpoint
from keymote.transports.coap.responses import Receive, Settled

TO_MEMBER: Final = 4
"""Messages that a member hears in a run: START, both bundles, COMMIT."""
FROM_MEMBER: Final = 3
"""Messages that it says: R1, R2, R3."""


@dataclass(frozen=True, slots=True)
class Duty:
    """Which nodes this process plays. `seed` and `at` (UTC seconds) give all processes the same people."""

    terms: Terms
    seed: bytes
    at: int
    names: Sequence[Peer]


@dataclass(frozen=True, slots=True)
class Meet:
    """Everybody's address: provision the nodes; the gateway forms the ring, which is the first run."""

    addresses: Mapping[Peer, Peer]


@dataclass(frozen=True, slots=True)
class Agree:
    """Take part in one run; the gateway begins it."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Take part in exchanges of these sizes, in bytes: what members hear in order, and what they say in between."""

    heard: Sequence[int]
    said: Sequence[int]


@dataclass(frozen=True, slots=True)
class Set:
    """The members of this process wait for the gateway's word."""


@dataclass(frozen=True, slots=True)
class Done:
    """When (nanoseconds of the machine's clock) the gateway began, or the members were done; and the sizes of what came.

    `spent_ns` is the processor time of the process meanwhile.
    """

    times: Sequence[int]
    spent_ns: int
    sizes: Mapping[Peer, Sequence[int]]


def play(duty: Duty, door: Connection) -> None:
    """Serve until the pipe closes: what a process of the bench runs."""
    with suppress(EOFError, ConnectionError, KeyboardInterrupt):
        asyncio.run(_Stage(duty, door).serve())


@dataclass(slots=True)
class _Node:
    """A node on its socket; `take` is what a datagram goes to now."""

    name: Peer
    endpoint: CoapEndpoint
    driver: Driver
    take: Receive
    sizes: list[int] = field(default_factory=list)


class _Stage:
    """The nodes of this process. `_done` collects when each of them was through."""

    def __init__(self, duty: Duty, door: Connection) -> None:
        self._duty = duty
        self._door = door
        self._cast = Cast(duty.terms, lambda _: suite_by_id(duty.terms.suite), SeededEntropy(duty.seed), duty.at)
        self._nodes: list[_Node] = []
        self._addresses: Mapping[Peer, Peer] = {}
        self._done: list[int] = []
        self._wake = asyncio.Event()

    async def serve(self) -> None:
        self._nodes = [await self._open(name) for name in self._duty.names]
        self._door.send({node.name: node.endpoint.address for node in self._nodes})
        try:
            while True:
                match await asyncio.to_thread(self._door.recv):
                    case Meet(addresses):
                        self._addresses = addresses
                        await self._through(self._met)
                        gc.collect()
                        gc.freeze()  # the nodes are not garbage: collections look at what the runs leave behind
                    case Agree():
                        await self._through(self._agreed)
                    case Exchange(heard, said):
                        await self._through(partial(self._exchanged, heard, said))
        finally:
            for node in self._nodes:
                node.endpoint.close()

    async def _open(self, name: Peer) -> _Node:
        def received(peer: Peer, data: bytes, settled: Settled | None = None, /) -> None:
            node.sizes.append(len(data))
            node.take(peer, data, settled)
            self._wake.set()

        def heard(_cell: CellKey, report: Report) -> None:
            if isinstance(report, GroupReady) and name != GW:
                self._through_with_it()

        endpoint = await CoapEndpoint.open(("127.0.0.1", 0), received)
        entropy = SystemEntropy()
        driver = Driver(self._cast.node(name), MemoryStore(), endpoint, SystemClock, entropy, unanswered, heard)
        driver.start()
        node = _Node(name, endpoint, driver, driver.receive)
        return node

    def _through_with_it(self) -> None:
        self._done.append(time.perf_counter_ns())

    async def _through(self, begin: Callable[[], None]) -> None:
        """Run one round of this process: until all its members are through, and the gateway has heard all rounds."""
        self._done.clear()
        started = time.process_time_ns()
        for node in self._nodes:
            node.sizes.clear()
        begin()
        members = [node for node in self._nodes if node.name != GW]
        if members:
            self._door.send(Set())
        least = len(members) or FROM_MEMBER * self._duty.terms.n
        while len(self._done if members else self._nodes[0].sizes) < least:
            self._wake.clear()
            await self._wake.wait()
        spent = time.process_time_ns() - started
        self._door.send(Done(tuple(self._done), spent, {node.name: tuple(node.sizes) for node in self._nodes}))

    # ------------------------------------------------------------------ the product

    def _met(self) -> None:
        for node in self._nodes:
            if node.name != GW:
                node.driver.command(membership_of(GID), self._cast.joining(node.name, self._addresses[GW]))
        members = {name: address for name, address in self._addresses.items() if name != GW}
        self._lead(lambda gateway: gateway.driver.command(ring_of(GID), self._cast.forming(members)))

    def _agreed(self) -> None:
        for node in self._nodes:
            node.take = node.driver.receive
        self._lead(lambda gateway: gateway.driver.command(ring_of(GID), Rekey(AT_ONCE)))

    def _lead(self, begin: Callable[[_Node], object]) -> None:
        for node in self._nodes:
            if node.name == GW:
                self._done.append(time.perf_counter_ns())
                begin(node)

    # ------------------------------------------------------------------ the same without it

    def _exchanged(self, heard: Sequence[int], said: Sequence[int]) -> None:
        for node in self._nodes:
            node.take = self._empty_gateway(node, heard) if node.name == GW else self._empty_member(said)
        self._lead(lambda gateway: self._say_to_all(gateway, bytes(heard[0])))

    def _empty_member(self, said: Sequence[int]) -> Receive:
        number = iter(range(TO_MEMBER))

        def take(peer: Peer, _data: bytes, settled: Settled | None = None, /) -> None:
            turn = next(number)
            answers = [Send(peer, bytes(said[turn]))] if turn < len(said) else []
            if settled is not None:
                settled(answers)
            if turn == len(said):
                self._through_with_it()

        return take

    def _empty_gateway(self, node: _Node, heard: Sequence[int]) -> Receive:
        n, count = self._duty.terms.n, 0

        def take(peer: Peer, _data: bytes, settled: Settled | None = None, /) -> None:
            nonlocal count
            count += 1
            answers: list[Send] = []
            if count % n == 0 and count // n < len(heard):
                answers = self._say_to_all(node, bytes(heard[count // n]), peer if settled is not None else None)
            if settled is not None:
                settled(answers)

        return take

    def _say_to_all(self, gateway: _Node, data: bytes, asker: Peer | None = None) -> list[Send]:
        """Send to all members; what goes to `asker` is returned, to ride on the response."""
        for name, address in self._addresses.items():
            if name != GW and address != asker:
                gateway.endpoint.send(address, data, None)
        return [] if asker is None else [Send(asker, data)]
