"""How a session comes about at its managers: asked for by a device, or by XCRED of the other manager (Triad-1 2.6, 2.7)."""

from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.engine.base import CellKey, Now, Output, Refused, Step, Tell, replace
from keymote.engine.context import Handshake, PostQuantum, RegistrarContext
from keymote.engine.faces import OWN, SessionRegistered, enrolment_of, peer_manager, session_of
from keymote.engine.hybrid import KAPPA_SIZE, hybrid_key_of, refuses
from keymote.engine.link_faces import SealBody
from keymote.engine.member import Asked, RememberSession, WantMember, refusal
from keymote.engine.own import WantShareKey
from keymote.engine.pairwise import contribution
from keymote.engine.pairwise.register import Asking, Called, Dead, ManagerSessionCell, Party, Register
from keymote.engine.peer import SayTo, XcredHeard
from keymote.engine.queries import DeviceFound
from keymote.engine.renewal import expired
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.credential import Role, SignedCredential, digest_of, kid_of
from keymote.wire.pairwise import COMPACT, EDHOC, FAST, Peercred, PeercredCompact, Sessreq, Xcred, XshareRequest

SAY_AGAIN_S: Final = 3.0
GIVE_UP_S: Final = 10.0


def begin(context: RegistrarContext, asked: Asked, request: Sessreq, now: Now) -> Step:
    """SESSREQ of one of our devices (S1): find the peer here, else ask the coordinator."""
    if request.dev_id_2 == asked.dev_id:
        return None, [refusal(asked.link, request.mt, ErrorCode.E_STATE, request.psid)]
    why = refuses(context, hybrid=True, weak=asked.member.weak) or _other_handshake(context, request.flags)
    if why:
        return None, unsuitable(asked.link, request.mt, request.psid, why)
    late = expired(asked.member.claims, now.wall)
    if late is not None:
        return None, not_to_be_had(asked.link, request.mt, request.psid, late)
    key = session_of(request.psid)
    cell = Asking(request.psid, request.flags, Party.of(asked.member), request.dev_id_2, until=now.mono + GIVE_UP_S)
    return cell, [
        Tell(OWN, WantShareKey(key, None)),
        Tell(enrolment_of(request.dev_id_2), WantMember(request.psid, key)),
    ]


def found(context: RegistrarContext, cell: Asking, result: object, now: Now, entropy: Entropy) -> Step:
    """Take the coordinator's answer where the peer is, and say XCRED to its manager (S2), with κ1 if that is due."""
    match result:
        case DeviceFound(_, cred_NM, cred_NC, endpoint, published):
            pass
        case PeerFault():
            return given_up(cell, result.code)
        case _:
            return given_up(cell, ErrorCode.E_BUSY)
    try:
        public = hybrid_key_of(context, cred_NM, published)
    except PeerFault as fault:
        return given_up(cell, fault.code, str(fault))
    shares = replace(cell.shares, kappa1=entropy.draw(KAPPA_SIZE) if public else b"")
    known = (cred_NM, cred_NC, endpoint, public)
    return _say_xcred(replace(cell, found=known, shares=shares, until=now.mono + SAY_AGAIN_S), afresh=False)


def _say_xcred(cell: Asking, *, afresh: bool) -> Step:
    assert cell.found is not None
    cred_NM, cred_NC, endpoint, public = cell.found
    flags = cell.flags or None
    body = Xcred(cell.psid, cell.asker.credential, cell.peer_id, cell.epoch, cell.shares.kappa1, flags).encode()
    say = SayTo(session_of(cell.psid), body, cred_NM, cred_NC, endpoint, afresh, public)
    return cell, [Tell(peer_manager(SignedCredential.decode(cred_NM).claims.sub), say)]


def say_again(cell: Asking, now: Now) -> Step:
    """Say XCRED again in a new authentication, twice; then give up with E_TIMEOUT, E_BUSY if nobody was found."""
    if cell.found is None or cell.attempt == 2:
        return given_up(cell, ErrorCode.E_TIMEOUT if cell.found is not None else ErrorCode.E_BUSY)
    again = replace(cell, attempt=cell.attempt + 1, until=now.mono + SAY_AGAIN_S)
    return _say_xcred(again, afresh=True)


def given_up(cell: Asking, code: ErrorCode, why: str = "the peer's manager or device is not to be had") -> Step:
    """Forget the request and tell the asking device the code, the log why."""
    return None, [refusal(cell.asker.link, Sessreq.mt, code, cell.psid), Refused("", code, why)]


def not_to_be_had(link: CellKey, mt: int, psid: bytes, fault: PeerFault) -> list[Output]:
    """Return the refusal of a session for the sake of a credential: to whoever asked the code, to the log the whole."""
    return [refusal(link, mt, fault.code, psid), Refused("", fault.code, str(fault))]


def _other_handshake(context: RegistrarContext, flags: int) -> str:
    """Return why devices may not authenticate each other in the way that `flags` say, "" if they may."""
    handshake = Handshake.EDHOC if flags & EDHOC else Handshake.TRIAD
    return (
        "" if handshake in context.policy.handshakes else f"sessions by the handshake {handshake.value!r} are refused"
    )


def unsuitable(link: CellKey, mt: int, psid: bytes, why: str) -> list[Output]:
    """Return the refusal of a session whose cryptography our policy forbids: to whoever asked, and to the log."""
    return [refusal(link, mt, ErrorCode.E_SUITE, psid), Refused("", ErrorCode.E_SUITE, why)]


def xcred_heard(
    context: RegistrarContext, cell: ManagerSessionCell | None, heard: XcredHeard, now: Now, entropy: Entropy
) -> Step:
    """XCRED of another manager: a request, the answer to ours, or a repetition of either (S2)."""
    xcred, manager = heard.xcred, heard.manager
    match cell:
        case Asking() if cell.nm_id == manager.nm_id:
            foreign = _vouched(context, heard, now)
            if foreign.dev_id != cell.peer_id:
                raise PeerFault(ErrorCode.E_CRED, "XCRED for another device than the one asked for")
            hybrid = bool(cell.shares.kappa1)
            if heard.hybrid is not hybrid or bool(xcred.kappa) is not hybrid:
                return given_up(cell, ErrorCode.E_SUITE, "the post-quantum profile ends at the other manager")
            known = (manager.nm_id, manager.cred_NM, manager.cred_NC)
            shares = replace(cell.shares, kappa2=xcred.kappa)
            return _registered(
                context,
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
                    post_quantum=hybrid,
                ),
                [],
                entropy,
            )
        case None if xcred.dev_id_2:
            why = refuses(context, hybrid=heard.hybrid)
            if heard.hybrid is not bool(xcred.kappa):
                why = "the post-quantum share of XCRED and the link that carries it do not belong together"
            why = why or _other_handshake(context, xcred.flags or 0)
            if why:
                return None, unsuitable(heard.link, Xcred.mt, xcred.psid, why)
            try:
                foreign = _vouched(context, heard, now)
            except PeerFault as fault:
                return None, not_to_be_had(heard.link, Xcred.mt, xcred.psid, fault)
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
            if contribution.forgot(cell):
                return cell, [refusal(heard.link, Xcred.mt, ErrorCode.E_NOSHARE, xcred.psid)]
            moved = replace(cell, via=heard.link)
            return moved, [*introduce(context, cell, cell.R), _answer_xcred(moved)]
        case Register() | Called():
            return cell, ()
        case Dead():
            return cell, [refusal(heard.link, Xcred.mt, ErrorCode.E_NOSHARE, xcred.psid)]
        case _:
            raise PeerFault(ErrorCode.E_STATE, "XCRED that nobody waits for")


def _vouched(context: RegistrarContext, heard: XcredHeard, now: Now) -> Party:
    """Return the foreign device after checking its manager's signature over its credential (A-16)."""
    signed = SignedCredential.decode(heard.xcred.cred)
    manager = SignedCredential.decode(heard.manager.cred_NM).claims
    issuer = (manager.sub, manager.suite, manager.sig_pk, Role.MANAGER)
    credential = context.trust.verify_one(signed, issuer, now.wall)
    if credential.claims.role is not Role.DEVICE or credential.claims.E1 is None:
        raise PeerFault(ErrorCode.E_CRED, "not the credential of a device")
    return Party(credential.claims.sub, credential.raw, own=False)


def go_on(context: RegistrarContext, cell: Asking, now: Now, entropy: Entropy) -> Step:
    """Both devices are ours (NM1 = NM2): go on when the peer and the share key are known (PW-20)."""
    if cell.local is None or cell.number is None:
        return cell, ()
    shares, hybrid = cell.shares, context.policy.post_quantum is not PostQuantum.OFF
    if hybrid:
        shares = replace(shares, kappa1=entropy.draw(KAPPA_SIZE), kappa2=entropy.draw(KAPPA_SIZE))
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
        shares,
        post_quantum=hybrid,
    )
    return _registered(context, registered, [], entropy)


def answer(context: RegistrarContext, cell: Called, now: Now, entropy: Entropy) -> Step:
    """Answer XCRED once our own device and the share key are known."""
    if cell.own is None or cell.number is None:
        return cell, ()
    if cell.own.claims.suite != cell.foreign.claims.suite:
        return None, [refusal(cell.via, Xcred.mt, ErrorCode.E_SUITE, cell.psid)]
    hybrid = bool(cell.kappa)
    shares = replace(cell.shares, kappa1=cell.kappa, kappa2=entropy.draw(KAPPA_SIZE) if hybrid else b"")
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
        post_quantum=hybrid,
    )
    return _registered(context, registered, [_answer_xcred(registered)], entropy)


def _answer_xcred(cell: Register) -> Tell:
    assert cell.via is not None
    xcred = Xcred(cell.psid, cell.R.credential, b"", cell.epoch, cell.shares.kappa2)
    return Tell(cell.via, SealBody(xcred.encode()))


def _registered(context: RegistrarContext, cell: Register, then: list[Output], entropy: Entropy) -> Step:
    """The session exists here: introduce our devices first, so that A1 finds the responder prepared."""
    outputs: list[Output] = []
    for party in cell.own:
        outputs += [Tell(enrolment_of(party.dev_id), RememberSession(cell.psid))]
    for party in sorted(cell.own, key=lambda party: party is cell.I):
        outputs += introduce(context, cell, party)
    outputs += then
    if cell.flags & FAST and cell.manager is None:
        cell = contribution.multiplied(context, cell)
        for party in cell.own:
            outputs.append(contribution.deliver(cell, party, contribution.local_share(context, cell, party, entropy)))
    elif cell.flags & FAST:
        assert cell.via is not None
        outputs.append(Tell(cell.via, SealBody(XshareRequest(cell.psid, cell.I.kid, cell.R.kid).encode())))
    own = cell.own[0]
    other = cell.R if own is cell.I else cell.I
    manager = cell.manager[0] if cell.manager is not None else context.id
    outputs.append(SessionRegistered(cell.psid, own.dev_id, other.dev_id, manager, cell.post_quantum))
    return cell, outputs


def introduce(context: RegistrarContext, cell: Register, party: Party) -> list[Output]:
    """Return PEERCRED for one of our devices, compact if it was asked for and the operator allows it."""
    peer = cell.R if party is cell.I else cell.I
    by_edhoc = cell.flags & EDHOC
    role = (1 if party is cell.I else 2) + by_edhoc
    above = context.chain if cell.manager is None else cell.manager[1:]
    kid_own = party.kid if party.named else None
    body: Peercred | PeercredCompact
    if cell.flags & COMPACT and context.policy.allow_compact and not by_edhoc:  # which needs the peer's signature key
        claims, manager = peer.claims, SignedCredential.decode(above[0]).claims
        assert claims.E1 is not None and claims.E2 is not None  # checked when the credential was
        digest = digest_of(peer.credential)
        body = PeercredCompact(
            cell.psid, role, digest, claims.E1, claims.E2, kid_of(above[0]), manager.sig_pk, cell.vouched, kid_own
        )
    else:
        cred_NM, cred_NC = above[:2]
        body = Peercred(cell.psid, role, peer.credential, cred_NM, cred_NC, kid_own)
    return [Tell(party.link, SealBody(body.encode()))]
