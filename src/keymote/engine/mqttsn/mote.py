"""A mote's side of MQTT-SN 1.2, small enough for one: one question at a time, repeated until it is answered or given up.

`Mote.handle` takes what is heard, what the application wants and the time, and returns datagrams for the gateway and
reports for the application; `deadline` says when `Tick` is due.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from keymote.engine.base import Now, replace
from keymote.engine.mqttsn.faces import KEYMOTE_TOPIC, Message, Tick
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
    MoteOutput,
    Said,
    Say,
    Sleep,
    Transmit,
    Wish,
)
from keymote.engine.mqttsn.mote_topics import KnownTopics, number_of
from keymote.errors import CallerFault, PeerFault
from keymote.wire import mqttsn
from keymote.wire.mqttsn import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
    Regack,
    Register,
    Suback,
    WillMsg,
    WillMsgReq,
    WillTopic,
    WillTopicReq,
)
from keymote.wire.mqttsn_fields import Predefined, ReturnCode, ShortTopic, Topic, TopicId, TopicName

MOST_WAITING: Final = 32
"""Wishes that a mote keeps until their turn comes."""
_MOST_ID: Final = 0xFFFF


class Question(NamedTuple):
    """What is being asked, `left` times yet, and the wish behind it."""

    packet: Packet
    wish: Wish
    at: float
    left: int


@dataclass(frozen=True, slots=True)
class MoteState:
    link: Link = Link.DOWN
    keep_alive_s: int = 60
    spoke_at: float = 0.0
    will: Message | None = None
    topics: KnownTopics = field(default_factory=KnownTopics)
    received: frozenset[int] = frozenset()
    question: Question | None = None
    wishes: tuple[Wish, ...] = ()
    next_id: int = 1


class Mote:
    """One mote; `retry_s` and `retries` are T_retry and N_retry."""

    def __init__(
        self, client_id: str, *, predefined: Mapping[int, str] | None = None, retry_s: float = 10.0, retries: int = 3
    ) -> None:
        self._id, self._predefined = client_id, predefined or {}
        self._retry_s, self._retries = retry_s, retries
        self._state = MoteState()
        self.ignored = 0

    @property
    def link(self) -> Link:
        return self._state.link

    def handle(self, item: MoteInput, now: Now) -> list[MoteOutput]:
        """Take in one item; what is malformed or out of turn is counted in `ignored`.

        Raises:
            CallerFault: too many wishes wait already, or one that a packet cannot carry.
        """
        match item:
            case Hear(data):
                outputs = self._heard(data, now)
            case Tick():
                outputs = self._due(now)
            case Datagram(data):
                return [self._say(mqttsn.Publish(Predefined(KEYMOTE_TOPIC), data, -1), now)]
            case Say(ref, Message(topic, data, -1, retain), predefined):
                way: Topic = Predefined(predefined) if predefined else ShortTopic(topic)
                return [self._say(mqttsn.Publish(way, data, -1, retain=retain), now), Said(ref, ReturnCode.ACCEPTED)]
            case _:
                if len(self._state.wishes) >= MOST_WAITING:
                    raise CallerFault(f"{MOST_WAITING} wishes wait already", do="wait for the reports of some")
                self._become(wishes=(*self._state.wishes, item))
                outputs = []
        return [*outputs, *self._next(now)]

    def deadline(self) -> float | None:
        """Return when `Tick` is due: a repetition, or a sign of life."""
        state = self._state
        times = [] if state.question is None else [state.question.at]
        if state.link is Link.UP and state.keep_alive_s:
            times.append(state.spoke_at + state.keep_alive_s)
        return min(times, default=None)

    def _become(self, **changes: object) -> None:
        self._state = replace(self._state, **changes)

    def _say(self, packet: Packet, now: Now) -> Transmit:
        self._become(spoke_at=now.mono)
        return Transmit(packet.encode())

    def _msg_id(self) -> int:
        number = self._state.next_id
        self._become(next_id=number % _MOST_ID + 1)
        return number

    # ------------------------------------------------------------------ asking

    def _next(self, now: Now) -> list[MoteOutput]:
        """Turn to the next wishes until one must be answered."""
        outputs: list[MoteOutput] = []
        while self._state.question is None and self._state.wishes:
            wish, *rest = self._state.wishes
            self._become(wishes=tuple(rest))
            outputs += self._turn_to(wish, now)
        return outputs

    def _turn_to(self, wish: Wish, now: Now) -> list[MoteOutput]:
        match wish:
            case Attach(keep_alive_s, clean, will):
                if clean:
                    self._become(topics=KnownTopics(), received=frozenset())
                self._become(keep_alive_s=keep_alive_s, will=will)
                return self._ask(Connect(self._id, keep_alive_s, clean, will is not None), wish, now)
            case Say(ref, message, predefined):
                way = Predefined(predefined) if predefined else self._state.topics.way_to(message.topic)
                if way is None:
                    return self._ask(Register(0, self._msg_id(), message.topic), wish, now)
                if message.qos:
                    packet = mqttsn.Publish(way, message.data, message.qos, self._msg_id(), message.retain)
                    return self._ask(packet, wish, now)
                sent = self._say(mqttsn.Publish(way, message.data, 0, retain=message.retain), now)
                return [sent, Said(ref, ReturnCode.ACCEPTED)]
            case Listen(_, pattern, qos, predefined):
                topic = Predefined(predefined) if predefined else self._state.topics.way_to(pattern)
                topic = TopicName(pattern) if topic is None or isinstance(topic, TopicId) else topic
                return self._ask(mqttsn.Subscribe(topic, self._msg_id(), qos), wish, now)
            case Sleep(duration_s):
                return self._ask(Disconnect(duration_s), wish, now)
            case Fetch():
                return self._ask(Pingreq(self._id), wish, now)
            case Detach():
                return self._ask(Disconnect(), wish, now)

    def _ask(self, packet: Packet, wish: Wish, now: Now) -> list[MoteOutput]:
        self._become(question=Question(packet, wish, now.mono + self._retry_s, self._retries))
        return [self._say(packet, now)]

    def _due(self, now: Now) -> list[MoteOutput]:
        state = self._state
        question = state.question
        if question is not None and now.mono >= question.at:
            if not question.left:
                return self._given_up(question)
            again = question._replace(at=now.mono + self._retry_s, left=question.left - 1)
            self._become(question=again)
            packet = question.packet
            if isinstance(packet, mqttsn.Publish | mqttsn.Subscribe):
                packet = replace(packet, dup=True)
            return [self._say(packet, now)]
        if state.link is Link.UP and state.keep_alive_s and now.mono >= state.spoke_at + state.keep_alive_s:
            return [self._say(Pingreq(), now)] if question else self._ask(Pingreq(), Fetch(), now)
        return []

    def _given_up(self, question: Question, *, silent: bool = True) -> list[MoteOutput]:
        """Believe that the gateway is gone; what waited is reported as not done."""
        undone = [question.wish, *self._state.wishes]
        self._become(link=Link.DOWN, question=None, wishes=())
        reports: list[MoteOutput] = [Detached(silent)]
        for wish in undone:
            match wish:
                case Say(ref):
                    reports.append(Said(ref, ReturnCode.CONGESTION))
                case Listen(ref):
                    reports.append(Listening(ref, ReturnCode.CONGESTION))
        return reports

    # ------------------------------------------------------------------ hearing

    def _heard(self, data: bytes, now: Now) -> list[MoteOutput]:
        try:
            packet = mqttsn.decode(data)
        except PeerFault:
            self.ignored += 1
            return []
        match packet:
            case Register(topic_id, msg_id, name):
                self._become(topics=self._state.topics.told(name, topic_id))
                return [self._say(Regack(topic_id, msg_id, ReturnCode.ACCEPTED), now)]
            case mqttsn.Publish():
                return self._taken(packet, now)
            case Pubrel(msg_id):
                self._become(received=self._state.received - {msg_id})
                return [self._say(Pubcomp(msg_id), now)]
            case Pingreq():
                return [self._say(Pingresp(), now)]
        answer = self._answered(packet, now)
        if answer is None:
            self.ignored += 1
            return []
        return answer

    def _taken(self, packet: mqttsn.Publish, now: Now) -> list[MoteOutput]:
        """Hand a message on and acknowledge it; one of QoS 2 that was heard before is acknowledged only."""
        if packet.topic == Predefined(KEYMOTE_TOPIC):
            return [Answered(packet.data)]
        name = self._state.topics.name_of(packet.topic, self._predefined)
        if name is None:
            return [self._say(Puback(number_of(packet.topic), packet.msg_id, ReturnCode.INVALID_TOPIC_ID), now)]
        incoming = Incoming(Message(name, packet.data, packet.qos, packet.retain))
        if packet.qos == 1:
            return [incoming, self._say(Puback(number_of(packet.topic), packet.msg_id, ReturnCode.ACCEPTED), now)]
        if packet.qos == 2:
            known_before = packet.msg_id in self._state.received
            self._become(received=self._state.received | {packet.msg_id})
            acknowledged = self._say(Pubrec(packet.msg_id), now)
            return [acknowledged] if known_before else [incoming, acknowledged]
        return [incoming]

    def _answered(self, packet: Packet, now: Now) -> list[MoteOutput] | None:
        """Take in the answer to what is being asked; None for anything else."""
        question = self._state.question
        if isinstance(packet, Disconnect):
            return self._parted(question)
        if question is None:
            return None
        match question.packet, packet, question.wish:
            case Connect() | WillTopic() | WillMsg(), Connack(code), _:
                self._become(link=Link.UP if code is ReturnCode.ACCEPTED else Link.DOWN, question=None)
                return [Attached(code)]
            case Connect() | WillTopic(), WillTopicReq(), Attach(will=Message() as will) as wish:
                return self._ask(WillTopic(will.topic, will.qos, will.retain), wish, now)
            case WillTopic() | WillMsg(), WillMsgReq(), Attach(will=Message() as will) as wish:
                return self._ask(WillMsg(will.data), wish, now)
            case Register(_, asked, name), Regack(number, msg_id, code), Say(ref) as wish if asked == msg_id:
                self._become(question=None)
                if code is not ReturnCode.ACCEPTED:
                    return [Said(ref, code)]
                self._become(topics=self._state.topics.told(name, number))
                return self._turn_to(wish, now)
            case mqttsn.Publish(qos=qos, msg_id=asked), Puback(_, msg_id, code), Say(ref) if asked == msg_id:
                if qos > 1 and code is ReturnCode.ACCEPTED:
                    return None
                self._become(question=None)
                if code is ReturnCode.INVALID_TOPIC_ID and isinstance(question.packet.topic, TopicId):
                    return self._unknown(question.wish, now)
                return [Said(ref, code)]
            case mqttsn.Publish(qos=2, msg_id=asked), Pubrec(msg_id), Say() as wish if asked == msg_id:
                return self._ask(Pubrel(msg_id), wish, now)
            case Pubrel(asked), Pubcomp(msg_id), Say(ref) if asked == msg_id:
                self._become(question=None)
                return [Said(ref, ReturnCode.ACCEPTED)]
            case mqttsn.Subscribe(msg_id=asked), Suback(_, number, msg_id, code), Listen(ref, name) if asked == msg_id:
                self._become(question=None)
                if code is ReturnCode.ACCEPTED and number and isinstance(question.packet.topic, TopicName):
                    self._become(topics=self._state.topics.told(name, number))
                return [Listening(ref, code)]
            case Pingreq(named), Pingresp(), _:
                self._become(question=None)
                return [] if named is None else [Fetched()]
            case _:
                return None

    def _unknown(self, wish: Wish, now: Now) -> list[MoteOutput]:
        """Register again a topic whose number the gateway has forgotten."""
        assert isinstance(wish, Say)
        self._become(topics=self._state.topics.disowned(wish.message.topic))
        return self._turn_to(wish, now)

    def _parted(self, question: Question | None) -> list[MoteOutput]:
        match question:
            case Question(wish=Sleep()):
                self._become(link=Link.ASLEEP, question=None)
                return [Asleep()]
            case Question(wish=Detach()):
                self._become(link=Link.DOWN, question=None)
                return [Detached()]
            case None:
                self._become(link=Link.DOWN)
                return [Detached()]
            case _:
                return self._given_up(question, silent=False)
