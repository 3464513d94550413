"""Clients that share one connection to the broker: SG-26, SG-27."""

import pytest
from sn_world import World

from keymote.engine.mqttsn.faces import OWN, Closed, Message, Open, Opened, Session, Settings, Subscribe, Unsubscribe
from keymote.engine.mqttsn.mote_faces import Attach, Attached, Detach, Listen, Listening, Said, Say, Sleep
from keymote.engine.mqttsn.states import State
from keymote.wire.mqttsn_fields import ReturnCode

OK = ReturnCode.ACCEPTED


@pytest.fixture
def world() -> World:
    """Two motes of clean sessions, `a` and `b`, that share the gateway's connection."""
    world = World(Settings(), aggregating=True)
    world.want(Open(OWN, clean=False))  # as the broker side does when it starts
    world.broker.held[""].session = OWN
    for name in "ab":
        world.mote(name)
        world.wish(name, Attach())
    world.run()
    assert world.said("a", Attached) == world.said("b", Attached) == [Attached(OK)]
    return world


def test_SG26_the_broker_sees_one_connection(world: World) -> None:
    assert list(world.broker.held) == [""]
    world.wish("a", Listen(1, "ward/#"))
    world.wish("b", Listen(1, "ward/+/hr"), Listen(2, "ward/#"))
    world.run()
    assert world.said("b", Listening) == [Listening(1, OK), Listening(2, OK)]
    world.wish("a", Say(3, Message("ward/7/hr", b"72", 1)), Say(4, Message("ward/7/hr", b"73", 2)))
    world.run()
    assert world.said("a", Said) == [Said(3, OK), Said(4, OK)]
    assert world.messages("a") == world.messages("b") == [b"72", b"73"]  # once, whatever filters cover it
    assert list(world.broker.held) == [""]


def test_SG26_a_filter_is_given_back_when_its_last_client_goes(world: World) -> None:
    for name in "ab":
        world.wish(name, Listen(1, "ward/#"))
    world.run()
    world.wish("a", Detach())
    world.run()
    assert set(world.broker.held[""].filters) == {"ward/#"}
    world.publish("ward/7", b"1")
    del world.motes["b"]
    world.run(100.0)
    assert world.gateway.state("b") is State.LOST
    assert world.broker.held[""].filters == {}
    assert world.gateway.waiting() == {}


def test_SG26_a_refusal_is_its_clients_alone(world: World) -> None:
    world.wish("a", Listen(1, "secret/1"), Listen(2, "ward/1"))
    world.run()
    assert world.said("a", Listening) == [Listening(1, ReturnCode.NOT_SUPPORTED), Listening(2, OK)]


def test_SG26_a_retained_message_is_for_those_who_just_subscribed(world: World) -> None:
    for name in "ab":
        world.wish(name, Listen(1, "ward/7"))
        world.run()
        world.publish("ward/7", b"live")
        world.run()
    world.wish("b", Listen(2, "ward/7"))
    world.run()
    world.publish("ward/7", b"kept", retain=True)  # as a broker says it again after SUBSCRIBE
    world.run()
    assert world.messages("a") == [b"live", b"live"]
    assert world.messages("b") == [b"live", b"kept"]


def test_SG26_a_broker_that_is_away_is_congestion(world: World) -> None:
    world.tell(Closed(OWN))
    world.mote("c")
    world.wish("c", Attach())
    world.run()
    assert world.said("c", Attached) == [Attached(ReturnCode.CONGESTION)]
    world.tell(Opened(OWN))
    world.wish("c", Attach())
    world.run()
    assert world.said("c", Attached)[-1] == Attached(OK)


def test_SG27_a_shared_subscription_is_granted_qos_0_and_a_sleeper_holds_nobody_up(world: World) -> None:
    for name in "ab":
        world.wish(name, Listen(1, "ward/#", 1))
    world.wish("a", Sleep(600))
    world.run()
    for number in range(100):
        world.publish("ward/7", b"%d" % number, 1)
        world.run(0.05)
    assert len(world.messages("b")) == 100
    assert not world.broker.held[""].unacknowledged
    assert world.gateway.waiting() == {"a": 64}


def test_SG27_a_session_that_lasts_has_a_connection_of_its_own(world: World) -> None:
    world.mote("c")
    world.wish("c", Attach(clean=False), Listen(1, "ward/#", 1), Sleep(600))
    world.run()
    assert set(world.broker.held) == {"", "c"}
    world.publish("ward/7", b"1", 1)
    world.run()
    assert list(world.broker.held["c"].unacknowledged.values()) == [Message("ward/7", b"1", 1)]
    world.wish("c", Attach())  # and gives it up
    world.run()
    assert not world.broker.held["c"].online
    assert world.gateway.state("c") is State.ACTIVE


def test_SG27_what_is_not_shared_passes_as_it_is() -> None:
    world = World(aggregating=True)
    machine = world.aggregator
    assert machine is not None
    own = Session("c", 3)
    for wish in (Open(own, clean=False), Subscribe(own, 1, "x", 1), Unsubscribe(own, 2, "x")):
        assert machine.want(wish) == ([wish], [])
    assert machine.heard(Opened(own)) == [Opened(own)]
