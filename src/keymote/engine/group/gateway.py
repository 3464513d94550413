"""The gateway of a ring: the kind `ring`, one cell for each gid that this node leads (Triad-1 3.6)."""

from collections.abc import Sequence
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.engine.base import (
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
    Step,
    Told,
    replace,
)
from keymote.engine.group.admitting import requested
from keymote.engine.group.announcing import announced, inside
from keymote.engine.group.answering import answered, asking, beacon
from keymote.engine.group.charter import check_mode, merged, next_roster, with_delegation
from keymote.engine.group.enlisting import RingStep, enlisted, forgotten, with_roster
from keymote.engine.group.faces import (
    HERE,
    Amend,
    ChangePlan,
    ForgetGroup,
    FormRing,
    FromMember,
    InstallRoster,
    Locate,
    NameHedges,
    Rekey,
    Resume,
    RingHeld,
    TakeDelegation,
)
from keymote.engine.group.leading import heard_round1, heard_round2, heard_round3, heard_signature, reported_kcv
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
from keymote.engine.group.rounds import read2
from keymote.engine.group.starting import COMPROMISED, given_up, positions_missing, renewed, started, wanted
from keymote.engine.group.timing import BEACON_S
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.fields import Sizes, sizes_of
from keymote.wire.group import (
    Delegation,
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
)
from keymote.wire.group_fields import Cause
from keymote.wire.group_record import GroupRecord
from keymote.wire.registry import peek

PERIODIC: Final = 1


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
        cell = RingCell(lasting, peers=dict(wish.peers), hedges=wish.hedges)
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
            case NameHedges(hedges):
                return replace(cell, hedges=hedges), ()
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
            case Amend(add, remove, reason, leap):
                left = cell.lasting.held.without(remove)
                entries = merged(left, add)
                if not cell.lasting.charter.may_enlist(len(entries), party.wall(now)):
                    raise CallerFault("this gateway may not sign this roster", do="ask the roster authority")
                cell, outputs = enlisted(forgotten(cell, remove), entries, party, leap)
                return renewed(cell, outputs, reason, self.party, now, entropy)
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
        return renewed(cell, outputs, reason, self.party, now, entropy)

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
                cell, outputs = answered(cell, peer, asked, self.pace, now)
                return cell, [*outputs, *self._passed_on(cell, peer, data, asked.what)]
            case JoinRequest.mt, _:
                return requested(cell, peer, data, party, self.pace, now, entropy)
            case _:
                raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not for a gateway")
        if cell.intended is not None and now.mono >= cell.intended.at:
            cell, more = self._intended(cell, now, entropy)
            outputs = [*outputs, *more]
        return cell, outputs

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
                    return replace(cell, stage=replace(stage, patience=again)), asking(cell, stage)
            case Running():
                if 0 < cell.lasting.wake_at <= now.wall:
                    return wanted(cell, Cause(PERIODIC), self.party, now, entropy)
                if cell.lasting.absent and now.mono >= cell.beacon_at:
                    return replace(cell, beacon_at=now.mono + BEACON_S), beacon(cell)
            case Resting():
                if 0 < cell.lasting.wake_at <= now.wall and cell.intended is None:
                    return wanted(cell, Cause(PERIODIC), self.party, now, entropy)
        return cell, ()

    def _intended(self, cell: RingCell, now: Now, entropy: Entropy) -> RingStep:
        assert cell.intended is not None
        cause, new_epoch, _ = cell.intended
        return started(cell, cause, self.party, now, entropy, new_epoch=new_epoch)
