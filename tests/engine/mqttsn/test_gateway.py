"""The MQTT-SN gateway between motes and a broker: rules SG-*."""

import pytest
from sn_world import GATEWAY, World

from keymote.engine.mqttsn.faces import Acknowledge, Address, Close, Closed, Message, Open, Published, Reply, Settings
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
    Listen,
    Listening,
    Said,
    Say,
    Sleep,
)
from keymote.engine.mqttsn.states import State
from keymote.wire import mqttsn
from keymote.wire.mqttsn import (
    Advertise,
    Connack,
    Connect,
    Disconnect,
    Forward,
    GwInfo,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
    Regack,
    Register,
    SearchGw,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    WillMsg,
    WillMsgReq,
    WillMsgResp,
    WillMsgUpd,
    WillTopic,
    WillTopicReq,
    WillTopicResp,
    WillTopicUpd,
)
from keymote.wire.mqttsn_fields import Predefined, ReturnCode, ShortTopic, TopicId, TopicName

OK, CONGESTION, INVALID, NOT_SUPPORTED = ReturnCode
ROOMY = Settings(predefined={7: "ward/7/hr"})


@pytest.fixture
def world() -> World:
    return World(ROOMY)


def attached(world: World, name: str = "mote", *, clean: bool = True, keep_alive_s: int = 60) -> None:
    """Put a mote into the air and connect it."""
    if name not in world.motes:
        world.mote(name, predefined=world.settings.predefined)
    world.wish(name, Attach(keep_alive_s, clean))
    world.run()
    assert world.said(name, Attached)[-1] == Attached(OK)


def by_hand(world: World, name: str = "hand", *, clean: bool = True, keep_alive_s: int = 600) -> list[Packet]:
    """Connect a client whose packets the test writes itself; return what it hears from now on."""
    world.send(name, Connect(name, keep_alive_s, clean))
    world.run()
    heard = world.heard[name]
    assert heard == [Connack(OK)]
    heard.clear()
    return heard


# ------------------------------------------------------------------ connecting


def test_SG01_a_client_connects_once_the_broker_has_it(world: World) -> None:
    world.broker.silent = True
    world.send("hand", Connect("hand", 60))
    world.run()
    assert "hand" not in world.heard
    assert world.gateway.state("hand") is State.AWAIT_BROKER
    world.broker.silent = False
    wish = world.broker.wants[0]
    assert isinstance(wish, Open)
    for item in world.broker.want(wish):
        world.tell(item)
    world.run()
    assert world.heard["hand"] == [Connack(OK)]
    assert world.gateway.state("hand") is State.ACTIVE


def test_SG01_a_refusing_broker_refuses_the_client(world: World) -> None:
    world.broker.refuses = True
    world.send("hand", Connect("hand", 60))
    world.run()
    assert world.heard["hand"] == [Connack(CONGESTION)]
    assert world.gateway.state("hand") is State.DISCONNECTED


def test_SG02_the_will_is_asked_for_and_published_when_the_client_is_silent(world: World) -> None:
    world.mote("mote")
    world.wish("mote", Attach(60, will=Message("w/7/gone", b"help", 1, retain=True)))
    world.run()
    assert world.said("mote", Attached) == [Attached(OK)]
    del world.motes["mote"]
    world.run(89.0)
    assert world.gateway.state("mote") is State.ACTIVE
    world.run(2.0)
    assert world.gateway.state("mote") is State.LOST
    assert world.broker.published == [Message("w/7/gone", b"help", 1, retain=True)]
    assert world.gateway.tally["lost"] == 1


def test_SG02_a_client_that_says_goodbye_leaves_no_will(world: World) -> None:
    world.mote("mote")
    world.wish("mote", Attach(60, will=Message("w/7/gone", b"help")))
    world.wish("mote", Detach())
    world.run(200.0)
    assert world.said("mote", Detached) == [Detached()]
    assert world.broker.published == []
    assert isinstance(world.broker.wants[-1], Close)


def test_SG02_each_step_of_the_will_may_be_repeated(world: World) -> None:
    world.send("hand", Connect("hand", 60, will=True), Connect("hand", 60, will=True))
    world.send("hand", WillTopic("w/7", 1), WillTopic("w/7", 1), WillMsg(b"x"), WillMsg(b"x"))
    world.run()
    expected = [WillTopicReq(), WillTopicReq(), WillMsgReq(), WillMsgReq(), Connack(OK), Connack(OK)]
    assert world.heard["hand"] == expected
    assert world.broker.held["hand"].will == Message("w/7", b"x", 1)


def test_SG02_an_empty_will_topic_takes_the_will_away(world: World) -> None:
    world.send("hand", Connect("hand", 60, clean=False, will=True), WillTopic("w/7"), WillMsg(b"x"))
    world.run()
    world.send("hand", Connect("hand", 60, clean=False, will=True), WillTopic(""))
    world.run(100.0)
    assert world.gateway.state("hand") is State.LOST
    assert world.broker.published == []


def test_SG01_a_will_on_the_way_does_not_stand_for_the_brokers_word(world: World) -> None:
    world.broker.silent = True
    world.send("hand", Connect("hand", 60, clean=False))
    world.send("hand", Connect("hand", 60, clean=False, will=True), WillTopic("w/7"), WillMsg(b"x"))
    world.run()
    assert world.heard["hand"] == [WillTopicReq(), WillMsgReq()]
    assert world.gateway.state("hand") is State.AWAIT_BROKER


def test_SG02_an_unfinished_will_ends_by_itself(world: World) -> None:
    world.send("hand", Connect("hand", 60, will=True))
    world.run(41.0)
    assert world.gateway.state("hand") is State.DISCONNECTED
    assert world.broker.wants == []


def test_SG02_a_will_without_a_possible_topic_is_refused(world: World) -> None:
    world.send("hand", Connect("hand", 60, will=True), WillTopic("w/#"))
    world.run()
    assert world.heard["hand"] == [WillTopicReq(), Connack(NOT_SUPPORTED)]


def test_SG03_the_will_is_changed_while_connected(world: World) -> None:
    heard = by_hand(world)
    world.send("hand", WillMsgUpd(b"too early"), WillTopicUpd("w/9", 1), WillMsgUpd(b"new"), WillTopicUpd("w/+"))
    world.run()
    assert heard == [WillMsgResp(NOT_SUPPORTED), WillTopicResp(OK), WillMsgResp(OK), WillTopicResp(INVALID)]
    world.run(1000.0)
    assert world.broker.published == [Message("w/9", b"new", 1)]


# ------------------------------------------------------------------ publishing


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("topic", ["ward/7/spo2", "hr"])
def test_SG04_a_message_reaches_the_broker(world: World, topic: str, qos: int) -> None:
    attached(world)
    world.wish("mote", Say(5, Message(topic, b"98", qos, retain=True)))
    world.run()
    assert world.said("mote", Said) == [Said(5, OK)]
    assert world.broker.published == [Message(topic, b"98", qos, retain=True)]


def test_SG04_a_predefined_number_needs_no_registration(world: World) -> None:
    attached(world)
    world.wish("mote", Say(5, Message("ward/7/hr", b"70", 1), predefined=7))
    world.run()
    assert world.broker.published == [Message("ward/7/hr", b"70", 1)]
    assert not [data for _, _, data in world.wire if isinstance(mqttsn.decode(data), Register)]


def test_SG04_a_publication_is_acknowledged_when_the_broker_has_it_and_not_before(world: World) -> None:
    heard = by_hand(world)
    world.broker.silent = True
    world.send("hand", mqttsn.Publish(ShortTopic("hr"), b"70", 1, 9), mqttsn.Publish(ShortTopic("hr"), b"70", 1, 9))
    world.run()
    assert heard == []
    asked = world.broker.wants[-1]
    assert len(world.broker.wants) == 2  # Open, and the message once
    world.tell(Published(asked.session, asked.ref))
    world.run()
    assert heard == [Puback(0x6872, 9, OK)]


def test_SG04_what_the_broker_does_not_take_is_congestion(world: World) -> None:
    heard = by_hand(world)
    world.broker.silent = True
    world.send("hand", mqttsn.Publish(ShortTopic("hr"), b"70", 1, 9))
    world.run()
    asked = world.broker.wants[-1]
    world.tell(Published(asked.session, asked.ref, taken=False))
    world.run()
    assert heard == [Puback(0x6872, 9, CONGESTION)]


def test_SG05_qos_2_is_passed_on_once(world: World) -> None:
    heard = by_hand(world)
    again = mqttsn.Publish(ShortTopic("hr"), b"70", 2, 9, dup=True)
    world.send("hand", mqttsn.Publish(ShortTopic("hr"), b"70", 2, 9), again, again, Pubrel(9), Pubrel(9))
    world.run()
    assert world.broker.published == [Message("hr", b"70", 2)]
    assert heard == [Pubrec(9), Pubrec(9), Pubrec(9), Pubcomp(9), Pubcomp(9)]
    world.send("hand", mqttsn.Publish(ShortTopic("hr"), b"71", 2, 9))
    world.run()
    assert world.broker.published[-1].data == b"71"


def test_SG06_qos_minus_1_needs_no_connection(world: World) -> None:
    world.send("nobody", mqttsn.Publish(ShortTopic("hr"), b"70", -1), mqttsn.Publish(Predefined(7), b"71", -1))
    world.run()
    assert world.broker.published == [Message("hr", b"70"), Message("ward/7/hr", b"71")]
    assert "nobody" not in world.heard


@pytest.mark.parametrize("topic", [TopicId(3), Predefined(8), ShortTopic("+/")])
def test_SG06_qos_minus_1_to_an_unknown_topic_is_dropped(world: World, topic: TopicId | Predefined) -> None:
    world.send("nobody", mqttsn.Publish(topic, b"70", -1))
    world.run()
    assert world.broker.published == []
    assert "nobody" not in world.heard
    assert world.gateway.tally["unknown-topic"] == 1


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_SG07_an_unknown_topic_id_is_refused_and_registered_anew(world: World, qos: int) -> None:
    heard = by_hand(world)
    world.send("hand", mqttsn.Publish(TopicId(3), b"70", qos, 4 if qos else 0))
    world.run()
    assert heard == [Puback(3, 4 if qos else 0, INVALID)]
    assert world.broker.published == []


def test_SG07_topics_that_mqtt_does_not_have_are_refused(world: World) -> None:
    heard = by_hand(world)
    world.send("hand", Register(0, 1, "w/#"), Register(0, 2, "x" * 300), mqttsn.Publish(ShortTopic("a+"), b"", 1, 3))
    world.send("hand", Subscribe(TopicName("w/#/x"), 4), Subscribe(Predefined(99), 5), Unsubscribe(Predefined(99), 6))
    world.run()
    assert heard == [
        Regack(0, 1, INVALID),
        Regack(0, 2, INVALID),
        Puback(0x612B, 3, INVALID),
        Suback(0, 0, 4, INVALID),
        Suback(0, 0, 5, INVALID),
        Unsuback(6),
    ]


def test_SG07_a_topic_keeps_its_number(world: World) -> None:
    heard = by_hand(world)
    world.send("hand", Register(0, 1, "w/7"), Register(0, 2, "w/8"), Register(0, 3, "w/7"))
    world.run()
    assert heard == [Regack(1, 1, OK), Regack(2, 2, OK), Regack(1, 3, OK)]


def test_SG07_a_mote_whose_number_was_forgotten_registers_again(world: World) -> None:
    attached(world)
    world.wish("mote", Say(1, Message("w/7", b"1", 1)))
    world.run()
    world.send("mote", Connect("mote", 60, clean=True))  # somebody restarted it, and its numbers with it
    world.run()
    world.wish("mote", Say(2, Message("w/7", b"2", 1)))
    world.run()
    assert world.said("mote", Said) == [Said(1, OK), Said(2, OK)]
    assert [message.data for message in world.broker.published] == [b"1", b"2"]


# ------------------------------------------------------------------ subscribing


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_SG08_a_subscriber_gets_what_its_filter_covers(world: World, qos: int) -> None:
    attached(world)
    world.wish("mote", Listen(1, "ward/+/hr", qos))
    world.run()
    for number in range(3):
        world.publish(f"ward/{number % 2}/hr", b"%d" % number, 2)
    world.run()
    assert world.said("mote", Listening) == [Listening(1, OK)]
    assert world.messages("mote") == [b"0", b"1", b"2"]
    told = [mqttsn.decode(data).name for _, to, data in world.wire if data[1] == Register.kind and to == "mote"]
    assert told == ["ward/0/hr", "ward/1/hr"]  # each topic once
    assert len(world.broker.acknowledged) == (3 if qos else 0)
    assert world.gateway.waiting() == {}


def test_SG08_a_name_a_short_topic_and_a_predefined_number(world: World) -> None:
    heard = by_hand(world)
    world.send(
        "hand", Subscribe(TopicName("w/7"), 1, 0), Subscribe(ShortTopic("hr"), 2, 0), Subscribe(Predefined(7), 3)
    )
    world.run()
    assert heard == [Suback(0, 1, 1, OK), Suback(0, 0, 2, OK), Suback(0, 7, 3, OK)]
    heard.clear()
    for topic in ("w/7", "hr", "ward/7/hr"):
        world.publish(topic, b"x", 0, retain=True)
    world.run()
    assert [packet.topic for packet in heard] == [TopicId(1), ShortTopic("hr"), Predefined(7)]
    assert all(packet.retain for packet in heard)
    world.send("hand", Unsubscribe(TopicName("w/7"), 4))
    world.run()
    heard.clear()
    world.publish("w/7", b"x", 0)
    world.run()
    assert heard == []


def test_SG08_a_refused_subscription_says_so(world: World) -> None:
    heard = by_hand(world)
    world.send("hand", Subscribe(TopicName("secret/1"), 1, 1))
    world.run()
    assert heard == [Suback(0, 0, 1, NOT_SUPPORTED)]


def test_SG09_a_lost_regack_is_asked_for_again(world: World) -> None:
    attached(world)
    world.wish("mote", Listen(1, "w/#"))
    world.run()
    lost: list[Packet] = []

    def twice(_source: str, _to: str, packet: Packet) -> bool:
        if isinstance(packet, Regack) and len(lost) < 2:
            lost.append(packet)
            return True
        return False

    world.block = twice
    world.publish("w/7", b"first")
    world.publish("w/7", b"second")
    world.run(19.0)
    assert world.messages("mote") == []
    world.run(2.0)
    assert world.messages("mote") == [b"first", b"second"]
    assert len(lost) == 2


def test_SG10_the_broker_keeps_what_the_client_has_not_acknowledged(world: World) -> None:
    heard = by_hand(world)
    world.send("hand", Subscribe(ShortTopic("hr"), 1, 1))
    world.run()
    heard.clear()
    world.publish("hr", b"70")
    world.publish("hr", b"71")
    world.run(100.0)
    said = [packet for packet in heard if isinstance(packet, mqttsn.Publish)]
    assert len(said) == 1 + world.settings.retries
    assert [packet.dup for packet in said] == [False, True, True, True]
    assert {(packet.msg_id, packet.data) for packet in said} == {(1, b"70")}
    assert world.broker.acknowledged == []
    heard.clear()
    world.send("hand", Pingreq())  # it is there after all
    world.run()
    assert [packet.data for packet in heard if isinstance(packet, mqttsn.Publish)] == [b"70"]
    world.send("hand", Puback(0x6872, 1, OK), Puback(0x6872, 1, OK))
    world.run()
    assert [message.data for _, message in world.broker.acknowledged] == [b"70"]
    world.send("hand", Puback(0x6872, 2, OK))
    world.run()
    assert [message.data for _, message in world.broker.acknowledged] == [b"70", b"71"]


def test_SG10_a_lost_client_finds_everything_at_the_broker(world: World) -> None:
    attached(world, clean=False)
    world.wish("mote", Listen(1, "w/7"))
    world.run()
    mote = world.motes.pop("mote")
    world.heard["mote"] = []
    for number in range(5):
        world.publish("w/7", b"%d" % number)
    world.run(200.0)
    assert world.gateway.state("mote") is State.LOST
    world.publish("w/7", b"5")
    world.motes["mote"] = mote
    attached(world, clean=False)
    world.run(60.0)
    assert world.messages("mote") == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert len(world.broker.acknowledged) == 6


def test_SG10_qos_2_reaches_the_client_once_although_answers_are_lost(world: World) -> None:
    attached(world)
    world.wish("mote", Listen(1, "w/7", 2))
    world.run()
    seen: set[type] = set()

    def first_of_each(_source: str, to: str, packet: Packet) -> bool:
        if to == GATEWAY and isinstance(packet, Pubrec | Pubcomp) and type(packet) not in seen:
            seen.add(type(packet))
            return True
        return False

    world.block = first_of_each
    world.publish("w/7", b"once", 2)
    world.run(30.0)
    assert world.messages("mote") == [b"once"]
    assert len(world.broker.acknowledged) == 1


def test_SG10_a_client_that_does_not_know_the_topic_is_told_again(world: World) -> None:
    heard = by_hand(world)
    world.send("hand", Subscribe(TopicName("w/7"), 1, 1))
    world.run()
    heard.clear()
    world.publish("w/7", b"70")
    world.run()
    world.send("hand", Puback(1, 1, INVALID))
    world.run()
    assert heard[1:] == [Register(1, 2, "w/7")]
    world.send("hand", Regack(1, 2, OK))
    world.run()
    assert heard[2:] == [mqttsn.Publish(TopicId(1), b"70", 1, 3)]
    world.send("hand", Puback(1, 3, INVALID))  # a client that refuses it twice will not have it
    world.run()
    assert len(world.broker.acknowledged) == 1
    assert world.gateway.tally["refused-by-client"] == 1


def test_SG10_a_message_that_no_datagram_carries_is_let_go_and_counted(world: World) -> None:
    by_hand(world)
    world.send("hand", Subscribe(ShortTopic("hr"), 1, 1))
    world.run()
    world.publish("hr", bytes(1281))
    assert len(world.broker.acknowledged) == 1
    assert world.gateway.tally["too-large"] == 1


def test_SG10_the_broker_repeats_itself_and_the_client_hears_it_once(world: World) -> None:
    heard = by_hand(world, clean=False)
    world.send("hand", Subscribe(ShortTopic("hr"), 1, 1))
    world.run()
    heard.clear()
    world.publish("hr", b"70")
    held = world.broker.held["hand"]
    for item in world.broker.want(Open(held.session, clean=False)):
        world.tell(item)
    world.run()
    assert len(heard) == 1
    assert world.gateway.tally["repeated-by-broker"] == 1


# ------------------------------------------------------------------ sleeping


def test_SG11_a_sleeper_gets_in_three_cycles_what_came_in_order(world: World) -> None:
    attached(world)
    world.wish("mote", Listen(1, "w/#"))
    world.wish("mote", Sleep(100))
    world.run()
    assert world.said("mote", Asleep) == [Asleep()]
    expected: list[bytes] = []
    for cycle in range(3):
        for number in range(3):
            expected.append(b"%d/%d" % (cycle, number))
            world.publish(f"w/{number}", expected[-1], number)
        world.run(120.0)
        assert world.messages("mote") == expected[:-3]
        assert world.gateway.state("mote") is State.ASLEEP
        world.wish("mote", Fetch())
        world.run()
        assert world.messages("mote") == expected
        assert len(world.said("mote", Fetched)) == cycle + 1
        assert world.gateway.state("mote") is State.ASLEEP
    assert len(world.broker.acknowledged) == 6  # all but those of QoS 0


def test_SG11_nothing_is_said_to_a_sleeper_and_nothing_acknowledged_for_it(world: World) -> None:
    heard = by_hand(world)
    world.send("hand", Subscribe(ShortTopic("hr"), 1, 1), Disconnect(100))
    world.run()
    heard.clear()
    world.publish("hr", b"70")
    world.run(100.0)
    assert heard == []
    assert world.broker.acknowledged == []


def test_SG11_a_sleeper_that_does_not_answer_sleeps_on_and_loses_nothing(world: World) -> None:
    heard = by_hand(world)
    world.send("hand", Subscribe(ShortTopic("hr"), 1, 1), Disconnect(100))
    world.run()
    world.publish("hr", b"70")
    heard.clear()
    world.send("hand", Pingreq("hand"))
    world.run(41.0)
    assert world.gateway.state("hand") is State.ASLEEP
    assert Pingresp() not in heard
    heard.clear()
    world.send("hand", Pingreq("hand"))
    world.run()
    assert heard == [mqttsn.Publish(ShortTopic("hr"), b"70", 1, 1, dup=True)]
    world.send("hand", Puback(0x6872, 1, OK))
    world.run()
    assert heard[1:] == [Pingresp()]
    assert len(world.broker.acknowledged) == 1


def test_SG11_what_comes_while_it_is_awake_waits_for_the_next_time(world: World) -> None:
    heard = by_hand(world)
    world.send("hand", Subscribe(ShortTopic("hr"), 1, 1), Disconnect(100))
    world.run()
    world.publish("hr", b"70")
    heard.clear()
    world.send("hand", Pingreq("hand"))
    world.run()
    world.publish("hr", b"71")
    world.send("hand", Puback(0x6872, 1, OK))
    world.run()
    assert heard[1:] == [Pingresp()]


def test_SG11_a_sleeper_that_stays_away_is_lost(world: World) -> None:
    world.send("hand", Connect("hand", 60, will=True), WillTopic("w/7"), WillMsg(b"gone"), Disconnect(100))
    world.run(151.0)
    assert world.gateway.state("hand") is State.LOST
    assert world.broker.published == [Message("w/7", b"gone")]


def test_SG11_a_sleeper_wakes_for_good_by_connecting(world: World) -> None:
    attached(world, clean=False)
    world.wish("mote", Listen(1, "w/7"), Sleep(100))
    world.run()
    world.publish("w/7", b"70")
    attached(world, clean=False)
    assert world.messages("mote") == [b"70"]
    assert sum(isinstance(wish, Open) for wish in world.broker.wants) == 1  # the broker's connection stood


def test_SG12_a_client_is_lost_after_one_and_a_half_keep_alives(world: World) -> None:
    attached(world, keep_alive_s=10)
    world.run(100.0)
    assert world.gateway.state("mote") is State.ACTIVE  # its PINGREQs keep it
    del world.motes["mote"]
    world.run(16.0)
    assert world.gateway.state("mote") is State.LOST


def test_SG12_a_client_without_keep_alive_is_forgotten_after_a_day(world: World) -> None:
    by_hand(world, keep_alive_s=0)
    world.run(86_300.0)
    assert world.gateway.state("hand") is State.ACTIVE
    world.run(200.0)
    assert world.gateway.state("hand") is State.LOST


# ------------------------------------------------------------------ addresses and strangers


def test_SG13_a_client_id_stays_with_an_address_that_answers(world: World) -> None:
    attached(world)
    world.wish("mote", Listen(1, "w/7"))
    world.run()
    world.send("thief", Connect("mote", 60, clean=False))
    world.run(5.0)
    assert world.heard["thief"] == [Connack(CONGESTION)]
    world.publish("w/7", b"70")
    world.run()
    assert world.messages("mote") == [b"70"]
    assert world.gateway.tally["address-refused"] == 1


def test_SG13_a_client_that_moved_has_its_id_after_the_old_address_was_silent(world: World) -> None:
    heard = by_hand(world, clean=False)
    world.send("hand", Subscribe(ShortTopic("hr"), 1, 1))
    world.run()
    world.send("moved", Connect("hand", 60, clean=False), Connect("hand", 60, clean=False))
    world.run(2.0)
    assert "moved" not in world.heard
    assert heard[-1] == Pingreq()
    world.run(2.0)
    assert world.heard["moved"] == [Connack(OK)]
    assert heard[-1] == Disconnect()
    world.publish("hr", b"70")
    world.run()
    assert world.heard["moved"][-1] == mqttsn.Publish(ShortTopic("hr"), b"70", 1, 1)


def test_SG13_a_sleeper_cannot_be_robbed(world: World) -> None:
    heard = by_hand(world)
    world.send("hand", Subscribe(ShortTopic("hr"), 1, 1), Disconnect(100))
    world.run()
    world.publish("hr", b"70")
    world.send("thief", Pingreq("hand"), Connect("hand", 60, clean=False), mqttsn.Publish(TopicId(1), b"x", 1, 1))
    world.run()
    assert world.heard["thief"] == [Connack(CONGESTION), Disconnect()]
    heard.clear()
    world.send("hand", Pingreq("hand"))
    world.run()
    assert [packet.data for packet in heard] == [b"70"]


def test_SG13_an_address_that_is_somebody_else_now_has_lost_its_client(world: World) -> None:
    by_hand(world)
    world.send("hand", Connect("other", 60))
    world.run()
    assert world.gateway.state("hand") is State.LOST
    assert world.gateway.state("other") is State.ACTIVE


@pytest.mark.parametrize(
    "packet",
    [
        Register(0, 1, "w/7"),
        mqttsn.Publish(TopicId(1), b"x", 1, 1),
        mqttsn.Publish(TopicId(1), b"x"),
        Subscribe(TopicName("w/7"), 1),
        Unsubscribe(TopicName("w/7"), 1),
        Pingreq(),
        Pingreq("nobody"),
        WillMsgUpd(b""),
    ],
)
def test_SG14_who_believes_to_be_connected_is_told_that_it_is_not(world: World, packet: Packet) -> None:
    world.send("nobody", packet)
    world.run()
    assert world.heard["nobody"] == [Disconnect()]


@pytest.mark.parametrize(
    "packet", [Disconnect(), Disconnect(9), Puback(1, 1, OK), Connack(OK), Pingresp(), Advertise(1, 9), GwInfo(1)]
)
def test_SG14_what_asks_for_nothing_gets_nothing(world: World, packet: Packet) -> None:
    world.send("nobody", packet)
    world.run()
    assert "nobody" not in world.heard
    assert world.gateway.tally.total() == 1


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\x03\x04", b"\x02\xff", b"\x01\x00\x02\x04", bytes(40), b"\x05\xfe\x00x\x02"]
)
def test_SG14_garbage_changes_nothing_and_is_counted(world: World, data: bytes) -> None:
    heard = by_hand(world)
    world.send("hand", data)
    world.run()
    assert heard == []
    assert world.gateway.tally == {"malformed": 1}
    assert world.gateway.state("hand") is State.ACTIVE


def test_SG14_a_repeated_goodbye_is_answered(world: World) -> None:
    heard = by_hand(world)
    world.send("hand", Disconnect(), Disconnect())
    world.run()
    assert heard == [Disconnect(), Disconnect()]


# ------------------------------------------------------------------ bounds


def test_SG15_tables_are_bounded_and_say_so(world: World) -> None:
    world = World(Settings(most_clients=2, most_topics=2, most_upstream=1))
    heard = by_hand(world)
    by_hand(world, "second")
    world.send("third", Connect("third", 60))
    world.run()
    assert world.heard["third"] == [Connack(CONGESTION)]
    world.send("second", Disconnect())
    world.send("third", Connect("third", 60))
    world.run()
    assert world.heard["third"][-1] == Connack(OK)
    world.send(
        "hand", Register(0, 1, "a/1"), Register(0, 2, "a/2"), Register(0, 3, "a/3"), Subscribe(TopicName("a/3"), 4)
    )
    world.run()
    assert heard[-2:] == [Regack(0, 3, CONGESTION), Suback(0, 0, 4, CONGESTION)]
    world.broker.silent = True
    world.send("hand", mqttsn.Publish(TopicId(1), b"x", 1, 5), mqttsn.Publish(TopicId(1), b"y", 1, 6))
    world.run()
    assert heard[-1] == Puback(1, 6, CONGESTION)


def test_SG15_a_flood_of_connections_leaves_room_for_those_that_are_there(world: World) -> None:
    world = World(Settings(most_connecting=3))
    heard = by_hand(world)
    world.broker.silent = True
    for number in range(9):
        world.send(f"flood{number}", Connect(f"flood{number}", 60))
    world.run()
    refused = [name for name in world.heard if name.startswith("flood")]
    assert len(refused) == 6
    world.send("hand", Pingreq())
    world.run()
    assert heard == [Pingresp()]


def test_SG16_a_full_queue_drops_qos_0_first_and_leaves_the_rest_to_the_broker(world: World) -> None:
    world = World(Settings(most_waiting=3))
    heard = by_hand(world, clean=False)
    world.send("hand", Subscribe(ShortTopic("hr"), 1, 1), Disconnect(100))
    world.run()
    heard.clear()
    for data, qos in [(b"a", 0), (b"b", 1), (b"c", 0), (b"d", 1), (b"e", 1), (b"f", 1), (b"g", 0)]:
        world.publish("hr", data, qos)
    assert world.gateway.tally == {"dropped": 3, "held-back": 1}
    for _ in range(5):
        world.send("hand", Pingreq("hand"))
        world.run()
        for _ in range(3):
            said = [packet for packet in heard if isinstance(packet, mqttsn.Publish)]
            world.send("hand", Puback(0x6872, said[-1].msg_id, OK))
            world.run()
    data = [packet.data for packet in heard if isinstance(packet, mqttsn.Publish)]
    assert data == [b"b", b"d", b"e", b"f"]
    assert [message.data for _, message in world.broker.acknowledged] == data


# ------------------------------------------------------------------ gateways, forwarders, Keymote


def test_SG17_a_gateway_is_found_and_announces_itself_only_when_told_to(world: World) -> None:
    world.send("nobody", SearchGw(1))
    world.run(2000.0)
    assert world.heard["nobody"] == [GwInfo(1)]
    assert world.announced == []
    loud = World(Settings(gw_id=9, advertise_s=900))
    loud.run(2000.0)
    assert loud.announced == [Advertise(9, 900).encode()] * 3


def test_SG18_a_client_behind_a_forwarder_is_another_one(world: World) -> None:
    def inside(packet: Packet, node: bytes = b"n1") -> Forward:
        return Forward(1, node, packet.encode())

    world.send("radio", inside(Connect("a", 60)), inside(Connect("b", 60), b"n2"), Connect("c", 60))
    world.run()
    assert world.heard["radio"] == [
        Forward(0, b"n1", Connack(OK).encode()),
        Forward(0, b"n2", Connack(OK).encode()),
        Connack(OK),
    ]
    world.send("radio", inside(Pingreq("b")), inside(Pingreq(), b"n2"))
    world.run()
    assert world.heard["radio"][3:] == [Forward(0, b"n2", Pingresp().encode())]
    assert world.gateway.states() == {State.ACTIVE: 3}


def test_SG19_keymote_datagrams_go_to_who_sits_at_the_gateway(world: World) -> None:
    world.keymote = lambda hand: [b"to " + hand.client.encode(), hand.data]
    world.mote("stray")
    world.wish("stray", Datagram(b"56"))
    attached(world)
    world.wish("mote", Datagram(b"57"))
    world.run()
    assert [(str(hand.address), hand.client) for hand in world.handed] == [("stray", ""), ("mote", "mote")]
    assert world.said("stray", Answered) == [Answered(b"to "), Answered(b"56")]
    assert world.said("mote", Answered) == [Answered(b"to mote"), Answered(b"57")]
    assert world.broker.published == []


def test_SG19_a_keymote_datagram_of_qos_1_is_acknowledged_and_a_sleeper_hears_the_answer_later(world: World) -> None:
    heard = by_hand(world)
    world.send("hand", mqttsn.Publish(Predefined(0xFFF0), b"48", 1, 3), Disconnect(100))
    world.run()
    assert heard == [Puback(0xFFF0, 3, OK), Disconnect()]
    world.tell(Reply(Address("hand"), b"49"))  # type: ignore[arg-type]
    world.run()
    world.send("hand", Pingreq("hand"))
    world.run()
    assert heard[2:] == [mqttsn.Publish(Predefined(0xFFF0), b"49"), Pingresp()]


def test_SG20_a_broker_that_ends_a_session_ends_the_clients(world: World) -> None:
    heard = by_hand(world)
    held = world.broker.held["hand"]
    world.tell(Closed(held.session._replace(turn=99)))  # of another time
    assert world.gateway.state("hand") is State.ACTIVE
    world.tell(Closed(held.session))
    world.run()
    assert heard == [Disconnect()]
    assert world.gateway.state("hand") is State.DISCONNECTED
    assert not [wish for wish in world.broker.wants if isinstance(wish, Acknowledge)]
