"""The ways by which clients reach an agent: CoAP, the MQTT-SN gateway, and the password field of CONNECT; and back."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from keymote.engine.base import Peer
from keymote.engine.handover.node import FROM_CLIENTS
from keymote.errors import ErrorCode, PeerFault
from keymote.host.batches import Settled
from keymote.host.driver import Driver
from keymote.transports.between import AgentCallers
from keymote.transports.coap.endpoint import CoapEndpoint
from keymote.transports.coap.requests import Timing
from keymote.wire.registry import peek

if TYPE_CHECKING:
    from keymote.agent.app.motes import Motes

TIMING: Final = Timing(outstanding=32, waiting=1024)
ADMITTED_S: Final = 5.0
"""How long a CONNECT waits for its CONNAUTH to be heard."""
_MQTT: Final = "mqtt:"
_MQTTSN: Final = "mqttsn:"


class Doors:
    """The agent's link: what clients say goes to the driver, what cells send goes to clients and other agents."""

    reliable = True

    def __init__(self, callers: AgentCallers) -> None:
        self._callers = callers
        self._waiting: dict[Peer, asyncio.Future[None]] = {}
        self.motes: Motes | None = None

    async def open(self, address: tuple[str, int]) -> CoapEndpoint:
        """Listen on CoAP; whoever opens lets the doors `lead_to` a driver before anything else is awaited."""
        self._endpoint = await CoapEndpoint.open(address, self.from_client, timing=TIMING)
        return self._endpoint

    def with_motes(self, listen: tuple[str, int], broker: tuple[str, int]) -> "Motes":
        """Have an MQTT-SN gateway, too, which is not started."""
        from keymote.agent.app.motes import Motes  # noqa: PLC0415  nobody else loads another MQTT client
        from keymote.transports.mqttsn import GatewayOptions  # noqa: PLC0415

        self.motes = Motes(GatewayOptions(listen), broker, self.from_client)
        return self.motes

    def lead_to(self, driver: Driver) -> None:
        """Bring to this driver what comes in."""
        self._driver = driver

    def send(self, peer: Peer, data: bytes, failed: Callable[[], None] | None) -> None:
        """Carry what cells send: to clients by CoAP, to agents by HTTPS, to whoever waits at CONNECT by letting it in."""
        if peer.startswith(_MQTT):
            waiting = self._waiting.get(peer)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        elif peer.startswith(_MQTTSN) and self.motes is not None:
            self.motes.send(peer, data)
        elif peer.startswith("https://"):
            self._callers.send(peer, data, self._driver.receive, failed)
        else:
            self._endpoint.send(peer, data, failed)

    def from_client(self, peer: Peer, data: bytes, settled: Settled | None = None) -> None:
        """Take a datagram in, unless it is none that a client may send."""
        try:
            mt, _ = peek(data)
        except PeerFault:
            mt = -1
        if mt in FROM_CLIENTS:
            self._driver.receive(peer, data, settled)
            return
        self._driver.tally["route", ErrorCode.E_STATE] += 1
        if settled is not None:
            settled([])

    async def admit(self, name: str, connauth: bytes) -> bool:
        """CONNAUTH in the password field of CONNECT (Triad-1 8 on 4.4)."""
        try:
            if bytes.fromhex(name) != connauth[4:12] or peek(connauth)[0] not in FROM_CLIENTS:
                return False
        except (ValueError, PeerFault):
            return False
        peer = f"{_MQTT}{name}"
        self._waiting[peer] = waiting = asyncio.get_running_loop().create_future()
        try:
            self._driver.receive(peer, connauth)
            async with asyncio.timeout(ADMITTED_S):
                await waiting
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(peer, None)
        return True
