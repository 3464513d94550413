"""What a manager has to tell its coordinator about groups: kept on disk, sealed, until it was told; oldest first."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple, Protocol

from keymote import cbor
from keymote.engine.base import CellKey
from keymote.host.ports import Write
from keymote.wire import admin
from keymote.wire.admin_groups import (
    BlameReport,
    EvictedReport,
    GroupReport,
    GroupReports,
    JoinedReport,
    LeftReport,
    batches,
    renumbered,
)

REPORT: Final = "group-report"
"""Kind of the rows: one a report, named by its number."""
COUNTER: Final = CellKey("group-counter", b"")
MOST_WAITING: Final = 20_000
"""Reports that may wait; beyond, the oldest gives way: a week of an epoch a minute in one group fits."""
_WHO_BELONGS: Final = (JoinedReport, LeftReport, EvictedReport, BlameReport)
"""What gives way last: a removal that the coordinator never hears of would be undone by its next charter (GS-29)."""
_GENERATION_BITS: Final = 32


class Shelf(Protocol):
    """Rows beside the cells: sealed, in the same database."""

    def of_kind(self, kind: str) -> Iterable[Write]:
        """Return all rows of a kind."""
        ...

    def load(self, key: CellKey) -> bytes | None: ...

    async def keep(self, writes: Sequence[Write]) -> None:
        """Return when these are on disk; Unavailable when they cannot be."""
        ...


class Waiting(NamedTuple):
    """A report that the coordinator has not taken yet."""

    gid: bytes
    report: GroupReport


Make = Callable[[int, int], GroupReport]
"""`(seq, ts_ms) -> report`."""


class GroupLog:
    """Numbers grow over all groups of a manager. A manager whose backup was put back counts in the block of its generation."""

    def __init__(self, shelf: Shelf, generation: int = 0) -> None:
        self._shelf = shelf
        self._waiting: dict[int, Waiting] = {}
        saved = shelf.load(COUNTER)
        count: Any = 0 if saved is None else cbor.decode(saved)
        self._last = max(int(count), generation << _GENERATION_BITS)
        for row in sorted(shelf.of_kind(REPORT), key=lambda row: row.key.id):
            gid, said = _opened(row.record or b"")
            self._waiting[said.seq] = Waiting(gid, said)

    def __len__(self) -> int:
        return len(self._waiting)

    async def add(
        self, gid: bytes, now_ms: int, make: Make, also: Callable[[int], Sequence[Write]] = lambda _seq: ()
    ) -> int:
        """Keep one more report and, in the same commit, the rows that `also(seq)` returns; return its number."""
        seq = self._last = self._last + 1
        report = make(seq, now_ms)
        self._waiting[seq] = Waiting(gid, report)
        writes = [_row(seq, gid, report), Write(COUNTER, cbor.encode(seq)), *also(seq)]
        if len(self._waiting) > MOST_WAITING:
            oldest = self._least_missed()
            del self._waiting[oldest]
            writes.append(Write(_key(oldest), None))
        await self._shelf.keep(writes)
        return seq

    def _least_missed(self) -> int:
        told = (seq for seq, each in self._waiting.items() if not isinstance(each.report, _WHO_BELONGS))
        return next(told, min(self._waiting))

    def batches(self) -> Iterator[tuple[bytes, list[GroupReport]]]:
        """Yield `(gid, reports)` in the order of their numbers, each as much as one call carries."""
        for gid, waiting in groupby(tuple(self._waiting.values()), key=lambda each: each.gid):
            for batch in batches(each.report for each in waiting):
                yield gid, batch

    async def settle(self, reports: Sequence[GroupReport]) -> None:
        """Forget these: the coordinator has them, or will never take them. Where that cannot be kept they go on waiting."""
        await self._shelf.keep([Write(_key(report.seq), None) for report in reports])
        for report in reports:
            self._waiting.pop(report.seq, None)

    async def go_on_above(self, upto: int) -> int:
        """Number everything that waits anew, from `upto` + 1 on; return by how much numbers grew.

        For a coordinator that has heard of higher numbers than we remember.
        """
        waiting = list(self._waiting.values())
        offset = upto + 1 - min(self._waiting, default=upto + 1)
        writes = [Write(_key(seq), None) for seq in self._waiting]
        self._waiting = {each.report.seq + offset: _renumbered(each, offset) for each in waiting}
        self._last = max(self._last + offset, upto)
        writes += [_row(seq, each.gid, each.report) for seq, each in self._waiting.items()]
        await self._shelf.keep([*writes, Write(COUNTER, cbor.encode(self._last))])
        return offset


def _key(seq: int) -> CellKey:
    return CellKey(REPORT, seq.to_bytes(8, "big"))


def _row(seq: int, gid: bytes, report: GroupReport) -> Write:
    return Write(_key(seq), cbor.encode([gid, admin.encode(GroupReports([report]))]))


def _opened(record: bytes) -> tuple[bytes, GroupReport]:
    row: Any = cbor.decode(record, max_size=1 << 16)
    gid, said = row
    (report,) = admin.decode(said, GroupReports).items
    return gid, report


def _renumbered(waiting: Waiting, offset: int) -> Waiting:
    return waiting._replace(report=renumbered(waiting.report, waiting.report.seq + offset))
