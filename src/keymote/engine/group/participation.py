"""A member's part in a run from the others' R1 to the key (3.6). Whatever does not fit ends it and keeps the old epoch."""

from collections.abc import Sequence
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import equal
from keymote.engine.base import MULTICAST, Now, Output, Peer, Refused, Send, Tell, replace
from keymote.engine.group import above, ring
from keymote.engine.group.charter import spoken_by
from keymote.engine.group.epoch import GroupEpoch
from keymote.engine.group.faces import HERE, EpochErased, FromMember, GroupReady, RunFailed, ring_of
from keymote.engine.group.party import Party
from keymote.engine.group.payload import Payload, activate, expect
from keymote.engine.group.rounds import (
    Heard1,
    Heard2,
    Run,
    authenticate2,
    complete1,
    complete2,
    culprits,
    hear1,
    missing1,
    prove2,
    read2,
    sound2,
    vetted1,
)
from keymote.engine.group.states import AwaitCommit, AwaitR1, AwaitR2, Epoch, MembershipCell, Wish
from keymote.engine.group.timing import ASK_EVERY_S, Asking, Pursuit, member_patience_s
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.group import CommitClaims, Need, Round2Claims, What, bitmap
from keymote.wire.group_signed import Claimed, write_payload

COMPROMISE: Final = 4
"""The reason for a run after which the old epoch is not received for a moment longer."""

MemberStep = tuple[MembershipCell, Sequence[Output]]


# ------------------------------------------------------------------ speaking


def to_gateway(cell: MembershipCell, data: bytes) -> list[Output]:
    """Return what brings a message to the gateway."""
    if cell.gateway == HERE:
        return [Tell(ring_of(cell.gid), FromMember(data))]
    return [Send(cell.gateway, data)]


def to_ring(cell: MembershipCell, data: bytes) -> list[Output]:
    """Return what brings a message to everybody: by multicast, or by the gateway, which hands it on."""
    if not cell.lasting.place.multicast:
        return to_gateway(cell, data)
    return [Send(MULTICAST, data), *(to_gateway(cell, data) if cell.gateway == HERE else ())]


def need(of: bytes, what: int, positions: Sequence[int]) -> bytes:
    """Return a NEED for one or many positions."""
    return Need(of, what, positions[0] if len(positions) == 1 else bitmap(positions)).encode()


# ------------------------------------------------------------------ round 1


def heard_round1(
    cell: MembershipCell, phase: AwaitR1, peer: Peer, said: Sequence[bytes], party: Party, now: Now, entropy: Entropy
) -> MemberStep:
    """Take in R1 of others, one or as many as came together; when nobody is missing, send R2."""
    run, scrutiny, keys, wall = phase.part.run, phase.part.scrutiny, party.keys, party.wall(now)
    hall, progress = list(phase.hall), False
    refused: list[Output] = []
    for data in said:
        try:
            progress |= hear1(run, hall, data, keys, scrutiny, wall) is not None
        except PeerFault as fault:
            refused.append(Refused(peer, fault.code, fault.what))
    if not progress:
        return cell, refused
    heard = complete1(hall)
    if heard is None:
        waiting = replace(phase, hall=tuple(hall), asking=Asking.after_progress(now))
        return replace(cell, phase=waiting), refused
    cell, outputs = _contributed(cell, phase, heard, party, now, entropy)
    return cell, [*refused, *outputs]


def _contributed(
    cell: MembershipCell, phase: AwaitR1, heard: Sequence[Heard1], party: Party, now: Now, entropy: Entropy
) -> MemberStep:
    """Send R2 now that all R1 are here, if nobody's X is another one's (GR-10)."""
    part = phase.part
    run = part.run
    X = tuple([said.X for said in heard])
    if not ring.distinct(X):
        hall = vetted1(run, tuple(heard), sorted(ring.first_repeated(X)), party.keys)
        if complete1(hall) is not None:
            return failed(cell, ErrorCode.E_DUPX, now)
        waiting = replace(phase, hall=hall, asking=Asking.after_progress(now))
        return replace(cell, phase=waiting), to_gateway(cell, need(run.sid8, What.R1, missing1(hall)))
    th1 = ring.th1_of(run.sid, [said.payload for said in heard])
    Y, dleq = ring.contribute(run.suite, part.idx, phase.x, X, th1, entropy)
    payload = Round2Claims(run.sid8, part.idx, Y, dleq).encode()
    r2 = write_payload(party.signing, Round2Claims, payload, th1)
    open_hall: list[Heard2 | None] = [None] * run.n
    open_hall[part.idx] = Heard2(payload, Y, dleq)
    until, asking = now.mono + member_patience_s(run.n), Asking.after_progress(now)
    waiting2 = AwaitR2(part, until, asking, phase.x, phase.claims, X, th1, r2, tuple(open_hall))
    cell = replace(cell, phase=waiting2)
    outputs = to_ring(cell, r2)
    early = [data for data in phase.early if data is not None]
    cell, more = heard_round2(cell, waiting2, "", early, party, now)
    return cell, [*outputs, *more]


def early_round2(cell: MembershipCell, phase: AwaitR1, said: Sequence[bytes]) -> MembershipCell:
    """Keep R2 that overtook somebody's R1, unread, one for each position."""
    early = list(phase.early)
    for data in said:
        idx = read2(phase.part.run, data).claims.idx
        early[idx] = early[idx] or data
    return replace(cell, phase=replace(phase, early=tuple(early)))


# ------------------------------------------------------------------ round 2


def heard_round2(
    cell: MembershipCell, phase: AwaitR2, peer: Peer, said: Sequence[bytes], party: Party, now: Now
) -> MemberStep:
    """Take in R2 of others, one or as many as came together; when nobody is missing, derive the key and send R3."""
    hall, progress = list(phase.hall), False
    refused: list[Output] = []
    for data in said:
        try:
            progress |= data != phase.r2 and _hear2(phase, hall, data, party)
        except PeerFault as fault:
            refused.append(Refused(peer, fault.code, fault.what))
    if not progress:
        return cell, refused
    heard = complete2(hall)
    if heard is None:
        waiting = replace(phase, hall=tuple(hall), asking=Asking.after_progress(now))
        return replace(cell, phase=waiting), refused
    cell, outputs = _derived(cell, phase, heard, party, now)
    return cell, [*refused, *outputs]


def _hear2(phase: AwaitR2, hall: list[Heard2 | None], data: bytes, party: Party) -> bool:
    """Take an R2 into the hall; return whether it brings something new. E_R2SIG, E_DLEQ or E_FORMAT refuse it."""
    part = phase.part
    claimed = read2(part.run, data)
    idx = claimed.claims.idx
    if hall[idx] is not None:
        return False
    heard = sound2(part.run, claimed)
    if part.scrutiny.round2:
        authenticate2(part.run, claimed, phase.th1, party.keys)
    if part.scrutiny.proofs:
        prove2(part.run, idx, heard, phase.X, phase.th1)
    hall[idx] = heard
    return True


def _derived(cell: MembershipCell, phase: AwaitR2, heard: Sequence[Heard2], party: Party, now: Now) -> MemberStep:
    """Derive MK now that all R2 are here, and erase x (GR-35); a ring that does not close ends the run (GR-09)."""
    part = phase.part
    run = part.run
    try:
        gk_pub = ring.group_secret(run.suite, part.idx, phase.x, phase.X, [said.Y for said in heard])
    except PeerFault as fault:
        return failed(cell, fault.code, now, culprits(run, phase.X, heard, phase.th1))
    th2 = ring.th2_of(phase.th1, [said.payload for said in heard])
    mk = ring.master_key(gk_pub, th2, part.psk)
    tags = ring.tags(mk, run.sid, th2, run.held.kids)
    r3 = above.round3(cell, run, part.idx, mk, tags[part.idx], party)
    patience = member_patience_s(run.n)
    until, asking = now.mono + patience, Asking.throughout(now, patience)
    waiting = AwaitCommit(part, until, asking, mk, phase.th1, th2, ring.xor(tags), phase.claims, phase.r2, r3)
    cell = replace(cell, phase=waiting, payload=expect(cell.payload, run.claims.epoch))
    outputs = to_gateway(cell, r3)
    if phase.early is not None:
        cell, more = confirmed(cell, waiting, phase.early, now)
        outputs += more
    return cell, outputs


# ------------------------------------------------------------------ COMMIT


def committed_by_gateway(cell: MembershipCell, run: Run, claimed: Claimed[CommitClaims], party: Party) -> CommitClaims:
    """Return what a COMMIT of this run says; E_ROSTER unless the gateway signed it."""
    if claimed.claims.sid8 != run.sid8:
        raise PeerFault(ErrorCode.E_STATE, "COMMIT of another run")
    charter = cell.lasting.charter
    return spoken_by(claimed, charter.gw_kid, party.keys(charter.suite, charter.gw_pk), run.sid)


def confirmed(cell: MembershipCell, phase: AwaitCommit, commit: CommitClaims, now: Now) -> MemberStep:
    """Make the key the group's if all members have it (GR-36); else erase it and stay where we are (GR-37)."""
    if not (equal(commit.th2, phase.th2) and equal(commit.xor_tag, phase.xor_tag)):
        return failed(cell, ErrorCode.E_CONFIRM, now)
    part, lasting = phase.part, cell.lasting
    run, claims = part.run, part.run.claims
    group = GroupEpoch(run.suite, cell.gid, claims.epoch, phase.mk, run.held.entries, part.idx)
    epoch = Epoch(group, run.sid, phase.th1, phase.xor_tag[:8])
    payload, opened = activate(cell.payload, group, now, compromised=claims.reason.reason == COMPROMISE)
    over = erased(cell.payload, payload)
    ready = GroupReady(cell.gid, claims.epoch, run.sid, epoch.key_id, part.idx, run.n, claims.reason, claims.lifetime_s)
    lasting = replace(lasting, active=epoch)
    cell = replace(cell, lasting=lasting, payload=payload, phase=None)
    return cell, [ready, *over, *opened, *above.keyed(cell)]


def erased(before: Payload, after: Payload) -> list[Output]:
    """Return the reports on epochs that cannot be opened here any more."""
    kept = {traffic.epoch.epoch for traffic in (after.current, after.previous) if traffic is not None}
    had = [traffic.epoch.epoch for traffic in (before.previous, before.current) if traffic is not None]
    return [EpochErased(before.gid, number) for number in had if number not in kept]


# ------------------------------------------------------------------ the end without a key


def failed(cell: MembershipCell, code: ErrorCode, now: Now, guilty: tuple[int, ...] = ()) -> MemberStep:
    """Erase the run, ask who is to blame, and go on asking for a run to take part in; the old epoch stays (GR-37)."""
    assert cell.phase is not None
    part = cell.phase.part
    run = part.run
    outputs: list[Output] = [RunFailed(cell.gid, *run.number, code, guilty)]
    if code is not ErrorCode.E_TIMEOUT:
        outputs += to_gateway(cell, need(run.sid8, What.EVIDENCE, [part.idx]))
    payload = expect(cell.payload, None)
    return replace(cell, phase=None, payload=payload, failed=run, pursuit=chase(cell, now)), outputs


def chase(cell: MembershipCell, now: Now) -> Pursuit | None:
    """Return the pursuit of a member that has missed a run: JOINREQ after a moment, unless it stands by or wants to leave."""
    if cell.lasting.place.standby:
        return None
    if cell.pursuit is not None and cell.pursuit.wish == Wish.LEAVE:
        return cell.pursuit
    return Pursuit(Wish.JOIN, now.mono + ASK_EVERY_S)
