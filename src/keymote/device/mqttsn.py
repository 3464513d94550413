"""A mote on MQTT-SN in the running event loop: `publish` and `subscribe` as with any MQTT client, and it may sleep.

    mote = await MqttSnMote.open("hr-7", partial(UdpSocket.open, ("127.0.0.1", 0)), "127.0.0.1:1885")
    await mote.connect(keep_alive_s=60)
    await mote.publish("ward/7/hr", keys.protect("ward/7/hr", b"72"), qos=1)

What it publishes is what it is given: protected payloads come from `TopicKeys.protect`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final, Protocol, Self

from keymote.engine.base import Now, Peer
from keymote.engine.mqttsn.faces import Message, Tick
from keymote.engine.mqttsn.mote import Mote
from keymote.engine.mqttsn.mote_faces import (
    Answered,
    Asleep,
    Attach,
    Attached,
    Datagram,
    Detach,
    Detached,
    Fetch,
    Fetched,
    Hear,
    Incoming,
    Link,
    Listen,
    Listening,
    MoteInput,
    Said,
    Say,
    Sleep,
    Transmit,
)
from keymote.errors import Unavailable
from keymote.wire.mqttsn_fields import ReturnCode

AGAIN_S: Final = 2.0
"""When a datagram that was not answered is said again."""


class Carrier(Protocol):
    """Plain datagrams: `keymote.transports.udp.UdpSocket`."""

    def send(self, peer: Peer, data: bytes) -> None: ...

    def close(self) -> None: ...


OpenCarrier = Callable[[Callable[[Peer, bytes], None]], Awaitable[Carrier]]


class MqttSnMote:
    """One mote; one wish is on its way at a time, the others wait."""

    def __init__(self, mote: Mote, gateway: Peer) -> None:
        self._mote, self.gateway = mote, gateway
        self._carrier: Carrier | None = None
        self._refs = 0
        self._waiting: dict[object, asyncio.Future[ReturnCode]] = {}
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._datagrams: asyncio.Queue[bytes] = asyncio.Queue()
        self.answered: Callable[[bytes], None] = self._datagrams.put_nowait
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    async def open(
        cls,
        client_id: str,
        carrier: OpenCarrier,
        gateway: Peer,
        *,
        predefined: Mapping[int, str] | None = None,
        retry_s: float = 10.0,
        retries: int = 3,
    ) -> Self:
        """Return a mote that is not connected yet; `retry_s` and `retries` are T_retry and N_retry."""
        self = cls(Mote(client_id, predefined=predefined, retry_s=retry_s, retries=retries), gateway)
        self._carrier = await carrier(self._heard)
        return self

    @property
    def link(self) -> Link:
        return self._mote.link

    async def connect(self, keep_alive_s: int = 60, *, clean: bool = True, will: Message | None = None) -> None:
        """Connect; Unavailable when the gateway does not answer or has no room."""
        await self._wished(Attached, Attach(keep_alive_s, clean, will))

    async def publish(
        self, topic: str, data: bytes, qos: int = 1, *, retain: bool = False, predefined: int = 0
    ) -> None:
        """Publish; returns with QoS 1 and 2 when the broker has it. QoS -1 needs no connection and says nothing.

        Raises:
            Unavailable: the gateway does not answer, or refuses; nothing was acknowledged.
        """
        ref = self._ref()
        await self._wished((Said, ref), Say(ref, Message(topic, data, qos, retain), predefined))

    async def subscribe(self, pattern: str, qos: int = 1, *, predefined: int = 0) -> None:
        """Subscribe to a topic or filter; what comes is in `messages`."""
        ref = self._ref()
        await self._wished((Listening, ref), Listen(ref, pattern, qos, predefined))

    async def messages(self) -> AsyncIterator[Message]:
        """Yield what comes, in order."""
        while True:
            yield await self._messages.get()

    async def sleep(self, duration_s: int) -> None:
        """Say that we sleep; `fetch` within that time brings what came meanwhile."""
        await self._wished(Asleep, Sleep(duration_s))

    async def fetch(self) -> None:
        """Asleep: take what waits; returns when that was all."""
        await self._wished(Fetched, Fetch())

    def datagram(self, data: bytes) -> None:
        """Send a Keymote datagram to whoever sits at the gateway (QoS -1, connected or not)."""
        self._handle(Datagram(data))

    async def datagrams(self) -> AsyncIterator[bytes]:
        """Yield the Keymote datagrams that come back."""
        while True:
            yield await self._datagrams.get()

    async def bind(self, _listen: tuple[str, int], receive: Callable[[Peer, bytes, None], None]) -> "MqttSnTalk":
        """Be the endpoint over which `connect_via_agent` and `hand_over` talk to the agent at our gateway."""
        return MqttSnTalk(self, receive)

    async def disconnect(self) -> None:
        """Say goodbye: no will is published."""
        await self._wished(Detached, Detach())

    def close(self) -> None:
        """Stop without a word."""
        if self._timer is not None:
            self._timer.cancel()
        if self._carrier is not None:
            self._carrier.close()
            self._carrier = None

    # ------------------------------------------------------------------

    def _ref(self) -> int:
        self._refs += 1
        return self._refs

    async def _wished(self, key: object, wish: MoteInput) -> None:
        future = self._waiting[key] = asyncio.get_running_loop().create_future()
        try:
            self._handle(wish)
            code = await future
        finally:
            self._waiting.pop(key, None)
        if code is not ReturnCode.ACCEPTED:
            raise Unavailable(f"the MQTT-SN gateway answers {code.name}", do="try again later")

    def _heard(self, peer: Peer, data: bytes) -> None:
        if peer == self.gateway:
            self._handle(Hear(data))

    def _handle(self, item: MoteInput) -> None:
        for output in self._mote.handle(item, Now(time.monotonic(), int(time.time()))):
            match output:
                case Transmit(data):
                    if self._carrier is not None:
                        self._carrier.send(self.gateway, data)
                case Incoming(message):
                    self._messages.put_nowait(message)
                case Answered(data):
                    self.answered(data)
                case Said(ref, code) | Listening(ref, code):
                    self._settle((type(output), ref), code)
                case Attached(code):
                    self._settle(Attached, code)
                case Detached(silent):
                    self._parted(silent=silent)
                case Asleep() | Fetched():
                    self._settle(type(output), ReturnCode.ACCEPTED)
        self._wind_up()

    def _settle(self, key: object, code: ReturnCode) -> None:
        future = self._waiting.get(key)
        if future is not None and not future.done():
            future.set_result(code)

    def _parted(self, *, silent: bool) -> None:
        self._settle(Detached, ReturnCode.CONGESTION if silent else ReturnCode.ACCEPTED)
        for key in (Attached, Asleep, Fetched):
            self._settle(key, ReturnCode.CONGESTION)

    def _wind_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        at = self._mote.deadline()
        wait = None if at is None or self._carrier is None else max(0.0, at - time.monotonic())
        loop = asyncio.get_running_loop()
        self._timer = None if wait is None else loop.call_later(wait, self._handle, Tick())


class MqttSnTalk:
    """An exchange of Keymote datagrams with who sits at the gateway; what was said is said again until it is closed."""

    def __init__(self, mote: MqttSnMote, receive: Callable[[Peer, bytes, None], None]) -> None:
        self._mote, self._before = mote, mote.answered
        self._again: asyncio.TimerHandle | None = None
        mote.answered = lambda data: receive(mote.gateway, data, None)

    def send(self, peer: Peer, data: bytes, failed: Callable[[], None] | None) -> None:
        """Say a datagram; whoever waits for the answer gives up by its own clock, so `failed` is not called."""
        self._mote.datagram(data)
        loop = asyncio.get_running_loop()
        self._again = loop.call_later(AGAIN_S, lambda: self.send(peer, data, failed))

    def close(self) -> None:
        if self._again is not None:
            self._again.cancel()
        self._mote.answered = self._before
