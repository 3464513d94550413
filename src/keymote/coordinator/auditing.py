"""The audit log as it is read, signed and exported; entries are written where the changes are made."""

from collections.abc import Sequence
from typing import Final

from keymote.coordinator.desk import Desk
from keymote.engine.audit import GENESIS, Link
from keymote.host.ledger import Transaction
from keymote.host.register import Head

DAY_S: Final = 86400


class Auditing:
    """Heads are signed once a day and at a clean end; whoever asks gets one signed over this very moment."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def entries(self, after: int, limit: int) -> Sequence[Link]:
        """Return entries behind number `after`, oldest first."""
        return await self._desk.ledger.read(lambda tx: tx.audit(after, limit))

    async def head(self) -> Head:
        """Return a head signed now over the newest entry; it is not kept here, the one who asked may."""
        last = await self._desk.ledger.read(lambda tx: tx.last_audit())
        return self._signed(last)

    async def heads(self) -> Sequence[Head]:
        """Return the heads that were kept, oldest first."""
        return await self._desk.ledger.read(lambda tx: tx.heads())

    async def sign_daily(self, *, anyway: bool = False) -> Head | None:
        """Keep a head if a day has passed since the last one (or `anyway`) and the log has grown; return it."""

        def work(tx: Transaction) -> Head | None:
            last, heads = tx.last_audit(), tx.heads()
            newest = heads[-1] if heads else None
            if last is None or (newest is not None and newest.seq >= last.seq):
                return None
            if newest is not None and not anyway and self._desk.now // DAY_S == newest.ts // DAY_S:
                return None
            head = self._signed(last)
            tx.add_head(head)
            return head

        return await self._desk.ledger.write(work)

    def _signed(self, last: Link | None) -> Head:
        ts = self._desk.now
        seq, h = (0, GENESIS) if last is None else (last.seq, last.h)
        return Head(seq, h, ts, self._desk.identity.head(last, ts))
