"""The bench's four nodes over real CoAP sockets on loopback, in one event loop: rate and bytes with everything included."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from keymote.bench.world import World
from keymote.crypto.suites import suite_by_id
from keymote.engine.base import Peer
from keymote.engine.faces import OWN_ENROLMENT, KeyReady, OpenSession
from keymote.errors import Unavailable
from keymote.transports.coap.endpoint import CoapEndpoint

PATIENCE_S: Final = 10.0


class NamedLink:
    """A CoAP endpoint as the world's nodes want it: peers have names, not addresses."""

    reliable = True

    def __init__(self, endpoint: CoapEndpoint, addresses: dict[str, Peer]) -> None:
        self._endpoint, self._addresses = endpoint, addresses

    def send(self, peer: Peer, data: bytes, failed: Callable[[], None] | None) -> None:
        """Carry a datagram to the node with this name."""
        self._endpoint.send(self._addresses[peer], data, failed)


def sessions_over_coap(suite: int, number: int) -> tuple[float, int]:
    """Return sessions a second of wall time, one after another, and the UDP payload bytes of all nodes for each."""
    return asyncio.run(_sessions(suite, number))


async def _sessions(suite: int, number: int) -> tuple[float, int]:
    world = World(lambda _name: suite_by_id(suite))
    one, other = world.device("d1", "nm1"), world.device("d2", "nm2")
    addresses: dict[str, Peer] = {}
    names: dict[Peer, str] = {}
    endpoints: list[CoapEndpoint] = []
    for name in ("d1", "d2", "nm1", "nm2"):
        host = world.hosts[name]

        def heard(peer: Peer, data: bytes, settled: object = None, *, host: object = host) -> None:
            host.driver.receive(names[peer], data, settled)  # type: ignore[attr-defined]  # the host of this turn

        endpoint = await CoapEndpoint.open(("127.0.0.1", 0), heard)
        endpoints.append(endpoint)
        addresses[name], names[endpoint.address] = endpoint.address, name
        host.link.go(NamedLink(endpoint, addresses))
    try:
        await _open(world, 1)  # the managers meet
        before = sum(endpoint.traffic.octets for endpoint in endpoints)
        started = time.perf_counter()
        await _open(world, number)
        spent = time.perf_counter() - started
        octets = sum(endpoint.traffic.octets for endpoint in endpoints) - before
    finally:
        for endpoint in endpoints:
            endpoint.close()
    assert one.heard
    assert other.heard
    return number / spent, octets // 2 // number  # each byte was counted where it left and where it came


async def _open(world: World, number: int) -> None:
    one, other = world.hosts["d1"], world.hosts["d2"]
    for _ in range(number):
        psid = world.psid()
        wish = OpenSession(psid, other.id, other.name, fast=False, compact=False)
        one.driver.command(OWN_ENROLMENT, wish)
        deadline = time.monotonic() + PATIENCE_S
        while not all(map(partial(_is_open, psid), (one.heard, other.heard))):
            if time.monotonic() > deadline:
                raise Unavailable("a session over loopback CoAP did not open")
            await asyncio.sleep(0)
        world.check_ready(psid, one, other)


def _is_open(psid: bytes, heard: list[object]) -> bool:
    return any(isinstance(said, KeyReady) and said.psid == psid for said in reversed(heard))
