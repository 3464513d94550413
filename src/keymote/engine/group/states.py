"""What a member of a group keeps: what lasts, the run it takes part in, and the old epoch that is still received."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final

from keymote import cbor
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, Suite
from keymote.engine.base import Peer
from keymote.engine.group.charter import Charter, Held
from keymote.engine.group.epoch import GroupEpoch
from keymote.engine.group.faces import Above, Level
from keymote.engine.group.payload import Payload, ResourcePolicy, durable, resume, same_durable
from keymote.engine.group.ring import SID8
from keymote.engine.group.rounds import Hall1, Hall2, Run, Scrutiny
from keymote.engine.group.timing import Asking, Pursuit
from keymote.wire.fields import sizes_of
from keymote.wire.group import CommitClaims, bitmap
from keymote.wire.group_fields import Entry

MOST_PSKS: Final = 2
MOST_GONE: Final = 4
"""Senders of the present epoch who may be missing on the roster that is held, for the epoch to survive a restart."""
MOST_ADDRESS: Final = 64
MOST_TELEMETRY: Final = 48
"""Characters of the gateway's address and of all telemetry resources together, so that the record has room for them."""


class Wish(IntEnum):
    """What a member outside a run pursues (`Pursuit.wish`): the newest START, the roster, to be let in, to be let go."""

    START = 0
    JOIN = 1
    LEAVE = 2
    ROSTER = 5


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch that this member has confirmed: its key and senders, the run that made it, and the public `key_id`.

    `th1` (32 bytes) is what its R2 and MASKKEYs are bound to.
    """

    group: GroupEpoch
    sid: bytes
    th1: bytes
    key_id: bytes

    @property
    def number(self) -> int:
        return self.group.epoch

    @property
    def sid8(self) -> bytes:
        return self.sid[:SID8]


@dataclass(frozen=True, slots=True)
class Place:
    """How this member takes part; see `JoinGroup`."""

    kid: bytes
    gateway: Peer
    level: Level
    multicast: bool
    compact: bool
    standby: bool = False
    above: Above | None = None


@dataclass(frozen=True, slots=True)
class Lasting:
    """The durable part: `seen` the highest (epoch, attempt) that was accepted and `seen_sid8` its name, `held` the roster."""

    charter: Charter
    place: Place
    seen: tuple[int, int] = (0, 0)
    seen_sid8: bytes = bytes(8)
    held: Held | None = None
    active: Epoch | None = None
    psks: tuple[tuple[bytes, Secret], ...] = ()

    @property
    def is_behind(self) -> bool:
        """Whether a run was begun that did not end here with a key."""
        return self.seen[0] > (self.active.number if self.active is not None else 0)


# ------------------------------------------------------------------ a run, volatile: lost at reboot by specification


@dataclass(frozen=True, slots=True)
class Part:
    """This member in a run: its position, the hedge, and what it verifies of others."""

    run: Run
    idx: int
    psk: Secret | None
    scrutiny: Scrutiny


@dataclass(frozen=True, slots=True)
class AwaitR1:
    """START is accepted, R1 is out. `until`: how long this round may take; `asking`: when to ask again.

    `early`: R2 that overtook R1 of others, unread, one for each position.
    """

    part: Part
    until: float
    asking: Asking
    x: Secret
    claims: bytes = field(repr=False)
    hall: Hall1
    early: tuple[bytes | None, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class AwaitR2:
    """All R1 are here, R2 is out; x must not make a second one. `early`: a COMMIT that overtook R2 of others, verified."""

    part: Part
    until: float
    asking: Asking
    x: Secret
    claims: bytes = field(repr=False)
    X: tuple[Point, ...] = field(repr=False)
    th1: bytes
    r2: bytes = field(repr=False)
    hall: Hall2 = field(repr=False)
    early: CommitClaims | None = None


@dataclass(frozen=True, slots=True)
class AwaitCommit:
    """The key is derived, x is erased, R3 is out. Nobody may use MK before the gateway's word that all have it."""

    part: Part
    until: float
    asking: Asking
    mk: Secret
    th1: bytes
    th2: bytes
    xor_tag: bytes
    claims: bytes = field(repr=False)
    r2: bytes = field(repr=False)
    r3: bytes = field(repr=False)


Phase = AwaitR1 | AwaitR2 | AwaitCommit


@dataclass(frozen=True, slots=True)
class MembershipCell:
    """One group at one member. `payload`: what it can protect and open. `gateway`: where it was heard last.

    `answered`: when R1, R2 and R3 were repeated last. `newest`: sid8 of the last authentic START, also of one that leads
    past us. `failed`: the last run that ended without a key, to which a BLAME may still belong. `roster_asked`: when.
    `root_e`: in a top ring, the newest e of the root group.
    """

    lasting: Lasting
    gateway: Peer
    payload: Payload
    phase: Phase | None = None
    pursuit: Pursuit | None = None
    answered: tuple[float, float, float] = (-1.0, -1.0, -1.0)
    failed: Run | None = None
    newest: bytes = bytes(8)
    roster_asked: float = -1.0
    root_e: int = 0

    @property
    def gid(self) -> bytes:
        return self.lasting.charter.gid

    @property
    def run(self) -> Run | None:
        """The run that this member takes part in."""
        return None if self.phase is None else self.phase.part.run


# ------------------------------------------------------------------ the record


def same_record(old: MembershipCell, new: MembershipCell) -> bool:
    return old.lasting is new.lasting and same_durable(old.payload, new.payload)


def record(cell: MembershipCell, generation: int) -> bytes:
    """Return the durable part, at most 2 KiB: a roster of 32 takes 1.3 KB of it, so there is one and what differs from it."""
    lasting = cell.lasting
    held, active = lasting.held, lasting.active
    return b"".join(
        (
            b"\x89\x01",
            charter_row(lasting.charter),
            _place_rows(lasting.place, cell.payload.policy.telemetry),
            cbor.encode_array(*lasting.seen, lasting.seen_sid8),
            held_row(held),
            _NULL if active is None or held is None else _epoch_row(active, held),
            cbor.bstr(durable(cell.payload, generation)),
            cbor.encode([[psk_id, psk.expose()] for psk_id, psk in lasting.psks]) if lasting.psks else _NONE,
        )
    )


def load(gid: bytes, data: bytes, suite: Suite, generation: int) -> MembershipCell:
    """Return the cell of a record; it asks at once what it has missed."""
    row: Any = cbor.decode(data, max_size=2048)
    _, charter, place, telemetry, (epoch, attempt, seen_sid8), held_row, active_row, saved, psks = row
    kid, gateway, level, multicast, compact, *further = place
    standby, *above = further or [False]
    held = None if held_row is None else held_of(gid, charter[0], held_row)
    active = None if active_row is None or held is None else _epoch_of(active_row, held, suite, kid)
    lasting = Lasting(
        charter_of(gid, charter),
        Place(kid, gateway, Level(level), multicast, compact, standby, Above(*above) if above else None),
        (epoch, attempt),
        seen_sid8,
        held,
        active,
        tuple((psk_id, Secret(psk)) for psk_id, psk in psks),
    )
    payload = Payload(gid, ResourcePolicy(tuple(telemetry)))
    if active is not None:
        payload = resume(payload, active.group, saved, generation)
    wish = Wish.JOIN if lasting.is_behind and not standby else Wish.START
    return MembershipCell(lasting, gateway, payload, pursuit=Pursuit(wish, 0.0), newest=seen_sid8)


def _epoch_row(active: Epoch, held: Held) -> bytes:
    """Return an epoch beside the roster that is held: who of that belongs to it, and the kids of those who are gone.

    Null where too many are gone for the record: a restart then costs the epoch.
    """
    senders = active.group.senders
    there, gone = (range(len(senders)), []) if senders is held.entries else _since(senders, held)
    if len(gone) > MOST_GONE:
        return _NULL
    key, who = active.group.key.expose(), (bitmap(there), b"".join(gone))
    return cbor.encode_array(active.number, active.sid, active.th1, key, active.key_id, *who)


def _since(senders: Sequence[tuple[bytes, bytes]], held: Held) -> tuple[Sequence[int], list[bytes]]:
    """Return the positions of those on the roster who send in an epoch of another one, and the kids of those who are gone."""
    kids = {kid for kid, _ in senders}
    there = [idx for idx, kid in enumerate(held.kids) if kid in kids]
    return there, [kid for kid, _ in senders if held.position(kid) is None]


def _epoch_of(items: list[Any], held: Held, suite: Suite, kid: bytes) -> Epoch:
    """Return the stored epoch; of those who are gone from the roster the signature key is not known any more."""
    number, sid, th1, mk, key_id, there, gone = items
    bits = int.from_bytes(there, "big")
    senders = [(entry.kid, entry.sig_pk) for idx, entry in enumerate(held.entries) if bits >> idx & 1]
    senders += [(gone[at : at + 8], b"") for at in range(0, len(gone), 8)]
    return Epoch(GroupEpoch.of(suite, held.gid, number, Secret(mk), sorted(senders), kid), sid, th1, key_id)


@lru_cache(maxsize=256)
def charter_row(charter: Charter) -> bytes:
    """Return a charter as records hold it: records are written several times a run, and this part hardly ever changes."""
    return cbor.encode([getattr(charter, entry.name) for entry in fields(charter) if entry.name != "gid"])


def charter_of(gid: bytes, items: list[Any]) -> Charter:
    return Charter(gid, *items)


@lru_cache(maxsize=256)
def held_row(held: Held | None) -> bytes:
    """Return a roster as records hold it."""
    if held is None:
        return _NULL
    packed = b"".join([entry.kid + entry.sig_pk for entry in held.entries])
    return cbor.encode([held.ver, packed, held.delegate_idx, held.deputy_idx])


@lru_cache(maxsize=256)
def _place_rows(place: Place, telemetry: Sequence[str]) -> bytes:
    items = [place.kid, place.gateway, int(place.level), place.multicast, place.compact, place.standby]
    return cbor.encode([*items, *(place.above or ())]) + cbor.encode(list(telemetry))


_NULL: Final = b"\xf6"
_NONE: Final = b"\x80"


def held_of(gid: bytes, suite: int, items: list[Any]) -> Held:
    ver, packed, delegate_idx, deputy_idx = items
    size = 8 + sizes_of(suite).point
    rows = [packed[at : at + size] for at in range(0, len(packed), size)]
    return Held(gid, ver, tuple(Entry(row[:8], row[8:]) for row in rows), delegate_idx, deputy_idx)
