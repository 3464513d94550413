"""How a gateway serves JOINREQ and LEAVE (Triad-1 3.4; decision 0142)."""

from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.engine.base import Now, Peer
from keymote.engine.group.answering import answered
from keymote.engine.group.enlisting import RingStep, forgotten, readmitted, without
from keymote.engine.group.faces import JoinAsked, LeaveAsked
from keymote.engine.group.leading import located
from keymote.engine.group.pace import Pace
from keymote.engine.group.party import Party
from keymote.engine.group.ring_states import RingCell
from keymote.engine.group.starting import LEFT, renewed, wanted
from keymote.engine.group.timing import is_fresh
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.group import LEAVE, JoinClaims, Need, What
from keymote.wire.group_fields import Cause
from keymote.wire.group_signed import read

JOINED: Final = 2
JOIN_REPORT_S: Final = 10.0
"""Between two reports of one stranger who wants to join."""


def requested(
    cell: RingCell, peer: Peer, data: bytes, party: Party, pace: Pace, now: Now, entropy: Entropy
) -> RingStep:
    """Serve JOINREQ and LEAVE of somebody who has seen the newest START; show it to everybody else (GR-47 to GR-49)."""
    claimed = read(data, JoinClaims, sizes_of(party.signing.suite_id))
    claims, kid, lasting = claimed.claims, claimed.kid, cell.lasting
    if claims.gid != cell.gid:
        raise PeerFault(ErrorCode.E_STATE, "request for another group")
    if not is_fresh(claims.ts, party.wall(now)):
        raise PeerFault(ErrorCode.E_REPLAY, "timestamp of the request is off")
    entry = lasting.entry(kid)
    if entry is not None:
        claimed.verified_by(party.keys(lasting.charter.suite, entry.sig_pk))
        cell = located(cell, kid, peer)
    if claims.nonce != lasting.sid8:
        return answered(cell, peer, Need(cell.gid, What.ROSTER, 0), pace, now)
    if entry is None:
        if claims.wish == LEAVE or not pace.allows((cell.gid, kid), now.mono, JOIN_REPORT_S):
            return cell, ()
        return cell, [JoinAsked(cell.gid, kid, peer, data)]
    if claims.wish == LEAVE:
        return _leaving(cell, kid, party, pace, now, entropy)
    if lasting.held.position(kid) is None:
        back = readmitted(cell, entry, party, now)
        if back is None:
            return cell, [JoinAsked(cell.gid, kid, peer, data)]
        return renewed(back[0], back[1], JOINED, party, now, entropy)
    return wanted(cell, Cause(JOINED), party, now, entropy)


def _leaving(cell: RingCell, kid: bytes, party: Party, pace: Pace, now: Now, entropy: Entropy) -> RingStep:
    lasting = cell.lasting
    if lasting.held.position(kid) is None:
        return forgotten(cell, [kid]), [LeaveAsked(cell.gid, kid, granted=True)]
    left = without(cell, [kid], party, now)
    if left is None:
        if not pace.allows((cell.gid, kid), now.mono, JOIN_REPORT_S):
            return cell, ()
        return cell, [LeaveAsked(cell.gid, kid, granted=False)]
    report = LeaveAsked(cell.gid, kid, granted=True)
    return renewed(left[0], [report, *left[1]], LEFT, party, now, entropy)
