"""What a membership tells the root group above its ring, and carries for it (Triad-1 3.7). Nothing where there is none."""

from keymote.crypto.secret import Secret
from keymote.engine.base import Output, Tell
from keymote.engine.group.faces import FromRing
from keymote.engine.group.party import Party
from keymote.engine.group.root_faces import (
    EAsked,
    KcvAsked,
    RingKeyed,
    RingLost,
    RingStale,
    WrapAsked,
    root_of,
)
from keymote.engine.group.root_key import kcv_of, root_key
from keymote.engine.group.rounds import Run
from keymote.engine.group.states import MembershipCell
from keymote.wire.group import Need, Round3, Round3Claims, What
from keymote.wire.group_fields import Entry
from keymote.wire.group_signed import write


def provisioned(cell: MembershipCell) -> list[Output]:
    """Ask for the newest e where R3 will name the kcv of the next one."""
    above = cell.lasting.place.above
    return _told(cell, EAsked(cell.gid)) if above is not None and above.top else []


def keyed(cell: MembershipCell) -> list[Output]:
    """Tell of the key that this ring is active under."""
    active, held, above = cell.lasting.active, cell.lasting.held, cell.lasting.place.above
    if active is None or held is None or above is None or active.group.own is None:
        return []
    delegate, deputy = (_entry(held.entries, idx) for idx in (held.delegate_idx, held.deputy_idx))
    kids = tuple(kid for kid, _ in active.group.senders)
    key = RingKeyed(cell.gid, active.sid, active.group.key, active.group.own, kids, delegate, deputy, above.top)
    stale: list[Output] = _told(cell, RingStale(cell.gid)) if kids != held.kids else []
    return [*_told(cell, key), *stale]


def resumed(cell: MembershipCell) -> list[Output]:
    return [*provisioned(cell), *keyed(cell)]


def outdated(cell: MembershipCell) -> list[Output]:
    """Tell that a newer roster is held than that of the key."""
    return _told(cell, RingStale(cell.gid))


def lost(cell: MembershipCell) -> list[Output]:
    """Tell that this node does not belong to the ring any more."""
    return _told(cell, RingLost(cell.gid))


def received(cell: MembershipCell, data: bytes) -> list[Output]:
    """Hand on a ROOT or WRAP that came inside the node."""
    return _told(cell, FromRing(data))


def asked(cell: MembershipCell, wanted: Need) -> list[Output] | None:
    """Return what hands a NEED to the root group; None for one that is for the ring."""
    active, above = cell.lasting.active, cell.lasting.place.above
    if above is None or active is None or wanted.of != active.sid8:
        return None
    match wanted.what:
        case What.WRAP:
            return _told(cell, WrapAsked(wanted.of))
        case What.R3 if above.top and cell.phase is None and active.group.own in wanted.indices:
            return _told(cell, KcvAsked(wanted.of))
    return None


def round3(cell: MembershipCell, run: Run, idx: int, mk: Secret, tag: bytes, party: Party) -> bytes:
    """Return R3; in a top ring it is signed and names the kcv of the root key that this run makes (CL-01)."""
    above = cell.lasting.place.above
    if above is None or not above.top:
        return Round3(run.sid8, idx, tag).encode()
    kcv = kcv_of(root_key(mk, above.gid_root, cell.root_e + 1))
    return write(party.signing, Round3Claims(run.sid8, idx, tag, kcv), run.sid)


def _told(cell: MembershipCell, word: object) -> list[Output]:
    above = cell.lasting.place.above
    return [] if above is None else [Tell(root_of(above.gid_root), word)]


def _entry(entries: tuple[Entry, ...], idx: int | None) -> Entry | None:
    return None if idx is None else entries[idx]
