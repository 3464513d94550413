"""Real bytes of what carries a reading: MQTT-SN, CoAP, MQTT; the publisher's part, confirmed unless it says otherwise."""

from typing import Final

from keymote.lab.baselines.schemes import TCP
from keymote.lab.energy import Traffic
from keymote.transports.coap.message import OCTETS, CoapMessage, Code, Kind, Option, uint
from keymote.wire.mqttsn import Connack, Connect, Puback, Publish, Regack, Register
from keymote.wire.mqttsn_fields import Predefined, ReturnCode, ShortTopic, Topic, TopicId

TOPIC: Final = "ward/7/bed/3/hr"
TOKEN: Final = b"\x01"
MQTT_PUBACK: Final = 4
"""Type, length, packet identifier (MQTT 3.1.1, 3.4)."""


def mqttsn(payload: int, *, qos: int = 1, topic: Topic | None = None) -> Traffic:
    """Return PUBLISH and, with QoS 1, PUBACK; the topic is a registered number unless it is given."""
    named = TopicId(7) if topic is None else topic
    sent = len(Publish(named, bytes(payload), qos, 1 if qos == 1 else 0).encode())
    answer = (len(Puback(7, 1, ReturnCode.ACCEPTED).encode()),) if qos == 1 else ()
    return Traffic((sent,), answer)


def mqttsn_delivered(payload: int) -> Traffic:
    """Return a PUBLISH of QoS 1 to the mote and its PUBACK."""
    there = mqttsn(payload)
    return Traffic(there.received, there.sent)


def mqttsn_set_up() -> Traffic:
    """Return CONNECT, CONNACK, REGISTER and REGACK: once, before registered numbers can be used."""
    sent = (Connect("6d6f74652d372d33", 900).encode(), Register(0, 1, TOPIC).encode())
    received = (Connack(ReturnCode.ACCEPTED).encode(), Regack(7, 1, ReturnCode.ACCEPTED).encode())
    return Traffic(tuple(map(len, sent)), tuple(map(len, received)))


def coap(payload: int, *, confirmable: bool = True, path: str = "7") -> Traffic:
    """Return a POST and, unless it is not confirmable, its piggybacked 2.04; `path` names the topic."""
    levels = tuple((int(Option.URI_PATH), level.encode()) for level in path.split("/"))
    options = (*levels, (int(Option.CONTENT_FORMAT), uint(OCTETS)))
    kind = Kind.CON if confirmable else Kind.NON
    sent = len(CoapMessage(kind, Code.POST, 1, TOKEN, options, bytes(payload)).encode())
    answer = (len(CoapMessage(Kind.ACK, Code.CHANGED, 1, TOKEN).encode()),) if confirmable else ()
    return Traffic((sent,), answer)


def mqtt(payload: int) -> Traffic:
    """Return PUBLISH of QoS 1 and PUBACK in TCP, by MQTT 3.1.1, 3.3; acknowledgements of TCP not counted."""
    body = 2 + len(TOPIC) + 2 + payload
    return Traffic((1 + (1 if body < 128 else 2) + body + TCP,), (MQTT_PUBACK + TCP,))


CARRIERS: Final = {
    "MQTT-SN, QoS 1, registered topic": mqttsn,
    "MQTT-SN, QoS 1, short topic": lambda payload: mqttsn(payload, topic=ShortTopic("hr")),
    "MQTT-SN, QoS 0": lambda payload: mqttsn(payload, qos=0),
    "MQTT-SN, QoS -1, predefined topic": lambda payload: mqttsn(payload, qos=-1, topic=Predefined(7)),
    "CoAP, CON, topic as one digit": coap,
    "CoAP, CON, whole topic": lambda payload: coap(payload, path=TOPIC),
    "CoAP, NON, topic as one digit": lambda payload: coap(payload, confirmable=False),
    "MQTT over TCP, QoS 1, whole topic": mqtt,
}
"""Name -> UDP payloads (or what is beyond a UDP header) for so many bytes of a reading as it is sent."""
