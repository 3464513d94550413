"""Events to managers: a cursor each, acknowledgements, and the time to safe as a query over them."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from keymote.coordinator import rules
from keymote.coordinator.desk import Desk
from keymote.errors import CallerFault
from keymote.host.ledger import Transaction
from keymote.host.register import Acknowledgement, Event, Revocation

KEPT_MS: Final = 96 * 86400 * 1000
"""Events stay this long although every manager has acted on them: one restored from a backup acts on them once more. Older
backups do not find their devices again (docs/decisions/0005, 0131)."""
PRUNED_AT_ONCE: Final = 500


class Outbox:
    """Managers read events in order, as often as they like, and say up to where they have acted."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def events(self, after: int, limit: int) -> Sequence[Event]:
        """Return events behind the cursor `after`, oldest first."""
        return await self._desk.ledger.read(lambda tx: tx.events(after, limit))

    async def awaited(self, after: int, limit: int, timeout_s: float) -> Sequence[Event]:
        """Return events behind `after`, waiting up to `timeout_s` for the first; empty when none came."""
        deadline = time.monotonic() + timeout_s
        while True:
            ring = self._desk.news.next()
            found = await self.events(after, limit)
            left = deadline - time.monotonic()
            if found or self._desk.news.closed or left <= 0:
                return found
            await asyncio.wait({ring}, timeout=left)

    async def acknowledge(self, nm_id: bytes, upto: int) -> None:
        """A manager has acted on every event up to `upto`; an older cursor than its last changes nothing.

        Raises:
            CallerFault: there is no such event yet.
        """

        def work(tx: Transaction) -> None:
            if upto > tx.last_event():
                raise CallerFault(f"event {upto} does not exist yet")
            manager = tx.manager(nm_id)
            if manager is not None and upto > manager.acknowledged:
                tx.put_manager(replace(manager, acknowledged=upto))
                tx.add_acknowledgement(Acknowledgement(nm_id, upto, self._desk.now_ms()))

        await self._desk.ledger.write(work)

    async def prune(self) -> int:
        """Forget what every active manager has acted on and nobody needs any more; return how many rows went.

        The newest event stays, and with it the numbering. At most `PRUNED_AT_ONCE` rows of a kind go in one transaction, so
        that other writers do not wait.
        """
        kept_since = self._desk.now_ms() - KEPT_MS

        def work(tx: Transaction) -> int:
            acknowledged = [manager.acknowledged for nm_id in tx.active_managers() if (manager := tx.manager(nm_id))]
            upto = min([tx.last_event() - 1, *acknowledged])
            return tx.prune_outbox(upto, kept_since, PRUNED_AT_ONCE)

        pruned = 0
        while gone := await self._desk.ledger.write(work):
            pruned += gone
        return pruned

    async def revocations(self, after: int, limit: int) -> tuple[Sequence[tuple[Revocation, rules.Safety]], int]:
        """Return lines of the revocation list with their time to safe, and the status epoch."""

        def work(tx: Transaction) -> tuple[Sequence[tuple[Revocation, rules.Safety]], int]:
            active = tx.active_managers()
            found = [(line, _safety(tx, line, active)) for line in tx.revocations(after, limit)]
            return found, tx.counter("status_epoch")

        return await self._desk.ledger.read(work)

    async def safety_of(self, revocation: Revocation) -> rules.Safety:
        """Return the time to safe of one revocation."""
        return await self._desk.ledger.read(lambda tx: _safety(tx, revocation, tx.active_managers()))


def _safety(tx: Transaction, revocation: Revocation, active: Sequence[bytes]) -> rules.Safety:
    event = tx.event(revocation.event)
    if event is None:
        raise AssertionError(f"revocation {revocation.id} has no event")
    return rules.safety(event, active, tx.acknowledgements(event.id))
