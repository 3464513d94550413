"""Who belongs to a ring: rosters that the gateway signs under its delegation, and how they reach the members (3.3, 3.4)."""

from collections.abc import Iterable, Sequence

from keymote.engine.base import Now, Output, Send, replace
from keymote.engine.group.announcing import announced, inside
from keymote.engine.group.charter import Held, merged
from keymote.engine.group.faces import HERE, RosterIssued
from keymote.engine.group.party import Party
from keymote.engine.group.ring_states import Issued, RingCell, most_absent
from keymote.errors import PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.group import EDGE, FEWEST, Roster, RosterDelta
from keymote.wire.group_fields import Entry
from keymote.wire.group_signed import write

RingStep = tuple[RingCell, Sequence[Output]]


def without(cell: RingCell, kids: Iterable[bytes], party: Party, now: Now) -> RingStep | None:
    """Return the cell and messages after signing a roster without these; None where this gateway may not, or too few stay."""
    left = cell.lasting.held.without(kids)
    gw_stays = cell.lasting.plan.mode != EDGE or any(entry.kid == cell.lasting.charter.gw_kid for entry in left)
    if len(left) < FEWEST or not gw_stays or not cell.lasting.charter.may_enlist(len(left), party.wall(now)):
        return None
    return enlisted(cell, left, party)


def enlisted(cell: RingCell, entries: tuple[Entry, ...], party: Party, leap: int = 0) -> RingStep:
    """Sign the next roster, whole and as a delta, and bring it to the members: the delta to those who have the base.

    With a `leap` its version, and the next epoch, lie so much further above what is known here.
    """
    lasting = cell.lasting
    old = lasting.held
    delegate, deputy = _offices(old, entries)
    new = Held(old.gid, old.ver + 1 + leap, entries, delegate, deputy)
    whole = write(party.signing, new.claims(), kid=lasting.charter.gw_kid)
    added = tuple(entry for entry in entries if entry not in old.entries)
    removed = tuple(kid for kid in old.kids if new.position(kid) is None)
    delta = write(
        party.signing,
        RosterDelta(old.gid, new.ver, old.ver, added, removed, delegate, deputy),
        kid=lasting.charter.gw_kid,
    )
    cell, outputs = with_roster(cell, new, whole, delta, party)
    if leap:
        anew = replace(cell.lasting, start=b"", commit=b"", after_epoch=lasting.number[0] + leap)
        cell = replace(cell, lasting=anew, intended=None)
    return cell, [*outputs, RosterIssued(cell.gid, new.ver, whole)]


def _offices(old: Held, entries: tuple[Entry, ...]) -> tuple[int | None, int | None]:
    """Return the positions of delegate and deputy on the next roster, where there are such offices (CL-15).

    A deputy takes the place of a delegate who left, and the first of the others that of the deputy.
    """
    kids = [entry.kid for entry in entries]
    named = [None if idx is None else old.entries[idx].kid for idx in (old.delegate_idx, old.deputy_idx)]
    places = [kids.index(kid) for kid in named if kid is not None and kid in kids]
    if any(kid is not None for kid in named):
        places += [at for at in range(len(kids)) if at not in places][: 2 - len(places)]
    return (places[0] if places else None), (places[1] if len(places) > 1 else None)


def with_roster(cell: RingCell, new: Held, whole: bytes, delta: bytes, party: Party) -> RingStep:
    """Hold another roster and bring it to the members: the delta to those who have the base, the whole one to newcomers.

    Whoever was absent and is on it again is not absent.
    """
    lasting, old = cell.lasting, cell.lasting.held
    envelope = Roster.decode(whole, sizes_of(party.signing.suite_id)).envelope
    absent = tuple(entry for entry in lasting.absent if new.position(entry.kid) is None)
    lasting = replace(lasting, held=new, issued=Issued(envelope.kid or b"", envelope.signature), absent=absent)
    lasting = replace(lasting, absent=most_absent(lasting))
    cell = replace(cell, lasting=lasting)
    everything = [message for message in (lasting.delegation_message, whole) if message]
    newcomers = [kid for kid in new.kids if old.position(kid) is None]
    if lasting.plan.multicast:
        shown = [o for kid in newcomers if delta for o in _to_kid(cell, kid, everything)]
        return cell, [*shown, *announced(cell, delta or whole)]
    outputs: list[Output] = []
    for kid in dict.fromkeys((*old.kids, *new.kids)):
        outputs += _to_kid(cell, kid, [delta] if delta and kid not in newcomers else everything)
    return cell, [*outputs, *inside(cell, delta or whole)]


def forgotten(cell: RingCell, kids: Iterable[bytes]) -> RingCell:
    """Return the cell that waits for none of these any more: who was removed does not come back as one who was absent (GR-53)."""
    gone = frozenset(kids)
    absent = tuple(entry for entry in cell.lasting.absent if entry.kid not in gone)
    return cell if absent == cell.lasting.absent else replace(cell, lasting=replace(cell.lasting, absent=absent))


def _to_kid(cell: RingCell, kid: bytes, messages: Sequence[bytes]) -> list[Output]:
    """Return what brings messages to one member, if it is known where it listens and that is not here."""
    peer = cell.peers.get(kid, HERE)
    return [] if peer == HERE else [Send(peer, message) for message in messages]


def readmitted(cell: RingCell, entry: Entry, party: Party, now: Now) -> RingStep | None:
    """Return the cell and messages after putting an absent member back on the roster; None where this gateway may not."""
    try:
        entries = merged(cell.lasting.held.entries, [entry])
    except PeerFault:
        return None
    if not cell.lasting.charter.may_enlist(len(entries), party.wall(now)):
        return None
    return enlisted(cell, entries, party)
