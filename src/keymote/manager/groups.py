"""One group at its gateway: the parts that lead it, put together (decision 0164), and what an operator there sees and says.

Each part knows only those above it: what is kept, who is who, the ring, who is invited, what the policy decides, how far the ring
has come, the coordinator's charter, and what the cells report.
"""

from collections.abc import Iterator, Mapping

from keymote.engine.base import Report
from keymote.engine.group.ring_states import RingCell
from keymote.engine.policy.group_faces import NOBODY, Passed
from keymote.errors import RefusedByPolicy
from keymote.manager import group_reports as says
from keymote.manager.group_charter import CharterAtWork
from keymote.manager.group_decisions import Decisions
from keymote.manager.group_guests import Guests
from keymote.manager.group_hearing import Hearing
from keymote.manager.group_hedge import Hedges
from keymote.manager.group_invitations import Cells, active_member
from keymote.manager.group_keeping import Keeping, Surroundings
from keymote.manager.group_log import GroupLog
from keymote.manager.group_people import People
from keymote.manager.group_progress import Progress
from keymote.manager.group_record import GroupRecord, What
from keymote.manager.group_ring import RingAtHand
from keymote.wire.admin_groups import CharterView


class GroupSteward:
    """Not for two tasks at once: whoever hosts it says one thing after the other."""

    def __init__(
        self, record: GroupRecord, cells: Cells, log: GroupLog, around: Surroundings, hedges: Hedges | None = None
    ) -> None:
        self.kept = kept = Keeping(record, hedges or Hedges(record.gid), log, around)
        self._cells = cells
        self._now = now = around.now
        self._people = people = People(kept, cells, around.membership)
        self._ring = ring = RingAtHand(record.gid, people, cells, around.place, around.membership)
        self._guests = guests = Guests(kept, people, cells, around)
        self._decisions = decisions = Decisions(kept, people, ring, guests, now)
        self._progress = progress = Progress(kept, people, ring, decisions, now)
        self._charter = charter = CharterAtWork(kept, people, ring, guests, decisions, around)
        self._hearing = Hearing(kept, people, ring, guests, decisions, progress, charter, around)

    # ------------------------------------------------------------------ how it stands

    @property
    def gid(self) -> bytes:
        return self.kept.gid

    @property
    def record(self) -> GroupRecord:
        """What is kept of the group."""
        return self.kept.record

    @property
    def hedges(self) -> Hedges:
        return self.kept.hedges

    @property
    def is_restored(self) -> bool:
        """Whether the ring is that of a backup, and its members may have gone on without us knowing."""
        return self.kept.is_restored

    @property
    def leads(self) -> bool:
        """Whether this manager is the group's gateway; otherwise it only invites its own devices."""
        return self.kept.leads

    @property
    def ring(self) -> RingCell | None:
        """The ring as it is; None while none is led."""
        return self._ring.held()

    def members(self) -> Iterator[Mapping[str, object]]:
        """Yield everybody who should be in, is in, or may ask: how it stands here."""
        if self.record.charter is None:
            return
        cell, belongs, entries = self.ring, self._people.belonging(), self._people.entries()
        on = absent = NOBODY
        if cell is not None:
            on = self._people.devices(cell.lasting.held.kids)
            absent = self._people.devices(entry.kid for entry in cell.lasting.absent)
        for dev_id in sorted(belongs.members | belongs.allowed | on):
            state = "in" if dev_id in on else "absent" if dev_id in absent else "allowed"
            if dev_id in belongs.members and state == "allowed":
                state = "joining" if self._guests.is_ready(dev_id) else "invited"
            kid = entries[dev_id].kid.hex() if dev_id in entries else dev_id.hex()
            yield {"dev_id": dev_id.hex(), "kid": kid, "state": state}

    # ------------------------------------------------------------------ what the coordinator and the cells say, and time

    async def resume(self) -> None:
        """Go on after a start of the manager: with what the ring holds, and what it may not have reported."""
        held = self._ring.held()
        if held is not None:
            await self._charter.doubt_backup()
            await self._ring.resume()
            await self._progress.catch_up(held)
        await self.reconcile()

    async def adopt(self, charter: CharterView) -> None:
        """Make this so from now on."""
        await self._charter.adopt(charter)

    async def reconcile(self) -> None:
        """Do what differs between what should be and what is; again is once."""
        await self._charter.reconcile()

    async def handed_over(self) -> None:
        """Another manager leads the group now: the ring is forgotten, and the members go on with their key."""
        await self._charter.hand_over()

    async def renumber(self, offset: int) -> None:
        """The reports have new numbers, this much higher."""
        await self.kept.put(self.record.renumbered(offset))

    async def heard(self, report: Report, now_ms: int) -> None:
        """Take in a report of the engine that concerns this group."""
        await self._hearing.heard(report, now_ms)

    def due_at(self) -> int | None:
        """Return when `tick` has something to do, in UTC seconds."""
        times = (self._guests.due_at(), self._charter.due_at(), self._decisions.due_at())
        return min((at for at in times if at is not None), default=None)

    async def tick(self) -> None:
        """Do what time demands."""
        await self._guests.say()
        now = self._now()
        await self._charter.tick(now)
        if await self._decisions.try_again(now):
            await self.reconcile()
        await self._decisions.say(Passed())

    # ------------------------------------------------------------------ what an operator here says

    async def evict(self, dev_id: bytes, reason: int) -> None:
        """Put a device out now; it comes back when somebody enlists it again."""
        belongs = self._people.belonging()
        if dev_id not in belongs.members | belongs.allowed:
            raise RefusedByPolicy(f"device {dev_id.hex()} is not in this group", do="see keymote group show --here")
        await self.kept.happened(What.EVICTED, dev_id, reason, says.evicted(dev_id, reason))
        await self.reconcile()

    async def add(self, dev_id: bytes) -> None:
        """Let a device in that is enrolled here, without asking the coordinator."""
        if active_member(self._cells, dev_id) is None:
            raise RefusedByPolicy(f"device {dev_id.hex()} is not active here", do="see keymote device list")
        if dev_id in self._people.belonging().members:
            return
        self._charter.wait_for_answers()
        await self.kept.happened(What.JOINED, dev_id, 0, says.joined(dev_id, says.OPERATOR))
        self._decisions.forget()  # an eviction of it is over
        await self.reconcile()

    async def rekey(self, reason: int) -> None:
        """Begin a run of a new epoch with the same members."""
        await self._ring.rekey(reason)
