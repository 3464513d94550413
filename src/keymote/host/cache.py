"""The cells in memory: the newest state of each, found by id or alias, loaded from the store on demand.

Volatile cells live here and nowhere else; their kinds bound their number. Durable cells are a cache of the store: the
least recently used leave when more than `capacity` are held, but never one whose reload would lose something (a row
that is not on disk yet, a deadline that is running, a state that is ahead of its record).
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, Final, NamedTuple

from keymote.engine.base import MAX_TELLS, CellKey, Durability, Kind, Node
from keymote.errors import CallerFault, PeerFault
from keymote.host.ports import Store, Write

_EVICTION_TRIES: Final = 2
"""Cells examined for each one loaded or written, so that many which cannot leave cost little."""


@dataclass(slots=True)
class Slot:
    """One cell in memory.

    `cell` is None for a cell that is known to be gone, `row` is what the store holds or was handed for it, `batch` the
    number of the newest group commit that it hangs on, `alarm` the earliest time at which its deadline is looked at.
    """

    cell: Any = None
    row: Write | None = None
    aliases: tuple[bytes, ...] = ()
    deadline: float | None = None
    alarm: float | None = None
    batch: int = 0


class Change(NamedTuple):
    """What one unit made of one cell, computed in full before anything is replaced."""

    key: CellKey
    cell: Any
    aliases: tuple[bytes, ...]
    deadline: float | None
    row: Write | None
    written: bool
    """Whether `row` differs from what the store holds or was handed before."""


def _examined(node: Node) -> Mapping[str, Kind]:
    for kind in node.kinds.values():
        if kind.durability is Durability.DURABLE and kind.load is None:
            raise CallerFault(f"kind {kind.name!r} is durable but cannot load its record", do="give it `load`")
    return node.kinds


class CellCache:
    """The `Cells` that a unit reads, and where the driver puts its changes.

    `committed` is the number of the last batch on disk. `depends` is the newest batch among the cells that the running
    unit has looked at: when it is above `committed`, whatever the unit emits must wait for that batch.
    """

    def __init__(self, node: Node, store: Store, capacity: int) -> None:
        self._kinds = _examined(node)
        self._store = store
        self._capacity = max(capacity, 2 * MAX_TELLS)
        self._slots: dict[CellKey, Slot] = {}
        self._aliases: dict[CellKey, CellKey] = {}
        self._by_use: OrderedDict[CellKey, None] = OrderedDict()
        self._absent: set[CellKey] = set()
        self._alarms: list[tuple[float, CellKey]] = []
        self.committed = 0
        self.depends = 0

    def become(self, node: Node) -> None:
        """Read and write by the kinds of this node from now on; CallerFault unless they are kinds of the same names."""
        kinds = _examined(node)
        if set(kinds) != set(self._kinds):
            raise CallerFault("the node has other kinds of cells", do="start the role anew")
        self._kinds = kinds

    def __len__(self) -> int:
        return len(self._slots)

    # ------------------------------------------------------------------ reading: the protocol `Cells`

    def begin(self) -> None:
        """Forget what the last unit looked at, and what it did not find: call this before each unit and each look."""
        self.depends = 0
        if self._absent:
            self._absent.clear()

    def get(self, key: CellKey) -> Any | None:
        """Return the newest state of the cell under a key that was resolved; raises Unavailable as the store does."""
        slot = self._slots.get(key)
        if slot is None:
            if key in self._absent:
                return None
            slot = self._fetch(key)
            return None if slot is None else slot.cell
        if slot.row is not None:
            self._by_use.move_to_end(key)
        return slot.cell

    def resolve(self, key: CellKey) -> CellKey | None:
        """Return the key of the cell that `key` names by id or alias; memory is asked before the store.

        Here it is noted what the unit depends on: also the absence of a cell may not be on disk yet.
        """
        slot = self._slots.get(key)
        if slot is not None:
            if slot.batch > self.depends:  # noqa: PLR1730  # max() takes twice the time, for every cell looked at
                self.depends = slot.batch
            if slot.cell is not None:
                return key
        named = self._aliases.get(key)
        if named is not None:
            self.depends = max(self.depends, self._slots[named].batch)
            return named
        if key in self._absent or self._kinds[key.kind].durability is Durability.VOLATILE:
            return None
        if slot is None and self._fetch(key) is not None:
            return key
        return self._find(key)

    def _find(self, alias: CellKey) -> CellKey | None:
        """Ask the store whose alias this is; a cell in memory has the last word on its own aliases."""
        found = self._store.find(alias.kind, alias.id)
        if found is not None:
            slot = self._slots.get(found)
            if slot is None:
                return found
            self.depends = max(self.depends, slot.batch)
        self._absent.add(alias)
        return None

    def _fetch(self, key: CellKey) -> Slot | None:
        kind = self._kinds[key.kind]
        if kind.load is None or kind.durability is Durability.VOLATILE:
            return None
        record = self._store.load(key)
        if record is None:
            return None
        try:
            cell = kind.load(key.id, record)
        except PeerFault as fault:
            raise ValueError(f"the stored record of a {kind.name!r} cell does not decode") from fault
        aliases = kind.aliases(cell)
        row = Write(key, record, aliases, kind.wake_at(cell))
        slot = self._slots[key] = Slot(cell)
        self._place(slot, Change(key, cell, aliases, kind.deadline(cell), row, written=False))
        self._evict()
        return slot

    # ------------------------------------------------------------------ writing

    def assess(self, key: CellKey, cell: Any) -> Change:
        """Compute what changes when `cell` becomes the state under `key`; replaces nothing."""
        kind = self._kinds[key.kind]
        slot = self._slots.get(key)
        aliases: tuple[bytes, ...] = ()
        deadline: float | None = None
        if cell is not None:
            deadline = kind.deadline(cell)
            if slot is not None and slot.cell is not None and kind.same_record(slot.cell, cell):
                return Change(key, cell, slot.aliases, deadline, slot.row, written=False)
            aliases = kind.aliases(cell)
        if kind.durability is Durability.VOLATILE:
            return Change(key, cell, aliases, deadline, None, written=False)
        old = None if slot is None else slot.row
        record = None if cell is None else kind.record(cell)
        if record is None:
            return Change(key, cell, aliases, deadline, None, written=old is not None)
        if len(record) > kind.most_record:
            raise ValueError(f"record of a {kind.name!r} cell has {len(record)} bytes, more than {kind.most_record}")
        wake_at = kind.wake_at(cell)
        if old is not None and old.record == record and old.aliases == aliases and old.wake_at == wake_at:
            return Change(key, cell, aliases, deadline, old, written=False)
        return Change(key, cell, aliases, deadline, Write(key, record, aliases, wake_at), written=True)

    def apply(self, change: Change) -> None:
        """Make `change` the newest state; a cell that is gone keeps its slot until `settle` or `mark` decide."""
        slot = self._slots.get(change.key)
        if slot is None:
            if change.cell is None and not change.written:
                return
            slot = self._slots[change.key] = Slot()
        slot.cell = change.cell
        if change.aliases != slot.aliases or change.deadline != slot.deadline or change.row is not slot.row:
            self._place(slot, change)
        if change.cell is None and not change.written and slot.batch <= self.committed:
            del self._slots[change.key]

    def _place(self, slot: Slot, change: Change) -> None:
        key = change.key
        if change.aliases != slot.aliases:
            self._unname(key, slot.aliases)
            for alias in change.aliases:
                self._aliases[CellKey(key.kind, alias)] = key
            slot.aliases = change.aliases
        if change.deadline != slot.deadline:
            slot.deadline = change.deadline
            if change.deadline is not None:
                self._arm(key, slot, change.deadline)
        if change.row is slot.row:  # also None: in either case the order of use is as `get` left it
            return
        slot.row = change.row
        if change.row is not None:
            self._by_use[key] = None
            self._by_use.move_to_end(key)
        else:
            self._by_use.pop(key, None)

    def _unname(self, key: CellKey, aliases: tuple[bytes, ...]) -> None:
        for alias in aliases:
            named = CellKey(key.kind, alias)
            if self._aliases.get(named) == key:
                del self._aliases[named]

    def mark(self, key: CellKey, batch: int) -> None:
        """Let the cell under `key`, or its absence, hang on `batch`."""
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = Slot()
        slot.batch = max(slot.batch, batch)

    def settle(self, key: CellKey, batch: int) -> None:
        """`batch` is on disk: a cell that it erased needs no slot any more, one that it wrote may leave memory."""
        slot = self._slots.get(key)
        if slot is not None and slot.cell is None and slot.batch <= batch:
            del self._slots[key]
        self._evict()

    def drop(self, key: CellKey) -> None:
        """Forget the cell: a durable one is loaded again on demand, a volatile one is gone."""
        slot = self._slots.pop(key, None)
        if slot is not None:
            self._unname(key, slot.aliases)
            self._by_use.pop(key, None)

    def put_back(self, key: CellKey, cell: Any, retry_at: float) -> None:
        """Make a volatile cell what it was, None: absent. Its deadline rings at `retry_at` or later."""
        self.drop(key)
        if cell is None:
            return
        self.apply(self.assess(key, cell))
        slot = self._slots[key]
        if slot.deadline is not None:
            slot.alarm = None
            self._arm(key, slot, max(slot.deadline, retry_at))

    def _evict(self) -> None:
        """Let go of the least recently used durable cells that their record gives back unchanged."""
        for _ in range(_EVICTION_TRIES):
            if len(self._by_use) <= self._capacity:
                return
            key = next(iter(self._by_use))
            if self._reloads(key, self._slots[key]):
                self.drop(key)
            else:
                self._by_use.move_to_end(key)

    def _reloads(self, key: CellKey, slot: Slot) -> bool:
        load = self._kinds[key.kind].load
        if slot.batch > self.committed or slot.deadline is not None or slot.row is None or load is None:
            return False
        record = slot.row.record
        return record is not None and bool(load(key.id, record) == slot.cell)

    # ------------------------------------------------------------------ deadlines on the monotonic clock

    def _arm(self, key: CellKey, slot: Slot, mono: float) -> None:
        """Look at the deadline of `slot` at `mono`; one that is set to ring earlier looks again by itself."""
        if slot.alarm is None or mono < slot.alarm:
            slot.alarm = mono
            heappush(self._alarms, (mono, key))

    def due(self, mono: float) -> Sequence[tuple[CellKey, float]]:
        """Take out the cells whose deadline is not later than `mono`, earliest first, with that deadline."""
        ripe: list[tuple[CellKey, float]] = []
        while self._alarms and self._alarms[0][0] <= mono:
            when, key = heappop(self._alarms)
            slot = self._slots.get(key)
            if slot is None or slot.alarm != when:
                continue
            slot.alarm = None
            if slot.deadline is None:
                continue
            if slot.deadline <= mono:
                ripe.append((key, slot.deadline))
            else:
                self._arm(key, slot, slot.deadline)
        return ripe

    def awaits(self, key: CellKey, deadline: float) -> bool:
        """Return whether `deadline` is still the one of the cell under `key`."""
        slot = self._slots.get(key)
        return slot is not None and slot.deadline == deadline

    def again(self, key: CellKey, mono: float) -> None:
        """Ring for the deadline of this cell once more at `mono`, unless it is moved before."""
        slot = self._slots.get(key)
        if slot is not None:
            self._arm(key, slot, mono)

    def next_deadline(self) -> float | None:
        """Return when `due` should be asked next: never later than the earliest deadline of all cells in memory."""
        while self._alarms:
            when, key = self._alarms[0]
            slot = self._slots.get(key)
            if slot is not None and slot.alarm == when and slot.deadline is not None:
                return when
            heappop(self._alarms)
            if slot is not None and slot.alarm == when:
                slot.alarm = None
        return None

    def row_of(self, key: CellKey) -> Write | None:
        """Return the newest row of a cell in memory; None when it is not in memory or has none."""
        slot = self._slots.get(key)
        return None if slot is None else slot.row

    def holds(self, key: CellKey) -> bool:
        """Return whether memory, not the store, has the last word on this key."""
        return key in self._slots

    def is_volatile(self, key: CellKey) -> bool:
        """Return whether nothing but memory holds this cell."""
        return self._kinds[key.kind].durability is Durability.VOLATILE

    def is_dirty(self, key: CellKey) -> bool:
        """Return whether the newest state of this cell hangs on a batch that is not on disk."""
        slot = self._slots.get(key)
        return slot is not None and slot.batch > self.committed
