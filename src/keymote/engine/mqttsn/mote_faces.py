"""What an application says to its mote on MQTT-SN and what it hears: the closed lists of both directions."""

from enum import StrEnum, unique
from typing import NamedTuple

from keymote.engine.mqttsn.faces import Message, Tick
from keymote.wire.mqttsn_fields import ReturnCode


@unique
class Link(StrEnum):
    """What the mote believes of its gateway."""

    DOWN = "down"
    UP = "up"
    ASLEEP = "asleep"


class Attach(NamedTuple):
    """Connect; a will is published when we fall silent."""

    keep_alive_s: int = 60
    clean: bool = True
    will: Message | None = None


class Say(NamedTuple):
    """Publish, and report `Said(ref)`; `predefined` stands for the topic's name, QoS -1 needs no connection."""

    ref: int
    message: Message
    predefined: int = 0


class Listen(NamedTuple):
    """Subscribe, and report `Listening(ref)`."""

    ref: int
    filter: str
    qos: int = 1
    predefined: int = 0


class Sleep(NamedTuple):
    duration_s: int


class Fetch(NamedTuple):
    """Asleep: ask for what waits; `Fetched` says that it was all."""


class Detach(NamedTuple):
    pass


class Datagram(NamedTuple):
    """Bring a Keymote datagram to whoever sits at the gateway; it repeats itself if it must."""

    data: bytes


class Hear(NamedTuple):
    data: bytes


Wish = Attach | Say | Listen | Sleep | Fetch | Detach


class Attached(NamedTuple):
    """The gateway accepts us, or says why not."""

    code: ReturnCode


class Said(NamedTuple):
    """The broker has it, or `code` says why not; with QoS 0 and -1 it was sent."""

    ref: int
    code: ReturnCode


class Listening(NamedTuple):
    ref: int
    code: ReturnCode


class Asleep(NamedTuple):
    pass


class Fetched(NamedTuple):
    pass


class Detached(NamedTuple):
    """The gateway does not know us any more, we said goodbye, or it does not answer (`silent`)."""

    silent: bool = False


class Incoming(NamedTuple):
    message: Message


class Answered(NamedTuple):
    """A Keymote datagram from the gateway."""

    data: bytes


class Transmit(NamedTuple):
    """For the gateway."""

    data: bytes


MoteReport = Attached | Said | Listening | Asleep | Fetched | Detached | Incoming | Answered
MoteOutput = Transmit | MoteReport
MoteInput = Hear | Tick | Wish | Datagram
