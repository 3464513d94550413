"""Endpoints on loopback whose node is a script."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import pytest

from keymote.engine.base import Send
from keymote.transports.coap.endpoint import CoapEndpoint
from keymote.transports.coap.multicast import Group
from keymote.transports.coap.requests import Timing
from keymote.transports.coap.responses import Settled

FAST = Timing(ack_timeout_s=0.05, random_factor=1.0, max_retransmit=2, response_s=0.2)


class Scripted:
    """Records what arrives and answers by `script(data)`: datagrams, or an exception that keeps the node silent."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.script: Callable[[bytes], Sequence[bytes] | Exception] = lambda _data: ()
        self.waiting: asyncio.Event = asyncio.Event()

    def __call__(self, peer: str, data: bytes, settled: Settled | None = None) -> None:
        self.heard.append((peer, data))
        self.waiting.set()
        if settled is not None:
            outcome = self.script(data)
            settled(outcome if isinstance(outcome, Exception) else [Send(peer, answer) for answer in outcome])

    async def until(self, count: int) -> list[tuple[str, bytes]]:
        """Wait until `count` datagrams have arrived."""
        async with asyncio.timeout(5):
            while len(self.heard) < count:
                self.waiting.clear()
                await self.waiting.wait()
        return self.heard


Open = Callable[..., Awaitable[tuple[CoapEndpoint, Scripted]]]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def make(*, timing: Timing = FAST, group: Group | None = None, listen: bool = False):
            node = Scripted()
            endpoint = await CoapEndpoint.open(("127.0.0.1", 0), node, timing=timing, group=group, listen=listen)
            stack.callback(endpoint.close)
            return endpoint, node

        yield make


@pytest.fixture
def free_udp_port() -> int:
    """Return a UDP port that nobody uses now; group ports may be shared, so nothing depends on it staying free."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
