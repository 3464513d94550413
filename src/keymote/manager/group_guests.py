"""Whom a group invites, and to what: each device is told its part of the charter, its hedge, or to forget the group."""

from keymote.engine.base import replace
from keymote.engine.group.invitation import InvitationAnswered
from keymote.engine.policy.group_faces import NOBODY, Members
from keymote.manager import group_rules as rules
from keymote.manager.group_invitations import Cells, Invitations, active_member, member_of
from keymote.manager.group_keeping import Keeping, Surroundings
from keymote.manager.group_people import People
from keymote.wire.admin_groups import CharterView
from keymote.wire.invitation import STANDBY, Invite


class Guests:
    """The devices of this manager that belong to one group, or may join it."""

    def __init__(self, kept: Keeping, people: People, cells: Cells, around: Surroundings) -> None:
        self._kept = kept
        self._people = people
        self._cells = cells
        self._around = around
        self._invitations = Invitations(kept.gid, cells, around.now)
        self._forgetting: Members = NOBODY
        """Whoever must have forgotten the key of a ring that is no more before it is invited again (GS-24)."""

    def is_ready(self, dev_id: bytes) -> bool:
        """Return whether a device knows of the group; one that is enrolled elsewhere was invited there."""
        at_home = member_of(self._cells, dev_id) is not None
        return not at_home or self._invitations.ready(self._kept.record, dev_id)

    # ------------------------------------------------------------------ what they are to be told

    async def invite(self, charter: CharterView) -> None:
        """Tell those who belong by this charter, and nobody else."""
        belongs = self._people.belonging()
        invite = rules.invitation(charter, self._around.place, standby=False)
        standby = replace(invite, flags=invite.flags | STANDBY)
        invited: dict[bytes, Invite] = dict.fromkeys(belongs.allowed - belongs.evicted, standby)
        invited |= dict.fromkeys(belongs.members, replace(invite, psk=await self._hedge(charter, belongs.members)))
        welcome = invited.keys() - self._forgetting
        ours = {each: invited[each] for each in welcome if active_member(self._cells, each) is not None}
        await self._tell(ours)

    async def dismiss(self) -> None:
        """Let everybody forget the group."""
        await self._tell({})

    def leave(self) -> None:
        """Tell nobody anything more; what was told last stands."""
        self._invitations.drop()

    def must_forget(self, members: Members) -> None:
        """Let these of ours forget the group's key before they are invited again."""
        self._forgetting |= members & self._kept.record.said.keys()

    async def doubt(self, members: Members) -> bool:
        """Let silent members be told again; return whether there is anybody who is.

        One that was repaired or wiped has lost its hedge, and no run waits for it (GH-04).
        """
        record = self._kept.record
        for dev_id in sorted(members & record.said.keys()):
            if record.said[dev_id].psks:
                record = record.told(dev_id, record.said[dev_id].doubted())
        if record == self._kept.record:
            return False
        await self._kept.keep(record)
        return True

    async def _tell(self, invited: dict[bytes, Invite]) -> None:
        await self._kept.keep(self._invitations.want(self._kept.record, invited))
        await self._invitations.say()

    async def _hedge(self, charter: CharterView, members: Members) -> bytes:
        """Return the hedge for members as INVITE says it; it is on disk before anybody is told."""
        if not charter.hedge or not self._kept.leads:
            return b""
        ours = frozenset(each for each in members if active_member(self._cells, each) is not None)
        await self._kept.keep_hedges(self._kept.hedges.for_members(members, ours, self._around.entropy))
        newest = self._kept.hedges.newest
        return b"" if newest is None else newest.said

    # ------------------------------------------------------------------ what comes back, and time

    async def answered(self, answer: InvitationAnswered) -> None:
        """Take in what a device says to its invitation."""
        dev_id, taken = answer.dev_id, answer.code is None
        if answer.code is not None:
            await self._kept.refuse(dev_id, f"the device refuses the invitation: {answer.code.name}")
        record = self._invitations.answered(self._kept.record, dev_id, answer.kid, answer.psk_id, taken=taken)
        await self._kept.keep(record)
        if dev_id not in self._kept.record.said:
            self._forgetting -= {dev_id}

    async def met(self, dev_id: bytes) -> None:
        """Tell a device that is there now what it has not answered yet."""
        self._invitations.met(dev_id)
        await self._invitations.say()

    def due_at(self) -> int | None:
        """Return when somebody is to be told again, in UTC seconds."""
        return self._invitations.due_at()

    async def say(self) -> None:
        """Tell whoever is due."""
        await self._invitations.say()
