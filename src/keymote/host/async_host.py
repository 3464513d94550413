"""The driver in an asyncio program: timers, answers to callers who await, and a bridge for what other threads finish.

The driver stays synchronous; this wraps it in the one event loop that owns it. Stores and other workers call back through
`call_soon`, which is the loop's thread-safe door.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from keymote.engine.base import CellKey, Command, Now, Peer, Report, Send
from keymote.errors import Unavailable
from keymote.host.driver import Driver
from keymote.host.ports import Clock

CLOSING_S: Final = 5.0
"""How long `close` waits for commits that are under way, in seconds."""


class SystemClock:
    """The clocks of this machine."""

    @staticmethod
    def now() -> Now:
        """Return both clocks now."""
        return Now(time.monotonic(), int(time.time()))


def call_soon(loop: asyncio.AbstractEventLoop) -> Callable[[Callable[[], None]], None]:
    """Return how other threads hand a call to the thread of `loop`; after the loop has closed the call is dropped."""

    def hand_over(call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
            loop.call_soon_threadsafe(call)

    return hand_over


class AsyncHost:
    """Owns the timer of one driver. Every method belongs to the thread of the running loop."""

    def __init__(self, driver: Driver, clock: Clock) -> None:
        self.driver: Final = driver
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._rings = 0.0
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        driver.after = self._after

    def start(self) -> None:
        """Start the driver: what fell due while the process was down is done now."""
        self.driver.start()

    def datagram(self, peer: Peer, data: bytes) -> None:
        """Take in a datagram whose sender does not wait; answers go over the link."""
        self.driver.receive(peer, data)

    async def receive(self, peer: Peer, data: bytes) -> Sequence[Send]:
        """Take in a datagram and return what may ride back to `peer`; raises Unavailable when the node cannot serve."""
        answer: asyncio.Future[Sequence[Any]] = self._loop.create_future()
        self.driver.receive(peer, data, partial(_resolve, answer))
        return await answer

    async def command(self, key: CellKey, command: Command) -> Sequence[Report]:
        """Hand `command` to a cell; return the reports of its unit once they may leave.

        Raises:
            Unavailable: the node cannot serve; nothing of the command is kept.
            CallerFault: the cell refuses the command for what it is.
        """
        answer: asyncio.Future[Sequence[Any]] = self._loop.create_future()
        self.driver.command(key, command, partial(_resolve, answer))
        return await answer

    async def close(self) -> None:
        """Take nothing in any more and let out what is being committed.

        Raises:
            Unavailable: the store has not finished within `CLOSING_S`; what waits for it was not acknowledged.
        """
        self._closing = True
        self.driver.close()
        try:
            async with asyncio.timeout(CLOSING_S):
                await self._idle.wait()
        except TimeoutError as error:
            raise Unavailable("the store does not finish", do="nothing that waits for it was acknowledged") from error
        finally:
            self._disarm()

    def _after(self) -> None:
        """A call into the driver ended: its earliest deadline and its idleness may be new."""
        if self.driver.idle:
            self._idle.set()
        else:
            self._idle.clear()
        if self._closing:
            return
        deadline = self.driver.next_deadline()
        if deadline is None or (self._timer is not None and self._rings <= deadline):
            return  # a timer that rings too early finds nothing to do and is set anew
        self._disarm()
        self._rings = deadline
        self._timer = self._loop.call_later(max(0.0, deadline - self._clock.now().mono), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self.driver.tick()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _resolve(answer: asyncio.Future[Sequence[Any]], outcome: Sequence[Any] | Exception) -> None:
    if answer.done():  # the caller was cancelled meanwhile
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
