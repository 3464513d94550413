"""How a gateway leads a run from the first R1 to COMMIT, and what it does about those who cheat (Triad-1 3.6)."""

from collections.abc import Sequence
from typing import Final

from keymote.engine.base import Now, Peer, Refused, Tell, replace
from keymote.engine.group import ring
from keymote.engine.group.announcing import announced, handed_on
from keymote.engine.group.enlisting import RingStep, without
from keymote.engine.group.faces import MemberBlamed, RingCommitted
from keymote.engine.group.party import Party
from keymote.engine.group.ring_states import (
    CollectR1,
    CollectR2,
    CollectR3,
    Evidence,
    Heard3,
    Intended,
    Patience,
    Resting,
    RingCell,
    Running,
)
from keymote.engine.group.root_faces import KcvReported, TopAgreed, root_gateway_of
from keymote.engine.group.rounds import (
    DISPUTED,
    Heard1,
    Run,
    Scrutiny,
    Slot1,
    authenticate2,
    complete1,
    hear1,
    payload1,
    placed,
    prove2,
    read2,
    sound2,
)
from keymote.engine.group.starting import COMPROMISED
from keymote.engine.group.timing import START_EVERY_S, Asking, gateway_patience_s
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.group import BlameClaims, CommitClaims, Round3, Round3Claims, SignedRound3
from keymote.wire.group_fields import Cause
from keymote.wire.group_signed import read, write
from keymote.wire.registry import peek

SCRUTINY: Final = Scrutiny(round1=True, round2=True, proofs=True, compact=True)
"""A gateway verifies everything that is public, so that it can name a cheater without holding a key."""


# ------------------------------------------------------------------ round 1


def heard_round1(cell: RingCell, stage: CollectR1, peer: Peer, data: bytes, party: Party, now: Now) -> RingStep:
    """Take in an R1; when it was the last one, go on to round 2."""
    run = stage.run
    hall = list(stage.hall)
    idx = hear1(run, hall, data, party.keys, SCRUTINY, party.wall(now))
    if idx is None:
        return cell, ()
    slot = hall[idx]
    if isinstance(slot, Heard1) and slot.verified:
        cell = located(cell, run.held.entries[idx].kid, peer)
    stage = replace(stage, hall=tuple(hall), patience=stage.patience._replace(asking=Asking.after_progress(now)))
    return _round1_closed(replace(cell, stage=stage), stage, party, now)


def located(cell: RingCell, kid: bytes, peer: Peer) -> RingCell:
    """Remember where a member was heard, by a message that it signed."""
    return cell if cell.peers.get(kid) == peer else replace(cell, peers={**cell.peers, kid: peer})


def _round1_closed(cell: RingCell, stage: CollectR1, party: Party, now: Now) -> RingStep:
    heard = complete1(stage.hall)
    if heard is None:
        return cell, ()
    run = stage.run
    if not ring.distinct([said.X for said in heard]):
        return _collided(cell, run, frozenset(ring.first_repeated([said.X for said in heard])), now)
    th1 = ring.th1_of(run.sid, [said.payload for said in heard])
    patience = Patience(now.mono + gateway_patience_s(run.n), Asking.after_progress(now))
    unsigned = frozenset(idx for idx, said in enumerate(heard) if not said.signed)
    said1, X = tuple(said.wire for said in heard), tuple(said.X for said in heard)
    collecting = CollectR2(run, patience, said1, unsigned, X, th1, (None,) * run.n)
    cell = replace(cell, stage=collecting)
    outputs = handed_on(cell, run, said1)
    for peer, data in stage.early.values():
        if not isinstance(cell.stage, CollectR2):
            break
        try:
            cell, more = heard_round2(cell, cell.stage, peer, data, party, now)
        except PeerFault as fault:
            more = [Refused(peer, fault.code, fault.what)]
        outputs += more
    return cell, outputs


def _collided(cell: RingCell, run: Run, who: frozenset[int], now: Now) -> RingStep:
    """Two members sent one X: try again with fresh ones. Copier and copied look alike until R2, so nobody is evicted."""
    kids = tuple(run.held.entries[idx].kid for idx in sorted(who))
    again = Intended(run.claims.reason, new_epoch=False, at=max(now.mono + 1.0, cell.started_at + START_EVERY_S))
    refused = Refused("", ErrorCode.E_DUPX, f"{len(kids)} members sent one X: {', '.join(kid.hex() for kid in kids)}")
    return replace(cell, stage=Resting(), intended=again), [refused]


# ------------------------------------------------------------------ round 2


def heard_round2(cell: RingCell, stage: CollectR2, peer: Peer, data: bytes, party: Party, now: Now) -> RingStep:
    """Take in an R2; one that its member signed and that does not hold is that member's fault (GR-42)."""
    run = stage.run
    claimed = read2(run, data)
    idx = claimed.claims.idx
    if stage.said2[idx] is not None:
        return cell, ()
    try:
        authenticate2(run, claimed, stage.th1, party.keys)
    except PeerFault as fault:
        return _doubting(cell, stage, fault, peer, party, now)
    try:
        prove2(run, idx, sound2(run, claimed), stage.X, stage.th1)
    except PeerFault as fault:
        return blamed(cell, run, idx, fault.code, data, party, now)
    cell = located(cell, run.held.entries[idx].kid, peer)
    stage = replace(
        stage,
        said2=placed(stage.said2, idx, data),
        senders={**stage.senders, idx: peer},
        patience=stage.patience._replace(asking=Asking.after_progress(now)),
    )
    return _round2_closed(replace(cell, stage=stage), stage, party, now)


def _doubting(cell: RingCell, stage: CollectR2, fault: PeerFault, peer: Peer, party: Party, now: Now) -> RingStep:
    """An R2 over another th1 than ours: if some R1 came unsigned, one of those may be forged; ask for their signed forms."""
    if not stage.unsigned:
        raise fault
    run, wall = stage.run, party.wall(now)
    hall: list[Slot1] = [DISPUTED if idx in stage.unsigned else None for idx in range(run.n)]
    for idx, said in enumerate(stage.said1):
        if idx not in stage.unsigned:
            hear1(run, hall, said, party.keys, SCRUTINY, wall)
    early = {idx: (stage.senders[idx], said) for idx, said in enumerate(stage.said2) if said is not None}
    patience = stage.patience._replace(asking=Asking(now.mono))
    refused = Refused(peer, fault.code, fault.what)
    return replace(cell, stage=CollectR1(run, patience, tuple(hall), early)), [refused]


def heard_signature(cell: RingCell, stage: CollectR2 | CollectR3, data: bytes, party: Party, now: Now) -> RingStep:
    """Take in the signed form of an R1 that came without one, for those who verify it."""
    run = stage.run
    hall: list[Slot1] = [DISPUTED] * run.n
    idx = hear1(run, hall, data, party.keys, SCRUTINY, party.wall(now))
    said = None if idx is None else hall[idx]
    if idx not in stage.unsigned or not isinstance(said, Heard1) or said.payload != payload1(run, stage.said1[idx]):
        return cell, ()
    said1 = (*stage.said1[:idx], data, *stage.said1[idx + 1 :])
    return replace(cell, stage=replace(stage, said1=said1, unsigned=stage.unsigned - {idx})), ()


def _round2_closed(cell: RingCell, stage: CollectR2, party: Party, now: Now) -> RingStep:
    said2 = tuple(said for said in stage.said2 if said is not None)
    run = stage.run
    if len(said2) < run.n:
        return cell, ()
    th2 = ring.th2_of(stage.th1, [read2(run, said).payload for said in said2])
    patience = Patience(now.mono + gateway_patience_s(run.n), Asking.after_progress(now))
    collecting = CollectR3(run, patience, stage.said1, stage.unsigned, said2, th2, stage.senders, (None,) * run.n)
    cell = replace(cell, stage=collecting)
    outputs = handed_on(cell, run, said2)
    for peer, data in stage.early.values():
        if not isinstance(cell.stage, CollectR3):
            break
        try:
            cell, more = heard_round3(cell, cell.stage, peer, data, party, now)
        except PeerFault as fault:
            more = [Refused(peer, fault.code, fault.what)]
        outputs += more
    return cell, outputs


def blamed(cell: RingCell, run: Run, idx: int, code: ErrorCode, message: bytes, party: Party, now: Now) -> RingStep:
    """Name a cheater, leave it out, and begin a new epoch at once; without the right to sign rosters wait for the RA."""
    kid = run.held.entries[idx].kid
    claims = BlameClaims(run.sid8, idx, int(code))
    blame = write(party.signing, claims, run.sid, kid=cell.lasting.charter.gw_kid)
    outputs = announced(cell, blame)
    cell = replace(cell, stage=Resting(), evidence=Evidence(run.sid8, blame, message))
    amended = without(cell, [kid], party, now)
    outputs.append(MemberBlamed(cell.gid, run.claims.epoch, kid, code, message, evicted=amended is not None))
    if amended is None:
        lasting = replace(cell.lasting, wake_at=0)
        return replace(cell, lasting=lasting), outputs
    cell, more = amended
    at_once = Intended(Cause(COMPROMISED, run.claims.reason.psk_id), new_epoch=True, at=now.mono)
    return replace(cell, intended=at_once), [*outputs, *more]


# ------------------------------------------------------------------ round 3 and COMMIT


def heard_round3(cell: RingCell, stage: CollectR3, peer: Peer, data: bytes, party: Party, now: Now) -> RingStep:
    """Take in a confirmation from where that member's R2 came; when it was the last one, COMMIT."""
    run = stage.run
    idx, heard = _read3(run, data, party)
    if cell.lasting.plan.gid_root and not heard.kcv:
        raise PeerFault(ErrorCode.E_FORMAT, "an R3 without signature in a top ring")
    if stage.senders[idx] != peer:
        raise PeerFault(ErrorCode.E_AUTH, f"R3 of idx {idx} from another address than its R2")
    if stage.hall[idx] is not None:
        return cell, ()
    patience = stage.patience._replace(asking=Asking.after_progress(now))
    stage = replace(stage, hall=placed(stage.hall, idx, heard), patience=patience)
    cell = replace(cell, stage=stage)
    every = [said for said in stage.hall if said is not None]
    return _committed(cell, stage, every, party, now) if len(every) == run.n else (cell, ())


def _read3(run: Run, data: bytes, party: Party) -> tuple[int, Heard3]:
    """Return the position and what an R3 says, in either form; a signed one is verified (E_AUTH)."""
    _, count = peek(data)
    if count == _SIGNED_ELEMENTS:
        claimed = read(data, Round3Claims, run.sizes)
        sid8, idx, tag, kcv = claimed.claims.sid8, claimed.claims.idx, claimed.claims.tag, claimed.claims.kcv
    else:
        said = Round3.decode(data, run.sizes)
        claimed, sid8, idx, tag, kcv = None, said.sid8, said.idx, said.tag, b""
    if sid8 != run.sid8:
        raise PeerFault(ErrorCode.E_STATE, "R3 of another run")
    if idx >= run.n:
        raise PeerFault(ErrorCode.E_FORMAT, f"idx {idx} in a ring of {run.n}")
    if claimed is not None:
        claimed.verified_by(party.keys(run.suite.id, run.held.entries[idx].sig_pk), run.sid)
    return idx, Heard3(tag, kcv, data)


_SIGNED_ELEMENTS: Final = 1 + len(SignedRound3.__annotations__)


def _committed(cell: RingCell, stage: CollectR3, every: Sequence[Heard3], party: Party, now: Now) -> RingStep:
    """Say that everybody has confirmed. It is on disk before it leaves: this epoch is never tried again (GR-40)."""
    run, lasting = stage.run, cell.lasting
    xor_tag = ring.xor([said.tag for said in every])
    claims = CommitClaims(run.sid8, stage.th2, xor_tag)
    commit = write(party.signing, claims, run.sid, kid=lasting.charter.gw_kid)
    lifetime_s = run.claims.lifetime_s
    lasting = replace(lasting, commit=commit, wake_at=now.wall + lifetime_s if lifetime_s else 0)
    intended = cell.intended if cell.intended is not None and cell.intended.new_epoch else None
    running = Running(run, stage.said1, stage.said2, tuple(said.wire for said in every))
    cell = replace(cell, lasting=lasting, stage=running, intended=intended)
    kids = run.held.kids
    kcvs = {kid: said.kcv for kid, said in zip(kids, every, strict=True) if said.kcv}
    report = RingCommitted(cell.gid, *run.number, run.sid, xor_tag[:8], kids, kcvs)
    outputs = [*announced(cell, commit), report]
    if lasting.plan.gid_root:
        outputs.append(Tell(root_gateway_of(lasting.plan.gid_root), TopAgreed(run.sid, kids, kcvs)))
    return cell, outputs


def reported_kcv(cell: RingCell, data: bytes, party: Party) -> RingStep:
    """Hand the root gateway what a member of the top ring has signed after COMMIT: R3 with a tag of zeros (Triad-1 8).

    The run is read from its START, so that this works after a restart, too.
    """
    lasting, claims = cell.lasting, cell.lasting.started()
    if not (lasting.plan.gid_root and lasting.commit and claims and claims.roster_hash == lasting.held.digest):
        return cell, ()
    sid = ring.sid_of(claims.encode())
    idx, heard = _read3(Run(claims, sid, lasting.held, party.suite), data, party)
    if not heard.kcv or any(heard.tag):
        return cell, ()
    word = KcvReported(sid[: ring.SID8], lasting.held.entries[idx].kid, heard.kcv)
    return cell, [Tell(root_gateway_of(lasting.plan.gid_root), word)]
