"""A store that lives as long as its process, with faults on demand: for tests, the bench and throw-away nodes."""

from collections import deque
from collections.abc import Iterable, Sequence

from keymote.engine.base import CellKey
from keymote.errors import Unavailable
from keymote.host.ports import Done, Write


class MemoryStore:
    """Rows in dictionaries; a commit is done before `commit` returns, unless `held`.

    Faults: `fail_at` holds numbers of commits (the first is 1) that change nothing and end in Unavailable; from
    `fail_from` on every commit does. With `held`, commits queue up in order until `release` lets the oldest one end.
    """

    def __init__(self, rows: Iterable[Write] = (), *, held: bool = False) -> None:
        self._rows: dict[CellKey, Write] = {}
        self._names: dict[CellKey, CellKey] = {}
        self._wakes: dict[CellKey, int] = {}
        self._pending: deque[tuple[Sequence[Write], Done]] = deque()
        self.apply(rows)
        self.held = held
        self.fail_at: frozenset[int] = frozenset()
        self.fail_from: int | None = None
        self.commits = 0
        """Commits that were begun so far."""

    @property
    def rows(self) -> Sequence[Write]:
        """Everything that is kept now: what a restarted process would find."""
        return tuple(self._rows.values())

    @property
    def pending(self) -> int:
        """Commits that are held."""
        return len(self._pending)

    def load(self, key: CellKey) -> bytes | None:
        """Return the record under `key`."""
        row = self._rows.get(key)
        return None if row is None else row.record

    def find(self, kind: str, alias: bytes) -> CellKey | None:
        """Return the key of the cell of this kind that has `alias`."""
        return self._names.get(CellKey(kind, alias))

    def due(self, wall: int, limit: int) -> Sequence[CellKey]:
        """Return at most `limit` keys to be woken by `wall`, oldest first."""
        ripe = sorted((wake_at, key) for key, wake_at in self._wakes.items() if wake_at <= wall)
        return [key for _, key in ripe[:limit]]

    def next_wake(self) -> int | None:
        """Return the earliest `wake_at` of all rows."""
        return min(self._wakes.values(), default=None)

    def commit(self, writes: Sequence[Write], done: Done) -> None:
        """Keep all `writes`, or queue them when the store is held."""
        self.commits += 1
        if self.held:
            self._pending.append((tuple(writes), done))
        elif self._fails():
            done(Unavailable("the store was told to fail this commit"))
        else:
            self.apply(writes)
            done(None)

    def _fails(self) -> bool:
        return self.commits in self.fail_at or (self.fail_from is not None and self.commits >= self.fail_from)

    def release(self, error: Exception | None = None) -> None:
        """End the oldest held commit: on disk, or with `error` and nothing changed."""
        writes, done = self._pending.popleft()
        if error is None:
            self.apply(writes)
        done(error)

    def after_crash(self, *, landed: int) -> "MemoryStore":
        """Return what a restarted process finds when `landed` of the held commits had reached the disk."""
        rest = MemoryStore(self.rows, held=self.held)
        for writes, _ in list(self._pending)[:landed]:
            rest.apply(writes)
        return rest

    def apply(self, writes: Iterable[Write]) -> None:
        """Keep `writes` at once, no commit and no fault between."""
        for write in writes:
            before = self._rows.pop(write.key, None)
            self._wakes.pop(write.key, None)
            for alias in before.aliases if before is not None else ():
                if self._names.get(CellKey(write.key.kind, alias)) == write.key:
                    del self._names[CellKey(write.key.kind, alias)]
            if write.record is not None:
                self._rows[write.key] = write
                if write.wake_at is not None:
                    self._wakes[write.key] = write.wake_at
                for alias in write.aliases:
                    self._names[CellKey(write.key.kind, alias)] = write.key

    def close(self) -> None:
        """Nothing to give back: the rows stay readable."""
