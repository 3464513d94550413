"""A manager carries what two devices say to each other where they cannot reach each other (Triad-1 2.6)."""

from typing import Final

from keymote.engine.base import CellKey, Peer, Step, Tell, replace
from keymote.engine.link_faces import Forward
from keymote.engine.pairwise.register import Register
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.pairwise import (
    Auth1,
    Auth2,
    Close,
    Edhoc1,
    Edhoc2,
    Edhoc3,
    Edhoc4,
    Fin1,
    Fin2,
    Keyreq,
    Keyresp,
    Srec,
)
from keymote.wire.registry import peek

_TO_R: Final = frozenset({Auth1.mt, Keyreq.mt, Edhoc1.mt, Edhoc3.mt, Fin1.mt})
_TO_I: Final = frozenset({Auth2.mt, Keyresp.mt, Edhoc2.mt, Edhoc4.mt, Fin2.mt})
RELAYED: Final = _TO_R | _TO_I | {Close.mt, Srec.mt}


def relayed(cell: Register, peer: Peer, data: bytes) -> Step:
    """Carry a message between the devices when they cannot reach each other; it is protected end to end."""
    mt, _ = peek(data)
    heard_I, heard_R = cell.seen
    seen: tuple[Peer | None, Peer | None]
    if mt in _TO_R or (mt not in _TO_I and peer == heard_I):
        target, seen = cell.R, (peer, heard_R)
    elif mt in _TO_I or peer == heard_R:
        target, seen = cell.I, (heard_I, peer)
    else:
        raise PeerFault(ErrorCode.E_STATE, "nobody here has called from this address")
    link: CellKey | None = target.link if target.own else cell.via
    if link is None:
        raise PeerFault(ErrorCode.E_STATE, "the session has no way to the peer")
    return replace(cell, seen=seen), [Tell(link, Forward(data))]
