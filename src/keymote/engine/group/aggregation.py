"""Masked aggregation at a member (Triad-1 3.9, 8): one report a period, and at most one answer to what takes masks off.

A period t runs Reported -> Agreeing -> Revealed. The gateway says by a signed bitmap who has reported. Were that enough, it
could tell one member that it is present, all others that it is absent, and learn both of the masks that hide its reading;
so a member reveals only after everybody who is present has signed the same bitmap (docs/decisions/0152). All of it is
volatile: after a restart a member reports again in the next epoch.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from keymote.crypto.entropy import Entropy
from keymote.crypto.suite import Point, SigningKey
from keymote.engine.base import replace
from keymote.engine.faces import Alarm
from keymote.engine.group.mask_ring import MaskRing
from keymote.engine.group.masks import Masks, MaskScalar
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.group import MaskKeyClaims
from keymote.wire.group_signed import read, write
from keymote.wire.masking import (
    MASK_SIZE,
    MaskAgreeClaims,
    MaskPresentClaims,
    MaskReportClaims,
    MaskRevealClaims,
)

# ------------------------------------------------------------------ states of a member


@dataclass(frozen=True, slots=True)
class AwaitMaskKeys:
    """The own MASKKEY is out (`wire`, to be repeated as it is); others' are missing."""

    ring: MaskRing
    idx: int
    scalar: MaskScalar
    wire: bytes
    heard: tuple[Point | None, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """All masks are agreed. `closed`: the last period for which this member says nothing more."""

    ring: MaskRing
    masks: Masks
    closed: int = -1


@dataclass(frozen=True, slots=True)
class Reported:
    """The report of period t is out."""

    ready: Ready
    t: int
    wire: bytes


@dataclass(frozen=True, slots=True)
class Agreeing:
    """The gateway's bitmap is held; `agreed` have signed the same one."""

    ready: Ready
    t: int
    present: bytes
    wire: bytes
    agreed: frozenset[int]


@dataclass(frozen=True, slots=True)
class Revealed:
    """The one answer for period t is given."""

    ready: Ready
    t: int
    present: bytes
    agreement: bytes
    wire: bytes = field(repr=False)


Masking = AwaitMaskKeys | Ready | Reported | Agreeing | Revealed


class Outcome(NamedTuple):
    """The new state, what must be sent to the gateway, and what an operator must look at."""

    state: Masking
    sends: tuple[bytes, ...] = ()
    alarms: tuple[Alarm, ...] = ()


def begin(ring: MaskRing, idx: int, signing: SigningKey, entropy: Entropy) -> Outcome:
    """Draw this epoch's scalar and send MASKKEY; th1 is known from round 1 on."""
    scalar = MaskScalar.draw(ring.suite, entropy)
    wire = write(signing, MaskKeyClaims(ring.sid8, idx, scalar.M), ring.th1)
    heard = tuple(scalar.M if j == idx else None for j in range(ring.n))
    return Outcome(AwaitMaskKeys(ring, idx, scalar, wire, heard), (wire,))


def hear_key(state: Masking, data: bytes) -> Masking:
    """Take a MASKKEY; with the last one the seeds are made and m_i is forgotten. A second, different one is E_STATE."""
    if not isinstance(state, AwaitMaskKeys):
        raise PeerFault(ErrorCode.E_STATE, "all mask keys are known")
    j, M = state.ring.hear_key(data)
    if state.heard[j] not in (None, M):
        raise PeerFault(ErrorCode.E_STATE, f"member {j} has sent another mask key")
    heard = tuple(M if place == j else known for place, known in enumerate(state.heard))
    public = [known for known in heard if known is not None]
    if len(public) < state.ring.n:
        return replace(state, heard=heard)
    return Ready(state.ring, Masks.agree(state.ring.suite, state.ring.sid, state.idx, state.scalar, public))


def report(state: Masking, signing: SigningKey, t: int, reading: int) -> Outcome:
    """Report a reading of period t, once: two readings under one mask would show their difference.

    Periods only go up; a new one closes the one before, whose masks then stay on for ever. E_STATE else.
    """
    if isinstance(state, AwaitMaskKeys):
        raise PeerFault(ErrorCode.E_STATE, "mask keys are missing", do="wait for all members' keys")
    ready = _ready(state)
    if t <= _period(state):
        raise PeerFault(ErrorCode.E_STATE, f"period {t} was reported before")
    masked = ready.masks.masked(t, reading).to_bytes(MASK_SIZE, "big")
    claims = MaskReportClaims(ready.ring.sid8, ready.masks.idx, t, masked)
    wire = write(signing, claims, ready.ring.sid)
    return Outcome(Reported(ready, t, wire), (wire,))


def hear_present(state: Masking, signing: SigningKey, data: bytes) -> Outcome:
    """Take the gateway's bitmap and sign it for the others; the same one again gets the same bytes.

    A first one that leaves this member out, or has too few, closes the period. Every other bitmap is E_STATE.
    """
    if isinstance(state, AwaitMaskKeys):
        raise PeerFault(ErrorCode.E_STATE, "mask keys are missing")
    ring = _ready(state).ring
    claimed = read(data, MaskPresentClaims, sizes_of(ring.suite.id))
    if claimed.kid != ring.gw_kid or claimed.claims.sid8 != ring.sid8:
        raise PeerFault(ErrorCode.E_STATE, "not of this run's gateway")
    claims = claimed.verified_by(ring.gw, ring.sid)
    present = ring.members_in(claims.present)
    match state:
        case Reported(ready, t) if claims.t == t:
            if ready.masks.idx not in present or len(present) < ring.least:
                why = f"period {t}: {len(present)} of {ring.n} present" + (
                    "" if ready.masks.idx in present else ", not I"
                )
                return Outcome(replace(ready, closed=t), (), (Alarm("masked report left out", ring.gw_kid, why),))
            agreement = MaskAgreeClaims(ring.sid8, ready.masks.idx, t, claims.present)
            wire = write(signing, agreement, ring.sid)
            return Outcome(Agreeing(ready, t, claims.present, wire, frozenset({ready.masks.idx})), (wire,))
        case Agreeing(t=t, present=held, wire=wire) if (claims.t, claims.present) == (t, held):
            return Outcome(state, (wire,))
        case Revealed(t=t, present=held, agreement=agreement) if (claims.t, claims.present) == (t, held):
            return Outcome(state, (agreement,))
    raise PeerFault(ErrorCode.E_STATE, "this period was answered, closed or never reported")


def hear_agreement(state: Masking, signing: SigningKey, data: bytes) -> Outcome:
    """Take another's signature of the bitmap; with the last of those present, reveal, and repeat that for repetitions.

    A verified one of another bitmap shows that the gateway has told two stories (B-25): who has not revealed yet closes
    the period.
    """
    if not isinstance(state, Agreeing | Revealed):
        raise PeerFault(ErrorCode.E_STATE, "no bitmap to agree on")
    ready, ring = state.ready, state.ready.ring
    claimed = read(data, MaskAgreeClaims, sizes_of(ring.suite.id))
    claims = claimed.verified_by(ring.key_of(claimed.claims.sid8, claimed.claims.idx), ring.sid)
    if claims.t != state.t:
        raise PeerFault(ErrorCode.E_STATE, f"agreement on period {claims.t}")
    if claims.present != state.present:
        why = f"two bitmaps of period {state.t}: one here, another at member {claims.idx}"
        alarm = Alarm("masked report equivocation", ring.gw_kid, why)
        return Outcome(state if isinstance(state, Revealed) else replace(ready, closed=state.t), (), (alarm,))
    if isinstance(state, Revealed):
        return Outcome(state, (state.wire,))
    agreed = state.agreed | {claims.idx}
    if not ring.members_in(state.present) <= agreed:
        return Outcome(replace(state, agreed=agreed))
    wire = _reveal(state, signing)
    return Outcome(Revealed(ready, state.t, state.present, state.wire, wire), (wire,))


def _reveal(state: Agreeing, signing: SigningKey) -> bytes:
    """Return the one answer to a bitmap that all present have signed: b, and r towards each who is absent."""
    ring, masks, t = state.ready.ring, state.ready.masks, state.t
    absent = sorted(frozenset(range(ring.n)) - ring.members_in(state.present))
    own = masks.own_mask(t).to_bytes(MASK_SIZE, "big")
    shared = b"".join(masks.shared_mask(j, t).to_bytes(MASK_SIZE, "big") for j in absent)
    return write(signing, MaskRevealClaims(ring.sid8, masks.idx, t, state.present, own, shared), ring.sid)


def _ready(state: Ready | Reported | Agreeing | Revealed) -> Ready:
    return state if isinstance(state, Ready) else state.ready


def _period(state: Ready | Reported | Agreeing | Revealed) -> int:
    return state.closed if isinstance(state, Ready) else state.t
