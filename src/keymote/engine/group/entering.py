"""How a member enters a run: from START, whoever speaks it, to its own R1 (Triad-1 3.6)."""

from collections.abc import Sequence
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.engine.base import Now, Output, Peer, Refused, replace
from keymote.engine.group.belonging import roster_asked
from keymote.engine.group.charter import Held, check_mode, refuse, spoken_by
from keymote.engine.group.faces import HERE, Level
from keymote.engine.group.participation import MemberStep, chase, to_ring
from keymote.engine.group.party import Party
from keymote.engine.group.ring import sid_of
from keymote.engine.group.rounds import Heard1, Run, Scrutiny
from keymote.engine.group.states import AwaitR1, MembershipCell, Part, Phase, Wish
from keymote.engine.group.timing import Asking, Pursuit, is_fresh, member_patience_s
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.group import RELAY, Round1Claims, Round1Compact, StartClaims
from keymote.wire.group_signed import Claimed, read, write_payload

_SCRUTINY: Final = {
    Level.V0: Scrutiny(round1=False, round2=False, proofs=False, compact=True),
    Level.V1: Scrutiny(round1=False, round2=True, proofs=False, compact=True),
    Level.V2: Scrutiny(round1=True, round2=True, proofs=True, compact=False),
}


def heard_start(cell: MembershipCell, peer: Peer, data: bytes, party: Party, now: Now, entropy: Entropy) -> MemberStep:
    """Take part in the run of a START; ask for what is lacking where it is authentic and we cannot."""
    outputs: Sequence[Output]
    claimed = read(data, StartClaims, sizes_of(party.signing.suite_id))
    lasting = cell.lasting
    sid = sid_of(claimed.payload)
    if sid[:8] == lasting.seen_sid8:
        return _start_again(cell, now)
    if claimed.kid != lasting.charter.gw_kid and claimed.claims.gid == cell.gid:
        unheard_of = Refused(peer, ErrorCode.E_ROSTER, "START of a gateway that no delegation names here")
        asked, outputs = roster_asked(replace(cell, gateway=peer), now)
        return replace(asked, gateway=cell.gateway), [unheard_of, *outputs]
    authentic_start(cell, claimed, party, now)
    gateway = HERE if cell.lasting.place.gateway == HERE else peer
    known, newest = cell.newest, sid[:8]
    cell = replace(cell, gateway=gateway, newest=newest)
    try:
        part = part_in(cell, claimed, sid, party)
    except PeerFault as fault:
        outputs = [Refused(peer, fault.code, fault.what)]
        held = cell.lasting.held
        if held is None or held.digest != claimed.claims.roster_hash:
            cell, said = roster_asked(cell, now)
            outputs = [*outputs, *said]
        elif held.position(cell.lasting.place.kid) is None:
            cell = replace(cell, pursuit=_outside(cell, now, news=newest != known))
        return cell, outputs
    return begin(cell, part, party, now, entropy)


def _start_again(cell: MembershipCell, now: Now) -> MemberStep:
    """The newest START that we know is still the newest: nothing to do in its run or in its epoch, else ask to be let in."""
    pursuit = cell.pursuit
    if cell.phase is not None or (pursuit is not None and pursuit.wish == Wish.LEAVE):
        return cell, ()
    if not cell.lasting.is_behind:
        return (cell, ()) if pursuit is None else (replace(cell, pursuit=None), ())
    if pursuit is not None and pursuit.wish == Wish.JOIN and pursuit.at <= now.mono + 1.0:
        return cell, ()
    return replace(cell, pursuit=chase(cell, now)), ()


def _outside(cell: MembershipCell, now: Now, *, news: bool) -> Pursuit | None:
    """Return what a member wants that an authentic START does not name: to be let in, for what it was looking for is here."""
    if cell.pursuit is None or cell.pursuit.wish in (Wish.START, Wish.ROSTER):
        return chase(cell, now)
    return cell.pursuit.afresh(now) if news else cell.pursuit.nudged(now)


# ------------------------------------------------------------------ an authentic START


def authentic_start(cell: MembershipCell, claimed: Claimed[StartClaims], party: Party, now: Now) -> StartClaims:
    """Return what a START says that is the gateway's and newer than all before (GR-30, GR-31).

    Raises:
        PeerFault: E_ROSTER for a gateway that may not, E_EPOCH for a number that is not higher, E_REPLAY for a timestamp
            that is off.
    """
    lasting, claims = cell.lasting, claimed.claims
    charter, active = lasting.charter, lasting.active
    if claims.gid != charter.gid or not charter.gw_kid:
        refuse("START of a gateway that nobody has named for this group")
    if (claims.epoch, claims.attempt) <= lasting.seen or (active is not None and claims.epoch <= active.number):
        raise PeerFault(ErrorCode.E_EPOCH, f"run {claims.epoch}.{claims.attempt}, {lasting.seen} was accepted before")
    spoken_by(claimed, charter.gw_kid, party.keys(charter.suite, charter.gw_pk))
    if not is_fresh(claims.ts, party.wall(now)):
        raise PeerFault(ErrorCode.E_REPLAY, "timestamp of START is off")
    return claims


def part_in(cell: MembershipCell, claimed: Claimed[StartClaims], sid: bytes, party: Party) -> Part:
    """Return this member's part in a run whose START is authentic (GR-32 to GR-34).

    Raises:
        PeerFault: E_ROSTER for another roster than the held one, one without us or one that does not fit the mode;
            E_UNKNOWN_ID for a hedge that is not held.
    """
    lasting, claims = cell.lasting, claimed.claims
    held = lasting.held
    idx = _own_position(cell, held, claims)
    psk = next((psk for psk_id, psk in lasting.psks if psk_id == claims.reason.psk_id), None)
    if claims.reason.psk_id and psk is None:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, "START names a hedge that is not held here")
    assert held is not None
    run = Run(claims, sid, held, party.suite)
    return Part(run, idx, psk, scrutiny_of(cell, run))


def _own_position(cell: MembershipCell, held: Held | None, claims: StartClaims) -> int:
    if held is None or held.digest != claims.roster_hash:
        refuse("START for a roster that is not held")
    if claims.n != len(held.entries):
        refuse(f"START for {claims.n} members, the roster has {len(held.entries)}")
    check_mode(held, cell.lasting.charter.gw_kid, claims.mode)
    idx = held.position(cell.lasting.place.kid)
    if idx is None:
        refuse("not on the roster")
    return idx


def begin(cell: MembershipCell, part: Part, party: Party, now: Now, entropy: Entropy) -> MemberStep:
    """Draw a fresh x and send R1; whatever run was under way is erased. The new (epoch, attempt) is durable (GR-31)."""
    run, place = part.run, cell.lasting.place
    x = run.suite.random_scalar(entropy)
    X = run.suite.base_mul(x)
    claims = Round1Claims(run.sid8, part.idx, X, entropy.draw(8), party.timestamp(now))
    payload = claims.encode()
    if place.compact:
        wire = Round1Compact(claims.sid8, claims.idx, claims.X, claims.nonce, claims.ts).encode()
    else:
        wire = write_payload(party.signing, Round1Claims, payload, run.sid)
    hall: list[Heard1 | None] = [None] * run.n
    hall[part.idx] = Heard1(payload, X, wire, signed=True, verified=True)
    until, asking = now.mono + member_patience_s(run.n), Asking.after_progress(now)
    phase = AwaitR1(part, until, asking, x, payload, tuple(hall), (None,) * run.n)
    lasting = replace(cell.lasting, seen=run.number, seen_sid8=run.sid8)
    pursuit = cell.pursuit if cell.pursuit is not None and cell.pursuit.wish == Wish.LEAVE else None
    cell = replace(cell, lasting=lasting, phase=phase, pursuit=pursuit, failed=None, newest=run.sid8)
    return cell, to_ring(cell, wire)


def signed_round1(phase: Phase, party: Party) -> bytes:
    """Return this member's R1 in its signed form."""
    run = phase.part.run
    return write_payload(party.signing, Round1Claims, phase.claims, run.sid)


def scrutiny_of(cell: MembershipCell, run: Run) -> Scrutiny:
    """Return what this member verifies; V0 is V1 under a gateway that is not a member itself (GR-25)."""
    level = cell.lasting.place.level
    return _SCRUTINY[Level.V1 if level is Level.V0 and run.claims.mode == RELAY else level]
