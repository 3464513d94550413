"""The gateway of a ring: the kind `ring`, one cell for each gid that this node leads (Triad-1 3.6)."""

from collections.abc import Sequence
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.engine.base import (
    MULTICAST,
    Command,
    Due,
    Durability,
    Failed,
    Item,
    Kind,
    Now,
    Output,
    Peer,
    Received,
    Send,
    Step,
    Told,
    replace,
)
from keymote.engine.group.announcing import announced, inside, to_member
from keymote.engine.group.charter import check_mode, merged, next_roster, with_delegation
from keymote.engine.group.enlisting import RingStep, enlisted, forgotten, readmitted, with_roster, without
from keymote.engine.group.faces import (
    HERE,
    Amend,
    ChangePlan,
    ForgetGroup,
    FormRing,
    FromMember,
    InstallRoster,
    JoinAsked,
    LeaveAsked,
    Locate,
    Rekey,
    Resume,
    RingHeld,
    TakeDelegation,
)
from keymote.engine.group.leading import (
    COMPROMISED,
    LEFT,
    given_up,
    heard_round1,
    heard_round2,
    heard_round3,
    heard_signature,
    located,
    positions_missing,
    reported_kcv,
    started,
    wanted,
)
from keymote.engine.group.pace import Pace
from keymote.engine.group.party import Party
from keymote.engine.group.relaying import Allowance, relayed
from keymote.engine.group.ring_states import (
    CollectR1,
    CollectR2,
    CollectR3,
    Issued,
    Resting,
    RingCell,
    RingLasting,
    Running,
    load,
    record,
    same_record,
)
from keymote.engine.group.root_faces import HandOn
from keymote.engine.group.rounds import Heard1, Run, read2
from keymote.engine.group.timing import ANSWER_EVERY_S, BEACON_S, is_fresh
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.fields import Sizes, sizes_of
from keymote.wire.group import (
    LEAVE,
    Bundle,
    Delegation,
    JoinClaims,
    JoinRequest,
    Need,
    Root,
    Roster,
    Round1,
    Round1Compact,
    Round2,
    Round3,
    What,
    Wrap,
    bitmap,
    read,
)
from keymote.wire.group_fields import Cause
from keymote.wire.group_record import GroupRecord
from keymote.wire.registry import peek

JOINED: Final = 2
PERIODIC: Final = 1
JOIN_REPORT_S: Final = 10.0
"""Between two reports of one stranger who wants to join."""
_FOR_STRANGERS: Final = frozenset({What.START, What.ROSTER, What.COMMIT})
"""What an address may ask for that no verified message came from: signed words that are meant for everybody."""
_REPEATED: Final = {CollectR1: What.R1, CollectR2: What.R2, CollectR3: What.R3}


def ring_kind(party: Party) -> Kind:
    """Return the kind `ring` of a node that signs as `party`."""
    steps = _Steps(party)
    return Kind(
        "ring",
        Durability.DURABLE,
        steps.step,
        record=record,
        load=load,
        aliases=lambda cell: (cell.lasting.sid8,) if cell.lasting.start else (),
        deadline=_deadline,
        wake_at=lambda cell: cell.lasting.wake_at or None,
        same_record=same_record,
    )


def _deadline(cell: RingCell) -> float | None:
    times = [] if cell.intended is None else [cell.intended.at]
    match cell.stage:
        case CollectR1() | CollectR2() | CollectR3() as stage:
            times.append(stage.patience.until)
            if stage.patience.asking.deadline is not None:
                times.append(stage.patience.asking.deadline)
        case Running() if cell.lasting.absent:
            times.append(cell.beacon_at)
    return min(times, default=None)


def _held(cell: RingCell) -> RingHeld:
    lasting = cell.lasting
    absent = tuple(entry.kid for entry in lasting.absent)
    return RingHeld(cell.gid, lasting.held.ver, lasting.held.kids, absent, lasting.number[0], bool(lasting.commit))


class _Steps:
    def __init__(self, party: Party) -> None:
        self.party = party
        self.pace = Pace()
        self.allowance = Allowance()

    @property
    def sizes(self) -> Sizes:
        return sizes_of(self.party.signing.suite_id)

    def step(self, cell: RingCell | None, item: Item, now: Now, entropy: Entropy) -> Step:
        match item, cell:
            case FormRing() as wish, None:
                return self._formed(wish, now, entropy)
            case Resume(), None:
                return None, ()
            case FormRing(), _:
                raise CallerFault("this ring is led already", do="forget the group first")
            case _, None:
                raise PeerFault(ErrorCode.E_UNKNOWN_ID, "this node does not lead the group")
            case Received(peer, data), _:
                return self._message(cell, peer, data, now, entropy)
            case Told(FromMember(data)), _:
                return self._message(cell, HERE, data, now, entropy)
            case ((HandOn(data) | Told(HandOn(data))), _):
                return self._handed_on(cell, data)
            case Due(), _:
                return self._due(cell, now, entropy)
            case Failed(), _:
                return cell, ()
            case ForgetGroup(), _:
                return None, ()
            case Command() as command, _:
                return self._told(cell, command, now, entropy)
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not for a ring")

    # ------------------------------------------------------------------ the application's word

    def _formed(self, wish: FormRing, now: Now, entropy: Entropy) -> RingStep:
        """Begin to lead a group; a roster or delegation that does not hold is the caller's fault."""
        charter, keys, wall = wish.charter, self.party.keys, self.party.wall(now)
        if charter.suite != self.party.signing.suite_id:
            raise CallerFault(f"a group of suite {charter.suite}, this node's key is of {self.party.signing.suite_id}")
        try:
            delegation = b""
            if wish.delegation:
                charter = with_delegation(charter, wish.delegation, keys, wall)
                delegation = Delegation.decode(wish.delegation, self.sizes).envelope.signature
            if charter.gw_pk != self.party.signing.public:
                raise CallerFault("this node is not the gateway of the charter")
            held = next_roster(charter, None, wish.roster, keys, wall)
            check_mode(held, charter.gw_kid, wish.plan.mode)
        except PeerFault as fault:
            raise CallerFault(f"the ring cannot be formed: {fault.what}", do="ask the roster authority") from fault
        envelope = Roster.decode(wish.roster, self.sizes).envelope
        issued = Issued(envelope.kid or b"", envelope.signature)
        lasting = RingLasting(charter, wish.plan, held, issued, delegation, after_epoch=wish.after_epoch)
        cell = RingCell(lasting, peers=dict(wish.peers))
        outputs: list[Output] = []
        for message in (lasting.delegation_message, lasting.roster):
            outputs += announced(cell, message) if message else ()
        cell, more = started(cell, Cause(0), self.party, now, entropy)
        return cell, [*outputs, *more]

    def _told(self, cell: RingCell, command: Command, now: Now, entropy: Entropy) -> RingStep:
        party = self.party
        match command:
            case Resume():
                return cell, [_held(cell)]
            case Locate(peers):
                return replace(cell, peers={**cell.peers, **peers}), ()
            case Rekey(cause):
                if not isinstance(cell.stage, Running | Resting) and cause.reason <= PERIODIC:
                    return cell, ()  # a fresh key is on its way
                return wanted(cell, cause, party, now, entropy, urgent=cause.reason == COMPROMISED)
            case ChangePlan(plan):
                if plan.mode != cell.lasting.plan.mode:
                    raise CallerFault("a ring does not change its mode", do="form another group")
                return replace(cell, lasting=replace(cell.lasting, plan=plan)), ()
            case TakeDelegation(delegation):
                charter = with_delegation(cell.lasting.charter, delegation, party.keys, party.wall(now))
                signature = Delegation.decode(delegation, self.sizes).envelope.signature
                cell = replace(cell, lasting=replace(cell.lasting, charter=charter, delegation=signature))
                return cell, announced(cell, delegation)
            case InstallRoster(roster, delta, reason):
                return self._installed(cell, roster, delta, reason, now, entropy)
            case Amend(add, remove, reason):
                left = cell.lasting.held.without(remove)
                entries = merged(left, add)
                if not cell.lasting.charter.may_enlist(len(entries), party.wall(now)):
                    raise CallerFault("this gateway may not sign this roster", do="ask the roster authority")
                cell, outputs = enlisted(forgotten(cell, remove), entries, party)
                return self._renewed(cell, outputs, reason, now, entropy)
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not for a ring")

    def _installed(
        self, cell: RingCell, roster: bytes, delta: bytes, reason: int, now: Now, entropy: Entropy
    ) -> RingStep:
        charter, keys, wall = cell.lasting.charter, self.party.keys, self.party.wall(now)
        held = next_roster(charter, cell.lasting.held, roster, keys, wall)
        if held is cell.lasting.held:
            return cell, ()
        if delta and next_roster(charter, cell.lasting.held, delta, keys, wall) != held:
            raise PeerFault(ErrorCode.E_ROSTER, "the delta makes another roster than the whole one")
        check_mode(held, charter.gw_kid, cell.lasting.plan.mode)
        cell = forgotten(cell, (entry.kid for entry in cell.lasting.absent))
        cell, outputs = with_roster(cell, held, roster, delta, self.party)
        return self._renewed(cell, outputs, reason, now, entropy)

    def _renewed(self, cell: RingCell, outputs: Sequence[Output], reason: int, now: Now, entropy: Entropy) -> RingStep:
        """Begin a run with another roster; whoever must go does not wait for the pace of STARTs."""
        if not isinstance(cell.stage, Running):
            cell = replace(cell, stage=Resting())
        cell, more = wanted(cell, Cause(reason), self.party, now, entropy, urgent=reason >= LEFT)
        return cell, [*outputs, *more]

    # ------------------------------------------------------------------ messages

    def _message(self, cell: RingCell, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> RingStep:
        mt, _ = peek(data)
        stage, party = cell.stage, self.party
        match mt, stage:
            case ((Round1.mt | Round1Compact.mt), CollectR1()):
                cell, outputs = heard_round1(cell, stage, peer, data, party, now)
            case Round2.mt, CollectR1():
                idx = read2(stage.run, data).claims.idx
                early = {idx: (peer, data), **stage.early}
                return replace(cell, stage=replace(stage, early=early)), ()
            case Round2.mt, CollectR2():
                cell, outputs = heard_round2(cell, stage, peer, data, party, now)
            case Round3.mt, CollectR2() if len(stage.early) < stage.run.n:
                early = {len(stage.early): (peer, data), **stage.early}
                return replace(cell, stage=replace(stage, early=early)), ()
            case Round3.mt, CollectR3():
                cell, outputs = heard_round3(cell, stage, peer, data, party, now)
            case Round1.mt, CollectR2() | CollectR3() if stage.unsigned:
                return heard_signature(cell, stage, data, party, now)
            case Round3.mt, Running() | Resting():
                return reported_kcv(cell, data, party)
            case ((Round1.mt | Round1Compact.mt | Round2.mt | Round3.mt), _):
                return cell, ()  # repeated, or of a round that is over
            case GroupRecord.mt, _:
                return cell, relayed(cell, peer, data, self.allowance, now)
            case Wrap.mt, _:
                return cell, self._passed_on(cell, peer, data, What.WRAP)
            case Need.mt, _:
                asked = Need.decode(data, self.sizes)
                cell, outputs = self._need(cell, peer, asked, now)
                return cell, [*outputs, *self._passed_on(cell, peer, data, asked.what)]
            case JoinRequest.mt, _:
                return self._asked(cell, peer, data, now, entropy)
            case _:
                raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not for a gateway")
        if cell.intended is not None and now.mono >= cell.intended.at:
            cell, more = self._intended(cell, now, entropy)
            outputs = [*outputs, *more]
        return cell, outputs

    def _need(self, cell: RingCell, peer: Peer, asked: Need, now: Now) -> RingStep:
        """Answer one asker at most about once a second, with one message or one bundle (GR-44, GR-45)."""
        found = self._offer(cell, asked)
        if not found or not self.pace.allows((cell.gid, peer, asked.what), now.mono, ANSWER_EVERY_S):
            return cell, ()
        known = peer == HERE or peer in cell.peers.values()
        if not known and not (asked.what in _FOR_STRANGERS and self.pace.allows_stranger(now.mono)):
            return cell, ()
        answer = found[0] if len(found) == 1 else Bundle(asked.of, tuple(found)).encode()
        return cell, [*to_member(cell, peer, answer), *self._signatures_asked(cell, asked, now)]

    def _handed_on(self, cell: RingCell, data: bytes) -> RingStep:
        """Bring what a root gateway says to everybody in the ring, and keep its newest ROOT for those who ask."""
        root = data if peek(data)[0] == Root.mt else cell.root
        return replace(cell, root=root), announced(cell, data)

    def _passed_on(self, cell: RingCell, peer: Peer, data: bytes, what: int) -> Sequence[Output]:
        """Return what brings a WRAP, or the question for one, to those who did not hear it: all others, or our own membership."""
        if what != What.WRAP or (peer != HERE and peer not in cell.peers.values()):
            return ()
        if cell.lasting.plan.multicast:
            return () if peer == HERE else inside(cell, data)
        return announced(cell, data)

    def _signatures_asked(self, cell: RingCell, asked: Need, now: Now) -> list[Output]:
        """Ask members for the signed form of an R1 that is asked for and came without: the asker may need it (GR-20)."""
        stage = cell.stage
        match stage:
            case CollectR1(hall=hall) if asked.what == What.R1:
                unsigned = [idx for idx, slot in enumerate(hall) if isinstance(slot, Heard1) and not slot.signed]
            case CollectR2() | CollectR3() if asked.what == What.R1:
                unsigned = sorted(stage.unsigned)
            case _:
                return []
        wanted_of = [idx for idx in unsigned if idx in asked.indices]
        if not wanted_of or not self.pace.allows((cell.gid, "signatures"), now.mono, ANSWER_EVERY_S):
            return []
        return self._to_positions(
            cell, stage.run, wanted_of, [Need(stage.run.sid8, What.R1, bitmap(wanted_of)).encode()]
        )

    def _offer(self, cell: RingCell, asked: Need) -> list[bytes]:
        lasting, stage, run = cell.lasting, cell.stage, cell.run
        match asked.what:
            case What.ROSTER:
                return [message for message in (lasting.delegation_message, lasting.roster, lasting.start) if message]
            case What.START:
                return [lasting.start] if lasting.start else []
            case What.COMMIT if asked.of == lasting.sid8:
                return [lasting.commit] if lasting.commit else []
            case What.WRAP if asked.of == lasting.sid8:
                return [cell.root] if cell.root else []
            case What.EVIDENCE if cell.evidence is not None and asked.of == cell.evidence.sid8:
                return [cell.evidence.blame, cell.evidence.message]
        if run is None or asked.of != run.sid8:
            return []
        said: Sequence[bytes | None] = ()
        match asked.what, stage:
            case What.R1, CollectR1(hall=hall1):
                said = [slot.wire if isinstance(slot, Heard1) else None for slot in hall1]
            case What.R1, CollectR2() | CollectR3() | Running():
                said = stage.said1
            case What.R2, CollectR2() | CollectR3() | Running():
                said = stage.said2
            case What.R3, CollectR3(hall=hall3):
                said = [None if slot is None else slot.wire for slot in hall3]
            case What.R3, Running():
                said = stage.said3
        return [wire for idx in asked.indices if idx < len(said) and (wire := said[idx]) is not None]

    def _asked(self, cell: RingCell, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> RingStep:
        """Serve JOINREQ and LEAVE of somebody who has seen the newest START; show it to everybody else (GR-47 to GR-49)."""
        claimed = read(data, JoinClaims, self.sizes)
        claims, kid, lasting = claimed.claims, claimed.kid, cell.lasting
        if claims.gid != cell.gid:
            raise PeerFault(ErrorCode.E_STATE, "request for another group")
        if not is_fresh(claims.ts, self.party.wall(now)):
            raise PeerFault(ErrorCode.E_REPLAY, "timestamp of the request is off")
        entry = lasting.entry(kid)
        if entry is not None:
            claimed.verified_by(self.party.keys(lasting.charter.suite, entry.sig_pk))
            cell = located(cell, kid, peer)
        if claims.nonce != lasting.sid8:
            return self._need(cell, peer, Need(cell.gid, What.ROSTER, 0), now)
        if entry is None:
            if claims.wish == LEAVE or not self.pace.allows((cell.gid, kid), now.mono, JOIN_REPORT_S):
                return cell, ()
            return cell, [JoinAsked(cell.gid, kid, peer, data)]
        if claims.wish == LEAVE:
            return self._leaving(cell, kid, now, entropy)
        if lasting.held.position(kid) is None:
            back = readmitted(cell, entry, self.party, now)
            if back is None:
                return cell, [JoinAsked(cell.gid, kid, peer, data)]
            return self._renewed(back[0], back[1], JOINED, now, entropy)
        return wanted(cell, Cause(JOINED), self.party, now, entropy)

    def _leaving(self, cell: RingCell, kid: bytes, now: Now, entropy: Entropy) -> RingStep:
        lasting = cell.lasting
        if lasting.held.position(kid) is None:
            return forgotten(cell, [kid]), [LeaveAsked(cell.gid, kid, granted=True)]
        left = without(cell, [kid], self.party, now)
        if left is None:
            if not self.pace.allows((cell.gid, kid), now.mono, JOIN_REPORT_S):
                return cell, ()
            return cell, [LeaveAsked(cell.gid, kid, granted=False)]
        report = LeaveAsked(cell.gid, kid, granted=True)
        return self._renewed(left[0], [report, *left[1]], LEFT, now, entropy)

    # ------------------------------------------------------------------ time

    def _due(self, cell: RingCell, now: Now, entropy: Entropy) -> RingStep:
        if cell.intended is not None and now.mono >= cell.intended.at:
            return self._intended(cell, now, entropy)
        match cell.stage:
            case CollectR1() | CollectR2() | CollectR3() as stage:
                if now.mono >= stage.patience.until:
                    return given_up(cell, stage, positions_missing(stage), self.party, now, entropy)
                if stage.patience.asking.due(now):
                    again = stage.patience._replace(asking=stage.patience.asking.again(now))
                    return replace(cell, stage=replace(stage, patience=again)), self._asking(cell, stage)
            case Running():
                if 0 < cell.lasting.wake_at <= now.wall:
                    return wanted(cell, Cause(PERIODIC), self.party, now, entropy)
                if cell.lasting.absent and now.mono >= cell.beacon_at:
                    return replace(cell, beacon_at=now.mono + BEACON_S), self._beacon(cell)
            case Resting():
                if 0 < cell.lasting.wake_at <= now.wall and cell.intended is None:
                    return wanted(cell, Cause(PERIODIC), self.party, now, entropy)
        return cell, ()

    def _intended(self, cell: RingCell, now: Now, entropy: Entropy) -> RingStep:
        assert cell.intended is not None
        cause, new_epoch, _ = cell.intended
        return started(cell, cause, self.party, now, entropy, new_epoch=new_epoch)

    def _asking(self, cell: RingCell, stage: CollectR1 | CollectR2 | CollectR3) -> list[Output]:
        """Ask those who are missing in this round; who has said nothing at all may lack the START."""
        missing = positions_missing(stage)
        wanted_of = Need(stage.run.sid8, _REPEATED[type(stage)], bitmap(missing)).encode()
        messages = [cell.lasting.start, wanted_of] if isinstance(stage, CollectR1) else [wanted_of]
        return self._to_positions(cell, stage.run, missing, messages)

    def _to_positions(
        self, cell: RingCell, run: Run, positions: Sequence[int], messages: Sequence[bytes]
    ) -> list[Output]:
        """Return what brings messages to some members: multicast, or to each where it was heard last."""
        if cell.lasting.plan.multicast:
            return [output for message in messages for output in announced(cell, message)]
        peers = [cell.peers.get(run.held.entries[idx].kid) for idx in positions]
        return [o for peer in peers if peer is not None for message in messages for o in to_member(cell, peer, message)]

    def _beacon(self, cell: RingCell) -> list[Output]:
        """Show the newest START to those who are absent, so that they can ask to come back."""
        if cell.lasting.plan.multicast:
            return [Send(MULTICAST, cell.lasting.start)]
        peers = [cell.peers.get(entry.kid) for entry in cell.lasting.absent]
        return [Send(peer, cell.lasting.start) for peer in peers if peer is not None and peer != HERE]
