"""What hand-over needs beside Triad-1 4.6, ours (decisions 0197, 0207): between agents, to the trusted system, behind HO_REQ."""

from typing import Annotated, Final

from keymote.wire.fields import ID, MAC, Octets, Uint
from keymote.wire.message import Body, Message, body, message
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


@message(83)
class HoMoved(Message):
    """Home broker's agent -> trusted system: a `MoveBody`, sealed under a key of what both share (decision 0207)."""

    broker_id: Annotated[bytes, ID]
    nonce: Annotated[bytes, Octets(13)]
    ct: Annotated[bytes, Octets(44, 64)]


@message(84)
class HoNoted(Message):
    """Trusted system -> agent: kept; no need to say it again. The nonce of HO_MOVED is in the tag."""

    client_id: Annotated[bytes, ID]
    ho_ctr: Annotated[int, Uint()]
    tag: Annotated[bytes, MAC]


@body
class MoveBody(Body):
    """A client went from one broker to another by hand-over `ho_ctr`; `at` (UTC seconds) by the agent's clock."""

    client_id: Annotated[bytes, ID]
    origin: Annotated[bytes, ID]
    to: Annotated[bytes, ID]
    ho_ctr: Annotated[int, Uint()]
    at: Annotated[int, Uint()]


@message(81)
class Between(Message):
    """Agent <-> agent, inside mutual TLS: a message of hand-over, and whom it is about, which HO_CTX does not show."""

    client_id: Annotated[bytes, ID]
    body: Annotated[bytes, Octets(4, 1264)]
