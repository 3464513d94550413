"""The state of one end of a link: its epoch, its numbers in both directions, and when it last said where it is."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from keymote.engine.base import Now, Peer
from keymote.engine.link_faces import OWN_LINK
from keymote.engine.link_keys import EpochKeys, LinkEnd

BLOCK: Final = 64
"""Sequence numbers that one write reserves."""
WINDOW: Final = 32
WIDE_WINDOW: Final = 1024
"""Between managers, whose records overtake one another by the hundred while one that was lost is repeated (LK-14)."""
ANNOUNCED_AGAIN_S: Final = 4.0
"""Seconds until an announcement that nobody answered is said again; twice as long each time, up to the longest pause."""
LONGEST_PAUSE_S: Final = 600.0
ANNOUNCED_DAILY_S: Final = 86400.0
"""Seconds after an announcement that was answered until the next one."""


class Window(NamedTuple):
    """Which sequence numbers were accepted: the highest and a bit map of the `size` below it."""

    highest: int = -1
    bits: int = 0
    size: int = WINDOW

    def accepts(self, seq: int) -> bool:
        if seq > self.highest:
            return True
        offset = self.highest - seq
        return 0 < offset <= self.size and not self.bits >> (offset - 1) & 1

    def with_seq(self, seq: int) -> "Window":
        highest, bits, size = self
        if seq > highest:
            shift = seq - highest
            moved = bits << shift | 1 << (shift - 1) if highest >= 0 and shift <= size else 0
            return Window(seq, moved & ((1 << size) - 1), size)
        return Window(highest, bits | 1 << (highest - seq - 1), size)


UNUSED: Final = Window()
UNUSED_WIDE: Final = Window(size=WIDE_WINDOW)


class Announced(NamedTuple):
    """When this end announced itself last, and after which pause it does so again."""

    said_at: float
    pause_s: float = ANNOUNCED_AGAIN_S

    @property
    def answered(self) -> "Announced":
        return Announced(self.said_at, ANNOUNCED_DAILY_S)

    def again(self, now: Now) -> "Announced":
        """Return what follows when the pause is over."""
        answered = self.pause_s == ANNOUNCED_DAILY_S
        return Announced(now.mono, ANNOUNCED_AGAIN_S if answered else min(2 * self.pause_s, LONGEST_PAUSE_S))


@dataclass(frozen=True, slots=True)
class Standing:
    """The epoch in which a link stands, and those before and after it.

    `trail`: epochs left behind in which the peer may still be, oldest first; empty once the peer was heard in the present
    one. `beyond`: epochs after `ahead` to which a former life of this link may have led the peer; only where a backup was
    put back, and empty once the peer was heard. `previous`: the receive key that stays good for 60 s after a step.
    `doubtful`: restored from a backup, nothing under any epoch of the stored record may be sent or believed. `resumed`:
    loaded after a restart, what lies below `rx_reserved` may have been received before; not
    so with a trail, which is stored until the first record of the present epoch is accepted. `announced`: this end has told
    the other one where it is (docs/decisions/0130).
    """

    keys: EpochKeys
    ahead: EpochKeys
    trail: tuple[EpochKeys, ...]
    stepped_at: float | None
    beyond: tuple[EpochKeys, ...] = ()
    previous: EpochKeys | None = None
    previous_until: float = 0.0
    previous_window: Window = UNUSED
    doubtful: bool = False
    resumed: bool = False
    announced: Announced | None = None


@dataclass(frozen=True, slots=True)
class LinkCell:
    """One end of a link: which, in which epoch, and how far the numbers of both directions have come."""

    end: LinkEnd
    standing: Standing
    tx_next: int
    tx_reserved: int
    window: Window
    rx_reserved: int
    peer: Peer
    unanswered: tuple[tuple[float, bytes], ...] = field(default=(), repr=False)

    @property
    def keys(self) -> EpochKeys:
        return self.standing.keys


def lids(cell: LinkCell) -> tuple[bytes, ...]:
    """Return the pseudonyms under which the peer may speak, now and after a restart."""
    standing = cell.standing
    return standing.keys.lid, standing.ahead.lid, *(keys.lid for keys in (*standing.trail, *standing.beyond))


def fresh(end: LinkEnd, standing: Standing, peer: Peer, unanswered: tuple[tuple[float, bytes], ...] = ()) -> LinkCell:
    """Return the end of a link that begins an epoch: numbers start at the end's origin, nothing was received."""
    return LinkCell(end, standing, end.origin, end.origin + BLOCK, unused(end), BLOCK, peer, unanswered)


def unused(end: LinkEnd) -> Window:
    """Return the window of an epoch in which nothing was received; wide between managers, whose links have ids of their own."""
    return UNUSED if end.id in (OWN_LINK.id, end.peer_id) else UNUSED_WIDE
