"""The encrypted logs of groups: what gateways saw pass is kept as it was sealed; nobody here could open it (decision 0184)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from keymote.coordinator.desk import Desk
from keymote.coordinator.group_changes import found
from keymote.errors import CallerFault, ErrorCode, PeerFault, RefusedByPolicy
from keymote.host.group_register import RecordLine
from keymote.host.ledger import Transaction
from keymote.wire.admin import from_base64url
from keymote.wire.admin_records import LoggedRecord

KEPT_MS: Final = 96 * 86400 * 1000
"""Records stay this long at most, as epochs do; `keep_records` of a group may end them before."""
PRUNED_AT_ONCE: Final = 5000


@dataclass(frozen=True, slots=True)
class Logged:
    """A record with the device whose kid it came under, empty where that is nobody's."""

    line: RecordLine
    dev_id: bytes


class GroupRecords:
    """The desk at which gateways hand records in, and where they are read."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def take(self, caller: bytes, gid: bytes, items: Sequence[LoggedRecord]) -> int:
        """Enter the records of the manager `caller` that are new; return the highest number that was dealt with.

        Raises:
            PeerFault: E_UNKNOWN_ID; E_NOSHARE for a manager that never led this group; E_FORMAT.
            RefusedByPolicy: the group keeps no records.
            CallerFault: the records do not ascend.
        """
        if any(one.seq >= other.seq for one, other in pairwise(items)):
            raise CallerFault("records must ascend by seq", do="send the oldest first")
        lines = [_line(gid, caller, item) for item in items]

        def work(tx: Transaction) -> int:
            group = found(tx, gid)
            if caller != group.nm_id and all(lead.nm_id != caller for lead in tx.groups.leads(gid)):
                raise PeerFault(ErrorCode.E_NOSHARE, f"manager {caller.hex()} never led group {group.name}")
            keep = group.settings.keep_records
            if not keep:
                raise RefusedByPolicy(f"group {group.name} keeps no records", do="see --keep-records of group create")
            upto = tx.records.taken(gid, caller)
            tx.records.add([line for line in lines if line.seq > upto])
            upto = max(upto, lines[-1].seq)
            tx.records.put_taken(gid, caller, upto)
            tx.records.keep_newest(gid, keep)
            return upto

        return await self._desk.ledger.write(work)

    async def page(self, gid: bytes, after: int, limit: int) -> Sequence[Logged]:
        """Return records behind the place `after` in a group's log, oldest first; PeerFault E_UNKNOWN_ID."""

        def work(tx: Transaction) -> Sequence[Logged]:
            found(tx, gid)
            owners = {kid.kid: kid.dev_id for kid in tx.groups.kids(gid)}
            return [Logged(line, owners.get(line.kid, b"")) for line in tx.records.lines(gid, after, limit)]

        return await self._desk.ledger.read(work)

    async def prune(self) -> int:
        """Forget records that are too old; return how many went."""
        before, pruned = self._desk.now_ms() - KEPT_MS, 0
        while gone := await self._desk.ledger.write(lambda tx: tx.records.prune(before, PRUNED_AT_ONCE)):
            pruned += gone
        return pruned


def _line(gid: bytes, nm_id: bytes, item: LoggedRecord) -> RecordLine:
    kid, record = bytes.fromhex(item.kid), from_base64url(item.record)
    return RecordLine(gid, nm_id, item.seq, item.ts_ms, item.epoch, kid, item.number, item.resource, record)
