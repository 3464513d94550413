"""What the gateway of MQTT-SN is handed and what it wants: datagrams on one side, a broker on the other.

Towards the broker the gateway speaks of sessions, one for each client, and of nothing that a library would know. Whether
each has a connection of its own (transparent) or all share one (aggregating) is decided below it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from keymote.engine.base import Peer, Received, Send

KEYMOTE_TOPIC: Final = 0xFFF0
"""The predefined topic id whose payloads are Keymote datagrams, for whoever sits at the gateway and not for the broker."""


class Address(NamedTuple):
    """Where a client is: a socket, and behind a forwarder the wireless node (MQTT-SN 1.2, 5.4.20)."""

    peer: Peer
    node: bytes = b""

    def __str__(self) -> str:
        return f"{self.peer}/{self.node.hex()}" if self.node else self.peer


class Session(NamedTuple):
    """One client's relation to the broker; `turn` tells a new one from the one that it replaces.

    The session of the client "" is the gateway's own: it is always there and publishes what nobody connected for.
    """

    client: str
    turn: int


OWN: Final = Session("", 0)


class Message(NamedTuple):
    """An application's message: topic as the broker knows it."""

    topic: str
    data: bytes
    qos: int = 0
    retain: bool = False


# ------------------------------------------------------------------ towards the broker


class Open(NamedTuple):
    """Connect this session; `clean`: forget what the broker knows of the client. Answered by `Opened` or `Closed`."""

    session: Session
    clean: bool
    will: Message | None = None


class Close(NamedTuple):
    """Disconnect this session in good order: its will is not published."""

    session: Session


class Reopen(NamedTuple):
    """Connect this session anew as it is: the broker holds messages for which there was no room, and says them again."""

    session: Session


class Subscribe(NamedTuple):
    """Answered by `Subscribed` with the same `ref`."""

    session: Session
    ref: int
    filter: str
    qos: int


class Unsubscribe(NamedTuple):
    """Answered by `Unsubscribed` with the same `ref`."""

    session: Session
    ref: int
    filter: str


class Publish(NamedTuple):
    """With QoS 1 and 2 answered by `Published` once the broker has the message for good; with QoS 0 by nothing."""

    session: Session
    ref: int
    message: Message


class Acknowledge(NamedTuple):
    """The `Arrived` with this `ref` may be forgotten by the broker."""

    session: Session
    ref: int


ToBroker = Open | Close | Reopen | Subscribe | Unsubscribe | Publish | Acknowledge


# ------------------------------------------------------------------ from the broker


class Opened(NamedTuple):
    session: Session


class Closed(NamedTuple):
    """The broker refused the session, or will not be reached in reasonable time."""

    session: Session


class Subscribed(NamedTuple):
    """`qos` as granted, None when it was refused."""

    session: Session
    ref: int
    qos: int | None


class Unsubscribed(NamedTuple):
    session: Session
    ref: int


class Published(NamedTuple):
    """The broker has it, or (`taken` False) never will."""

    session: Session
    ref: int
    taken: bool = True


class Arrived(NamedTuple):
    """A message for the client; with QoS 1 and 2 the broker keeps it until `Acknowledge` names `ref`."""

    session: Session
    ref: int
    message: Message


FromBroker = Opened | Closed | Subscribed | Unsubscribed | Published | Arrived


# ------------------------------------------------------------------ Keymote datagrams


class Hand(NamedTuple):
    """A payload on `KEYMOTE_TOPIC`; `client` is empty where nobody connected (QoS -1)."""

    address: Address
    client: str
    data: bytes


class Reply(NamedTuple):
    """What goes back to where a `Hand` came from, on `KEYMOTE_TOPIC`."""

    address: Address
    data: bytes


# ------------------------------------------------------------------ all of it


class Tick(NamedTuple):
    """The deadline has passed."""


class Announce(NamedTuple):
    """For everybody in radio range, where a multicast group is configured."""

    data: bytes


class Note(NamedTuple):
    """Something worth counting happened."""

    what: str


Input = Received | Tick | FromBroker | Reply
Wanted = Send | Announce | ToBroker | Hand
"""What leaves the gateway."""
Output = Wanted | Note


@dataclass(frozen=True, slots=True)
class Settings:
    """How the gateway waits and what it has room for; times in seconds.

    `retry_s` and `retries` are T_retry and N_retry (10 to 15 and 3 to 5 are recommended), `probe_s` how long the bound
    address of a client has to show itself before another one may have the client id. `advertise_s` 0: no ADVERTISE.
    `predefined` are topics by number. Every bound counts per client unless its name says otherwise.
    """

    gw_id: int = 1
    retry_s: float = 10.0
    retries: int = 3
    probe_s: float = 3.0
    idle_s: float = 86_400.0
    advertise_s: int = 0
    predefined: Mapping[int, str] = field(default_factory=dict)
    most_clients: int = 1024
    """Of all together, those that are gone but remembered included."""
    most_connecting: int = 64
    """Of all together, those that the broker has not answered or that owe us a will."""
    most_topics: int = 256
    most_waiting: int = 64
    """Messages for a client that have not reached it."""
    most_waiting_bytes: int = 65_536
    most_upstream: int = 16
    """Publications and subscriptions of a client that the broker has not answered."""
    most_bytes: int = 1280
    """Of a payload towards a client; a longer one cannot be carried and is acknowledged to the broker and counted."""
