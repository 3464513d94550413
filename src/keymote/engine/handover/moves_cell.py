"""The kind `moves`, at a trusted system: where the clients of one broker went, as its agent tells; the last of them are kept.

Durable: a move is noted when it is on disk. Nothing else depends on it (Triad-1 4.6: audit only).
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.engine.base import (
    Answer,
    Ask,
    CellKey,
    Command,
    Durability,
    Item,
    Kind,
    Now,
    Peer,
    Received,
    Refused,
    Report,
    Send,
    Step,
    replace,
)
from keymote.engine.handover.reporting import note, open_move
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.handover import HoMoved, MoveBody

MOST_MOVES: Final = 48
"""Moves that are kept of each broker."""
MOST_ASKING: Final = 32
_SIZES: Final = sizes_of(1)


def moves_of(broker_id: bytes) -> CellKey:
    """Return the key of what a broker's agent tells."""
    return CellKey("moves", broker_id)


@dataclass(frozen=True, slots=True)
class ForgetMoves(Command):
    """The broker is none of ours any more, and so are its clients' moves."""


class SharedWith(NamedTuple):
    """What do we share with this broker? To be answered by a `Secret`, or None: it is none of ours."""

    broker_id: bytes


@dataclass(frozen=True, slots=True)
class ClientMoved(Report):
    """A broker's agent says that a client of its own went from `origin` to `to`."""

    home: bytes
    move: MoveBody


class Asking(NamedTuple):
    """HO_MOVED of somebody, until it is known what we share with whom it names."""

    ref: int
    peer: Peer
    data: bytes


@dataclass(frozen=True, slots=True)
class MovesCell:
    """`moves`, oldest first, are durable."""

    moves: tuple[MoveBody, ...] = ()
    asked: int = 0
    asking: tuple[Asking, ...] = ()


def moves_kind() -> Kind:
    """Return the kind `moves`."""
    return Kind("moves", Durability.DURABLE, _step, record=_record, load=_load)


def _step(cell: MovesCell | None, item: Item, _now: Now, _entropy: Entropy) -> Step:
    cell = cell or MovesCell()
    match item:
        case Received(peer, data):
            if len(cell.asking) >= MOST_ASKING:
                raise PeerFault(ErrorCode.E_BUSY, "too much is asked for this broker")
            ref = cell.asked + 1
            broker_id = HoMoved.decode(data, _SIZES).broker_id
            asking = (*cell.asking, Asking(ref, peer, data))
            return replace(cell, asked=ref, asking=asking), [Ask(ref, SharedWith(broker_id))]
        case ForgetMoves():
            return None, ()
        case Answer(ref, result):
            return _answered(cell, ref, result)
        case _:
            raise PeerFault(ErrorCode.E_STATE, "not for what a broker's agent tells")


def _answered(cell: MovesCell, ref: int, shared: object) -> Step:
    asking = next((each for each in cell.asking if each.ref == ref), None)
    if asking is None:
        return cell, ()
    rest = replace(cell, asking=tuple(each for each in cell.asking if each is not asking))
    left = rest if rest.moves or rest.asking else None
    if not isinstance(shared, Secret):
        return left, [Refused(asking.peer, ErrorCode.E_UNKNOWN_ID, "HO_MOVED of a broker that is none of ours")]
    try:
        move = open_move(shared, asking.data)
    except PeerFault as fault:
        return left, [Refused(asking.peer, fault.code, fault.what)]
    noted = Send(asking.peer, note(shared, asking.data, move))
    if move in cell.moves:
        return rest, [noted]
    home = HoMoved.decode(asking.data, _SIZES).broker_id
    return replace(rest, moves=(*rest.moves, move)[-MOST_MOVES:]), [noted, ClientMoved(home, move)]


def _record(cell: MovesCell) -> bytes | None:
    if not cell.moves:
        return None
    return cbor.encode([[move.client_id, move.origin, move.to, move.ho_ctr, move.at] for move in cell.moves])


def _load(_broker_id: bytes, data: bytes) -> MovesCell:
    kept: Any = cbor.decode_array(data, max_size=4096)
    return MovesCell(tuple(MoveBody(*fields) for fields in kept))
