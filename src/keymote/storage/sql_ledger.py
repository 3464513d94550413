"""The coordinator's store on a database: one writer thread that commits in groups, two readers beside it.

Many callers share one fsync: the writer takes all the work that waits (at most 128), runs each piece in a savepoint of its
own, commits once and then answers all. What a piece raises undoes that piece only; when the commit fails, all of it is
undone and every caller hears `Unavailable`.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from keymote.errors import Unavailable
from keymote.host.ledger import Transaction
from keymote.storage.sql import Database, open_database, unavailable
from keymote.storage.sql_registry_transaction import SqlTransaction

T = TypeVar("T")
Work = Callable[[Transaction], T]

GROUP: Final = 128
READERS: Final = 2


def open_ledger(url: str | Path) -> "SqlLedger":
    """Return the ledger in a SQLite file or behind a SQLAlchemy URL, made when it is absent; see `open_database`."""
    return SqlLedger(open_database(url, history="registry"))


class SqlLedger:
    """The port `Ledger` over `open_database(url, history="registry")`, which it owns from now on."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: queue.SimpleQueue[tuple[Work[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="ledger-reader")
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._closed = False
        self._thread.start()

    async def write(self, work: Work[T]) -> T:
        """Return what `work` returned once it is on disk; see the port."""
        if self._closed:
            raise Unavailable("the register is closed")
        future: Future[Any] = Future()
        self._waiting.put((work, future))
        return cast("T", await asyncio.wrap_future(future))

    async def read(self, work: Work[T]) -> T:
        """Return what `work` returned on a snapshot; see the port."""
        if self._closed:
            raise Unavailable("the register is closed")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def close(self) -> None:
        """Finish what was handed in and let go of the database."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)
            self._readers.shutdown()
            self._database.close()

    def _read(self, work: Work[T]) -> T:
        try:
            with self._database.reader.connect() as connection:
                return work(SqlTransaction(connection))
        except DBAPIError as error:
            raise unavailable(self._database.where, error) from error

    def _run(self) -> None:
        open_ = True
        while open_:
            group: list[tuple[Work[Any], Future[Any]]] = []
            waiting = self._waiting.get()
            while waiting is not None:
                if waiting[1].set_running_or_notify_cancel():
                    group.append(waiting)
                if len(group) == GROUP:
                    break
                try:
                    waiting = self._waiting.get_nowait()
                except queue.Empty:
                    break
            open_ = waiting is not None
            if group:
                self._commit(group)

    def _commit(self, group: list[tuple[Work[Any], Future[Any]]]) -> None:
        outcomes: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            with self._database.writer.begin() as connection:
                outcomes = [(future, *_one(connection, work)) for work, future in group]
        except SQLAlchemyError as error:
            for _, future in group:
                future.set_exception(unavailable(self._database.where, error))
            return
        for future, result, fault in outcomes:
            if fault is None:
                future.set_result(result)
            else:
                future.set_exception(fault)


def _one(connection: Connection, work: Work[Any]) -> tuple[Any, BaseException | None]:
    """Run one piece in its savepoint; a failing database ends the group, anything else only the piece."""
    savepoint = connection.begin_nested()
    try:
        result = work(SqlTransaction(connection))
        savepoint.commit()
    except DBAPIError:
        raise  # full disk or worse: SQLite may have undone the whole transaction already
    except Exception as fault:  # noqa: BLE001  # whatever it is belongs to the caller, who gets it
        savepoint.rollback()
        return None, fault
    return result, None
