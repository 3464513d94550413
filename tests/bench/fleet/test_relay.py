"""The bad network: what the dice say, and what really becomes of datagrams between two nodes."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from keymote.bench.fleet.plan import Place
from keymote.bench.fleet.relay import LONGEST_HOLD_S, Faults, Relay
from keymote.errors import Unavailable
from keymote.stories.processes import free_port

SOME = 400


def test_the_dice_drop_copy_and_hold_back_as_often_as_asked() -> None:
    faults = Faults(seed=3, part=0.05)
    fates = [faults.fate(1, 2, count) for count in range(20_000)]
    for often in (
        sum(fate.dropped for fate in fates),
        sum(fate.copy_s is not None for fate in fates),
        sum(fate.held_s > 0 for fate in fates),
    ):
        assert 900 < often < 1100
    assert all(fate.held_s < LONGEST_HOLD_S and (fate.copy_s or 0) < LONGEST_HOLD_S for fate in fates)


def test_fate_depends_on_seed_direction_and_number_and_on_nothing_else() -> None:
    def fates(seed: int, source: int, target: int) -> list[object]:
        return [Faults(seed, 0.3).fate(source, target, count) for count in range(100)]

    assert fates(1, 2, 3) == fates(1, 2, 3)
    assert len({str(fates(*case)) for case in ((1, 2, 3), (2, 2, 3), (1, 3, 2), (1, 2, 4))}) == 4


class Node(asyncio.DatagramProtocol):
    """One end: everything that it heard, with the address that it came from."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, tuple[str, int]]] = []
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard.append((data, addr))


@asynccontextmanager
async def relayed(part: float) -> AsyncIterator[tuple[Relay, Node, Node, int]]:
    """A relay with doors for nodes 1 and 2, and both nodes."""
    port = free_port()
    relay = Relay(Faults(5, part), port)
    await relay.open(2)
    nodes = [Node(), Node()]
    loop = asyncio.get_running_loop()
    for number, node in enumerate(nodes, 1):
        home = (Place(number, port).home, port)
        await loop.create_datagram_endpoint(lambda node=node: node, local_addr=home)
    try:
        yield relay, nodes[0], nodes[1], port
    finally:
        relay.close()
        for node in nodes:
            node.transport.close()
        await asyncio.sleep(0)  # the loop closes their sockets


async def until(done) -> None:
    async with asyncio.timeout(10):
        while not done():  # noqa: ASYNC110  sockets tell nobody
            await asyncio.sleep(0.01)


async def test_each_end_sees_the_other_at_its_door_both_ways() -> None:
    async with relayed(0.0) as (relay, one, two, port):
        one.transport.sendto(b"there", (Place(2, port).door, port))
        await until(lambda: two.heard)
        assert two.heard == [(b"there", (Place(1, port).door, port))]
        two.transport.sendto(b"back", two.heard[0][1])
        await until(lambda: one.heard)
        assert one.heard == [(b"back", (Place(2, port).door, port))]
        assert relay.counts == Counter(taken=2, passed_on=2)


async def test_datagrams_are_lost_copied_and_overtaken_and_counted_as_they_are() -> None:
    async with relayed(0.2) as (relay, one, two, port):
        for number in range(SOME):
            one.transport.sendto(number.to_bytes(2, "big"), (Place(2, port).door, port))
            await asyncio.sleep(0)
        counts = relay.counts
        await until(lambda: counts["taken"] == SOME)
        await until(lambda: len(two.heard) == SOME - counts["dropped"] + counts["duplicated"])
        heard = [int.from_bytes(data, "big") for data, _ in two.heard]
        assert len(set(heard)) == SOME - counts["dropped"]
        assert heard != sorted(heard)
        for what in ("dropped", "duplicated", "held"):
            assert 0.1 * SOME < counts[what] < 0.3 * SOME
        assert 0 < counts["reordered"] <= counts["held"]


async def test_a_stranger_is_not_carried() -> None:
    async with relayed(0.0) as (relay, _one, two, port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind((Place(1, 0).home, 0))  # the address of a node, another port
            stranger.sendto(b"hello", (Place(2, port).door, port))
            await until(lambda: relay.counts["strangers"])
        assert not two.heard


async def test_a_door_that_is_taken_is_said() -> None:
    async with relayed(0.0) as (_relay, _one, _two, port):
        with pytest.raises(Unavailable, match="no door for node 1"):
            await Relay(Faults(1, 0.0), port).open(2)
