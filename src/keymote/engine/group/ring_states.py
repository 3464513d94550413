"""What the gateway of a ring keeps: what lasts, the round that it collects, and where members listen. Never a key.

In relay mode all of this is public (attack B-13); in edge mode the key belongs to the membership beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple

from keymote import cbor
from keymote.crypto.suite import Point
from keymote.engine.base import Peer
from keymote.engine.group.charter import Charter, Held
from keymote.engine.group.faces import Hedge, RingPlan
from keymote.engine.group.ring import SID8, sid_of
from keymote.engine.group.rounds import Hall1, Run
from keymote.engine.group.states import charter_of, charter_row, held_of, held_row
from keymote.engine.group.timing import Asking
from keymote.wire.cose import PROTECTED, Sign1
from keymote.wire.fields import sizes_of
from keymote.wire.group import (
    MOST,
    Delegation,
    DelegationClaims,
    Roster,
    Start,
    StartClaims,
)
from keymote.wire.group_fields import Cause, Entry


class Issued(NamedTuple):
    """Who signed a roster, and the signature: with the roster itself they make the message again."""

    kid: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class RingLasting:
    """The durable part. `start` is the newest START, `commit` the COMMIT of its run, empty until everybody confirmed.

    `issued` and `delegation` are signatures; `after_epoch` is where another gateway left off; `absent` members who were left
    out and may come back. `wake_at` (UTC seconds, 0 never) is when the next planned run is due, or when a run that a restart
    has cut off must be begun anew.
    """

    charter: Charter
    plan: RingPlan
    held: Held
    issued: Issued
    delegation: bytes = b""
    absent: tuple[Entry, ...] = ()
    start: bytes = b""
    commit: bytes = b""
    wake_at: int = 0
    after_epoch: int = 0

    @property
    def roster(self) -> bytes:
        """The whole ROSTER, as its signer sent it."""
        kid, signature = self.issued
        claims = self.held.claims().encode()
        return Roster(Sign1(PROTECTED[self.charter.suite], kid, claims, signature)).encode()

    @property
    def delegation_message(self) -> bytes:
        """The RA's delegation as it sent it; empty where the gateway's key was provisioned by hand."""
        if not self.delegation:
            return b""
        c = self.charter
        claims = DelegationClaims(c.gid, c.gw_kid, c.gw_pk, c.not_after, c.max_n).encode()
        return Delegation(Sign1(PROTECTED[c.suite], c.ra_kid, claims, self.delegation)).encode()

    def started(self) -> StartClaims | None:
        """Return what the newest START claims; None before the first."""
        if not self.start:
            return None
        sizes = sizes_of(self.charter.suite)
        return StartClaims.decode(Start.decode(self.start, sizes).envelope.payload, sizes)

    @property
    def number(self) -> tuple[int, int]:
        """(epoch, attempt) of the newest START; before the first, those behind which it comes."""
        claims = self.started()
        return (self.after_epoch, 0) if claims is None else (claims.epoch, claims.attempt)

    @property
    def sid8(self) -> bytes:
        """The name of the newest run; zeros before the first."""
        if not self.start:
            return bytes(SID8)
        return sid_of(Start.decode(self.start, sizes_of(self.charter.suite)).envelope.payload)[:SID8]

    def entry(self, kid: bytes) -> Entry | None:
        """Return a member, or an absent one."""
        return next((entry for entry in (*self.held.entries, *self.absent) if entry.kid == kid), None)


# ------------------------------------------------------------------ what the gateway is doing, volatile


class Patience(NamedTuple):
    """Until when a round is collected, and when to ask those who are missing."""

    until: float
    asking: Asking


@dataclass(frozen=True, slots=True)
class Resting:
    """No run was begun since the start of the node, or the last one waits for a roster that the RA must sign."""


@dataclass(frozen=True, slots=True)
class CollectR1:
    """START is out. `early`: R2 that overtook somebody's R1, with their senders."""

    run: Run
    patience: Patience
    hall: Hall1
    early: Mapping[int, tuple[Peer, bytes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CollectR2:
    """All R1 are in. `said1`, `said2`: the messages, as they are handed on; `unsigned`: whose R1 came without a signature.

    `senders`: where each R2 came from, whence its R3 must come; `early`: R3 that overtook an R2.
    """

    run: Run
    patience: Patience
    said1: tuple[bytes, ...]
    unsigned: frozenset[int]
    X: tuple[Point, ...]
    th1: bytes
    said2: tuple[bytes | None, ...]
    senders: Mapping[int, Peer] = field(default_factory=dict)
    early: Mapping[int, tuple[Peer, bytes]] = field(default_factory=dict)


class Heard3(NamedTuple):
    """An R3: the tag, the kcv of a signed one (else empty) and the message."""

    tag: bytes
    kcv: bytes
    wire: bytes


@dataclass(frozen=True, slots=True)
class CollectR3:
    """All R2 are in and proven."""

    run: Run
    patience: Patience
    said1: tuple[bytes, ...]
    unsigned: frozenset[int]
    said2: tuple[bytes, ...]
    th2: bytes
    senders: Mapping[int, Peer]
    hall: tuple[Heard3 | None, ...]


@dataclass(frozen=True, slots=True)
class Running:
    """COMMIT is out; what was said is kept for those who missed it."""

    run: Run
    said1: tuple[bytes, ...]
    said2: tuple[bytes, ...]
    said3: tuple[bytes, ...]


Collecting = CollectR1 | CollectR2 | CollectR3
Stage = Resting | Collecting | Running


class Intended(NamedTuple):
    """A run that must wait for the pace of STARTs."""

    cause: Cause
    new_epoch: bool
    at: float


class Evidence(NamedTuple):
    """Why somebody was blamed: the BLAME and the message that it is about, for NEED."""

    sid8: bytes
    blame: bytes
    message: bytes


LONG_AGO: Final = -1e9


@dataclass(frozen=True, slots=True)
class RingCell:
    """One ring at its gateway. `peers`: kid -> where a member was heard last. `started_at`: monotonic time of the last START.

    `root`: the newest ROOT that came from above, for who asks for a WRAP. `hedges`: newest first, who holds which.
    """

    lasting: RingLasting
    stage: Stage = field(default_factory=Resting)
    peers: Mapping[bytes, Peer] = field(default_factory=dict)
    started_at: float = LONG_AGO
    intended: Intended | None = None
    beacon_at: float = 0.0
    evidence: Evidence | None = None
    root: bytes = field(default=b"", repr=False)
    hedges: tuple[Hedge, ...] = ()

    @property
    def gid(self) -> bytes:
        return self.lasting.charter.gid

    @property
    def run(self) -> Run | None:
        """The newest run, while it is remembered."""
        return None if isinstance(self.stage, Resting) else self.stage.run


# ------------------------------------------------------------------ the record


def same_record(old: RingCell, new: RingCell) -> bool:
    return old.lasting is new.lasting


def record(cell: RingCell) -> bytes:
    """Return the durable part, at most 2 KiB: rosters are packed, and messages that follow from them are not stored."""
    lasting = cell.lasting
    return b"".join(
        (
            b"\x8b\x01",
            charter_row(lasting.charter),
            cbor.encode([getattr(lasting.plan, entry.name) for entry in fields(lasting.plan)]),
            held_row(lasting.held),
            cbor.encode_array(*lasting.issued),
            cbor.bstr(lasting.delegation),
            cbor.bstr(b"".join([entry.kid + entry.sig_pk for entry in lasting.absent])),
            cbor.bstr(lasting.start),
            cbor.bstr(lasting.commit),
            cbor.uint(lasting.wake_at),
            cbor.uint(lasting.after_epoch),
        )
    )


def load(gid: bytes, data: bytes) -> RingCell:
    """Return the cell of a record; a run that was cut off is begun anew at once, as the next attempt.

    It names the hedge of the one before only for the same roster: nobody knows yet what a newcomer holds (GH-05).
    """
    row: Any = cbor.decode(data, max_size=2048)
    _, charter, plan, held, issued, delegation, absent, start, commit, wake_at, after_epoch = row
    lasting = RingLasting(
        charter_of(gid, charter),
        RingPlan(*plan),
        held_of(gid, charter[0], held),
        Issued(*issued),
        delegation,
        held_of(gid, charter[0], [0, absent, None, None]).entries,
        start,
        commit,
        wake_at,
        after_epoch,
    )
    claims = lasting.started()
    cut_off = claims is not None and not commit and wake_at != 0
    if claims is None or not cut_off:
        return RingCell(lasting)
    cause = claims.reason if claims.roster_hash == lasting.held.digest else Cause(claims.reason.reason)
    return RingCell(lasting, intended=Intended(cause, new_epoch=False, at=0.0))


def most_absent(lasting: RingLasting) -> tuple[Entry, ...]:
    """Return as many absent members as the record has room for beside the roster, the latest last."""
    return lasting.absent[-(MOST - len(lasting.held.entries)) :] if len(lasting.held.entries) < MOST else ()
