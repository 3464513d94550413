"""The groups that this manager leads, at work: charters come in, reports go out, and one worker does one thing after the other."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol

from keymote.engine.base import CellKey, Report
from keymote.engine.context import Membership
from keymote.engine.faces import CredentialRenewed, DeviceRevoked, LinkSeen
from keymote.engine.group.charter import Keys
from keymote.engine.group.faces import (
    JoinAsked,
    LeaveAsked,
    MemberBlamed,
    MembersAbsent,
    RingCommitted,
    RosterIssued,
    RunStarted,
)
from keymote.engine.group.invitation import InvitationAnswered
from keymote.engine.group.payload_faces import RecordPassed
from keymote.errors import CallerFault, ErrorCode, KeymoteError, PeerFault, Unavailable
from keymote.host.ports import Write
from keymote.manager.app.admitted import admitted
from keymote.manager.app.jobs import Job, Jobs
from keymote.manager.app.own import quietly
from keymote.manager.app.records import RecordKeeping
from keymote.manager.app.shelf import Rows, StoreShelf
from keymote.manager.group_hedge import HEDGE, Hedges
from keymote.manager.group_invitations import Cells
from keymote.manager.group_keeping import Surroundings
from keymote.manager.group_log import GroupLog
from keymote.manager.group_record import GROUP, GroupRecord
from keymote.manager.group_records import RecordLog
from keymote.manager.group_rules import unreadable
from keymote.manager.groups import GroupSteward
from keymote.wire.admin_groups import CharterView, GroupReport, ReportsTaken
from keymote.wire.admin_records import LoggedRecord, RecordsTaken

SYNC_S: Final = 5.0
"""Pause before a coordinator that did not answer is asked again."""
LONGEST_SLEEP_S: Final = 60.0
"""The wall clock may be set meanwhile."""

logger = logging.getLogger(__name__)


def group_of(report: Report) -> bytes | None:
    """Return the gid of a report that a group's service must hear of; None for every other."""
    match report:
        case (
            RunStarted(gid=gid)
            | RingCommitted(gid=gid)
            | RosterIssued(gid=gid)
            | MembersAbsent(gid=gid)
            | MemberBlamed(gid=gid)
            | LeaveAsked(gid=gid)
            | JoinAsked(gid=gid)
            | RecordPassed(gid=gid)
            | InvitationAnswered(gid=gid)
        ):
            return gid
    return None


class Coordinator(Protocol):
    """What is asked of the coordinator; Unavailable while it is away."""

    async def charter(self, gid: bytes) -> CharterView: ...

    async def report_groups(self, gid: bytes, items: Sequence[GroupReport]) -> ReportsTaken: ...

    async def hand_in_records(self, gid: bytes, items: Sequence[LoggedRecord]) -> RecordsTaken: ...


class GroupService:
    """All groups of one manager. Every method belongs to the thread of the running loop."""

    def __init__(
        self,
        cells: Cells,
        rows: Rows,
        coordinator: Callable[[], Coordinator],
        membership: Callable[[], Membership],
        keys: Keys,
        *,
        nm_id: str,
        place: bytes,
        generation: int = 0,
    ) -> None:
        shelf = StoreShelf(rows)
        self._cells = cells
        self._coordinator = coordinator
        self._keep_rows = shelf.keep
        self._load_row = shelf.load
        self._log = GroupLog(shelf, generation)
        self.records = RecordKeeping(RecordLog(shelf, generation), coordinator)
        self._around = Surroundings(
            nm_id, place, membership, keys, lambda: int(time.time()), self._keep, generation, passed=self.records.add
        )
        records = [GroupRecord.decode(row.key.id, row.record or b"") for row in shelf.of_kind(GROUP)]
        self._stewards = {record.gid: self._steward(record) for record in records}
        self._jobs = Jobs("groups", self._resume, tick=self._tick, due_in=self._due_in)
        self._sync_wanted = asyncio.Event()
        self._syncing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._unsure: list[bytes] = []
        """Groups of a backup, of which the coordinator may have said more since."""

    def start(self) -> None:
        """Go on where the manager stopped."""
        for steward in self._stewards.values():
            self._jobs.put(steward.resume)
        for work in (self._jobs.work(), self._sync()):
            self._tasks.append(asyncio.get_running_loop().create_task(work))
        self.records.start()
        self._unsure = [each.gid for each in self._stewards.values() if each.is_restored]
        self._sync_wanted.set()

    async def close(self) -> None:
        for task in self._tasks:
            await quietly(task)
        await self.records.close()

    @property
    def waiting(self) -> int:
        """How many reports the coordinator has not taken yet."""
        return len(self._log)

    @property
    def faults(self) -> int:
        """How many bugs were survived."""
        return self._jobs.faults

    def stewards(self) -> Sequence[GroupSteward]:
        """Return every group that this manager leads, has led last, or invites devices to."""
        return tuple(self._stewards.values())

    # ------------------------------------------------------------------ what happens

    def heard(self, report: Report) -> None:
        """Take in a report of the cells; it is worked off after those before it."""
        now_ms = int(time.time() * 1000)
        match report:
            case LinkSeen(dev_id, _) | CredentialRenewed(dev_id, _, _) | DeviceRevoked(dev_id, _):
                concerned = [each for each in self._stewards.values() if dev_id in each.record.said]
            case _:
                steward = self._stewards.get(group_of(report) or b"")
                concerned = [] if steward is None else [steward]
        for each in concerned:
            self._jobs.put(partial(self._told, each, report, now_ms))

    async def _told(self, steward: GroupSteward, report: Report, now_ms: int) -> None:
        match report:
            case CredentialRenewed() | DeviceRevoked():
                await steward.reconcile()
            case _:
                await steward.heard(report, now_ms)
        if self._log:
            self._sync_wanted.set()

    async def changed(self, gid: bytes) -> None:
        """The coordinator has changed something about this group; return when it was acted on.

        Raises:
            Unavailable: it cannot be asked now, or the store cannot keep what it says.
        """
        await self._exchange(gid)

    async def do(self, job: Job) -> None:
        """Do this after what happened before it; raises what it raises."""
        await self._jobs.do(job)
        if self._log:
            self._sync_wanted.set()

    # ------------------------------------------------------------------ time

    def _due_in(self) -> float:
        due = min((at for each in self._stewards.values() if (at := each.due_at()) is not None), default=None)
        return LONGEST_SLEEP_S if due is None else min(LONGEST_SLEEP_S, max(0.0, due - time.time()) + 0.01)

    async def _tick(self) -> None:
        await self._each(GroupSteward.tick)

    async def _resume(self) -> None:
        await self._each(GroupSteward.resume)

    async def _each(self, job: Callable[[GroupSteward], Awaitable[None]]) -> None:
        for steward in self.stewards():
            await job(steward)
        if self._log:
            self._sync_wanted.set()

    # ------------------------------------------------------------------ the coordinator

    async def _sync(self) -> None:
        """Hand in what waits, oldest first, whenever there is something and the coordinator answers."""
        while True:
            await self._sync_wanted.wait()
            self._sync_wanted.clear()
            try:
                await self._exchange()
                while self._unsure:
                    await self._exchange(self._unsure[-1])
                    self._unsure.pop()
            except Unavailable:
                await asyncio.sleep(SYNC_S)
                self._sync_wanted.set()
            except KeymoteError as fault:
                logger.error("reports on groups were not taken: %s", fault)

    async def _exchange(self, changed: bytes | None = None) -> None:
        """Hand in reports, and only then fetch the charter of a group that has changed: it covers what was handed in (GS-13)."""
        async with self._syncing:
            for gid, batch in self._log.batches():
                await self._hand_in(gid, batch)
            if changed is not None:
                await self._fetch(changed)

    async def _hand_in(self, gid: bytes, batch: Sequence[GroupReport]) -> None:
        try:
            taken = await admitted(self._coordinator().report_groups(gid, batch))
        except Unavailable:
            raise
        except KeymoteError as fault:
            logger.error("reports on a group are refused for good: %s", fault, extra={"gid": gid})
        else:
            for item in taken.refused:
                logger.warning("a report is not believed", extra={"gid": gid, "seq": item.seq, "what": item.why})
            if taken.upto > max(report.seq for report in batch):
                await self.do(lambda: self._go_on_above(taken.upto))
                raise Unavailable("reports on groups have new numbers", do="hand them in again")
        await self._log.settle(batch)

    async def _go_on_above(self, upto: int) -> None:
        """The coordinator knows higher numbers: a backup of this manager was put back."""
        offset = await self._log.go_on_above(upto)
        for steward in self.stewards():
            await steward.renumber(offset)
        self._sync_wanted.set()

    async def _fetch(self, gid: bytes) -> None:
        try:
            charter = await admitted(self._coordinator().charter(gid))
        except PeerFault as fault:
            if fault.code in (ErrorCode.E_NOSHARE, ErrorCode.E_UNKNOWN_ID):
                await self.do(lambda: self._hand_over(gid))
                return
            raise
        why = unreadable(charter)
        if why:
            raise CallerFault(
                f"the charter of group {charter.name} cannot be read: {why}", do="see the coordinator's log"
            )

        async def adopt() -> None:
            steward = self._stewards.get(gid)
            if steward is None:
                steward = self._stewards[gid] = self._steward(GroupRecord(gid, generation=self._around.generation))
            await steward.adopt(charter)

        await self.do(adopt)

    async def _hand_over(self, gid: bytes) -> None:
        """The group is another manager's, or nobody's."""
        steward = self._stewards.pop(gid, None)
        if steward is not None:
            await steward.handed_over()
            await self._keep_rows([Write(CellKey(GROUP, gid), None), Write(CellKey(HEDGE, gid), None)])

    # ------------------------------------------------------------------ rows

    def _steward(self, record: GroupRecord) -> GroupSteward:
        hedges = Hedges.decode(record.gid, self._load_row(CellKey(HEDGE, record.gid)))
        return GroupSteward(record, self._cells, self._log, self._around, hedges)

    async def _keep(self, record: GroupRecord | Hedges) -> None:
        await self._keep_rows([record.row])
