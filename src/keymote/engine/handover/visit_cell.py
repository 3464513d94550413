"""The kind `visit`: a client that is handed over to this broker. Durable from HO_CTX on; readings wait for it a moment before."""

from collections.abc import Sequence
from dataclasses import replace as with_fields
from typing import Final

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret, equal
from keymote.engine.base import (
    Answer,
    Ask,
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
    Send,
    Step,
    replace,
)
from keymote.engine.handover.faces import (
    BUFFER_S,
    MOST_BUFFERED,
    MOST_RUNS,
    MOST_WAITING,
    PULL_S,
    AccountOpen,
    AgentContext,
    CloseAccount,
    Connected,
    Forward,
    Moved,
    OpenAccount,
    Resume,
    Revoke,
    SessionMoved,
)
from keymote.engine.handover.federation import matches
from keymote.engine.handover.keys import broker_at, key_on_visit, release_tag, released_tag, visitor_password
from keymote.engine.handover.state import decode_origin
from keymote.engine.handover.visit_states import Run, Stay, VisitCell, Waiting, load, record
from keymote.engine.handover.visited import acknowledge, deny, hear_request, pull, take_context
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.enrolment import Error
from keymote.wire.fields import sizes_of
from keymote.wire.handover import NOWHERE, Between, HoPub, HoRelease, HoReleased
from keymote.wire.registry import peek
from keymote.wire.topic import PUBLISH, HoContext, HoCtx, HoPull, HoReq, Right

_SIZES: Final = sizes_of(1)
VisitStep = tuple[VisitCell, Sequence[Output]]


def visit_kind(context: AgentContext) -> Kind:
    """Return the kind `visit` of an agent."""
    return Kind(
        "visit",
        Durability.DURABLE,
        _Steps(context).step,
        record=record,
        load=load,
        deadline=_deadline,
        wake_at=lambda cell: None if cell.stay is None else cell.stay.expires,
    )


def _deadline(cell: VisitCell) -> float | None:
    times = [run.until for run in cell.runs]
    if cell.buffered:
        times.append(cell.drop_at)
    return min(times, default=None)


def allows(rights: tuple[Right, ...], topic: str, right: int) -> bool:
    """Return whether a ticket's rights let its client do this on a concrete topic."""
    return any(each.rights & right and matches(each.filter, topic) for each in rights)


class _Steps:
    def __init__(self, context: AgentContext) -> None:
        self.context = context

    def step(self, cell: VisitCell | None, item: Item, now: Now, entropy: Entropy) -> Step:
        match item:
            case Received(peer, data):
                new, outputs = self._datagram(cell or VisitCell(), peer, data, now, entropy)
            case _ if cell is None:
                if isinstance(item, (Resume, Revoke, SessionMoved)):
                    return None, ()
                raise PeerFault(ErrorCode.E_UNKNOWN_ID, "nobody visits under this id")
            case Answer(ref, result):
                new, outputs = self._opened(cell, ref, result, now)
            case Failed(_, ref):
                new, outputs = self._unreachable(cell, ref)
            case Due():
                new, outputs = self._due(cell, now)
            case Resume():
                new, outputs = self._resumed(cell, now)
            case Revoke():
                new, outputs = self._gone(cell)
            case SessionMoved(ho_ctr):
                new, outputs = self._moved(cell, ho_ctr)
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not for a visiting client")
        self.context.tally.waiting += len(new.runs) - (0 if cell is None else len(cell.runs))
        return (None if new.stay is None and not new.runs else new), outputs

    def _datagram(self, cell: VisitCell, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> VisitStep:
        match peek(data)[0]:
            case HoReq.mt:
                return self._called(cell, peer, data, now, entropy)
            case HoPub.mt:
                return self._readings(cell, peer, (HoPub.decode(data, _SIZES),), now)
            case Between.mt:
                frame = Between.decode(data, _SIZES)
                return self._from_agent(cell, peer, frame, now)
            case mt:
                raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not for a visited broker")

    def _from_agent(self, cell: VisitCell, peer: Peer, frame: Between, now: Now) -> VisitStep:
        match peek(frame.body)[0]:
            case HoCtx.mt:
                return self._context(cell, frame.body, now)
            case Error.mt:
                return self._denied(cell, peer, frame.body)
            case HoRelease.mt:
                return self._released(cell, peer, frame.body)
            case mt:
                raise PeerFault(ErrorCode.E_STATE, f"message {mt} between agents is not for a visited broker")

    # ------------------------------------------------------------------ the client calls

    def _called(self, cell: VisitCell, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> VisitStep:
        """HO_REQ, and readings behind it in the same datagram."""
        first, *rest = [cbor.encode(item) for item in cbor.decode_sequence(data)]
        readings = tuple(HoPub.decode(each, _SIZES) for each in rest)
        request = hear_request(self.context.desk, self.context.federation, first)
        if request.client_id in self.context.federation.gone:
            raise PeerFault(ErrorCode.E_TICKET, "the trusted system took this client's rights back")
        if cell.stay is not None and cell.stay.request == request:
            return self._again(cell, peer, cell.stay)
        home = self.context.federation.broker(request.home)
        outputs: list[Output]
        for run in cell.runs:
            if run.request == request:
                cell = replace(
                    cell, runs=tuple(with_fields(each, peer=peer) if each is run else each for each in cell.runs)
                )
                outputs = [Send(home.peer, Between(request.client_id, run.pull).encode(), run.ref)]
                break
        else:
            if len(cell.runs) >= MOST_RUNS or self.context.tally.waiting >= MOST_WAITING:
                raise PeerFault(ErrorCode.E_LIMIT, "too many requests wait for their home brokers")
            nV, pulled = pull(self.context.desk, request, entropy)
            ref = cell.asked + 1
            started = Run(ref, peer, request, nV, pulled, now.mono + PULL_S)
            cell = replace(cell, runs=(*cell.runs, started), asked=ref)
            outputs = [Send(home.peer, Between(request.client_id, pulled).encode(), ref)]
        if not readings:
            return cell, outputs
        cell, heard = self._readings(cell, peer, readings, now)
        return cell, [*heard, *outputs]

    def _again(self, cell: VisitCell, peer: Peer, stay: Stay) -> VisitStep:
        """The request that this stay began with: HO_ACK was lost, or this process died before it."""
        if stay.leaving is not None:
            raise PeerFault(ErrorCode.E_HO_CTR, "HO_REQ of a stay that is over")
        ref = cell.asked + 1
        return replace(cell, asked=ref, waiting=Waiting(ref, peer)), [Ask(ref, self._account(stay))]

    def _readings(self, cell: VisitCell, peer: Peer, readings: tuple[HoPub, ...], now: Now) -> VisitStep:
        """Readings before HO_CTX (HO-10, C-17): of emergency topics at once, marked; others wait, at most 8 for at most 2 s.

        Each belongs to the request that came from where it came: a forged one takes no room of the client's own.
        """
        if peer not in {run.peer for run in cell.runs} | ({cell.waiting.peer} if cell.waiting is not None else set()):
            raise PeerFault(ErrorCode.E_STATE, "a reading without a request to be taken over")
        client_id = (cell.runs[0].request if cell.runs else _stay(cell).request).client_id
        outputs = list[Output]()
        buffered = cell.buffered
        for reading in readings:
            if reading.client_id != client_id:
                raise PeerFault(ErrorCode.E_FORMAT, "a reading of another client behind HO_REQ")
            if any(matches(pattern, reading.topic) for pattern in self.context.federation.emergency):
                if self.context.tally.may_forward(client_id, now):
                    outputs.append(Forward(client_id, reading.topic, reading.pub, verified=False))
                else:
                    outputs.append(Refused(peer, ErrorCode.E_LIMIT, "too many unverified readings of emergency topics"))
            elif sum(source == peer for source, _ in buffered) < MOST_BUFFERED:
                buffered = (*buffered, (peer, reading))
            else:
                outputs.append(Refused(peer, ErrorCode.E_LIMIT, "too many readings wait for HO_CTX"))
        drop_at = cell.drop_at if cell.buffered else now.mono + BUFFER_S
        return replace(cell, buffered=buffered, drop_at=drop_at), outputs

    # ------------------------------------------------------------------ the home broker answers

    def _context(self, cell: VisitCell, data: bytes, now: Now) -> VisitStep:
        """HO_CTX: the first run that it answers wins (HO-07)."""
        run, context = self._answered(cell, data)
        K_v = Secret(context.K_v)
        expires = now.wall + context.life_s
        stay = Stay(run.request, run.nV, K_v, context.rights, expires, decode_origin(context.state))
        ref = cell.asked + 1
        own = tuple(each for each in cell.buffered if each[0] == run.peer)
        new = replace(cell, stay=stay, runs=(), waiting=Waiting(ref, run.peer), buffered=own, asked=ref)
        return new, [Ask(ref, self._account(stay))]

    def _answered(self, cell: VisitCell, data: bytes) -> tuple[Run, HoContext]:
        fault = PeerFault(ErrorCode.E_STATE, "HO_CTX that nobody asked for")
        for run in cell.runs:
            try:
                return run, take_context(self.context.desk, self.context.federation, run.request, run.pull, data)
            except PeerFault as found:
                fault = found
        raise fault

    def _account(self, stay: Stay) -> OpenAccount:
        password = visitor_password(stay.K_v, stay.request.nC, stay.nV)
        return OpenAccount(stay.request.client_id, password, stay.rights, stay.expires, session=True)

    def _opened(self, cell: VisitCell, ref: int, result: object, now: Now) -> VisitStep:
        """The broker lets the client in: HO_ACK, then what has waited (HO-08)."""
        waiting, stay = cell.waiting, cell.stay
        if waiting is None or waiting.ref != ref or stay is None:
            return cell, ()
        client_id = stay.request.client_id
        if not isinstance(result, AccountOpen):
            refused = Refused(waiting.peer, ErrorCode.E_BUSY, "the broker does not open an account now")
            denied: list[Output] = [Send(waiting.peer, deny(stay.request, ErrorCode.E_BUSY))] if waiting.peer else []
            return replace(cell, waiting=None, buffered=()), [*denied, refused]
        outputs: list[Output] = [Connected(client_id, stay.request.home)]
        if waiting.peer:
            outputs = [*self._acknowledged(waiting.peer, stay), *outputs]
        for _, reading in cell.buffered if now.mono < cell.drop_at else ():
            if allows(stay.rights, reading.topic, PUBLISH):
                outputs.append(Forward(client_id, reading.topic, reading.pub, verified=True))
            else:
                outputs.append(
                    Refused(waiting.peer, ErrorCode.E_TICKET, "a reading on a topic outside the client's rights")
                )
        return replace(cell, waiting=None, buffered=()), outputs

    def _acknowledged(self, peer: Peer, stay: Stay) -> list[Output]:
        answers: list[Output] = [Send(peer, acknowledge(stay.K_v, stay.request, stay.nV))]
        if self.context.place:
            request = stay.request
            key = key_on_visit(stay.K_v, request.nC, stay.nV)
            answers.append(Send(peer, broker_at(key, request.nC + stay.nV, request.client_id, self.context.place)))
        return answers

    def _denied(self, cell: VisitCell, peer: Peer, data: bytes) -> VisitStep:
        """ERROR of the home broker, inside mutual TLS, about one run: HO_DENY."""
        error = Error.decode(data, _SIZES)
        for run in cell.runs:
            home = self.context.federation.broker(run.request.home)
            if error.offending == HoPull.mt and error.psid == run.nV[:8] and home.peer == peer:
                return self._without(cell, run, ErrorCode(error.code))
        raise PeerFault(ErrorCode.E_STATE, "an error about no HO_PULL of ours")

    def _unreachable(self, cell: VisitCell, ref: int) -> VisitStep:
        """The home broker does not answer: the client goes the full way (HO-09)."""
        for run in cell.runs:
            if run.ref == ref:
                return self._without(cell, run, ErrorCode.E_TIMEOUT)
        return cell, ()

    def _without(self, cell: VisitCell, run: Run, code: ErrorCode) -> VisitStep:
        runs = tuple(each for each in cell.runs if each is not run)
        denied = Send(run.peer, deny(run.request, code))
        refused = Refused(run.peer, code, "the home broker does not hand this client over")
        left = {each.peer for each in runs}
        buffered = tuple(each for each in cell.buffered if each[0] in left)
        return replace(cell, runs=runs, buffered=buffered), [denied, refused]

    # ------------------------------------------------------------------ the client goes on

    def _released(self, cell: VisitCell, peer: Peer, data: bytes) -> VisitStep:
        """HO_RELEASE: the home broker says where the session goes; only it shares K_v with us (HO-11)."""
        message = HoRelease.decode(data, _SIZES)
        stay = cell.stay
        if stay is None or stay.request.ho_ctr != message.ho_ctr:
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, "HO_RELEASE of a stay that is not here")
        if not equal(release_tag(stay.K_v, message), message.tag):
            raise PeerFault(ErrorCode.E_AUTH, "HO_RELEASE not by the client's home broker")
        client_id = message.client_id
        unsigned = HoReleased(client_id, message.ho_ctr, bytes(16))
        said = with_fields(unsigned, tag=released_tag(stay.K_v, unsigned)).encode()
        answer = Send(peer, Between(client_id, said).encode())
        if message.next == NOWHERE:
            return replace(cell, stay=None, waiting=None), [answer, CloseAccount(client_id)]
        moving = Moved(client_id, message.next, message.ho_ctr)
        return replace(cell, stay=with_fields(stay, leaving=message.next), waiting=None), [answer, moving]

    def _moved(self, cell: VisitCell, ho_ctr: int) -> VisitStep:
        stay = cell.stay
        if stay is None or stay.leaving is None or stay.request.ho_ctr != ho_ctr:
            return cell, ()
        return replace(cell, stay=None), [CloseAccount(stay.request.client_id)]

    def _gone(self, cell: VisitCell) -> VisitStep:
        if cell.stay is None:
            return cell, ()
        return replace(cell, stay=None, waiting=None), [CloseAccount(cell.stay.request.client_id)]

    # ------------------------------------------------------------------ time

    def _due(self, cell: VisitCell, now: Now) -> VisitStep:
        outputs = list[Output]()
        if cell.stay is not None and now.wall >= cell.stay.expires:
            cell, ended = self._gone(cell)
            outputs += ended
        if cell.buffered and now.mono >= cell.drop_at:
            outputs.append(
                Refused("", ErrorCode.E_TIMEOUT, f"{len(cell.buffered)} readings waited too long for HO_CTX")
            )
            cell = replace(cell, buffered=())
        for run in cell.runs:
            if now.mono >= run.until:
                cell, denied = self._without(cell, run, ErrorCode.E_TIMEOUT)
                outputs += denied
        return cell, outputs

    def _resumed(self, cell: VisitCell, now: Now) -> VisitStep:
        stay = cell.stay
        if stay is None:
            return cell, ()
        if stay.leaving is not None:
            return cell, [Moved(stay.request.client_id, stay.leaving, stay.request.ho_ctr)]
        if now.wall >= stay.expires:
            return self._gone(cell)
        return self._again(cell, "", stay)


def _stay(cell: VisitCell) -> Stay:
    assert cell.stay is not None  # `waiting` is about one
    return cell.stay
