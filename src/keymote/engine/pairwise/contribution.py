"""What a manager contributes to the key of a session: b W of its own device, sealed to the other one (Triad-1 2.6: S4, S5)."""

from typing import Final

from keymote.crypto import seal
from keymote.crypto.entropy import Entropy
from keymote.crypto.suite import Point
from keymote.engine.base import Output, Refused, Step, Tell, replace
from keymote.engine.context import RegistrarContext
from keymote.engine.faces import OWN, enrolment_of, session_of
from keymote.engine.link_faces import SealBody
from keymote.engine.member import Asked, WantMember, refusal
from keymote.engine.own import WantShareKey
from keymote.engine.pairwise.register import Party, Register
from keymote.engine.pairwise.schedule import share_context, share_scalar
from keymote.errors import ErrorCode
from keymote.wire.cose import Sign1, sign1
from keymote.wire.credential import kid_of
from keymote.wire.pairwise import ShareClaims, Shreq, Shresp, XshareAnswer, XshareRequest

MOST_TODO: Final = 4

ShareRequest = Shreq | XshareRequest | XshareAnswer


def want_shares(context: RegistrarContext, cell: Register, asked: Asked, request: Shreq, entropy: Entropy) -> Step:
    """SHREQ of one of our devices (S4)."""
    party = cell.party(asked.dev_id)
    if party is None or not party.own or (request.kid_I, request.kid_R) != (cell.I.kid, cell.R.kid):
        code = ErrorCode.E_CRED
        return cell, [
            refusal(asked.link, request.mt, code, cell.psid),
            Refused("", code, "SHREQ for other credentials"),
        ]
    if forgot(cell):
        return cell, [refusal(asked.link, request.mt, ErrorCode.E_NOSHARE, cell.psid)]
    if cell.manager is not None and cell.shares.foreign is None:
        assert cell.via is not None
        ask = XshareRequest(cell.psid, cell.I.kid, cell.R.kid)
        return cell, [Tell(cell.via, SealBody(ask.encode()))]
    return with_means(context, cell, request, entropy, party)


def with_means(
    context: RegistrarContext, cell: Register, request: ShareRequest, entropy: Entropy, party: Party
) -> Step:
    """Do what needs W and k_nm now, or fetch them first (they are not in the record)."""
    if cell.shares.k_nm is not None and all(own.W is not None for own in cell.own):
        cell = multiplied(context, cell)
        return cell, _performed(context, cell, request, party, entropy)
    todo = (*cell.todo, (request, party.dev_id))[-MOST_TODO:]
    key = session_of(cell.psid)
    wants: list[Output] = [Tell(OWN, WantShareKey(key, cell.number))]
    wants += [Tell(enrolment_of(own.dev_id), WantMember(cell.psid, key)) for own in cell.own]
    return replace(cell, todo=todo), wants


def resume(context: RegistrarContext, cell: Register, entropy: Entropy) -> Step:
    """Do what waited, once W and k_nm are here."""
    if not cell.todo or cell.shares.k_nm is None or any(own.W is None for own in cell.own):
        return cell, ()
    outputs: list[Output] = []
    cell = multiplied(context, cell)
    for request, dev_id in cell.todo:
        party = cell.party(dev_id)
        if party is not None:
            outputs += _performed(context, cell, request, party, entropy)
    return replace(cell, todo=()), outputs


def _performed(
    context: RegistrarContext, cell: Register, request: ShareRequest, party: Party, entropy: Entropy
) -> list[Output]:
    match request:
        case Shreq() if cell.manager is None:
            return [deliver(cell, party, local_share(context, cell, party, entropy))]
        case Shreq() | XshareAnswer():
            assert cell.shares.foreign is not None
            return [deliver(cell, party, cell.shares.foreign)]
        case XshareRequest():
            assert cell.via is not None
            answer = XshareAnswer(cell.psid, _sealed_share(context, cell, party, cell.own[0], entropy))
            return [Tell(cell.via, SealBody(answer.encode()))]


def local_share(context: RegistrarContext, cell: Register, target: Party, entropy: Entropy) -> Sign1:
    """Return ShareObj for `target` where both devices are ours (PW-20)."""
    other = cell.R if target.dev_id == cell.I.dev_id else cell.I
    return _sealed_share(context, cell, target, other, entropy)


def multiplied(context: RegistrarContext, cell: Register) -> Register:
    """Return the session with b W of each of our devices: the same whenever it is asked for (PW-16)."""
    missing = [party for party in cell.own if party.bW is None]
    if not missing:
        return cell
    assert cell.shares.k_nm is not None
    suite = context.trust.suite(missing[0].claims.suite)
    b = share_scalar(suite, cell.shares.k_nm, cell.psid, cell.I.kid, cell.R.kid)
    for party in missing:
        assert party.W is not None
        known = replace(party, bW=suite.mul(b, Point(party.W)))
        cell = replace(cell, I=known) if party is cell.I else replace(cell, R=known)
    return cell


def _share(cell: Register, party: Party) -> Point:
    known = cell.party(party.dev_id)
    assert known is not None and known.bW is not None
    return known.bW


def _sealed_share(context: RegistrarContext, cell: Register, target: Party, source: Party, entropy: Entropy) -> Sign1:
    """Return ShareObj: our share for `source`, sealed to `target` and signed (S5)."""
    claims = target.claims
    assert claims.E1 is not None and claims.E2 is not None
    suite = context.trust.suite(claims.suite)
    kid_NM = kid_of(context.chain[0])
    ctx = share_context(cell.psid, cell.I.kid, cell.R.kid, target.kid, kid_NM)
    trust = context.trust
    E1, E2 = trust.point(suite.id, claims.E1), trust.point(suite.id, claims.E2)
    C1, ct = seal.seal(suite, E1, E2, ctx, _share(cell, source), entropy)
    return sign1(context.signing, Shresp.mt, ShareClaims(cell.psid, C1, ct).encode(), ctx=ctx, kid=kid_NM)


def deliver(cell: Register, party: Party, share: Sign1) -> Tell:
    """Return what brings `party` our share for it and the other manager's ShareObj (S5), with κ1 and κ2 where due (PQ-07)."""
    if forgot(cell):
        return refusal(party.link, Shreq.mt, ErrorCode.E_NOSHARE, cell.psid)
    kappas = (cell.shares.kappa1, cell.shares.kappa2) if cell.post_quantum else ()
    return Tell(party.link, SealBody(Shresp(cell.psid, _share(cell, party), share, *kappas).encode()))


def forgot(cell: Register) -> bool:
    """Tell whether κ1 and κ2, which are in memory only, were lost in a restart."""
    return cell.post_quantum and not (cell.shares.kappa1 and cell.shares.kappa2)
