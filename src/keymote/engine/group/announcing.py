"""How a gateway speaks: to everybody, to one member, and to the membership of its own node."""

from collections.abc import Sequence

from keymote.engine.base import MULTICAST, Output, Peer, Send, Tell
from keymote.engine.group.faces import HERE, FromRing, membership_of
from keymote.engine.group.ring_states import RingCell
from keymote.engine.group.rounds import Run
from keymote.wire.group import EDGE, Bundle


def announced(cell: RingCell, data: bytes) -> list[Output]:
    """Return what brings a message to everybody: one multicast, or a copy for each; in edge mode also to ourselves."""
    if cell.lasting.plan.multicast:
        outputs: list[Output] = [Send(MULTICAST, data)]
    else:
        kids = cell.lasting.held.kids
        outputs = [Send(cell.peers[kid], data) for kid in kids if cell.peers.get(kid, HERE) != HERE]
    return outputs + inside(cell, data)


def inside(cell: RingCell, data: bytes) -> list[Output]:
    """Return what hands a message to the membership of this node, in edge mode."""
    return [Tell(membership_of(cell.gid), FromRing(data))] if cell.lasting.plan.mode == EDGE else []


def to_member(cell: RingCell, peer: Peer, data: bytes) -> list[Output]:
    return inside(cell, data) if peer == HERE else [Send(peer, data)]


def handed_on(cell: RingCell, run: Run, datagrams: Sequence[bytes]) -> list[Output]:
    """Return what brings a whole round to members who do not hear each other; in multicast, to our own membership alone."""
    bundle = Bundle(run.sid8, tuple(datagrams)).encode()
    return inside(cell, bundle) if cell.lasting.plan.multicast else announced(cell, bundle)
