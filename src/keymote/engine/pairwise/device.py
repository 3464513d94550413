"""A session at a device: from the wish or the invitation to OPEN, and its end (Triad-1 2.6, 2.8)."""

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import equal
from keymote.crypto.suite import Suite
from keymote.engine.base import (
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
    Tell,
    Told,
    replace,
)
from keymote.engine.context import ANSWER_CACHE_S, AWAIT_A1_S, SESSION_TIMEOUTS_S, DeviceContext, Handshake
from keymote.engine.faces import (
    OWN_ENROLMENT,
    CloseSession,
    KeyReady,
    OpenSession,
    Protect,
    RevokeSession,
    SessionClosed,
)
from keymote.engine.link_faces import OWN_LINK, LinkBody, SealBody
from keymote.engine.pairwise import edhoc, initiator, record, responder
from keymote.engine.pairwise.invitation import Begin, Invited, WantRevocation
from keymote.engine.pairwise.parties import (
    MOST_BAD_TAGS,
    RESPONDER,
    Parties,
    Repeat,
    Shares,
    introduced,
    opened_shares,
    reply_to,
    role_of,
    towards,
)
from keymote.engine.pairwise.schedule import Agreement
from keymote.engine.pairwise.states import (
    AwaitA1,
    AwaitA2,
    AwaitA3,
    AwaitA4,
    AwaitFin,
    AwaitMessage2,
    AwaitMessage3,
    AwaitMessage4,
    AwaitPeer,
    AwaitShares,
    HalfOpenCell,
    Open,
    SessionCell,
)
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.credential import SignedCredential
from keymote.wire.enrolment import Error
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import (
    COMPACT,
    EDHOC,
    FAST,
    Auth1,
    Auth2,
    Close,
    Edhoc1,
    Edhoc2,
    Edhoc3,
    Edhoc4,
    Fin1,
    Fin2,
    Keyreq,
    Keyresp,
    Revnote,
    Sessreq,
    Shresp,
    Srec,
)
from keymote.wire.registry import peek

MOST_REASONS = 4


def device_session_kind(context: DeviceContext) -> Kind:
    """Return the kind `session` of a device."""
    steps = _Steps(context)
    return Kind("session", Durability.VOLATILE, steps.step, deadline=_deadline)


def _deadline(cell: SessionCell) -> float | None:
    match cell:
        case AwaitPeer() | AwaitA2() | AwaitA4() | AwaitMessage2() | AwaitMessage4() | AwaitShares():
            return cell.repeat.at
        case AwaitA1() | AwaitA3() | AwaitMessage3():
            return cell.until
        case AwaitFin():
            return cell.until if cell.repeat is None else cell.repeat.at
        case Open():
            return None


class _Steps:
    """Transitions that both roles share; those of one role stand in `initiator` and `responder`."""

    def __init__(self, context: DeviceContext) -> None:
        self.context = context

    @property
    def suite(self) -> Suite:
        return self.context.suite

    def step(self, cell: SessionCell | None, item: Item, now: Now, entropy: Entropy) -> Step:
        new, outputs = self._step(cell, item, now, entropy)
        if isinstance(cell, (AwaitA1, HalfOpenCell)) or isinstance(new, HalfOpenCell):
            responder.count_half_open(self.context, cell, new)
        return new, outputs

    def _step(self, cell: SessionCell | None, item: Item, now: Now, entropy: Entropy) -> Step:
        match item, cell:
            case Told(Begin(own, wish)), None:
                request = Sessreq(wish.psid, wish.peer_id, self._flags(wish)).encode()
                repeat = Repeat.first(None, request, now)
                return AwaitPeer(own, wish, repeat), [repeat.output()]
            case Told(Invited() as invited), _:
                return self._invited(cell, invited, now, entropy)
            case Told(LinkBody(body=body)), None if peek(body)[0] == Revnote.mt:
                return None, ()  # the answer to our own REVOKE
            case _, None:
                raise PeerFault(ErrorCode.E_UNKNOWN_ID, "no session has this psid")
            case Received(peer, data), _:
                return self._datagram(cell, peer, data, now, entropy)
            case Told(LinkBody() as heard), _:
                return self._from_manager(cell, heard, now)
            case Due(), Open():
                return cell, ()
            case Due(), _:
                return self._due(cell, now)
            case Failed(), AwaitA2() | AwaitA4() | AwaitMessage2() | AwaitMessage4() | AwaitFin() | AwaitShares():
                return None, [self._closed(cell, ErrorCode.E_TIMEOUT, "the peer cannot be reached")]
            case Failed(), _:
                return cell, ()
            case Protect(plaintext), Open():
                return record.protect(cell, plaintext)
            case CloseSession(), Open():
                close = Close(cell.psid, cell.closing_own).encode()
                return None, [towards(cell.peer, close), self._closed(cell, None, "closed here")]
            case CloseSession(), _:
                return None, [self._closed(cell, None, "given up")]
            case RevokeSession(reason), Open() if 0 <= reason <= MOST_REASONS:
                report = WantRevocation(cell.psid, cell.key_id, reason, cell.kid_peer)
                return None, [
                    Tell(OWN_ENROLMENT, report),
                    SessionClosed(cell.psid, None, revoked=True, why="revoked here"),
                ]
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not in this state of the session")

    def _flags(self, wish: OpenSession) -> int:
        """Return what SESSREQ says of the wish; EDHOC needs more than a compact PEERCRED says."""
        if self.context.handshake is Handshake.EDHOC:
            return (FAST if wish.fast else 0) | EDHOC
        return (FAST if wish.fast else 0) | (COMPACT if wish.compact else 0)

    # ------------------------------------------------------------------ PEERCRED and the managers' word

    def _invited(self, cell: SessionCell | None, invited: Invited, now: Now, entropy: Entropy) -> Step:
        peer, own = invited.peer, invited.membership
        match cell:
            case AwaitPeer():
                try:
                    parties = introduced(self.context, own, peer, asked_compact=cell.wish.compact, now=now)
                    if not parties.initiator:
                        raise PeerFault(ErrorCode.E_STATE, "invited as responder to a session that was asked for")
                    if parties.peer_id not in (b"", cell.wish.peer_id):
                        raise PeerFault(ErrorCode.E_CRED, "credential of another device than the one asked for")
                    if cell.wish.manager not in (b"", parties.manager_id):
                        raise PeerFault(ErrorCode.E_CRED, "another manager than the one named vouches for the peer")
                    parties = replace(parties, peer_id=cell.wish.peer_id)
                    shares = opened_shares(self.suite, parties, cell.early) if cell.early is not None else None
                    if self.context.handshake is Handshake.EDHOC:
                        return edhoc.call_peer(self.context, parties, cell.wish.at, shares, now, entropy)
                except PeerFault as fault:
                    return None, self._refusal(cell, peer.mt, fault)
                return initiator.challenge_peer(self.suite, parties, cell.wish.at, shares, now, entropy)
            case None if role_of(peer) == RESPONDER:
                try:
                    parties = introduced(self.context, own, peer, asked_compact=False, now=now)
                except PeerFault as fault:
                    return None, [_error(peer.mt, fault.code, peer.psid), Refused("", fault.code, fault.what)]
                return AwaitA1(parties, None, now.mono + AWAIT_A1_S), ()
            case None:
                raise PeerFault(ErrorCode.E_STATE, "invited to a session that nobody asked for")
            case _:
                return cell, ()

    def _from_manager(self, cell: SessionCell, heard: LinkBody, now: Now) -> Step:
        mt, _ = peek(heard.body)
        sizes = sizes_of(self.suite.id)
        match mt:
            case Shresp.mt:
                answer = Shresp.decode(heard.body, sizes)
                if self.context.post_quantum and answer.kappa2 is None and not isinstance(cell, AwaitFin | Open):
                    fault = PeerFault(ErrorCode.E_SUITE, "no post-quantum shares, which this device demands")
                    return None, self._refusal(cell, mt, fault)
                return self._shares(cell, answer, now)
            case Error.mt if not isinstance(cell, Open):
                code = ErrorCode(Error.decode(heard.body, sizes).code)
                return None, [self._closed(cell, code, "refused by the own manager")]
            case Revnote.mt:
                self._check_note(cell, Revnote.decode(heard.body, sizes))
                return None, [SessionClosed(_psid(cell), None, revoked=True, why="revoked by the managers")]
            case _:
                raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not expected in this state of the session")

    def _check_note(self, cell: SessionCell, note: Revnote) -> None:
        """Accept REVNOTE by the own manager's key only, under whichever credential it stands now (RV-05, RV-06, RN-07)."""
        raw = _manager_credential(cell)
        claims = SignedCredential.decode(raw).claims
        note.envelope.check(self.context.trust.key(claims.suite, claims.sig_pk), Revnote.mt)

    def _shares(self, cell: SessionCell, answer: Shresp, now: Now) -> Step:
        match cell:
            case AwaitPeer():
                return replace(cell, early=answer), ()
            case AwaitA1() | AwaitA2() | AwaitA3() | AwaitA4() | AwaitMessage2() | AwaitMessage3() | AwaitMessage4():
                if cell.shares is not None:
                    return cell, ()
            case AwaitShares():
                pass
            case _:
                return cell, ()
        try:
            shares = opened_shares(self.suite, cell.parties, answer)
            if isinstance(cell, AwaitShares):
                return self._agreed(cell, shares, now)
        except PeerFault as fault:
            return None, self._refusal(cell, answer.mt, fault)
        return replace(cell, shares=shares), ()

    def _refusal(self, cell: SessionCell, mt: int, fault: PeerFault) -> list[Output]:
        """A check failed on what our manager said: tell it inside LINK and end the session (CM-14)."""
        return [_error(mt, fault.code, _psid(cell)), self._closed(cell, fault.code, fault.what)]

    # ------------------------------------------------------------------ shares, FIN, OPEN

    def want_shares(self, cell: AwaitShares, shares: Shares | None, now: Now) -> Step:
        """Both devices have agreed: go on with the shares that are there, or ask the manager for them."""
        if shares is None:
            return cell, [cell.repeat.output()]
        return self._agreed(cell, shares, now)

    def _agreed(self, cell: AwaitShares, shares: Shares, now: Now) -> Step:
        """Compute S (9) and KS; the initiator speaks first (F1)."""
        parties = cell.parties
        S = self.suite.sum(cell.aV, shares.own, shares.foreign)
        agreement = cell.channel.agree(S, shares.kappa1, shares.kappa2)
        until = now.mono + sum(SESSION_TIMEOUTS_S)
        waiting = AwaitFin(parties, cell.peer, agreement, None, until, cell.replies, cell.bad)
        if not parties.initiator:
            if cell.fin is None:
                return waiting, ()
            return self._fin(waiting, cell.peer, cell.fin, now)
        fin = Fin1(parties.psid, agreement.fin(initiator=True)).encode()
        repeat = Repeat.first(cell.peer, fin, now)
        return replace(waiting, repeat=repeat), [repeat.output()]

    def _fin(self, cell: AwaitFin, peer: Peer, data: bytes, now: Now) -> Step:
        """Verify the peer's FIN; only now is the session usable (PW-23)."""
        parties = cell.parties
        fin = (Fin2 if parties.initiator else Fin1).decode(data, sizes_of(self.suite.id))
        if not equal(fin.tag, cell.agreement.fin(initiator=not parties.initiator)):
            return bad_tag(cell, peer)
        keys = cell.agreement.export()
        opened = self._open(parties, cell, keys.key_id, peer, now)
        report = KeyReady(parties.psid, parties.initiator, parties.peer_id, keys, parties.manager_id)
        if parties.initiator:
            return opened, [report]
        answer = Fin2(parties.psid, cell.agreement.fin(initiator=False)).encode()
        return replace(opened, replies=(*opened.replies, (data, answer))), [towards(peer, answer), report]

    def _open(self, parties: Parties, cell: AwaitFin, key_id: bytes, peer: Peer, now: Now) -> Open:
        agreement: Agreement = cell.agreement
        ours, theirs = parties.initiator, not parties.initiator
        return Open(
            psid=parties.psid,
            initiator=parties.initiator,
            suite=self.suite,
            peer_id=parties.peer_id,
            kid_peer=parties.kid_peer,
            cred_NM=parties.own.issuers[0],
            peer=peer,
            key_id=key_id,
            send=agreement.record_key(ours),
            receive=agreement.record_key(theirs),
            closing_own=agreement.closing(parties.psid, ours),
            closing_peer=agreement.closing(parties.psid, theirs),
            replies=cell.replies,
            replies_until=now.mono + ANSWER_CACHE_S,
        )

    # ------------------------------------------------------------------ datagrams and time

    def _datagram(self, cell: SessionCell, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> Step:
        mt, _ = peek(data)
        sizes = sizes_of(self.suite.id)
        if not isinstance(cell, (AwaitPeer, AwaitA1, Open)) and cell.bad >= MOST_BAD_TAGS:
            raise PeerFault(ErrorCode.E_LIMIT, "no more answers after 16 bad tags")
        if isinstance(cell, (AwaitA4, AwaitMessage4, AwaitShares, AwaitFin, Open)):
            known = reply_to(cell.replies, data)
            if known is not None and not (isinstance(cell, Open) and now.mono > cell.replies_until):
                return cell, [towards(peer, known)]
        match mt, cell:
            case Auth1.mt, AwaitA1() | AwaitA3() if self.context.handshake is Handshake.TRIAD:
                return responder.answer_challenge(self.context, cell, peer, data, entropy)
            case Auth2.mt, AwaitA2():
                return initiator.prove(self.suite, cell, peer, data, now, entropy)
            case Keyreq.mt, AwaitA3():
                reached, shares = responder.accept(self.suite, cell, peer, data, now, entropy)
                if not isinstance(reached, AwaitShares):
                    return reached, [Refused(peer, ErrorCode.E_AUTH, "A3 opens under none of the contexts")]
                answer = towards(peer, reached.replies[-1][1])
                new, outputs = self.want_shares(reached, shares, now)
                return new, [answer, *outputs]
            case Keyresp.mt, AwaitA4():
                reached4, shares = initiator.conclude(self.suite, cell, peer, data, now)
                if not isinstance(reached4, AwaitShares):
                    return reached4, [Refused(peer, ErrorCode.E_AUTH, "A4 does not open")]
                return self.want_shares(reached4, shares, now)
            case ((Edhoc1.mt | Edhoc2.mt | Edhoc3.mt | Edhoc4.mt), _):
                return self._by_edhoc(mt, cell, peer, data, now, entropy)
            case Fin1.mt, AwaitShares() if not cell.parties.initiator:
                Fin1.decode(data, sizes)
                return replace(cell, fin=data, peer=peer), ()
            case Fin1.mt, AwaitFin() if not cell.parties.initiator:
                return self._fin(cell, peer, data, now)
            case Fin2.mt, AwaitFin() if cell.parties.initiator:
                return self._fin(cell, peer, data, now)
            case Srec.mt, Open():
                return record.unprotect(cell, peer, Srec.decode(data, sizes))
            case Close.mt, Open():
                if not equal(Close.decode(data, sizes).tag, cell.closing_peer):
                    raise PeerFault(ErrorCode.E_AUTH, "CLOSE is not the peer's")
                return None, [self._closed(cell, None, "closed by the peer")]
            case _:
                raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not expected in this state of the session")

    def _by_edhoc(self, mt: int, cell: SessionCell, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> Step:
        match mt, cell:
            case Edhoc1.mt, AwaitA1() | AwaitMessage3() if self.context.handshake is Handshake.EDHOC:
                return edhoc.answer_call(self.context, cell, peer, data, entropy)
            case Edhoc2.mt, AwaitMessage2():
                return edhoc.prove(self.suite, cell, peer, data, now, entropy)
            case Edhoc3.mt, AwaitMessage3():
                accepted = edhoc.accept(self.suite, cell, peer, data, now, entropy)
                if not isinstance(accepted, AwaitShares):
                    return accepted
                new, outputs = self.want_shares(accepted, cell.shares, now)
                return new, [towards(peer, accepted.replies[-1][1]), *outputs]
            case Edhoc4.mt, AwaitMessage4():
                concluded = edhoc.conclude(self.suite, cell, peer, data, now)
                return (
                    self.want_shares(concluded, cell.shares, now) if isinstance(concluded, AwaitShares) else concluded
                )
            case _:
                raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not expected in this state of the session")

    def _due(self, cell: SessionCell, now: Now) -> Step:
        match cell:
            case (
                AwaitPeer()
                | AwaitA2()
                | AwaitA4()
                | AwaitMessage2()
                | AwaitMessage4()
                | AwaitShares()
                | AwaitFin(repeat=Repeat())
            ):
                assert cell.repeat is not None
                again = cell.repeat.again(now)
                if again is not None:
                    return replace(cell, repeat=again), [again.output()]
        bad = 0 if isinstance(cell, (AwaitPeer, AwaitA1, Open)) else cell.bad
        code = ErrorCode.E_AUTH if bad >= MOST_BAD_TAGS else ErrorCode.E_TIMEOUT
        return None, [self._closed(cell, code, f"no answer in {type(cell).__name__}")]

    @staticmethod
    def _closed(cell: SessionCell, code: ErrorCode | None, why: str) -> SessionClosed:
        return SessionClosed(_psid(cell), code, why=why)


def bad_tag(cell: AwaitA2 | AwaitA4 | AwaitFin, peer: Peer) -> Step:
    """Count a tag that does not verify; the session stays (PW-29)."""
    return replace(cell, bad=cell.bad + 1), [Refused(peer, ErrorCode.E_AUTH, f"bad tag in {type(cell).__name__}")]


def _error(mt: int, code: ErrorCode, psid: bytes) -> Tell:
    return Tell(OWN_LINK, SealBody(Error(mt, code, psid).encode()))


def _psid(cell: SessionCell) -> bytes:
    match cell:
        case AwaitPeer():
            return cell.wish.psid
        case Open():
            return cell.psid
        case _:
            return cell.parties.psid


def _manager_credential(cell: SessionCell) -> bytes:
    match cell:
        case AwaitPeer():
            return cell.own.issuers[0]
        case Open():
            return cell.cred_NM
        case _:
            return cell.parties.own.issuers[0]
