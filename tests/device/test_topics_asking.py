"""When a device asks for keys: once for many readings, again after a pause while they wait, and never for ever."""

import asyncio
from collections.abc import Sequence

import pytest
from test_topic_keys import GRANT, TOPIC, payloads, publisher

from keymote.device.faults import NotReady, Revoked
from keymote.device.topic_keys import NeedsKey
from keymote.device.topics import MOST_ASKED, Topics
from keymote.engine.base import Command, Report
from keymote.engine.topic.faces import AskForKey, KeyDenied, KeyTaken
from keymote.errors import ErrorCode
from keymote.host.async_host import SystemClock
from keymote.wire.topic import PUBLISH, SUBSCRIBE, Publisher


class Chain:
    """Takes notes of what is asked for, and answers what the test says."""

    def __init__(self, again_s: float = 0.01) -> None:
        self.asked: list[AskForKey] = []
        self.answers: list[Report] = []
        self.topics = Topics(self, SystemClock().now, again_s=again_s)

    def why_no_chain(self) -> Exception | None:
        return None

    async def order_chain(self, command: Command) -> Sequence[Report]:
        assert isinstance(command, AskForKey)
        self.asked.append(command)
        if self.answers:
            self.topics.heard(self.answers.pop(0))
        return ()


def taken(*numbers: int) -> KeyTaken:
    return KeyTaken(TOPIC, SUBSCRIBE, GRANT, tuple(Publisher(number, b"") for number in numbers))


def denied(code: ErrorCode, role: int = SUBSCRIBE) -> KeyDenied:
    return KeyDenied(TOPIC, role, code)


async def until(holds) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110  nobody sets an event for it
            await asyncio.sleep(0.005)  # the pause of a poll with a deadline


async def test_TM10_many_readings_are_one_question_and_a_lost_one_is_asked_again_while_they_wait() -> None:
    chain, late = Chain(), []
    chain.answers = [denied(ErrorCode.E_TIMEOUT), taken(3), taken(GRANT.snd)]
    for payload in payloads(publisher(), 5):
        with pytest.raises(NeedsKey):
            chain.topics.unprotect(TOPIC, payload, late.append)
    await until(lambda: len(late) == 5)
    assert chain.asked == [AskForKey(TOPIC, SUBSCRIBE)] * 3
    await asyncio.sleep(0.05)  # nothing is missing any more, so nothing is asked
    assert len(chain.asked) == 3
    chain.topics.close()


async def test_TM10_a_refusal_is_not_asked_again_and_says_what_it_is() -> None:
    chain = Chain()
    chain.answers = [denied(ErrorCode.E_CRED)]
    with pytest.raises(Revoked):
        await chain.topics.ready_to_subscribe(TOPIC, 1)
    chain.answers = [denied(ErrorCode.E_TIMEOUT, PUBLISH)] * 300
    with pytest.raises(NotReady, match="does not answer"):
        await chain.topics.ready_to_publish(TOPIC, 1.0)
    assert 2 < len(chain.asked) < 200
    chain.topics.close()
    with pytest.raises(NotReady, match="stopped"):
        await chain.topics.ready_to_publish(TOPIC, 1)


async def test_TM10_topics_that_there_are_not_take_no_memory_for_ever() -> None:
    chain = Chain(again_s=60.0)
    (payload,) = payloads(publisher(), 1)
    for number in range(2 * MOST_ASKED):
        chain.topics.ask(NeedsKey(f"junk/{number}", "no key"))
    assert len(chain.topics._asking) == MOST_ASKED  # noqa: SLF001  what is kept is the matter here
    with pytest.raises(NeedsKey):
        chain.topics.unprotect(TOPIC, payload)
    chain.topics.close()
