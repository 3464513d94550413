"""What a member says again, for others and for itself: its rounds, what it misses, and what it wants (Triad-1 3.5, 8)."""

from typing import Final

from keymote.engine.base import Now, Peer, replace
from keymote.engine.group import above
from keymote.engine.group.entering import signed_round1
from keymote.engine.group.participation import MemberStep, need, to_gateway
from keymote.engine.group.party import Party
from keymote.engine.group.rounds import missing1, missing2
from keymote.engine.group.states import AwaitCommit, AwaitR1, AwaitR2, MembershipCell, Phase, Wish
from keymote.engine.group.timing import ANSWER_EVERY_S
from keymote.wire.group import JoinClaims, Need, What
from keymote.wire.group_signed import write

_ROUNDS: Final[dict[int, int]] = {What.R1: 0, What.R2: 1, What.R3: 2}


def repeated(cell: MembershipCell, peer: Peer, wanted: Need, party: Party, now: Now) -> MemberStep:
    """Repeat what is ours in this run, the identical bytes, at most about once a second each."""
    upwards = above.asked(cell, wanted)
    if upwards is not None:
        return cell, upwards
    phase, place = cell.phase, _ROUNDS.get(wanted.what)
    if phase is None or place is None or phase.part.run.sid8 != wanted.of or phase.part.idx not in wanted.indices:
        return cell, ()
    if now.mono < cell.answered[place] + ANSWER_EVERY_S:
        return cell, ()
    said = _said(phase, wanted.what, party)
    if said is None:
        return cell, ()
    answered = cell.answered
    cell = replace(cell, answered=(*answered[:place], now.mono, *answered[place + 1 :]))
    return cell, to_gateway(replace(cell, gateway=peer), said)


def _said(phase: Phase, what: int, party: Party) -> bytes | None:
    match phase, what:
        case _, What.R1:
            return signed_round1(phase, party)
        case AwaitR2() | AwaitCommit(), What.R2:
            return phase.r2
        case AwaitCommit(), What.R3:
            return phase.r3
    return None


def pursued(cell: MembershipCell, party: Party, now: Now) -> MemberStep:
    """Say once more what this member wants."""
    pursuit = cell.pursuit
    assert pursuit is not None
    match pursuit.wish:
        case Wish.START:
            said = need(cell.gid, What.START, [0])
        case Wish.ROSTER:
            said = need(cell.gid, What.ROSTER, [0])
        case wish:
            claims = JoinClaims(cell.gid, wish, cell.newest, party.timestamp(now))
            said = write(party.signing, claims, kid=cell.lasting.place.kid)
    return replace(cell, pursuit=pursuit.again(now)), to_gateway(cell, said)


def missing(phase: Phase) -> bytes:
    """Return the NEED for what this phase waits for."""
    run = phase.part.run
    match phase:
        case AwaitR1():
            return need(run.sid8, What.R1, missing1(phase.hall))
        case AwaitR2():
            return need(run.sid8, What.R2, missing2(phase.hall))
        case AwaitCommit():
            return need(run.sid8, What.COMMIT, [phase.part.idx])
