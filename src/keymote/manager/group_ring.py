"""The engine's ring of one group, as the manager's service commands it: formed, changed, given a new key, forgotten."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from keymote.engine.base import Command, Peer, Refused, Report
from keymote.engine.context import Membership
from keymote.engine.group.faces import (
    HERE,
    Amend,
    ChangePlan,
    ForgetGroup,
    FormRing,
    Hedge,
    HoldPsk,
    InstallRoster,
    JoinGroup,
    Level,
    Locate,
    NameHedges,
    Rekey,
    Resume,
    RingCommitted,
    TakeDelegation,
    membership_of,
    ring_of,
)
from keymote.engine.group.payload import ResourcePolicy
from keymote.engine.group.ring_states import RingCell
from keymote.engine.group.states import MembershipCell
from keymote.engine.link_cell import LinkCell
from keymote.engine.link_faces import link_to_device
from keymote.engine.policy.group_faces import Member, Members
from keymote.errors import CallerFault, PeerFault
from keymote.manager import group_rules as rules
from keymote.manager.group_hedge import Psk
from keymote.manager.group_invitations import Cells
from keymote.manager.group_people import People
from keymote.wire import admin
from keymote.wire.admin_groups import CharterView
from keymote.wire.fields import sizes_of
from keymote.wire.group import EDGE, CommitClaims
from keymote.wire.group_fields import Cause, Entry
from keymote.wire.group_signed import read

JOIN: Final = 2
_PERIODIC: Final = 1
_KEY_ID: Final = 8


class RingRefused(CallerFault):
    """The ring cannot do this: by its rules, or because it lacks the right (a delegation that has ended)."""


class RingAtHand:
    """`ver` is the version of the roster that the newest START was for; `people` says whom kids and devices name.

    `gw` is what this manager is now. `psks` are the hedges of this group and `hedges` who holds them, both newest first.
    """

    def __init__(self, gid: bytes, people: People, cells: Cells, place: bytes, gw: Callable[[], Membership]) -> None:
        self._gid = gid
        self._people = people
        self._cells = cells
        self._place = place
        self._gw = gw
        self._after_epoch = 0
        self._led_elsewhere = False
        self.ver = 0
        self.psks: tuple[Psk, ...] = ()
        self.hedges: tuple[Hedge, ...] = ()

    # ------------------------------------------------------------------ looking

    def held(self) -> RingCell | None:
        """Return the ring; None while we lead none."""
        cell = self._cells.peek(ring_of(self._gid))
        return cell if isinstance(cell, RingCell) else None

    def committed(self) -> RingCommitted | None:
        """Return the newest epoch if everybody has confirmed it, as it was reported then."""
        held = self.held()
        if held is None or not held.lasting.commit:
            return None
        lasting = held.lasting
        claims = read(lasting.commit, CommitClaims, sizes_of(lasting.charter.suite)).claims
        return RingCommitted(self._gid, *lasting.number, b"", claims.xor_tag[:_KEY_ID], lasting.held.kids)

    def _peers(self, entries: Mapping[Member, Entry]) -> Mapping[bytes, Peer]:
        """Return where those of `entries` listen that have a link to us, by kid."""
        found: dict[bytes, Peer] = {}
        for dev_id, entry in entries.items():
            link = self._cells.peek(link_to_device(dev_id))
            if isinstance(link, LinkCell):
                found[entry.kid] = link.peer
        return found

    # ------------------------------------------------------------------ leading

    async def resume(self) -> None:
        """Go on after a start of the manager."""
        held = self.held()
        if held is None:
            return
        self.ver, peers = held.lasting.held.ver, self._peers(self._people.entries())
        if held.lasting.plan.mode == EDGE:
            await self._cells.command(membership_of(self._gid), Resume())
        await self._order(Locate(peers))
        await self._order(Resume())

    async def form(self, charter: CharterView) -> None:
        """Begin to lead the group under the coordinator's roster; in edge mode this manager becomes a member."""
        plan, peers = rules.plan_of(charter, self._place), self._peers(self._people.entries())
        unheard = charter.epoch + rules.ABOVE if charter.epoch and (self._led_elsewhere or not self._after_epoch) else 0
        above = max(self._after_epoch, unheard)
        if plan.mode == EDGE:
            await self._join(charter)
            await self._hold()
        roster, delegation = admin.from_base64url(charter.roster), admin.from_base64url(charter.delegation)
        await self._order(FormRing(rules.authority_of(charter), roster, plan, delegation, peers, above, self.hedges))
        self._after_epoch, self._led_elsewhere = 0, False

    async def adapt(self, charter: CharterView) -> None:
        """Take over what a charter changes of a ring that is led: authority, delegation, plan, a roster of the coordinator."""
        held = self.held()
        if held is None:
            return
        authority, plan = rules.authority_of(charter), rules.plan_of(charter, self._place)
        lasting = held.lasting
        known = lasting.charter
        if (known.ra_kid, known.ra_pk, lasting.plan.mode) != (authority.ra_kid, authority.ra_pk, plan.mode):
            await self.forget()  # to be formed anew under the coordinator's roster, and its epochs go on
            return
        delegation = admin.from_base64url(charter.delegation)
        if lasting.delegation_message != delegation:
            before = known.gw_kid
            await self._order(TakeDelegation(delegation))
            if plan.mode == EDGE:
                await self._succeed(charter, before)
        if lasting.plan != plan:
            await self._order(ChangePlan(plan))
        if charter.central and charter.roster_ver > lasting.held.ver:
            await self._order(InstallRoster(admin.from_base64url(charter.roster), b"", _reason(charter, held)))
            self.ver = charter.roster_ver

    async def amend(self, add: Members, remove: Members, reason: int, leap: int = 0) -> None:
        """Sign the next roster, with these and without those; its version and its epochs go up by `leap` more."""
        held = self.held()
        if held is None:
            return
        entries, named = self._people.entries(), self._people.named()
        present = (*held.lasting.held.kids, *(entry.kid for entry in held.lasting.absent))
        gone = tuple(kid for kid in present if named.get(kid, kid) in remove)
        come = tuple(entries[member] for member in sorted(add) if member in entries)
        come = tuple(entry for entry in come if held.lasting.held.position(entry.kid) is None)
        await self._order(Locate(self._peers({member: entries[member] for member in add if member in entries})))
        await self._order(Amend(come, gone, reason, leap))

    async def rename(self) -> None:
        """Sign a roster on which those stand under their newest credentials whose present one was renewed."""
        held = self.held()
        if held is None:
            return
        kids, entries, named = held.lasting.held.kids, self._people.entries(), self._people.named()
        stale = [(kid, named[kid]) for kid in kids if kid in named and named[kid] in entries]
        stale = [
            (kid, member) for kid, member in stale if entries[member].kid != kid and entries[member].kid not in kids
        ]
        if stale:
            come = tuple(entries[member] for _, member in stale)
            await self._order(Locate(self._peers({member: entries[member] for _, member in stale})))
            await self._order(Amend(come, tuple(kid for kid, _ in stale), JOIN))

    async def rekey(self, reason: int) -> None:
        """Begin a run of a new epoch; RingRefused while no ring is led here."""
        if self.held() is None:
            raise RingRefused("no ring is led here", do="see keymote group show")
        await self._order(Rekey(Cause(reason)))

    def own_kids(self) -> Iterable[bytes]:
        """Return the names of this manager on rosters: in edge mode it holds every hedge that it has drawn."""
        held = self.held()
        return {self._gw().credential.kid} | (set() if held is None else {held.lasting.charter.gw_kid})

    async def name_hedges(self, psks: tuple[Psk, ...], hedges: tuple[Hedge, ...]) -> None:
        """Let each run from now on name the newest of these that its members hold."""
        self.psks, self.hedges = psks, hedges
        held = self.held()
        if held is None:
            return
        if held.lasting.plan.mode == EDGE:
            await self._hold()
        if held.hedges != hedges:
            await self._order(NameHedges(hedges))

    async def renew_hedge(self) -> None:
        """Begin a run if the newest epoch lacks the newest hedge, and all its members hold that by now."""
        held = self.held()
        if held is None:
            return
        claims, kids = held.lasting.started(), held.lasting.held.kids
        if not held.lasting.commit or claims is None or not self.hedges:
            return  # the run that is on names what it can, and is heard of when it is over
        newest = self.hedges[0]
        if newest.holders.issuperset(kids) and claims.reason.psk_id != newest.psk_id:
            await self.rekey(_PERIODIC)

    async def locate(self, peers: Mapping[bytes, Peer]) -> None:
        if self.held() is not None:
            await self._order(Locate(peers))

    async def forget(self, *, handed_over: bool = False) -> None:
        """Lead no more; in edge mode this manager forgets the key, too.

        `handed_over`: another gateway leads on, so that a ring that is formed here later begins above its epochs.
        """
        self._led_elsewhere = self._led_elsewhere or handed_over
        held = self.held()
        if held is None:
            return
        self._after_epoch = held.lasting.number[0]
        await self._order(ForgetGroup())
        if held.lasting.plan.mode == EDGE:
            await self._cells.command(membership_of(self._gid), ForgetGroup())

    # ------------------------------------------------------------------ edge mode

    async def _join(self, charter: CharterView) -> None:
        own = self._gw().credential
        policy = ResourcePolicy(tuple(charter.telemetry))
        multicast = rules.plan_of(charter, self._place).multicast
        wish = JoinGroup(rules.authority_of(charter), own.kid, HERE, Level.V0, multicast, policy=policy)
        await self._cells.command(membership_of(self._gid), wish)

    async def _hold(self) -> None:
        """Let our own membership hold the hedges, the newest last as members get them."""
        cell = self._cells.peek(membership_of(self._gid))
        held = {psk_id for psk_id, _ in cell.lasting.psks} if isinstance(cell, MembershipCell) else set()
        for each in reversed(self.psks):
            if each.psk_id not in held:
                await self._cells.command(membership_of(self._gid), HoldPsk(each.psk_id, each.psk))

    async def _succeed(self, charter: CharterView, before: bytes) -> None:
        """Stand on the roster under a renewed credential of our own."""
        own = self._gw().credential
        held = self.held()
        if held is None or own.kid == before or held.lasting.held.position(own.kid) is not None:
            return
        await self._join(charter)
        await self._order(Amend((Entry(own.kid, own.claims.sig_pk),), (before,), JOIN))

    async def _order(self, command: Command) -> None:
        try:
            reports: Sequence[Report] = tuple(await self._cells.command(ring_of(self._gid), command))
        except (PeerFault, CallerFault) as fault:
            raise RingRefused(fault.what, do=fault.do) from fault
        for report in reports:
            if isinstance(report, Refused):
                raise RingRefused(report.what)


def _reason(charter: CharterView, held: RingCell) -> int:
    """Return why the coordinator's next roster differs: the gravest of those who went, else a join."""
    gone = {bytes.fromhex(kid): each.reason for each in charter.gone for kid in each.kids}
    return max((gone[kid] for kid in held.lasting.held.kids if kid in gone), default=JOIN)
