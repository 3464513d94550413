"""What a service of the manager has to do, one thing after the other, and again when the store could not keep it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from math import inf
from typing import Final

from keymote.errors import KeymoteError, Unavailable

RETRY_S: Final = 5.0
"""Pause before something that failed here is done again."""

logger = logging.getLogger(__name__)

Job = Callable[[], Awaitable[None]]


def _never() -> float:
    return inf


def _nothing() -> None:
    return None


async def _rest() -> None:
    """Do nothing."""


class Jobs:
    """Every method belongs to the thread of the running loop. `what` says in logs whose jobs these are.

    `resume` goes on with what is on disk, when a job has failed because of the store; `tick` does what time demands, and
    `due_in` says in how many seconds that will be. `after` is called when a job is over, however it ended. `faults` counts bugs.
    """

    def __init__(
        self,
        what: str,
        resume: Job,
        *,
        tick: Job = _rest,
        due_in: Callable[[], float] = _never,
        after: Callable[[], None] = _nothing,
    ) -> None:
        self._what = what
        self._resume = resume
        self._tick = tick
        self._due_in = due_in
        self._after = after
        self._waiting: asyncio.Queue[Job] = asyncio.Queue()
        self._retry_at = inf
        self.faults = 0

    def put(self, job: Job) -> None:
        """Have this done after what was put before it; what it raises is logged."""
        self._waiting.put_nowait(job)

    async def do(self, job: Job) -> None:
        """Do this after what was put before it; raises what it raises."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def tell() -> None:
            try:
                await job()
            except Exception as error:  # noqa: BLE001  whoever asked for it hears of it
                if not done.done():
                    done.set_exception(error)
            else:
                if not done.done():
                    done.set_result(None)

        self.put(tell)
        await done

    async def work(self) -> None:
        """Do what is put, and what time demands, until cancelled."""
        while True:
            job = await self._next()
            try:
                await job()
            except Unavailable as error:
                logger.warning("%s wait for the store: %s", self._what, error)
                self._retry_at = time.monotonic() + RETRY_S
            except KeymoteError as fault:
                logger.error("a wish about %s was not fulfilled: %s", self._what, fault)
            except Exception as error:  # a bug in one matter must not stop the others
                self.faults += 1
                logger.error("bug in the service of %s", self._what, exc_info=error)
            self._after()

    async def _next(self) -> Job:
        pause = max(0.0, min(self._due_in(), self._retry_at - time.monotonic()))
        try:
            async with asyncio.timeout(pause if pause < inf else None):
                return await self._waiting.get()
        except TimeoutError:
            if time.monotonic() < self._retry_at:
                return self._tick
            self._retry_at = inf
            return self._resume
