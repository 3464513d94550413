"""From the broker to a client: a queue in order, one message on its way at a time, repeated until it is acknowledged.

The broker hears of an acknowledgement when the client has given its own (decision 0194), so that whatever happens here the
broker still has every message of QoS 1 and 2 that the client has not.
"""

from math import inf

from keymote.engine.base import Now, replace
from keymote.engine.mqttsn.clients import Client, Delivery, Stage, Step, Waiting, tell
from keymote.engine.mqttsn.faces import Acknowledge, Message, Note, Output, Reopen, Settings
from keymote.engine.mqttsn.states import SPOKEN_TO, Event, State
from keymote.engine.mqttsn.topics import MOST_NAME, way_to
from keymote.wire.mqttsn import Packet, Pingresp, Puback, Pubcomp, Publish, Pubrec, Pubrel, Regack, Register
from keymote.wire.mqttsn_fields import Predefined, ReturnCode, Topic, TopicId


def arrived(
    client: Client, ref: int, message: Message, settings: Settings, now: Now, topic: Predefined | None = None
) -> Step:
    """Take in a message for the client, for which there may be no room."""
    again = next((known for known in client.queue if ref and known.ref == ref), None)
    if again is not None and again.message[:2] == message[:2]:
        return client, [Note("repeated-by-broker")]  # the broker lost its connection to us, we did not lose the message
    if again is not None:
        client = _changed(client, again, replace(again, ref=0))  # of a session that the broker forgot
    if len(message.data) > settings.most_bytes or len(message.topic.encode()) > MOST_NAME:
        return client, [*_acknowledge(client, ref), Note("too-large")]
    size = len(message.data)
    queue = list(client.queue)
    while len(queue) >= settings.most_waiting or _octets(queue) + size > settings.most_waiting_bytes:
        oldest = next((kept for kept in queue if not kept.message.qos and kept.stage is Stage.QUEUED), None)
        if oldest is None:
            return (replace(client, behind=True), [Note("held-back")]) if ref else (client, [Note("dropped")])
        queue.remove(oldest)
    dropped: list[Output] = [Note("dropped")] * (len(client.queue) - len(queue))
    client, outputs = pumped(replace(client, queue=(*queue, Delivery(ref, message, topic))), settings, now)
    return client, [*dropped, *outputs]


def _octets(queue: list[Delivery]) -> int:
    return sum(len(kept.message.data) for kept in queue)


def pumped(client: Client, settings: Settings, now: Now) -> Step:
    """Send what may be sent now: messages of QoS 0 until one must be acknowledged, or a topic must be told first."""
    outputs: list[Output] = []
    while client.phase in SPOKEN_TO and client.waiting is None and client.queue:
        head = client.queue[0]
        if client.phase is State.AWAKE and not client.wake_left and head.stage is Stage.QUEUED:
            break
        if head.stage is Stage.QUEUED:
            client, more = _sent(client, head, settings, now)
        else:
            client, more = _asked(client, head, settings, now, dup=True)
        outputs += more
    if client.behind and not client.queue and client.open and not client.clean:
        client, outputs = replace(client, behind=False), [*outputs, Reopen(client.session)]
    if client.phase is State.AWAKE and client.waiting is None:
        asleep = client.after(Event.DELIVERED)
        assert asleep is not None
        return asleep, [*outputs, tell(client, Pingresp())]
    return client, outputs


def _way(client: Client, head: Delivery, settings: Settings) -> Topic | None:
    return head.topic or way_to(head.message.topic, client.topics, settings.predefined)


def _sent(client: Client, head: Delivery, settings: Settings, now: Now) -> Step:
    """Begin with the first message of the queue."""
    way = _way(client, head, settings)
    if way is None or (isinstance(way, TopicId) and way.number not in client.topics.told):
        client = replace(client, topics=client.topics.with_name(head.message.topic, settings.most_topics))
        if head.message.topic not in client.topics.numbers:
            client, outputs = _done(client, head)
            return client, [*outputs, Note("no-topic-id")]
        stage = Stage.REGISTERING
    elif head.message.qos:
        stage = Stage.PUBLISHED
    else:
        client, outputs = _done(client, head)
        return client, [tell(client, _publish(way, head, 0, dup=False)), *outputs]
    client, msg_id = client.with_msg_id()
    started = replace(head, stage=stage, msg_id=msg_id)
    return _asked(_changed(client, head, started), started, settings, now, dup=False)


def _asked(client: Client, head: Delivery, settings: Settings, now: Now, *, dup: bool) -> Step:
    """Ask what the stage of the first message asks, and wait for the answer."""
    waiting = Waiting(now.mono + settings.retry_s, settings.retries)
    return replace(client, waiting=waiting), [tell(client, _question(client, head, settings, dup=dup))]


def _question(client: Client, head: Delivery, settings: Settings, *, dup: bool) -> Packet:
    match head.stage:
        case Stage.REGISTERING:
            number = client.topics.numbers[head.message.topic]
            return Register(number, head.msg_id, head.message.topic)
        case Stage.RELEASED:
            return Pubrel(head.msg_id)
        case _:
            way = _way(client, head, settings)
            assert way is not None
            return _publish(way, head, head.msg_id, dup=dup)


def _publish(way: Topic, head: Delivery, msg_id: int, *, dup: bool) -> Publish:
    message = head.message
    return Publish(way, message.data, message.qos, msg_id, message.retain, dup)


# ------------------------------------------------------------------ what the client answers


def answered(client: Client, packet: Regack | Puback | Pubrec | Pubcomp, settings: Settings, now: Now) -> Step:
    """Take in the answer to what was asked of the client; anything else is of a question that is over."""
    head = client.queue[0] if client.queue else None
    if head is None or head.msg_id != packet.msg_id:
        if isinstance(packet, Puback) and packet.code is ReturnCode.INVALID_TOPIC_ID and not packet.msg_id:
            return replace(client, topics=client.topics.untelling(packet.topic_id)), []
        return client, []
    match head.stage, packet:
        case Stage.REGISTERING, Regack(code=ReturnCode.ACCEPTED):
            number = client.topics.numbers[head.message.topic]
            client = _changed(client, head, replace(head, stage=Stage.QUEUED, told_again=True))
            client = replace(client, topics=client.topics.telling(number), waiting=None)
        case Stage.PUBLISHED, Puback(code=ReturnCode.ACCEPTED) if head.message.qos == 1:
            client, outputs = _done(client, head)
            client, more = pumped(client, settings, now)
            return client, [*outputs, *more]
        case Stage.PUBLISHED, Pubrec() if head.message.qos > 1:
            client = replace(_changed(client, head, replace(head, stage=Stage.RELEASED)), waiting=None)
            released = client.queue[0]
            if client.phase not in SPOKEN_TO:
                return client, []
            return _asked(client, released, settings, now, dup=False)
        case Stage.RELEASED, Pubcomp():
            client, outputs = _done(client, head)
            client, more = pumped(client, settings, now)
            return client, [*outputs, *more]
        case ((Stage.PUBLISHED | Stage.REGISTERING), (Puback(code=code) | Regack(code=code))) if code:
            return _refused(client, head, code, settings, now)
        case _:
            return client, []
    return pumped(client, settings, now)


def _refused(client: Client, head: Delivery, code: ReturnCode, settings: Settings, now: Now) -> Step:
    """Tell the topic again, wait, or let the message go: a client that refuses it twice will not have it."""
    way = _way(client, head, settings)
    if code is ReturnCode.CONGESTION:
        return replace(client, waiting=Waiting(now.mono + settings.retry_s, settings.retries)), []
    if code is ReturnCode.INVALID_TOPIC_ID and isinstance(way, TopicId) and not head.told_again:
        client = _changed(client, head, replace(head, stage=Stage.QUEUED))
        client = replace(client, topics=client.topics.untelling(way.number), waiting=None)
        return pumped(client, settings, now)
    client, outputs = _done(client, head)
    client, more = pumped(client, settings, now)
    return client, [Note("refused-by-client"), *outputs, *more]


def _changed(client: Client, old: Delivery, new: Delivery) -> Client:
    return replace(client, queue=tuple(new if kept is old else kept for kept in client.queue))


def _done(client: Client, head: Delivery) -> Step:
    """Take the first message from the queue, and let the broker forget it."""
    left = client.wake_left - 1 if client.wake_left else 0
    done = replace(client, queue=client.queue[1:], waiting=None, wake_left=left)
    return done, _acknowledge(client, head.ref)


def _acknowledge(client: Client, ref: int) -> list[Output]:
    return [Acknowledge(client.session, ref)] if ref else []


# ------------------------------------------------------------------ time


def repeated(client: Client, settings: Settings, now: Now) -> Step:
    """Repeat what has not been answered; after the last time wait until the client is heard again."""
    waiting = client.waiting
    if waiting is None or now.mono < waiting.at or not client.queue:
        return client, []
    if waiting.left:
        question = _question(client, client.queue[0], settings, dup=True)
        again = Waiting(now.mono + settings.retry_s, waiting.left - 1)
        return replace(client, waiting=again), [tell(client, question)]
    if client.phase is State.AWAKE:
        asleep = client.after(Event.UNANSWERED)
        assert asleep is not None
        return asleep, []
    return replace(client, waiting=Waiting(inf, 0)), []


def heard_again(client: Client) -> Client:
    """Return the client to whom what was given up is said once more, because it is there after all."""
    if client.waiting is not None and client.waiting.is_given_up:
        return replace(client, waiting=None)
    return client
