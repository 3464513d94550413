"""A trusted system and its clients: who is given which key, in which order, and what is kept of it."""

import pytest

from keymote.engine.policy.topic_charter import TopicPolicy
from keymote.engine.policy.topic_events import Acknowledged, Cause, EpochBegun, KeyRefused, Safe
from keymote.engine.topic.denial import denial, denied
from keymote.engine.topic.faces import KeyDenied
from keymote.errors import ErrorCode
from keymote.lab.topics import SYSTEM, TopicWorld
from keymote.wire.topic import PUBLISH, SUBSCRIBE, KeyGrant, Publisher

TOPIC, FILTER = "w/7/hr", "w/#"
PUB, SUB, OTHER = b"publish1", b"subscri1", b"subscri2"


@pytest.fixture
def world() -> TopicWorld:
    """A publisher and a subscriber of w/#, and a stranger."""
    world = TopicWorld(b"topics")
    for name, client in (("p", PUB), ("s", SUB), ("t", OTHER)):
        world.add(name, client)
    world.book.grant(FILTER, PUB, PUBLISH)
    world.book.grant(FILTER, SUB, SUBSCRIBE)
    return world


@pytest.fixture
def going(world: TopicWorld) -> TopicWorld:
    """Both hold the first epoch of w/7/hr."""
    world.ask("p", TOPIC, PUBLISH)
    world.sim.run_for(1.0)
    world.ask("s", TOPIC, SUBSCRIBE)
    world.sim.run_for(1.0)
    return world


def test_TC10_a_session_begins_with_the_first_request_for_its_topic(going: TopicWorld) -> None:
    (for_publisher,), (for_subscriber,) = going.taken["p"], going.taken["s"]
    key, same = for_publisher.grant, for_subscriber.grant
    assert (key.SK, key.sess, key.epoch, key.publishers) == (same.SK, same.sess, 1, None)
    assert for_subscriber.publishers == (Publisher(key.snd),)
    assert for_publisher.publishers == ()
    events = going.sim.heard(SYSTEM, EpochBegun) + going.sim.heard(SYSTEM, Acknowledged) + going.sim.heard(SYSTEM, Safe)
    assert events == [
        EpochBegun(TOPIC, 1, Cause.FIRST, 2),
        Acknowledged(TOPIC, 1, PUB, PUBLISH),
        Acknowledged(TOPIC, 1, SUB, SUBSCRIBE),
        Safe(TOPIC, 1),
    ]


def test_TC07_a_client_without_the_right_is_told_so_at_once(world: TopicWorld) -> None:
    world.ask("t", TOPIC, SUBSCRIBE)
    world.ask("p", TOPIC, SUBSCRIBE)
    world.ask("p", "elsewhere", PUBLISH)
    world.sim.run_for(1.0)
    code = ErrorCode.E_CRED
    assert world.sim.heard("t", KeyDenied) == [KeyDenied(TOPIC, SUBSCRIBE, code)]
    assert world.sim.heard("p", KeyDenied) == [KeyDenied(TOPIC, SUBSCRIBE, code), KeyDenied("elsewhere", PUBLISH, code)]
    assert world.sim.heard(SYSTEM, KeyRefused)[0] == KeyRefused(OTHER, TOPIC, code)
    assert world.session(TOPIC) is None


def test_TC07_a_refusal_opens_nothing() -> None:
    assert denied(denial(ErrorCode.E_LIMIT)) is ErrorCode.E_LIMIT
    assert not any(denial(ErrorCode.E_CRED).SK)
    assert denied(KeyGrant(bytes(8), 9, 0, 1, bytes(32), 0, 1, 0)) is None
    assert denied(KeyGrant(bytes(8), 9, 0, 1, bytes(32), 0, 0, 60)) is None
    assert denied(KeyGrant(b"sess0001", 9, 0, 1, bytes(32), 0, 0, 0)) is None
    assert denied(KeyGrant(bytes(8), 999, 0, 0, bytes(32), 0, 0, 0)) is ErrorCode.E_CRED


def test_TC07_a_publisher_that_cannot_sign_is_refused_where_everybody_must(world: TopicWorld) -> None:
    world.book.grant(FILTER, OTHER, PUBLISH, bytes(32), policy=TopicPolicy.SIGNED)
    world.ask("p", TOPIC, PUBLISH)
    world.ask("t", TOPIC, PUBLISH)
    world.sim.run_for(1.0)
    world.ask("s", TOPIC, SUBSCRIBE)
    world.sim.run_for(1.0)
    assert world.sim.heard("p", KeyDenied) == [KeyDenied(TOPIC, PUBLISH, ErrorCode.E_CRED)]
    assert world.taken["s"][0].publishers == (Publisher(world.taken["t"][0].grant.snd, bytes(32)),)
