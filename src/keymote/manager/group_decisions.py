"""The policy of one group at its gateway: it is told what happens, and what it decides is commanded to the ring (decision 0164)."""

import logging
from collections.abc import Callable
from typing import Final

from keymote.engine.base import replace
from keymote.engine.policy.group_faces import (
    Allowed,
    Change,
    Decision,
    Dismissed,
    Dissolve,
    Enlisted,
    Evicted,
    Form,
    Happening,
    Members,
    Reason,
    Refuse,
    Renew,
    Revoked,
    Rostered,
)
from keymote.engine.policy.groups import GroupState, decide, due_at
from keymote.manager import group_rules as rules
from keymote.manager.group_guests import Guests
from keymote.manager.group_keeping import Keeping
from keymote.manager.group_people import People
from keymote.manager.group_ring import RingAtHand, RingRefused
from keymote.wire.admin_groups import CharterView

AGAIN_S: Final = 60
"""Pause before a ring is asked again for what it refused, or could not do."""
_NONE: Final = -1

logger = logging.getLogger(__name__)


class Decisions:
    """What `engine/policy/groups` knows of the group, and the carrying out of what it decides; `now` in UTC seconds."""

    def __init__(self, kept: Keeping, people: People, ring: RingAtHand, guests: Guests, now: Callable[[], int]) -> None:
        self._kept = kept
        self._people = people
        self._ring = ring
        self._guests = guests
        self._now = now
        self._state: GroupState | None = None
        self._again_at = 0
        self._stuck = _NONE
        """`rev` of a charter that no ring can be formed by."""

    # ------------------------------------------------------------------ what the policy is told

    async def begin(self, charter: CharterView) -> None:
        """Tell the policy everything that it must know, unless it knows already."""
        if self._state is not None:
            return
        belongs = self._people.belonging()
        self._state = GroupState(rules.policy_of(charter), self._now())
        for happening in (Allowed(belongs.allowed), Revoked(belongs.revoked), Evicted(belongs.evicted)):
            await self.say(happening)
        await self.say_roster()

    def forget(self) -> None:
        """Decide nothing more until the policy is told everything anew."""
        self._state = None

    async def say(self, happening: Happening) -> None:
        """Tell the policy, and carry out what it decides."""
        if self._state is None:
            return
        before = self._state
        self._state, decisions = decide(before, happening, self._now())
        for decision in decisions:
            try:
                await self._carry_out(decision)
            except RingRefused as fault:
                logger.warning(
                    "not done: %s", fault, extra={"gid": self._kept.gid, "decision": type(decision).__name__}
                )
                self._again_at = self._now() + AGAIN_S
                if isinstance(decision, Change) and self._state is not None:  # there was no new key either
                    self._state = replace(self._state, epoch_at=before.epoch_at, spent=before.spent)
                await self._kept.refuse(None, fault.what)
            except BaseException:  # nobody knows what was done of it: the policy learns from the ring anew (GS-26)
                self._again_at = self._now() + AGAIN_S
                self._state = None
                raise

    async def say_roster(self) -> None:
        """Tell the policy what the ring holds."""
        held = self._ring.held()
        if held is not None:
            absent = tuple(entry.kid for entry in held.lasting.absent)
            await self.say(Rostered(self._people.devices(held.lasting.held.kids), self._people.devices(absent)))

    async def enlist(self, charter: CharterView, ready_by: int) -> None:
        """Let the policy know who is to be in and out now; until `ready_by` joins wait for all who come to have answered."""
        belongs, state = self._people.belonging(), self._state
        if state is None:
            return
        out = state.wanted - belongs.members
        if out - belongs.evicted - belongs.revoked:
            await self.say(Dismissed(out - belongs.evicted - belongs.revoked))
        missed = state.absent - belongs.members - belongs.allowed  # the ring would let them in again (GS-27)
        for reason, members in (
            (Evicted, (out & belongs.evicted) | (missed - belongs.revoked)),
            (Revoked, (out | missed) & belongs.revoked),
        ):
            if members:
                await self.say(reason(members))
        into = belongs.members - state.wanted - state.absent
        pending = frozenset(dev_id for dev_id in into if not self._guests.is_ready(dev_id))
        if pending and self._now() < ready_by:
            return
        if into - pending:
            await self.say(Enlisted(into - pending))
        if not charter.central:
            await self._ring.rename()

    # ------------------------------------------------------------------ what it decides

    async def _carry_out(self, decision: Decision) -> None:
        charter = self._kept.record.charter
        assert charter is not None
        match decision:
            case Form(members):
                await self._form(charter, members)
            case Change() if charter.central:
                return  # the coordinator signs the next roster, when it has heard
            case Change(add, remove, reason):
                await self._ring.amend(add, remove, int(reason))
            case Renew(reason):
                await self._ring.rekey(int(reason))
            case Dissolve():
                await self._dissolve()
            case Refuse(member, why):
                await self._kept.refuse(member, str(why))

    async def _form(self, charter: CharterView, members: Members) -> None:
        try:
            await self._ring.form(charter)
        except RingRefused:
            self._stuck = charter.rev
            raise
        await self._kept.keep(replace(self._kept.record, rekeyed=charter.rekey))
        held = self._ring.held()
        if held is None:
            return
        self._ring.ver = held.lasting.held.ver
        await self._kept.rostered(held.lasting.held.ver, held.lasting.roster)
        on = self._people.devices(held.lasting.held.kids)
        if charter.central:
            await self.say_roster()
        elif on != members:  # some have not answered yet, or it was otherwise when it was signed
            await self._ring.amend(members - on, on - members, int(Reason.LEAVE))

    async def _dissolve(self) -> None:
        """Nobody leads the ring any more: whoever was on it is told to forget its key, and only then invited again (GS-24)."""
        held = self._ring.held()
        if held is None:
            return
        self._guests.must_forget(self._people.devices(held.lasting.held.kids))
        await self._ring.forget()
        if self._kept.record.charter is not None:
            await self._guests.invite(self._kept.record.charter)

    def is_stuck(self, charter: CharterView) -> bool:
        """Return whether no ring can be formed by this charter; a newer one must come."""
        return self._stuck == charter.rev

    # ------------------------------------------------------------------ time

    def due_at(self) -> int | None:
        """Return when the policy, or a ring that refused something, wants to be asked; in UTC seconds."""
        times = [due_at(self._state) if self._state is not None else None, self._again_at or None]
        return min((at for at in times if at is not None), default=None)

    async def try_again(self, now: int) -> bool:
        """Tell the policy the ring as it is, if the ring refused something and the pause is over; return whether it was."""
        if not self._again_at or now < self._again_at:
            return False
        self._again_at = 0
        await self.say_roster()
        return True
