"""Group commits: which unit waits for which, what a good commit lets out and what a failed one takes with it.

One batch flies (the store works on it), one collects behind it. A unit that writes joins the collecting batch; a unit that
only looked at unfinished cells waits for the newest batch among them. So a batch depends on itself and on earlier ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from keymote.engine.base import Ask, CellKey, Peer, Report, Send, Unit
from keymote.host.cache import CellCache
from keymote.host.ports import Write

Settled = Callable[[Sequence[Any] | Exception], None]
"""Hears once how a unit ended: what left with it, or why nothing did."""


class Finished(NamedTuple):
    """A unit whose changes are applied and whose effects have not left yet."""

    effects: Sequence[tuple[CellKey, Send | Ask | Report]]
    settled: Settled | None
    asker: Peer | None
    """The peer whose datagram began the unit: sends to it ride on `settled`. None when no datagram did."""


@dataclass(slots=True)
class Batch:
    """One group commit: its rows, the units that wait for it, the cells that they looked at and those that they changed.

    `before` is what volatile cells were when the first of its units changed them: no store gives them back.
    """

    number: int
    writes: dict[CellKey, Write] = field(default_factory=dict)
    waiting: list[Finished] = field(default_factory=list)
    touched: set[CellKey] = field(default_factory=set)
    changed: set[CellKey] = field(default_factory=set)
    before: dict[CellKey, Any] = field(default_factory=dict)
    moves_a_wake: bool = False
    """Whether a row's `wake_at` differs from what the store holds."""

    def add(self, row: Write, before: Write | None) -> None:
        """Take `row` in, in place of an earlier one of the same cell."""
        self.writes[row.key] = row
        if row.wake_at != (None if before is None else before.wake_at):
            self.moves_a_wake = True


class Batches:
    """The batch in flight and the one that collects, over the cells that hang on them."""

    def __init__(self, cells: CellCache) -> None:
        self._cells = cells
        self._collecting = Batch(1)
        self._flying: Batch | None = None

    @property
    def waiting(self) -> int:
        """Units whose effects have not left."""
        return len(self._collecting.waiting) + (0 if self._flying is None else len(self._flying.waiting))

    def stage(self, unit: Unit, finished: Finished) -> bool:
        """Replace the cells that `unit` changed; False when its effects may leave at once, True when they wait here.

        Every new row is computed before the first cell is replaced: an error leaves no half of a unit behind.
        """
        cells = self._cells
        changes = [cells.assess(key, cell) for key, cell in unit.changes.items()]
        batch = self._for_unit(any([change.written for change in changes]))  # noqa: C419  # a few: no generator
        for change in changes:
            if batch is not None:
                if change.written:
                    batch.add(change.row or Write(change.key, None), cells.row_of(change.key))
                elif change.key not in batch.before and cells.is_volatile(change.key):
                    batch.before[change.key] = cells.get(change.key)
            cells.apply(change)
        if batch is None:
            return False
        for key in unit.touched:
            cells.mark(key, batch.number)
        batch.touched.update(unit.touched)
        batch.changed.update(unit.changes)
        batch.waiting.append(finished)
        return True

    def _for_unit(self, writes: bool) -> Batch | None:
        """Return the batch that the current unit must wait for: None when it depends on nothing unwritten."""
        depends = self._cells.depends
        if writes or depends == self._collecting.number:
            return self._collecting
        return self._flying if depends > self._cells.committed else None

    def take_off(self) -> Batch | None:
        """Return the batch that is to be committed now: None while one flies or when nothing waits."""
        if self._flying is not None or not self._collecting.waiting:
            return None
        self._flying = self._collecting
        self._collecting = Batch(self._flying.number + 1)
        return self._flying

    def flies(self, batch: Batch) -> bool:
        """Return whether `batch` is the one in flight."""
        return self._flying is batch

    def land(self, batch: Batch) -> Sequence[Finished]:
        """`batch` is on disk: return the units whose effects may leave, in order."""
        self._flying = None
        self._cells.committed = batch.number
        for key in batch.touched:
            self._cells.settle(key, batch.number)
        return batch.waiting

    def crash(self, batch: Batch, retry_at: float) -> Sequence[Finished]:
        """`batch` could not be committed: undo what it and the one behind made of cells; return their units.

        A durable cell is loaded again when it is needed. A volatile one, such as a registrar's door, is put back as it
        was; should its deadline have passed, it rings at `retry_at`. A cell that was only looked at stays.
        """
        behind = self._collecting
        self._flying = None
        self._collecting = Batch(behind.number + 1)
        self._cells.committed = behind.number
        changed = batch.changed | behind.changed
        for key in changed:
            self._cells.drop(key)
        for key, cell in (behind.before | batch.before).items():
            self._cells.put_back(key, cell, retry_at)
        for key in (batch.touched | behind.touched) - changed:
            self._cells.settle(key, behind.number)
        return batch.waiting + behind.waiting
