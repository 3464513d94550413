"""What a visited broker keeps of a client, and its record on disk."""

from dataclasses import dataclass
from typing import Any, Final

from keymote import cbor
from keymote.crypto.secret import Secret
from keymote.engine.base import Peer
from keymote.wire.fields import sizes_of
from keymote.wire.handover import HoPub
from keymote.wire.topic import HoReq, Right

_LARGE: Final = 2048
_SIZES: Final = sizes_of(1)


@dataclass(frozen=True, slots=True)
class Run:
    """HO_PULL is out for this request, which nobody has authenticated yet."""

    ref: int
    peer: Peer
    request: HoReq
    nV: bytes
    pull: bytes
    until: float


@dataclass(frozen=True, slots=True)
class Stay:
    """Served under K_v until `expires` (UTC seconds). `leaving`: the broker that the session goes to, None while it stays here."""

    request: HoReq
    nV: bytes
    K_v: Secret
    rights: tuple[Right, ...]
    expires: int
    origin: bytes
    leaving: bytes | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """An account is being opened; then HO_ACK goes to `peer`."""

    ref: int
    peer: Peer


@dataclass(frozen=True, slots=True)
class VisitCell:
    """`stay` is durable; the rest is lost at a reboot, and the client asks again. `buffered`: readings, by where they came from."""

    stay: Stay | None = None
    runs: tuple[Run, ...] = ()
    waiting: Waiting | None = None
    buffered: tuple[tuple[Peer, HoPub], ...] = ()
    drop_at: float = 0.0
    asked: int = 0


def record(cell: VisitCell) -> bytes | None:
    """Return what is on disk of a client; None while it is not served."""
    stay = cell.stay
    if stay is None:
        return None
    rights = [list(right) for right in stay.rights]
    leaving = [] if stay.leaving is None else [stay.leaving]
    fields = [stay.request.encode(), stay.nV, stay.K_v.expose(), rights, stay.expires, stay.origin, leaving]
    return cbor.encode(fields)


def load(_client_id: bytes, data: bytes) -> VisitCell:
    """Return the cell of a record."""
    fields: Any = cbor.decode_array(data, max_size=_LARGE)
    request, nV, K_v, rights, expires, origin, leaving = fields
    held = tuple(Right(*right) for right in rights)
    went = leaving[0] if leaving else None
    return VisitCell(Stay(HoReq.decode(request, _SIZES), nV, Secret(K_v), held, expires, origin, went))
