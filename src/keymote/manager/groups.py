"""One group at the manager that leads it: the coordinator's charter is made so, and what happens is told (decision 0164).

What happens becomes happenings for `engine/policy/groups`, what that decides becomes commands for the engine's ring. It works
on with the last charter for as long as the coordinator is away.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from keymote.engine.base import Peer, Report, replace
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
from keymote.engine.group.ring_states import RingCell
from keymote.engine.member import REVOKED
from keymote.engine.policy.group_faces import (
    Allowed,
    Asked,
    Change,
    Confirmed,
    Counted,
    Decision,
    Dismissed,
    Dissolve,
    Enlisted,
    Evicted,
    Form,
    Happening,
    Left,
    Members,
    Missed,
    Passed,
    Reason,
    Refusal,
    Refuse,
    Renew,
    Revoked,
    Rostered,
)
from keymote.engine.policy.groups import GroupState, decide, due_at
from keymote.errors import ErrorCode, PeerFault, RefusedByPolicy
from keymote.manager import group_reports as says
from keymote.manager import group_rules as rules
from keymote.manager.group_hedge import Hedges
from keymote.manager.group_invitations import Cells, Invitations, active_member, member_of
from keymote.manager.group_keeping import Keeping, Surroundings
from keymote.manager.group_log import GroupLog
from keymote.manager.group_names import Names
from keymote.manager.group_record import GroupRecord, What
from keymote.manager.group_records import passed
from keymote.manager.group_ring import RingAtHand, RingRefused
from keymote.wire.admin_groups import CharterView
from keymote.wire.fields import sizes_of
from keymote.wire.group import JoinClaims
from keymote.wire.group_signed import read
from keymote.wire.invitation import STANDBY, Invite

READY_S: Final = 10
"""How long a change waits for devices that have not answered their invitation; who answers later comes in later."""
LEAP_S: Final = 30
"""How long a gateway from a backup waits for its coordinator to say who is gone, before it leads on."""
JOINED: Final = 2
AGAIN_S: Final = 60
"""Pause before a ring is asked again for what it refused, or could not do."""

logger = logging.getLogger(__name__)


class GroupSteward:
    """Not for two tasks at once: whoever hosts it says one thing after the other."""

    def __init__(
        self, record: GroupRecord, cells: Cells, log: GroupLog, around: Surroundings, hedges: Hedges | None = None
    ) -> None:
        self.state: GroupState | None = None
        self.kept = Keeping(record, hedges or Hedges(record.gid), log, around)
        self._cells = cells
        self._around = around
        self._ring = RingAtHand(record.gid, cells, around.place, around.membership)
        self._invitations = Invitations(record.gid, cells, around.now)
        self._began: dict[tuple[int, int], tuple[int, int]] = {}
        """(epoch, attempt) -> (when its START left in UTC ms, reason)."""
        self._sent: Counter[bytes] = Counter()
        self._forgetting: Members = frozenset()
        self._ready_by = 0
        self._leap_by = 0
        self._again_at = 0
        self._stuck = -1
        """`rev` of a charter that no ring can be formed by."""

    @property
    def gid(self) -> bytes:
        return self.record.gid

    @property
    def record(self) -> GroupRecord:
        """What is kept of the group."""
        return self.kept.record

    @property
    def hedges(self) -> Hedges:
        return self.kept.hedges

    @property
    def _names(self) -> Names:
        return Names(self.record, self._cells, self._around.membership().credential.kid)

    # ------------------------------------------------------------------ what the coordinator states

    async def resume(self) -> None:
        """Go on after a start of the manager: with what the ring holds, and what it may not have reported."""
        held = self._ring.held()
        if held is not None and self.is_restored and not self._leap_by:
            self._leap_by = self._around.now() + LEAP_S
            await self.kept.keep_hedges(Hedges(self.gid))  # members may have got newer ones, and keep no more than two
        if held is not None:
            await self._ring.resume(self._peers())
            if held.lasting.held.ver > self.record.ver:
                await self._rostered(held.lasting.held.ver, held.lasting.roster)
            committed = self._ring.committed()
            if committed is not None and committed.epoch > self.record.epoch:
                await self._confirmed(committed, self._around.now() * 1000)
        await self.reconcile()

    async def adopt(self, charter: CharterView) -> None:
        """Make this so from now on."""
        self._ready_by = self._around.now() + READY_S
        if self._leap_by:
            self._leap_by = self._around.now()  # now it is known who is gone
        await self.kept.put(self.record.adopting(charter))
        self.state = None
        await self.reconcile()

    async def renumber(self, offset: int) -> None:
        """The reports have new numbers, this much higher."""
        await self.kept.put(self.record.renumbered(offset))

    async def reconcile(self) -> None:
        """Do what differs between what should be and what is; again is once."""
        charter = self.record.charter
        if charter is None or self._stuck == charter.rev:
            return
        if not rules.is_ours(charter, self._around.nm_id):
            await self._lead_no_more(charter)
            return
        try:
            await self._ring.adapt(charter)
        except RingRefused as fault:  # papers older than the ring's must not hold up who is put out (GS-28)
            await self.kept.refuse(None, fault.what)
        await self._invite(charter)
        held_by = self.hedges.held_by(self.record.said, self._ring.own_kids())
        await self._ring.name_hedges(self.hedges.psks, held_by)
        if self._leap_by:
            if self._around.now() < self._leap_by:
                return
            await self._leap()
        if self.state is None:
            await self._begin(charter)
        await self._enlist(charter)
        await self._ring.renew_hedge()
        if charter.rekey > self.record.rekeyed:
            if self._ring.held() is not None:
                await self._ring.rekey(charter.rekey_reason)
            await self.kept.keep(replace(self.record, rekeyed=charter.rekey))

    @property
    def is_restored(self) -> bool:
        """Whether the ring is that of a backup, and its members may have gone on without us knowing."""
        return self.record.generation < self._around.generation

    async def _leap(self) -> None:
        """Begin far above what the backup holds, without those who are known to be gone (GS-25)."""
        self._leap_by = 0
        if self._ring.held() is not None:
            belongs = self.belongs
            gone = belongs.evicted | belongs.revoked
            await self._ring.amend(
                self._names.entries(), self._names.named(), frozenset(), gone, JOINED, leap=rules.ABOVE
            )
        await self.kept.keep(replace(self.record, generation=self._around.generation))

    @property
    def leads(self) -> bool:
        """Whether this manager is the group's gateway; otherwise it only invites its own devices."""
        return self.kept.leads

    async def _lead_no_more(self, charter: CharterView) -> None:
        """Paused, closed, or another manager's: it is not led here, and where nobody leads it, members forget its key.

        Our devices in another manager's group have no link but ours: what they must know of it they are told here (GH-08).
        """
        self.state, self._leap_by = None, 0
        await self._ring.forget(handed_over=not self.leads)
        await self.kept.keep_hedges(Hedges(self.gid))
        if charter.state != rules.ACTIVE:
            await self.kept.keep(self._invitations.want(self.record, {}))
            await self._invitations.say()
        elif charter.multicast and self._around.place:
            await self._invite(charter)
        else:
            self._invitations.drop()
            why = (
                "its rounds go by unicast to another gateway"
                if not charter.multicast
                else "no multicast group is set here"
            )
            logger.warning("devices are not invited", extra={"gid": self.gid, "what": why})

    async def handed_over(self) -> None:
        """Another manager leads the group now: the ring is forgotten, and the members go on with their key."""
        self.state = None
        await self._ring.forget()

    @property
    def belongs(self) -> rules.Belonging:
        """Who should be in, may ask, and must not be in, by what is known here now."""
        charter = self.record.charter
        assert charter is not None
        named = frozenset(rules.entries_of(charter)) | {event.dev_id for event in self.record.here}
        gone = frozenset(each for each in named if (m := member_of(self._cells, each)) and m.status == REVOKED)
        return rules.belonging(self.record, gone)

    async def _begin(self, charter: CharterView) -> None:
        """Tell the policy everything that it must know."""
        belongs = self.belongs
        self.state = GroupState(rules.policy_of(charter), self._around.now())
        for happening in (Allowed(belongs.allowed), Revoked(belongs.revoked), Evicted(belongs.evicted)):
            await self._say(happening)
        await self._say_roster()

    async def _invite(self, charter: CharterView) -> None:
        belongs = self.belongs
        invite = rules.invitation(charter, self._around.place, standby=False)
        standby = replace(invite, flags=invite.flags | STANDBY)
        invited: dict[bytes, Invite] = dict.fromkeys(belongs.allowed - belongs.evicted, standby)
        invited |= dict.fromkeys(belongs.members, replace(invite, psk=await self._hedge(charter, belongs.members)))
        welcome = invited.keys() - self._forgetting
        ours = {each: invited[each] for each in welcome if active_member(self._cells, each) is not None}
        await self.kept.keep(self._invitations.want(self.record, ours))
        await self._invitations.say()

    async def _hedge(self, charter: CharterView, members: Members) -> bytes:
        """Return the hedge for members as INVITE says it; it is on disk before anybody is told."""
        if not charter.hedge or not self.leads:
            return b""
        ours = frozenset(each for each in members if active_member(self._cells, each) is not None)
        await self.kept.keep_hedges(self.hedges.for_members(members, ours, self._around.entropy))
        newest = self.hedges.newest
        return b"" if newest is None else newest.said

    async def _doubt(self, members: Members) -> None:
        """Tell silent members again: one that was repaired or wiped has lost its hedge, and no run waits for it (GH-04)."""
        record = self.record
        for dev_id in members & record.said.keys():
            if record.said[dev_id].psks:
                record = record.told(dev_id, record.said[dev_id].doubted())
        if record != self.record:
            await self.kept.keep(record)
            await self.reconcile()

    async def _enlist(self, charter: CharterView) -> None:
        """Let the policy know who is to be in and out now; who was invited a moment ago is given time to answer."""
        belongs, state = self.belongs, self.state
        if state is None:
            return
        out = state.wanted - belongs.members
        if out - belongs.evicted - belongs.revoked:
            await self._say(Dismissed(out - belongs.evicted - belongs.revoked))
        missed = state.absent - belongs.members - belongs.allowed  # the ring would let them in again (GS-27)
        for reason, members in (
            (Evicted, (out & belongs.evicted) | (missed - belongs.revoked)),
            (Revoked, (out | missed) & belongs.revoked),
        ):
            if members:
                await self._say(reason(members))
        into = belongs.members - state.wanted - state.absent
        pending = frozenset(dev_id for dev_id in into if not self._is_ready(dev_id))
        if pending and self._around.now() < self._ready_by:
            return
        if into - pending:
            await self._say(Enlisted(into - pending))
        if not charter.central:
            await self._ring.rename(self._names.entries(), self._names.named())

    def _is_ready(self, dev_id: bytes) -> bool:
        """Return whether a device knows of the group; one that is enrolled elsewhere was invited there."""
        at_home = member_of(self._cells, dev_id) is not None
        return not at_home or self._invitations.ready(self.record, dev_id)

    # ------------------------------------------------------------------ the policy

    async def _say(self, happening: Happening) -> None:
        """Tell the policy, and carry out what it decides."""
        if self.state is None:
            return
        before = self.state
        self.state, decisions = decide(before, happening, self._around.now())
        for decision in decisions:
            try:
                await self._carry_out(decision)
            except RingRefused as fault:
                logger.warning("not done: %s", fault, extra={"gid": self.gid, "decision": type(decision).__name__})
                self._again_at = self._around.now() + AGAIN_S
                if isinstance(decision, Change) and self.state is not None:  # there was no new key either
                    self.state = replace(self.state, epoch_at=before.epoch_at, spent=before.spent)
                await self.kept.refuse(None, fault.what)
            except BaseException:  # nobody knows what was done of it: the policy learns from the ring anew (GS-26)
                self._again_at = self._around.now() + AGAIN_S
                self.state = None
                raise

    async def _carry_out(self, decision: Decision) -> None:
        charter = self.record.charter
        assert charter is not None
        match decision:
            case Form(members):
                await self._form(charter, members)
            case Change() if charter.central:
                return  # the coordinator signs the next roster, when it has heard
            case Change(add, remove, reason):
                await self._ring.amend(self._names.entries(), self._names.named(), add, remove, int(reason))
            case Renew(reason):
                await self._ring.rekey(int(reason))
            case Dissolve():
                await self._dissolve()
            case Refuse(member, why):
                await self.kept.refuse(member, str(why))

    async def _form(self, charter: CharterView, members: Members) -> None:
        try:
            await self._ring.form(charter, self._peers())
        except RingRefused:
            self._stuck = charter.rev
            raise
        await self.kept.keep(replace(self.record, rekeyed=charter.rekey))
        held = self._ring.held()
        if held is None:
            return
        await self._rostered(held.lasting.held.ver, held.lasting.roster, formed=True)
        on = self._names.devices(held.lasting.held.kids)
        if charter.central:
            await self._say_roster()
        elif on != members:  # some have not answered yet, or it was otherwise when it was signed
            await self._ring.amend(
                self._names.entries(), self._names.named(), members - on, on - members, int(Reason.LEAVE)
            )

    async def _dissolve(self) -> None:
        """Nobody leads the ring any more: whoever was on it is told to forget its key, and only then invited again (GS-24)."""
        held = self._ring.held()
        if held is None:
            return
        self._forgetting |= self._names.devices(held.lasting.held.kids) & self.record.said.keys()
        await self._ring.forget()
        if self.record.charter is not None:
            await self._invite(self.record.charter)

    async def _say_roster(self) -> None:
        """Tell the policy what the ring holds."""
        held = self._ring.held()
        if held is not None:
            absent = tuple(entry.kid for entry in held.lasting.absent)
            await self._say(Rostered(self._names.devices(held.lasting.held.kids), self._names.devices(absent)))

    # ------------------------------------------------------------------ what the cells report

    async def heard(self, report: Report, now_ms: int) -> None:
        """Take in a report of the engine that concerns this group."""
        match report:
            case RunStarted(_, epoch, attempt, _, cause):
                self._began[epoch, attempt] = now_ms, cause.reason
            case RingCommitted():
                await self._confirmed(report, now_ms)
            case RosterIssued(_, ver, roster):
                before = self.record.here
                await self._rostered(ver, roster)
                if self.record.here != before:
                    await self.reconcile()  # who came in is told what members are told
            case MembersAbsent(_, _, kids, excluded):
                await self.kept.tell(says.absent(report))
                await self._say(Missed(self._names.devices(kids), excluded))
                await self._doubt(self._names.devices(kids))
            case MemberBlamed(_, _, kid, _, _, out):
                (member,) = self._names.devices((kid,))
                await self.kept.happened(What.EVICTED, member, rules.COMPROMISE, says.blame(report))
                await self._say(Left(member, granted=out))
                await self.reconcile()
            case LeaveAsked(_, kid, granted):
                (member,) = self._names.devices((kid,))
                if member in self.belongs.members:
                    await self.kept.happened(What.LEFT, member, 0, says.left(member))
                await self._say(Left(member, granted))
                await self.reconcile()
            case JoinAsked(_, kid, peer, request):
                await self._asked(kid, peer, request)
            case InvitationAnswered() as answer:
                await self._answered(answer)
            case RecordPassed(_, kid):
                self._sent[kid] += 1
                self._log_record(report, now_ms)
                await self._say(Counted(self._sent[kid]))
            case LinkSeen(dev_id, peer):
                await self._met(dev_id, peer)

    def _log_record(self, report: RecordPassed, now_ms: int) -> None:
        """Have a record kept as it was sealed, where the group keeps any; who sealed it nobody knows here (GL-01)."""
        keep = 0 if self.record.charter is None else self.record.charter.policy.keep_records
        kept = passed(now_ms, self.record.epoch, report.kid, report.resource, report.record) if keep else None
        if kept is not None:
            self._around.passed(self.gid, kept, keep)

    async def _confirmed(self, report: RingCommitted, now_ms: int) -> None:
        began_ms, reason = self._began.pop((report.epoch, report.attempt), (now_ms, 0))
        self._began = {number: at for number, at in self._began.items() if number > (report.epoch, report.attempt)}
        self._sent.clear()
        record = replace(self.record, epoch=max(self.record.epoch, report.epoch))
        await self.kept.tell(says.epoch(report, self._ring.ver, reason, began_ms), record)
        await self._say(Confirmed(self._names.devices(report.kids)))
        await self._ring.renew_hedge()

    async def _rostered(self, ver: int, roster: bytes, *, formed: bool = False) -> None:
        """A roster came into force; who is on it and was not named by the coordinator was let in here.

        `formed`: it is the coordinator's own, of a ring that the policy has just had formed.
        """
        self._ring.ver = ver
        record = replace(self.record, ver=max(ver, self.record.ver))
        await self.kept.tell(says.roster(roster), record)
        held = self._ring.held()
        if formed or held is None or held.lasting.held.ver != ver:
            return  # a later one is in force already, and reported behind this one
        belongs = self.belongs
        for member in sorted(self._names.devices(held.lasting.held.kids) & belongs.allowed - belongs.members):
            await self.kept.happened(What.JOINED, member, 0, says.joined(member, says.DEVICE))
        await self._say_roster()

    async def _asked(self, kid: bytes, peer: Peer, request: bytes) -> None:
        """Let the policy judge who can be told by its signature (GS-12)."""
        charter, dev_id = self.record.charter, self._names.named().get(kid)
        if charter is None or dev_id is None:
            await self.kept.refuse(None, f"kid {kid.hex()}: {Refusal.STRANGER}")
            return
        entry = self._names.entries().get(dev_id)
        try:
            if entry is None or entry.kid != kid:
                raise PeerFault(ErrorCode.E_UNKNOWN_ID, "it asks by another credential than the one that was invited")
            read(request, JoinClaims, sizes_of(charter.suite)).verified_by(
                self._around.keys(charter.suite, entry.sig_pk)
            )
        except PeerFault as fault:
            await self.kept.refuse(dev_id, fault.what)
            return
        await self._ring.locate({kid: peer})
        await self._say(Asked(dev_id))

    async def _answered(self, answer: InvitationAnswered) -> None:
        dev_id, taken = answer.dev_id, answer.code is None
        if answer.code is not None:
            await self.kept.refuse(dev_id, f"the device refuses the invitation: {answer.code.name}")
        record = self._invitations.answered(self.record, dev_id, answer.kid, answer.psk_id, taken=taken)
        await self.kept.keep(record)
        if dev_id not in self.record.said:
            self._forgetting -= {dev_id}
        await self.reconcile()

    async def _met(self, dev_id: bytes, peer: Peer) -> None:
        """A device spoke from another address."""
        if dev_id not in self.record.said:
            return
        entry = self._names.entries().get(dev_id)
        if entry is not None:
            await self._ring.locate({entry.kid: peer})
        self._invitations.met(dev_id)
        await self._invitations.say()

    # ------------------------------------------------------------------ what an operator here sees and says

    @property
    def ring(self) -> RingCell | None:
        """The ring as it is; None while none is led."""
        return self._ring.held()

    def members(self) -> Iterator[Mapping[str, object]]:
        """Yield everybody who should be in, is in, or may ask: how it stands here."""
        if self.record.charter is None:
            return
        cell, belongs, entries = self.ring, self.belongs, self._names.entries()
        on = self._names.devices(cell.lasting.held.kids) if cell is not None else frozenset()
        absent = (
            self._names.devices(tuple(entry.kid for entry in cell.lasting.absent)) if cell is not None else frozenset()
        )
        for dev_id in sorted(belongs.members | belongs.allowed | on):
            state = "in" if dev_id in on else "absent" if dev_id in absent else "allowed"
            if dev_id in belongs.members and state == "allowed":
                state = "joining" if self._is_ready(dev_id) else "invited"
            kid = entries[dev_id].kid.hex() if dev_id in entries else dev_id.hex()
            yield {"dev_id": dev_id.hex(), "kid": kid, "state": state}

    async def evict(self, dev_id: bytes, reason: int) -> None:
        """Put a device out now; it comes back when somebody enlists it again."""
        if dev_id not in self.belongs.members | self.belongs.allowed:
            raise RefusedByPolicy(f"device {dev_id.hex()} is not in this group", do="see keymote group show --here")
        await self.kept.happened(What.EVICTED, dev_id, reason, says.evicted(dev_id, reason))
        await self.reconcile()

    async def add(self, dev_id: bytes) -> None:
        """Let a device in that is enrolled here, without asking the coordinator."""
        if active_member(self._cells, dev_id) is None:
            raise RefusedByPolicy(f"device {dev_id.hex()} is not active here", do="see keymote device list")
        if dev_id in self.belongs.members:
            return
        self._ready_by = self._around.now() + READY_S
        await self.kept.happened(What.JOINED, dev_id, 0, says.joined(dev_id, says.OPERATOR))
        self.state = None  # an eviction of it is over
        await self.reconcile()

    async def rekey(self, reason: int) -> None:
        """Begin a run of a new epoch with the same members."""
        await self._ring.rekey(reason)

    # ------------------------------------------------------------------ time

    def due_at(self) -> int | None:
        """Return when `tick` has something to do, in UTC seconds."""
        times = [self._invitations.due_at(), due_at(self.state) if self.state is not None else None]
        times += [at for at in (self._ready_by, self._leap_by, self._again_at) if at]
        return min((at for at in times if at is not None), default=None)

    async def tick(self) -> None:
        """Do what time demands."""
        await self._invitations.say()
        now = self._around.now()
        if (self._ready_by and now >= self._ready_by) or (self._leap_by and now >= self._leap_by):
            self._ready_by = 0
            await self.reconcile()
        if self._again_at and now >= self._again_at:
            self._again_at = 0
            await self._say_roster()
            await self.reconcile()
        await self._say(Passed())

    # ------------------------------------------------------------------ what is kept and told

    def _peers(self) -> Mapping[bytes, Peer]:
        """Return where members listen, by kid."""
        return self._ring.peers({dev_id: entry.kid for dev_id, entry in self._names.entries().items()})
