"""When durable cells want to be woken: the store's index of `wake_at`, asked rarely and never in circles."""

from collections.abc import Iterator
from math import inf
from typing import Final

from keymote.engine.base import CellKey, Now
from keymote.host.cache import CellCache
from keymote.host.ports import Store

RETRY_S: Final = 1.0
"""Pause before a deadline is tried again that could not be served, in seconds."""

_AT_ONCE: Final = 256
_LONGEST_NAP_S: Final = 60.0
"""The store is asked at least this often while a cell sleeps, because the wall clock may be set."""


class Wakes:
    """`next_look` is when the store should be asked next, in seconds of the monotonic clock."""

    def __init__(self, store: Store, cells: CellCache) -> None:
        self._store = store
        self._cells = cells
        self._stuck = 0
        self._full = False
        self.next_look = inf

    def due(self, now: Now) -> Iterator[CellKey]:
        """Yield the cells to wake, oldest first; the caller runs each before it takes the next one.

        Cells that their `Due` leaves as they are stay overdue. They are tried again after a pause, and they do not
        hide the cells behind them.
        """
        self.next_look = now.mono + RETRY_S
        limit = _AT_ONCE + self._stuck
        keys = self._store.due(now.wall, limit)
        for key in keys:
            if self._wants(key, now.wall):
                yield key
        self._stuck = sum(not self._cells.is_dirty(key) for key in keys)
        self._full = len(keys) == limit
        self.plan(now)

    def _wants(self, key: CellKey, wall: int) -> bool:
        """A row in memory is newer than the store's: it may have moved its wake-up or be gone."""
        if not self._cells.holds(key):
            return True
        row = self._cells.row_of(key)
        return row is not None and row.wake_at is not None and row.wake_at <= wall

    def committed(self, now: Now) -> None:
        """Rows that may move a wake-up are on disk; when the last look could not see all, the next one is due now."""
        if self._full:
            self._full = False
            self.next_look = now.mono
        else:
            self.plan(now)

    def plan(self, now: Now) -> None:
        """Choose when to look next; overdue cells wait a little, so that one that stays overdue costs little."""
        wake = self._store.next_wake()
        if wake is None:
            self.next_look = inf
        elif wake > now.wall:
            self.next_look = now.mono + min(wake - now.wall, _LONGEST_NAP_S)
        else:
            self.next_look = min(self.next_look, now.mono + RETRY_S)
