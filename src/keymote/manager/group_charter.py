"""The coordinator's charter of one group, made so: whatever differs between what should be and what is, is done."""

import logging
from typing import Final

from keymote.engine.base import replace
from keymote.engine.policy.group_faces import NOBODY
from keymote.manager import group_rules as rules
from keymote.manager.group_decisions import Decisions
from keymote.manager.group_guests import Guests
from keymote.manager.group_hedge import Hedges
from keymote.manager.group_keeping import Keeping, Surroundings
from keymote.manager.group_people import People
from keymote.manager.group_ring import RingAtHand, RingRefused
from keymote.wire.admin_groups import CharterView

READY_S: Final = 10
"""How long a change waits for devices that have not answered their invitation; who answers later comes in later."""
LEAP_S: Final = 30
"""How long a gateway from a backup waits for its coordinator to say who is gone, before it leads on."""
JOINED: Final = 2

logger = logging.getLogger(__name__)


class CharterAtWork:
    """It works on with the last charter for as long as the coordinator is away."""

    def __init__(
        self,
        kept: Keeping,
        people: People,
        ring: RingAtHand,
        guests: Guests,
        decisions: Decisions,
        around: Surroundings,
    ) -> None:
        self._kept = kept
        self._people = people
        self._ring = ring
        self._guests = guests
        self._decisions = decisions
        self._around = around
        self._ready_by = 0
        self._leap_by = 0

    async def doubt_backup(self) -> None:
        """Lead a ring that is a backup's only when it is known who is gone, or after a while without the coordinator."""
        if self._kept.is_restored and not self._leap_by:
            self._leap_by = self._around.now() + LEAP_S
            await self._kept.keep_hedges(
                Hedges(self._kept.gid)
            )  # members may have newer ones, and keep no more than two

    async def adopt(self, charter: CharterView) -> None:
        """Make this so from now on."""
        self.wait_for_answers()
        if self._leap_by:
            self._leap_by = self._around.now()  # now it is known who is gone
        await self._kept.put(self._kept.record.adopting(charter))
        self._decisions.forget()
        await self.reconcile()

    def wait_for_answers(self) -> None:
        """Give those who are invited next a moment to answer, so that they come in together."""
        self._ready_by = self._around.now() + READY_S

    async def reconcile(self) -> None:
        """Do what differs between what should be and what is; again is once."""
        charter = self._kept.record.charter
        if charter is None or self._decisions.is_stuck(charter):
            return
        if not rules.is_ours(charter, self._around.nm_id):
            await self._lead_no_more(charter)
            return
        try:
            await self._ring.adapt(charter)
        except RingRefused as fault:  # papers older than the ring's must not hold up who is put out (GS-28)
            await self._kept.refuse(None, fault.what)
        await self._guests.invite(charter)
        held_by = self._kept.hedges.held_by(self._kept.record.said, self._ring.own_kids())
        await self._ring.name_hedges(self._kept.hedges.psks, held_by)
        if self._leap_by:
            if self._around.now() < self._leap_by:
                return
            await self._leap()
        await self._decisions.begin(charter)
        await self._decisions.enlist(charter, self._ready_by)
        await self._ring.renew_hedge()
        if charter.rekey > self._kept.record.rekeyed:
            if self._ring.held() is not None:
                await self._ring.rekey(charter.rekey_reason)
            await self._kept.keep(replace(self._kept.record, rekeyed=charter.rekey))

    async def _leap(self) -> None:
        """Begin far above what the backup holds, without those who are known to be gone (GS-25)."""
        self._leap_by = 0
        if self._ring.held() is not None:
            belongs = self._people.belonging()
            await self._ring.amend(NOBODY, belongs.evicted | belongs.revoked, JOINED, leap=rules.ABOVE)
        await self._kept.keep(replace(self._kept.record, generation=self._around.generation))

    async def _lead_no_more(self, charter: CharterView) -> None:
        """Paused, closed, or another manager's: it is not led here, and where nobody leads it, members forget its key.

        Our devices in another manager's group have no link but ours: what they must know of it they are told here (GH-08).
        """
        self._decisions.forget()
        self._leap_by = 0
        await self._ring.forget(handed_over=not self._kept.leads)
        await self._kept.keep_hedges(Hedges(self._kept.gid))
        if charter.state != rules.ACTIVE:
            await self._guests.dismiss()
        elif charter.multicast and self._around.place:
            await self._guests.invite(charter)
        else:
            self._guests.leave()
            why = (
                "its rounds go by unicast to another gateway"
                if not charter.multicast
                else "no multicast group is set here"
            )
            logger.warning("devices are not invited", extra={"gid": self._kept.gid, "what": why})

    async def hand_over(self) -> None:
        """Another manager leads the group now: the ring is forgotten, and the members go on with their key."""
        self._decisions.forget()
        await self._ring.forget()

    # ------------------------------------------------------------------ time

    def due_at(self) -> int | None:
        """Return when a wait is over, in UTC seconds."""
        return min((at for at in (self._ready_by, self._leap_by) if at), default=None)

    async def tick(self, now: int) -> None:
        """Go on where a wait is over."""
        if (self._ready_by and now >= self._ready_by) or (self._leap_by and now >= self._leap_by):
            self._ready_by = 0
            await self.reconcile()
