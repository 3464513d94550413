"""LINK: the lasting channel between a device and its registrar, or between two managers (Triad-1 1.7).

The record of a link holds its key, its epoch and how far sequence numbers are reserved in each direction. After a restart
sending goes on at the next block; what was received since the last reservation is unknown, so the first valid record that
falls there is refused and answered by a step of the link epoch, which both sides can follow (docs/decisions/0005).
"""

from collections.abc import Callable
from typing import Final

from keymote.cbor import uint
from keymote.crypto.entropy import Entropy
from keymote.crypto.suite import Suite
from keymote.engine.base import (
    CellKey,
    Due,
    Durability,
    Failed,
    Item,
    Kind,
    Now,
    Output,
    Peer,
    Received,
    Refused,
    Send,
    Tell,
    Told,
    replace,
)
from keymote.engine.base import Step as StepResult
from keymote.engine.faces import Announce, LinkSeen, Revive
from keymote.engine.link_cell import (
    ANNOUNCED_DAILY_S,
    BLOCK,
    Announced,
    LinkCell,
    Standing,
    Window,
    fresh,
    lids,
)
from keymote.engine.link_epochs import afresh, former_epoch, jumped, moved_to, rolled, stepped
from keymote.engine.link_faces import OWN_LINK, Cut, Forward, Install, LinkBody, SealBody, StepEpoch
from keymote.engine.link_keys import EpochKeys, LinkEnd
from keymote.engine.link_record import load, record_of, same_record
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.enrolment import Error
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Link
from keymote.wire.registry import peek

MAX_RECORDS: Final = 1 << 20
MAX_AGE_S: Final = 86400.0
UNANSWERED: Final = 4
"""Bodies sent most recently, sealed anew when the epoch steps."""
UNANSWERED_S: Final = 15.0
_NO_POINTS: Final = sizes_of(1)
"""Neither LINK nor ERROR has a field whose length depends on the suite."""
_EMPTY: Final = Error(Link.mt, ErrorCode.E_REPLAY).encode()
"""A body that says nothing: its record shows the epoch of its sender, and that it is there."""
_ANNOUNCEMENT: Final = Error(Link.mt, ErrorCode.E_TIMEOUT).encode()
"""A body that says: I have heard nothing of you, here I am."""


Dispatch = Callable[[bytes, bytes, int, bytes], CellKey]
"""`(link id, peer_id, mt, body) -> cell` that must see a body of this type; PeerFault refuses the body."""


def link_kind(suites: Callable[[int], Suite], dispatch: Dispatch, generation: int = 0) -> Kind:
    """Return the kind `link`. `generation` counts how often this node was restored from a backup."""

    def step(cell: LinkCell | None, item: Item, now: Now, _entropy: Entropy) -> StepResult:
        match item:
            case Received(peer, data):
                if cell is None:
                    raise PeerFault(ErrorCode.E_UNKNOWN_ID, "no link has this pseudonym")
                return _receive(cell, peer, Link.decode(data, _NO_POINTS), now, dispatch)
            case Told(SealBody(body)):
                if cell is None:
                    return None, [Refused("", ErrorCode.E_UNKNOWN_ID, "no link to this peer")]
                return _seal(cell, body, now)
            case Revive() if cell is not None:
                return (jumped(cell, now) if cell.standing.doubtful else cell), ()
            case Announce():
                return (None, ()) if cell is None else _announced(afresh(cell, now), Announced(now.mono))
            case Due() if cell is not None:
                return _due(cell, now)
            case Told(Install() as command):
                return _installed(command, suites(command.suite), now), ()
            case Told(Cut()):
                return None, ()
            case Told(StepEpoch()) if cell is not None:
                return stepped(cell, now), ()
            case Told(Forward(data)) if cell is not None:
                return cell, [Send(cell.peer, data)]
            case Failed():
                return cell, ()
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not for a link")

    return Kind(
        "link",
        Durability.DURABLE,
        step,
        record=lambda cell: record_of(cell, generation),
        load=lambda cell_id, record: load(cell_id, record, suites, generation),
        aliases=lambda cell: lids(cell) + ((previous.lid,) if (previous := cell.standing.previous) else ()),
        stored_aliases=lids,
        deadline=_announced_until,
        same_record=same_record,
    )


def _installed(command: Install, suite: Suite, now: Now) -> LinkCell:
    end = LinkEnd(command.id, command.peer_id, command.field_id, command.own_part, suite)
    keys = end.epoch(command.key, 0)
    announced = Announced(now.mono, ANNOUNCED_DAILY_S) if end.key == OWN_LINK else None
    return fresh(end, Standing(keys, end.after(keys), (), now.mono, announced=announced), command.peer)


def _seal(cell: LinkCell, body: bytes, now: Now) -> StepResult:
    standing = cell.standing
    aged = standing.stepped_at is not None and now.mono - standing.stepped_at > MAX_AGE_S and not standing.trail
    if standing.doubtful:
        cell = jumped(cell, now)
    elif aged or cell.tx_next >= MAX_RECORDS:
        cell = stepped(cell, now)
    recent = (*cell.unanswered[1 - UNANSWERED :], (now.mono, body))
    cell, record = _sealed(cell, body, recent)
    return cell, [Send(cell.peer, record)]


def _announced(cell: LinkCell, announced: Announced) -> StepResult:
    """Say where we are: an empty record, which the other end answers by another (LK-13)."""
    cell, record = _sealed(cell, _ANNOUNCEMENT, cell.unanswered)
    return replace(cell, standing=replace(cell.standing, announced=announced)), [Send(cell.peer, record)]


def _announced_until(cell: LinkCell) -> float | None:
    announced = cell.standing.announced
    return None if announced is None else announced.said_at + announced.pause_s


def _due(cell: LinkCell, now: Now) -> StepResult:
    announced = cell.standing.announced
    if announced is None or now.mono < announced.said_at + announced.pause_s:
        return cell, ()
    return _announced(cell, announced.again(now))


def _sealed(cell: LinkCell, body: bytes, unanswered: tuple[tuple[float, bytes], ...]) -> tuple[LinkCell, bytes]:
    """Return the record with the next sequence number; the number is reserved by the record of the cell (LK-05)."""
    end, keys, seq = cell.end, cell.standing.keys, cell.tx_next
    ct = end.suite.seal_record(keys.send, seq, keys.send_aad + uint(seq), body)
    reserved = cell.tx_reserved if seq < cell.tx_reserved else seq + BLOCK
    sealed = LinkCell(end, cell.standing, seq + 1, reserved, cell.window, cell.rx_reserved, cell.peer, unanswered)
    return sealed, Link(keys.lid, keys.le, seq, ct).encode()


def _receive(cell: LinkCell, peer: Peer, record: Link, now: Now, dispatch: Dispatch) -> StepResult:
    standing = cell.standing
    keys, previous = standing.keys, standing.previous
    former = former_epoch(cell, record)
    if former is not None:
        _opened(cell, former, record)
        return _called_forward(jumped(cell, now, heard=former), peer)
    if record.lid == keys.lid and record.le == keys.le:
        if not (standing.resumed and record.seq < cell.rx_reserved):
            _refuse_repetition(cell.window, record)
            return _accept(cell, peer, record.seq, _opened(cell, keys, record), dispatch)
        _opened(cell, keys, record)
        return _called_forward(stepped(cell, now), peer)
    if previous is not None and record.lid == previous.lid and now.mono <= standing.previous_until:
        _refuse_repetition(standing.previous_window, record)
        body = _opened(cell, previous, record)
        window = standing.previous_window.with_seq(record.seq)
        return _delivered(replace(cell, standing=replace(standing, previous_window=window)), peer, body, dispatch)
    for left in standing.trail:
        if record.lid == left.lid and record.le == left.le:
            _opened(cell, left, record)
            return _called_forward(cell, peer)
    keys = rolled(cell, record)
    body = _opened(cell, keys, record)
    followed, resent = _reseal(moved_to(cell, keys, now, trail=()), peer, now)
    cell, outputs = _accept(followed, peer, record.seq, body, dispatch)
    return cell, [*outputs, *resent]


def _refuse_repetition(window: Window, record: Link) -> None:
    if not window.accepts(record.seq):
        raise PeerFault(ErrorCode.E_REPLAY, f"link record {record.seq} was accepted before or is too old")


def _called_forward(cell: LinkCell, peer: Peer) -> StepResult:
    """Refuse a genuine record that may be a repetition, and show the peer the epoch in which it can say it again."""
    answered, reply = _sealed(cell, _EMPTY, cell.unanswered)
    refused = Refused(peer, ErrorCode.E_REPLAY, "record from before a restart; answered under the next link epoch")
    return replace(answered, peer=peer), [Send(peer, reply), refused]


def _opened(cell: LinkCell, keys: EpochKeys, record: Link) -> bytes:
    return cell.end.suite.open_record(keys.receive, record.seq, keys.receive_aad + uint(record.seq), record.ct)


def _accept(cell: LinkCell, peer: Peer, seq: int, body: bytes, dispatch: Dispatch) -> tuple[LinkCell, list[Output]]:
    """Take the body of record `seq` of the present epoch in: the peer is there now."""
    standing = cell.standing
    announced = standing.announced
    if standing.trail or standing.beyond or (announced is not None and announced.pause_s < ANNOUNCED_DAILY_S):
        answered = None if announced is None else announced.answered
        standing = replace(standing, trail=(), beyond=(), announced=answered)
    window = cell.window.with_seq(seq)
    reserved = cell.rx_reserved if seq < cell.rx_reserved else (seq // BLOCK + 1) * BLOCK
    accepted = LinkCell(
        cell.end, standing, cell.tx_next, cell.tx_reserved, window, reserved, cell.peer, cell.unanswered
    )
    return _delivered(accepted, peer, body, dispatch)


def _delivered(cell: LinkCell, peer: Peer, body: bytes, dispatch: Dispatch) -> tuple[LinkCell, list[Output]]:
    outputs: list[Output] = []
    end = cell.end
    if peer != cell.peer:
        cell = replace(cell, peer=peer)
        outputs.append(LinkSeen(end.peer_id, peer))
    mt, _ = peek(body)
    if mt == Error.mt and (error := Error.decode(body, _NO_POINTS)).offending == Link.mt:
        if error.code == ErrorCode.E_TIMEOUT:
            cell, reply = _sealed(cell, _EMPTY, cell.unanswered)
            outputs.append(Send(peer, reply))
        return cell, outputs
    target = dispatch(end.id, end.peer_id, mt, body)
    outputs.append(Tell(target, LinkBody(end.key, end.peer_id, peer, body)))
    return cell, outputs


def _reseal(cell: LinkCell, peer: Peer, now: Now) -> tuple[LinkCell, list[Send]]:
    """Send again, under the new epoch and to where the peer is now, what it may have refused under the old one (LK-09)."""
    sends: list[Send] = []
    for sent_at, body in cell.unanswered:
        if sent_at > now.mono - UNANSWERED_S:
            cell, record = _sealed(cell, body, cell.unanswered)
            sends.append(Send(peer, record))
    return cell, sends
