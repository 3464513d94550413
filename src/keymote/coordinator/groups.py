"""Groups as an operator wants them: created, changed, moved, closed; each change one transaction with event and audit entry.

The coordinator states what should be. The manager that leads a group reads its charter and makes it so (docs/decisions/0160).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from keymote.coordinator import groups_rules as rules
from keymote.coordinator.desk import COORDINATOR, OPERATOR, Desk
from keymote.coordinator.group_changes import changed, found, removal_of, seat_of, seats_of
from keymote.coordinator.group_safety import settle
from keymote.coordinator.groups_rules import Seat
from keymote.crypto.entropy import Entropy
from keymote.errors import ErrorCode, Incompatible, PeerFault, RefusedByPolicy, Unavailable
from keymote.host.group_register import Gone, Group, GroupState, Member, Removal, Settings
from keymote.host.ledger import Transaction
from keymote.host.register import ManagerState, Taken

T = TypeVar("T")

KEPT_MS: Final = 96 * 86400 * 1000
"""Epochs and rosters stay this long, as events do (docs/decisions/0131)."""
PRUNED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Charter:
    """What a gateway makes so. `reported` is the highest `seq` of its reports on the group that was taken."""

    group: Group
    members: Sequence[Seat]
    allowed: Sequence[Seat]
    gone: Sequence[Removal]
    reported: int


class Groups:
    """The registry of groups. Asking twice for the same is asking once."""

    def __init__(self, desk: Desk, entropy: Entropy) -> None:
        self._desk, self._entropy = desk, entropy

    async def create(
        self, name: str, gateway: bytes, settings: Settings, members: Sequence[bytes], allowed: Sequence[bytes]
    ) -> Group:
        """Make a group that the manager `gateway` leads; its first roster is ours.

        Raises:
            Taken: another group has this name.
            PeerFault: E_UNKNOWN_ID for a manager or device that the register does not know.
            RefusedByPolicy: the manager or a device is not active, a device is enrolled elsewhere, too few or too many.
            Incompatible: a key of another suite than ours.
        """
        gid = self._entropy.draw(8)

        def work(tx: Transaction) -> Group:
            if tx.groups.named(name) is not None:
                raise Taken(f"another group is called {name!r}", do="choose another name")
            suite = self._gateway(tx, gateway).suite
            rules.check_size(len(set(members)), edge=settings.mode == rules.EDGE)
            group = Group(gid, name, gateway, settings, suite)
            for dev_id in dict.fromkeys((*members, *allowed)):
                _seat(tx, dev_id, group)
            tx.groups.put(group)  # members refer to it
            for dev_id in dict.fromkeys((*members, *allowed)):
                standing = Member(gid, dev_id, dev_id in members, dev_id in allowed, self._desk.now_ms())
                tx.groups.put_member(standing)
            group = changed(self._desk, tx, group)
            self._desk.note(tx, OPERATOR, "group.create", gid, name=name, gateway=gateway, n=len(set(members)))
            return group

        return await self._write(work)

    async def change_members(self, gid: bytes, add: Sequence[bytes], remove: Sequence[bytes], reason: int) -> Group:
        """Take devices in and put devices out; one that is put out may not come back by itself. Raises as `create` does."""

        def work(tx: Transaction) -> Group:
            group = _open(tx, gid)
            held = {each.dev_id: each for each in tx.groups.members(gid)}
            inside = {dev_id for dev_id, each in held.items() if each.member}
            coming, going = set(add) - inside, (set(remove) - set(add)) & inside
            if not coming and not going:
                return group
            rules.check_size(len((inside | coming) - going), edge=group.settings.mode == rules.EDGE)
            for dev_id in sorted(coming):
                _seat(tx, dev_id, group)
                admit(self._desk, tx, group, held.get(dev_id, Member(gid, dev_id, member=False, allowed=False)))
                self._desk.note(tx, OPERATOR, "group.add", gid, device=dev_id)
            gone = [
                removal_of(tx, group, dev_id, Gone.EVICTED, self._desk.now_ms(), reason) for dev_id in sorted(going)
            ]
            for dev_id in sorted(going):
                tx.groups.put_member(replace(held[dev_id], member=False, allowed=False))
                self._desk.note(tx, OPERATOR, "group.evict", gid, device=dev_id, reason=reason)
            return changed(self._desk, tx, group, removals=gone)

        return await self._write(work)

    async def allow(self, gid: bytes, add: Sequence[bytes], remove: Sequence[bytes]) -> Group:
        """Say which devices the gateway may let in when they ask, whether we can be reached or not. Raises as `create` does."""

        def work(tx: Transaction) -> Group:
            group = _open(tx, gid)
            held = {each.dev_id: each for each in tx.groups.members(gid)}
            may = {dev_id for dev_id, each in held.items() if each.allowed}
            coming, going = set(add) - may, (set(remove) - set(add)) & may
            if not coming and not going:
                return group
            for dev_id in sorted(coming | going):
                if dev_id in coming:
                    _seat(tx, dev_id, group)
                    tx.groups.forget_removals(gid, dev_id)
                before = held.get(dev_id, Member(gid, dev_id, member=False, allowed=False))
                tx.groups.put_member(replace(before, allowed=dev_id in coming))
                action = "group.allow" if dev_id in coming else "group.disallow"
                self._desk.note(tx, OPERATOR, action, gid, device=dev_id)
            return changed(self._desk, tx, group)

        return await self._write(work)

    async def rekey(self, gid: bytes, reason: int) -> Group:
        """Want a new epoch of the same members; RefusedByPolicy for a group that nobody leads."""

        def work(tx: Transaction) -> Group:
            group = _open(tx, gid)
            if group.state is not GroupState.ACTIVE:
                raise RefusedByPolicy(f"group {group.name} is {group.state}: it has no ring", do="add members first")
            self._desk.note(tx, OPERATOR, "group.rekey", gid, reason=reason)
            return changed(self._desk, tx, replace(group, rekey=group.rekey + 1, rekey_reason=reason))

        return await self._write(work)

    async def move(self, gid: bytes, gateway: bytes) -> Group:
        """Hand a group to another manager, with a roster that outranks whatever the one before has signed (CG-04)."""

        def work(tx: Transaction) -> Group:
            group = _open(tx, gid)
            if group.nm_id == gateway:
                return group
            suite = self._gateway(tx, gateway).suite
            if suite != group.suite:
                raise Incompatible(f"manager {gateway.hex()} has suite {suite}, group {group.name} suite {group.suite}")
            self._desk.note(tx, OPERATOR, "group.move", gid, before=group.nm_id, to=gateway)
            return changed(self._desk, tx, replace(group, nm_id=gateway), anew=True)

        return await self._write(work)

    async def close(self, gid: bytes) -> Group:
        """End a group for good; its name is not free again."""

        def work(tx: Transaction) -> Group:
            group = found(tx, gid)
            if group.state is GroupState.CLOSED:
                return group
            for each in tx.groups.members(gid):
                tx.groups.put_member(replace(each, member=False, allowed=False))
            self._desk.note(tx, OPERATOR, "group.close", gid)
            return changed(self._desk, tx, replace(group, state=GroupState.CLOSED, formed=False))

        return await self._write(work)

    async def charter(self, caller: bytes, gid: bytes) -> Charter:
        """Return what the manager `caller` makes of a group: it leads it, or invites its own devices to it (GH-07).

        Raises:
            PeerFault: E_UNKNOWN_ID; E_NOSHARE when another manager leads it and none of its devices is `caller`'s.
            Unavailable: our key has just rolled, and the group's papers are not signed anew yet.
        """

        def work(tx: Transaction) -> Charter:
            group = found(tx, gid)
            seats, allowed = seats_of(tx, gid), seats_of(tx, gid, allowed=True)
            if caller not in {group.nm_id, *(seat.nm_id for seat in (*seats, *allowed))}:
                raise PeerFault(ErrorCode.E_NOSHARE, f"group {group.name} is led by manager {group.nm_id.hex()}")
            if group.state is GroupState.ACTIVE and group.ra_kid != self._desk.identity.credential.kid:
                raise Unavailable(f"the papers of group {group.name} are being signed anew", do="try again")
            inside = {seat.dev_id for seat in seats}  # one with new keys is a member, and its old kids are not
            gone = [each for each in tx.groups.open_removals(gid) if each.dev_id not in inside]
            return Charter(group, seats, allowed, gone, tx.groups.reported(gid, caller))

        return await self._desk.ledger.read(work)

    async def keep_papers(self) -> int:
        """Renew delegations of which a third is left, and sign anew what an earlier key of ours signed; return how many.

        Also write down which removals have become safe since.
        """

        def work(tx: Transaction) -> int:
            due = tx.groups.due(self._desk.identity.credential.kid, rules.due_before(self._desk.now))
            led = [group for group in due if seat_of(tx, group.nm_id) is not None]
            for group in led:
                changed(self._desk, tx, group)
                self._desk.note(tx, COORDINATOR, "group.renew", group.gid)
            for group in tx.groups.unsafe_groups():
                settle(self._desk, tx, group)
            return len(led)

        return await self._write(work)

    async def prune(self) -> int:
        """Forget old epochs and rosters that nothing refers to; return how many rows went."""
        before, pruned = self._desk.now_ms() - KEPT_MS, 0
        while gone := await self._desk.ledger.write(lambda tx: tx.groups.prune(before, PRUNED_AT_ONCE)):
            pruned += gone
        return pruned

    def _gateway(self, tx: Transaction, nm_id: bytes) -> Seat:
        """Return the seat of a manager that may lead; raises as `create` does."""
        manager = tx.manager(nm_id)
        if manager is None:
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"manager {nm_id.hex()} was never added")
        seat = seat_of(tx, nm_id)
        if manager.state is not ManagerState.ACTIVE or seat is None:
            raise RefusedByPolicy(f"manager {manager.name} is {manager.state}", do="enrol it, or choose another one")
        ours = self._desk.identity.key.suite_id
        if seat.suite != ours:
            raise Incompatible(
                f"manager {manager.name} has a key of suite {seat.suite}, this coordinator one of suite {ours}",
                do="choose a manager of the coordinator's suite: both speak for the group",
            )
        return seat

    async def _write(self, work: Callable[[Transaction], T]) -> T:
        outcome = await self._desk.ledger.write(work)
        self._desk.news.ring()
        return outcome


def admit(desk: Desk, tx: Transaction, group: Group, standing: Member) -> None:
    """Let a device be a member from now on, and forget that it went."""
    tx.groups.forget_removals(group.gid, standing.dev_id)
    tx.groups.put_member(replace(standing, member=True, since_ms=desk.now_ms()))


def _open(tx: Transaction, gid: bytes) -> Group:
    group = found(tx, gid)
    if group.state is GroupState.CLOSED:
        raise RefusedByPolicy(f"group {group.name} was closed", do="create another one")
    return group


def _seat(tx: Transaction, dev_id: bytes, group: Group) -> Seat:
    device = tx.device(dev_id)
    if device is None:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"device {dev_id.hex()} is not registered here")
    return rules.check_member(device, seat_of(tx, dev_id), group.nm_id, group.suite)
