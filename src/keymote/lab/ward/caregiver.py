"""A caregiver's station: what it opens, and what it throws away, counted against what the patients have logged."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from keymote.engine.topic.in_order import InOrder
from keymote.engine.topic.readings import Reading
from keymote.errors import ErrorCode, PeerFault
from keymote.lab.village.agenda import Agenda
from keymote.lab.ward.broker import Broker, Message, Session
from keymote.lab.ward.patient import Measured, Patient

Open = Callable[[str, bytes], Reading | None]
"""`(topic, PUB) -> reading`; None for one that waits for its key. PeerFault for one that is dropped."""


@dataclass(slots=True)
class Caregiver:
    """`opened`: what came out, in the order in which it did, by topic."""

    name: str
    broker: Broker
    wanted: Callable[[str], bool]
    open: Open
    agenda: Agenda
    clock: Callable[[], float]
    session: Session | None = None
    awake: bool = True
    opened: dict[str, list[tuple[float, bytes]]] = field(default_factory=dict)
    waiting: list[Message] = field(default_factory=list)
    dropped: Counter[ErrorCode] = field(default_factory=Counter)
    orders: dict[str, InOrder] = field(default_factory=dict)
    held: int = 0

    def take(self, message: Message, acknowledge: Callable[[], None]) -> None:
        """Open what comes and acknowledge it, whatever it is."""
        if not self._opened(message):
            self.waiting.append(message)
        acknowledge()

    def retry(self) -> None:
        """Open what has waited for a key, in order."""
        waiting, self.waiting = self.waiting, []
        self.waiting = [message for message in waiting if not self._opened(message)]

    def _opened(self, message: Message) -> bool:
        try:
            reading = self.open(message.topic, message.data)
        except PeerFault as fault:
            self.dropped[fault.code] += 1
            return True
        if reading is None:
            return False
        order = self.orders.get(message.topic, InOrder())
        self._read(message.topic, *order.take(reading, self.clock()))
        return True

    def _read(self, topic: str, order: InOrder, ready: Sequence[Reading]) -> None:
        """Show what may be read, and come back when something has been held for too long."""
        self.orders[topic] = order
        shown = self.opened.setdefault(topic, [])
        shown.extend((self.clock(), reading.plaintext) for reading in ready)
        self.held += not ready
        if order.deadline is not None:
            self.agenda.at(order.deadline, lambda: self._read(topic, *self.orders[topic].due(self.clock())))

    # ------------------------------------------------------------------ sleeping

    def sleep(self) -> None:
        self.awake = False
        if self.session is not None:
            self.session.lose()

    def wake(self) -> None:
        self.awake = True
        self.reconnect()

    def reconnect(self) -> None:
        if self.awake and self.session is not None:
            self.broker.connect(self.session)


class Count(NamedTuple):
    """What became of readings: `logged` of them, each due at every caregiver who has subscribed to its topic."""

    logged: int
    due: int
    opened: int
    lost: int
    twice: int
    out_of_order: int
    strange: int


def count(patients: Sequence[Patient], caregivers: Sequence[Caregiver]) -> Count:
    """Compare what came out at the caregivers with the patients' logs, reading by reading."""
    by_topic: dict[str, list[Measured]] = {}
    for patient in patients:
        for reading in patient.log:
            by_topic.setdefault(reading.topic, []).append(reading)
    due = opened = lost = twice = disordered = strange = 0
    for caregiver in caregivers:
        for topic, readings in by_topic.items():
            if not caregiver.wanted(topic):
                continue
            place = {reading.text: at for at, reading in enumerate(readings)}
            assert len(place) == len(readings), "every reading of a topic has a text of its own"
            came = [text for _, text in caregiver.opened.get(topic, ())]
            known = [place[text] for text in came if text in place]
            due += len(readings)
            opened += len(came)
            strange += len(came) - len(known)
            lost += len(place.keys() - set(came))
            twice += len(known) - len(set(known))
            disordered += sum(later < before for before, later in pairwise(known))
    logged = sum(map(len, by_topic.values()))
    return Count(logged, due, opened, lost, twice, disordered, strange)


def delays(patients: Sequence[Patient], caregivers: Sequence[Caregiver], kind: str) -> list[float]:
    """Return, sorted, how long each reading of a kind took from the log to the first caregiver, in seconds."""
    logged = {(r.topic, r.text): r.at for p in patients for r in p.log if r.topic.endswith(f"/{kind}")}
    first: dict[tuple[str, bytes], float] = {}
    for caregiver in caregivers:
        for topic, readings in caregiver.opened.items():
            for at, text in readings:
                first[topic, text] = min(at, first.get((topic, text), at))
    return sorted(at - logged[which] for which, at in first.items() if which in logged)
