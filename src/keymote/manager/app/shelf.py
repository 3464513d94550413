"""Rows that services of a manager keep beside the cells, in the same database."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

from keymote.engine.base import CellKey
from keymote.host.ports import Done, Write


class Rows(Protocol):
    """The database of the cells."""

    def of_kind(self, kind: str) -> Iterable[Write]: ...

    def load(self, key: CellKey) -> bytes | None: ...

    def commit(self, writes: Sequence[Write], done: Done) -> None: ...


class StoreShelf:
    """Rows beside the cells, in the same database and the same order of commits."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def of_kind(self, kind: str) -> Iterable[Write]:
        return self._rows.of_kind(kind)

    def load(self, key: CellKey) -> bytes | None:
        return self._rows.load(key)

    async def keep(self, writes: Sequence[Write]) -> None:
        """Return when these are on disk; Unavailable when they cannot be."""
        if not writes:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def finished(error: Exception | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        self._rows.commit(writes, finished)
        await done
