"""What the gateway knows of one client, and how it speaks to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from math import inf
from typing import Final, NamedTuple

from keymote.engine.base import Send, replace
from keymote.engine.mqttsn.faces import Address, Message, Output, Session, Settings
from keymote.engine.mqttsn.states import SPOKEN_TO, Event, State, moved
from keymote.engine.mqttsn.topics import Topics
from keymote.wire.mqttsn import Connect, Forward, Packet
from keymote.wire.mqttsn_fields import Predefined, Topic

GRACE: Final = 1.5
"""How many times its keep-alive or sleep a client may be silent (MQTT-SN 1.2, 6.11 and 6.14, and the issue)."""
MOST_ID: Final = 0xFFFF


class Stage(IntEnum):
    """How far a message is on its way to the client; what is repeated follows from it."""

    QUEUED = 0
    REGISTERING = 1
    PUBLISHED = 2
    RELEASED = 3


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message for the client. `ref` 0: nothing to acknowledge to the broker."""

    ref: int
    message: Message
    topic: Predefined | None = None
    """Where it goes by this number whatever the topics say."""
    stage: Stage = Stage.QUEUED
    msg_id: int = 0
    told_again: bool = False


class Waiting(NamedTuple):
    """For an answer: `at` the question is repeated, `left` times yet; at no time once it has been given up."""

    at: float
    left: int

    @property
    def is_given_up(self) -> bool:
        return self.at == inf


class Pending(NamedTuple):
    """What the broker was asked on behalf of the client's packet `msg_id`."""

    kind: int
    msg_id: int
    topic: Topic
    qos: int
    name: str


class Challenger(NamedTuple):
    """Another address wants the client id; it gets it when the bound one says nothing until `at`."""

    address: Address
    packet: Connect
    at: float


@dataclass(frozen=True, slots=True)
class Client:
    """One client of the gateway, in every state."""

    id: str
    address: Address
    phase: State = State.DISCONNECTED
    heard_at: float = 0.0
    keep_alive_s: int = 0
    sleep_s: int = 0
    clean: bool = True
    turn: int = 0
    open: bool = False
    """The broker was asked for a session, and has not ended it."""
    stands: bool = False
    """It has accepted it."""
    will: Message | None = None
    new_will: Message | None = None
    """The will of the handshake under way."""
    topics: Topics = field(default_factory=Topics)
    queue: tuple[Delivery, ...] = ()
    behind: bool = False
    """The broker holds messages for which there was no room."""
    waiting: Waiting | None = None
    wake_left: int = 0
    """How many messages are to be delivered before PINGRESP."""
    pending: Mapping[int, Pending] = field(default_factory=dict)
    received: frozenset[int] = frozenset()
    """Message ids of QoS 2 that the broker has and the client has not released."""
    next_ref: int = 1
    next_msg_id: int = 1
    challenger: Challenger | None = None

    @property
    def session(self) -> Session:
        return Session(self.id, self.turn)

    def deadline(self, settings: Settings) -> float:
        """Return when something is due, `inf` for never."""
        times = [self.silent_at(settings)]
        if self.waiting is not None:
            times.append(self.waiting.at)
        if self.challenger is not None:
            times.append(self.challenger.at)
        return min(times)

    def silent_at(self, settings: Settings) -> float:
        """Return from when on its silence says that it is not there."""
        match self.phase:
            case State.DISCONNECTED | State.LOST:
                return inf
            case State.AWAIT_WILL_TOPIC | State.AWAIT_WILL_MESSAGE | State.AWAIT_BROKER:
                return self.heard_at + settings.retry_s * (settings.retries + 1)
            case State.ACTIVE:
                return self.heard_at + (GRACE * self.keep_alive_s if self.keep_alive_s else settings.idle_s)
            case State.ASLEEP | State.AWAKE:
                return self.heard_at + GRACE * self.sleep_s

    def after(self, event: Event) -> "Client | None":
        """Return the client in the state that follows; None where the event means nothing."""
        state = moved(self.phase, event)
        if state is None:
            return None
        waiting = self.waiting if state in SPOKEN_TO else None
        return replace(self, phase=state, waiting=waiting)

    def with_msg_id(self) -> tuple["Client", int]:
        """Return the client and a message id of ours."""
        number = self.next_msg_id
        return replace(self, next_msg_id=number % MOST_ID + 1), number


Step = tuple[Client, list[Output]]


def say(address: Address, packet: Packet) -> Send:
    """Return what carries a packet to an address, through its forwarder where there is one."""
    if address.node:
        packet = Forward(0, address.node, packet.encode())
    return Send(address.peer, packet.encode())


def tell(client: Client, packet: Packet) -> Send:
    return say(client.address, packet)
