"""Enrolment, the registrar's side: a manager for devices, a coordinator for managers (Triad-1 2.4).

One cell per dev_id holds what lasts (a code that is expected, a member) and the run that is under way. Up to BIND the run
is memory only; from BIND on it is part of the record, with CRED already sealed, so that neither a crash nor a repeated
BIND makes a second credential.
"""

from collections.abc import Callable
from typing import Final

from keymote.crypto import dleq
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import equal
from keymote.crypto.suite import Point, Suite
from keymote.engine.base import (
    Answer,
    Ask,
    Command,
    Due,
    Durability,
    Item,
    Kind,
    Now,
    Output,
    Peer,
    Received,
    Refused,
    Send,
    Step,
    Tell,
    Told,
    replace,
)
from keymote.engine.context import RegistrarContext, backoff_s
from keymote.engine.enrolment import registrar_orders, renewal
from keymote.engine.enrolment.registrar_cell import (
    AwaitBind,
    AwaitDone,
    AwaitRegistration,
    AwaitShare,
    RegistrarCell,
    aliases,
    load,
    record_of,
    wake_at,
)
from keymote.engine.enrolment.schedule import Run, first_chain_key, generator, opening
from keymote.engine.faces import (
    Alarm,
    DeviceRevoked,
    Enrolled,
    ExpectAgain,
    ExpectDevice,
    session_of,
)
from keymote.engine.gate import Admitted
from keymote.engine.group.invitation import answered
from keymote.engine.link_faces import Install, LinkBody, link_to_device
from keymote.engine.member import (
    ACTIVE,
    REVOKED,
    SUSPENDED,
    DeviceGone,
    Member,
    MemberIs,
    NoSuchMember,
    RememberSession,
    WantMember,
    serve_member,
)
from keymote.engine.queries import Receipt, RegisterCredential
from keymote.engine.topic.faces import RegisterClient, client_of
from keymote.errors import ErrorCode, PeerFault, Unavailable
from keymote.wire.credential import Role, SignedCredential
from keymote.wire.enrolment import (
    Bind,
    BindBody,
    Cred,
    CredBody,
    DoneMessage,
    Offer,
    Renew,
    Share,
    ShareBody,
    Vpt,
    VptBody,
)
from keymote.wire.fields import sizes_of
from keymote.wire.invitation import Invited
from keymote.wire.registry import peek

SHARE_WITHIN_S: Final = 30.0
CRED_CACHE_S: Final = 3600
REGISTER_AGAIN_S: Final = 10
ALARM_AT: Final = 10


def registrar_kind(context: RegistrarContext) -> Kind:
    """Return the kind `enrolment` of a registrar."""
    steps = _Steps(context)
    return Kind(
        "enrolment",
        Durability.DURABLE,
        steps.step,
        record=record_of,
        load=load,
        aliases=aliases,
        stored_aliases=lambda cell: () if isinstance(cell.phase, (AwaitShare, AwaitBind)) else aliases(cell),
        deadline=lambda cell: cell.phase.until if isinstance(cell.phase, (AwaitShare, AwaitBind)) else None,
        wake_at=wake_at,
        same_record=lambda old, new: (old.code, old.phase, old.member) == (new.code, new.phase, new.member),
    )


class _Steps:
    """The transitions; only `context` is shared between them."""

    def __init__(self, context: RegistrarContext) -> None:
        self.context = context

    def step(self, cell: RegistrarCell | None, item: Item, now: Now, entropy: Entropy) -> Step:
        match item:
            case ExpectDevice(weak=True) | ExpectAgain(weak=True):
                warning = registrar_orders.weak_code(self.context, item.dev_id)
                cell, outputs = registrar_orders.ordered(cell, item)
                return cell, [*outputs, *warning]
            case Command():
                return registrar_orders.ordered(cell, item)
            case Told(WantMember(_, session)) if cell is None or cell.member is None:
                return cell, [Tell(session, NoSuchMember())]
        if cell is None:
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, "nobody expects this device; import its label first")
        context, dev_id = self.context, cell.dev_id
        match item, cell.phase:
            case Told(Admitted() as admitted), _:
                return self._join(cell, admitted, now, entropy)
            case Received(peer, data), _:
                return self._datagram(cell, peer, data, now, entropy)
            case Answer(ref, result), _ if ref == renewal.ASK:
                return self._renewal(cell, lambda member: renewal.registered(context, dev_id, member, result, now))
            case Due(), None:
                return self._renewal(cell, lambda member: renewal.due(context, dev_id, member, now, entropy))
            case Answer(_, result), AwaitRegistration() as phase:
                return self._registered(cell, phase, result, now)
            case Due(), AwaitShare():
                return self._failed(cell, now)
            case Due(), AwaitBind():
                return replace(cell, phase=None), [Refused("", ErrorCode.E_TIMEOUT, "no BIND")]
            case Due(), AwaitRegistration() as phase:
                return replace(cell, phase=replace(phase, ask_again=now.wall + REGISTER_AGAIN_S)), [
                    self._register(cell)
                ]
            case Due(), AwaitDone():
                return self._expired(cell), ()
            case Told(LinkBody() as heard), phase:
                if isinstance(phase, AwaitDone):
                    cell = replace(cell, phase=None, code=None)
                if peek(heard.body)[0] == Invited.mt:
                    return cell, [answered(dev_id, heard)]
                if peek(heard.body)[0] == Renew.mt:
                    kid = Renew.decode(heard.body, sizes_of(1)).kid  # its length does not depend on the suite
                    return self._renewal(cell, lambda member: renewal.heard(context, dev_id, member, kid, now, entropy))
                return self._member(cell, lambda member: serve_member(member, heard))
            case Told(WantMember() | RememberSession() as command), _:
                return self._member(cell, lambda member: _told(member, command))
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not in this state of the enrolment")

    # ------------------------------------------------------------------ the run

    def _join(self, cell: RegistrarCell, admitted: Admitted, now: Now, entropy: Entropy) -> Step:
        code, phase, join, peer = cell.code, cell.phase, admitted.join, admitted.peer
        if code is None or isinstance(phase, (AwaitRegistration, AwaitDone)):
            raise PeerFault(ErrorCode.E_OTC_USED, "the code was used; give the device a new label (device rejoin)")
        if isinstance(phase, AwaitBind):
            raise PeerFault(ErrorCode.E_STATE, "a run with a valid SHARE is under way")
        if isinstance(phase, AwaitShare):
            if phase.peer == peer and replace(join, cookie=None) == replace(phase.join, cookie=None):
                return cell, [Send(peer, phase.offer)]
            cell, reports = self._failed(cell, now)
            return cell, [
                *reports,
                Refused(peer, ErrorCode.E_LIMIT, "a JOIN replaced a run; back-off before the next OFFER"),
            ]
        if now.mono < cell.not_before:
            raise PeerFault(ErrorCode.E_LIMIT, "back-off after failed attempts")
        suite = self.context.suites[join.suite]
        if code.weak and not suite.pake:
            raise PeerFault(ErrorCode.E_SUITE, "a code below 128 bits cannot enrol with this suite")
        hello = admitted.hello.hello
        Y_D = suite.check(join.Y_D)
        y_N = suite.random_scalar(entropy)
        Y_N = suite.mul(y_N, generator(suite, code.prs, join.dev_id, hello))
        e_NM = suite.random_point(entropy)
        K = suite.mul(y_N, Y_D)
        T = opening(suite, hello, admitted.hello.wire, join)
        run = Run.start(suite, T, code.prs, join, hello, K, Y_N, e_NM)
        offer = Offer(Y_N, e_NM, run.offer_tag()).encode()
        phase = AwaitShare(run, join, e_NM, offer, peer, now.mono + SHARE_WITHIN_S)
        return replace(cell, phase=phase), [Send(peer, offer)]

    def _datagram(self, cell: RegistrarCell, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> Step:
        mt, _ = peek(data)
        match mt, cell.phase:
            case Share.mt, AwaitShare() as phase if peer == phase.peer:
                return self._share(cell, phase, data, now, entropy)
            case Share.mt, AwaitBind() as phase if peer == phase.peer and data == phase.share:
                return cell, [Send(peer, phase.vpt)]
            case Bind.mt, AwaitBind() as phase if peer == phase.peer:
                return self._bind(cell, phase, data, now, entropy)
            case Bind.mt, AwaitRegistration() as phase if equal(sha256(data), phase.bind_digest):
                moved = replace(phase, peer=peer, ask_again=now.wall + REGISTER_AGAIN_S)
                return replace(cell, phase=moved), [self._register(cell)]
            case Bind.mt, AwaitDone() as phase if equal(sha256(data), phase.bind_digest):
                return replace(cell, phase=replace(phase, peer=peer)), [Send(peer, phase.cred)]
            case DoneMessage.mt, AwaitDone() as phase if equal(data, phase.done):
                return replace(cell, phase=None, code=None), ()
            case DoneMessage.mt, AwaitDone():
                raise PeerFault(ErrorCode.E_AUTH, "DONE is not under this run's key")
            case _:
                raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not expected in this state of the enrolment")

    def _share(self, cell: RegistrarCell, phase: AwaitShare, data: bytes, now: Now, entropy: Entropy) -> Step:
        run, suite = phase.run, phase.run.suite
        sizes = sizes_of(suite.id)
        body = ShareBody.decode(run.open("A/k4", Share.decode(data, sizes).ct), sizes)
        W, e_D = suite.check(body.W), suite.check(body.e_D)
        key = suite.verify_key(body.sig_pk)
        V, E1 = contribution(suite, phase.e_NM, e_D, entropy)
        run = run.add(data)
        vpt = Vpt(run.seal("A/k5", VptBody(V).encode())).encode()
        waiting = AwaitBind(run.add(vpt), W, phase.e_NM, E1, key, data, vpt, phase.peer, now.mono + SHARE_WITHIN_S)
        return replace(cell, phase=waiting), [Send(phase.peer, vpt)]

    def _bind(self, cell: RegistrarCell, phase: AwaitBind, data: bytes, now: Now, entropy: Entropy) -> Step:
        run, suite = phase.run, phase.run.suite
        sizes = sizes_of(suite.id)
        body = BindBody.decode(run.open("A/k6", Bind.decode(data, sizes).ct), sizes)
        dleq.verify(suite, body.c, body.s, phase.e_NM, phase.W, phase.E1, body.E2, "A/dleq", run.T.value)
        phase.key.verify(run.to_be_possessed(), body.pop)
        keys = renewal.Keys(suite.id, phase.E1, body.E2, phase.key.encoding)
        credential = renewal.issued(self.context, cell.dev_id, keys, now, entropy)
        run = run.add(data)
        chain = CredBody(credential.raw, *self.context.chain).encode()
        cred = Cred(run.seal("A/k7", chain)).encode()
        run = run.add(cred)
        done = DoneMessage(run.seal("A/k9", b"")).encode()
        waiting = AwaitRegistration(
            credential.raw,
            phase.W,
            sha256(data),
            cred,
            done,
            run.link_key(),
            phase.peer,
            now.wall + REGISTER_AGAIN_S,
        )
        cell = replace(cell, phase=waiting)
        return cell, [self._register(cell)]

    @staticmethod
    def _register(cell: RegistrarCell) -> Ask:
        assert isinstance(cell.phase, AwaitRegistration)
        replaces = cell.code.replaces if cell.code is not None else b""
        return Ask(1, RegisterCredential(cell.phase.credential, replaces))

    def _registered(self, cell: RegistrarCell, phase: AwaitRegistration, result: object, now: Now) -> Step:
        match result:
            case Receipt():
                pass
            case Unavailable():
                return cell, [
                    Refused(phase.peer, ErrorCode.E_BUSY, "coordinator does not answer; the BIND may come again")
                ]
            case PeerFault() as fault:
                cell = replace(cell, phase=None)
                if cell.code is None:
                    return cell, ()  # revoked before it was registered
                self.context.tally.alarms["clone"] += 1
                return cell, [
                    Refused(phase.peer, ErrorCode.E_CRED, fault.what),
                    Alarm("clone", cell.dev_id, fault.what),
                ]
            case _:
                raise PeerFault(ErrorCode.E_BUSY, "coordinator gave no usable answer")
        credential = phase.credential
        if cell.code is None:
            revoked = Member(credential, phase.W, REVOKED, (), -1)
            return replace(cell, phase=None, member=revoked), [DeviceRevoked(cell.dev_id, ())]
        status = SUSPENDED if cell.member is not None and cell.member.status == SUSPENDED else ACTIVE
        member = Member(credential, phase.W, status, (), -1, cell.code.weak)
        waiting = AwaitDone(phase.bind_digest, phase.cred, phase.done, phase.peer, now.wall + CRED_CACHE_S)
        suite_id = SignedCredential.decode(credential).claims.suite
        install = Install(cell.dev_id, cell.dev_id, cell.dev_id, 1, suite_id, phase.K_link, phase.peer)
        outputs: list[Output] = [
            Tell(link_to_device(cell.dev_id), install),
            *self._chain(cell.dev_id, phase, suite_id),
            Send(phase.peer, phase.cred),
            Enrolled(cell.dev_id, credential, self.context.chain[0], b"".join(self.context.chain[1:2])),
        ]
        gone = cell.member.sessions if cell.member is not None else ()
        outputs += [Tell(session_of(psid), DeviceGone(cell.dev_id, 3)) for psid in gone]
        return replace(cell, phase=waiting, member=member), outputs

    def _chain(self, dev_id: bytes, phase: AwaitRegistration, suite_id: int) -> list[Tell]:
        """Begin the chain of a device's topic keys, or begin it anew (TM-01); managers at a coordinator have none."""
        if self.context.registers is not Role.DEVICE:
            return []
        key = first_chain_key(dev_id, phase.K_link)
        return [Tell(client_of(dev_id), RegisterClient(dev_id, key, suite_id, phase.peer))]

    def _failed(self, cell: RegistrarCell, now: Now) -> tuple[RegistrarCell, list[Output]]:
        """An OFFER without a valid SHARE: one wrong code, and a longer pause (DS-06, DS-07)."""
        assert cell.code is not None
        failures = cell.code.failures + 1
        reports: list[Output] = [Refused("", ErrorCode.E_AUTH, f"OFFER without a valid SHARE, {failures} in a row")]
        if failures == ALARM_AT:
            self.context.tally.alarms["wrong-codes"] += 1
            reports.append(Alarm("wrong-codes", cell.dev_id, f"{failures} attempts without the right code"))
        cell = replace(
            cell,
            code=replace(cell.code, failures=failures),
            phase=None,
            not_before=now.mono + backoff_s(failures),
        )
        return cell, reports

    @staticmethod
    def _expired(cell: RegistrarCell) -> RegistrarCell:
        """Nobody said DONE for an hour: the code may be used again, for a new credential that replaces this one."""
        if cell.code is None or cell.member is None:
            return replace(cell, phase=None)
        serial = SignedCredential.decode(cell.member.credential).claims.serial
        return replace(cell, phase=None, code=replace(cell.code, replaces=serial))

    # ------------------------------------------------------------------ the member

    def _renewal(self, cell: RegistrarCell, act: Callable[[Member], tuple[Member, list[Output]]]) -> Step:
        """Let `renewal` decide for an active member; nobody else's credential is renewed (RN-06)."""
        if cell.member is None or cell.member.status != ACTIVE:
            raise PeerFault(ErrorCode.E_NOSHARE, "no credential of this device is renewed")
        return self._member(cell, act)

    def _member(self, cell: RegistrarCell, act: Callable[[Member], tuple[Member, list[Output]]]) -> Step:
        if cell.member is None:
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, "not enrolled")
        member, outputs = act(cell.member)
        return (cell if member is cell.member else replace(cell, member=member)), outputs


def contribution(suite: Suite, e_NM: Point, e_D: Point, entropy: Entropy) -> tuple[Point, Point]:
    """Return V = d_NM e_D (2) and E1 = e_NM + V (3); d_NM is forgotten here (EN-15: another one if E1 = O)."""
    while True:
        V = suite.mul(suite.random_scalar(entropy), e_D)
        try:
            return V, suite.add(e_NM, V)
        except PeerFault:
            continue


def _told(member: Member, command: WantMember | RememberSession) -> tuple[Member, list[Output]]:
    match command:
        case WantMember(psid, session):
            return member, [Tell(session, MemberIs(psid, member))]
        case RememberSession(psid):
            return member.with_session(psid)
