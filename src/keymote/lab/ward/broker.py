"""Brokers as models: sessions that outlive connections, QoS 1 each way, bridges between them. They carry what they cannot read.

Only the radio loses; the wires between brokers and to caregivers keep order, as TCP does. A broker that is stopped comes
back with its sessions and what was not acknowledged, which it then sends again, as Mosquitto with persistence does.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from keymote.lab.village.agenda import Agenda

INFLIGHT: Final = 20
"""Deliveries of a session that may wait for their acknowledgement; `max_inflight_messages` of Mosquitto."""


class Message(NamedTuple):
    """A publication as it travels: for a broker, a topic and bytes."""

    topic: str
    data: bytes


Deliver = Callable[[Message, Callable[[], None]], None]
"""`(message, acknowledge)`: what the other end of a session does with what comes."""


@dataclass(slots=True)
class Session:
    """A subscriber, or the bridge to another broker. What is under way comes first again when a connection is lost."""

    wanted: Callable[[str], bool]
    deliver: Deliver
    latency_s: float
    online: bool = False
    connection: int = 0
    queue: deque[Message] = field(default_factory=deque)
    under_way: dict[int, Message] = field(default_factory=dict)
    sent: int = 0
    longest: int = 0

    def lose(self) -> None:
        """Lose the connection: what is not acknowledged will be sent again, in its old order, before the rest."""
        self.online = False
        self.connection += 1
        self.queue.extendleft(self.under_way[number] for number in sorted(self.under_way, reverse=True))
        self.under_way.clear()


@dataclass(slots=True)
class Broker:
    """One broker of the hospital. `allowed`: clients that its agent lets publish, by id."""

    name: str
    agenda: Agenda
    clock: Callable[[], float]
    up: bool = True
    allowed: set[bytes] = field(default_factory=set)
    sessions: dict[str, Session] = field(default_factory=dict)
    bridges: dict[str, Session] = field(default_factory=dict)
    stored: bytearray = field(default_factory=bytearray)
    """Every payload that it has held, one after the other: what its disk and its memory have seen."""

    # ------------------------------------------------------------------ subscribers

    def subscribe(self, name: str, wanted: Callable[[str], bool], deliver: Deliver, latency_s: float) -> Session:
        """Open a lasting session, and connect it."""
        session = self.sessions[name] = Session(wanted, deliver, latency_s)
        self.connect(session)
        return session

    def bridge(self, other: "Broker", latency_s: float) -> None:
        """Hand everything that is published here on to another broker, which acknowledges it."""

        def deliver(message: Message, acknowledge: Callable[[], None]) -> None:
            if other.up:
                other.take(message, others=())
                acknowledge()

        session = self.bridges[other.name] = Session(lambda _topic: True, deliver, latency_s)
        self.connect(session)

    def connect(self, session: Session) -> None:
        """Let the other end of a session come, or come back, if this broker is there at all."""
        if self.up and not session.online:
            session.online = True
            self._send(session)

    # ------------------------------------------------------------------ publishers

    def publish(self, client_id: bytes, message: Message) -> bool:
        """Take a publication of a client; return whether it is taken, and may be acknowledged."""
        if not self.up or client_id not in self.allowed:
            return False
        self.take(message, self.bridges.values())
        return True

    def take(self, message: Message, others: Iterable[Session]) -> None:
        """Put a publication into every session that wants it, and into those of `others`."""
        self.stored += message.data
        for session in (*self.sessions.values(), *others):
            if session.wanted(message.topic):
                session.queue.append(message)
                session.longest = max(session.longest, len(session.queue))
                self._send(session)

    def _send(self, session: Session) -> None:
        while session.online and session.queue and len(session.under_way) < INFLIGHT:
            session.sent += 1
            session.under_way[session.sent] = session.queue.popleft()
            self._carry(session, session.sent, session.connection)

    def _carry(self, session: Session, number: int, connection: int) -> None:
        def is_the_same() -> bool:
            return session.connection == connection and session.online

        def settle() -> None:
            if is_the_same() and session.under_way.pop(number, None) is not None:
                self._send(session)

        def acknowledge() -> None:
            self.agenda.at(self.clock() + session.latency_s, settle)

        def arrive() -> None:
            if is_the_same():
                session.deliver(session.under_way[number], acknowledge)

        self.agenda.at(self.clock() + session.latency_s, arrive)

    def saw(self, text: bytes) -> bool:
        """Tell whether these bytes stand in anything that this broker has held."""
        return text in self.stored

    # ------------------------------------------------------------------ power

    def stop(self) -> None:
        """Go down: every connection is lost; sessions and queues are on disk."""
        self.up = False
        for session in (*self.sessions.values(), *self.bridges.values()):
            session.lose()

    def start(self) -> None:
        """Come back; bridges connect by themselves, subscribers when they see it."""
        self.up = True
        for session in self.bridges.values():
            self.connect(session)


def joined(brokers: Mapping[str, Broker], latency_s: float) -> None:
    """Bridge every broker to every other one."""
    for broker in brokers.values():
        for other in brokers.values():
            if other is not broker:
                broker.bridge(other, latency_s)
