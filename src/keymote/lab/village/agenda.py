"""What happens when in a village: one-time and repeated actions in virtual time, in the order in which they were written down."""

from collections.abc import Callable
from heapq import heappop, heappush

Action = Callable[[], None]


class Agenda:
    """Actions by virtual time, in seconds."""

    __slots__ = ("_count", "_entries")

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Action]] = []
        self._count = 0

    def at(self, when: float, action: Action) -> None:
        """Do this once."""
        self._count += 1
        heappush(self._entries, (when, self._count, action))

    def every(self, period_s: float, first: float, action: Action) -> None:
        """Do this at `first` and then every `period_s`."""

        def again(when: float) -> None:
            action()
            self.at(when + period_s, lambda: again(when + period_s))

        self.at(first, lambda: again(first))

    @property
    def next_at(self) -> float | None:
        """When something is due; None if nothing is left."""
        return self._entries[0][0] if self._entries else None

    def act(self, now: float) -> None:
        """Do all that is due."""
        while self._entries and self._entries[0][0] <= now:
            heappop(self._entries)[2]()
