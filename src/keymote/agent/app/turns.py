"""What an agent does for its clients outside their cells: for each client one thing after the other."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from keymote.errors import KeymoteError

CLOSING_S: Final = 5.0
"""How long a stop waits for what is under way."""

logger = logging.getLogger(__name__)
Job = Callable[[], Awaitable[None]]


class Turns:
    """Jobs for clients in the running event loop; how they end is counted in `counted`."""

    def __init__(self, counted: Counter[str]) -> None:
        self._counted = counted
        self._jobs: dict[bytes, asyncio.Task[None]] = {}
        self._later: set[asyncio.TimerHandle] = set()

    @property
    def busy(self) -> bool:
        """Whether something is being done for a client, or is to be done in a while."""
        return bool(self._jobs or self._later)

    @property
    def put_off(self) -> int:
        """How many jobs are to be done in a while."""
        return len(self._later)

    def after(self, client_id: bytes, job: Job) -> asyncio.Task[None]:
        """Do this after what is done for the same client; the task ends well whatever `job` raises."""
        before = self._jobs.get(client_id)

        async def work() -> None:
            if before is not None:
                await asyncio.wait([before])
            try:
                await job()
            except KeymoteError as error:
                self._counted["failed"] += 1
                logger.warning("the broker did not do something for a client: %s", error)
            except Exception as error:  # a bug with one client must not stop the others
                self._counted["bugs"] += 1
                logger.error("bug in the agent", exc_info=error)
            finally:
                if self._jobs.get(client_id) is task:
                    del self._jobs[client_id]

        task = self._jobs[client_id] = asyncio.create_task(work(), name="for a client")
        return task

    def later(self, pause_s: float, client_id: bytes, job: Job) -> None:
        """Do this in a while, after what is done for the same client then."""

        def now() -> None:
            self._later.discard(handle)
            self.after(client_id, job)

        handle = asyncio.get_running_loop().call_later(pause_s, now)
        self._later.add(handle)

    async def close(self) -> None:
        """Forget what was put off, and finish what is under way."""
        for handle in self._later:
            handle.cancel()
        tasks = list(self._jobs.values())
        if tasks:
            _, unfinished = await asyncio.wait(tasks, timeout=CLOSING_S)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
