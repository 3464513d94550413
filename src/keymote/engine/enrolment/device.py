"""Enrolment, the newcomer's side: a device at its manager, a manager at its coordinator (Triad-1 2.4).

Up to BIND everything is memory only. From BIND on the run is part of the record, because the registrar may already have
made a credential of it; after CRED only the membership is left.
"""

from keymote.crypto import dleq
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import equal
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
    Send,
    Step,
    Tell,
    Told,
    replace,
)
from keymote.engine.context import (
    ENROLMENT_TIMEOUT_S,
    DeviceContext,
    Membership,
    backoff_s,
)
from keymote.engine.enrolment.device_cell import (
    AwaitCred,
    AwaitHello,
    AwaitOffer,
    AwaitVpt,
    NewcomerCell,
    Registered,
    Repeat,
    deadline_of,
    load,
    record_of,
    same_record,
)
from keymote.engine.enrolment.schedule import Run, first_chain_key, generator, opening
from keymote.engine.faces import (
    CredentialRenewed,
    Enrolled,
    EnrolmentFailed,
    OpenSession,
    Provision,
    RenewCredential,
    SessionClosed,
    session_of,
)
from keymote.engine.group.invitation import concerns_groups, heard_invitation
from keymote.engine.link_faces import OWN_LINK, Cut, Install, LinkBody, SealBody
from keymote.engine.pairwise.invitation import Begin, Invited, WantRevocation
from keymote.engine.renewal import again_s, due_at, same_keys
from keymote.engine.topic import faces as topics
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.cose import Sign1
from keymote.wire.credential import Credential, Role, SignedCredential
from keymote.wire.enrolment import (
    Bind,
    BindBody,
    Cookie,
    Cred,
    CredBody,
    DoneMessage,
    Hello,
    HelloClaims,
    Join,
    Newcred,
    Offer,
    Renew,
    Share,
    ShareBody,
    SignedHello,
    Vpt,
    VptBody,
)
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Peercred, PeercredCompact, Revoke
from keymote.wire.registry import peek

SIGNED_ELEMENTS = 2
COMPACT_ELEMENTS = 9


MOST_MANAGERS = 32
"""Managers whose status epoch is remembered; the one heard longest ago makes room."""


def newcomer_kind(context: DeviceContext) -> Kind:
    """Return the kind `enrolment` of a newcomer; its one cell is OWN_ENROLMENT."""
    steps = _Steps(context)
    return Kind(
        "enrolment",
        Durability.DURABLE,
        steps.step,
        record=record_of,
        load=lambda _id, record: load(record, context),
        deadline=deadline_of,
        wake_at=lambda cell: cell.ask_at if context.has_clock and isinstance(cell, Registered) else None,
        same_record=same_record,
    )


class _Steps:
    def __init__(self, context: DeviceContext) -> None:
        self.context = context

    def step(self, cell: NewcomerCell | None, item: Item, now: Now, entropy: Entropy) -> Step:
        match item, cell:
            case Provision(prs), _:
                return AwaitHello(prs), [Tell(OWN_LINK, Cut()), *self._for_topics(topics.ForgetChain())]
            case _, None:
                raise PeerFault(ErrorCode.E_STATE, "no code yet; provision one")
            case Received(peer, data), _:
                return self._datagram(cell, peer, data, now, entropy)
            case Due(), AwaitOffer() | AwaitVpt() | AwaitCred():
                return self._due(cell, now)
            case Failed(), AwaitOffer() | AwaitVpt():
                return self._over(cell, ErrorCode.E_TIMEOUT, now, counts=False)
            case OpenSession() as command, Registered():
                return cell, [Tell(session_of(command.psid), Begin(cell.membership, command))]
            case Told(LinkBody() as heard), Registered() if peek(heard.body)[0] == Newcred.mt:
                return self._newer(cell, heard, now)
            case Told(LinkBody() as heard), Registered() if concerns_groups(heard.body):
                groups, outputs = heard_invitation(cell.groups, heard, cell.membership, self.context, now)
                return (cell if groups == cell.groups else replace(cell, groups=groups)), outputs
            case Told(LinkBody() as heard), Registered():
                return self._invited(cell, heard)
            case RenewCredential(), Registered():
                return self._ask_for_newer(cell, now)
            case Due(), Registered() if self.context.has_clock and now.wall >= cell.ask_at:
                return self._ask_for_newer(cell, now)
            case Told(WantRevocation() as command), Registered():
                ctr = cell.revoke_ctr + 1
                revoke = Revoke(command.psid, command.key_id, command.reason, command.kid_accused, ctr)
                return replace(cell, revoke_ctr=ctr), [Tell(OWN_LINK, SealBody(revoke.encode()))]
            case Due() | Failed(), _:
                return cell, ()
            case OpenSession(psid), _:
                return cell, [SessionClosed(psid, ErrorCode.E_STATE, why="not enrolled")]
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not in this state of the enrolment")

    def _datagram(self, cell: NewcomerCell, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> Step:
        mt, _ = peek(data)
        sizes = sizes_of(self.context.suite.id)
        match mt, cell:
            case Hello.mt, AwaitHello():
                return self._hello(cell, peer, data, now, entropy)
            case Hello.mt, _:
                return cell, ()
            case Cookie.mt, AwaitOffer() if peer == cell.repeat.peer:
                join = replace(cell.join, cookie=Cookie.decode(data, sizes).cookie)
                repeat = _first(peer, join.encode(), now)
                return replace(cell, join=join, repeat=repeat), [Send(peer, repeat.data, 1)]
            case Offer.mt, AwaitOffer() if peer == cell.repeat.peer:
                return self._offer(cell, Offer.decode(data, sizes), now, entropy)
            case Vpt.mt, AwaitVpt() if peer == cell.repeat.peer:
                return self._vpt(cell, data, now, entropy)
            case Cred.mt, AwaitCred():
                return self._cred(cell, peer, data, now)
            case Cred.mt, Registered() if equal(sha256(data), cell.cred_digest):
                return cell, [Send(peer, cell.done)]
            case _:
                raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not expected in this state of the enrolment")

    # ------------------------------------------------------------------ the run

    def _hello(self, cell: AwaitHello, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> Step:
        suite = self.context.suite
        hello, envelope = _heard(data)
        accepted = self.context.coordinators
        if accepted and hello.nc_id not in accepted:
            raise PeerFault(ErrorCode.E_CRED, "HELLO of another coordinator's network")
        if self.context.registrar and hello.nm_id != self.context.registrar:
            raise PeerFault(ErrorCode.E_CRED, "HELLO of another manager")
        if suite.id not in hello.suites:
            raise PeerFault(ErrorCode.E_SUITE, f"suite {suite.id} is not offered in this network")
        if now.mono < cell.not_before:
            raise PeerFault(ErrorCode.E_LIMIT, "back-off after failed attempts")
        y_D = suite.random_scalar(entropy)
        Y_D = suite.mul(y_D, generator(suite, cell.prs, self.context.id, hello))
        join = Join(suite.id, self.context.id, hello.hello_n[:8], Y_D)
        repeat = _first(peer, join.encode(), now)
        T = opening(suite, hello, data, join)
        return AwaitOffer(cell.prs, cell.failures, hello, envelope, join, y_D, T, repeat), [Send(peer, repeat.data, 1)]

    def _offer(self, cell: AwaitOffer, offer: Offer, now: Now, entropy: Entropy) -> Step:
        suite = self.context.suite
        Y_N, e_NM = suite.check(offer.Y_N), suite.check(offer.e_NM)
        K = suite.mul(cell.y_D, Y_N)
        run = Run.start(suite, cell.T, cell.prs, cell.join, cell.hello, K, Y_N, e_NM)
        if not equal(run.offer_tag(), offer.tag):
            return self._over(cell, ErrorCode.E_AUTH, now, counts=True)
        d = suite.random_scalar(entropy)
        W = suite.mul(d, e_NM)
        e_D = suite.random_point(entropy)
        body = ShareBody(W, e_D, self.context.signing.public).encode()
        share = Share(run.seal("A/k4", body)).encode()
        repeat = _first(cell.repeat.peer, share, now)
        waiting = AwaitVpt(cell.prs, cell.failures, cell.hello, cell.envelope, run.add(share), d, W, e_NM, e_D, repeat)
        return waiting, [Send(repeat.peer, share, 1)]

    def _vpt(self, cell: AwaitVpt, data: bytes, now: Now, entropy: Entropy) -> Step:
        suite, sizes = self.context.suite, sizes_of(self.context.suite.id)
        plaintext = cell.run.open("A/k5", Vpt.decode(data, sizes).ct)
        try:
            V = suite.check(VptBody.decode(plaintext, sizes).V)
            E1 = suite.add(cell.e_NM, V)
            E2 = suite.add(suite.mul(cell.d, V), cell.W)
        except PeerFault as fault:
            return self._over(cell, fault.code, now, counts=False)
        run = cell.run.add(data)
        c, s = dleq.prove(suite, cell.d, cell.e_NM, cell.W, E1, E2, "A/dleq", run.T.value, entropy)
        pop = self.context.signing.sign(run.to_be_possessed())
        bind = Bind(run.seal("A/k6", BindBody(E2, c, s, pop).encode())).encode()
        repeat = _first(cell.repeat.peer, bind, now)
        waiting = AwaitCred(
            cell.prs,
            cell.failures,
            cell.hello.nm_id,
            cell.hello.nc_id,
            cell.envelope,
            run.add(bind),
            cell.d,
            V,
            E1,
            E2,
            repeat,
        )
        return waiting, [Send(repeat.peer, bind, 1)]

    def _cred(self, cell: AwaitCred, peer: Peer, data: bytes, now: Now) -> Step:
        sizes = sizes_of(self.context.suite.id)
        plaintext = cell.run.open("A/k7", Cred.decode(data, sizes).ct)
        try:
            body = CredBody.decode(plaintext, sizes)
            issuers = (body.cred_NM,) if body.cred_NC is None else (body.cred_NM, body.cred_NC)
            credential = self._own(cell, body.cred_D, issuers, now)
            self._hello_was_signed(cell, issuers[0])
        except PeerFault as fault:
            return self._over(cell, fault.code, now, counts=False)
        run = cell.run.add(data)
        done = DoneMessage(run.seal("A/k9", b"")).encode()
        membership = Membership(cell.d, cell.V, credential, issuers)
        ask_at = due_at(credential.claims)
        member = Registered(membership, cell.registrar, sha256(data), done, ask_at=ask_at)
        own, suite, K_link = self.context.id, self.context.suite.id, run.link_key()
        install = Install(OWN_LINK.id, cell.registrar, own, 0, suite, K_link, peer)
        outputs: list[Output] = [
            Tell(OWN_LINK, install),
            *self._for_topics(topics.Provision(own, first_chain_key(own, K_link), suite)),
            Send(peer, done),
            Enrolled(self.context.id, credential.raw, issuers[0], b"".join(issuers[1:])),
        ]
        return member, outputs

    def _for_topics(self, command: topics.Provision | topics.ForgetChain) -> list[Tell]:
        """Say something to this device's chain; a manager at its coordinator has none."""
        return [Tell(topics.OWN_CHAIN, command)] if self.context.role is Role.DEVICE else []

    def _own(self, cell: AwaitCred, raw: bytes, issuers: tuple[bytes, ...], now: Now) -> Credential:
        """Return our credential; E_CRED unless the chain holds and every key in it is ours (EN-20)."""
        context = self.context
        credential = context.trust.verify((raw, *issuers), context.role, now.wall if context.has_clock else None)
        claims = credential.claims
        ours = (context.id, cell.registrar, context.suite.id, cell.E1, cell.E2, context.signing.public)
        if (claims.sub, claims.iss, claims.suite, claims.E1, claims.E2, claims.sig_pk) != ours:
            raise PeerFault(ErrorCode.E_CRED, "credential is not for the keys that this device proved")
        return credential

    def _hello_was_signed(self, cell: AwaitCred, cred_NM: bytes) -> None:
        """Check a signed HELLO now that the manager's key is known (EN-04)."""
        if cell.envelope is None:
            return
        claims = SignedCredential.decode(cred_NM).claims
        try:
            cell.envelope.check(self.context.trust.key(claims.suite, claims.sig_pk), Hello.mt)
        except PeerFault as fault:
            raise PeerFault(ErrorCode.E_CRED, "HELLO was not signed by this manager") from fault

    def _due(self, cell: AwaitOffer | AwaitVpt | AwaitCred, now: Now) -> Step:
        repeat = cell.repeat
        if repeat.left == 0:
            return self._over(cell, ErrorCode.E_TIMEOUT, now, counts=False)
        again = replace(repeat, at=now.mono + ENROLMENT_TIMEOUT_S, left=repeat.left - 1)
        return replace(cell, repeat=again), [Send(repeat.peer, repeat.data, 1)]

    def _over(
        self, cell: AwaitOffer | AwaitVpt | AwaitCred, code: ErrorCode, now: Now, *, counts: bool
    ) -> tuple[NewcomerCell, list[Output]]:
        """End the run and forget it; the next one draws new y_D and d_D (EN-12, DS-08)."""
        failures = cell.failures + 1 if counts else cell.failures
        pause = float(backoff_s(failures)) if counts else 1.0
        return AwaitHello(cell.prs, failures, now.mono + pause), [
            Refused(cell.repeat.peer, code, "enrolment ended"),
            EnrolmentFailed(code, pause),
        ]

    # ------------------------------------------------------------------ renewal (docs/decisions/0121)

    def _ask_for_newer(self, cell: Registered, now: Now) -> Step:
        """Tell the registrar which credential this device holds; again after a day, until there is a newer one (RN-01)."""
        held = cell.membership.credential
        asked = replace(cell, ask_at=max(now.wall, due_at(held.claims)) + again_s(held.claims))
        return asked, [Tell(OWN_LINK, SealBody(Renew(held.kid).encode()))]

    def _newer(self, cell: Registered, heard: LinkBody, now: Now) -> Step:
        """NEWCRED: take a newer credential for our very keys, keep the one before it, and say so (RN-03, RN-04)."""
        told = Newcred.decode(heard.body, sizes_of(self.context.suite.id))
        issuers = (told.cred_NM,) if told.cred_NC is None else (told.cred_NM, told.cred_NC)
        own = cell.membership
        if (told.cred, issuers) == (own.credential.raw, own.issuers):
            return cell, [Tell(OWN_LINK, SealBody(Renew(own.credential.kid).encode()))]  # it has not heard us
        wall = now.wall if self.context.has_clock else None
        credential = self.context.trust.verify((told.cred, *issuers), self.context.role, wall)
        if not same_keys(credential.claims, own.credential.claims):
            raise PeerFault(ErrorCode.E_CRED, "the newer credential is not for the keys of this device")
        if credential.claims.exp < own.credential.claims.exp:
            raise PeerFault(ErrorCode.E_CRED, "the newer credential ends before the one that this device holds")
        member = replace(own, credential=credential, issuers=issuers)
        if credential.raw == own.credential.raw:
            held = [Tell(OWN_LINK, SealBody(Renew(credential.kid).encode()))]
            return replace(cell, membership=member), held
        taken = replace(cell, membership=member, former=own.credential.raw, ask_at=due_at(credential.claims))
        return taken, [
            Tell(OWN_LINK, SealBody(Renew(credential.kid).encode())),
            CredentialRenewed(self.context.id, credential.raw, credential.claims.exp),
        ]

    # ------------------------------------------------------------------ the member

    def _invited(self, cell: Registered, heard: LinkBody) -> Step:
        """PEERCRED: hand it to its session together with what this device is."""
        mt, count = peek(heard.body)
        if mt != Peercred.mt:
            raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not for a device")
        sizes = sizes_of(self.context.suite.id)
        if count < COMPACT_ELEMENTS:
            full = Peercred.decode(heard.body, sizes)
            return cell, [Tell(session_of(full.psid), Invited(cell.known_as(full.kid_own), full))]
        compact = PeercredCompact.decode(heard.body, sizes)
        known = dict(cell.vouched)
        if compact.status_epoch < known.pop(compact.kid_NM, 0):
            raise PeerFault(ErrorCode.E_CRED, "the peer's manager vouched under a newer status epoch before")
        known[compact.kid_NM] = compact.status_epoch
        vouched = tuple(known.items())[-MOST_MANAGERS:]
        if vouched != cell.vouched:
            cell = replace(cell, vouched=vouched)
        return cell, [Tell(session_of(compact.psid), Invited(cell.known_as(compact.kid_own), compact))]


def _heard(data: bytes) -> tuple[Hello, Sign1 | None]:
    """Return the claims of a HELLO in either form; nothing in it is trusted yet."""
    _, count = peek(data)
    sizes = sizes_of(1)  # HELLO has no field whose length depends on the suite
    if count != SIGNED_ELEMENTS:
        return Hello.decode(data, sizes), None
    envelope = SignedHello.decode(data, sizes).envelope
    claims = HelloClaims.decode(envelope.payload, sizes)
    return Hello(claims.nm_id, claims.nc_id, claims.suites, claims.hello_n, claims.status_epoch), envelope


def _first(peer: Peer, data: bytes, now: Now) -> Repeat:
    return Repeat(peer, data, now.mono + ENROLMENT_TIMEOUT_S)
