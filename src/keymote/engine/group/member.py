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
from keymote.engine.group.belonging import heard_delegation, heard_roster
from keymote.engine.group.charter import spoken_by
from keymote.engine.group.entering import heard_start
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
    chase,
    committed_by_gateway,
    confirmed,
    early_round2,
    erased,
    failed,
    heard_round1,
    heard_round2,
    to_gateway,
    to_ring,
)
from keymote.engine.group.party import Party
from keymote.engine.group.payload_faces import ProtectForGroup, SendToGroup, UnprotectForGroup
from keymote.engine.group.repairing import missing, pursued, repeated
from keymote.engine.group.root_faces import Convey, RootIs
from keymote.engine.group.states import (
    MOST_ADDRESS,
    MOST_PSKS,
    MOST_TELEMETRY,
    AwaitCommit,
    AwaitR1,
    AwaitR2,
    Lasting,
    MembershipCell,
    Place,
    Wish,
    load,
    record,
    same_record,
)
from keymote.engine.group.timing import Pursuit
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.fields import Sizes, sizes_of
from keymote.wire.group import (
    Blame,
    BlameClaims,
    Bundle,
    Commit,
    CommitClaims,
    Delegation,
    Need,
    Root,
    Roster,
    Round1,
    Round1Compact,
    Round2,
    Start,
    Wrap,
)
from keymote.wire.group_record import GroupRecord
from keymote.wire.group_signed import read
from keymote.wire.registry import peek


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
        if charter.not_after < known.not_after:  # under a former key of the roster authority, too (GS-02)
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
        return pursued(replace(cell, pursuit=Pursuit(wish, now.mono)), self.party, now)

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
                return heard_start(cell, peer, data, self.party, now, entropy)
            case Commit.mt:
                return self._commit(cell, data, now)
            case Need.mt:
                return repeated(cell, peer, Need.decode(data, self.sizes), self.party, now)
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

    # ------------------------------------------------------------------ time

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
            outputs += to_gateway(cell, missing(phase))
        if cell.pursuit is not None and cell.pursuit.due(now):
            cell, more = pursued(cell, self.party, now)
            outputs += more
        return cell, outputs


_ROUND_HEADS: Final = (Round1.opening(1), Round2.opening(1))


def _round_of(data: bytes) -> bytes:
    """Return what messages that may be taken in together share: the head of their round, or the message itself."""
    return data[:3] if data.startswith(_ROUND_HEADS) else data
