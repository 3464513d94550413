"""Opening a database: the one set-up that every store on SQL shares.

`open_database(url, history="cells")` locks the database for this process, makes the file private, sets the pragmas,
brings the tables to the version that this program knows, and returns two engines:

* `writer`: its transactions begin as the only ones (SQLite: BEGIN IMMEDIATE; PostgreSQL: one connection, which holds the
  lock of the database) and are on disk when `commit` returns;
* `reader`: each statement sees what was committed last; it cannot write.

Tables live beside their store (`sql_cells`, `sql_registry`); how they came to be is a history of migrations, one folder
per history below `migrations/`. A new store on SQL adds its folder there and its head to `migrations.HEADS`. Queries are
SQLAlchemy Core without SQLite's own words, so that a PostgreSQL URL works where one machine is outgrown
(docs/decisions/0132); each history takes a database, or a schema, of its own there.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from keymote.errors import CallerFault, Unavailable
from keymote.storage.lock import lock_beside
from keymote.storage.migrations import upgrade

_PRAGMAS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "secure_delete = ON",
    "busy_timeout = 5000",
    "trusted_schema = OFF",
)

_LOCK: Final = 0x6B65796D
"""First number of the advisory lock on a server ("keym"); the second one stands for the schema."""
_LOCK_NOT_AVAILABLE: Final = "55P03"
_LOCK_WITHIN_MS: Final = 5000
"""Patience with a predecessor whose death the server has not noticed yet."""


@dataclass(frozen=True, slots=True)
class Database:
    """An open database; `where` names it for a person."""

    writer: Engine
    reader: Engine
    where: str
    unlock: Callable[[], None]

    def truncate_journal(self) -> bool:
        """Move the write-ahead log into the database and cut it to nothing; False when a reader is in the way."""
        if self.writer.dialect.name != "sqlite":
            return True
        with self.writer.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            busy, _, _ = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy

    def close(self) -> None:
        """Let go of every connection and of the lock."""
        self.reader.dispose()
        self.writer.dispose()
        self.unlock()


def open_database(url: str | Path, *, history: str) -> Database:
    """Open the database behind a SQLAlchemy URL or in a SQLite file, made when it is absent; see above.

    Raises:
        CallerFault: the URL is none, its driver is not installed, or another process uses the database.
        Incompatible: a newer version made the tables.
        Unavailable: the file is no database, or cannot be opened.
    """
    parsed = _parse(url)
    file = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
    where = str(file or parsed.render_as_string(hide_password=True))
    with ExitStack() as opening:
        try:
            unlock = lock_beside(file) if file is not None else _nothing
            opening.callback(unlock)
            if file is not None:
                _make_private(file)
            writer, reader = engine(parsed, writes=True), engine(parsed, writes=False)
            opening.callback(writer.dispose)
            with writer.begin() as connection:
                upgrade(connection, history, where)
        except ModuleNotFoundError as error:
            raise CallerFault(f"{where} needs the module {error.name}", do="install keymote[postgresql]") from error
        except _InUse as error:
            raise CallerFault(f"{where} is in use by another process", do="stop that process first") from error
        except (SQLAlchemyError, OSError) as error:
            raise unavailable(where, error) from error
        opening.pop_all()
    return Database(writer, reader, where, unlock)


def _nothing() -> None:
    """A database server knows by itself when the connection that holds its lock is gone."""


def engine(url: URL, *, writes: bool) -> Engine:
    """Return an engine with our settings; one that does not write runs each statement by itself."""
    match url.get_backend_name():
        case "sqlite":
            return _sqlite(url, writes=writes)
        case "postgresql":
            return _postgresql(url, writes=writes)
        case other:
            raise CallerFault(f"{other} is no database of ours", do="use SQLite or PostgreSQL")


def _sqlite(url: URL, *, writes: bool) -> Engine:
    made = create_engine(url, **({} if writes else {"isolation_level": "AUTOCOMMIT"}))

    @event.listens_for(made, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: the driver's own breaks savepoints
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        if not writes:
            connection.execute("PRAGMA query_only = ON")

    if writes:

        @event.listens_for(made, "begin")
        def _begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return made


def _postgresql(url: URL, *, writes: bool) -> Engine:
    """Return an engine on a server. Who writes has one connection, and it holds the lock for as long as it lives."""
    if writes:
        made = create_engine(url, pool_size=1, max_overflow=0, pool_pre_ping=True)
        event.listen(made, "connect", lambda connection, _record: _lock_server(connection, made))
    else:
        made = create_engine(url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
        event.listen(
            made, "connect", lambda connection, _record: _say(connection, "SET default_transaction_read_only = on")
        )
    return made


def _lock_server(connection: Any, made: Engine) -> None:
    """Take the lock of the connection's schema; whoever waits for a dead predecessor waits `_LOCK_WITHIN_MS`."""
    lock = f"SELECT pg_advisory_lock({_LOCK}, hashtext(current_schema()))"
    try:
        _say(
            connection,
            "SET synchronous_commit = on",
            f"SET lock_timeout = {_LOCK_WITHIN_MS}",
            lock,
            "SET lock_timeout = 0",
        )
    except made.dialect.loaded_dbapi.OperationalError as error:
        connection.close()
        in_use = error.sqlstate == _LOCK_NOT_AVAILABLE
        raise (_InUse("another process uses it") if in_use else SQLAlchemyError(str(error))) from error


def _say(connection: Any, *statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.commit()


class _InUse(SQLAlchemyError):
    """Another process holds the lock of a database on a server."""


def unavailable(where: str, error: Exception) -> Unavailable:
    """Return what a caller may hear of a database that does not serve: the driver's words, without the statement."""
    cause = getattr(error, "orig", None) or error
    return Unavailable(f"the database {where} does not serve: {cause}", do="free space, or mend the disk or the path")


def _parse(url: str | Path) -> URL:
    try:
        return make_url(f"sqlite:///{url}" if isinstance(url, Path) else url)
    except ArgumentError as error:
        raise CallerFault(f"{url!r} is no database URL", do="write sqlite:////path/to/file or a path") from error


def _make_private(path: Path) -> None:
    """Make the file before SQLite does, so that its log and its index inherit that only the owner reads them."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
