"""What a member of a root group keeps: the root key and its number, the rings that it sits in, and what it waits for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from keymote import cbor
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.engine.base import replace
from keymote.engine.group.epoch import GroupEpoch
from keymote.engine.group.payload import Payload, durable, resume, same_durable
from keymote.engine.group.ring import SID8
from keymote.engine.group.root_faces import RingKeyed, RootCharter
from keymote.wire.fields import sizes_of
from keymote.wire.group_fields import Entry

MOST_SEATS: Final = 8
"""Rings that one member can sit in: one of each level."""


@dataclass(frozen=True, slots=True)
class RootKey:
    """RK_e. `origin`: sid8 of the top ring's run that it was made of, for members of the top ring; else empty."""

    e: int
    key: Secret
    origin: bytes = b""


@dataclass(frozen=True, slots=True)
class RootLasting:
    """The durable part. `e`, `mode`, `kcv`: what the newest ROOT said; e 0 before the first.

    `rk` has an `e` below that while its key has not come. `since`: sid8 of a ring's run -> the e that was the newest when
    the last newcomer came into that ring, who must not get a key of that e or an older one (CL-13).
    """

    charter: RootCharter
    kid: bytes
    senders: tuple[Entry, ...]
    e: int = 0
    mode: int = 0
    kcv: bytes = b""
    rk: RootKey | None = None
    since: tuple[tuple[bytes, int], ...] = ()

    @property
    def key(self) -> RootKey | None:
        """Return the root key if it is that of the newest ROOT."""
        return self.rk if self.rk is not None and self.rk.e == self.e else None


@dataclass(frozen=True, slots=True)
class Seat:
    """A ring that this member sits in, and its key. `since` as in `RootLasting`.

    `stale`: a newer roster is held, so nobody wraps under this key. `wrapped`: highest e whose key this ring has, or needs
    no WRAP for. `due`: when this member must WRAP. `answered`: when it did for who asked. `early`: a WRAP that overtook its ROOT.
    """

    ring: RingKeyed
    since: int
    stale: bool = False
    wrapped: int = 0
    due: float | None = None
    answered: float = -1.0
    early: bytes = field(default=b"", repr=False)

    @property
    def sid8(self) -> bytes:
        return self.ring.sid[:SID8]


@dataclass(frozen=True, slots=True)
class AwaitWrap:
    """ROOT(e) is accepted and its key is not here: nothing is sent. `before`: the e that was the newest until then.

    `ask_at`: when to ask for the key next. `erase_at`: when the key before is given up; its records are received until then.
    """

    before: int
    begun: float
    ask_at: float
    erase_at: float
    reported: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """The key of the newest ROOT is here, or there was none yet."""


Stage = AwaitWrap | Settled


@dataclass(frozen=True, slots=True)
class RootCell:
    """One root group at one member. `reporting`: gids of top rings that this member belongs to, keyed or not yet."""

    lasting: RootLasting
    payload: Payload
    stage: Stage = field(default_factory=Settled)
    seats: Mapping[bytes, Seat] = field(default_factory=dict)
    reporting: frozenset[bytes] = frozenset()

    @property
    def gid(self) -> bytes:
        return self.lasting.charter.gid_root

    def seat_of(self, sid8: bytes) -> Seat | None:
        """Return the seat in the ring whose newest run has this name."""
        return next((seat for seat in self.seats.values() if seat.sid8 == sid8), None)

    def with_seat(self, seat: Seat) -> "RootCell":
        return replace(self, seats={**self.seats, seat.ring.gid: seat})


def epoch_of(lasting: RootLasting, suite: Suite, rk: RootKey) -> GroupEpoch:
    """Return a root key as what GSEC needs: senders are named by their kids (Triad-1 8)."""
    gid = lasting.charter.gid_root
    return GroupEpoch.of(suite, gid, rk.e, rk.key, lasting.senders, lasting.kid, by_kid=True)


# ------------------------------------------------------------------ the record


def same_record(old: RootCell, new: RootCell) -> bool:
    return old.lasting is new.lasting and same_durable(old.payload, new.payload)


def record(cell: RootCell, generation: int) -> bytes:
    """Return the durable part, at most 2 KiB with 32 senders. Keys of rings are kept by their memberships alone."""
    lasting = cell.lasting
    charter, rk = lasting.charter, lasting.rk
    return cbor.encode_array(
        1,
        [charter.suite, charter.kid, charter.pk],
        lasting.kid,
        b"".join(entry.kid + entry.sig_pk for entry in lasting.senders),
        [lasting.e, lasting.mode, lasting.kcv],
        None if rk is None else [rk.e, rk.key.expose(), rk.origin],
        [list(row) for row in lasting.since],
        durable(cell.payload, generation),
    )


def load(gid_root: bytes, data: bytes, suite: Suite, generation: int) -> RootCell:
    """Return the cell of a record; one whose root key has not come yet waits for it again."""
    row: Any = cbor.decode(data, max_size=2048)
    _, (suite_id, kid, pk), own, packed, (e, mode, kcv), rk_row, since, saved = row
    size = 8 + sizes_of(suite_id).point
    senders = tuple(Entry(packed[at : at + 8], packed[at + 8 : at + size]) for at in range(0, len(packed), size))
    rk = None if rk_row is None else RootKey(rk_row[0], Secret(rk_row[1]), rk_row[2])
    charter = RootCharter(gid_root, suite_id, kid, pk)
    lasting = RootLasting(charter, own, senders, e, mode, kcv, rk, tuple((sid8, at) for sid8, at in since))
    payload = Payload(gid_root)
    if lasting.key is not None:
        payload = resume(payload, epoch_of(lasting, suite, lasting.key), saved, generation)
    missing = e > 0 and lasting.key is None
    return RootCell(lasting, payload, AwaitWrap(max(e - 1, 0), 0.0, 0.0, 0.0) if missing else Settled())
