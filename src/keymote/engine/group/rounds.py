"""Taking in R1 and R2: what a member or a gateway knows of each position of the ring, and which messages change that.

R1 may come unsigned (R1c), and an outsider may send one in anybody's name. So a position is open, heard, or disputed: when
two different R1 claim it, signatures decide, and without any it stays disputed until a signed one comes (attack B-23).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from keymote.crypto.suite import Point, Suite
from keymote.engine.group import ring
from keymote.engine.group.charter import Held, Keys
from keymote.engine.group.timing import is_fresh
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import Sizes, sizes_of
from keymote.wire.group import FEWEST, Round1, Round1Claims, Round1Compact, Round2Claims, StartClaims
from keymote.wire.group_signed import Claimed, read


@dataclass(frozen=True, slots=True)
class Run:
    """What a START fixes: who sits where, and what the signatures of R1 and R2 are bound to.

    `number` is (epoch, attempt), which grows from run to run; every message names the run by `sid8`.
    """

    claims: StartClaims
    sid: bytes
    held: Held
    suite: Suite
    number: tuple[int, int] = field(init=False, compare=False)
    n: int = field(init=False, compare=False)
    sid8: bytes = field(init=False, compare=False)
    sizes: Sizes = field(init=False, compare=False)

    def __post_init__(self) -> None:
        given = self.claims
        derived = {
            "number": (given.epoch, given.attempt),
            "n": given.n,
            "sid8": self.sid[: ring.SID8],
            "sizes": sizes_of(self.suite.id),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)


class Scrutiny(NamedTuple):
    """What is verified here (Triad-1 3.5): signatures of R1 and of R2, the proofs, and whether an R1 may lack a signature."""

    round1: bool
    round2: bool
    proofs: bool
    compact: bool


class Heard1(NamedTuple):
    """An R1: what it signs or would sign, its X, and the message itself; `verified` when its signature was."""

    payload: bytes
    X: Point
    wire: bytes
    signed: bool
    verified: bool


@dataclass(frozen=True, slots=True)
class Disputed:
    """Two R1 claim this position, or its X is another one's as well, and no signature has decided yet."""


DISPUTED: Final = Disputed()
Slot1 = Heard1 | Disputed | None
Hall1 = tuple[Slot1, ...]
"""What was heard of each position in round 1."""


class Heard2(NamedTuple):
    """An R2: what it signs, and of that Y with its proof, c and s (both None in a ring of two).

    Y is as received: whoever computes with it checks it first.
    """

    payload: bytes
    Y: bytes | None
    proof: bytes | None


Hall2 = tuple[Heard2 | None, ...]


def placed(hall: tuple[object, ...], idx: int, slot: object) -> tuple[object, ...]:
    """Return the hall with another slot at `idx`."""
    return (*hall[:idx], slot, *hall[idx + 1 :])


# ------------------------------------------------------------------ round 1


def hear1(run: Run, hall: list[Slot1], data: bytes, keys: Keys, scrutiny: Scrutiny, wall: int | None) -> int | None:
    """Take an R1 or R1c into the hall; return its position, None when it brings nothing new (GR-20 to GR-22).

    The list is the caller's, who makes a `Hall1` of it again when it has heard what came together.

    Raises:
        PeerFault: E_FORMAT, E_POINT, E_REPLAY for a timestamp that is off, E_R1SIG for a bad signature, for one that
            comes second to a verified one, and for an unsigned one where signatures are due.
    """
    claims, payload, claimed = _read1(run, data)
    if claims.idx >= run.n:
        raise PeerFault(ErrorCode.E_FORMAT, f"idx {claims.idx} in a ring of {run.n}")
    if not is_fresh(claims.ts, wall):
        raise PeerFault(ErrorCode.E_REPLAY, "timestamp of R1 is off")
    idx, known = claims.idx, hall[claims.idx]
    if isinstance(known, Heard1) and known.payload == payload and (known.signed or claimed is None):
        return None
    new = Heard1(payload, run.suite.check(claims.X), data, signed=claimed is not None, verified=False)
    hall[idx] = _decided(run, idx, known, new, keys, scrutiny)
    return idx


def _read1(run: Run, data: bytes) -> tuple[Round1Claims, bytes, Claimed[Round1Claims] | None]:
    """Return what an R1 or R1c claims, the payload that transcripts hash, and the signed form."""
    if data.startswith(_SIGNED1):
        claimed = read(data, Round1Claims, run.sizes)
        claims = claimed.claims
    else:
        said = Round1Compact.decode(data, run.sizes)
        claims, claimed = Round1Claims(said.sid8, said.idx, said.X, said.nonce, said.ts), None
    if claims.sid8 != run.sid8:
        raise PeerFault(ErrorCode.E_STATE, "R1 of another run")
    return claims, claims.encode() if claimed is None else claimed.payload, claimed


_SIGNED1: Final = Round1.opening(1)


def payload1(run: Run, data: bytes) -> bytes:
    """Return what an R1 in either form says, as transcripts hash it."""
    return _read1(run, data)[1]


def _decided(run: Run, idx: int, known: Slot1, new: Heard1, keys: Keys, scrutiny: Scrutiny) -> Slot1:
    """Return what stands at a position where something else may stand already."""
    must = scrutiny.round1 or isinstance(known, Disputed)
    match known, new.signed:
        case None, True:
            return _verified1(run, idx, new, keys) if must else new
        case None, False:
            return new if scrutiny.compact else DISPUTED
        case Disputed(), True:
            return _verified1(run, idx, new, keys)
        case Disputed(), False:
            return DISPUTED
        case Heard1(payload=payload, verified=verified), True if payload == new.payload:
            return new._replace(verified=verified) if not must else _verified1(run, idx, new, keys)
        case Heard1(verified=True), _:
            raise PeerFault(ErrorCode.E_R1SIG, "another R1 of this member is verified")
        case Heard1(), True:
            return _verified1(
                run, idx, new, keys
            )  # the one that is known was unsigned, or stands after this has failed
        case Heard1(signed=True) as old, False:
            try:
                return _verified1(run, idx, old, keys)
            except PeerFault:
                return DISPUTED
        case _:
            return DISPUTED


def _verified1(run: Run, idx: int, heard: Heard1, keys: Keys) -> Heard1:
    """Return an R1 after checking its signature; E_R1SIG."""
    if not heard.verified:
        claimed = read(heard.wire, Round1Claims, run.sizes)
        key = keys(run.suite.id, run.held.entries[idx].sig_pk)
        try:
            claimed.verified_by(key, run.sid)
        except PeerFault as fault:
            raise PeerFault(ErrorCode.E_R1SIG, f"R1 of idx {idx} is not signed by it for this run") from fault
    return heard._replace(verified=True)


def vetted1(run: Run, hall: Hall1, which: Sequence[int], keys: Keys) -> Hall1:
    """Return the hall after checking the signatures at some positions; what does not verify becomes disputed."""
    for idx in which:
        heard = hall[idx]
        if isinstance(heard, Heard1):
            try:
                slot: Slot1 = _verified1(run, idx, heard, keys) if heard.signed else DISPUTED
            except PeerFault:
                slot = DISPUTED
            hall = placed(hall, idx, slot)  # type: ignore[assignment]  # one slot of the same kind
    return hall


def missing1(hall: Hall1) -> Sequence[int]:
    """Return the positions that are open or disputed."""
    return [idx for idx, slot in enumerate(hall) if not isinstance(slot, Heard1)]


def complete1(hall: Sequence[Slot1]) -> Sequence[Heard1] | None:
    """Return what all members said in round 1; None while somebody is missing."""
    if None in hall:
        return None
    heard = [slot for slot in hall if isinstance(slot, Heard1)]
    return heard if len(heard) == len(hall) else None


# ------------------------------------------------------------------ round 2


def read2(run: Run, data: bytes) -> Claimed[Round2Claims]:
    """Return an R2 of this run and of a position in it; E_FORMAT or E_STATE."""
    claimed = read(data, Round2Claims, run.sizes)
    if claimed.claims.sid8 != run.sid8:
        raise PeerFault(ErrorCode.E_STATE, "R2 of another run")
    if claimed.claims.idx >= run.n:
        raise PeerFault(ErrorCode.E_FORMAT, f"idx {claimed.claims.idx} in a ring of {run.n}")
    return claimed


def authenticate2(run: Run, claimed: Claimed[Round2Claims], th1: bytes, keys: Keys) -> None:
    """Return if the member signed its R2 for this th1, which holds everybody's X; E_R2SIG (GR-24)."""
    idx = claimed.claims.idx
    try:
        claimed.verified_by(keys(run.suite.id, run.held.entries[idx].sig_pk), th1)
    except PeerFault as fault:
        raise PeerFault(ErrorCode.E_R2SIG, f"R2 of idx {idx} is not signed by it over what was heard here") from fault


def sound2(run: Run, claimed: Claimed[Round2Claims]) -> Heard2:
    """Return what an R2 says; E_FORMAT for nulls in a ring of three or more and for anything else in one of two (GR-23)."""
    Y, proof = claimed.claims.Y, claimed.claims.dleq
    if run.n == FEWEST:
        if Y is not None or proof is not None:
            raise PeerFault(ErrorCode.E_FORMAT, "a ring of two has no Y")
        return Heard2(claimed.payload, None, None)
    if Y is None or proof is None:
        raise PeerFault(ErrorCode.E_FORMAT, "R2 without Y in a ring of three or more")
    return Heard2(claimed.payload, Y, proof)


def prove2(run: Run, idx: int, heard: Heard2, X: Sequence[Point], th1: bytes) -> None:
    """Return if the Y of `idx` is a point and the proof for it holds; E_POINT or E_DLEQ."""
    if heard.Y is None or heard.proof is None:
        return
    try:
        ring.check_contribution(run.suite, idx, X, heard.Y, heard.proof, th1)
    except PeerFault as fault:
        if fault.code is ErrorCode.E_POINT:
            raise
        raise PeerFault(ErrorCode.E_DLEQ, f"idx {idx} has not proven its Y") from fault


def missing2(hall: Hall2) -> Sequence[int]:
    """Return the positions of which no R2 was accepted."""
    return [idx for idx, heard in enumerate(hall) if heard is None]


def complete2(hall: Sequence[Heard2 | None]) -> Sequence[Heard2] | None:
    """Return what all members said in round 2; None while somebody is missing."""
    return None if None in hall else [slot for slot in hall if slot is not None]


def culprits(run: Run, X: Sequence[Point], heard: Sequence[Heard2], th1: bytes) -> tuple[int, ...]:
    """Return the positions whose proof does not hold: who is to blame for a ring that does not close."""
    found = []
    for idx, said in enumerate(heard):
        try:
            prove2(run, idx, said, X, th1)
        except PeerFault:
            found.append(idx)
    return tuple(found)
