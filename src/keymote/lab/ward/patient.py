"""A patient's sensor as an application: it reads, seals, keeps what nobody has acknowledged, and walks.

One publication is under way at a time, as MQTT-SN has it, so that a topic's readings leave in order; it is repeated, the same
bytes, until a broker that serves this patient acknowledges it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from keymote.lab.simulator import Channel
from keymote.lab.simulator.network import Dice
from keymote.lab.village.agenda import Agenda
from keymote.lab.ward.broker import Broker, Message

REPEAT_S: Final = 0.3
"""After which a publication without acknowledgement is sent again: six round trips of the radio."""
VITALS: Final = "vitals"
ALARM: Final = "alarm"


class Measured(NamedTuple):
    """What a sensor has measured, as its own log has it."""

    at: float
    topic: str
    text: bytes


@dataclass(slots=True)
class Radio:
    """What lies between patients and brokers: the dice that lose datagrams, and virtual time that delays them."""

    agenda: Agenda
    clock: Callable[[], float]
    dice: Dice
    channel: Channel
    sent: int = 0

    def carry(self, arrive: Callable[[], None]) -> None:
        """Send one datagram; `arrive` happens for each copy that is not lost."""
        self.sent += 1
        for delay in self.dice.arrivals(self.channel):
            self.agenda.at(self.clock() + delay, arrive)


@dataclass(slots=True)
class Patient:
    """`ward`: where the radio reaches, None on the way. `served`: the broker there lets this patient in.

    `stay` grows with every arrival and departure: what belongs to an earlier one is void.
    """

    name: str
    client_id: bytes
    home: int
    radio: Radio
    seal: Callable[[str, bytes], bytes | None]
    ward: int | None = None
    broker: Broker | None = None
    served: bool = False
    stay: int = 0
    log: list[Measured] = field(default_factory=list)
    unsealed: deque[Measured] = field(default_factory=deque)
    outbox: deque[Message] = field(default_factory=deque)
    attempt: int = 0
    repeated: int = 0
    longest: int = 0

    # ------------------------------------------------------------------ reading

    def read(self, kind: str, text: bytes) -> Message | None:
        """Log a reading and put it behind those that wait; return what it is sealed as, None before there is a key."""
        reading = Measured(self.radio.clock(), f"ward/{self.name}/{kind}", text)
        self.log.append(reading)
        self.unsealed.append(reading)
        self.seal_all()
        return self.outbox[-1] if self.outbox and not self.unsealed else None

    def seal_all(self) -> None:
        """Seal what waits for a key, in order, as far as there is one."""
        while self.unsealed:
            reading = self.unsealed[0]
            data = self.seal(reading.topic, reading.text)
            if data is None:
                return
            self.unsealed.popleft()
            self.outbox.append(Message(reading.topic, data))
            self.longest = max(self.longest, len(self.outbox))
            if len(self.outbox) == 1:
                self._transmit()

    @property
    def idle(self) -> bool:
        """Tell whether everything that was logged has been taken by a broker."""
        return not self.outbox and not self.unsealed

    # ------------------------------------------------------------------ walking

    def leave(self) -> None:
        """Walk out of reach."""
        self.stay += 1
        self.ward, self.broker, self.served = None, None, False

    def arrive(self, ward: int, broker: Broker) -> None:
        """Come into the reach of a broker, who does not serve this patient yet."""
        self.stay += 1
        self.ward, self.broker, self.served = ward, broker, False

    def admitted(self) -> None:
        """Begin to be served: what is unacknowledged goes first, again."""
        self.served = True
        self._transmit()

    # ------------------------------------------------------------------ publishing

    def _transmit(self) -> None:
        """Send the oldest publication, and again until it is acknowledged or the patient has gone."""
        if not (self.served and self.outbox and self.broker):
            return
        self.attempt += 1
        message, broker, stay, attempt = self.outbox[0], self.broker, self.stay, self.attempt

        def acknowledged() -> None:
            if self.stay == stay and self.outbox and self.outbox[0] is message:
                self.outbox.popleft()
                self._transmit()

        def arrived() -> None:
            if broker.publish(self.client_id, message):
                self.radio.carry(acknowledged)

        def again() -> None:
            if self.stay == stay and self.attempt == attempt and self.outbox and self.outbox[0] is message:
                self.repeated += 1
                self._transmit()

        self.radio.carry(arrived)
        self.radio.agenda.at(self.radio.clock() + REPEAT_S, again)
