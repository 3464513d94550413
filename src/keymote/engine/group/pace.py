"""How often a gateway answers one asker about one thing, and strangers altogether: counters beside the cells, bounded."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

MOST_ASKERS: Final = 1024
STRANGERS_PER_S: Final = 8
"""Answers to addresses that no verified message came from: an answer may be a hundred times as long as its question."""


class Pace:
    """When each (asker, thing) was served last."""

    __slots__ = ("_last", "_strangers", "_strangers_at")

    def __init__(self) -> None:
        self._last: OrderedDict[Hashable, float] = OrderedDict()
        self._strangers = 0
        self._strangers_at = 0.0

    def allows(self, what: Hashable, now: float, every_s: float) -> bool:
        """Count one request; return whether the last one that was served is long enough ago (GR-45)."""
        last = self._last.get(what)
        if last is not None and last <= now < last + every_s:
            return False
        self._last[what] = now
        self._last.move_to_end(what)
        if len(self._last) > MOST_ASKERS:
            self._last.popitem(last=False)
        return True

    def allows_stranger(self, now: float) -> bool:
        """Count one request of an unknown address; return whether this second still has an answer for it."""
        if not self._strangers_at <= now < self._strangers_at + 1.0:
            self._strangers_at, self._strangers = now, 0
        self._strangers += 1
        return self._strangers <= STRANGERS_PER_S
