"""What flows through `keymote topic`: lines of standard input that are published, and readings and refusals as they come."""

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from keymote.cli.output import note
from keymote.cli.topic_connection import connected
from keymote.errors import KeymoteError

if TYPE_CHECKING:
    from keymote.cli.topic_connection import ByAgent
    from keymote.cli.topic_tail import Seen
    from keymote.transports.mqtt.dial import Broker
    from keymote.transports.mqtt.with_aiomqtt import ProtectedClient

_AT_ONCE: Final = 20
"""Lines of standard input that are under way at the same time; one by one is many times slower."""
_LOOK_S: Final = 0.25


async def publish_lines(mqtt: "ProtectedClient", topic: str, *, qos: int, retain: bool) -> int:
    """Publish the lines of standard input in order, some at a time; return how many."""
    published = 0
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(payload: bytes) -> None:
        try:
            await mqtt.publish(topic, payload, qos=qos, retain=retain)
        finally:
            room.release()

    lines = _lines()
    try:
        async with asyncio.TaskGroup() as tasks:
            while (line := await lines.get()) is not None:
                await room.acquire()
                tasks.create_task(one(line.rstrip(b"\r\n")))
                published += 1
    except* KeymoteError as group:
        raise group.exceptions[0] from None
    return published


def _lines() -> "asyncio.Queue[bytes | None]":
    """Return a queue of the lines of standard input, then None; its thread ends with the process, whatever it waits for."""
    lines: asyncio.Queue[bytes | None] = asyncio.Queue(_AT_ONCE)
    loop = asyncio.get_running_loop()

    def read() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody wants more
            for line in sys.stdin.buffer:
                asyncio.run_coroutine_threadsafe(lines.put(line), loop).result()
            asyncio.run_coroutine_threadsafe(lines.put(None), loop).result()

    threading.Thread(target=read, daemon=True).start()
    return lines


async def seen(
    broker: "Broker | ByAgent",
    config: Path | None,
    client: Path | None,
    filters: list[str],
    qos: int,
    wait: float,
    timeout_s: float,
) -> AsyncGenerator["Seen", None]:
    """Yield readings and refusals as they come, until the time is over or for ever."""
    from keymote.cli.topic_tail import Seen, Tally

    until = monotonic() + timeout_s if timeout_s else None
    async with connected(broker, config, client, wait) as (topics, mqtt):
        for name in filters:
            if not {"+", "#"} & set(name):
                await topics.ready_to_subscribe(name, wait)  # the first reading need not wait then
        tally = Tally(topics.keys)
        for name in filters:
            await mqtt.subscribe(name, qos=qos)
        note(f"subscribed to {', '.join(filters)}")
        async with aclosing(_arrivals(mqtt, until)) as arrivals:
            async for message in arrivals:
                for reject in tally.fresh():
                    yield Seen(tally, None, reject)
                if message is not None:
                    tally.count(message.reading)
                    yield Seen(tally, message, None)


async def _arrivals(mqtt: "ProtectedClient", until: float | None) -> AsyncGenerator[Any, None]:
    """Yield messages, and None now and then when there is none."""
    awaited: asyncio.Future[Any] | None = None
    try:
        while until is None or monotonic() < until:
            if awaited is None:
                awaited = asyncio.ensure_future(anext(mqtt.messages))
            done, _ = await asyncio.wait({awaited}, timeout=_LOOK_S)
            message, awaited = (awaited.result(), None) if done else (None, awaited)
            yield message
    finally:
        if awaited is not None:
            awaited.cancel()
