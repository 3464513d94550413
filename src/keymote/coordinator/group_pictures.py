"""Groups as people look at them: who has the newest epoch, who waits, when removals were safe, what contradicts itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from keymote.coordinator import groups_rules as rules
from keymote.coordinator.desk import Desk
from keymote.coordinator.group_changes import found, seat_of, seats_of
from keymote.coordinator.group_safety import safe_ms
from keymote.errors import ErrorCode, PeerFault
from keymote.host.group_register import Conflict, EpochLine, Gone, Group, GroupState, Kid, Removal, RosterLine
from keymote.host.ledger import Transaction
from keymote.host.register import Manager, Revocation, RevocationKind

SHOWN = 20
"""Removals, newest first, and conflicts of a group that are shown with it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A member, or a device that is `leaving`: the newest epoch it confirmed and how many it is behind."""

    dev_id: bytes
    kid: bytes
    word: str
    epoch: int
    lag: int


@dataclass(frozen=True, slots=True)
class Gap:
    """A removal with how far it has come: `safe_after_ms` None while it is not safe, `waiting` hold an epoch of before."""

    group: Group
    removal: Removal
    safe_after_ms: int | None
    waiting: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Named:
    """A conflict with the names of its group (empty: none) and managers."""

    conflict: Conflict
    group: str
    managers: Sequence[str]


@dataclass(frozen=True, slots=True)
class Picture:
    """A group as it is; `acted`: its gateway has acted on the last change; `n` should be on the roster now."""

    group: Group
    gateway: Manager
    acted: bool
    n: int
    members: Sequence[Standing]
    allowed: Sequence[bytes]
    gaps: Sequence[Gap]
    conflicts: Sequence[Named]

    @property
    def waiting(self) -> Sequence[bytes]:
        """Members without the newest epoch."""
        return [each.dev_id for each in self.members if each.word == "waiting"]


@dataclass(frozen=True, slots=True)
class Outline:
    """A group in a list: `gateway` is its manager's name, `n` its active members, in edge mode with the
    gateway; `waiting` of the members have not the newest epoch.
    """

    group: Group
    gateway: str
    n: int
    waiting: int
    conflicts: int


class Pictures:
    """Queries over the register; nothing is written."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def one(self, gid: bytes) -> Picture:
        """Return a group with everything about it; PeerFault E_UNKNOWN_ID."""
        return await self._desk.ledger.read(lambda tx: _picture(tx, found(tx, gid)))

    async def listing(self, after: bytes, limit: int, name: str | None = None) -> Sequence[Outline]:
        """Return groups in the order of their gids, or the one of this name."""

        def work(tx: Transaction) -> Sequence[Outline]:
            if name is None:
                return [_outline(tx, group) for group in tx.groups.groups(after, limit)]
            group = tx.groups.named(name)
            return [] if group is None else [_outline(tx, group)]

        return await self._desk.ledger.read(work)

    async def rosters(self, gid: bytes, after: int, limit: int) -> Sequence[tuple[RosterLine, str]]:
        """Return the rosters of a group that came into force, with the names of who signed them."""

        def work(tx: Transaction) -> Sequence[tuple[RosterLine, str]]:
            found(tx, gid)
            signers = {lead.gw_kid: _name(tx, lead.nm_id) for lead in tx.groups.leads(gid)}
            return [(line, signers.get(line.kid, "coordinator")) for line in tx.groups.rosters(gid, after, limit)]

        return await self._desk.ledger.read(work)

    async def epochs(self, gid: bytes, after: int, limit: int) -> Sequence[tuple[EpochLine, Sequence[bytes]]]:
        """Return the epochs of a group with the dev_ids of their members."""

        def work(tx: Transaction) -> Sequence[tuple[EpochLine, Sequence[bytes]]]:
            found(tx, gid)
            owners = {kid.kid: kid.dev_id for kid in tx.groups.kids(gid)}
            lines = tx.groups.epochs(gid, after, limit)
            return [(line, [owners.get(kid, kid) for kid in line.kids]) for line in lines]

        return await self._desk.ledger.read(work)

    async def conflicts(self, after: int, limit: int, *, live: bool) -> Sequence[Named]:
        """Return conflicts with their names."""

        def work(tx: Transaction) -> Sequence[Named]:
            return [_named(tx, conflict) for conflict in tx.groups.conflicts(after, limit, live=live)]

        return await self._desk.ledger.read(work)

    async def gaps_of(self, revocation: Revocation) -> Sequence[Gap]:
        """Return what a device's revocation comes to in each of its groups."""
        if revocation.kind is not RevocationKind.DEVICE:
            return []

        def work(tx: Transaction) -> Sequence[Gap]:
            first: dict[bytes, Removal] = {}
            for removal in tx.groups.removals_of(revocation.subject, revocation.event):
                if removal.cause is Gone.REVOKED:
                    first.setdefault(removal.gid, removal)
            return [_gap(tx, found(tx, gid), removal, _active_epochs(tx, gid)) for gid, removal in first.items()]

        return await self._desk.ledger.read(work)


def _picture(tx: Transaction, group: Group) -> Picture:
    gateway = tx.manager(group.nm_id)
    if gateway is None:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"manager {group.nm_id.hex()} was never added")
    standings, newest = tx.groups.members(group.gid), _newest(tx.groups.kids(group.gid))
    seats = {seat.dev_id: seat for seat in seats_of(tx, group.gid)}
    rows = []
    for dev_id in (each.dev_id for each in standings if each.member):
        epoch, seat = newest.get(dev_id, 0), seats.get(dev_id)
        word = rules.standing(epoch, group, active=seat is not None)
        rows.append(Standing(dev_id, b"" if seat is None else seat.kid, word, epoch, max(0, group.epoch - epoch)))
    members = {row.dev_id for row in rows}
    epochs = _active_epochs(tx, group.gid)
    gaps = [_gap(tx, group, removal, epochs) for removal in tx.groups.removals(group.gid, SHOWN)]
    leaving = {gap.removal.dev_id for gap in gaps if gap.safe_after_ms is None} - members
    rows += [Standing(dev_id, b"", "leaving", newest.get(dev_id, 0), 0) for dev_id in sorted(leaving)]
    edge = group.settings.mode == rules.EDGE and seat_of(tx, group.nm_id) is not None
    return Picture(
        group=group,
        gateway=gateway,
        acted=tx.acknowledged_at(group.nm_id, group.event) is not None,
        n=len(seats) + edge,
        members=rows,
        allowed=[each.dev_id for each in standings if each.allowed],
        gaps=gaps,
        conflicts=[_named(tx, each) for each in tx.groups.conflicts(0, SHOWN, gid=group.gid, live=True)],
    )


def _outline(tx: Transaction, group: Group) -> Outline:
    members = _active_epochs(tx, group.gid)
    waiting = sum(not group.epoch or epoch < group.epoch for epoch in members.values())
    conflicts = len(tx.groups.conflicts(0, SHOWN, gid=group.gid, live=True))
    n = len(members) + (group.settings.mode == rules.EDGE)
    return Outline(group, _name(tx, group.nm_id), n, waiting, conflicts)


def _gap(tx: Transaction, group: Group, removal: Removal, members: Mapping[bytes, int]) -> Gap:
    """Return how far a removal has come; `members` with their newest epochs."""
    since = safe_ms(tx, group, removal)
    waiting = rules.holding_old(removal, members.items()) if group.state is GroupState.ACTIVE else ()
    return Gap(group, removal, None if since is None else since - removal.at_ms, waiting)


def _active_epochs(tx: Transaction, gid: bytes) -> Mapping[bytes, int]:
    """Return the newest epoch of each member that is active, 0 for none."""
    newest = _newest(tx.groups.kids(gid))
    return {card.dev_id: newest.get(card.dev_id, 0) for card in tx.groups.cards(gid) if card.member}


def _newest(kids: Iterable[Kid]) -> Mapping[bytes, int]:
    newest: dict[bytes, int] = {}
    for kid in kids:
        newest[kid.dev_id] = max(kid.epoch, newest.get(kid.dev_id, 0))
    return newest


def _named(tx: Transaction, conflict: Conflict) -> Named:
    group = tx.groups.group(conflict.gid) if conflict.gid else None
    return Named(conflict, "" if group is None else group.name, [_name(tx, nm_id) for nm_id in conflict.managers])


def _name(tx: Transaction, nm_id: bytes) -> str:
    manager = tx.manager(nm_id)
    return nm_id.hex() if manager is None else manager.name
