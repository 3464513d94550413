"""A session at a manager: introduce two devices, contribute a share for each, and take it back (Triad-1 2.6 to 2.8)."""

from dataclasses import replace
from typing import Final

from keymote.crypto import seal
from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import equal
from keymote.crypto.suite import Point
from keymote.engine.base import (
    Answer,
    Ask,
    CellKey,
    Due,
    Durability,
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
)
from keymote.engine.context import RegistrarContext
from keymote.engine.faces import OWN, SessionRegistered, SessionRevoked, enrolment_of, peer_manager, session_of
from keymote.engine.link import Forward, LinkBody, SealBody, link_to_device
from keymote.engine.member import (
    ACTIVE,
    Asked,
    DeviceGone,
    MemberIs,
    NoSuchMember,
    RememberSession,
    Superseded,
    WantMember,
    refusal,
)
from keymote.engine.own import ShareKeyIs, WantShareKey
from keymote.engine.pairwise.register import (
    REPEATED_S,
    Asking,
    Called,
    Dead,
    ManagerSessionCell,
    Party,
    Register,
    Shares,
    load,
    record,
    same_record,
)
from keymote.engine.pairwise.schedule import share_context, share_scalar
from keymote.engine.peer import CannotReach, SayTo, XcredHeard
from keymote.engine.queries import DeviceFound, FindDevice, ReportRevocation
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.cose import Sign1, sign1
from keymote.wire.credential import Role, SignedCredential, digest_of, kid_of
from keymote.wire.enrolment import Error
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import (
    COMPACT,
    FAST,
    Auth1,
    Auth2,
    Close,
    Fin1,
    Fin2,
    Keyreq,
    Keyresp,
    Peercred,
    PeercredCompact,
    Revnote,
    RevnoteClaims,
    Revoke,
    Sessreq,
    ShareClaims,
    Shreq,
    Shresp,
    Srec,
    Xcred,
    XshareAnswer,
    XshareRequest,
)
from keymote.wire.registry import peek

SAY_AGAIN_S: Final = 3.0
GIVE_UP_S: Final = 10.0
MOST_REASONS: Final = 4
MOST_TODO: Final = 4
UNKNOWN_KEY_ID: Final = bytes(8)
"""In a REVNOTE that a manager writes by itself: it does not know the key."""

_TO_R: Final = frozenset({Auth1.mt, Keyreq.mt, Fin1.mt})
_TO_I: Final = frozenset({Auth2.mt, Keyresp.mt, Fin2.mt})
_ShareRequest = Shreq | XshareRequest | XshareAnswer
RELAYED: Final = _TO_R | _TO_I | {Close.mt, Srec.mt}


def manager_session_kind(context: RegistrarContext) -> Kind:
    """Return the kind `session` of a manager."""
    steps = _Steps(context)
    return Kind(
        "session",
        Durability.DURABLE,
        steps.step,
        record=record,
        load=load,
        deadline=lambda cell: cell.until if isinstance(cell, (Asking, Called)) else None,
        wake_at=lambda cell: cell.wake_at if isinstance(cell, Dead) else None,
        same_record=same_record,
    )


class _Steps:
    def __init__(self, context: RegistrarContext) -> None:
        self.context = context

    def step(self, cell: ManagerSessionCell | None, item: Item, now: Now, entropy: Entropy) -> Step:
        match item, cell:
            case Told(Asked() as asked), _:
                return self._asked(cell, asked, now, entropy)
            case Told(XcredHeard() as heard), _:
                return self._xcred(cell, heard, now, entropy)
            case _, None:
                raise PeerFault(ErrorCode.E_UNKNOWN_ID, "no session has this psid")
            case Told(LinkBody() as heard), _:
                return self._from_manager(cell, heard, now, entropy)
            case Told(ShareKeyIs() as key), _:
                return self._share_key(cell, key, now, entropy)
            case Told(MemberIs(_, member)), _:
                return self._member(cell, Party.of(member), member.status, now, entropy)
            case Told(NoSuchMember()), Asking():
                return cell, [Ask(1, FindDevice(cell.peer_id))]
            case Told(NoSuchMember()), Called():
                return None, [refusal(cell.via, Xcred.mt, ErrorCode.E_UNKNOWN_ID, cell.psid)]
            case Answer(_, result), Asking():
                return self._found(cell, result, now)
            case Told(CannotReach(code)), Asking():
                return self._given_up(cell, code)
            case Told(DeviceGone(dev_id, reason)), Register():
                party = cell.party(dev_id)
                return self._kill(cell, UNKNOWN_KEY_ID, reason, party.kid if party is not None else bytes(8), now)
            case Told(Superseded()), Register():
                return self._kill(cell, UNKNOWN_KEY_ID, 3, bytes(8), now)
            case Told(DeviceGone()), Asking() | Called():
                return None, ()
            case ((Told(DeviceGone() | Superseded()) | Answer()), _):
                return cell, ()
            case Received(peer, data), Register():
                return self._relayed(cell, peer, data)
            case Due(), Asking():
                return self._due(cell, now)
            case Due(), Called():
                return None, ()
            case Due(), Dead():
                return self._remind(cell)
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not in this state of the session")

    # ------------------------------------------------------------------ a device of ours asks

    def _asked(self, cell: ManagerSessionCell | None, asked: Asked, now: Now, entropy: Entropy) -> Step:
        request = asked.request
        mt, psid = request.mt, request.psid
        match request, cell:
            case Sessreq(), None:
                return self._begin(asked, request, now)
            case Sessreq(), Register() if cell.I.dev_id == asked.dev_id and cell.I.own:
                return cell, self._introduce(cell, cell.I, now)
            case Sessreq(), Asking() if cell.asker.dev_id == asked.dev_id:
                return cell, ()
            case Shreq(), Register():
                return self._want_shares(cell, asked, request, now, entropy)
            case Revoke(), Register() if (party := cell.party(asked.dev_id)) is not None and party.own:
                if request.reason > MOST_REASONS:
                    return cell, [refusal(asked.link, mt, ErrorCode.E_FORMAT, psid)]
                return self._kill(cell, request.key_id, request.reason, request.kid_accused, now)
            case _, Dead() if asked.dev_id in cell.parties:
                return cell, [Tell(asked.link, SealBody(cell.note))]
            case _:
                code = ErrorCode.E_UNKNOWN_ID if cell is None else ErrorCode.E_STATE
                return cell, [refusal(asked.link, mt, code, psid), Refused("", code, f"request {mt} of a member")]

    def _begin(self, asked: Asked, request: Sessreq, now: Now) -> Step:
        if request.dev_id_2 == asked.dev_id:
            return None, [refusal(asked.link, request.mt, ErrorCode.E_STATE, request.psid)]
        key = session_of(request.psid)
        cell = Asking(request.psid, request.flags, Party.of(asked.member), request.dev_id_2, until=now.mono + GIVE_UP_S)
        return cell, [
            Tell(OWN, WantShareKey(key, None)),
            Tell(enrolment_of(request.dev_id_2), WantMember(request.psid, key)),
        ]

    def _found(self, cell: Asking, result: object, now: Now) -> Step:
        match result:
            case DeviceFound():
                pass
            case PeerFault():
                return self._given_up(cell, result.code)
            case _:
                return self._given_up(cell, ErrorCode.E_BUSY)
        cell = replace(
            cell,
            found=(result.cred_NM, result.cred_NC, result.manager),
            until=now.mono + SAY_AGAIN_S,
        )
        return self._say_xcred(cell, afresh=False)

    def _say_xcred(self, cell: Asking, *, afresh: bool) -> Step:
        assert cell.found is not None
        cred_NM, cred_NC, endpoint = cell.found
        flags = cell.flags or None
        body = Xcred(cell.psid, cell.asker.credential, cell.peer_id, cell.epoch, cell.shares.kappa1, flags).encode()
        say = SayTo(session_of(cell.psid), body, cred_NM, cred_NC, endpoint, afresh)
        return cell, [Tell(peer_manager(_subject(cred_NM)), say)]

    def _due(self, cell: Asking, now: Now) -> Step:
        if cell.found is None or cell.attempt == 2:
            return self._given_up(cell, ErrorCode.E_TIMEOUT if cell.found is not None else ErrorCode.E_BUSY)
        again = replace(cell, attempt=cell.attempt + 1, until=now.mono + SAY_AGAIN_S)
        return self._say_xcred(again, afresh=True)

    @staticmethod
    def _given_up(cell: Asking, code: ErrorCode) -> Step:
        return None, [
            refusal(cell.asker.link, Sessreq.mt, code, cell.psid),
            Refused("", code, "the peer's manager or device is not to be had"),
        ]

    # ------------------------------------------------------------------ the other manager asks, or answers

    def _xcred(self, cell: ManagerSessionCell | None, heard: XcredHeard, now: Now, entropy: Entropy) -> Step:
        xcred, manager = heard.xcred, heard.manager
        match cell:
            case Asking() if cell.found is not None and cell.found[0] == manager.cred_NM:
                foreign = self._vouched(heard, now)
                if foreign.dev_id != cell.peer_id:
                    raise PeerFault(ErrorCode.E_CRED, "XCRED for another device than the one asked for")
                known = (manager.nm_id, manager.cred_NM, manager.cred_NC)
                shares = replace(cell.shares, kappa2=xcred.kappa)
                return self._registered(
                    Register(
                        cell.psid,
                        cell.flags,
                        cell.asker,
                        foreign,
                        known,
                        heard.link,
                        cell.number or 0,
                        cell.epoch,
                        xcred.status_epoch,
                        now.wall,
                        shares,
                    ),
                    [],
                    now,
                    entropy,
                )
            case None if xcred.dev_id_2:
                foreign = self._vouched(heard, now)
                key = session_of(xcred.psid)
                called = Called(
                    xcred.psid,
                    xcred.flags or 0,
                    foreign,
                    xcred.dev_id_2,
                    heard.link,
                    (manager.nm_id, manager.cred_NM, manager.cred_NC),
                    xcred.kappa,
                    xcred.status_epoch,
                    now.mono + GIVE_UP_S,
                )
                want = [
                    Tell(OWN, WantShareKey(key, None)),
                    Tell(enrolment_of(xcred.dev_id_2), WantMember(xcred.psid, key)),
                ]
                return called, want
            case Register() if xcred.dev_id_2 and cell.R.own and cell.manager is not None:
                if cell.I.credential != xcred.cred or cell.R.dev_id != xcred.dev_id_2:
                    raise PeerFault(ErrorCode.E_STATE, "XCRED for a session of other devices")
                moved = replace(cell, via=heard.link)
                return moved, [*self._introduce(cell, cell.R, now), self._answer_xcred(moved)]
            case Register() | Called():
                return cell, ()
            case Dead():
                return cell, [refusal(heard.link, Xcred.mt, ErrorCode.E_NOSHARE, xcred.psid)]
            case _:
                raise PeerFault(ErrorCode.E_STATE, "XCRED that nobody waits for")

    def _vouched(self, heard: XcredHeard, now: Now) -> Party:
        """Return the foreign device after checking its manager's signature over its credential (A-16)."""
        signed = SignedCredential.decode(heard.xcred.cred)
        manager = SignedCredential.decode(heard.manager.cred_NM).claims
        issuer = (manager.sub, manager.suite, manager.sig_pk, Role.MANAGER)
        credential = self.context.trust.verify_one(signed, issuer, now.wall)
        if credential.claims.role is not Role.DEVICE or credential.claims.E1 is None:
            raise PeerFault(ErrorCode.E_CRED, "not the credential of a device")
        return Party(credential.claims.sub, credential.raw, own=False)

    def _member(self, cell: ManagerSessionCell, party: Party, status: int, now: Now, entropy: Entropy) -> Step:
        match cell:
            case Asking():
                if status != ACTIVE:
                    return self._given_up(cell, ErrorCode.E_NOSHARE)
                return self._local(replace(cell, local=party), now, entropy)
            case Called():
                if status != ACTIVE:
                    return None, [refusal(cell.via, Xcred.mt, ErrorCode.E_NOSHARE, cell.psid)]
                return self._complete(replace(cell, own=party), now, entropy)
            case Register():
                if cell.I.dev_id == party.dev_id and cell.I.own:
                    cell = replace(cell, I=replace(cell.I, W=party.W))
                elif cell.R.dev_id == party.dev_id and cell.R.own:
                    cell = replace(cell, R=replace(cell.R, W=party.W))
                return self._resume(cell, now, entropy)
            case Dead():
                return cell, ()

    def _share_key(self, cell: ManagerSessionCell, key: ShareKeyIs, now: Now, entropy: Entropy) -> Step:
        match cell:
            case Asking():
                known = replace(cell, number=key.number, shares=Shares(key.key), epoch=key.status_epoch)
                return self._local(known, now, entropy)
            case Called():
                known_too = replace(cell, number=key.number, shares=Shares(key.key), epoch=key.status_epoch)
                return self._complete(known_too, now, entropy)
            case Register():
                if key.key is None:
                    return replace(cell, todo=()), [
                        refusal(party.link, Shreq.mt, ErrorCode.E_NOSHARE, cell.psid) for party in cell.own
                    ]
                return self._resume(replace(cell, shares=replace(cell.shares, k_nm=key.key)), now, entropy)
            case Dead():
                return cell, ()

    def _local(self, cell: Asking, now: Now, entropy: Entropy) -> Step:
        """Both devices are ours (NM1 = NM2): go on when the peer and the share key are known (PW-20)."""
        if cell.local is None or cell.number is None:
            return cell, ()
        registered = Register(
            cell.psid,
            cell.flags,
            cell.asker,
            cell.local,
            None,
            None,
            cell.number,
            cell.epoch,
            cell.epoch,
            now.wall,
            cell.shares,
        )
        return self._registered(registered, [], now, entropy)

    def _complete(self, cell: Called, now: Now, entropy: Entropy) -> Step:
        if cell.own is None or cell.number is None:
            return cell, ()
        if cell.own.claims.suite != cell.foreign.claims.suite:
            return None, [refusal(cell.via, Xcred.mt, ErrorCode.E_SUITE, cell.psid)]
        shares = replace(cell.shares, kappa1=cell.kappa)
        registered = Register(
            cell.psid,
            cell.flags,
            cell.foreign,
            cell.own,
            cell.manager,
            cell.via,
            cell.number,
            cell.epoch,
            cell.vouched,
            now.wall,
            shares,
        )
        return self._registered(registered, [self._answer_xcred(registered)], now, entropy)

    @staticmethod
    def _answer_xcred(cell: Register) -> Tell:
        assert cell.via is not None
        xcred = Xcred(cell.psid, cell.R.credential, b"", cell.epoch, cell.shares.kappa2)
        return Tell(cell.via, SealBody(xcred.encode()))

    def _registered(self, cell: Register, then: list[Output], now: Now, entropy: Entropy) -> Step:
        """The session exists here: introduce our devices first, so that A1 finds the responder prepared."""
        outputs: list[Output] = []
        for party in cell.own:
            outputs += [Tell(enrolment_of(party.dev_id), RememberSession(cell.psid))]
        for party in sorted(cell.own, key=lambda party: party is cell.I):
            outputs += self._introduce(cell, party, now)
        outputs += then
        if cell.flags & FAST and cell.manager is None:
            cell = self._multiplied(cell)
            for party in cell.own:
                outputs.append(self._deliver(cell, party, self._local_share(cell, party, entropy)))
        elif cell.flags & FAST:
            assert cell.via is not None
            outputs.append(Tell(cell.via, SealBody(XshareRequest(cell.psid, cell.I.kid, cell.R.kid).encode())))
        own = cell.own[0]
        other = cell.R if own is cell.I else cell.I
        manager = cell.manager[0] if cell.manager is not None else self.context.id
        outputs.append(SessionRegistered(cell.psid, own.dev_id, other.dev_id, manager))
        return cell, outputs

    def _introduce(self, cell: Register, party: Party, now: Now) -> list[Output]:
        """Return PEERCRED for one of our devices, compact if it was asked for and the operator allows it."""
        peer = cell.R if party is cell.I else cell.I
        role = 1 if party is cell.I else 2
        above = self.context.chain if cell.manager is None else cell.manager[1:]
        body: Peercred | PeercredCompact
        if cell.flags & COMPACT and self.context.policy.allow_compact:
            claims, manager = peer.claims, SignedCredential.decode(above[0]).claims
            assert claims.E1 is not None and claims.E2 is not None  # checked when the credential was
            digest = digest_of(peer.credential)
            body = PeercredCompact(
                cell.psid, role, digest, claims.E1, claims.E2, kid_of(above[0]), manager.sig_pk, cell.vouched
            )
        else:
            body = Peercred(cell.psid, role, peer.credential, *above[:2])
        return [Tell(party.link, SealBody(body.encode()))]

    # ------------------------------------------------------------------ shares

    def _want_shares(self, cell: Register, asked: Asked, request: Shreq, now: Now, entropy: Entropy) -> Step:
        """SHREQ of one of our devices (S4)."""
        party = cell.party(asked.dev_id)
        if party is None or not party.own or (request.kid_I, request.kid_R) != (cell.I.kid, cell.R.kid):
            code = ErrorCode.E_CRED
            return cell, [
                refusal(asked.link, request.mt, code, cell.psid),
                Refused("", code, "SHREQ for other credentials"),
            ]
        if cell.manager is not None and cell.shares.foreign is None:
            assert cell.via is not None
            ask = XshareRequest(cell.psid, cell.I.kid, cell.R.kid)
            return cell, [Tell(cell.via, SealBody(ask.encode()))]
        return self._with_means(cell, request, now, entropy, party)

    def _with_means(self, cell: Register, request: _ShareRequest, now: Now, entropy: Entropy, party: Party) -> Step:
        """Do what needs W and k_nm now, or fetch them first (they are not in the record)."""
        if cell.shares.k_nm is not None and all(own.W is not None for own in cell.own):
            cell = self._multiplied(cell)
            return cell, self._performed(cell, request, party, entropy)
        todo = (*cell.todo, (request, party.dev_id))[-MOST_TODO:]
        key = session_of(cell.psid)
        wants: list[Output] = [Tell(OWN, WantShareKey(key, cell.number))]
        wants += [Tell(enrolment_of(own.dev_id), WantMember(cell.psid, key)) for own in cell.own]
        return replace(cell, todo=todo), wants

    def _resume(self, cell: Register, now: Now, entropy: Entropy) -> Step:
        if not cell.todo or cell.shares.k_nm is None or any(own.W is None for own in cell.own):
            return cell, ()
        outputs: list[Output] = []
        cell = self._multiplied(cell)
        for request, dev_id in cell.todo:
            party = cell.party(dev_id)
            if party is not None:
                outputs += self._performed(cell, request, party, entropy)
        return replace(cell, todo=()), outputs

    def _performed(self, cell: Register, request: _ShareRequest, party: Party, entropy: Entropy) -> list[Output]:
        match request:
            case Shreq() if cell.manager is None:
                return [self._deliver(cell, party, self._local_share(cell, party, entropy))]
            case Shreq() | XshareAnswer():
                assert cell.shares.foreign is not None
                return [self._deliver(cell, party, cell.shares.foreign)]
            case XshareRequest():
                assert cell.via is not None
                answer = XshareAnswer(cell.psid, self._sealed_share(cell, party, cell.own[0], entropy))
                return [Tell(cell.via, SealBody(answer.encode()))]

    def _local_share(self, cell: Register, target: Party, entropy: Entropy) -> Sign1:
        other = cell.R if target.dev_id == cell.I.dev_id else cell.I
        return self._sealed_share(cell, target, other, entropy)

    def _multiplied(self, cell: Register) -> Register:
        """Return the session with b W of each of our devices: the same whenever it is asked for (PW-16)."""
        missing = [party for party in cell.own if party.bW is None]
        if not missing:
            return cell
        assert cell.shares.k_nm is not None
        suite = self.context.trust.suite(missing[0].claims.suite)
        b = share_scalar(suite, cell.shares.k_nm, cell.psid, cell.I.kid, cell.R.kid)
        for party in missing:
            assert party.W is not None
            known = replace(party, bW=suite.mul(b, Point(party.W)))
            cell = replace(cell, I=known) if party is cell.I else replace(cell, R=known)
        return cell

    @staticmethod
    def _share(cell: Register, party: Party) -> Point:
        known = cell.party(party.dev_id)
        assert known is not None and known.bW is not None
        return known.bW

    def _sealed_share(self, cell: Register, target: Party, source: Party, entropy: Entropy) -> Sign1:
        """Return ShareObj: our share for `source`, sealed to `target` and signed (S5)."""
        claims = target.claims
        assert claims.E1 is not None and claims.E2 is not None
        suite = self.context.trust.suite(claims.suite)
        kid_NM = kid_of(self.context.chain[0])
        ctx = share_context(cell.psid, cell.I.kid, cell.R.kid, target.kid, kid_NM)
        trust = self.context.trust
        E1, E2 = trust.point(suite.id, claims.E1), trust.point(suite.id, claims.E2)
        C1, ct = seal.seal(suite, E1, E2, ctx, self._share(cell, source), entropy)
        return sign1(self.context.signing, Shresp.mt, ShareClaims(cell.psid, C1, ct).encode(), ctx=ctx, kid=kid_NM)

    def _deliver(self, cell: Register, party: Party, share: Sign1) -> Tell:
        kappas = (cell.shares.kappa1, cell.shares.kappa2) if cell.shares.kappa1 and cell.shares.kappa2 else ()
        return Tell(party.link, SealBody(Shresp(cell.psid, self._share(cell, party), share, *kappas).encode()))

    def _from_manager(self, cell: ManagerSessionCell, heard: LinkBody, now: Now, entropy: Entropy) -> Step:
        mt, count = peek(heard.body)
        sizes = sizes_of(1)  # none of these messages has a field whose length depends on the suite
        match mt, cell:
            case XshareRequest.mt, Register() if count == 4 and self._is_other(cell, heard):
                request = XshareRequest.decode(heard.body, sizes)
                if (request.kid_I, request.kid_R) != (cell.I.kid, cell.R.kid):
                    refused = refusal(heard.link, mt, ErrorCode.E_CRED, cell.psid)
                    return cell, [refused, Refused("", ErrorCode.E_CRED, "XSHARE for other credentials")]
                target = cell.R if cell.I.own else cell.I
                return self._with_means(replace(cell, via=heard.link), request, now, entropy, target)
            case XshareAnswer.mt, Register() if count == 3 and self._is_other(cell, heard):
                answer = XshareAnswer.decode(heard.body, sizes)
                cell = replace(cell, shares=replace(cell.shares, foreign=answer.share))
                return self._with_means(cell, answer, now, entropy, cell.own[0])
            case XshareRequest.mt, Dead():
                return cell, [refusal(heard.link, mt, ErrorCode.E_NOSHARE, cell.psid)]
            case Error.mt, Asking() if cell.found is not None and _subject(cell.found[0]) == heard.peer_id:
                return self._given_up(cell, ErrorCode(Error.decode(heard.body, sizes).code))
            case Error.mt, Register() if self._is_other(cell, heard):
                code = ErrorCode(Error.decode(heard.body, sizes).code)
                return cell, [refusal(party.link, Shreq.mt, code, cell.psid) for party in cell.own]
            case Revnote.mt, Register() if self._is_other(cell, heard):
                note = self._verified_note(cell, Revnote.decode(heard.body, sizes))
                return self._kill(cell, note.key_id, note.reason, note.kid_accused, now, tell_manager=False)
            case Revnote.mt, Dead():
                return cell, ()
            case _:
                raise PeerFault(ErrorCode.E_STATE, f"message {mt} of a manager is not expected in this state")

    @staticmethod
    def _is_other(cell: Register, heard: LinkBody) -> bool:
        """Tell whether a body came from the session's other manager (AU-08)."""
        return cell.manager is not None and cell.manager[0] == heard.peer_id

    # ------------------------------------------------------------------ revocation

    def _verified_note(self, cell: Register, note: Revnote) -> RevnoteClaims:
        assert cell.manager is not None
        manager = SignedCredential.decode(cell.manager[1]).claims
        if note.envelope.kid != kid_of(cell.manager[1]):
            raise PeerFault(ErrorCode.E_CRED, "revocation note of another manager")
        key = self.context.trust.key(manager.suite, manager.sig_pk)
        claims = RevnoteClaims.decode(note.envelope.check(key, Revnote.mt), sizes_of(1))
        if not equal(claims.psid, cell.psid) or claims.reason > MOST_REASONS:
            raise PeerFault(ErrorCode.E_FORMAT, "revocation note for another session or with an unknown reason")
        return claims

    def _kill(
        self,
        cell: Register,
        key_id: bytes,
        reason: int,
        kid_accused: bytes,
        now: Now,
        *,
        tell_manager: bool = True,
    ) -> Step:
        """Mark the session dead and say so, signed, to our devices, the other manager and the coordinator (RV-04, RV-06)."""
        claims = RevnoteClaims(cell.psid, key_id, reason, kid_accused, now.wall)
        signed = sign1(self.context.signing, Revnote.mt, claims.encode(), kid=kid_of(self.context.chain[0]))
        note = Revnote(signed).encode()
        parties = tuple(party.dev_id for party in cell.own)
        dead = Dead(cell.psid, reason, note, now.wall, parties, cell.via if tell_manager else None)
        return dead, [*_tidings(dead), SessionRevoked(cell.psid, cell.own[0].dev_id, reason, note)]

    @staticmethod
    def _remind(cell: Dead) -> Step:
        """Say the note again, for who was down or did not hear it and for what a crash kept from leaving (RV-04, RV-10)."""
        if cell.repeated == len(REPEATED_S):
            return None, ()
        return replace(cell, repeated=cell.repeated + 1), _tidings(cell)

    # ------------------------------------------------------------------ relaying

    def _relayed(self, cell: Register, peer: Peer, data: bytes) -> Step:
        """Carry a message between the devices when they cannot reach each other; it is protected end to end."""
        mt, _ = peek(data)
        heard_I, heard_R = cell.seen
        seen: tuple[Peer | None, Peer | None]
        if mt in _TO_R or (mt not in _TO_I and peer == heard_I):
            target, seen = cell.R, (peer, heard_R)
        elif mt in _TO_I or peer == heard_R:
            target, seen = cell.I, (heard_I, peer)
        else:
            raise PeerFault(ErrorCode.E_STATE, "nobody here has called from this address")
        link: CellKey | None = target.link if target.own else cell.via
        if link is None:
            raise PeerFault(ErrorCode.E_STATE, "the session has no way to the peer")
        return replace(cell, seen=seen), [Tell(link, Forward(data))]


def _tidings(cell: Dead) -> list[Output]:
    """Return what tells our devices, the other manager if it is ours to tell, and the coordinator of a dead session."""
    links = [link_to_device(dev_id) for dev_id in cell.parties]
    if cell.via is not None:
        links.append(cell.via)
    return [*(Tell(link, SealBody(cell.note)) for link in links), Ask(2, ReportRevocation(cell.note))]


def _subject(credential: bytes) -> bytes:
    return SignedCredential.decode(credential).claims.sub
