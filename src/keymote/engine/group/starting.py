"""When and how a gateway begins a run: the pace of STARTs, a run with another roster, and one without the silent (3.6)."""

from collections.abc import Sequence
from math import ceil
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.engine.base import Now, Output, replace
from keymote.engine.group import ring
from keymote.engine.group.announcing import announced
from keymote.engine.group.enlisting import RingStep, without
from keymote.engine.group.faces import MembersAbsent, RunStarted
from keymote.engine.group.party import Party
from keymote.engine.group.ring_states import (
    Collecting,
    CollectR1,
    CollectR2,
    CollectR3,
    Intended,
    Patience,
    Resting,
    RingCell,
    Running,
    most_absent,
)
from keymote.engine.group.rounds import Heard1, Run
from keymote.engine.group.timing import BEACON_S, START_EVERY_S, Asking, gateway_patience_s, timeout_s
from keymote.wire.group import StartClaims
from keymote.wire.group_fields import Cause
from keymote.wire.group_signed import write

LEFT: Final = 3
COMPROMISED: Final = 4
"""Why a run is begun that does not wait for the pace of STARTs."""
_ROUNDS: Final = 3


def wanted(
    cell: RingCell,
    cause: Cause,
    party: Party,
    now: Now,
    entropy: Entropy,
    *,
    urgent: bool = False,
    new_epoch: bool = False,
) -> RingStep:
    """Begin a run, or intend to as soon as the pace of STARTs allows; only an eviction does not wait (GR-46, GR-55)."""
    at = cell.started_at + START_EVERY_S
    if urgent or now.mono >= at:
        return started(cell, cause, party, now, entropy, new_epoch=new_epoch)
    before = cell.intended
    if before is not None and before.cause.reason == COMPROMISED:
        cause = before.cause
    intended = Intended(cause, new_epoch or (before is not None and before.new_epoch), at)
    by_then = now.wall + ceil(at - now.mono)  # should a restart forget the intention
    lasting = replace(cell.lasting, wake_at=min(cell.lasting.wake_at or by_then, by_then))
    return replace(cell, intended=intended, lasting=lasting), ()


def started(
    cell: RingCell, cause: Cause, party: Party, now: Now, entropy: Entropy, *, new_epoch: bool = False
) -> RingStep:
    """Send START: of the next epoch if the newest one is agreed on, of the next attempt if it is not (GR-40).

    The number is durable before it leaves, and so is COMMIT: an epoch that was committed is never tried again.
    """
    lasting, cause = cell.lasting, hedged(cell, cause)
    held, plan = lasting.held, lasting.plan
    epoch, attempt = lasting.number
    fresh = not lasting.start or new_epoch or bool(lasting.commit)
    epoch, attempt = (epoch + 1, 0) if fresh else (epoch, attempt + 1)
    claims = StartClaims(
        cell.gid,
        epoch,
        attempt,
        plan.mode,
        len(held.entries),
        held.digest,
        entropy.draw(16),
        party.timestamp(now),
        plan.lifetime_s,
        cause,
    )
    start = write(party.signing, claims, kid=lasting.charter.gw_kid)
    run = Run(claims, ring.sid_of(claims.encode()), held, party.suite)
    patience = Patience(now.mono + gateway_patience_s(run.n), Asking.after_progress(now))
    wake_at = now.wall + int(_ROUNDS * gateway_patience_s(run.n)) + 1
    cell = replace(
        cell,
        lasting=replace(lasting, start=start, commit=b"", wake_at=wake_at),
        stage=CollectR1(run, patience, (None,) * run.n),
        started_at=now.mono,
        intended=None,
        beacon_at=now.mono + BEACON_S,
    )
    report = RunStarted(cell.gid, epoch, attempt, held.kids, cause)
    return cell, [report, *announced(cell, start)]


def hedged(cell: RingCell, cause: Cause) -> Cause:
    """Return `cause` with the hedge that this run can have: a member without it could not take part (GH-01)."""
    if not cell.hedges:
        return cause
    kids = cell.lasting.held.kids
    psk_id = next((hedge.psk_id for hedge in cell.hedges if hedge.holders.issuperset(kids)), b"")
    return Cause(cause.reason, psk_id)


def renewed(
    cell: RingCell, outputs: Sequence[Output], reason: int, party: Party, now: Now, entropy: Entropy
) -> RingStep:
    """Begin a run with another roster; whoever must go does not wait for the pace of STARTs."""
    if not isinstance(cell.stage, Running):
        cell = replace(cell, stage=Resting())
    cell, more = wanted(cell, Cause(reason), party, now, entropy, urgent=reason >= LEFT)
    return cell, [*outputs, *more]


# ------------------------------------------------------------------ the silent


def given_up(
    cell: RingCell, stage: Collecting, missing: Sequence[int], party: Party, now: Now, entropy: Entropy
) -> RingStep:
    """Go on without those who did not answer: with a roster that lacks them, or again with all where only the RA can (GR-43)."""
    run = stage.run
    gone = tuple(run.held.entries[idx] for idx in missing)
    kids = tuple(entry.kid for entry in gone)
    cause = run.claims.reason
    amended = without(cell, kids, party, now) if run.held == cell.lasting.held else None
    report = MembersAbsent(cell.gid, run.claims.epoch, kids, excluded=amended is not None)
    if amended is None:
        pause = timeout_s(run.n)
        again = Intended(cause, new_epoch=False, at=now.mono + pause)
        return replace(cell, stage=Resting(), intended=again), [report]
    cell, outputs = amended
    lasting = replace(cell.lasting, absent=(*cell.lasting.absent, *gone))
    cell = replace(cell, lasting=replace(lasting, absent=most_absent(lasting)))
    cell, more = started(cell, cause, party, now, entropy)
    return cell, [report, *outputs, *more]


def positions_missing(stage: Collecting) -> Sequence[int]:
    """Return who has not answered in this round."""
    match stage:
        case CollectR1(hall=hall1):
            return [idx for idx, slot in enumerate(hall1) if not isinstance(slot, Heard1)]
        case CollectR2(said2=said2):
            return [idx for idx, said in enumerate(said2) if said is None]
        case CollectR3(hall=hall3):
            return [idx for idx, slot in enumerate(hall3) if slot is None]
