"""The store of cells on a database: sealed rows, one writing thread, and a sum that shows rows put back or taken out.

A commit of the driver is one transaction. Reads are point reads on a connection of their own, on the driver's thread.
Besides each row's own seal (table, kind, id, version) the store keeps the sum of a keyed mark of every row, sealed: when
it is opened, rows that were deleted, added or replaced by older ones behind its back do not add up (rule DR-08). Aliases
and wake-ups are hints and stand open.

Erased and superseded rows do not stay: SQLite overwrites them (`secure_delete`), and the write-ahead log is cut after a
commit that erases, else when the store is quiet (rule DR-09).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Self

from sqlalchemy import Connection, bindparam, delete, insert, select, tuple_, update
from sqlalchemy.exc import SQLAlchemyError

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.engine.base import CellKey
from keymote.host.ports import Done, Write
from keymote.storage.seal import DataKey, KeyEncryptionKey, Tampered
from keymote.storage.sql import Database, unavailable
from keymote.storage.sql_cells import aliases, cells, meta
from keymote.storage.worker import CallSoon, Worker

_MODULUS: Final = 1 << 256
_KEYS_AT_ONCE: Final = 400
_COMMITS_PER_CUT: Final = 1000
"""The log is cut at least this often while the store is never quiet."""

_LOAD: Final = select(cells.c.version, cells.c.record).where(
    cells.c.kind == bindparam("k"), cells.c.id == bindparam("i")
)
_FIND: Final = select(aliases.c.id).where(aliases.c.kind == bindparam("k"), aliases.c.alias == bindparam("a"))
_DUE: Final = (
    select(cells.c.kind, cells.c.id)
    .where(cells.c.wake_at <= bindparam("wall"))
    .order_by(cells.c.wake_at, cells.c.kind, cells.c.id)
    .limit(bindparam("most"))
)
_NEXT_WAKE: Final = select(cells.c.wake_at).where(cells.c.wake_at.is_not(None)).order_by(cells.c.wake_at).limit(1)
_META: Final = select(meta.c.value).where(meta.c.name == bindparam("n"))
_SET_META: Final = update(meta).where(meta.c.name == bindparam("n")).values(value=bindparam("v"))
_ERASE: Final = delete(cells).where(cells.c.kind == bindparam("k"), cells.c.id == bindparam("i"))
_REPLACE: Final = (
    update(cells)
    .where(cells.c.kind == bindparam("k"), cells.c.id == bindparam("i"))
    .values(version=bindparam("v"), record=bindparam("r"), wake_at=bindparam("w"))
)
_UNNAME: Final = delete(aliases).where(aliases.c.kind == bindparam("k"), aliases.c.id == bindparam("i"))
_FREE: Final = delete(aliases).where(aliases.c.kind == bindparam("k"), aliases.c.alias == bindparam("a"))


@dataclass(frozen=True, slots=True)
class _State:
    """What the store says of itself: how often it was opened, its last commit, the sum of the marks of all rows."""

    boot: int
    commits: int
    total: int

    def encode(self) -> bytes:
        return cbor.encode([self.boot, self.commits, (self.total % _MODULUS).to_bytes(32, "big")])

    @classmethod
    def decode(cls, data: bytes) -> Self:
        fields: Any = cbor.decode(data)
        boot, commits, total = fields
        return cls(boot, commits, int.from_bytes(total, "big"))


class SqlStore:
    """The port `Store` over `open_database(url, history="cells")`, which it owns from now on.

    `boot` counts how often the store was opened. `call_soon` brings the end of a commit to the driver's thread; without
    it, commits are made before `commit` returns.

    Raises:
        CallerFault: `kek` is not the key of this store.
        Tampered: the rows are not those that were committed last.
        Unavailable: the database does not answer.
    """

    def __init__(
        self, database: Database, kek: KeyEncryptionKey, entropy: Entropy, *, call_soon: CallSoon | None = None
    ) -> None:
        self._database = database
        self._call_soon = call_soon
        self._uncut = 0
        try:
            with database.writer.begin() as connection:
                self._data_key, state = self._unlock(connection, kek, entropy)
                self._check_sum(connection, state)
                state = replace(state, boot=state.boot + 1)
                self._save(connection, state)
            self.boot: Final = state.boot
            self._reader = database.reader.connect()
        except SQLAlchemyError as error:
            database.close()
            raise unavailable(database.where, error) from error
        except BaseException:
            database.close()
            raise
        self._worker = None if call_soon is None else Worker("sql-store", idle=self._cut)

    # ------------------------------------------------------------------ reading, on the driver's thread

    def load(self, key: CellKey) -> bytes | None:
        """Return the record under `key`; raises Tampered, Unavailable."""
        row = self._read(_LOAD, k=key.kind, i=key.id)
        return None if not row else self._data_key.open(row[0].record, "cell", *key, row[0].version)

    def find(self, kind: str, alias: bytes) -> CellKey | None:
        """Return the key of the cell of this kind that has `alias`."""
        row = self._read(_FIND, k=kind, a=alias)
        return CellKey(kind, row[0].id) if row else None

    def due(self, wall: int, limit: int) -> Sequence[CellKey]:
        """Return at most `limit` keys to be woken by `wall`, oldest first."""
        return [CellKey(row.kind, row.id) for row in self._read(_DUE, wall=wall, most=limit)]

    def next_wake(self) -> int | None:
        """Return the earliest `wake_at` of all rows."""
        row = self._read(_NEXT_WAKE)
        return int(row[0].wake_at) if row else None

    @property
    def rows(self) -> Iterator[Write]:
        """Everything that is kept, opened, for a backup."""
        for row in self._read(select(cells)):
            key = CellKey(row.kind, row.id)
            named = self._read(select(aliases.c.alias).where(aliases.c.kind == row.kind, aliases.c.id == row.id))
            record = self._data_key.open(row.record, "cell", *key, row.version)
            yield Write(key, record, tuple(each.alias for each in named), row.wake_at)

    def of_kind(self, kind: str) -> Iterator[Write]:
        """Yield the rows of one kind, opened, without their aliases."""
        for row in self._read(select(cells).where(cells.c.kind == kind)):
            key = CellKey(row.kind, row.id)
            yield Write(key, self._data_key.open(row.record, "cell", *key, row.version), (), row.wake_at)

    def _read(self, query: Any, **parameters: object) -> Sequence[Any]:
        try:
            return self._reader.execute(query, parameters).all()
        except SQLAlchemyError as error:
            with suppress(SQLAlchemyError):  # a server that is down: the next read tries again
                self._reader.close()
                self._reader = self._database.reader.connect()
            raise unavailable(self._database.where, error) from error

    # ------------------------------------------------------------------ writing, on the worker's thread

    def commit(self, writes: Sequence[Write], done: Done) -> None:
        """Make `writes` durable in one transaction."""
        if self._worker is None or self._call_soon is None:
            done(self._commit(writes))
            return
        call_soon = self._call_soon
        self._worker.submit(lambda: (call_soon(partial(done, self._commit(writes))), None)[1])

    def _commit(self, writes: Sequence[Write]) -> Exception | None:
        try:
            with self._database.writer.begin() as connection:
                self._put(connection, writes)
        except SQLAlchemyError as error:
            return unavailable(self._database.where, error)
        except Exception as error:  # noqa: BLE001  whatever it is, nothing was committed, and the caller hears of it
            return error
        self._uncut += 1
        if self._uncut >= _COMMITS_PER_CUT or any(write.record is None for write in writes):
            self._cut()
        return None

    def _put(self, connection: Connection, writes: Sequence[Write]) -> None:
        state = self._state(connection)
        version = state.commits + 1
        before = self._versions(connection, [write.key for write in writes])
        total = state.total - sum(self._data_key.mark("cell", *key, old) for key, old in before.items())
        kept = [write for write in writes if write.record is not None]
        total += sum(self._data_key.mark("cell", *write.key, version) for write in kept)
        _each(connection, _UNNAME, ({"k": key.kind, "i": key.id} for key in before))
        _each(
            connection,
            _ERASE,
            ({"k": each.key.kind, "i": each.key.id} for each in writes if each.record is None and each.key in before),
        )
        rows = [(write.key in before, self._row(write, version)) for write in kept]
        _each(connection, _REPLACE, (row for known, row in rows if known))
        _each(
            connection,
            insert(cells),
            (
                {"kind": row["k"], "id": row["i"], "version": version, "record": row["r"], "wake_at": row["w"]}
                for known, row in rows
                if not known
            ),
        )
        names = {(write.key.kind, alias): write.key.id for write in kept for alias in write.aliases}
        _each(connection, _FREE, ({"k": kind, "a": alias} for kind, alias in names))
        _each(connection, insert(aliases), ({"kind": k, "alias": a, "id": id_} for (k, a), id_ in names.items()))
        self._save(connection, _State(state.boot, version, total))

    def _row(self, write: Write, version: int) -> dict[str, Any]:
        sealed = self._data_key.seal(write.record or b"", "cell", *write.key, version)
        return {"k": write.key.kind, "i": write.key.id, "v": version, "r": sealed, "w": write.wake_at}

    @staticmethod
    def _versions(connection: Connection, keys: Sequence[CellKey]) -> dict[CellKey, int]:
        """Return which of `keys` have rows, and of which version."""
        found: dict[CellKey, int] = {}
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            wanted = tuple_(cells.c.kind, cells.c.id).in_([tuple(key) for key in keys[start : start + _KEYS_AT_ONCE]])
            for row in connection.execute(select(cells.c.kind, cells.c.id, cells.c.version).where(wanted)):
                found[CellKey(row.kind, row.id)] = row.version
        return found

    def _cut(self) -> None:
        """Leave nothing of erased or superseded rows in the log; when a reader is in the way, the next time."""
        if not self._uncut:
            return
        try:
            if self._database.truncate_journal():
                self._uncut = 0
        except SQLAlchemyError:
            return  # a full disk: the log stays for now, and the next commit tells

    def close(self) -> None:
        """Finish commits and let go of the database."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        self._reader.close()
        self._cut()
        self._database.close()

    # ------------------------------------------------------------------ the store's own notes

    def _unlock(self, connection: Connection, kek: KeyEncryptionKey, entropy: Entropy) -> tuple[DataKey, _State]:
        wrapped = connection.execute(_META, {"n": "key"}).scalar()
        if wrapped is not None:
            self._data_key = DataKey.unwrapped(wrapped, kek, entropy, where=self._database.where)
            return self._data_key, self._state(connection)
        fresh, state = DataKey.fresh(entropy), _State(0, 0, 0)
        connection.execute(
            insert(meta), [{"name": "key", "value": fresh.wrapped_by(kek)}, {"name": "state", "value": b""}]
        )
        return fresh, state

    def _state(self, connection: Connection) -> _State:
        sealed = connection.execute(_META, {"n": "state"}).scalar()
        return _State.decode(self._data_key.open(sealed or b"", "meta", "state"))

    def _save(self, connection: Connection, state: _State) -> None:
        sealed = self._data_key.seal(state.encode(), "meta", "state")
        connection.execute(_SET_META, {"n": "state", "v": sealed})

    def _check_sum(self, connection: Connection, state: _State) -> None:
        total = sum(
            self._data_key.mark("cell", kind, id_, version)
            for kind, id_, version in connection.execute(select(cells.c.kind, cells.c.id, cells.c.version))
        )
        if total % _MODULUS != state.total:
            raise Tampered(
                f"the rows of {self._database.where} are not those that were committed last",
                do="restore a backup; somebody put rows back or took them out",
            )


def _each(connection: Connection, statement: Any, parameters: Iterable[dict[str, Any]]) -> None:
    """Execute `statement` once for all `parameters`, not at all for none."""
    rows = list(parameters)
    if rows:
        connection.execute(statement, rows)
