"""One simulated node: its cells, its disk and its clocks. A small host of its own, not the product's driver.

Every unit of work is one commit: rows that changed are on disk before the first effect leaves. A reboot forgets what is
not on disk; a fuse cuts the power at a chosen commit, just before or just after the disk has it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from keymote.crypto.entropy import SeededEntropy
from keymote.engine.base import (
    Ask,
    CellKey,
    Command,
    Durability,
    Item,
    Node,
    Now,
    Peer,
    Received,
    Refused,
    Report,
    Send,
    run_unit,
)
from keymote.errors import ErrorCode, PeerFault

EPOCH: Final = 1_800_000_000
"""UTC of virtual time 0."""
ROUTE: Final = CellKey("route", b"")
"""Stands for the cell where the table of routes refused a datagram."""
_TICK: Final = 1e-6
"""Added to the time of a deadline, so that rounding never wakes a cell too early."""

Build = Callable[[], Node]
"""Makes the node anew at each boot: contexts, counters and all."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a unit of work leaves to do: effects that may leave now, and the cells whose deadlines may have moved."""

    effects: Sequence[tuple[CellKey, Send | Ask | Report]]
    changed: Sequence[CellKey] = ()


class PowerLoss(Exception):
    """The fuse of this host burnt: nothing of the present unit may leave."""


@dataclass(frozen=True, slots=True)
class Quartz:
    """How wrong a node's clocks are: `skew_s` is added to its wall clock, both run (1 + drift) times too fast."""

    skew_s: float = 0.0
    drift: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """What the disk holds of one cell."""

    record: bytes
    aliases: tuple[bytes, ...]
    wake_at: int | None


def _nowhere(_peer: Peer, _data: bytes) -> Sequence[CellKey]:
    raise PeerFault(ErrorCode.E_UNKNOWN_ID, "the node is off")


_OFF: Final = Node({}, _nowhere)
"""What a host runs before its first boot."""


@dataclass(frozen=True, slots=True)
class Fuse:
    """Cuts the power at the `left`-th commit from now; `after` tells whether the disk still gets it."""

    left: int
    after: bool


class Host:
    """A node in the simulator. `address` is where others send to; it may change, as when a device roams."""

    def __init__(self, name: str, build: Build, entropy: SeededEntropy, quartz: Quartz) -> None:
        self.name: Final = name
        self.address: Peer = name
        self.build = build
        self.quartz = quartz
        self.up = False
        self.boots = 0
        self.commits = 0
        self.fuse: Fuse | None = None
        self.at_boot: Iterable[tuple[CellKey, Command]] = ()
        self.cells: dict[CellKey, Any] = {}
        self.disk: dict[CellKey, Row] = {}
        self.recording = True
        self.journal: list[tuple[CellKey, bytes]] = []
        """Every record ever written while `recording`, which is what a backup or a thief of the disk may have seen."""
        self.reports: list[tuple[float, CellKey, Report]] = []
        self.refused: Counter[tuple[str, ErrorCode]] = Counter()
        self._aliases: dict[CellKey, CellKey] = {}
        self._entropy = entropy
        self._booted_at = 0.0
        self.node = _OFF
        self._stream = entropy

    # ------------------------------------------------------------------ clocks

    def now(self, at: float) -> Now:
        """Return both clocks of this node at virtual time `at`."""
        rate = 1.0 + self.quartz.drift
        return Now((at - self._booted_at) * rate, int(EPOCH + self.quartz.skew_s + at * rate))

    def due_at(self, key: CellKey) -> float | None:
        """Return the virtual time at which the cell under `key` wants `Due`; None for never."""
        cell = self.cells.get(key)
        if cell is None:
            return None
        kind = self.node.kinds[key.kind]
        rate = 1.0 + self.quartz.drift
        deadline, wake_at = kind.deadline(cell), kind.wake_at(cell)
        times = []
        if deadline is not None:
            times.append(self._booted_at + deadline / rate)
        if wake_at is not None:
            times.append((wake_at - EPOCH - self.quartz.skew_s) / rate)
        return min(times) + _TICK if times else None

    # ------------------------------------------------------------------ power

    def boot(self, at: float) -> None:
        """Start with what the disk holds, fresh entropy and a monotonic clock that begins at 0."""
        self.boots += 1
        self.up = True
        self._booted_at = at
        self.node = self.build()
        self._stream = self._entropy.fork(f"boot {self.boots}")
        self.cells.clear()
        self._aliases.clear()
        for key, row in self.disk.items():
            load = self.node.kinds[key.kind].load
            assert load is not None, f"kind {key.kind} writes records that it cannot load"
            self._place(key, load(key.id, row.record))

    def lose_power(self) -> None:
        """Forget everything that is not on disk."""
        self.up = False
        self.fuse = None
        self.cells.clear()
        self._aliases.clear()

    # ------------------------------------------------------------------ the `Cells` that a unit reads

    def get(self, key: CellKey) -> Any | None:
        return self.cells.get(key)

    def resolve(self, key: CellKey) -> CellKey | None:
        return key if key in self.cells else self._aliases.get(key)

    # ------------------------------------------------------------------ units of work

    def receive(self, peer: Peer, data: bytes, at: float) -> Done:
        """Run a datagram through the cell that it names; raises PowerLoss when the fuse burns."""
        item = Received(peer, data)
        try:
            key = self.node.key_for(item, self)
        except PeerFault as fault:
            refusal = Refused(peer, fault.code, fault.what)
            self._hear(ROUTE, refusal, at)
            return Done(((ROUTE, refusal),))
        return self.step(key, item, at)

    def step(self, key: CellKey, item: Item, at: float) -> Done:
        """Run one unit and commit it; raises PowerLoss when the fuse burns."""
        unit = run_unit(self.node, self, key, item, self.now(at), self._stream)
        self._commit(unit.changes)
        for source, effect in unit.effects:
            if isinstance(effect, Report):
                self._hear(source, effect, at)
        return Done(unit.effects, tuple(unit.changes))

    def _hear(self, key: CellKey, report: Report, at: float) -> None:
        if isinstance(report, Refused):
            self.refused[key.kind, report.code] += 1
        self.reports.append((at, key, report))

    def _commit(self, changes: Mapping[CellKey, Any]) -> None:
        rows = {key: self._row(key, cell) for key, cell in changes.items() if not self._same(key, cell)}
        written = {key: row for key, row in rows.items() if row != self.disk.get(key)}
        if written:
            self.commits += 1
            self._save(written)
        for key, cell in changes.items():
            self._place(key, cell)

    def _save(self, written: Mapping[CellKey, Row | None]) -> None:
        fuse = self.fuse
        burns = False
        if fuse is not None:
            burns = fuse.left == 1
            self.fuse = None if burns else Fuse(fuse.left - 1, fuse.after)
            if burns and not fuse.after:
                raise PowerLoss
        for key, row in written.items():
            if row is None:
                del self.disk[key]
            else:
                self.disk[key] = row
                if self.recording:
                    self.journal.append((key, row.record))
        if burns:
            raise PowerLoss

    def _same(self, key: CellKey, cell: Any) -> bool:
        """Return whether the disk surely holds this cell already, as the product's driver asks before it makes a record."""
        old = self.cells.get(key)
        return (
            old is not None
            and cell is not None
            and key in self.disk
            and self.node.kinds[key.kind].same_record(old, cell)
        )

    def _row(self, key: CellKey, cell: Any) -> Row | None:
        kind = self.node.kinds[key.kind]
        if cell is None or kind.durability is Durability.VOLATILE:
            return None
        record = kind.record(cell)
        if record is None:
            return None
        assert len(record) <= kind.most_record, f"record of a {key.kind} cell has {len(record)} bytes"
        return Row(record, kind.aliases(cell), kind.wake_at(cell))

    def _place(self, key: CellKey, cell: Any | None) -> None:
        kind = self.node.kinds[key.kind]
        old = self.cells.pop(key, None)
        for alias in () if old is None else kind.aliases(old):
            named = CellKey(key.kind, alias)
            if self._aliases.get(named) == key:
                del self._aliases[named]
        if cell is not None:
            self.cells[key] = cell
            for alias in kind.aliases(cell):
                self._aliases[CellKey(key.kind, alias)] = key

    # ------------------------------------------------------------------ copies

    def adopt(self, cells: Mapping[CellKey, Any], disk: Mapping[CellKey, Row]) -> None:
        """Go on where this very node has come to in another process; the randomness from here on is new."""
        for key in dict.fromkeys((*self.cells, *cells)):
            self._place(key, cells.get(key))
        self.disk = dict(disk)
        self._stream = self._entropy.fork(f"boot {self.boots}, adopted at commit {self.commits}")

    def copy(self, entropy: SeededEntropy) -> "Host":
        """Return this host as it is now, with a future of its own. Cells are frozen and shared; so is the node."""
        twin = Host(self.name, self.build, entropy, self.quartz)
        twin.address, twin.up, twin.boots, twin.commits = self.address, self.up, self.boots, self.commits
        twin.at_boot, twin.recording = self.at_boot, self.recording
        twin.fuse, twin.node, twin._booted_at = self.fuse, self.node, self._booted_at
        twin.cells, twin.disk, twin._aliases = dict(self.cells), dict(self.disk), dict(self._aliases)
        twin.journal, twin.reports, twin.refused = list(self.journal), list(self.reports), Counter(self.refused)
        twin._stream = entropy.fork("copy")
        return twin
