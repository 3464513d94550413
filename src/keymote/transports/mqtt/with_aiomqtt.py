"""`aiomqtt.Client` with readings protected end to end: the same calls, plaintext at both ends, ciphertext between.

async with ProtectedClient("broker", topics=device.topics) as client:
    await client.subscribe("ward/7/#", qos=1)
    await client.publish("ward/7/hr", b"72", qos=1)
    async for message in client.messages:
        print(message.topic, message.payload, message.reading.epoch)
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from threading import get_ident
from typing import Any, Self, cast

import aiomqtt
import aiomqtt.client
from paho.mqtt.client import MQTT_ERR_NO_CONN, MQTT_ERR_SUCCESS, Client, MQTTMessageInfo, PayloadType
from paho.mqtt.properties import Properties

from keymote.engine.topic.readings import NeedsKey, Reading, Rejected
from keymote.transports.mqtt.face import Topics, check_filters, check_topic, plaintext_of
from keymote.transports.mqtt.paho_reading import read_at_once


class ReadingMessage(aiomqtt.Message):
    """A message whose payload is the opened plaintext; `reading` has its epoch and number."""

    def __init__(self, sealed: aiomqtt.Message, reading: Reading) -> None:
        super().__init__(sealed.topic, reading.plaintext, sealed.qos, sealed.retain, sealed.mid, sealed.properties)
        self.reading = reading


class ProtectedClient(aiomqtt.Client):
    """Options are those of `aiomqtt.Client`. What does not open is dropped: `topics.keys` counts and explains it.

    A will is sealed anew at each CONNECT. An empty retained payload is sent as it is: it clears what the broker keeps.
    """

    def __init__(
        self,
        hostname: str,
        port: int = 1883,
        *,
        topics: Topics,
        will: aiomqtt.Will | None = None,
        queue_type: type["asyncio.Queue[aiomqtt.Message]"] | None = None,
        **options: Any,
    ) -> None:
        self.topics = topics
        self._last_will = will
        self._late: deque[ReadingMessage] = deque()
        opening = _opening(queue_type or cast("type[asyncio.Queue[aiomqtt.Message]]", asyncio.Queue), self._open)
        self._thread = get_ident()
        super().__init__(hostname, port, queue_type=opening, **options)
        read_at_once(self._client)

    async def __aenter__(self) -> Self:
        """Connect; a will needs a key, and waits for it."""
        will = self._last_will
        if will is not None:
            plaintext = plaintext_of(will.payload)
            try:
                sealed = self.topics.keys.protect(will.topic, plaintext)
            except NeedsKey:
                sealed = await self._sealed(will.topic, plaintext)
            self._client.will_set(will.topic, sealed, will.qos, will.retain, will.properties)
        return await super().__aenter__()

    async def publish(
        self,
        /,
        topic: str,
        payload: PayloadType = None,
        qos: int = 0,
        retain: bool = False,  # the library's own signature
        properties: Properties | None = None,
        *args: Any,
        timeout: float | None = None,  # noqa: ASYNC109  # the library's own signature
        **kwargs: Any,
    ) -> None:
        """As `aiomqtt.Client.publish`; NeedsKey or its like when no key can be had."""
        data = plaintext_of(payload)
        if data or not retain:
            if qos == 0 and self._client.socket() is None:  # would be lost, and its number with it
                raise aiomqtt.MqttCodeError(MQTT_ERR_NO_CONN, "Could not publish message")
            check_topic(topic)
            try:
                data = self.topics.keys.protect(topic, data)
            except NeedsKey:
                data = await self._sealed(topic, data)
        limit = self.timeout if timeout is None else timeout
        if self._outgoing_calls_sem is None:
            await self._acknowledged(self._client.publish(topic, data, qos, retain, properties, *args, **kwargs), limit)
            return
        async with self._outgoing_calls_sem:
            await self._acknowledged(self._client.publish(topic, data, qos, retain, properties, *args, **kwargs), limit)

    @property
    def messages(self) -> aiomqtt.client.MessagesIterator:
        """As `aiomqtt.Client.messages`."""
        return _Messages(self)

    def arrived(self) -> aiomqtt.Message | None:
        """Return the next message if one is here already, for who must not wait."""
        return None if self._queue.empty() else self._queue.get_nowait()

    async def subscribe(self, /, topic: Any, *args: Any, **kwargs: Any) -> Any:
        """As `aiomqtt.Client.subscribe`; CallerFault for a shared subscription."""
        check_filters(_filters(topic))
        return await super().subscribe(topic, *args, **kwargs)

    async def _sealed(self, topic: str, plaintext: bytes) -> bytes:
        """Return the payload of a reading for which there was no key a moment ago."""
        await self.topics.ready_to_publish(topic)
        return self.topics.keys.protect(topic, plaintext)

    async def _acknowledged(self, info: MQTTMessageInfo, timeout_s: float) -> None:
        """Wait as the library does, with its errors, but without a task and an event for each message."""
        if info.rc != MQTT_ERR_SUCCESS:
            ended = self._disconnected.exception() if self._disconnected.done() else None
            raise aiomqtt.MqttCodeError(info.rc, "Could not publish message") from ended
        if info.is_published():
            return
        acknowledged = _Acknowledged(self._loop)
        timer = None if timeout_s == inf else self._loop.call_later(timeout_s, acknowledged.expire)
        self._pending_publishes[info.mid] = cast("asyncio.Event", acknowledged)  # the library calls its `set`
        waiting = len(self._pending_publishes)
        if waiting > self.pending_calls_threshold:
            self._logger.warning("There are %d pending publish calls.", waiting)
        try:
            await acknowledged.future
        finally:
            if timer is not None:
                timer.cancel()
            self._pending_publishes.pop(info.mid, None)

    def _on_socket_register_write(self, client: Client, userdata: Any, sock: Any) -> None:
        """Write when all that can go on now has said what it has to say: waiting for the socket costs four calls of the system."""
        if get_ident() == self._thread and self._connected.done():
            self._loop.call_soon(self._write, client, userdata, sock)
        else:
            super()._on_socket_register_write(client, userdata, sock)

    def _write(self, client: Client, userdata: Any, sock: Any) -> None:
        try:
            client.loop_write()
        except Exception as error:  # noqa: BLE001  as the library: whoever waits for a message or for the end hears of it
            if not self._disconnected.done():
                self._disconnected.set_exception(error)
            return
        if client.want_write() and client.socket() is sock:
            super()._on_socket_register_write(client, userdata, sock)

    # ------------------------------------------------------------------ opening, as messages arrive

    def _open(self, message: aiomqtt.Message) -> list[aiomqtt.Message]:
        """Return what can be read now: first what a key has opened meanwhile, then this message unless it is refused."""
        ready: list[aiomqtt.Message] = []
        try:
            reading = self.topics.keys.unprotect(message.topic.value, message.payload, partial(self._opened, message))
        except NeedsKey as need:
            self.topics.ask(need)
        except Rejected:
            pass  # noted where it was refused
        else:
            if not reading.duplicate:
                ready.append(ReadingMessage(message, reading))
        return [*self._take_late(), *ready] if self._late else ready

    def _opened(self, message: aiomqtt.Message, reading: Reading) -> None:
        """Hear of a message whose key has come, from whatever thread took it."""
        self._late.append(ReadingMessage(message, reading))
        self._loop.call_soon_threadsafe(self._deliver_late)

    def _deliver_late(self) -> None:
        for message in self._take_late():
            self._queue.put_nowait(message)

    def _take_late(self) -> list[ReadingMessage]:
        taken = []
        while self._late:
            taken.append(self._late.popleft())
        return taken


class _Acknowledged:
    """What the library sets when the broker has acknowledged a message."""

    __slots__ = ("future",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[None] = loop.create_future()

    def set(self) -> None:
        if not self.future.done():
            self.future.set_result(None)

    def expire(self) -> None:
        if not self.future.done():
            self.future.set_exception(aiomqtt.MqttError("Operation timed out"))


class _Messages(aiomqtt.client.MessagesIterator):
    """The library's iterator, without its task for each message where a message is here already."""

    def __init__(self, client: ProtectedClient) -> None:
        super().__init__(client)
        self._arrived = client.arrived

    async def __anext__(self) -> aiomqtt.Message:
        return self._arrived() or await super().__anext__()


def _opening(
    base: type["asyncio.Queue[aiomqtt.Message]"], open_: Callable[[aiomqtt.Message], list[aiomqtt.Message]]
) -> type["asyncio.Queue[aiomqtt.Message]"]:
    """Return the queue that the library puts what arrives into; only what opens is in it."""

    class Opening(base):  # type: ignore[misc, valid-type]  # the base is the caller's choice
        def put_nowait(self, item: aiomqtt.Message) -> None:
            if isinstance(item, ReadingMessage):
                super().put_nowait(item)
                return
            for message in open_(item):
                super().put_nowait(message)

    return Opening


def _filters(topic: Any) -> Iterable[object]:
    """Return the filters in what `subscribe` takes: one, a pair with its options, or a list of pairs."""
    match topic:
        case str():
            return (topic,)
        case tuple():
            return topic[:1]
    return [item[0] for item in topic]
