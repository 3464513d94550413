"""Topics of a device in another process, over its control socket: here the device is in another thread, with a loop of its own."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_topic_keys import GRANT, TOPIC, forged, payloads, publisher, subscriber, texts
from test_topics_asking import Chain, denied, taken, until

from keymote.cli.topic_elsewhere import LONGEST, TopicsElsewhere
from keymote.device.topic_agent import TopicAgent
from keymote.device.topic_keys import NeedsKey, Reading, Rejected
from keymote.engine.topic.faces import KeyTaken
from keymote.errors import CallerFault, ErrorCode, RefusedByPolicy, Unavailable
from keymote.transports.control import ControlServer
from keymote.wire.admin import to_base64url
from keymote.wire.topic import PUBLISH


@dataclass
class Running:
    """A device as its socket shows it: what it may be asked for, and all that it has answered."""

    socket: Path
    chain: Chain
    stop: Callable[[], None]
    said: list[str] = field(default_factory=list)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def there(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(10)

    async def begin() -> tuple[Running, ControlServer]:
        chain, socket = Chain(), tmp_path / "control.sock"
        device = Running(socket, chain, lambda: None)

        async def noted(handler: Any, request: Mapping[str, Any]) -> object:
            answer = await handler(request)
            device.said.append(json.dumps(answer))
            return answer

        asked = TopicAgent(SimpleNamespace(topics=chain.topics)).handlers()
        served = {name: partial(noted, handler) for name, handler in asked.items()}
        return device, await ControlServer.open(socket, served)

    device, server = there(begin())
    device.stop = lambda: there(server.close())
    yield device
    device.stop()
    loop.call_soon_threadsafe(device.chain.topics.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
async def topics(running: Running) -> AsyncIterator[TopicsElsewhere]:
    async with TopicsElsewhere(running.socket) as topics:
        yield topics


async def test_TQ46_a_running_device_protects_and_its_keys_stay_there(
    running: Running, topics: TopicsElsewhere
) -> None:
    with pytest.raises(NeedsKey) as need:
        topics.keys.protect(TOPIC, b"72")
    assert need.value.publish
    running.chain.answers = [KeyTaken(TOPIC, PUBLISH, GRANT, ())]
    await topics.ready_to_publish(TOPIC, 5)
    sealed = topics.keys.protect(TOPIC, b"72")
    assert subscriber().unprotect(TOPIC, sealed).plaintext == b"72"
    assert topics.keys.standings() == running.chain.topics.keys.standings()
    with pytest.raises(CallerFault, match="does not leave"):
        await topics.ticket()
    said = "".join(running.said)
    assert to_base64url(sealed) in said
    assert GRANT.SK.hex() not in said and to_base64url(GRANT.SK) not in said


async def test_TQ46_a_running_device_opens_at_once_or_when_a_key_has_come(
    running: Running, topics: TopicsElsewhere
) -> None:
    late: list[Reading] = []
    first, second, third = payloads(publisher(), 3)
    for each in (first, second):
        with pytest.raises(NeedsKey):
            topics.keys.unprotect(TOPIC, each, late.append)
    assert topics.keys.waits() == {TOPIC: 2}
    running.chain.answers = [taken(GRANT.snd)]
    running.chain.topics.ask(NeedsKey(TOPIC, "the question before may have found no answer"))
    await until(lambda: len(late) == 2)
    assert texts(late) == [b"reading 0", b"reading 1"]
    assert topics.keys.unprotect(TOPIC, third) == Reading(TOPIC, b"reading 2", 2, GRANT.snd, GRANT.epoch)
    assert topics.keys.unprotect(TOPIC, third).duplicate
    assert topics.keys.waits() == {}


async def test_TQ46_refusals_are_the_devices_own(running: Running, topics: TopicsElsewhere) -> None:
    running.chain.answers = [taken(GRANT.snd), denied(ErrorCode.E_CRED, PUBLISH)]
    await topics.ready_to_subscribe(TOPIC, 5)
    for data in (forged(*payloads(publisher(), 1)), bytes(LONGEST + 1), b""):
        with pytest.raises(Rejected):
            topics.keys.unprotect(TOPIC, data)
    held = running.chain.topics.keys
    assert topics.keys.counts() == held.counts() == {"E_AUTH": 1, "E_FORMAT": 2}
    assert topics.keys.rejects() == held.rejects()
    with pytest.raises(RefusedByPolicy, match="ask the operator"):
        await topics.ready_to_publish(TOPIC, 5)


async def test_TQ46_whoever_waits_may_leave_and_a_device_that_stops_is_told(
    running: Running, topics: TopicsElsewhere
) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(topics.ready_to_subscribe(TOPIC, 60), 0.05)
    running.stop()
    with pytest.raises(Rejected):
        topics.keys.unprotect(TOPIC, b"anything")
    with pytest.raises(Unavailable, match="stopped"):
        topics.keys.counts()
    with pytest.raises(Unavailable, match="nothing listens"):
        TopicsElsewhere(running.socket)
