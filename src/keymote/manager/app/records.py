"""The encrypted logs of this manager's groups at work: onto the disk every second, and to the coordinator, oldest first."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from keymote.errors import KeymoteError, Unavailable
from keymote.manager.app.own import quietly
from keymote.manager.group_records import Passed, RecordLog
from keymote.wire.admin_records import LoggedRecord, RecordsTaken

COMMIT_S: Final = 1.0
"""Records of so long are one commit, and lost when the manager is killed before it."""
UPLOAD_S: Final = 5.0
"""How long records are collected for an upload, and how long a coordinator that did not answer is left alone."""

logger = logging.getLogger(__name__)


class Archive(Protocol):
    """The coordinator, as far as it takes records; Unavailable while it is away."""

    async def hand_in_records(self, gid: bytes, items: Sequence[LoggedRecord]) -> RecordsTaken: ...


class RecordKeeping:
    """Every method belongs to the thread of the running loop. The ring never waits for any of this (GL-02)."""

    def __init__(self, log: RecordLog, archive: Callable[[], Archive]) -> None:
        self._log = log
        self._archive = archive
        self._came = asyncio.Event()
        self._kept = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Go on with what is on disk."""
        if self._log.groups():
            self._kept.set()
        for work in (self._commit(), self._upload()):
            self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def close(self) -> None:
        """Put on disk what has come, and stop."""
        for task in self._tasks:
            await quietly(task)
        try:
            await self._log.flush()
        except Unavailable as error:
            logger.warning("records of groups were not kept: %s", error)

    def add(self, gid: bytes, record: Passed, keep: int) -> None:
        """Have a record kept with the next commit."""
        self._log.add(gid, record, keep)
        self._came.set()

    def waiting(self, gid: bytes) -> int:
        """Return how many records of a group are on disk that the coordinator has not taken yet."""
        return self._log.waiting(gid)

    def dropped(self, gid: bytes) -> int:
        """Return how many records of a group gave way before the coordinator took them."""
        return self._log.dropped(gid)

    async def _commit(self) -> None:
        while True:
            await self._came.wait()
            await asyncio.sleep(COMMIT_S)
            self._came.clear()
            try:
                await self._log.flush()
            except Unavailable as error:
                logger.warning("records of groups wait for the store: %s", error)
                self._came.set()
            else:
                self._kept.set()

    async def _upload(self) -> None:
        while True:
            await self._kept.wait()
            await asyncio.sleep(UPLOAD_S)
            self._kept.clear()
            try:
                for gid in self._log.groups():
                    await self._hand_in(gid)
            except Unavailable:
                self._kept.set()
            except KeymoteError as fault:
                logger.error("the log of a group cannot be read or handed in: %s", fault)

    async def _hand_in(self, gid: bytes) -> None:
        while gid in self._log.groups():
            batches = self._log.batches(gid)
            if not batches:
                logger.error("records of a group are missing on the disk", extra={"gid": gid})
                await self._log.skip_block(gid)
            for batch in batches:
                last = batch[-1].seq
                try:
                    upto = (await self._archive().hand_in_records(gid, batch)).upto
                except Unavailable:
                    raise
                except KeymoteError as fault:
                    logger.error("records of a group are refused for good: %s", fault, extra={"gid": gid})
                    upto = last
                await self._log.settle(gid, max(last, upto))
                if upto > last:
                    break  # the others have other numbers now
