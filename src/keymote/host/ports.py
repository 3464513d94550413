"""What a host must bring: a link, a store, a clock and answers. Everything that does I/O hides behind these four."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from keymote.engine.base import CellKey, Now, Peer


@dataclass(frozen=True, slots=True)
class Write:
    """One row of a commit: the record of a cell (None: erase it), the aliases that find it and when it wants to be woken."""

    key: CellKey
    record: bytes | None
    aliases: tuple[bytes, ...] = ()
    wake_at: int | None = None


Done = Callable[[Exception | None], None]
"""Called exactly once, on the driver's own thread: None when the commit is on disk, else why it is not."""


class Store(Protocol):
    """Rows under `(kind, id)`; all rows of a commit become durable together or not at all."""

    def load(self, key: CellKey) -> bytes | None:
        """Return the record under `key`; raises Unavailable when the store cannot say."""
        ...

    def find(self, kind: str, alias: bytes) -> CellKey | None:
        """Return the key of the cell of this kind that has `alias`."""
        ...

    def due(self, wall: int, limit: int) -> Sequence[CellKey]:
        """Return at most `limit` keys whose `wake_at` is not later than `wall`, oldest first."""
        ...

    def next_wake(self) -> int | None:
        """Return the earliest `wake_at` of all rows."""
        ...

    def commit(self, writes: Sequence[Write], done: Done) -> None:
        """Make all `writes` durable in one transaction, then call `done`; never blocks longer than to hand them over."""
        ...

    def close(self) -> None: ...


class Link(Protocol):
    """Carries datagrams to peers. `reliable`: it retransmits itself and reports `failed` when it gives up."""

    reliable: bool

    def send(self, peer: Peer, data: bytes, failed: Callable[[], None] | None) -> None: ...


class Clock(Protocol):
    def now(self) -> Now: ...


Answerer = Callable[[CellKey, object, Callable[[object], None]], None]
"""`(asking cell, query, answer)`: start the service call; call `answer(result or exception)` once, on the driver's thread."""
