"""How a client comes, sleeps and goes: CONNECT with its will, DISCONNECT, PINGREQ, silence (MQTT-SN 1.2, 6.2 to 6.4, 6.14)."""

from keymote.engine.base import Now, replace
from keymote.engine.mqttsn.clients import Client, Step, tell
from keymote.engine.mqttsn.delivering import pumped
from keymote.engine.mqttsn.faces import OWN, Close, Message, Note, Open, Output, Publish, Settings
from keymote.engine.mqttsn.states import GONE, Event, State
from keymote.engine.mqttsn.topics import Topics, has_wildcard, is_filter
from keymote.wire.mqttsn import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingresp,
    WillMsg,
    WillMsgReq,
    WillMsgResp,
    WillMsgUpd,
    WillTopic,
    WillTopicReq,
    WillTopicResp,
    WillTopicUpd,
)
from keymote.wire.mqttsn_fields import ReturnCode

OK = ReturnCode.ACCEPTED


def connected(client: Client, packet: Connect, settings: Settings, now: Now) -> Step:
    """Begin a session, or take one up again; with a will, ask for it first.

    A clean session forgets everything, what the broker keeps included; one that is not keeps topic ids, and while the
    session with the broker stands also what waits for the client.
    """
    if client.phase is State.AWAIT_BROKER and client.clean == packet.clean and not packet.will:
        return client, []  # repeated; the broker has not answered yet
    client = replace(client, keep_alive_s=packet.duration_s, heard_at=now.mono, waiting=None, challenger=None)
    if packet.clean:
        client = replace(
            client, clean=True, stands=False, will=None, topics=Topics(), queue=(), behind=False, received=frozenset()
        )
    client = replace(client, clean=packet.clean, new_will=None)
    if packet.will:
        return _to(client, Event.CONNECT_WITH_WILL, WillTopicReq())
    return _towards_broker(client, settings, now)


def _to(client: Client, event: Event, packet: Packet) -> Step:
    after = client.after(event)
    assert after is not None
    return after, [tell(after, packet)]


def _towards_broker(client: Client, settings: Settings, now: Now) -> Step:
    """Go on when the will is known: the broker may be connected already."""
    if client.stands and not client.clean:
        after = client.after(Event.OPENED if client.phase is State.AWAIT_BROKER else Event.RESUME)
        assert after is not None
        return _active(after, settings, now)
    after = client if client.phase is State.AWAIT_BROKER else client.after(Event.CONNECT)
    assert after is not None
    after = replace(after, turn=client.turn + 1, open=True, stands=False, queue=(), pending={}, behind=False)
    return after, [Open(after.session, after.clean, after.will)]


def _active(client: Client, settings: Settings, now: Now) -> Step:
    client, outputs = pumped(client, settings, now)
    return client, [tell(client, Connack(OK)), *outputs]


def will_told(client: Client, packet: WillTopic | WillMsg, settings: Settings, now: Now) -> Step:
    """Go on with the handshake; a client that repeats itself is answered once more."""
    match client.phase, packet:
        case ((State.AWAIT_WILL_TOPIC | State.AWAIT_WILL_MESSAGE), WillTopic(topic)) if topic:
            if not _is_topic(packet):
                after = client.after(Event.CLOSED)
                assert after is not None
                return after, [Note("unexpected"), tell(client, Connack(ReturnCode.NOT_SUPPORTED))]
            new = Message(packet.topic, b"", packet.qos, packet.retain)
            return _to(replace(client, new_will=new), Event.WILL_TOPIC, WillMsgReq())
        case State.AWAIT_WILL_TOPIC, WillTopic():
            after = client.after(Event.NO_WILL)
            assert after is not None
            return _towards_broker(replace(after, will=None), settings, now)
        case State.AWAIT_WILL_MESSAGE, WillMsg(message):
            after = client.after(Event.WILL_MESSAGE)
            assert after is not None
            assert client.new_will is not None
            return _towards_broker(replace(after, will=client.new_will._replace(data=message)), settings, now)
        case State.ACTIVE, WillMsg(message) if client.will is not None and client.will.data == message:
            return client, [tell(client, Connack(OK))]
        case _:
            return client, [Note("unexpected")]


def _is_topic(packet: WillTopic | WillTopicUpd) -> bool:
    return is_filter(packet.topic) and not has_wildcard(packet.topic) and packet.qos >= 0


def will_changed(client: Client, packet: WillTopicUpd | WillMsgUpd) -> Step:
    """Change the will that the gateway publishes; the broker keeps the one of CONNECT for the gateway's own end."""
    match packet:
        case WillTopicUpd(""):
            return replace(client, will=None), [tell(client, WillTopicResp(OK))]
        case WillTopicUpd(topic, qos, retain):
            if not _is_topic(packet):
                return client, [tell(client, WillTopicResp(ReturnCode.INVALID_TOPIC_ID))]
            data = b"" if client.will is None else client.will.data
            return replace(client, will=Message(topic, data, qos, retain)), [tell(client, WillTopicResp(OK))]
        case WillMsgUpd(message) if client.will is not None:
            return replace(client, will=client.will._replace(data=message)), [tell(client, WillMsgResp(OK))]
        case _:
            return client, [tell(client, WillMsgResp(ReturnCode.NOT_SUPPORTED))]


def opened(client: Client, settings: Settings, now: Now) -> Step:
    """Tell the client that it is connected."""
    client = replace(client, stands=True)
    after = client.after(Event.OPENED)
    return (client, []) if after is None else _active(after, settings, now)


def refused(client: Client) -> Step:
    """The broker will not have the client, or no longer."""
    after = client.after(Event.CLOSED)
    if after is None:
        return client, []
    awaited = client.phase is State.AWAIT_BROKER
    packet = Connack(ReturnCode.CONGESTION) if awaited else Disconnect()
    return _without_broker(after), [Note("refused-by-broker"), tell(client, packet)]


def _without_broker(client: Client) -> Client:
    return replace(client, open=False, stands=False, queue=(), pending={}, behind=False, challenger=None)


def disconnected(client: Client, packet: Disconnect, now: Now) -> Step:
    """Let the client sleep for a while, or go; the answer is the same, as often as it asks."""
    client = replace(client, heard_at=now.mono)
    asleep = client.after(Event.SLEEP) if packet.duration_s else None
    if asleep is not None:
        return replace(asleep, sleep_s=packet.duration_s), [tell(client, Disconnect())]
    after = client.after(Event.DISCONNECT)
    if after is None:
        return client, [tell(client, Disconnect())]
    return gone(after, [tell(client, Disconnect())])


def gone(client: Client, outputs: list[Output]) -> Step:
    """End the session with the broker; what the client has not acknowledged stays there, if its session does."""
    closing: list[Output] = [Close(client.session)] if client.open else []
    return _without_broker(client), [*outputs, *closing]


def silent(client: Client) -> Step:
    """Give a client up that was not heard for too long, and publish its will."""
    after = client.after(Event.SILENCE)
    assert after is not None
    outputs: list[Output] = [Note("lost")] if after.phase is State.LOST else []
    if after.phase is State.LOST and client.will is not None:
        outputs.append(Publish(client.session if client.stands else OWN, 0, client.will))
    return gone(after, outputs)


def pinged(client: Client, settings: Settings, now: Now) -> Step:
    """Say that we are there; a sleeping client first gets what waits for it."""
    awake = client.after(Event.PING)
    if awake is None:
        client, outputs = pumped(client, settings, now)
        return client, [tell(client, Pingresp()), *outputs]
    return pumped(replace(awake, wake_left=len(client.queue), waiting=None), settings, now)


def is_gone(client: Client) -> bool:
    return client.phase in GONE
