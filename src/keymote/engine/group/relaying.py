"""A gateway hands records on to members who do not hear each other; it cannot read them (Triad-1 3.8, decision 0166)."""

from collections import OrderedDict
from typing import Final

from keymote.engine.base import Now, Output, Peer, Send
from keymote.engine.group.announcing import inside
from keymote.engine.group.faces import HERE
from keymote.engine.group.payload_faces import RecordPassed
from keymote.engine.group.ring_states import RingCell
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.group_record import read

RECORDS_PER_S: Final = 32
"""Records of one address that are handed on in a second: each becomes up to 31."""
MOST_ADDRESSES: Final = 1024


class Allowance:
    """How many records each address has had handed on in the second that began with the first of them: bounded."""

    __slots__ = ("_spent",)

    def __init__(self) -> None:
        self._spent: OrderedDict[tuple[bytes, Peer], tuple[float, int]] = OrderedDict()

    def allows(self, gid: bytes, peer: Peer, now: float) -> bool:
        """Count one record; return whether it may be handed on (GF-03)."""
        since, count = self._spent.pop((gid, peer), (now, 0))
        if not since <= now < since + 1.0:
            since, count = now, 0
        self._spent[gid, peer] = since, min(count + 1, RECORDS_PER_S + 1)
        if len(self._spent) > MOST_ADDRESSES:
            self._spent.popitem(last=False)
        return count < RECORDS_PER_S


def relayed(cell: RingCell, peer: Peer, data: bytes, allowance: Allowance, now: Now) -> list[Output]:
    """Return what brings a member's record to all others (GF-02).

    By multicast they have heard it; then it is for our own membership alone, as in unicast in edge mode. The application hears
    of every record of a member within its rate, by either way.

    Raises:
        PeerFault: E_UNKNOWN_ID for an address that no member spoke from, E_LIMIT above its rate: nothing is handed on.
    """
    carried = read(data)
    ours: list[Output] = inside(cell, data) if peer != HERE else []
    members = {kid: cell.peers[kid] for kid in cell.lasting.held.kids if kid in cell.peers}
    sender = next((kid for kid, member in members.items() if member == peer), None)
    if sender is None and peer != HERE and not cell.lasting.plan.multicast:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, "a record from an address that no member spoke from")
    if not allowance.allows(cell.gid, peer, now.mono):
        if cell.lasting.plan.multicast:
            return ours
        raise PeerFault(ErrorCode.E_LIMIT, f"more than {RECORDS_PER_S} records in a second from one member")
    if sender is not None:
        ours.append(RecordPassed(cell.gid, sender, carried.resource, carried.record))
    if cell.lasting.plan.multicast:
        return ours
    return [*ours, *(Send(member, data) for member in sorted({*members.values()} - {peer, HERE}))]
