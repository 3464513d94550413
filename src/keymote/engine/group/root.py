"""A member of a root group: the kind `root`, one cell for each gid_root (Triad-1 3.7).

It learns the keys of the rings that its node sits in from their memberships, and speaks through them. As delegate of a ring it
brings the root key to that ring; as deputy it does so when nobody else has.
"""

from collections.abc import Sequence
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret, equal
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
    Tell,
    Told,
    replace,
)
from keymote.engine.group import payload
from keymote.engine.group.charter import spoken_by
from keymote.engine.group.faces import HERE, ForgetGroup, FromRing, Resume, Resync, membership_of
from keymote.engine.group.party import Party
from keymote.engine.group.payload_faces import ProtectForGroup, UnprotectForGroup
from keymote.engine.group.root_faces import (
    Convey,
    EAsked,
    JoinRoot,
    KcvAsked,
    RingKeyed,
    RingLost,
    RingStale,
    RootDiffers,
    RootErased,
    RootIs,
    RootReady,
    WrapAsked,
    WrapMissing,
    WrapRefused,
)
from keymote.engine.group.root_key import kcv_of, ratcheted, root_key
from keymote.engine.group.root_states import (
    MOST_SEATS,
    AwaitWrap,
    RootCell,
    RootKey,
    RootLasting,
    Seat,
    Settled,
    epoch_of,
    load,
    record,
    same_record,
)
from keymote.engine.group.timing import ANSWER_EVERY_S, MOST_SKEW_S
from keymote.engine.group.wrapping import DEPUTY_ANSWERS_S, DEPUTY_WAITS_S, holds, is_due, lacks, opened, seal
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.fields import Sizes, sizes_of
from keymote.wire.group import FRESH, Need, Root, RootClaims, Round3Claims, What, Wrap
from keymote.wire.group_signed import read, write
from keymote.wire.registry import peek

MOST_STEPS: Final = 32
"""Ratchet steps that a member catches up by itself."""
ASK_WRAP_S: Final = 5.0
ASK_WRAP_LATER_S: Final = 30.0
"""Pauses between two questions for a WRAP: before a deputy had to act, and after."""

RootStep = tuple[RootCell, Sequence[Output]]


def root_kind(party: Party) -> Kind:
    """Return the kind `root` of a node that signs as `party`."""
    steps = _Steps(party)
    return Kind(
        "root",
        Durability.DURABLE,
        steps.step,
        record=lambda cell: record(cell, party.generation),
        load=lambda gid, data: load(gid, data, party.suite, party.generation),
        aliases=lambda cell: tuple({seat.sid8 for seat in cell.seats.values()}),
        stored_aliases=lambda _: (),
        deadline=_deadline,
        same_record=same_record,
    )


def _deadline(cell: RootCell) -> float | None:
    times = [seat.due for seat in cell.seats.values()]
    times.append(payload.deadline(cell.payload))
    match cell.stage:
        case AwaitWrap(_, begun, ask_at, erase_at, reported):
            times.append(ask_at)
            times.append(None if reported else begun + DEPUTY_WAITS_S)
            times.append(erase_at if cell.lasting.rk is not None else None)
    return min((time for time in times if time is not None), default=None)


class _Steps:
    def __init__(self, party: Party) -> None:
        self.party = party

    @property
    def sizes(self) -> Sizes:
        return sizes_of(self.party.signing.suite_id)

    def step(self, cell: RootCell | None, item: Item, now: Now, _entropy: Entropy) -> Step:
        match item, cell:
            case JoinRoot() as wish, _:
                return self._provisioned(cell, wish), ()
            case Resume(), None:
                return None, ()
            case _, None:
                raise PeerFault(ErrorCode.E_UNKNOWN_ID, "this node does not belong to the root group")
            case Received(peer, data), _:
                return self._message(cell, peer, data, now)
            case Told(FromRing(data)), _:
                return self._message(cell, HERE, data, now)
            case Told(word), _:
                return self._told(cell, word, now)
            case Due(), _:
                return self._due(cell, now)
            case ((Failed() | Resume()), _):
                return cell, ()
            case ForgetGroup(), _:
                return None, ()
            case Resync(), _:
                return cell, _questions(cell)
            case (ProtectForGroup() | UnprotectForGroup()) as command, _:
                return self._protected(cell, command, now)
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not for a root group")

    # ------------------------------------------------------------------ the application's word

    def _provisioned(self, cell: RootCell | None, wish: JoinRoot) -> RootCell:
        charter = wish.charter
        if charter.suite != self.party.signing.suite_id:
            raise CallerFault(f"a group of suite {charter.suite}, this node's key is of {self.party.signing.suite_id}")
        self.party.keys(charter.suite, charter.pk)
        lasting = RootLasting(charter, wish.kid, wish.senders)
        epoch_of(lasting, self.party.suite, RootKey(0, Secret(bytes(32))))  # CallerFault for too many senders
        if cell is None:
            return RootCell(lasting, payload.Payload(charter.gid_root))
        if cell.lasting.charter != charter:
            raise CallerFault("this root group has another root gateway", do="forget the group first")
        return replace(cell, lasting=replace(cell.lasting, kid=wish.kid, senders=wish.senders))

    def _protected(self, cell: RootCell, command: Command, now: Now) -> RootStep:
        """Seal or open a record. Nothing is sent while the newest ROOT's key is not here: others know better (CL-08)."""
        assert isinstance(command, ProtectForGroup | UnprotectForGroup)
        if isinstance(command, ProtectForGroup) and isinstance(cell.stage, AwaitWrap):
            raise PeerFault(ErrorCode.E_STATE, "the root key was replaced and the new one is not here yet")
        said, reports = payload.step(cell.payload, command, self.party.signing, now)
        return (cell if said is cell.payload else replace(cell, payload=said)), reports

    # ------------------------------------------------------------------ the memberships' word

    def _told(self, cell: RootCell, word: object, now: Now) -> RootStep:
        match word:
            case RingKeyed():
                cell, known = self._reporting(cell, word.gid) if word.top else (cell, ())
                cell, outputs = self._keyed_ring(cell, word, now)
                return cell, [*known, *outputs]
            case RingStale(gid) if gid in cell.seats:
                return cell.with_seat(replace(cell.seats[gid], stale=True, due=None)), ()
            case RingLost(gid):
                return self._lost(cell, gid)
            case EAsked(gid):
                return self._reporting(cell, gid)
            case WrapAsked(sid8):
                return self._wrap_asked(cell, sid8, now)
            case KcvAsked(sid8):
                return cell, self._kcv_asked(cell, sid8)
        return cell, ()

    def _reporting(self, cell: RootCell, gid: bytes) -> RootStep:
        """Tell the membership of a top ring the newest e, now and from now on: its R3 names the kcv of the next one."""
        told = Tell(membership_of(gid), RootIs(cell.lasting.e))
        return replace(cell, reporting=cell.reporting | {gid}), [told]

    def _keyed_ring(self, cell: RootCell, ring: RingKeyed, now: Now) -> RootStep:
        """Sit in a ring's new epoch; whoever is new in it must not get a root key that was in use before (CL-13)."""
        lasting, old = cell.lasting, cell.seats.get(ring.gid)
        if old is not None and old.ring.sid == ring.sid:
            return cell, ()
        if old is None and len(cell.seats) >= MOST_SEATS:
            raise PeerFault(ErrorCode.E_LIMIT, f"a member sits in at most {MOST_SEATS} rings")
        stored = dict(lasting.since).get(ring.sid[:8])
        since = lasting.e if stored is None else stored
        if old is not None and set(ring.kids) <= set(old.ring.kids):
            since = old.since
        seat = Seat(ring, since, wrapped=0 if old is None else old.wrapped)
        if old is None and stored is not None and lasting.rk is not None:
            seat = replace(seat, wrapped=lasting.rk.e)  # after a restart: who lacks the key will ask
        cell = cell.with_seat(seat)
        rows = tuple((each.sid8, each.since) for each in cell.seats.values())
        if rows != lasting.since:
            cell = replace(cell, lasting=replace(lasting, since=rows))
        if isinstance(cell.stage, AwaitWrap):
            if ring.top and (key := self._computed(cell)) is not None:
                return self._keyed(cell, key, cell.stage.before, now)
            return replace(cell, stage=replace(cell.stage, ask_at=min(cell.stage.ask_at, now.mono + 1.0))), ()
        return self._duties(cell, lasting.e, now) if lasting.key is not None else (cell, ())

    def _lost(self, cell: RootCell, gid: bytes) -> RootStep:
        """Leave a ring; who sits in none any more erases the root key (CL-09)."""
        seats = {each: seat for each, seat in cell.seats.items() if each != gid}
        cell = replace(cell, seats=seats, reporting=cell.reporting - {gid})
        if seats or cell.lasting.rk is None:
            return cell, ()
        erased = RootErased(cell.gid, cell.lasting.rk.e)
        lasting = replace(cell.lasting, rk=None, since=())
        return replace(cell, lasting=lasting, payload=payload.Payload(cell.gid), stage=Settled()), [erased]

    def _kcv_asked(self, cell: RootCell, sid8: bytes) -> list[Output]:
        """Sign which kcv the next root key has: of a top key that made none yet, else one ratchet step on (Triad-1 8)."""
        seat, lasting = cell.seat_of(sid8), cell.lasting
        if seat is None or not seat.ring.top:
            return []
        if lasting.rk is None or lasting.rk.origin != sid8:
            rk = root_key(seat.ring.mk, cell.gid, lasting.e + 1)
        elif lasting.key is not None:
            rk = ratcheted(lasting.rk.key, cell.gid, lasting.e + 1)
        else:
            return []
        claims = Round3Claims(sid8, seat.ring.idx, bytes(16), kcv_of(rk))
        said = write(self.party.signing, claims, seat.ring.sid)
        return [Tell(membership_of(seat.ring.gid), Convey(said, everybody=False))]

    # ------------------------------------------------------------------ ROOT

    def _message(self, cell: RootCell, peer: Peer, data: bytes, now: Now) -> RootStep:
        match peek(data)[0]:
            case Root.mt:
                return self._root(cell, data, now)
            case Wrap.mt:
                return self._wrap(cell, data, now)
            case mt:
                raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not for a member of a root group")

    def _root(self, cell: RootCell, data: bytes, now: Now) -> RootStep:
        """Accept a ROOT of a higher e, once; its number is durable before anything else happens (CL-03, CL-04)."""
        claimed, lasting = read(data, RootClaims, self.sizes), cell.lasting
        claims, charter = claimed.claims, lasting.charter
        if claims.gid_root != cell.gid:
            raise PeerFault(ErrorCode.E_STATE, "ROOT of another root group")
        if (claims.e, claims.mode, claims.kcv) == (lasting.e, lasting.mode, lasting.kcv):
            return cell, ()
        if claims.e <= lasting.e:
            raise PeerFault(ErrorCode.E_EPOCH, f"ROOT of e {claims.e}, {lasting.e} was accepted before")
        spoken_by(claimed, charter.kid, self.party.keys(charter.suite, charter.pk))
        wall = self.party.wall(now)
        if wall is not None and claims.ts > wall + MOST_SKEW_S:
            raise PeerFault(ErrorCode.E_REPLAY, "ROOT comes from the future")
        before = lasting.e
        lasting = replace(lasting, e=claims.e, mode=claims.mode, kcv=claims.kcv)
        known = [Tell(membership_of(gid), RootIs(claims.e)) for gid in cell.reporting]
        cell = replace(cell, lasting=lasting, payload=payload.expect(cell.payload, claims.e))
        key = self._computed(cell)
        outputs: Sequence[Output] = ()
        if key is not None:
            cell, outputs = self._keyed(cell, key, before, now)
        else:
            waiting = AwaitWrap(before, now.mono, now.mono + ASK_WRAP_S, now.mono + payload.GRACE_S)
            cell = replace(cell, stage=waiting)
            if lasting.mode != FRESH and lasting.rk is not None and lasting.rk.e == before:
                outputs = [RootDiffers(cell.gid, lasting.e)]
        cell, more = self._early(cell, now)
        return cell, [*known, *outputs, *more]

    def _computed(self, cell: RootCell) -> RootKey | None:
        """Return the key of the newest ROOT if this member can compute it and its kcv is the signed one (CL-05)."""
        lasting = cell.lasting
        if lasting.mode == FRESH:
            for seat in cell.seats.values():
                rk = root_key(seat.ring.mk, cell.gid, lasting.e) if seat.ring.top else None
                if rk is not None and equal(kcv_of(rk), lasting.kcv):
                    return RootKey(lasting.e, rk, seat.sid8)
            return None
        if lasting.rk is None or lasting.e - lasting.rk.e > MOST_STEPS:
            return None
        rk = lasting.rk.key
        for e in range(lasting.rk.e + 1, lasting.e + 1):
            rk = ratcheted(rk, cell.gid, e)
        return RootKey(lasting.e, rk, lasting.rk.origin) if equal(kcv_of(rk), lasting.kcv) else None

    def _keyed(self, cell: RootCell, key: RootKey, before: int, now: Now) -> RootStep:
        """Use the key of the newest ROOT from now on, and see to it that others get it. `before`: the e known until now."""
        lasting = replace(cell.lasting, rk=key)
        said, opened_now = payload.activate(cell.payload, epoch_of(lasting, self.party.suite, key), now)
        over: list[Output] = []
        if cell.payload.previous is not None:
            over.append(RootErased(cell.gid, cell.payload.previous.epoch.epoch))
        seats = {
            gid: seat if lacks(seat, lasting, before) else replace(seat, wrapped=key.e, due=None)
            for gid, seat in cell.seats.items()
        }
        cell = replace(cell, lasting=lasting, payload=said, stage=Settled(), seats=seats)
        ready = RootReady(cell.gid, key.e, lasting.mode, lasting.kcv)
        cell, outputs = self._duties(cell, key.e, now)
        return cell, [ready, *over, *opened_now, *outputs]

    # ------------------------------------------------------------------ WRAP

    def _duties(self, cell: RootCell, e: int, now: Now) -> RootStep:
        """WRAP at once as delegate; as deputy be ready to (CL-10, CL-11)."""
        outputs: list[Output] = []
        for seat in tuple(cell.seats.values()):
            if seat.wrapped >= e or not is_due(seat, e):
                continue
            if holds(seat.ring.delegate, cell.lasting):
                cell, said = seal(cell, seat, self.party)
                outputs += said
            elif holds(seat.ring.deputy, cell.lasting):
                cell = cell.with_seat(replace(seat, due=now.mono + DEPUTY_WAITS_S))
        return cell, outputs

    def _wrap(self, cell: RootCell, data: bytes, now: Now) -> RootStep:
        """Take the root key from the delegate or deputy of a ring, if it is what ROOT says (CL-06, CL-07)."""
        wrap = opened(cell, data, self.party)
        seat, e = wrap.seat, cell.lasting.e
        if wrap.claims.e == e + 1:
            return cell.with_seat(replace(seat, early=data)), ()
        if wrap.claims.e != e:
            raise PeerFault(ErrorCode.E_EPOCH, f"WRAP of e {wrap.claims.e}, the newest ROOT is of {e}")
        key = cell.lasting.key
        try:
            rk = wrap.key(cell.lasting, self.party.suite)
        except PeerFault as fault:
            return cell, [WrapRefused(cell.gid, e, seat.ring.gid, wrap.kid, fault.code)]
        cell = cell.with_seat(replace(seat, wrapped=e, due=None, early=b""))
        if key is not None:
            return cell, ()
        before = cell.stage.before if isinstance(cell.stage, AwaitWrap) else e - 1
        return self._keyed(cell, RootKey(e, rk), before, now)

    def _early(self, cell: RootCell, now: Now) -> RootStep:
        """Take in WRAPs that overtook their ROOT."""
        outputs: list[Output] = []
        for seat in [seat for seat in cell.seats.values() if seat.early]:
            cell = cell.with_seat(replace(cell.seats[seat.ring.gid], early=b""))
            try:
                cell, more = self._wrap(cell, seat.early, now)
                outputs += more
            except PeerFault:
                continue  # it was of an e that never came
        return cell, outputs

    def _wrap_asked(self, cell: RootCell, sid8: bytes, now: Now) -> RootStep:
        """Answer who lacks the root key: the delegate at once, the deputy if the delegate does not (CL-12)."""
        seat, key = cell.seat_of(sid8), cell.lasting.key
        if seat is None or key is None or not is_due(seat, key.e) or now.mono < seat.answered + ANSWER_EVERY_S:
            return cell, ()
        if holds(seat.ring.delegate, cell.lasting):
            return seal(cell, replace(seat, answered=now.mono), self.party)
        if holds(seat.ring.deputy, cell.lasting) and seat.due is None:
            return cell.with_seat(replace(seat, answered=now.mono, due=now.mono + DEPUTY_ANSWERS_S)), ()
        return cell, ()

    # ------------------------------------------------------------------ time

    def _due(self, cell: RootCell, now: Now) -> RootStep:
        outputs: list[Output] = []
        kept = payload.due(cell.payload, now)
        if kept is not cell.payload and cell.payload.previous is not None:
            outputs.append(RootErased(cell.gid, cell.payload.previous.epoch.epoch))
            cell = replace(cell, payload=kept)
        for seat in tuple(cell.seats.values()):
            if seat.due is not None and now.mono >= seat.due:
                cell, said = seal(cell, seat, self.party)
                outputs += said
        if isinstance(cell.stage, AwaitWrap):
            cell, more = self._waiting(cell, cell.stage, now)
            outputs += more
        return cell, outputs

    def _waiting(self, cell: RootCell, stage: AwaitWrap, now: Now) -> RootStep:
        """Ask for the WRAP, say after 30 s that it is missing, and give the old root key up after 60 s."""
        outputs: list[Output] = []
        lasting = cell.lasting
        if now.mono >= stage.erase_at and lasting.rk is not None:
            outputs.append(RootErased(cell.gid, lasting.rk.e))
            mute = payload.expect(payload.Payload(cell.gid), lasting.e)
            cell = replace(cell, lasting=replace(lasting, rk=None), payload=mute)
        if now.mono >= stage.begun + DEPUTY_WAITS_S and not stage.reported:
            stage = replace(stage, reported=True)
            outputs += [
                WrapMissing(cell.gid, lasting.e, seat.ring.gid, holds(seat.ring.deputy, lasting))
                for seat in cell.seats.values()
                if not seat.ring.top and not holds(seat.ring.delegate, lasting)
            ]
        if now.mono >= stage.ask_at:
            pause = ASK_WRAP_S if now.mono < stage.begun + DEPUTY_WAITS_S else ASK_WRAP_LATER_S
            stage = replace(stage, ask_at=now.mono + pause)
            outputs += _questions(cell)
        return replace(cell, stage=stage), outputs


def _questions(cell: RootCell) -> list[Output]:
    """Return what asks everybody in our rings for the root key."""
    return [
        Tell(membership_of(seat.ring.gid), Convey(Need(seat.sid8, What.WRAP, seat.ring.idx).encode(), everybody=True))
        for seat in cell.seats.values()
        if not seat.ring.top and not holds(seat.ring.delegate, cell.lasting)
    ]
