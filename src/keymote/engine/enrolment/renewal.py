"""A member's credential, issued and issued anew for the same keys: the registrar's side (docs/decisions/0121).

Thirty days before the credential of an active member ends, the registrar makes the next one, has the coordinator register
it, and tells the member, once a day until it hears that the member holds it. Only then do others get to see the new one.
"""

from typing import Final, NamedTuple

from keymote.crypto.entropy import Entropy
from keymote.engine.base import Ask, Now, Output, Refused, Tell, replace
from keymote.engine.context import RegistrarContext
from keymote.engine.faces import Alarm, CredentialRenewed
from keymote.engine.link_faces import SealBody, link_to_device
from keymote.engine.member import Member, Renewal
from keymote.engine.queries import Receipt, RegisterCredential
from keymote.engine.renewal import again_s, due_at
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.credential import Claims, Credential, SignedCredential, issue, kid_of
from keymote.wire.enrolment import Newcred

ASK: Final = 2
"""Reference of the question to the coordinator; 1 is that of an enrolment."""
REGISTER_AGAIN_S: Final = 60

Decided = tuple[Member, list[Output]]


class Keys(NamedTuple):
    """What a credential vouches for."""

    suite: int
    E1: bytes | None
    E2: bytes | None
    sig_pk: bytes


def issued(context: RegistrarContext, dev_id: bytes, keys: Keys, now: Now, entropy: Entropy) -> Credential:
    """Return a new credential of this registrar for these keys, valid from now on."""
    claims = Claims(
        iss=context.id,
        sub=dev_id,
        exp=now.wall + context.policy.credential_life_s,
        iat=now.wall,
        serial=entropy.draw(8),
        suite=keys.suite,
        nc_id=context.nc_id,
        E1=keys.E1,
        E2=keys.E2,
        sig_pk=keys.sig_pk,
        status_epoch=0,
        role=context.registers,
    )
    return issue(context.signing, claims)


def wake_at(member: Member) -> int:
    """Return when (UTC seconds) something is to be done about this member's credential."""
    return due_at(member.claims) if member.renewal is None else member.renewal.at


def due(context: RegistrarContext, dev_id: bytes, member: Member, now: Now, entropy: Entropy) -> Decided:
    """Do what is due: make the next credential, have it registered, or tell the member again (RN-01, RN-02)."""
    waits = member.renewal
    if now.wall < wake_at(member):
        return member, []
    if waits is None or outdated(context, waits.credential):
        return _begun(context, dev_id, member, now, entropy)
    if not waits.registered:
        return replace(member, renewal=waits._replace(at=now.wall + REGISTER_AGAIN_S)), [_register(member, waits)]
    again = waits._replace(at=now.wall + again_s(member.claims))
    return replace(member, renewal=again), [_told(context, dev_id, waits.credential)]


def registered(context: RegistrarContext, dev_id: bytes, member: Member, result: object, now: Now) -> Decided:
    """Take the coordinator's answer: tell the member, or ask again later (RN-02)."""
    waits = member.renewal
    if waits is None or waits.registered:
        return member, []
    later = now.wall + again_s(member.claims)
    match result:
        case Receipt():
            done = Renewal(waits.credential, True, later)
            return replace(member, renewal=done), [_told(context, dev_id, waits.credential)]
        case PeerFault():
            context.tally.alarms["renewal"] += 1
            refused = replace(member, renewal=waits._replace(at=later))
            return refused, [Alarm("renewal", dev_id, f"the coordinator refused the new credential: {result.what}")]
        case _:
            return member, [Refused("", ErrorCode.E_BUSY, "coordinator does not answer; the renewal is repeated")]


def heard(context: RegistrarContext, dev_id: bytes, member: Member, kid: bytes, now: Now, entropy: Entropy) -> Decided:
    """RENEW: the member says what it holds. Show its new credential to others from now on, or tell it of a newer one.

    A member that holds the newest gets no answer, so that two who agree fall silent; but what a former key of this
    registrar signed is not the newest (RN-09).
    """
    waits = member.renewal
    if waits is not None and waits.registered and kid == kid_of(waits.credential):
        claims = SignedCredential.decode(waits.credential).claims
        member = replace(member, credential=waits.credential, renewal=None, renewed=True)
        held: list[Output] = [CredentialRenewed(dev_id, member.credential, claims.exp)]
        if not outdated(context, member.credential):
            return member, held
        member, said = _begun(context, dev_id, member, now, entropy)
        return member, [*held, *said]
    if waits is not None and not outdated(context, waits.credential):
        return member, [_told(context, dev_id, waits.credential)] if waits.registered else []
    if waits is not None or now.wall >= due_at(member.claims) or outdated(context, member.credential):
        return _begun(context, dev_id, member, now, entropy)
    return member, [] if kid == kid_of(member.credential) else [_told(context, dev_id, member.credential)]


def outdated(context: RegistrarContext, credential: bytes) -> bool:
    """Tell whether a key that this registrar has no longer signed a credential of its own (docs/decisions/0123)."""
    key = context.signing
    try:
        SignedCredential.decode(credential).verified_by(context.trust.key(key.suite_id, key.public))
    except PeerFault:
        return True
    return False


def _begun(context: RegistrarContext, dev_id: bytes, member: Member, now: Now, entropy: Entropy) -> Decided:
    held = member.claims
    keys = Keys(held.suite, held.E1, held.E2, held.sig_pk)
    credential = issued(context, dev_id, keys, now, entropy)
    waits = Renewal(credential.raw, False, now.wall + REGISTER_AGAIN_S)
    return replace(member, renewal=waits), [_register(member, waits)]


def _register(member: Member, waits: Renewal) -> Ask:
    return Ask(ASK, RegisterCredential(waits.credential, member.claims.serial))


def _told(context: RegistrarContext, dev_id: bytes, credential: bytes) -> Tell:
    return Tell(link_to_device(dev_id), SealBody(Newcred(credential, *context.chain).encode()))
