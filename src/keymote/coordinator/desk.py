"""What all of the coordinator's work shares: identity, ledger, clock, and the two lines that every change must write."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from keymote.coordinator.identity import Identity
from keymote.engine.audit import Detail, Entry
from keymote.host.ledger import Ledger, Transaction
from keymote.host.register import Event

OPERATOR = "operator"
COORDINATOR = "coordinator"


def by_manager(nm_id: bytes) -> str:
    """Return the name under which a manager stands in the audit log."""
    return f"manager:{nm_id.hex()}"


class News:
    """Wakes whoever waits for the next event; waiting costs one future, shared by all who wait."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None
        self.closed = False

    def next(self) -> asyncio.Future[None]:
        """Return what is done at the next ring; take it before you look, so that no ring falls in between."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            if self.closed:
                self._next.set_result(None)
        return self._next

    def ring(self) -> None:
        """Something may have changed."""
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
            self._next = None

    def close(self) -> None:
        """Let everybody go, now and later."""
        self.closed = True
        self.ring()


@dataclass(frozen=True, slots=True)
class Desk:
    """`now_ms` is UTC milliseconds."""

    identity: Identity
    ledger: Ledger
    now_ms: Callable[[], int]
    news: News = field(default_factory=News)

    @property
    def now(self) -> int:
        """UTC seconds."""
        return self.now_ms() // 1000

    def note(self, tx: Transaction, actor: str, action: str, subject: bytes, **details: Detail) -> None:
        """Enter a change into the audit log, in the transaction that makes it."""
        tx.append_audit(Entry(self.now, actor, action, subject, details).encode())

    def announce(self, tx: Transaction, kind: str, subject: bytes, **data: str | int) -> Event:
        """Put a change into the outbox, in the transaction that makes it."""
        return tx.add_event(self.now_ms(), kind, subject, data)
