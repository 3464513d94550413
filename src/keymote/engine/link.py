"""LINK: the lasting channel between a device and its registrar, or between two managers (Triad-1 1.7).

The record of a link holds its key, its epoch and how far sequence numbers are reserved in each direction. After a restart
sending goes on at the next block; what was received since the last reservation is unknown, so the first valid record that
falls there is refused and answered by a step of the link epoch, which both sides can follow (docs/decisions/0005).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from keymote import cbor
from keymote.cbor import uint
from keymote.crypto.entropy import Entropy
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
    replace,
)
from keymote.engine.base import Step as StepResult
from keymote.engine.faces import Announce, LinkSeen, Revive
from keymote.engine.link_keys import EpochKeys, LinkEnd
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.enrolment import Error
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Link
from keymote.wire.registry import peek

BLOCK: Final = 64
"""Sequence numbers that one write reserves."""
WINDOW: Final = 32
WIDE_WINDOW: Final = 1024
"""Between managers, whose records overtake one another by the hundred while one that was lost is repeated (LK-14)."""
MAX_RECORDS: Final = 1 << 20
MAX_AGE_S: Final = 86400.0
OLD_KEY_S: Final = 60.0
JUMP: Final = 64
"""Epochs that a link restored from a backup leaves out: more than can have passed since (one a day, or a restart each)."""
FORMER: Final = JUMP + 32
"""Epochs after that of a backup in which the peer may have been led by a former life of the link, and is still known."""
ORIGINS: Final = 1 << 19
"""Seconds, six days, after which two lives of one backup may begin at the same number."""
UNANSWERED: Final = 4
"""Bodies sent most recently, sealed anew when the epoch steps."""
UNANSWERED_S: Final = 15.0
ANNOUNCED_AGAIN_S: Final = 4.0
"""Seconds until an announcement that nobody answered is said again; twice as long each time, up to the longest pause."""
LONGEST_PAUSE_S: Final = 600.0
ANNOUNCED_DAILY_S: Final = 86400.0
"""Seconds after an announcement that was answered until the next one."""
_NO_POINTS: Final = sizes_of(1)
"""Neither LINK nor ERROR has a field whose length depends on the suite."""
_EMPTY: Final = Error(Link.mt, ErrorCode.E_REPLAY).encode()
"""A body that says nothing: its record shows the epoch of its sender, and that it is there."""
_ANNOUNCEMENT: Final = Error(Link.mt, ErrorCode.E_TIMEOUT).encode()
"""A body that says: I have heard nothing of you, here I am."""


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


class SealBody(NamedTuple):
    """Send `body` as the next record."""

    body: bytes = field(repr=False)


class Forward(NamedTuple):
    """Send bytes that are protected end to end to where this link's peer was last seen."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StepEpoch:
    """Ratchet the key forward now."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Forget the link: the peer is revoked or enrols anew."""


class LinkBody(NamedTuple):
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


class Window(NamedTuple):
    """Which sequence numbers were accepted: the highest and a bit map of the `size` below it."""

    highest: int = -1
    bits: int = 0
    size: int = WINDOW

    def accepts(self, seq: int) -> bool:
        if seq > self.highest:
            return True
        offset = self.highest - seq
        return 0 < offset <= self.size and not self.bits >> (offset - 1) & 1

    def with_seq(self, seq: int) -> "Window":
        highest, bits, size = self
        if seq > highest:
            shift = seq - highest
            moved = bits << shift | 1 << (shift - 1) if highest >= 0 and shift <= size else 0
            return Window(seq, moved & ((1 << size) - 1), size)
        return Window(highest, bits | 1 << (highest - seq - 1), size)


UNUSED: Final = Window()
UNUSED_WIDE: Final = Window(size=WIDE_WINDOW)


class Announced(NamedTuple):
    """When this end announced itself last, and after which pause it does so again."""

    said_at: float
    pause_s: float = ANNOUNCED_AGAIN_S

    @property
    def answered(self) -> "Announced":
        return Announced(self.said_at, ANNOUNCED_DAILY_S)

    def again(self, now: Now) -> "Announced":
        """Return what follows when the pause is over."""
        answered = self.pause_s == ANNOUNCED_DAILY_S
        return Announced(now.mono, ANNOUNCED_AGAIN_S if answered else min(2 * self.pause_s, LONGEST_PAUSE_S))


@dataclass(frozen=True, slots=True)
class Standing:
    """The epoch in which a link stands, and those before and after it.

    `trail`: epochs left behind in which the peer may still be, oldest first; empty once the peer was heard in the present
    one. `beyond`: epochs after `ahead` to which a former life of this link may have led the peer; only where a backup was
    put back, and empty once the peer was heard. `previous`: the receive key that stays good for 60 s after a step.
    `doubtful`: restored from a backup, nothing under any epoch of the stored record may be sent or believed. `resumed`:
    loaded after a restart, what lies below `rx_reserved` may have been received before; not
    so with a trail, which is stored until the first record of the present epoch is accepted. `announced`: this end has told
    the other one where it is (docs/decisions/0130).
    """

    keys: EpochKeys
    ahead: EpochKeys
    trail: tuple[EpochKeys, ...]
    stepped_at: float | None
    beyond: tuple[EpochKeys, ...] = ()
    previous: EpochKeys | None = None
    previous_until: float = 0.0
    previous_window: Window = UNUSED
    doubtful: bool = False
    resumed: bool = False
    announced: Announced | None = None


@dataclass(frozen=True, slots=True)
class LinkCell:
    """One end of a link: which, in which epoch, and how far the numbers of both directions have come."""

    end: LinkEnd
    standing: Standing
    tx_next: int
    tx_reserved: int
    window: Window
    rx_reserved: int
    peer: Peer
    unanswered: tuple[tuple[float, bytes], ...] = field(default=(), repr=False)

    @property
    def keys(self) -> EpochKeys:
        return self.standing.keys


# ------------------------------------------------------------------ the cell


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
                return (_jumped(cell, now) if cell.standing.doubtful else cell), ()
            case Announce():
                return (None, ()) if cell is None else _announced(_afresh(cell, now), Announced(now.mono))
            case Due() if cell is not None:
                return _due(cell, now)
            case Told(Install() as command):
                return _installed(command, suites(command.suite), now), ()
            case Told(Cut()):
                return None, ()
            case Told(StepEpoch()) if cell is not None:
                return _stepped(cell, now), ()
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
        record=lambda cell: _record(cell, generation),
        load=lambda cell_id, record: _load(cell_id, record, suites, generation),
        aliases=lambda cell: _lids(cell) + ((previous.lid,) if (previous := cell.standing.previous) else ()),
        stored_aliases=_lids,
        deadline=_announced_until,
        same_record=_same_record,
    )


def _lids(cell: LinkCell) -> tuple[bytes, ...]:
    """Return the pseudonyms under which the peer may speak, now and after a restart."""
    standing = cell.standing
    return standing.keys.lid, standing.ahead.lid, *(keys.lid for keys in (*standing.trail, *standing.beyond))


def _installed(command: Install, suite: Suite, now: Now) -> LinkCell:
    end = LinkEnd(command.id, command.peer_id, command.field_id, command.own_part, suite)
    keys = end.epoch(command.key, 0)
    announced = Announced(now.mono, ANNOUNCED_DAILY_S) if end.key == OWN_LINK else None
    return _fresh(end, Standing(keys, end.after(keys), (), now.mono, announced=announced), command.peer)


def _fresh(end: LinkEnd, standing: Standing, peer: Peer, unanswered: tuple[tuple[float, bytes], ...] = ()) -> LinkCell:
    """Return the end of a link that begins an epoch: numbers start at the end's origin, nothing was received."""
    return LinkCell(end, standing, end.origin, end.origin + BLOCK, _unused(end), BLOCK, peer, unanswered)


def _unused(end: LinkEnd) -> Window:
    """Return the window of an epoch in which nothing was received; wide between managers, whose links have ids of their own."""
    return UNUSED if end.id in (OWN_LINK.id, end.peer_id) else UNUSED_WIDE


def _seal(cell: LinkCell, body: bytes, now: Now) -> StepResult:
    standing = cell.standing
    aged = standing.stepped_at is not None and now.mono - standing.stepped_at > MAX_AGE_S and not standing.trail
    if standing.doubtful:
        cell = _jumped(cell, now)
    elif aged or cell.tx_next >= MAX_RECORDS:
        cell = _stepped(cell, now)
    recent = (*cell.unanswered[1 - UNANSWERED :], (now.mono, body))
    cell, record = _sealed(cell, body, recent)
    return cell, [Send(cell.peer, record)]


def _afresh(cell: LinkCell, now: Now) -> LinkCell:
    """Leave the epoch of which a restart has left us ignorant what was received in it: there the answer would be refused."""
    if cell.standing.doubtful:
        return _jumped(cell, now)
    return _stepped(cell, now) if cell.standing.resumed else cell


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


def _stepped(cell: LinkCell, now: Now) -> LinkCell:
    """Go to the next epoch on our own account: the peer may not have followed yet."""
    standing = cell.standing
    moved = _moved(cell, standing.ahead, now, trail=(*standing.trail, standing.keys))
    return replace(moved, standing=replace(moved.standing, beyond=standing.beyond[1:])) if standing.beyond else moved


def _moved(cell: LinkCell, keys: EpochKeys, now: Now, *, trail: tuple[EpochKeys, ...]) -> LinkCell:
    """Go to the epoch of `keys`: seq restarts at 0, the window is cleared, the old receive key lives 60 s in memory."""
    before = cell.standing
    trusted = not (before.doubtful or before.resumed)
    standing = Standing(
        keys,
        cell.end.after(keys),
        trail,
        now.mono,
        previous=before.keys if trusted else None,
        previous_until=now.mono + OLD_KEY_S,
        previous_window=cell.window,
        announced=before.announced,
    )
    return _fresh(cell.end, standing, cell.peer, cell.unanswered)


def _jumped(cell: LinkCell, now: Now, heard: EpochKeys | None = None) -> LinkCell:
    """Leave every epoch that this link may have reached after the backup was made, and the one `heard` of (LK-10).

    The same backup may be put back twice, and neither life knows of the other. Where its numbers begin, in this epoch and
    in every later one, is read off the wall clock, one a second: a second life begins above all that the first has used.
    """
    standing, end = cell.standing, cell.end
    known = [*standing.trail, standing.keys, standing.ahead, *standing.beyond]
    first = known[0].le
    here = JUMP if heard is None else max(JUMP, heard.le - first) + 1
    while len(known) <= max(FORMER, here + 1):
        known.append(end.after(known[-1]))
    if standing.doubtful:
        end = replace(end, origin=now.wall % ORIGINS)
    moved = _moved(replace(cell, end=end), known[here], now, trail=tuple(known[:here]))
    return replace(moved, standing=replace(moved.standing, beyond=tuple(known[here + 2 :])))


def _receive(cell: LinkCell, peer: Peer, record: Link, now: Now, dispatch: Dispatch) -> StepResult:
    standing = cell.standing
    keys, previous = standing.keys, standing.previous
    former = _former(cell, record)
    if former is not None:
        _opened(cell, former, record)
        return _called_forward(_jumped(cell, now, heard=former), peer)
    if record.lid == keys.lid and record.le == keys.le:
        if not (standing.resumed and record.seq < cell.rx_reserved):
            _refuse_repetition(cell.window, record)
            return _accept(cell, peer, record.seq, _opened(cell, keys, record), dispatch)
        _opened(cell, keys, record)
        return _called_forward(_stepped(cell, now), peer)
    if previous is not None and record.lid == previous.lid and now.mono <= standing.previous_until:
        _refuse_repetition(standing.previous_window, record)
        body = _opened(cell, previous, record)
        window = standing.previous_window.with_seq(record.seq)
        return _delivered(replace(cell, standing=replace(standing, previous_window=window)), peer, body, dispatch)
    for left in standing.trail:
        if record.lid == left.lid and record.le == left.le:
            _opened(cell, left, record)
            return _called_forward(cell, peer)
    keys = _rolled(cell, record)
    body = _opened(cell, keys, record)
    followed, resent = _reseal(_moved(cell, keys, now, trail=()), peer, now)
    cell, outputs = _accept(followed, peer, record.seq, body, dispatch)
    return cell, [*outputs, *resent]


def _former(cell: LinkCell, record: Link) -> EpochKeys | None:
    """Return the epoch of a record that may be a former life's, None when this link has none or the epoch is not among them.

    Where a backup put it, JUMP epochs after its own, a link only speaks: another life may have been there before. It
    listens in a later one, to which it has called the peer.
    """
    standing = cell.standing
    if standing.doubtful or len(standing.trail) == JUMP:
        candidates = (*standing.trail, standing.keys, standing.ahead, *standing.beyond)
    else:
        candidates = (standing.ahead, *standing.beyond) if standing.beyond else ()
    return next((keys for keys in candidates if keys.lid == record.lid and keys.le == record.le), None)


def _refuse_repetition(window: Window, record: Link) -> None:
    if not window.accepts(record.seq):
        raise PeerFault(ErrorCode.E_REPLAY, f"link record {record.seq} was accepted before or is too old")


def _rolled(cell: LinkCell, record: Link) -> EpochKeys:
    """Return the keys of a later epoch that the peer has gone to; only the device's end follows further than one."""
    end, keys, here = cell.end, cell.standing.ahead, cell.standing.keys.le
    limit = here + (2 * JUMP if end.own_part == 0 else 1)
    if not here < record.le <= limit:
        raise PeerFault(ErrorCode.E_EPOCH, f"record of link epoch {record.le}, here it is {here}")
    while keys.le < record.le:
        keys = end.after(keys)
    if keys.lid != record.lid:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, "no link has this pseudonym")
    return keys


def _called_forward(cell: LinkCell, peer: Peer) -> StepResult:
    """Refuse a genuine record that may be a repetition, and show the peer the epoch in which it can say it again."""
    stepped, reply = _sealed(cell, _EMPTY, cell.unanswered)
    refused = Refused(peer, ErrorCode.E_REPLAY, "record from before a restart; answered under the next link epoch")
    return replace(stepped, peer=peer), [Send(peer, reply), refused]


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


# ------------------------------------------------------------------ the record


def _same_record(old: LinkCell, new: LinkCell) -> bool:
    return (
        old.standing is new.standing
        and old.tx_reserved == new.tx_reserved
        and old.rx_reserved == new.rx_reserved
        and old.peer == new.peer
    )


def _record(cell: LinkCell, generation: int) -> bytes:
    end, standing = cell.end, cell.standing
    base = standing.trail[0] if standing.trail else standing.keys
    return cbor.encode_array(
        1,
        end.peer_id,
        end.field_id,
        end.own_part,
        end.suite.id,
        base.le,
        base.K_link.expose(),
        standing.keys.le,
        cell.tx_reserved,
        cell.rx_reserved,
        cell.peer,
        generation if not standing.doubtful else generation - 1,
        end.origin,
    )


def _load(cell_id: bytes, record: bytes, suites: Callable[[int], Suite], generation: int) -> LinkCell:
    row: Any = cbor.decode(record, max_size=2048)
    _, peer_id, field_id, own_part, suite_id, base_le, K_base, le, tx_reserved, rx_reserved, peer, written, origin = row
    end = LinkEnd(cell_id, peer_id, field_id, own_part, suites(suite_id), origin)
    doubtful = written != generation
    known = [end.epoch(Secret(K_base), base_le)]
    last = max(le + 1, base_le + FORMER if doubtful or le >= base_le + JUMP else 0)
    while known[-1].le < last:
        known.append(end.after(known[-1]))
    here = le - base_le
    standing = Standing(
        known[here],
        known[here + 1],
        tuple(known[:here]),
        None,
        tuple(known[here + 2 :]),
        doubtful=doubtful,
        resumed=doubtful or here == 0,
    )
    return LinkCell(end, standing, tx_reserved, tx_reserved, _unused(end), rx_reserved, peer)
