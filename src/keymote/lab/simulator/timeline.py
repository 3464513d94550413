"""What is yet to happen in a simulated world, in order; what is to happen at the same time, in the order in which it was said."""

from dataclasses import dataclass
from heapq import heappop, heappush

from keymote.engine.base import Answer, CellKey, Failed
from keymote.lab.simulator.network import Datagram


@dataclass(frozen=True, slots=True)
class Arrival:
    target: str
    datagram: Datagram


@dataclass(frozen=True, slots=True)
class Deadline:
    host: str
    key: CellKey


@dataclass(frozen=True, slots=True)
class Return:
    """The outcome of an effect, for the cell that had it; a reboot in between loses it."""

    host: str
    boot: int
    key: CellKey
    item: Answer | Failed


@dataclass(frozen=True, slots=True)
class PowerOn:
    host: str
    boot: int


@dataclass(frozen=True, slots=True)
class Departure:
    """A datagram that waits until its sender has computed it and the medium is free."""

    host: str
    boot: int
    key: CellKey
    datagram: Datagram
    ref: int


Event = Arrival | Deadline | Return | PowerOn | Departure


class Timeline:
    """The events of a world. A cell has one alarm, which replaces the one before."""

    __slots__ = ("_alarms", "_count", "_events")

    def __init__(self) -> None:
        self._events: list[tuple[float, int, Event]] = []
        self._count = 0
        self._alarms: dict[tuple[str, CellKey], float] = {}

    def push(self, at: float, event: Event) -> None:
        self._count += 1
        heappush(self._events, (at, self._count, event))

    def pop(self, until: float) -> tuple[float, Event] | None:
        """Take out the next event and when it is; None if there is none until then."""
        if not self._events or self._events[0][0] > until:
            return None
        at, _, event = heappop(self._events)
        return at, event

    def set_alarm(self, host: str, key: CellKey, at: float) -> None:
        if self._alarms.get((host, key)) != at:
            self._alarms[host, key] = at
            self.push(at, Deadline(host, key))

    def take_alarm(self, host: str, key: CellKey, at: float) -> bool:
        """Return whether the alarm of a cell is still the one of `at`; it is off then."""
        if self._alarms.get((host, key)) != at:
            return False
        del self._alarms[host, key]
        return True

    def copy(self) -> "Timeline":
        """Return a timeline that goes on from here by itself. Events are frozen and shared."""
        twin = Timeline()
        twin._events, twin._count, twin._alarms = list(self._events), self._count, dict(self._alarms)
        return twin
