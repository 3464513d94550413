"""Opening the coordinator's database: SQLite in WAL mode by default, any SQLAlchemy URL where one machine is outgrown."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, inspect, select
from sqlalchemy.exc import DBAPIError

from keymote.errors import Incompatible, Unavailable
from keymote.storage import sql_registry as tables
from keymote.storage.sql_ledger import SqlLedger

_SCHEMA = "schema"
"""Name of the counter that holds the version of the tables."""


def open_ledger(path: Path) -> SqlLedger:
    """Return the ledger in the SQLite file `path`, made when it is absent.

    Raises:
        Incompatible: a newer Keymote wrote it.
        Unavailable: it cannot be opened or is no database.
    """
    return open_ledger_url(f"sqlite:///{path}")


def open_ledger_url(url: str) -> SqlLedger:
    """Return the ledger behind a SQLAlchemy URL; see `open_ledger`."""
    writer, reader = engine(url, write=True), engine(url, write=False)
    try:
        prepare(writer)
    except DBAPIError as error:
        raise Unavailable(f"cannot open the register: {error.orig}", do="check path, permissions and space") from error
    return SqlLedger(writer, reader)


def engine(url: str, *, write: bool) -> Engine:
    """Return an engine with our pragmas; a writer's transactions begin as the only ones."""
    made = create_engine(url)
    if made.dialect.name != "sqlite":
        return made

    @event.listens_for(made, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: the driver's own breaks savepoints
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA busy_timeout = 5000")
        if not write:
            connection.execute("PRAGMA query_only = ON")

    @event.listens_for(made, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return made


def prepare(writer: Engine) -> None:
    """Make the tables in an empty database; refuse those of a newer version."""
    with writer.begin() as connection:
        if not inspect(connection).has_table(tables.counters.name):
            tables.metadata.create_all(connection)
            connection.execute(tables.counters.insert().values(name=_SCHEMA, value=tables.SCHEMA_VERSION))
            return
        found = connection.execute(select(tables.counters.c.value).where(tables.counters.c.name == _SCHEMA)).scalar()
    if found != tables.SCHEMA_VERSION:
        raise Incompatible(
            f"the register has tables of version {found}, this program knows {tables.SCHEMA_VERSION}",
            do="run the version that wrote it, or restore a backup",
        )
