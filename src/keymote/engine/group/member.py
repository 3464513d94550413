"""A member of a group: the kind `membership`, one cell for each gid (Triad-1 3.6)."""

from collections.abc import Sequence
from itertools import groupby
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
    Refused,
    Step,
    Told,
    replace,
)
from keymote.engine.group import above, carrying, payload
from keymote.engine.group.belonging import heard_delegation, heard_roster, roster_asked
from keymote.engine.group.charter import spoken_by
from keymote.engine.group.faces import (
    HERE,
    AskToJoin,
    AskToLeave,
    Blamed,
    ForgetGroup,
    FromRing,
    HoldPsk,
    JoinGroup,
    Resume,
    Resync,
    RunFailed,
)
from keymote.engine.group.participation import (
    MemberStep,
    authentic_start,
    begin,
    chase,
    committed_by_gateway,
    confirmed,
    early_round2,
    erased,
    failed,
    heard_round1,
    heard_round2,
    need,
    part_in,
    signed_round1,
    to_gateway,
    to_ring,
)
from keymote.engine.group.party import Party
from keymote.engine.group.payload_faces import ProtectForGroup, SendToGroup, UnprotectForGroup
from keymote.engine.group.ring import sid_of
from keymote.engine.group.root_faces import Convey, RootIs
from keymote.engine.group.rounds import missing1, missing2
from keymote.engine.group.states import (
    MOST_ADDRESS,
    MOST_PSKS,
    MOST_TELEMETRY,
    AwaitCommit,
    AwaitR1,
    AwaitR2,
    Lasting,
    MembershipCell,
    Phase,
    Place,
    Wish,
    load,
    record,
    same_record,
)
from keymote.engine.group.timing import ANSWER_EVERY_S, Pursuit
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.fields import Sizes, sizes_of
from keymote.wire.group import (
    Blame,
    BlameClaims,
    Bundle,
    Commit,
    CommitClaims,
    Delegation,
    JoinClaims,
    Need,
    Root,
    Roster,
    Round1,
    Round1Compact,
    Round2,
    Start,
    StartClaims,
    What,
    Wrap,
    read,
    write,
)
from keymote.wire.group_record import GroupRecord
from keymote.wire.registry import peek

_ROUNDS: Final[dict[int, int]] = {What.R1: 0, What.R2: 1, What.R3: 2}


def membership_kind(party: Party) -> Kind:
    """Return the kind `membership` of a node that signs as `party`."""
    steps = _Steps(party)
    return Kind(
        "membership",
        Durability.DURABLE,
        steps.step,
        record=lambda cell: record(cell, party.generation),
        load=lambda gid, data: load(gid, data, party.suite, party.generation),
        aliases=_aliases,
        stored_aliases=_stored_aliases,
        deadline=_deadline,
        same_record=same_record,
    )


def _aliases(cell: MembershipCell) -> tuple[bytes, ...]:
    """Return the names of the newest run and of the present epoch, by which messages find this cell."""
    return tuple({cell.lasting.seen_sid8, *_stored_aliases(cell)})


def _stored_aliases(cell: MembershipCell) -> tuple[bytes, ...]:
    return (cell.lasting.active.sid8,) if cell.lasting.active is not None else ()


def _deadline(cell: MembershipCell) -> float | None:
    times = [] if cell.phase is None else [cell.phase.until, cell.phase.asking.deadline]
    times.append(payload.deadline(cell.payload))
    times.append(None if cell.pursuit is None else cell.pursuit.at)
    return min((time for time in times if time is not None), default=None)


class _Steps:
    def __init__(self, party: Party) -> None:
        self.party = party

    @property
    def sizes(self) -> Sizes:
        return sizes_of(self.party.signing.suite_id)

    def step(self, cell: MembershipCell | None, item: Item, now: Now, entropy: Entropy) -> Step:
        match item, cell:
            case JoinGroup() as wish, _:
                cell = self._provisioned(cell, wish)
                return cell, above.provisioned(cell)
            case Told(JoinGroup() as wish), _:
                cell = self._provisioned(cell, wish, invited=True)
                return cell, above.provisioned(cell)
            case Resume(), None:
                return None, ()
            case _, None:
                raise PeerFault(ErrorCode.E_UNKNOWN_ID, "this node does not belong to the group")
            case Received(peer, data), _:
                return self._message(cell, peer, data, now, entropy)
            case Told(FromRing(data)), _:
                return self._message(cell, HERE, data, now, entropy)
            case Told(Convey(data, everybody)), _:
                return cell, to_ring(cell, data) if everybody else to_gateway(cell, data)
            case Told(RootIs(e)), _:
                return replace(cell, root_e=e), ()
            case Due(), _:
                return self._due(cell, now)
            case Failed(), _:
                return cell, ()
            case ((ForgetGroup() | Told(ForgetGroup())), _):
                return None, above.lost(cell)
            case Told(HoldPsk() as hedge), _:
                return self._told(cell, hedge, now)
            case Command() as command, _:
                return self._told(cell, command, now)
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not for a membership")

    # ------------------------------------------------------------------ the application's word

    def _provisioned(self, cell: MembershipCell | None, wish: JoinGroup, *, invited: bool = False) -> MembershipCell:
        charter = wish.charter
        if charter.suite != self.party.signing.suite_id:
            raise CallerFault(f"a group of suite {charter.suite}, this node's key is of {self.party.signing.suite_id}")
        self.party.keys(charter.suite, charter.ra_pk)
        standby = wish.standby and (cell is None or cell.lasting.place.standby)
        serves = wish.above or (None if cell is None else cell.lasting.place.above)
        place = Place(wish.kid, wish.gateway, wish.level, wish.multicast, wish.compact, standby, serves)
        if len(wish.gateway) > MOST_ADDRESS or sum(map(len, wish.policy.telemetry)) > MOST_TELEMETRY:
            raise CallerFault(
                f"the gateway's address has more than {MOST_ADDRESS} characters, or the resources more than {MOST_TELEMETRY}"
            )
        if cell is None:
            return MembershipCell(Lasting(charter, place), wish.gateway, payload.Payload(charter.gid, wish.policy))
        known = cell.lasting.charter
        followed = (known.ra_kid, known.ra_pk) == (charter.ra_kid, charter.ra_pk)
        if not followed and not invited:
            raise CallerFault("this group has another roster authority", do="forget the group first")
        if followed and charter.not_after < known.not_after:
            charter = known
        lasting = replace(cell.lasting, charter=charter, place=place)
        return replace(cell, lasting=lasting, gateway=wish.gateway, payload=replace(cell.payload, policy=wish.policy))

    def _told(self, cell: MembershipCell, command: Command, now: Now) -> MemberStep:
        match command:
            case ProtectForGroup() | UnprotectForGroup():
                said, reports = payload.step(cell.payload, command, self.party.signing, now)
                return (cell if said is cell.payload else replace(cell, payload=said)), reports
            case SendToGroup():
                return carrying.sent(cell, command, self.party, now)
            case HoldPsk(psk_id, psk):
                others = [entry for entry in cell.lasting.psks if entry[0] != psk_id]
                psks = ((psk_id, psk), *others)[:MOST_PSKS]
                return replace(cell, lasting=replace(cell.lasting, psks=psks)), ()
            case Resume():
                return cell, above.resumed(cell)
            case Resync():
                wish = Wish.START if cell.lasting.held is not None else Wish.ROSTER
            case AskToJoin():
                wish = Wish.JOIN
                ready = replace(cell.lasting.place, standby=False)
                cell = replace(cell, lasting=replace(cell.lasting, place=ready))
            case AskToLeave():
                wish = Wish.LEAVE
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not for a membership")
        return self._pursued(replace(cell, pursuit=Pursuit(wish, now.mono)), now)

    # ------------------------------------------------------------------ messages

    def _message(self, cell: MembershipCell, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> MemberStep:
        if peek(data)[0] != Bundle.mt:
            return self._together(cell, peer, (data,), now, entropy)
        outputs: list[Output] = []
        for _, alike in groupby(Bundle.decode(data, self.sizes).datagrams, _round_of):
            try:
                cell, more = self._together(cell, peer, tuple(alike), now, entropy)
                outputs += more
            except PeerFault as fault:
                outputs.append(Refused(peer, fault.code, fault.what))
        return cell, outputs

    def _together(
        self, cell: MembershipCell, peer: Peer, said: Sequence[bytes], now: Now, entropy: Entropy
    ) -> MemberStep:
        """Take in messages of one round that came together, or any one message."""
        (data, *_), phase = said, cell.phase
        match peek(data)[0]:
            case Round1.mt | Round1Compact.mt:
                if isinstance(phase, AwaitR1):
                    return heard_round1(cell, phase, peer, said, self.party, now, entropy)
                return cell, ()
            case Round2.mt:
                match phase:
                    case AwaitR2():
                        return heard_round2(cell, phase, peer, said, self.party, now)
                    case AwaitR1():
                        return early_round2(cell, phase, said), ()
                return cell, ()
            case Start.mt:
                return self._start(cell, peer, data, now, entropy)
            case Commit.mt:
                return self._commit(cell, data, now)
            case Need.mt:
                return self._need(cell, peer, Need.decode(data, self.sizes), now)
            case Roster.mt:
                return heard_roster(cell, data, self.party, now)
            case Delegation.mt:
                return heard_delegation(cell, data, self.party, now)
            case Blame.mt:
                return self._blame(cell, data, now)
            case GroupRecord.mt:
                return carrying.heard(cell, peer, data, self.party, now)
            case Root.mt | Wrap.mt:
                return cell, above.received(cell, data)
            case mt:
                raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not for a member")

    def _start(self, cell: MembershipCell, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> MemberStep:
        outputs: Sequence[Output]
        claimed = read(data, StartClaims, self.sizes)
        lasting = cell.lasting
        sid = sid_of(claimed.payload)
        if sid[:8] == lasting.seen_sid8:
            return self._start_again(cell, now)
        if claimed.kid != lasting.charter.gw_kid and claimed.claims.gid == cell.gid:
            unheard_of = Refused(peer, ErrorCode.E_ROSTER, "START of a gateway that no delegation names here")
            asked, outputs = roster_asked(replace(cell, gateway=peer), now)
            return replace(asked, gateway=cell.gateway), [unheard_of, *outputs]
        authentic_start(cell, claimed, self.party, now)
        gateway = HERE if cell.lasting.place.gateway == HERE else peer
        known, newest = cell.newest, sid[:8]
        cell = replace(cell, gateway=gateway, newest=newest)
        try:
            part = part_in(cell, claimed, sid, self.party)
        except PeerFault as fault:
            outputs = [Refused(peer, fault.code, fault.what)]
            held = cell.lasting.held
            if held is None or held.digest != claimed.claims.roster_hash:
                cell, said = roster_asked(cell, now)
                outputs = [*outputs, *said]
            elif held.position(cell.lasting.place.kid) is None:
                cell = replace(cell, pursuit=_outside(cell, now, news=newest != known))
            return cell, outputs
        return begin(cell, part, self.party, now, entropy)

    def _start_again(self, cell: MembershipCell, now: Now) -> MemberStep:
        """The newest START that we know is still the newest: nothing to do in its run or in its epoch, else ask to be let in."""
        pursuit = cell.pursuit
        if cell.phase is not None or (pursuit is not None and pursuit.wish == Wish.LEAVE):
            return cell, ()
        if not cell.lasting.is_behind:
            return (cell, ()) if pursuit is None else (replace(cell, pursuit=None), ())
        if pursuit is not None and pursuit.wish == Wish.JOIN and pursuit.at <= now.mono + 1.0:
            return cell, ()
        return replace(cell, pursuit=chase(cell, now)), ()

    def _commit(self, cell: MembershipCell, data: bytes, now: Now) -> MemberStep:
        claimed = read(data, CommitClaims, self.sizes)
        match cell.phase:
            case AwaitR2() as phase:
                commit = committed_by_gateway(cell, phase.part.run, claimed, self.party)
                return replace(cell, phase=replace(phase, early=commit)), ()
            case AwaitCommit() as phase:
                return confirmed(cell, phase, committed_by_gateway(cell, phase.part.run, claimed, self.party), now)
        active = cell.lasting.active
        if active is not None and active.sid8 == claimed.claims.sid8:
            return cell, ()
        raise PeerFault(ErrorCode.E_STATE, "COMMIT of a run that this member is not in")

    def _blame(self, cell: MembershipCell, data: bytes, now: Now) -> MemberStep:
        claimed = read(data, BlameClaims, self.sizes)
        run = cell.run or cell.failed
        if run is None or claimed.claims.sid8 != run.sid8 or claimed.claims.idx >= run.n:
            raise PeerFault(ErrorCode.E_STATE, "BLAME of a run that this member is not in")
        charter = cell.lasting.charter
        blame = spoken_by(claimed, charter.gw_kid, self.party.keys(charter.suite, charter.gw_pk), run.sid)
        code = ErrorCode(blame.code)
        report = Blamed(cell.gid, run.claims.epoch, blame.idx, run.held.entries[blame.idx].kid, code)
        if cell.phase is None:
            return replace(cell, failed=None), [report]
        rest = payload.expect(cell.payload, None)
        over = replace(cell, phase=None, payload=rest, pursuit=chase(cell, now))
        return over, [report, RunFailed(cell.gid, *run.number, code, (blame.idx,))]

    # ------------------------------------------------------------------ repair and time

    def _need(self, cell: MembershipCell, peer: Peer, wanted: Need, now: Now) -> MemberStep:
        """Repeat what is ours in this run, the identical bytes, at most about once a second each."""
        upwards = above.asked(cell, wanted)
        if upwards is not None:
            return cell, upwards
        phase, place = cell.phase, _ROUNDS.get(wanted.what)
        if phase is None or place is None or phase.part.run.sid8 != wanted.of or phase.part.idx not in wanted.indices:
            return cell, ()
        if now.mono < cell.answered[place] + ANSWER_EVERY_S:
            return cell, ()
        said = self._said(phase, wanted.what)
        if said is None:
            return cell, ()
        answered = cell.answered
        cell = replace(cell, answered=(*answered[:place], now.mono, *answered[place + 1 :]))
        return cell, to_gateway(replace(cell, gateway=peer), said)

    def _said(self, phase: Phase, what: int) -> bytes | None:
        match phase, what:
            case _, What.R1:
                return signed_round1(phase, self.party)
            case AwaitR2() | AwaitCommit(), What.R2:
                return phase.r2
            case AwaitCommit(), What.R3:
                return phase.r3
        return None

    def _due(self, cell: MembershipCell, now: Now) -> MemberStep:
        outputs: list[Output] = []
        kept = payload.due(cell.payload, now)
        if kept is not cell.payload:
            outputs += erased(cell.payload, kept)
            cell = replace(cell, payload=kept)
        phase = cell.phase
        if phase is not None and now.mono >= phase.until:
            cell, more = failed(cell, ErrorCode.E_TIMEOUT, now)
            outputs += more
        elif phase is not None and phase.asking.due(now):
            cell = replace(cell, phase=replace(phase, asking=phase.asking.again(now)))
            outputs += to_gateway(cell, _missing(phase))
        if cell.pursuit is not None and cell.pursuit.due(now):
            cell, more = self._pursued(cell, now)
            outputs += more
        return cell, outputs

    def _pursued(self, cell: MembershipCell, now: Now) -> MemberStep:
        """Say once more what this member wants."""
        pursuit = cell.pursuit
        assert pursuit is not None
        match pursuit.wish:
            case Wish.START:
                said = need(cell.gid, What.START, [0])
            case Wish.ROSTER:
                said = need(cell.gid, What.ROSTER, [0])
            case wish:
                claims = JoinClaims(cell.gid, wish, cell.newest, self.party.timestamp(now))
                said = write(self.party.signing, claims, kid=cell.lasting.place.kid)
        return replace(cell, pursuit=pursuit.again(now)), to_gateway(cell, said)


def _outside(cell: MembershipCell, now: Now, *, news: bool) -> Pursuit | None:
    """Return what a member wants that an authentic START does not name: the first one of its kind, or once more."""
    if cell.pursuit is None:
        return chase(cell, now)
    return cell.pursuit.afresh(now) if news else cell.pursuit.nudged(now)


_ROUND_HEADS: Final = (Round1.opening(1), Round2.opening(1))


def _round_of(data: bytes) -> bytes:
    """Return what messages that may be taken in together share: the head of their round, or the message itself."""
    return data[:3] if data.startswith(_ROUND_HEADS) else data


def _missing(phase: Phase) -> bytes:
    """Return the NEED for what this phase waits for."""
    run = phase.part.run
    match phase:
        case AwaitR1():
            return need(run.sid8, What.R1, missing1(phase.hall))
        case AwaitR2():
            return need(run.sid8, What.R2, missing2(phase.hall))
        case AwaitCommit():
            return need(run.sid8, What.COMMIT, [phase.part.idx])
