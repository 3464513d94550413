"""The two processes of `topic_mqtt`: each has a bare and a protected client of one library, and uses them as it is told."""

import asyncio
import gc
import queue
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

import aiomqtt
import paho.mqtt.client
from paho.mqtt.enums import CallbackAPIVersion

from keymote.device.topic_keys import TopicKeys
from keymote.engine.base import Now
from keymote.transports.mqtt import with_aiomqtt, with_paho
from keymote.transports.mqtt.face import GivenKeys
from keymote.wire.topic import PUBLISH, SUBSCRIBE, KeyGrant

TOPICS: Final = {False: "ward/7/bare", True: "ward/7/heart-rate"}
READING: Final = bytes(64)
AT_ONCE: Final = 20
"""Publishes of aiomqtt that are under way at the same time."""
UNACKNOWLEDGED: Final = 200
"""The same of paho."""
CIPHER: Final = 2
"""AES-CCM with tags of 8 bytes, which is the fastest without a compiler."""


class Slice(NamedTuple):
    """Send, or await, so many messages."""

    protected: bool
    messages: int


class Spent(NamedTuple):
    """Seconds from the first message to the last, and of the processor."""

    elapsed_s: float
    cpu_s: float


def publish(library: str, port: int, pipe: Connection) -> None:
    """Publish what `pipe` says, until it says None."""
    _work(library, port, pipe, _aiomqtt_publisher, _paho_publisher)


def subscribe(library: str, port: int, pipe: Connection) -> None:
    """Receive what `pipe` says, until it says None."""
    _work(library, port, pipe, _aiomqtt_subscriber, _paho_subscriber)


def _work(library: str, port: int, pipe: Connection, with_aiomqtt_: Any, with_paho_: Any) -> None:
    gc.freeze()
    if library == "aiomqtt":
        asyncio.run(with_aiomqtt_(port, pipe))
    else:
        with_paho_(port, pipe)


def _keys() -> GivenKeys:
    keys = TopicKeys(lambda: Now(time.monotonic(), int(time.time())))
    grant = KeyGrant(b"sess0001", 1, 1, CIPHER, bytes(32), 0, 1 << 24, 86_400)
    for role in (PUBLISH, SUBSCRIBE):
        keys.take(TOPICS[True], role, grant, [(1, b"")])
    return GivenKeys(keys)


def _orders(pipe: Connection) -> Iterator[Slice]:
    pipe.send(Spent(0.0, 0.0))
    while isinstance(order := pipe.recv(), Slice):
        yield order


# ------------------------------------------------------------------ aiomqtt


def _aiomqtt_clients(port: int) -> dict[bool, aiomqtt.Client]:
    bare = aiomqtt.Client("127.0.0.1", port)
    protected = with_aiomqtt.ProtectedClient("127.0.0.1", port, topics=_keys())
    for client in (bare, protected):
        client.pending_calls_threshold = AT_ONCE  # a warning for each would be measured, too
    return {False: bare, True: protected}


async def _aiomqtt_publisher(port: int, pipe: Connection) -> None:
    clients = _aiomqtt_clients(port)
    async with clients[False], clients[True]:
        for order in _orders(pipe):
            client, numbers = clients[order.protected], iter(range(order.messages))

            async def work(client: aiomqtt.Client, topic: str, numbers: Iterator[int]) -> None:
                for _ in numbers:
                    await client.publish(topic, READING, qos=1)

            cpu, began = time.process_time(), time.perf_counter()
            await asyncio.gather(*(work(client, TOPICS[order.protected], numbers) for _ in range(AT_ONCE)))
            pipe.send(Spent(time.perf_counter() - began, time.process_time() - cpu))


async def _aiomqtt_subscriber(port: int, pipe: Connection) -> None:
    clients = _aiomqtt_clients(port)
    async with clients[False], clients[True]:
        for protected, client in clients.items():
            await client.subscribe(TOPICS[protected], qos=1)
        for order in _orders(pipe):
            messages = clients[order.protected].messages
            pipe.send(Spent(0.0, 0.0))
            cpu = time.process_time()
            await anext(messages)
            began = time.perf_counter()
            for _ in range(order.messages - 1):
                await anext(messages)
            pipe.send(Spent(time.perf_counter() - began, time.process_time() - cpu))


# ------------------------------------------------------------------ paho


def _paho_clients(port: int) -> dict[bool, paho.mqtt.client.Client]:
    bare = paho.mqtt.client.Client(CallbackAPIVersion.VERSION2)
    protected = with_paho.ProtectedClient(CallbackAPIVersion.VERSION2, topics=_keys())
    for client in (bare, protected):
        ready = threading.Event()
        client.max_inflight_messages_set(UNACKNOWLEDGED)
        client.on_connect = lambda *_, ready=ready: ready.set()
        client.connect("127.0.0.1", port)
        client.loop_start()
        ready.wait()
    return {False: bare, True: protected}


def _paho_publisher(port: int, pipe: Connection) -> None:
    clients = _paho_clients(port)
    room = threading.Semaphore(UNACKNOWLEDGED)
    for client in clients.values():
        client.on_publish = lambda *_: room.release()
    for order in _orders(pipe):
        client, topic = clients[order.protected], TOPICS[order.protected]
        cpu, began = time.process_time(), time.perf_counter()
        for _ in range(order.messages):
            room.acquire()
            client.publish(topic, READING, qos=1)
        for _ in range(UNACKNOWLEDGED):
            room.acquire()
        pipe.send(Spent(time.perf_counter() - began, time.process_time() - cpu))
        room.release(UNACKNOWLEDGED)


def _paho_subscriber(port: int, pipe: Connection) -> None:
    clients = _paho_clients(port)
    awaited, spent = [0, 0], queue.SimpleQueue[Spent]()
    began = cpu = 0.0

    def heard(*_: object) -> None:
        nonlocal began
        awaited[0] += 1
        if awaited[0] == 1:
            began = time.perf_counter()
        elif awaited[0] == awaited[1]:
            spent.put(Spent(time.perf_counter() - began, time.process_time() - cpu))

    subscribed = threading.Semaphore(0)
    for protected, client in clients.items():
        client.on_message = heard
        client.on_subscribe = lambda *_: subscribed.release()
        client.subscribe(TOPICS[protected], qos=1)
        subscribed.acquire()
    for order in _orders(pipe):
        awaited[:] = [0, order.messages]
        cpu = time.process_time()
        pipe.send(Spent(0.0, 0.0))
        pipe.send(spent.get())
