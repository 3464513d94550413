"""What a change means for groups, inside the transaction that makes it: papers signed anew, `rev` grown, gateways told.

`changed` is the only place that signs a delegation or roster and the only one that raises `rev`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from keymote.coordinator import groups_rules as rules
from keymote.coordinator.desk import COORDINATOR, Desk
from keymote.coordinator.groups_rules import Seat
from keymote.errors import ErrorCode, PeerFault
from keymote.host.group_register import Gone, Group, GroupState, Kid, Lead, Removal
from keymote.host.ledger import Transaction
from keymote.host.register import DeviceState, ManagerState
from keymote.wire.credential import SignedCredential, kid_of
from keymote.wire.fields import sizes_of
from keymote.wire.group import FEWEST, MOST, DelegationClaims, RosterClaims
from keymote.wire.group_signed import read


def found(tx: Transaction, gid: bytes) -> Group:
    """Return a group; PeerFault E_UNKNOWN_ID."""
    group = tx.groups.group(gid)
    if group is None:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"group {gid.hex()} is not registered here")
    return group


def seat_of(tx: Transaction, sub: bytes) -> Seat | None:
    """Return the device or manager under its credential in force; None while it is not active."""
    device = tx.device(sub)
    if device is None:
        manager = tx.manager(sub)
        if manager is None or manager.state is not ManagerState.ACTIVE:
            return None
    elif device.state is not DeviceState.ACTIVE:
        return None
    credential = tx.active_credential(sub)
    if credential is None:
        return None
    return _seat(sub, sub if device is None else device.nm_id, credential.raw)


def seats_of(tx: Transaction, gid: bytes, *, allowed: bool = False) -> Sequence[Seat]:
    """Return the active members of a group, or with `allowed` the active devices that may join, in the order of their ids."""
    cards = [card for card in tx.groups.cards(gid) if (card.allowed if allowed else card.member)]
    return [_seat(card.dev_id, card.nm_id, card.raw) for card in cards]


def _seat(sub: bytes, nm_id: bytes, raw: bytes) -> Seat:
    claims = SignedCredential.decode(raw).claims
    return Seat(sub, nm_id, kid_of(raw), claims.sig_pk, claims.suite, raw)


def changed(
    desk: Desk, tx: Transaction, group: Group, *, removals: Iterable[Removal] = (), anew: bool = False
) -> Group:
    """Sign what the group needs now, raise `rev`, tell the managers; return the group as it is stored.

    `anew`: the ring begins anew, with a roster that outranks all before it (another gateway leads it).
    """
    gateway = seat_of(tx, group.nm_id)
    if group.state is not GroupState.CLOSED and gateway is not None:
        group = _with_papers(desk, tx, group, gateway, anew=anew)
    group = replace(group, rev=group.rev + 1)
    event = desk.announce(tx, "group.change", group.gid, rev=group.rev, nm_id=group.nm_id.hex())
    group = replace(group, event=event.id)
    tx.groups.put(group)
    if gateway is not None:
        _learn(tx, group, gateway)
    for removal in removals:
        tx.groups.add_removal(replace(removal, event=event.id))
    return group


def removal_of(
    tx: Transaction, group: Group, dev_id: bytes, cause: Gone, at_ms: int, reason: int | None = None
) -> Removal:
    """Return the removal of a device under all its kids but the one in force, if it stays a member under that."""
    kids = tx.groups.kids(group.gid)
    seat = seat_of(tx, dev_id) if cause is Gone.SUPERSEDED else None
    names = tuple(kid.kid for kid in kids if kid.dev_id == dev_id and (seat is None or kid.kid != seat.kid))
    newest = rules.last_with(kids, names)
    return Removal(group.gid, dev_id, cause, reason or rules.reason_of(cause), names, at_ms, 0, newest)


# ------------------------------------------------------------------ what happens elsewhere


def device_gone(desk: Desk, tx: Transaction, dev_id: bytes, cause: Gone) -> None:
    """A device was revoked, retired or suspended: it leaves every roster. Suspended, it stays a member in name (CG-06).

    Revoked while it was on its way out of a group, it goes for that reason now, and the revocation is safe when it is out (CG-22).
    """
    standings = tx.groups.standings(dev_id)
    if cause is Gone.REVOKED:
        for gid in sorted({*tx.groups.leaving(dev_id)} - {each.gid for each in standings}):
            group = found(tx, gid)
            changed(desk, tx, group, removals=[removal_of(tx, group, dev_id, cause, desk.now_ms())])
            desk.note(tx, COORDINATOR, "group.remove", gid, device=dev_id, cause=cause.value)
    for each in standings:
        group = found(tx, each.gid)
        if cause is not Gone.SUSPENDED:
            tx.groups.put_member(replace(each, member=False, allowed=False))
        tx.groups.forget_removals(each.gid, dev_id)
        changed(desk, tx, group, removals=[removal_of(tx, group, dev_id, cause, desk.now_ms())])
        desk.note(tx, COORDINATOR, "group.remove", each.gid, device=dev_id, cause=cause.value)


def device_back(desk: Desk, tx: Transaction, dev_id: bytes) -> None:
    """A suspended device was taken back: it is on the next rosters again."""
    for each in tx.groups.standings(dev_id):
        tx.groups.forget_removals(each.gid, dev_id)
        changed(desk, tx, found(tx, each.gid))


def credential_changed(desk: Desk, tx: Transaction, dev_id: bytes, *, same_keys: bool) -> None:
    """A device has another credential, and another kid: renewed for the same keys, or superseded by new ones."""
    for each in tx.groups.standings(dev_id):
        group = found(tx, each.gid)
        gone = [] if same_keys else [removal_of(tx, group, dev_id, Gone.SUPERSEDED, desk.now_ms())]
        changed(desk, tx, group, removals=gone)


def gateway_changed(desk: Desk, tx: Transaction, nm_id: bytes) -> None:
    """A manager has another credential: what it leads, it leads under that."""
    for group in tx.groups.led_by(nm_id):
        changed(desk, tx, group)


# ------------------------------------------------------------------ papers


def _with_papers(desk: Desk, tx: Transaction, group: Group, gateway: Seat, *, anew: bool) -> Group:
    edge = group.settings.mode == rules.EDGE
    entries = rules.ring_of(seats_of(tx, group.gid), gateway, edge=edge)
    if len(entries) < FEWEST:
        return replace(group, state=GroupState.PAUSED, formed=False)
    rolled = group.ra_kid not in (b"", desk.identity.credential.kid)
    anew = anew or rolled or group.state is GroupState.PAUSED
    group = _delegated(desk, tx, replace(group, state=GroupState.ACTIVE), gateway, anew=anew)
    held = read(group.roster, RosterClaims, sizes_of(group.suite)).claims if group.roster else None
    if not rules.must_sign(group, held, entries, anew=anew):
        return group
    ver = rules.next_version(group, anew=anew)
    claims = RosterClaims(group.gid, ver, entries, None, None)
    formed = group.formed and not anew
    return replace(group, roster=desk.identity.group_word(claims), roster_ver=ver, formed=formed)


def _delegated(desk: Desk, tx: Transaction, group: Group, gateway: Seat, *, anew: bool) -> Group:
    """Return the group with a delegation for this very credential of its gateway, under our key, that still lasts."""
    lasts = group.not_after >= rules.due_before(desk.now)
    if group.delegation and lasts and not anew and group.gw_kid == gateway.kid:
        return group
    not_after = rules.delegation_end(group, desk.now)
    most = 0 if group.settings.central else MOST
    claims = DelegationClaims(group.gid, gateway.kid, gateway.sig_pk, not_after, most)
    tx.groups.put_lead(Lead(group.gid, gateway.kid, gateway.dev_id, gateway.sig_pk, not_after))
    desk.note(tx, COORDINATOR, "group.delegate", group.gid, manager=gateway.dev_id, kid=gateway.kid, until=not_after)
    return replace(
        group,
        ra_kid=desk.identity.credential.kid,
        gw_kid=gateway.kid,
        delegation=desk.identity.group_word(claims),
        not_after=not_after,
    )


def _learn(tx: Transaction, group: Group, gateway: Seat) -> None:
    """Remember whose kids may stand on rosters from now on."""
    known = {kid.kid for kid in tx.groups.kids(group.gid)}
    seats = [*seats_of(tx, group.gid), *seats_of(tx, group.gid, allowed=True)]
    if group.settings.mode == rules.EDGE:
        seats.append(gateway)
    for seat in seats:
        if seat.kid not in known:
            known.add(seat.kid)
            tx.groups.put_kid(Kid(group.gid, seat.kid, seat.dev_id))
