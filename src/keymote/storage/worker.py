"""One thread that does blocking work in order and answers on another: the disk's side of a store."""

import queue
import threading
from collections.abc import Callable
from typing import Final

CallSoon = Callable[[Callable[[], None]], object]
"""Hands a call to the thread that owns the driver, such as `loop.call_soon_threadsafe`."""

Work = Callable[[], None]


class Worker:
    """Runs what `submit` hands in, one after the other; `idle` runs when there was nothing to do for `pause_s`.

    Work answers for itself: it must not raise.
    """

    def __init__(self, name: str, *, idle: Work | None = None, pause_s: float = 0.5) -> None:
        self._idle: Final = idle
        self._pause_s: Final = pause_s
        self._waiting: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> None:
        """Queue `work`."""
        self._waiting.put(work)

    def close(self) -> None:
        """Finish what was handed in, then end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                work = self._waiting.get(timeout=self._pause_s) if self._idle is not None else self._waiting.get()
            except queue.Empty:
                if self._idle is not None:
                    self._idle()
                continue
            if work is None:
                return
            work()
