"""What a manager's cells report of one group: whom each report concerns, and what follows from it."""

from keymote.engine.base import Peer, Report
from keymote.engine.faces import LinkSeen
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
from keymote.engine.policy.group_faces import Asked, Left, Missed, Refusal
from keymote.errors import ErrorCode, PeerFault
from keymote.manager import group_reports as says
from keymote.manager import group_rules as rules
from keymote.manager.group_charter import CharterAtWork
from keymote.manager.group_decisions import Decisions
from keymote.manager.group_guests import Guests
from keymote.manager.group_keeping import Keeping, Surroundings
from keymote.manager.group_people import People
from keymote.manager.group_progress import Progress
from keymote.manager.group_record import What
from keymote.manager.group_records import passed
from keymote.manager.group_ring import RingAtHand
from keymote.wire.fields import sizes_of
from keymote.wire.group import JoinClaims
from keymote.wire.group_signed import read


class Hearing:
    """It keeps nothing of its own: each report is kept, told, decided and acted on by the part whose matter it is."""

    def __init__(
        self,
        kept: Keeping,
        people: People,
        ring: RingAtHand,
        guests: Guests,
        decisions: Decisions,
        progress: Progress,
        charter: CharterAtWork,
        around: Surroundings,
    ) -> None:
        self._kept = kept
        self._people = people
        self._ring = ring
        self._guests = guests
        self._decisions = decisions
        self._progress = progress
        self._charter = charter
        self._around = around

    async def heard(self, report: Report, now_ms: int) -> None:
        """Take in a report of the engine that concerns this group."""
        match report:
            case RunStarted():
                self._progress.started(report, now_ms)
            case RingCommitted():
                await self._progress.confirmed(report, now_ms)
            case RosterIssued():
                await self._rostered(report)
            case MembersAbsent():
                await self._absent(report)
            case MemberBlamed():
                await self._blamed(report)
            case LeaveAsked():
                await self._leaving(report)
            case JoinAsked():
                await self._asked(report)
            case InvitationAnswered():
                await self._guests.answered(report)
                await self._charter.reconcile()
            case RecordPassed():
                self._log(report, now_ms)
                await self._progress.passed(report.kid)
            case LinkSeen(dev_id, peer):
                await self._met(dev_id, peer)

    async def _rostered(self, report: RosterIssued) -> None:
        before = self._kept.record.here
        await self._progress.rostered(report.ver, report.roster)
        if self._kept.record.here != before:
            await self._charter.reconcile()  # who came in is told what members are told

    async def _absent(self, report: MembersAbsent) -> None:
        await self._kept.tell(says.absent(report))
        silent = self._people.devices(report.kids)
        await self._decisions.say(Missed(silent, report.excluded))
        if await self._guests.doubt(silent):
            await self._charter.reconcile()

    async def _blamed(self, report: MemberBlamed) -> None:
        (member,) = self._people.devices((report.kid,))
        await self._kept.happened(What.EVICTED, member, rules.COMPROMISE, says.blame(report))
        await self._decisions.say(Left(member, granted=report.evicted))
        await self._charter.reconcile()

    async def _leaving(self, report: LeaveAsked) -> None:
        (member,) = self._people.devices((report.kid,))
        if member in self._people.belonging().members:
            await self._kept.happened(What.LEFT, member, 0, says.left(member))
        await self._decisions.say(Left(member, report.granted))
        await self._charter.reconcile()

    async def _asked(self, report: JoinAsked) -> None:
        """Let the policy judge who can be told by its signature (GS-12)."""
        kid = report.kid
        charter, dev_id = self._kept.record.charter, self._people.named().get(kid)
        if charter is None or dev_id is None:
            await self._kept.refuse(None, f"kid {kid.hex()}: {Refusal.STRANGER}")
            return
        entry = self._people.entries().get(dev_id)
        try:
            if entry is None or entry.kid != kid:
                raise PeerFault(ErrorCode.E_UNKNOWN_ID, "it asks by another credential than the one that was invited")
            read(report.request, JoinClaims, sizes_of(charter.suite)).verified_by(
                self._around.keys(charter.suite, entry.sig_pk)
            )
        except PeerFault as fault:
            await self._kept.refuse(dev_id, fault.what)
            return
        await self._ring.locate({kid: report.peer})
        await self._decisions.say(Asked(dev_id))

    async def _met(self, dev_id: bytes, peer: Peer) -> None:
        """A device spoke from another address."""
        if dev_id not in self._kept.record.said:
            return
        entry = self._people.entries().get(dev_id)
        if entry is not None:
            await self._ring.locate({entry.kid: peer})
        await self._guests.met(dev_id)

    def _log(self, report: RecordPassed, now_ms: int) -> None:
        """Have a record kept as it was sealed, where the group keeps any; who sealed it nobody knows here (GL-01)."""
        record = self._kept.record
        keep = 0 if record.charter is None else record.charter.policy.keep_records
        kept = passed(now_ms, record.epoch, report.kid, report.resource, report.record) if keep else None
        if kept is not None:
            self._around.passed(record.gid, kept, keep)
