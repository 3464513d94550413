"""LINK: the lasting channel between a device and its registrar, or between two managers (Triad-1 1.7).

The record of a link holds its key, its epoch and how far sequence numbers are reserved in each direction. After a restart
sending goes on at the next block; what was received since the last reservation is unknown, so the first valid record that
falls there is refused and answered by a step of the link epoch, which both sides can follow (docs/decisions/0005).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import expand, lexp
from keymote.crypto.secret import Secret
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
)
from keymote.engine.base import Step as StepResult
from keymote.engine.faces import LinkSeen
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.enrolment import Error
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Link
from keymote.wire.registry import peek

BLOCK: Final = 64
"""Sequence numbers that one write reserves."""
WINDOW: Final = 32
MAX_RECORDS: Final = 1 << 20
MAX_AGE_S: Final = 86400.0
OLD_KEY_S: Final = 60.0
JUMP: Final = 64
"""Epochs that a link restored from a backup leaves out: more than can have passed since (one a day, or a restart each)."""
UNANSWERED: Final = 4
"""Bodies sent most recently, sealed anew when the epoch steps."""
UNANSWERED_S: Final = 15.0


# ------------------------------------------------------------------ commands and what cells hear from a link


@dataclass(frozen=True, slots=True)
class Install:
    """Start the link `id` with this key. `own_part` 0: this end sends D->N. `field_id` stands in the associated data."""

    id: bytes
    peer_id: bytes
    field_id: bytes
    own_part: int
    suite: int
    key: Secret
    peer: Peer


@dataclass(frozen=True, slots=True)
class SealBody:
    """Send `body` as the next record."""

    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Forward:
    """Send bytes that are protected end to end to where this link's peer was last seen."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StepEpoch:
    """Ratchet the key forward now."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Forget the link: the peer is revoked or enrols anew."""


@dataclass(frozen=True, slots=True)
class LinkBody:
    """A verified body: link `link` says that `peer_id` sent it from `peer`."""

    link: CellKey
    peer_id: bytes
    peer: Peer
    body: bytes = field(repr=False)


OWN_LINK: Final = CellKey("link", b"")
"""The link of a device, or of a manager as a newcomer, to its registrar."""


def link_to_device(dev_id: bytes) -> CellKey:
    """Return the key of a registrar's link to somebody who enrolled there."""
    return CellKey("link", dev_id)


def link_to_manager(nm_id: bytes, *, started_here: bool) -> CellKey:
    """Return the key of a link between managers; each of the two may have started one."""
    return CellKey("link", nm_id + (b"I" if started_here else b"R"))


Dispatch = Callable[[bytes, bytes, int, bytes], CellKey]
"""`(link id, peer_id, mt, body) -> cell` that must see a body of this type; PeerFault refuses the body."""


@dataclass(frozen=True, slots=True)
class EpochKeys:
    """One epoch of a link: K_link(le), and what follows from it."""

    le: int
    K_link: Secret
    lid: bytes
    send: Secret
    receive: Secret

    @classmethod
    def derive(cls, K_link: Secret, le: int, field_id: bytes, own_part: int) -> "EpochKeys":
        ctx = cbor.encode_array(field_id, le)
        towards_n = lexp(K_link, "A/lnk-D", ctx)
        towards_d = lexp(K_link, "A/lnk-N", ctx)
        send, receive = (towards_n, towards_d) if own_part == 0 else (towards_d, towards_n)
        return cls(le, K_link, expand(K_link, "A/lid", cbor.encode_array(le), 8), send, receive)

    def next(self, field_id: bytes, own_part: int) -> "EpochKeys":
        """Return the following epoch; the present K_link cannot be computed from it."""
        le = self.le + 1
        return EpochKeys.derive(lexp(self.K_link, "A/link-ratchet", cbor.encode_array(le)), le, field_id, own_part)


@dataclass(frozen=True, slots=True)
class Window:
    """Which sequence numbers were accepted: the highest and a bit map of the 32 below it."""

    highest: int = -1
    bits: int = 0

    def accepts(self, seq: int) -> bool:
        if seq > self.highest:
            return True
        offset = self.highest - seq
        return 0 < offset <= WINDOW and not self.bits >> (offset - 1) & 1

    def with_seq(self, seq: int) -> "Window":
        if seq > self.highest:
            shift = seq - self.highest
            bits = (self.bits << shift | 1 << (shift - 1)) if self.highest >= 0 else 0
            return Window(seq, bits & ((1 << WINDOW) - 1))
        return Window(self.highest, self.bits | 1 << (self.highest - seq - 1))


@dataclass(frozen=True, slots=True)
class LinkCell:
    """One end of a link. `id` is that of its key; `own_part` 0 sends D->N.

    `trail`: epochs left behind in which the peer may still be, oldest first; empty once the peer was heard in the present
    one. `previous`: the receive key that stays good for 60 s after a step. `doubtful`: restored from a backup, nothing
    under the stored epoch may be sent or believed. `resumed`: loaded after a restart, what lies below `rx_reserved` may
    have been received before.
    """

    id: bytes
    peer_id: bytes
    field_id: bytes
    own_part: int
    suite: Suite
    keys: EpochKeys
    ahead: EpochKeys
    trail: tuple[EpochKeys, ...]
    tx_next: int
    tx_reserved: int
    window: Window
    rx_reserved: int
    peer: Peer
    stepped_at: float | None
    previous: EpochKeys | None = None
    previous_until: float = 0.0
    previous_window: Window = Window()
    doubtful: bool = False
    resumed: bool = False
    unanswered: tuple[tuple[float, bytes], ...] = field(default=(), repr=False)


# ------------------------------------------------------------------ the cell


def link_kind(suites: Callable[[int], Suite], dispatch: Dispatch, generation: int = 0) -> Kind:
    """Return the kind `link`. `generation` counts how often this node was restored from a backup."""

    def step(cell: LinkCell | None, item: Item, now: Now, _entropy: Entropy) -> StepResult:
        match item:
            case Told(Install() as command):
                return _installed(command, suites(command.suite), now), ()
            case Told(Cut()):
                return None, ()
            case Received(peer, data):
                if cell is None:
                    raise PeerFault(ErrorCode.E_UNKNOWN_ID, "no link has this pseudonym")
                return _receive(cell, peer, Link.decode(data, sizes_of(cell.suite.id)), now, dispatch)
            case Told(SealBody(body)):
                if cell is None:
                    return None, [Refused("", ErrorCode.E_UNKNOWN_ID, "no link to this peer")]
                return _seal(cell, body, now)
            case Told(StepEpoch()) if cell is not None:
                return _stepped(cell, cell.ahead, now, trail=(*cell.trail, cell.keys)), ()
            case Told(Forward(data)) if cell is not None:
                return cell, [Send(cell.peer, data)]
            case Failed() | Due():
                return cell, ()
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not for a link")

    return Kind(
        "link",
        Durability.DURABLE,
        step,
        record=lambda cell: _record(cell, generation),
        load=lambda cell_id, record: _load(cell_id, record, suites, generation),
        aliases=lambda cell: (*_lids(cell), *((cell.previous.lid,) if cell.previous is not None else ())),
        stored_aliases=_lids,
    )


def _lids(cell: LinkCell) -> tuple[bytes, ...]:
    """Return the pseudonyms under which the peer may speak, now and after a restart."""
    return cell.keys.lid, cell.ahead.lid, *(keys.lid for keys in cell.trail)


def _installed(command: Install, suite: Suite, now: Now) -> LinkCell:
    keys = EpochKeys.derive(command.key, 0, command.field_id, command.own_part)
    return LinkCell(
        id=command.id,
        peer_id=command.peer_id,
        field_id=command.field_id,
        own_part=command.own_part,
        suite=suite,
        keys=keys,
        ahead=keys.next(command.field_id, command.own_part),
        trail=(),
        tx_next=0,
        tx_reserved=BLOCK,
        window=Window(),
        rx_reserved=BLOCK,
        peer=command.peer,
        stepped_at=now.mono,
    )


def _aad(cell: LinkCell, le: int, direction: int, seq: int) -> bytes:
    return cbor.encode_array("TRIAD1", 18, cell.suite.id, cell.field_id, le, direction, seq)


def _seal(cell: LinkCell, body: bytes, now: Now) -> StepResult:
    aged = cell.stepped_at is not None and now.mono - cell.stepped_at > MAX_AGE_S and not cell.trail
    if cell.doubtful:
        cell = _jumped(cell, now)
    elif aged or cell.tx_next >= MAX_RECORDS:
        cell = _stepped(cell, cell.ahead, now, trail=(*cell.trail, cell.keys))
    cell, record = _sealed(cell, body)
    recent = tuple(entry for entry in cell.unanswered if entry[0] > now.mono - UNANSWERED_S)[1 - UNANSWERED :]
    return replace(cell, unanswered=(*recent, (now.mono, body))), [Send(cell.peer, record)]


def _sealed(cell: LinkCell, body: bytes) -> tuple[LinkCell, bytes]:
    """Return the record with the next sequence number; the number is reserved by the record of the cell (LK-05)."""
    seq = cell.tx_next
    ct = cell.suite.seal_record(cell.keys.send, seq, _aad(cell, cell.keys.le, cell.own_part, seq), body)
    reserved = cell.tx_reserved if seq < cell.tx_reserved else seq + BLOCK
    return (
        replace(cell, tx_next=seq + 1, tx_reserved=reserved),
        Link(cell.keys.lid, cell.keys.le, seq, ct).encode(),
    )


def _stepped(cell: LinkCell, keys: EpochKeys, now: Now, *, trail: tuple[EpochKeys, ...]) -> LinkCell:
    """Go to the epoch of `keys`: seq restarts at 0, the window is cleared, the old receive key lives 60 s in memory."""
    trusted = not (cell.doubtful or cell.resumed)
    return replace(
        cell,
        keys=keys,
        ahead=keys.next(cell.field_id, cell.own_part),
        trail=trail,
        previous=cell.keys if trusted else None,
        previous_until=now.mono + OLD_KEY_S,
        previous_window=cell.window,
        tx_next=0,
        tx_reserved=BLOCK,
        window=Window(),
        rx_reserved=BLOCK,
        stepped_at=now.mono,
        doubtful=False,
        resumed=False,
    )


def _jumped(cell: LinkCell, now: Now) -> LinkCell:
    """Leave every epoch that this link may have reached after the backup was made (LK-10)."""
    trail = [*cell.trail, cell.keys]
    while len(trail) < JUMP:
        trail.append(trail[-1].next(cell.field_id, cell.own_part))
    return _stepped(cell, trail[-1].next(cell.field_id, cell.own_part), now, trail=tuple(trail))


def _receive(cell: LinkCell, peer: Peer, record: Link, now: Now, dispatch: Dispatch) -> StepResult:
    previous = cell.previous
    if record.lid == cell.keys.lid and record.le == cell.keys.le:
        if not (cell.doubtful or (cell.resumed and record.seq < cell.rx_reserved)):
            if not cell.window.accepts(record.seq):
                raise PeerFault(ErrorCode.E_REPLAY, f"link record {record.seq} was accepted before or is too old")
            return _accept(cell, peer, record.seq, _opened(cell, cell.keys, record), dispatch)
        _opened(cell, cell.keys, record)
        moved = _jumped(cell, now) if cell.doubtful else _stepped(cell, cell.ahead, now, trail=(*cell.trail, cell.keys))
        return _called_forward(moved, peer)
    if previous is not None and record.lid == previous.lid and now.mono <= cell.previous_until:
        if not cell.previous_window.accepts(record.seq):
            raise PeerFault(ErrorCode.E_REPLAY, f"link record {record.seq} was accepted before or is too old")
        body = _opened(cell, previous, record)
        cell = replace(cell, previous_window=cell.previous_window.with_seq(record.seq))
        return _delivered(cell, peer, body, dispatch)
    for keys in cell.trail:
        if record.lid == keys.lid and record.le == keys.le:
            _opened(cell, keys, record)
            return _called_forward(_jumped(cell, now) if cell.doubtful else cell, peer)
    keys = _rolled(cell, record)
    body = _opened(cell, keys, record)
    followed, resent = _reseal(_stepped(cell, keys, now, trail=()), now)
    cell, outputs = _accept(followed, peer, record.seq, body, dispatch)
    return cell, [*outputs, *resent]


def _rolled(cell: LinkCell, record: Link) -> EpochKeys:
    """Return the keys of a later epoch that the peer has gone to; only the device's end follows further than one."""
    keys = cell.ahead
    limit = cell.keys.le + (2 * JUMP if cell.own_part == 0 else 1)
    if not cell.keys.le < record.le <= limit:
        raise PeerFault(ErrorCode.E_EPOCH, f"record of link epoch {record.le}, here it is {cell.keys.le}")
    while keys.le < record.le:
        keys = keys.next(cell.field_id, cell.own_part)
    if keys.lid != record.lid:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, "no link has this pseudonym")
    return keys


def _called_forward(cell: LinkCell, peer: Peer) -> StepResult:
    """Refuse a genuine record that may be a repetition, and show the peer the epoch in which it can say it again."""
    stepped, reply = _sealed(cell, Error(Link.mt, ErrorCode.E_REPLAY).encode())
    refused = Refused(peer, ErrorCode.E_REPLAY, "record from before a restart; answered under the next link epoch")
    return replace(stepped, peer=peer), [Send(peer, reply), refused]


def _opened(cell: LinkCell, keys: EpochKeys, record: Link) -> bytes:
    aad = _aad(cell, record.le, 1 - cell.own_part, record.seq)
    return cell.suite.open_record(keys.receive, record.seq, aad, record.ct)


def _accept(cell: LinkCell, peer: Peer, seq: int, body: bytes, dispatch: Dispatch) -> tuple[LinkCell, list[Output]]:
    reserved = cell.rx_reserved if seq < cell.rx_reserved else (seq // BLOCK + 1) * BLOCK
    cell = replace(cell, window=cell.window.with_seq(seq), rx_reserved=reserved, trail=())
    return _delivered(cell, peer, body, dispatch)


def _delivered(cell: LinkCell, peer: Peer, body: bytes, dispatch: Dispatch) -> tuple[LinkCell, list[Output]]:
    outputs: list[Output] = []
    if peer != cell.peer:
        cell = replace(cell, peer=peer)
        outputs.append(LinkSeen(cell.peer_id, peer))
    mt, _ = peek(body)
    if mt == Error.mt and Error.decode(body, sizes_of(cell.suite.id)).offending == Link.mt:
        return cell, outputs
    target = dispatch(cell.id, cell.peer_id, mt, body)
    outputs.append(Tell(target, LinkBody(CellKey("link", cell.id), cell.peer_id, peer, body)))
    return cell, outputs


def _reseal(cell: LinkCell, now: Now) -> tuple[LinkCell, list[Send]]:
    """Send again, under the new epoch, what the peer may have refused under the old one (LK-09)."""
    sends: list[Send] = []
    for sent_at, body in cell.unanswered:
        if sent_at > now.mono - UNANSWERED_S:
            cell, record = _sealed(cell, body)
            sends.append(Send(cell.peer, record))
    return cell, sends


# ------------------------------------------------------------------ the record


def _record(cell: LinkCell, generation: int) -> bytes:
    base = cell.trail[0] if cell.trail else cell.keys
    return cbor.encode_array(
        1,
        cell.peer_id,
        cell.field_id,
        cell.own_part,
        cell.suite.id,
        base.le,
        base.K_link.expose(),
        cell.keys.le,
        cell.tx_reserved,
        cell.rx_reserved,
        cell.peer,
        generation if not cell.doubtful else generation - 1,
    )


def _load(cell_id: bytes, record: bytes, suites: Callable[[int], Suite], generation: int) -> LinkCell:
    row: Any = cbor.decode(record, max_size=2048)
    _, peer_id, field_id, own_part, suite_id, base_le, K_base, le, tx_reserved, rx_reserved, peer, written = row
    keys = EpochKeys.derive(Secret(K_base), base_le, field_id, own_part)
    trail: list[EpochKeys] = []
    while keys.le < le:
        trail.append(keys)
        keys = keys.next(field_id, own_part)
    return LinkCell(
        id=cell_id,
        peer_id=peer_id,
        field_id=field_id,
        own_part=own_part,
        suite=suites(suite_id),
        keys=keys,
        ahead=keys.next(field_id, own_part),
        trail=tuple(trail),
        tx_next=tx_reserved,
        tx_reserved=tx_reserved,
        window=Window(),
        rx_reserved=rx_reserved,
        peer=peer,
        stepped_at=None,
        doubtful=written != generation,
        resumed=True,
    )
