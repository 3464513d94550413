"""The MQTT-SN gateway on a UDP socket: its machine, driven by datagrams, a broker and the loop's clock."""

import asyncio
import contextlib
import inspect
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

from keymote.engine.base import MULTICAST, Now, Peer, Received, Send
from keymote.engine.mqttsn.faces import Address, Announce, FromBroker, Hand, Input, Reply, Settings, Tick, ToBroker
from keymote.engine.mqttsn.gateway import Admits, Gateway
from keymote.engine.mqttsn.states import State
from keymote.errors import CallerFault, KeymoteError
from keymote.transports.coap.multicast import Group
from keymote.transports.udp import UdpSocket, address_of

KeymoteDatagram = Callable[[str, bytes], Sequence[bytes] | Awaitable[Sequence[bytes]]]
"""`(client, datagram) -> datagrams back`: whoever sits at the gateway and takes what motes say on topic id 0xFFF0.

`client` is the MQTT-SN client id as the mote chose it, which nobody has proved, or empty for a mote that is not connected
(QoS -1). Answers go to where the datagram came from. A KeymoteError is counted and answered by nothing.
"""

SCHEME: Final = "mqttsn://"
"""How a node names the motes of its gateway: `mqttsn://ADDRESS:PORT`, behind a forwarder followed by `/NODE` in hex."""
MOST_HANDED: Final = 64
"""Keymote datagrams that are being answered at the same time; more are dropped, and the mote says them again."""

logger = logging.getLogger(__name__)


class Broker(Protocol):
    """What the gateway needs of an MQTT client library, for all its sessions."""

    async def start(self, heard: Callable[[FromBroker], None]) -> None:
        """Begin; `heard` is called in the loop's thread."""
        ...

    def want(self, wish: ToBroker) -> None:
        """Do as the gateway wants, without waiting."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """Where a gateway listens, and how it behaves; `group`: where SEARCHGW is heard and ADVERTISE goes."""

    listen: tuple[str, int] = ("127.0.0.1", 1885)
    group: Group | None = None
    settings: Settings = field(default_factory=Settings)


class MqttSnGateway:
    """A gateway in the running event loop; `keymote_datagram` or `receive` takes what motes say to who sits here.

    `receive` is for a whole node: it gets the mote's handle, under which `send` brings a datagram back at any time.
    `admits`, where given, says who may connect.
    """

    def __init__(
        self,
        options: GatewayOptions,
        broker: Broker,
        keymote_datagram: KeymoteDatagram | None = None,
        receive: Callable[[Peer, bytes], None] | None = None,
        admits: Admits | None = None,
    ) -> None:
        self._options = options
        self._broker = broker
        self._keymote_datagram = keymote_datagram
        self._receive = receive
        keymote = keymote_datagram is not None or receive is not None
        self._machine = Gateway(options.settings, keymote=keymote, admits=admits)
        self._handing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._socket: UdpSocket | None = None
        self.tally: Final[Counter[str]] = self._machine.tally

    async def start(self) -> Self:
        """Bind the socket, connect to the broker, and serve.

        Raises:
            CallerFault: the address is not one of this machine.
            Unavailable: the port is taken.
        """
        self._socket = await UdpSocket.open(self._options.listen, self._datagram, self._options.group)
        try:
            await self._broker.start(self._handle)
        except BaseException:
            self._socket.close()
            raise
        self._wind_up()
        return self

    @property
    def address(self) -> str:
        """Where motes reach us: ADDRESS:PORT."""
        assert self._socket is not None
        return self._socket.address

    def send(self, peer: Peer, data: bytes) -> None:
        """Bring a Keymote datagram to a mote, which may sleep; what UDP loses, and a handle that is none, is lost."""
        place, _, node = peer.removeprefix(SCHEME).partition("/")
        with contextlib.suppress(ValueError, CallerFault):
            address_of(place)
            self._handle(Reply(Address(place, bytes.fromhex(node)), data))

    def states(self) -> Counter[State]:
        """Return how many clients are in each state."""
        return self._machine.states()

    def waiting(self) -> int:
        """Return how many messages wait for clients."""
        return sum(self._machine.waiting().values())

    async def close(self) -> None:
        """Stop at once; the broker keeps what no client has acknowledged."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._socket.close()
        for task in self._handing:
            task.cancel()
        await asyncio.gather(*self._handing, return_exceptions=True)
        await self._broker.close()

    # ------------------------------------------------------------------ the machine

    def _datagram(self, peer: str, data: bytes) -> None:
        self._handle(Received(peer, data))

    def _handle(self, item: Input) -> None:
        for output in self._machine.handle(item, _now()):
            match output:
                case Send(peer, data):
                    self._transmit(peer, data)
                case Announce(data):
                    self._transmit(MULTICAST, data)
                case Hand():
                    self._hand(output)
                case _:
                    self._broker.want(output)
        self._wind_up()

    def _transmit(self, peer: str, data: bytes) -> None:
        assert self._socket is not None
        self._socket.send(peer, data)

    def _wind_up(self) -> None:
        """Be woken at the machine's deadline."""
        if self._timer is not None:
            self._timer.cancel()
        at = self._machine.deadline()
        loop = asyncio.get_running_loop()
        self._timer = None if at is None else loop.call_later(max(0.0, at - _now().mono), self._handle, Tick())

    # ------------------------------------------------------------------ who sits here

    def _hand(self, hand: Hand) -> None:
        if self._receive is not None:
            self._receive(f"{SCHEME}{hand.address}", hand.data)
            return
        if len(self._handing) >= MOST_HANDED:
            self.tally["congestion"] += 1
            return
        task = asyncio.get_running_loop().create_task(self._answer(hand), name="keymote datagram")
        self._handing.add(task)
        task.add_done_callback(self._handing.discard)

    async def _answer(self, hand: Hand) -> None:
        assert self._keymote_datagram is not None
        try:
            found = self._keymote_datagram(hand.client, hand.data)
            answers = await found if inspect.isawaitable(found) else found
        except KeymoteError as error:
            self.tally["keymote-refused"] += 1
            logger.debug("refused", extra={"what": error.what})
            return
        for data in answers:
            self._handle(Reply(hand.address, data))


def _now() -> Now:
    return Now(time.monotonic(), int(time.time()))
