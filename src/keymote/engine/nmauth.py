"""NMAUTH: two managers authenticate with their credentials and key a link between them (Triad-1 2.5)."""

from dataclasses import dataclass, field
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret, equal
from keymote.crypto.suite import Point, Suite
from keymote.engine.base import (
    Answer,
    Ask,
    CellKey,
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
from keymote.engine.context import ANSWER_CACHE_S, Membership, RegistrarContext
from keymote.engine.faces import peer_manager
from keymote.engine.hybrid import hybrid_key_of, open_kappa, seal_kappa
from keymote.engine.link_faces import Install, link_to_manager
from keymote.engine.pairwise.parties import Repeat
from keymote.engine.pairwise.schedule import Channel, Handshake, challenge, recover
from keymote.engine.peer import Authenticated, Connect, NotAuthenticated
from keymote.engine.queries import FindManager, ManagerFound
from keymote.engine.renewal import same_keys
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.credential import Claims, Credential, Role, SignedCredential
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import NmAuth1, NmAuth2, NmAuth3
from keymote.wire.registry import peek

MOST_HALF_OPEN: Final = 8
LOOK_UP_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class AwaitNm2:
    """Initiator: A1 is out."""

    connect: Connect
    x_I: Secret
    N_I: Point = field(repr=False)
    kappa_a: bytes = field(repr=False)
    handshake: Handshake
    repeat: Repeat


@dataclass(frozen=True, slots=True)
class AwaitLookUp:
    """Responder: A1 came; the coordinator is asked who that is."""

    a1: NmAuth1
    wire: bytes
    peer: Peer
    until: float


@dataclass(frozen=True, slots=True)
class AwaitNm3:
    """Responder: A2 is out."""

    nm_id: bytes
    cred_NM: bytes
    cred_NC: bytes
    channel: Channel
    kappas: tuple[bytes, bytes] = field(repr=False)
    a1: bytes
    peer: Peer
    repeat: Repeat


@dataclass(frozen=True, slots=True)
class Linked:
    """Initiator: done; a repeated A2 gets the identical A3."""

    a2: bytes
    a3: bytes
    until: float


NmAuthCell = AwaitNm2 | AwaitLookUp | AwaitNm3 | Linked


def nmauth_kind(context: RegistrarContext) -> Kind:
    """Return the kind `nmauth`; its cells are volatile."""
    steps = _Steps(context)
    return Kind(
        "nmauth",
        Durability.VOLATILE,
        steps.step,
        deadline=lambda cell: cell.repeat.at if isinstance(cell, (AwaitNm2, AwaitNm3)) else cell.until,
    )


class _Steps:
    def __init__(self, context: RegistrarContext) -> None:
        self.context = context

    def step(self, cell: NmAuthCell | None, item: Item, now: Now, entropy: Entropy) -> Step:
        match item, cell:
            case Told(Connect() as connect), None:
                return self._challenge(connect, now, entropy)
            case Received(peer, data), _:
                return self._datagram(cell, peer, data, now, entropy)
            case Answer(_, result), AwaitLookUp():
                return self._looked_up(cell, result, now, entropy)
            case Due(), AwaitNm2() | AwaitNm3():
                again = cell.repeat.again(now)
                if again is not None:
                    return replace(cell, repeat=again), [again.output()]
                return None, self._ended(cell, ErrorCode.E_TIMEOUT)
            case Failed(), AwaitNm2() | AwaitNm3():
                return None, self._ended(cell, ErrorCode.E_TIMEOUT)
            case Due(), AwaitLookUp() | Linked():
                self._count(-1 if isinstance(cell, AwaitLookUp) else 0)
                return None, ()
            case ((Failed() | Due()), _):
                return cell, ()
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not in this state of NMAUTH")

    @property
    def _own(self) -> Membership:
        assert self.context.membership is not None  # a coordinator runs no NMAUTH
        return self.context.membership

    @property
    def _suite(self) -> Suite:
        return self.context.trust.suite(self._own.credential.claims.suite)

    def _count(self, by: int) -> None:
        self.context.tally.half_open[b"nmauth"] += by

    def _datagram(self, cell: NmAuthCell | None, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> Step:
        mt, _ = peek(data)
        match mt, cell:
            case NmAuth1.mt, None:
                return self._called(peer, data, now)
            case NmAuth1.mt, AwaitNm3() if data == cell.a1:
                return cell, [cell.repeat.output()]
            case NmAuth1.mt, AwaitLookUp() if data == cell.wire:
                return cell, ()
            case NmAuth2.mt, AwaitNm2():
                return self._answered(cell, peer, data, now)
            case NmAuth2.mt, Linked() if data == cell.a2:
                return cell, [Send(peer, cell.a3)]
            case NmAuth3.mt, AwaitNm3():
                return self._confirmed(cell, data)
            case _:
                code = ErrorCode.E_UNKNOWN_ID if cell is None else ErrorCode.E_STATE
                raise PeerFault(code, f"message {mt} is not expected in this state of NMAUTH")

    # ------------------------------------------------------------------ initiator

    def _challenge(self, connect: Connect, now: Now, entropy: Entropy) -> Step:
        suite, own = self._suite, self._own
        theirs = SignedCredential.decode(connect.cred_NM)
        E1, E2 = _keys(suite, theirs.claims)
        x_I = suite.random_scalar(entropy)
        posed = challenge(suite, E1, E2, entropy)
        X_I = suite.base_mul(x_I)
        kappa_a, ct_a = seal_kappa(self.context, connect.hybrid_key, connect.psid, connect.cred_NM, entropy)
        a1 = NmAuth1(connect.psid, suite.id, X_I, posed.C1, posed.C2, own.credential.raw, ct_a).encode()
        digest = Credential(theirs.raw, theirs.claims, b"").digest
        handshake = Handshake.start(suite, "A/nmauth", connect.psid, own.credential.digest, digest, a1)
        repeat = Repeat.first(connect.endpoint, a1, now)
        return AwaitNm2(connect, x_I, posed.N, kappa_a, handshake, repeat), [repeat.output()]

    def _answered(self, cell: AwaitNm2, peer: Peer, data: bytes, now: Now) -> Step:
        suite, own, connect = self._suite, self._own, cell.connect
        a2 = NmAuth2.decode(data, sizes_of(suite.id))
        started = cell.handshake
        if a2.cred_R != connect.cred_NM:
            theirs = self._presented(a2.cred_R, connect.cred_NM, connect.cred_NC, now)
            digests = (own.credential.digest, theirs.digest)
            started = Handshake.start(suite, "A/nmauth", connect.psid, *digests, cell.repeat.data)
        X_R, C1, C2 = suite.check(a2.X_R), suite.check(a2.C1I), suite.check(a2.C2I)
        DH = suite.mul(cell.x_I, X_R)
        handshake = started.answered(a2)
        if not equal(handshake.tag(cell.N_I, DH), a2.tagR):
            raise PeerFault(ErrorCode.E_AUTH, "tagR is not that of the manager that was called")
        kappa_b = open_kappa(self.context, connect.hybrid_key, connect.psid, a2.cred_R, a2.ct_kappa)
        N_R = recover(suite, own.d, C1, C2)
        channel = Channel(suite, handshake.key(cell.N_I, N_R, DH), handshake.T)
        a3 = NmAuth3(connect.psid, channel.seal("A/k3", b"")).encode()
        key = channel.add(a3).manager_key(cell.kappa_a, kappa_b)
        link = link_to_manager(connect.nm_id, started_here=True)
        install = Install(link.id, connect.nm_id, self.context.id, 0, suite.id, key, peer)
        outputs: list[Output] = [
            Send(peer, a3),
            Tell(link, install),
            Tell(
                peer_manager(connect.nm_id),
                Authenticated(a2.cred_R, connect.cred_NC, connect.endpoint, started_here=True, hybrid=bool(kappa_b)),
            ),
        ]
        return Linked(data, a3, now.mono + ANSWER_CACHE_S), outputs

    def _presented(self, shown: bytes, cred_NM: bytes, cred_NC: bytes, now: Now) -> Credential:
        """Return the credential that a manager shows, after checking that it is the one that its coordinator knows.

        While a renewal is under way it may be the one before or after that, for the same keys (RN-07); E_CRED else.
        """
        theirs = self.context.trust.verify((shown, cred_NC), Role.MANAGER, now.wall)
        if not same_keys(theirs.claims, SignedCredential.decode(cred_NM).claims):
            raise PeerFault(ErrorCode.E_CRED, "the coordinator knows another credential of this manager")
        return theirs

    # ------------------------------------------------------------------ responder

    def _called(self, peer: Peer, data: bytes, now: Now) -> Step:
        """A1 by a stranger: cheap checks, then ask the coordinator, which also knows who is revoked (AU-02)."""
        if self.context.tally.half_open[b"nmauth"] >= MOST_HALF_OPEN:
            raise PeerFault(ErrorCode.E_LIMIT, "too many managers are calling at once")
        suite = self._suite
        a1 = NmAuth1.decode(data, sizes_of(suite.id))
        if a1.suite != suite.id:
            raise PeerFault(ErrorCode.E_SUITE, f"NMAUTH of suite {a1.suite}, this manager runs {suite.id}")
        claims = SignedCredential.decode(a1.cred_I).claims
        if claims.role is not Role.MANAGER:
            raise PeerFault(ErrorCode.E_CRED, "NMAUTH with the credential of somebody who is no manager")
        if claims.sub == self.context.id:
            raise PeerFault(ErrorCode.E_STATE, "NMAUTH of a manager with itself")
        self._count(1)
        return AwaitLookUp(a1, data, peer, now.mono + LOOK_UP_S), [Ask(1, FindManager(claims.sub))]

    def _looked_up(self, cell: AwaitLookUp, result: object, now: Now, entropy: Entropy) -> Step:
        try:
            return self._reply(cell, result, now, entropy)
        except PeerFault as fault:
            self._count(-1)
            return None, [Refused(cell.peer, fault.code, fault.what)]

    def _reply(self, cell: AwaitLookUp, result: object, now: Now, entropy: Entropy) -> Step:
        match result:
            case ManagerFound(cred_NM, cred_NC, _, published):
                pass
            case PeerFault():
                raise result
            case _:
                raise PeerFault(ErrorCode.E_BUSY, "coordinator does not answer")
        suite, own, a1 = self._suite, self._own, cell.a1
        self.context.trust.verify((cred_NM, cred_NC), Role.MANAGER, now.wall)
        theirs = self._presented(a1.cred_I, cred_NM, cred_NC, now)
        E1, E2 = _keys(suite, theirs.claims)
        public = hybrid_key_of(self.context, cred_NM, published)
        kappa_a = open_kappa(self.context, public, a1.psid, a1.cred_I, a1.ct_kappa)
        X_I, C1, C2 = suite.check(a1.X_I), suite.check(a1.C1R), suite.check(a1.C2R)
        N_I = recover(suite, own.d, C1, C2)
        x_R = suite.random_scalar(entropy)
        posed = challenge(suite, E1, E2, entropy)
        DH = suite.mul(x_R, X_I)
        kappa_b, ct_b = seal_kappa(self.context, public, a1.psid, a1.cred_I, entropy)
        untagged = NmAuth2(a1.psid, suite.base_mul(x_R), posed.C1, posed.C2, own.credential.raw, ct_b, bytes(16))
        started = Handshake.start(suite, "A/nmauth", a1.psid, theirs.digest, own.credential.digest, cell.wire)
        handshake = started.answered(untagged)
        a2 = replace(untagged, tagR=handshake.tag(N_I, DH)).encode()
        channel = Channel(suite, handshake.key(N_I, posed.N, DH), handshake.T)
        repeat = Repeat.first(cell.peer, a2, now)
        kappas = (kappa_a, kappa_b)
        waiting = AwaitNm3(theirs.claims.sub, a1.cred_I, cred_NC, channel, kappas, cell.wire, cell.peer, repeat)
        return waiting, [repeat.output()]

    def _confirmed(self, cell: AwaitNm3, data: bytes) -> Step:
        suite = self._suite
        a3 = NmAuth3.decode(data, sizes_of(suite.id))
        if cell.channel.open("A/k3", a3.ct) != b"":
            raise PeerFault(ErrorCode.E_FORMAT, "A3 of NMAUTH carries nothing")
        key = cell.channel.add(data).manager_key(*cell.kappas)
        link = link_to_manager(cell.nm_id, started_here=False)
        install = Install(link.id, cell.nm_id, cell.nm_id, 1, suite.id, key, cell.peer)
        self._count(-1)
        hybrid = bool(cell.kappas[0])
        known = Authenticated(cell.cred_NM, cell.cred_NC, cell.peer, started_here=False, hybrid=hybrid)
        return None, [Tell(link, install), Tell(peer_manager(cell.nm_id), known)]

    def _ended(self, cell: AwaitNm2 | AwaitNm3, code: ErrorCode) -> list[Output]:
        if isinstance(cell, AwaitNm3):
            self._count(-1)
            return [Refused(cell.peer, code, "NMAUTH: no A3")]
        failed = Tell(peer_manager(cell.connect.nm_id), NotAuthenticated(code))
        return [Refused(cell.connect.endpoint, code, "NMAUTH: no A2"), failed]


def _keys(suite: Suite, claims: Claims) -> tuple[Point, Point]:
    if claims.suite != suite.id or claims.E1 is None or claims.E2 is None:
        raise PeerFault(ErrorCode.E_SUITE, "the other manager runs another suite")
    return suite.check(claims.E1), suite.check(claims.E2)


def nmauth_of(psid: bytes) -> CellKey:
    """Return the key of an NMAUTH run."""
    return CellKey("nmauth", psid)
