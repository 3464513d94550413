"""The driver: one event at a time through the cells of a node, saved before anything that depends on it leaves.

Synchronous and single-threaded: whoever hosts it (asyncio, a test, the bench) calls `receive`, `command` and `tick` on
one thread and hears back through callbacks on that thread. Calls made from inside a callback are queued, never nested.

A unit of work that changed no durable row and looked at no cell of an unfinished commit takes effect at once. Every
other unit waits for a batch: the one that collects, when it writes, else the newest one that it looked at. One commit
is in flight; meanwhile the next batch collects. What a batch holds leaves in order when it is on disk. When a commit
fails, that batch and the collecting one, which builds on it, are forgotten: cells, effects and all, and who waits gets
`Unavailable`.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import inf
from typing import Any, Final

from keymote.crypto.entropy import Entropy
from keymote.engine.base import (
    Answer,
    Ask,
    CellKey,
    Command,
    Due,
    Failed,
    Item,
    Node,
    Peer,
    Received,
    Refused,
    Report,
    Send,
    run_unit,
)
from keymote.errors import ErrorCode, KeymoteError, PeerFault, Unavailable
from keymote.host.batches import Batch, Batches, Finished, Settled
from keymote.host.cache import CellCache
from keymote.host.ports import Answerer, Clock, Link, Store
from keymote.host.wakes import RETRY_S, Wakes

MAX_WAITING: Final = 8192
"""Units that may wait for commits; further inputs are refused with `Unavailable` until the store catches up."""

ROUTE: Final = CellKey("route", b"")
"""Stands for the cell in reports and tallies of datagrams that the table of routes refused."""

Fault = Callable[[str, Exception], None]
"""Hears of errors that are bugs here, not faults of a peer: where, and the exception."""


def _ignore(_where: str, _error: Exception) -> None:
    return None


class Driver:
    """Hosts one node: routes, steps, commits in groups and lets effects out.

    `report` hears every `Report` with the cell that it came from, `fault` every bug that was survived (also counted in
    `faults`), `after` is called when a call from outside has been worked off, so that a host can set its timer.
    `tally` counts refused inputs by kind of cell and error code. `cache` bounds the durable cells kept in memory.
    """

    def __init__(
        self,
        node: Node,
        store: Store,
        link: Link,
        clock: Clock,
        entropy: Entropy,
        answer: Answerer,
        report: Callable[[CellKey, Report], None],
        *,
        cache: int = 4096,
        fault: Fault = _ignore,
    ) -> None:
        self._node = node
        self._store = store
        self._link = link
        self._clock = clock
        self._entropy = entropy
        self._answer = answer
        self._report = report
        self._fault = fault
        self._cells = CellCache(node, store, cache)
        self._inbox: deque[Callable[[], object]] = deque()
        self._busy = False
        self._closed = False
        self._batches = Batches(self._cells)
        self._wakes = Wakes(store, self._cells)
        self.after: Callable[[], None] | None = None
        self.tally: Counter[tuple[str, ErrorCode]] = Counter()
        self.faults = 0

    # ------------------------------------------------------------------ the face

    def start(self) -> None:
        """Serve the deadlines that passed while the node was down, then work."""
        self._wakes.next_look = -inf
        self.tick()

    def receive(self, peer: Peer, data: bytes, settled: Settled | None = None) -> None:
        """Take a datagram in.

        With `settled`, the `Send`s to this same peer that leave with this unit are handed to it instead of the link, to
        ride on the response; it gets an exception when nothing may leave (Unavailable, also for what the caller sent
        when the node cannot serve now).
        """
        self._submit(settled, self._datagram, Received(peer, data), settled)

    def command(self, key: CellKey, command: Command, settled: Settled | None = None) -> None:
        """Hand the application's `command` to a cell.

        `settled` gets the reports of the unit (a `Refused` among them), or Unavailable, or the CallerFault or
        Incompatible that the step raised.
        """
        self._submit(settled, self._unit, key, command, settled)

    def become(self, node: Node) -> None:
        """Go on with other steps over the same cells: the same kinds, made for a context that has changed.

        A unit of work sees one node from its beginning to its end.
        """
        self._enqueue(self._exchange, node)

    def _exchange(self, node: Node) -> None:
        self._cells.become(node)
        self._node = node

    def tick(self) -> None:
        """Run `Due` of every cell whose deadline has passed."""
        self._enqueue(self._serve_deadlines)

    def next_deadline(self) -> float | None:
        """Return when `tick` should be called next, in seconds of the monotonic clock."""
        volatile = self._cells.next_deadline()
        earliest = self._wakes.next_look if volatile is None else min(volatile, self._wakes.next_look)
        return None if earliest == inf else earliest

    def peek(self, key: CellKey) -> Any | None:
        """Return the newest state of a cell, which may not be on disk yet: to look at, never to acknowledge by."""
        self._cells.begin()
        return self._cells.get(key)

    def look(self, key: CellKey) -> Any | None:
        """As `peek`, for a key that may name its cell by an alias."""
        self._cells.begin()
        named = self._cells.resolve(key)
        return None if named is None else self._cells.get(named)

    @property
    def idle(self) -> bool:
        """Whether nothing waits for a commit."""
        return not self._batches.waiting and not self._inbox

    def close(self) -> None:
        """Take nothing in any more; what waits for a commit still leaves when it is on disk."""
        self._closed = True

    # ------------------------------------------------------------------ one thing at a time

    def _submit(self, settled: Settled | None, work: Callable[..., object], *arguments: object) -> None:
        if self._closed or self._batches.waiting + len(self._inbox) >= MAX_WAITING:
            why = "the node is closing" if self._closed else "too much waits for the store"
            self.tally[ROUTE.kind, ErrorCode.E_BUSY] += 1
            self._settle(settled, Unavailable(why, do="try again later"))
            return
        self._enqueue(work, *arguments)

    def _enqueue(self, work: Callable[..., object], *arguments: object) -> None:
        """Do `work` now, or when what is being done is done; then hand over what waits for the store."""
        inbox = self._inbox
        if self._busy:
            inbox.append(partial(work, *arguments))
            return
        self._busy = True
        try:
            work(*arguments)
            while inbox or self._flush():
                if inbox:
                    inbox.popleft()()
        finally:
            self._busy = False
        if self.after is not None:
            self.after()

    def _datagram(self, item: Received, settled: Settled | None) -> None:
        """Find the cell for a datagram and run it there."""
        self._cells.begin()
        try:
            key = self._node.key_for(item, self._cells)
        except PeerFault as refusal:
            refused = Refused(item.peer, refusal.code, refusal.what)
            self._emit([Finished([(ROUTE, refused)], settled, item.peer)])
        except Exception as error:  # noqa: BLE001  a bug in a table of routes must not stop the node
            self._settle(settled, self._explain(item, error))
        else:
            self._step(key, item, settled)

    def _unit(self, key: CellKey, item: Item, settled: Settled | None = None) -> bool:
        """Run one item through the cells; False when a bug or the store kept it from being served."""
        self._cells.begin()
        return self._step(key, item, settled)

    def _step(self, key: CellKey, item: Item, settled: Settled | None) -> bool:
        try:
            unit = run_unit(self._node, self._cells, key, item, self._clock.now(), self._entropy)
            finished = Finished(unit.effects, settled, item.peer if isinstance(item, Received) else None)
            waits = self._batches.stage(unit, finished)
        except Exception as error:  # noqa: BLE001  a bug in a step costs this unit, not the node
            self._settle(settled, self._explain(item, error))
            return False
        if not waits:
            self._emit([finished])
        return True

    def _explain(self, item: Item, error: Exception) -> Exception:
        """Return what the caller may hear of `error`; a bug is counted and told to `fault` alone."""
        if isinstance(error, Unavailable):
            return error
        if isinstance(error, KeymoteError) and isinstance(item, Command):
            return error
        self._survive(f"step of {type(item).__name__}", error)
        return Unavailable("the node could not process this", do="see its log")

    def _survive(self, where: str, error: Exception) -> None:
        self.faults += 1
        self._fault(where, error)

    def _shielded(self, where: str, call: Callable[..., None], *arguments: object) -> None:
        """Call out of the driver; what goes wrong there is counted, told, and stays there."""
        try:
            call(*arguments)
        except Exception as error:  # noqa: BLE001  one broken callback must not stop the effects behind it
            self._survive(where, error)

    # ------------------------------------------------------------------ commits

    def _flush(self) -> bool:
        """Hand the collecting batch to the store; False when there is nothing to hand over, or one is under way."""
        batch = self._batches.take_off()
        if batch is None:
            return False
        done = partial(self._committed, batch)
        try:
            self._store.commit(list(batch.writes.values()), done)
        except Exception as error:  # noqa: BLE001  a store that raises has not committed
            done(error)
        return True

    def _committed(self, batch: Batch, error: Exception | None) -> None:
        """Store's `done`."""
        self._enqueue(self._conclude, batch, error)

    def _conclude(self, batch: Batch, error: Exception | None) -> None:
        """Let out what the batch holds, or undo it."""
        if not self._batches.flies(batch):
            self._survive("store", RuntimeError("a commit ended twice"))
        elif error is None:
            units = self._batches.land(batch)
            if batch.moves_a_wake:
                self._shielded("wakes", self._wakes.committed, self._clock.now())
            self._emit(units)
        else:
            retry_at = self._clock.now().mono + RETRY_S
            self._wakes.next_look = min(self._wakes.next_look, retry_at)
            for finished in self._batches.crash(batch, retry_at):
                why = Unavailable("the store could not commit", do="nothing was acknowledged; try again later")
                why.__cause__ = error
                self._settle(finished.settled, why)

    # ------------------------------------------------------------------ effects leave here and nowhere else

    def _emit(self, units: Iterable[Finished]) -> None:
        for unit in units:
            answered: list[Send | Report] = []
            for key, effect in unit.effects:
                if isinstance(effect, Send):
                    if unit.settled is not None and effect.peer == unit.asker:
                        answered.append(effect)
                    else:
                        self._send(key, effect)
                elif isinstance(effect, Ask):
                    self._ask(key, effect)
                else:
                    if isinstance(effect, Refused):
                        self.tally[key.kind, effect.code] += 1
                    if unit.asker is None:
                        answered.append(effect)
                    self._shielded("report", self._report, key, effect)
            self._settle(unit.settled, answered)

    def _send(self, key: CellKey, send: Send) -> None:
        failed = partial(self._return, key, Failed(send.peer, send.ref)) if send.ref else None
        try:
            self._link.send(send.peer, send.data, failed)
        except Exception as error:  # noqa: BLE001  a broken link must not stop the effects behind this one
            self._survive("link", error)

    def _settle(self, settled: Settled | None, outcome: Sequence[Send | Report] | Exception) -> None:
        if settled is not None:
            self._shielded("settled", settled, outcome)

    def _ask(self, key: CellKey, ask: Ask) -> None:
        def answered(result: object) -> None:
            self._return(key, Answer(ask.ref, result))

        try:
            self._answer(key, ask.query, answered)
        except KeymoteError as error:
            answered(error)
        except Exception as error:  # noqa: BLE001  the cell that asked must still be answered
            self._survive("answer", error)
            answered(Unavailable("the service that was asked failed", do="see its log"))

    def _return(self, key: CellKey, item: Answer | Failed) -> None:
        """Bring the outcome of an effect back to its cell, if there still is one."""
        self._enqueue(self._bring_back, key, item)

    def _bring_back(self, key: CellKey, item: Answer | Failed) -> None:
        if self._closed:
            return
        self._cells.begin()
        try:
            alive = self._cells.get(key) is not None
        except Exception as error:  # noqa: BLE001  a store that cannot say costs this item; the cell has a deadline
            self._explain(item, error)
            return
        if alive:
            self._unit(key, item)

    # ------------------------------------------------------------------ deadlines

    def _serve_deadlines(self) -> None:
        if self._closed:
            return
        now = self._clock.now()
        for key, deadline in self._cells.due(now.mono):
            if self._cells.awaits(key, deadline) and not self._unit(key, Due()):
                self._cells.again(key, now.mono + RETRY_S)
        if now.mono >= self._wakes.next_look:
            try:
                for key in self._wakes.due(now):
                    self._unit(key, Due())
            except Exception as error:  # noqa: BLE001  a store that cannot say is asked again in a while
                self._explain(Due(), error)
