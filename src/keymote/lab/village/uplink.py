"""A gateway's way to the coordinator that is down most of the day: a log on disk, sent in batches when it is up."""

from dataclasses import dataclass, field
from typing import Final

from keymote.engine.policy.group_faces import DAY_S
from keymote.lab.simulator import EPOCH
from keymote.lab.simulator.network import Dice
from keymote.lab.village.office import Fact, Item, Office, SealedRecord

BATCH: Final = 64
"""Items of one upload at most."""
UPLOAD_S: Final = 2.0
"""From one batch to the next: a slow link's round trip."""


@dataclass(frozen=True, slots=True)
class Window:
    """When the link is up every day: from `from_s` seconds after midnight UTC, for `for_s` seconds. `loss` of acknowledgements."""

    from_s: int = 0
    for_s: int = DAY_S
    loss: float = 0.0

    def is_up(self, now: float) -> bool:
        return (EPOCH + now - self.from_s) % DAY_S < self.for_s

    def next_up(self, now: float) -> float:
        """Return the virtual time at which the link is up next, `now` if it is."""
        return now if self.is_up(now) else now + (self.from_s - EPOCH - now) % DAY_S


@dataclass(slots=True)
class Uplink:
    """The log and the link. `cut` keeps the link down whatever the window says. `longest`: most items that ever waited."""

    gateway: bytes
    window: Window
    office: Office
    dice: Dice
    cut: bool = False
    waiting: list[Item] = field(default_factory=list)
    next_at: float = 0.0
    longest: int = 0
    octets: int = 0
    """Bytes of sealed records that were sent up, repetitions included."""
    uploads: int = 0
    last: int = 0
    """Number of the newest line of the log."""

    def keep(self, at: float, fact: Fact) -> None:
        """Write a line into the log, which survives the gateway's restarts."""
        self.last += 1
        self.waiting.append(Item(self.last, at, fact))
        self.longest = max(self.longest, len(self.waiting))

    def due_at(self, now: float) -> float | None:
        """Return when the next batch leaves; None while nothing waits or the link is cut."""
        return max(self.next_at, self.window.next_up(now)) if self.waiting and not self.cut else None

    def upload(self, now: float) -> None:
        """Send one batch if the link is up; what is not acknowledged is sent again."""
        if self.cut or not self.waiting or now < self.next_at or not self.window.is_up(now):
            return
        self.next_at = now + UPLOAD_S
        batch = self.waiting[:BATCH]
        self.uploads += 1
        self.octets += sum(len(item.fact.record) for item in batch if isinstance(item.fact, SealedRecord))
        known = self.office.take(self.gateway, batch)
        if self.dice.uniform() >= self.window.loss:
            self.waiting = [item for item in self.waiting if item.seq > known]
