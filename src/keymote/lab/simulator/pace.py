"""What takes time in a simulated world besides the way: processors that compute, and a medium that only one may use."""

from collections.abc import Callable
from dataclasses import dataclass, field


def _at_once(_name: str) -> float:
    return 0.0


def _no_time(_octets: int) -> float:
    return 0.0


@dataclass(slots=True)
class Pace:
    """Processors and medium of one world; without it a `Simulator` computes and sends in no time.

    `work(name)`: seconds that a node has computed since it was asked last. `airtime(octets)`: seconds for which a datagram
    holds the medium. A node takes in one thing after the other: what it sends leaves when it is done with all before.
    """

    work: Callable[[str], float] = _at_once
    airtime: Callable[[int], float] = _no_time
    _done_at: dict[str, float] = field(default_factory=dict)
    _medium_free_at: float = 0.0

    def worked(self, name: str, now: float) -> None:
        """Charge a node with what it has computed just now."""
        self._done_at[name] = self.done_at(name, now) + self.work(name)

    def done_at(self, name: str, now: float) -> float:
        """Return when a node is done with everything that it was told until now."""
        return max(now, self._done_at.get(name, 0.0))

    def carried(self, octets: int, now: float) -> float:
        """Return how long a datagram that is ready now takes until its last byte is on the air."""
        self._medium_free_at = max(now, self._medium_free_at) + self.airtime(octets)
        return self._medium_free_at - now

    def copy(self) -> "Pace":
        """Return a pace that goes on from here by itself."""
        return Pace(self.work, self.airtime, dict(self._done_at), self._medium_free_at)
