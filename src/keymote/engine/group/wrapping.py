"""WRAP: who makes it, for whom, and what one that arrives is worth (Triad-1 3.7, ATTACKS B-17 to B-19)."""

from typing import Final, NamedTuple

from keymote.crypto.secret import Secret, equal
from keymote.crypto.suite import Suite
from keymote.engine.base import Output, Tell, replace
from keymote.engine.group.charter import spoken_by
from keymote.engine.group.faces import membership_of
from keymote.engine.group.party import Party
from keymote.engine.group.root_faces import Convey
from keymote.engine.group.root_key import kcv_of, unwrapped, wrapped
from keymote.engine.group.root_states import RootCell, RootLasting, Seat
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.group import FRESH, WrapClaims
from keymote.wire.group_fields import Entry
from keymote.wire.group_signed import read, write

DEPUTY_WAITS_S: Final = 30.0
"""From ROOT until the deputy wraps in the delegate's place, and until a missing WRAP is reported (Triad-1 3.7)."""
DEPUTY_ANSWERS_S: Final = 2.0
"""From a question for the root key until the deputy answers it, unless the delegate has."""


def holds(office: Entry | None, lasting: RootLasting) -> bool:
    """Return whether this member holds an office of a ring."""
    return office is not None and office.kid == lasting.kid


def is_due(seat: Seat, e: int) -> bool:
    """Return whether the key of `e` may be wrapped for this ring as it is (CL-13, CL-14).

    Not under a key whose ring has another roster by now, and not for newcomers who came when `e` was in use already.
    """
    return not seat.stale and e > seat.since


def lacks(seat: Seat, lasting: RootLasting, before: int) -> bool:
    """Return whether somebody in the ring cannot have the newest root key: all after a fresh one, newcomers after a step.

    `before` is the e that was the newest until now; who came into the ring under it has no older root key.
    """
    if seat.ring.top or seat.ring.delegate is None:
        return False
    return lasting.mode == FRESH or seat.stale or seat.since >= before


def seal(cell: RootCell, seat: Seat, party: Party) -> tuple[RootCell, list[Output]]:
    """Send the root key to a ring: the ciphertext that delegate and deputy make alike."""
    ring, rk = seat.ring, cell.lasting.key
    cell = cell.with_seat(replace(seat, wrapped=cell.lasting.e, due=None))
    if rk is None:
        return cell, []
    ct = wrapped(party.suite, ring.mk, ring.sid, cell.gid, rk.e, rk.key)
    claims = WrapClaims(seat.sid8, cell.gid, rk.e, ct)
    data = write(party.signing, claims, ring.sid, kid=cell.lasting.kid)
    return cell, [Tell(membership_of(ring.gid), Convey(data, everybody=True))]


class HeardWrap(NamedTuple):
    """A WRAP that the delegate or deputy `kid` of the ring at `seat` has signed."""

    seat: Seat
    kid: bytes
    claims: WrapClaims

    def key(self, lasting: RootLasting, suite: Suite) -> Secret:
        """Return the root key in it; E_AUTH if it does not open, E_CONFIRM if it is not that of ROOT (B-19)."""
        ring, c = self.seat.ring, self.claims
        rk = unwrapped(suite, ring.mk, ring.sid, c.gid_root, c.e, lasting.kcv, c.ct)
        if not equal(kcv_of(rk), lasting.kcv):
            raise PeerFault(ErrorCode.E_CONFIRM, "a WRAP of another root key than ROOT announced")
        return rk


def opened(cell: RootCell, data: bytes, party: Party) -> HeardWrap:
    """Return a WRAP after checking who signed it; E_ROSTER for anybody but the delegate and the deputy of its ring (CL-06)."""
    claimed = read(data, WrapClaims, sizes_of(cell.lasting.charter.suite))
    seat = cell.seat_of(claimed.claims.sid8)
    if seat is None or claimed.claims.gid_root != cell.gid:
        raise PeerFault(ErrorCode.E_STATE, "WRAP of another ring or root group")
    office = next((each for each in (seat.ring.delegate, seat.ring.deputy) if each and each.kid == claimed.kid), None)
    if office is None:
        raise PeerFault(ErrorCode.E_ROSTER, "WRAP by neither delegate nor deputy")
    claims = spoken_by(claimed, office.kid, party.keys(cell.lasting.charter.suite, office.sig_pk), seat.ring.sid)
    return HeardWrap(seat, office.kid, claims)
