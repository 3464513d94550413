"""How long patients take to be served in another ward, and until a caregiver reads them again: a stop-watch for each."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arrival:
    """How one arrival went: `by` hand-over, at `home`, or the `full` way; seconds from the first datagram of the mote until
    it was served, and until a caregiver had opened the reading that waited.
    """

    by: str
    served_s: float
    datagrams: int
    opened_s: float | None = None


@dataclass(slots=True)
class _Underway:
    """An arrival that is not over. `first`: the payload of the oldest reading that waited."""

    since: float
    first: bytes
    full: bool = False
    served: tuple[str, float, int] | None = None


class Arrivals:
    """Those under way, and those that are `over`, in the order in which they ended."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.over: list[Arrival] = []
        self._clock = clock
        self._underway: dict[str, _Underway] = {}
        self._first: dict[bytes, str] = {}
        """The oldest reading that waited -> the patient; not once it was opened."""

    def begun(self, name: str, first: bytes) -> None:
        """Take it that a patient speaks to the agent of its ward, perhaps again, while `first` waits."""
        under = self._underway.setdefault(name, _Underway(self._clock(), first))
        self._first[under.first] = name

    def sent_the_full_way(self, name: str) -> None:
        if name in self._underway:
            self._underway[name].full = True

    def served(self, name: str, datagrams: int, *, handed_over: bool) -> None:
        """Take it that the broker there lets a patient in, after so many datagrams of its mote."""
        under = self._underway.get(name)
        if under is not None and under.served is None:
            by = "full" if under.full else "hand-over" if handed_over else "home"
            under.served = by, self._clock() - under.since, datagrams
            if under.first not in self._first:
                self._seen(name, under.first)

    def opened(self, data: bytes) -> None:
        """Take it that a caregiver has opened a reading."""
        patient = self._first.pop(data, None)
        if patient is not None:
            self._seen(patient, data)

    def _seen(self, name: str, data: bytes) -> None:
        """A caregiver has opened the reading that waited; the arrival is over once the patient is served, too."""
        under = self._underway.get(name)
        if under is None or under.first != data or under.served is None:
            return
        del self._underway[name]
        self.over.append(Arrival(*under.served, self._clock() - under.since))

    def gave_up(self, name: str) -> None:
        """Who walks on before a reading was opened is counted without that time."""
        under = self._underway.pop(name, None)
        if under is not None:
            self._first.pop(under.first, None)
            if under.served is not None:
                self.over.append(Arrival(*under.served))
