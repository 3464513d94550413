"""Opening a database: the one set-up that every store on SQL shares.

`open_database(url, history="cells")` locks the database for this process, makes the file private, sets the pragmas,
brings the tables to the version that this program knows, and returns two engines:

* `writer`: its transactions begin as the only ones (SQLite: BEGIN IMMEDIATE) and are on disk when `commit` returns;
* `reader`: each statement sees what was committed last; it cannot write.

Tables live beside their store (`sql_cells`, `sql_registry`); how they came to be is a history of migrations, one folder
per history below `migrations/`. A new store on SQL adds its folder there and its head to `migrations.HEADS`. Queries are
SQLAlchemy Core without SQLite's own words, so that a PostgreSQL URL works where one machine is outgrown.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, create_engine, event
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
        CallerFault: the URL is none, or another process uses the file (it is named).
        Incompatible: a newer version made the tables.
        Unavailable: the file is no database, or cannot be opened.
    """
    parsed = _parse(url)
    file = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
    where = str(file or parsed.render_as_string(hide_password=True))
    unlock = lock_beside(file) if file is not None else _nothing
    try:
        if file is not None:
            _make_private(file)
        writer, reader = engine(parsed, begin="BEGIN IMMEDIATE"), engine(parsed, begin=None)
        with writer.begin() as connection:
            upgrade(connection, history, where)
    except (SQLAlchemyError, OSError) as error:
        unlock()
        raise unavailable(where, error) from error
    except BaseException:
        unlock()
        raise
    return Database(writer, reader, where, unlock)


def _nothing() -> None:
    """A database server does its own locking."""


def engine(url: Any, *, begin: str | None) -> Engine:
    """Return an engine with our pragmas. `begin` is what opens a transaction; None: every statement stands alone."""
    made = create_engine(url, **({} if begin else {"isolation_level": "AUTOCOMMIT"}))
    if made.dialect.name != "sqlite":
        return made

    @event.listens_for(made, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: the driver's own breaks savepoints
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        if begin is None:
            connection.execute("PRAGMA query_only = ON")

    if begin is not None:

        @event.listens_for(made, "begin")
        def _begin(connection: Any) -> None:
            connection.exec_driver_sql(begin)

    return made


def unavailable(where: str, error: Exception) -> Unavailable:
    """Return what a caller may hear of a database that does not serve: the driver's words, without the statement."""
    cause = getattr(error, "orig", None) or error
    return Unavailable(f"the database {where} does not serve: {cause}", do="free space, or mend the disk or the path")


def _parse(url: str | Path) -> Any:
    try:
        return make_url(f"sqlite:///{url}" if isinstance(url, Path) else url)
    except ArgumentError as error:
        raise CallerFault(f"{url!r} is no database URL", do="write sqlite:////path/to/file or a path") from error


def _make_private(path: Path) -> None:
    """Make the file before SQLite does, so that its log and its index inherit that only the owner reads them."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
