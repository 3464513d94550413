"""Subscribers that come late or lose their place get an epoch that they can enter; a repetition moves nobody's address."""

import pytest

from keymote.engine.policy.topic_events import Cause, EpochBegun
from keymote.engine.policy.topics import AGAIN_S, Party, once_more
from keymote.engine.topic.faces import client_of
from keymote.engine.topic.ratchet import WINDOW, Opened, Receiving, Sending
from keymote.errors import PeerFault
from keymote.lab.topics import SYSTEM, TopicWorld
from keymote.wire.registry import peek
from keymote.wire.topic import PUBLISH, SUBSCRIBE, Kack, Kreq

TOPIC, FILTER = "w/7/hr", "w/#"


@pytest.fixture
def world() -> TopicWorld:
    """A publisher that has begun, and two subscribers that have not asked yet."""
    world = TopicWorld(b"latecomers")
    for name, role in (("p", PUBLISH), ("s", SUBSCRIBE), ("t", SUBSCRIBE)):
        world.add(name, name.encode() * 8)
        world.grant(FILTER, name, role)
    world.ask("p", TOPIC, PUBLISH)
    world.sim.run_for(1.0)
    return world


def sent(world: TopicWorld, count: int) -> bytes:
    """Return the last of `count` readings under the publisher's newest key."""
    state = Sending.begin(TOPIC, world.taken["p"][-1].grant)
    data = b""
    for _ in range(count):
        state, data = state.protect(b"72")
    return data


def opens(world: TopicWorld, name: str, data: bytes) -> bool:
    """Tell whether a subscriber opens a reading with what it was given last of each epoch."""
    for taken in world.taken[name]:
        for publisher in taken.publishers:
            try:
                _, found = Receiving.begin(TOPIC, taken.grant, publisher.snd).unprotect(data)
            except PeerFault:
                continue
            if isinstance(found, Opened):
                return True
    return False


def causes(world: TopicWorld) -> list[Cause]:
    return [event.cause for event in world.sim.heard(SYSTEM, EpochBegun)]


def test_TC26_who_comes_too_late_for_an_epoch_and_asks_again_gets_one_that_begins_now(world: TopicWorld) -> None:
    old = sent(world, WINDOW + 44)
    world.sim.run_for(AGAIN_S)
    world.ask("s", TOPIC, SUBSCRIBE)
    world.sim.run_for(10.0)
    assert causes(world) == [Cause.FIRST], "the reading by which it came to know the topic may be of this epoch"
    assert not opens(world, "s", old)
    world.ask("s", TOPIC, SUBSCRIBE)
    world.sim.run_for(10.0)
    assert causes(world) == [Cause.FIRST, Cause.GRANT]
    assert world.epochs("s", TOPIC, SUBSCRIBE) == [1, 2, 1], (
        "what waits for it at a broker may still be within its reach"
    )
    assert world.epochs("p", TOPIC, PUBLISH) == [1, 2]
    assert opens(world, "s", sent(world, WINDOW + 1))


def test_TC26_an_epoch_that_was_held_does_not_push_out_one_that_was_not() -> None:
    assert once_more(Party(b"s" * 8, 4, (2, 3)), 4).owed == (2, 3, 4)
    assert once_more(Party(b"s" * 8, 4, (1, 2, 3)), 4).owed == (1, 2, 3)


def test_TC26_without_a_publisher_nothing_was_missed() -> None:
    world = TopicWorld(b"nobody")
    world.add("s", b"s" * 8)
    world.grant(FILTER, "s", SUBSCRIBE)
    for _ in range(3):
        world.ask("s", TOPIC, SUBSCRIBE)
        world.sim.run_for(AGAIN_S + 1)
    assert causes(world) == [Cause.FIRST]


def test_TC26_who_lost_its_chains_gets_an_epoch_but_not_at_once(world: TopicWorld) -> None:
    world.ask("s", TOPIC, SUBSCRIBE)
    world.sim.run_for(1.0)
    data = sent(world, WINDOW + 2)
    assert not opens(world, "s", data), "as after a restart, or 257 readings missed"
    world.ask("s", TOPIC, SUBSCRIBE)
    world.sim.run_for(AGAIN_S)
    assert causes(world) == [Cause.FIRST], "an epoch is not turned over for whoever makes a subscriber ask"
    world.ask("s", TOPIC, SUBSCRIBE)
    world.sim.run_for(10.0)
    assert causes(world) == [Cause.FIRST, Cause.GRANT]
    assert opens(world, "s", sent(world, 1))
    world.ask("s", TOPIC, SUBSCRIBE)
    world.sim.run_for(10.0)
    assert len(causes(world)) == 2


def test_TC26_a_new_chain_of_a_publisher_is_news_and_no_new_epoch(world: TopicWorld) -> None:
    world.ask("s", TOPIC, SUBSCRIBE)
    world.sim.run_for(AGAIN_S)
    world.ask("p", TOPIC, PUBLISH)  # it has lost its chain
    world.sim.run_for(1.0)
    world.ask("s", TOPIC, SUBSCRIBE)
    world.sim.run_for(1.0)
    assert causes(world) == [Cause.FIRST]
    assert opens(world, "s", sent(world, 1))


def test_TC27_a_request_that_is_played_again_from_elsewhere_moves_no_address(world: TopicWorld) -> None:
    world.sim.adversary = lambda sent: () if peek(sent.data)[0] == Kack.mt else (sent,)
    world.ask("s", TOPIC, SUBSCRIBE)
    world.sim.run_for(0.5)
    (request,) = {sent.data for sent in world.sim.air if sent.source == "s" and peek(sent.data)[0] == Kreq.mt}
    client = client_of(b"s" * 8)
    before = world.sim.hosts[SYSTEM].cells[client].at
    world.sim.inject("elsewhere", SYSTEM, request)
    world.sim.run_for(0.5)
    answered = [sent.target for sent in world.sim.air if sent.source == SYSTEM and sent.target == "elsewhere"]
    assert answered, "a request is answered where it comes from"
    assert world.sim.hosts[SYSTEM].cells[client].at == before == "s", (
        "and grants that nobody asked for go where they went"
    )
