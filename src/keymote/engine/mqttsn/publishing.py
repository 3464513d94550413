"""From a client to the broker: topics, publications, subscriptions; the client's answer waits for the broker's."""

from keymote.engine.base import replace
from keymote.engine.mqttsn.clients import Client, Pending, Step, tell
from keymote.engine.mqttsn.faces import (
    KEYMOTE_TOPIC,
    Hand,
    Message,
    Note,
    Output,
    Publish,
    Published,
    Settings,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
)
from keymote.engine.mqttsn.topics import has_wildcard, is_filter, name_of
from keymote.wire import mqttsn
from keymote.wire.mqttsn import Puback, Pubcomp, Pubrec, Pubrel, Regack, Register, Suback, Unsuback
from keymote.wire.mqttsn_fields import Predefined, ReturnCode, ShortTopic, Topic, TopicId, TopicName

ACCEPTED, CONGESTION, INVALID, NOT_SUPPORTED = ReturnCode


def registered(client: Client, packet: Register, settings: Settings) -> Step:
    """Give the topic a number; asked again it is the same one."""
    name = packet.name
    if not is_filter(name) or has_wildcard(name):
        return client, [tell(client, Regack(0, packet.msg_id, INVALID))]
    topics = client.topics.with_name(name, settings.most_topics)
    number = topics.numbers.get(name, 0)
    if not number:
        return client, [Note("congestion"), tell(client, Regack(0, packet.msg_id, CONGESTION))]
    client = replace(client, topics=topics.telling(number))
    return client, [tell(client, Regack(number, packet.msg_id, ACCEPTED))]


def published(client: Client, packet: mqttsn.Publish, settings: Settings, *, keymote: bool) -> Step:
    """Pass a message on; QoS 1 and 2 are answered when the broker has it."""
    if packet.qos > 0 and _is_known(client, mqttsn.Publish.kind, packet.msg_id):
        return client, []  # the broker has not answered yet
    if packet.qos > 1 and packet.msg_id in client.received:
        return client, [tell(client, Pubrec(packet.msg_id))]
    if packet.topic == Predefined(KEYMOTE_TOPIC) and keymote:
        handed: list[Output] = [Hand(client.address, client.id, packet.data)]
        return client, [*handed, *_answer(client, packet, ACCEPTED)]
    name = name_of(packet.topic, client.topics, settings.predefined)
    if name is None or has_wildcard(name):
        return client, [Note("unknown-topic"), *_answer(client, packet, INVALID)]
    message = Message(name, packet.data, max(packet.qos, 0), packet.retain)
    if packet.qos <= 0:
        return client, [Publish(client.session, 0, message)]
    if not packet.msg_id:
        return client, [Note("unexpected")]
    if len(client.pending) + len(client.received) >= settings.most_upstream:
        return client, [Note("congestion"), *_answer(client, packet, CONGESTION)]
    client, ref = _asking(client, Pending(mqttsn.Publish.kind, packet.msg_id, packet.topic, packet.qos, name))
    return client, [Publish(client.session, ref, message)]


def _answer(client: Client, packet: mqttsn.Publish, code: ReturnCode) -> list[Output]:
    """Return the answer to a PUBLISH: its acknowledgement, or why it was refused; none to QoS -1."""
    if packet.qos < 0 or (packet.qos == 0 and code is ACCEPTED):
        return []
    if packet.qos > 1 and code is ACCEPTED:
        return [tell(client, Pubrec(packet.msg_id))]
    return [tell(client, Puback(_number(packet.topic), packet.msg_id, code))]


def _number(topic: Topic) -> int:
    """Return a topic as PUBACK names it: its number, or its two characters as one."""
    match topic:
        case TopicId(number) | Predefined(number):
            return number
        case ShortTopic(name):
            return int.from_bytes(name.encode(), "big")
        case TopicName():
            return 0


def released(client: Client, packet: Pubrel) -> Step:
    """Forget that a message of QoS 2 was received; answered as often as asked."""
    return replace(client, received=client.received - {packet.msg_id}), [tell(client, Pubcomp(packet.msg_id))]


def subscribed(client: Client, packet: mqttsn.Subscribe, settings: Settings) -> Step:
    """Ask the broker for a topic or filter."""
    if _is_known(client, mqttsn.Subscribe.kind, packet.msg_id):
        return client, []
    name = name_of(packet.topic, client.topics, settings.predefined)
    if name is None or not is_filter(name):
        return client, [Note("unknown-topic"), tell(client, Suback(0, 0, packet.msg_id, INVALID))]
    if not packet.msg_id or packet.qos < 0:
        return client, [Note("unexpected"), tell(client, Suback(0, 0, packet.msg_id, NOT_SUPPORTED))]
    topics = client.topics
    if isinstance(packet.topic, TopicName) and not has_wildcard(name):
        topics = topics.with_name(name, settings.most_topics)
    full = topics is client.topics and isinstance(packet.topic, TopicName) and not has_wildcard(name)
    if len(client.pending) >= settings.most_upstream or (full and name not in topics.numbers):
        return client, [Note("congestion"), tell(client, Suback(0, 0, packet.msg_id, CONGESTION))]
    client = replace(client, topics=topics)
    client, ref = _asking(client, Pending(mqttsn.Subscribe.kind, packet.msg_id, packet.topic, packet.qos, name))
    return client, [Subscribe(client.session, ref, name, packet.qos)]


def unsubscribed(client: Client, packet: mqttsn.Unsubscribe, settings: Settings) -> Step:
    """Take a topic or filter back; what cannot be subscribed to is not subscribed to."""
    if _is_known(client, mqttsn.Unsubscribe.kind, packet.msg_id):
        return client, []
    name = name_of(packet.topic, client.topics, settings.predefined)
    if name is None or not is_filter(name):
        return client, [Note("unknown-topic"), tell(client, Unsuback(packet.msg_id))]
    if len(client.pending) >= settings.most_upstream:
        return client, [Note("congestion")]  # UNSUBACK has no code: the client asks again
    client, ref = _asking(client, Pending(mqttsn.Unsubscribe.kind, packet.msg_id, packet.topic, 0, name))
    return client, [Unsubscribe(client.session, ref, name)]


def _is_known(client: Client, kind: int, msg_id: int) -> bool:
    """Say whether the broker is being asked just this: the client repeats itself."""
    return any(asked.kind == kind and asked.msg_id == msg_id for asked in client.pending.values())


def _asking(client: Client, pending: Pending) -> tuple[Client, int]:
    ref = client.next_ref
    return replace(client, next_ref=ref + 1, pending={**client.pending, ref: pending}), ref


# ------------------------------------------------------------------ what the broker answers


def settled(client: Client, answer: Published | Subscribed | Unsubscribed) -> Step:
    """Answer the client's packet as the broker answered."""
    asked = client.pending.get(answer.ref)
    if asked is None:
        return client, []
    client = replace(client, pending={ref: kept for ref, kept in client.pending.items() if ref != answer.ref})
    match answer:
        case Published(taken=taken):
            if taken and asked.qos > 1:
                client = replace(client, received=client.received | {asked.msg_id})
                return client, [tell(client, Pubrec(asked.msg_id))]
            code = ACCEPTED if taken else CONGESTION
            return client, [tell(client, Puback(_number(asked.topic), asked.msg_id, code))]
        case Subscribed(qos=None):
            return client, [tell(client, Suback(0, 0, asked.msg_id, NOT_SUPPORTED))]
        case Subscribed(qos=qos):
            return _granted(client, asked, qos or 0)
        case Unsubscribed():
            return client, [tell(client, Unsuback(asked.msg_id))]


def _granted(client: Client, asked: Pending, qos: int) -> Step:
    number = 0
    match asked.topic:
        case TopicName(name) if not has_wildcard(name):
            number = client.topics.numbers[name]
            client = replace(client, topics=client.topics.telling(number))
        case Predefined(number):
            client = replace(client, topics=client.topics.taking_predefined(asked.name))
    return client, [tell(client, Suback(qos, number, asked.msg_id, ACCEPTED))]
