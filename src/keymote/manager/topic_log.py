"""What a manager has to tell its coordinator about topics: kept on disk, sealed, until it was told; oldest first."""

from collections.abc import Sequence
from typing import Any, Final

from keymote import cbor
from keymote.engine.base import CellKey
from keymote.engine.policy.topic_events import ClientForgotten, ClientMade, TopicEvent, TopicReport
from keymote.host.ports import Write
from keymote.host.topic_desk import MOST_ITEMS
from keymote.manager.group_log import Shelf

REPORT: Final = "topic-report"
"""Kind of the rows: one a report, named by its number."""
COUNTER: Final = CellKey("topic-counter", b"")
MOST_WAITING: Final = 20_000
"""Reports that may wait; beyond, the oldest gives way."""
_WHO_IS_HERE: Final = (ClientMade, ClientForgotten)
"""What gives way last: the coordinator knows of such a client by these alone."""
_GENERATION_BITS: Final = 32


class TopicLog:
    """A manager whose backup was put back counts in the block of its generation."""

    def __init__(self, shelf: Shelf, generation: int = 0) -> None:
        self._shelf = shelf
        saved = shelf.load(COUNTER)
        count: Any = 0 if saved is None else cbor.decode(saved)
        self._last = max(int(count), generation << _GENERATION_BITS)
        rows = sorted(shelf.of_kind(REPORT), key=lambda row: row.key.id)
        reports = (TopicReport.decode(row.record or b"") for row in rows)
        self._waiting = {each.seq: each for each in reports}

    def __len__(self) -> int:
        return len(self._waiting)

    async def add(self, events: Sequence[TopicEvent], now_ms: int, also: Sequence[Write] = ()) -> None:
        """Keep more reports, and the rows of `also` in the same commit."""
        writes = list(also)
        for event in events:
            self._last += 1
            said = self._waiting[self._last] = TopicReport(self._last, now_ms, event)
            writes.append(_row(said))
            if len(self._waiting) > MOST_WAITING:
                oldest = self._least_missed()
                del self._waiting[oldest]
                writes.append(Write(_key(oldest), None))
        if events:
            writes.append(Write(COUNTER, cbor.encode(self._last)))
        await self._shelf.keep(writes)

    def _least_missed(self) -> int:
        told = (seq for seq, each in self._waiting.items() if not isinstance(each.event, _WHO_IS_HERE))
        return next(told, min(self._waiting))

    def oldest(self) -> Sequence[TopicReport]:
        """Return as many of the oldest as one call carries."""
        return [self._waiting[seq] for seq in sorted(self._waiting)[:MOST_ITEMS]]

    async def settle(self, upto: int) -> None:
        """Forget all up to this number: the coordinator has them. Where that cannot be kept they go on waiting."""
        taken = [seq for seq in self._waiting if seq <= upto]
        await self._shelf.keep([Write(_key(seq), None) for seq in taken])
        for seq in taken:
            del self._waiting[seq]

    async def go_on_above(self, upto: int) -> None:
        """Number everything that waits anew, from `upto` + 1 on, for a coordinator that has heard of higher numbers."""
        before = [self._waiting[seq] for seq in sorted(self._waiting)]
        self._waiting = {seq: said._replace(seq=seq) for seq, said in enumerate(before, upto + 1)}
        self._last = max(self._last, upto + len(before))
        writes = [Write(_key(said.seq), None) for said in before]
        writes += [_row(said) for said in self._waiting.values()]
        await self._shelf.keep([*writes, Write(COUNTER, cbor.encode(self._last))])


def _key(seq: int) -> CellKey:
    return CellKey(REPORT, seq.to_bytes(8, "big"))


def _row(said: TopicReport) -> Write:
    return Write(_key(said.seq), said.encode())
