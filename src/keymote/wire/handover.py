"""What hand-over needs beside Triad-1 4.6, ours (decision 0197): messages between agents, a reading that follows HO_REQ."""

from typing import Annotated, Final

from keymote.wire.fields import ID, MAC, Octets, Uint
from keymote.wire.message import Message, message
from keymote.wire.topic import TOPIC

NOWHERE: Final = bytes(8)
"""In place of the next broker: the client went to none."""


@message(78)
class HoRelease(Message):
    """Home -> visited broker: the stay under `ho_ctr` is over, the session goes to broker `next`; under the K_v of that stay."""

    client_id: Annotated[bytes, ID]
    ho_ctr: Annotated[int, Uint()]
    next: Annotated[bytes, ID]
    tag: Annotated[bytes, MAC]


@message(79)
class HoReleased(Message):
    """Visited -> home broker: heard; no need to say it again."""

    client_id: Annotated[bytes, ID]
    ho_ctr: Annotated[int, Uint()]
    tag: Annotated[bytes, MAC]


@message(80)
class HoPub(Message):
    """Client -> visited broker, behind HO_REQ: the bytes of a PUB and the topic that no carrier tells here."""

    client_id: Annotated[bytes, ID]
    topic: Annotated[str, TOPIC]
    pub: Annotated[bytes, Octets(18, 1140)]


@message(82)
class BrokerAt(Message):
    """Agent -> client, behind CONNACK-AUTH or HO_ACK: where its broker takes MQTT connections, "HOST:PORT"."""

    client_id: Annotated[bytes, ID]
    place: Annotated[str, TOPIC]
    tag: Annotated[bytes, MAC]


@message(81)
class Between(Message):
    """Agent <-> agent, inside mutual TLS: a message of hand-over, and whom it is about, which HO_CTX does not show."""

    client_id: Annotated[bytes, ID]
    body: Annotated[bytes, Octets(4, 1264)]
