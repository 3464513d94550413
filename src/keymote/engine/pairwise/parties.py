"""Who takes part in a session, as one of its devices knows it, and what all its states share."""

from dataclasses import dataclass, field
from typing import Final

from keymote.crypto import seal
from keymote.crypto.suite import Point, Suite, VerifyKey
from keymote.engine.base import Now, Output, Peer, Send, Tell, replace
from keymote.engine.context import SESSION_TIMEOUTS_S, DeviceContext, Handshake, Membership
from keymote.engine.link_faces import OWN_LINK, Forward, SealBody
from keymote.engine.pairwise.schedule import share_context
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.credential import Role, SignedCredential, kid_of
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import EDHOC, Peercred, PeercredCompact, ShareClaims, Shresp

INITIATOR: Final = 1
RESPONDER: Final = 2
MOST_BAD_TAGS: Final = 16


@dataclass(frozen=True, slots=True)
class Parties:
    """Both credentials of a session, verified, and the foreign manager that vouches for the other one.

    `peer_id` and `manager_id`, the issuer of the peer's credential, are empty where a compact PEERCRED did not say them.
    `digest_*` are SHA-256 of the credentials. `cred_peer` and `key_peer`, the peer's credential and its signature key, are
    there for EDHOC alone.
    """

    psid: bytes
    initiator: bool
    own: Membership
    peer_id: bytes
    digest_I: bytes
    digest_R: bytes
    E1: Point
    E2: Point
    kid_NM: bytes
    key_NM: VerifyKey
    manager_id: bytes = b""
    cred_peer: bytes = b""
    key_peer: VerifyKey | None = None

    @property
    def kid_I(self) -> bytes:
        return self.digest_I[:8]

    @property
    def kid_R(self) -> bytes:
        return self.digest_R[:8]

    @property
    def kid_own(self) -> bytes:
        return self.own.credential.kid

    @property
    def kid_peer(self) -> bytes:
        return self.kid_R if self.initiator else self.kid_I


def introduced(
    context: DeviceContext, own: Membership, peer: Peercred | PeercredCompact, *, asked_compact: bool, now: Now
) -> Parties:
    """Return the parties that PEERCRED names, after checking the peer's chain or, compact, our manager's word (PW-04, PW-05).

    Raises:
        PeerFault: E_CRED for a chain that does not hold or a compact form that nobody allowed; E_STATE for ourselves;
            E_SUITE for another handshake than this device's.
    """
    suite = context.suite
    if role_of(peer) not in (INITIATOR, RESPONDER):
        raise PeerFault(ErrorCode.E_FORMAT, f"role {peer.role} in PEERCRED")
    by_edhoc = context.handshake is Handshake.EDHOC
    if bool(peer.role & EDHOC) is not by_edhoc:
        raise PeerFault(ErrorCode.E_SUITE, f"the managers announce another handshake than {context.handshake.value}")
    manager_id, cred_peer, key_peer = b"", b"", None
    if isinstance(peer, Peercred):
        above = (peer.cred_peerNM,) if peer.cred_NC is None else (peer.cred_peerNM, peer.cred_NC)
        wall = now.wall if context.has_clock else None
        credential = context.trust.verify((peer.cred_peer, *above), Role.DEVICE, wall)
        claims, manager = credential.claims, SignedCredential.decode(peer.cred_peerNM).claims
        if claims.suite != suite.id or claims.E1 is None or claims.E2 is None:
            raise PeerFault(ErrorCode.E_SUITE, "the peer runs another suite")
        digest, peer_id, E1, E2 = credential.digest, claims.sub, claims.E1, claims.E2
        manager_id, kid_NM = claims.iss, kid_of(peer.cred_peerNM)
        key_NM = context.trust.key(manager.suite, manager.sig_pk)
        if by_edhoc:
            cred_peer, key_peer = peer.cred_peer, context.trust.key(claims.suite, claims.sig_pk)
    else:
        if not (asked_compact or context.accept_compact):
            raise PeerFault(ErrorCode.E_CRED, "compact PEERCRED that nobody asked for")
        digest, peer_id, E1, E2 = peer.digest, b"", peer.E1, peer.E2
        kid_NM, key_NM = peer.kid_NM, context.trust.key(suite.id, peer.pk_NM)
    own_digest = own.credential.digest
    if digest[:8] == own_digest[:8]:
        raise PeerFault(ErrorCode.E_STATE, "a session of a device with itself")
    initiator = role_of(peer) == INITIATOR
    digests = (own_digest, digest) if initiator else (digest, own_digest)
    point = context.trust.point
    points = point(suite.id, E1), point(suite.id, E2)
    return Parties(
        peer.psid, initiator, own, peer_id, *digests, *points, kid_NM, key_NM, manager_id, cred_peer, key_peer
    )


def role_of(peer: Peercred | PeercredCompact) -> int:
    """Return the role that PEERCRED gives this device, whatever the handshake."""
    return peer.role & ~EDHOC


@dataclass(frozen=True, slots=True)
class Shares:
    """Both managers' shares, opened and checked, and their post-quantum contributions (h'' outside that profile)."""

    own: Point = field(repr=False)
    foreign: Point = field(repr=False)
    kappa1: bytes = field(repr=False)
    kappa2: bytes = field(repr=False)


def opened_shares(suite: Suite, parties: Parties, answer: Shresp) -> Shares:
    """Return what SHRESP holds; E_AUTH unless the foreign manager signed and sealed it for us in this session (PW-15)."""
    if (answer.kappa1 is None) is not (answer.kappa2 is None):
        raise PeerFault(ErrorCode.E_FORMAT, "one post-quantum share of two")
    ctx = share_context(parties.psid, parties.kid_I, parties.kid_R, parties.kid_own, parties.kid_NM)
    if answer.share.kid != parties.kid_NM:
        raise PeerFault(ErrorCode.E_AUTH, "share of another manager than the one that vouches for the peer")
    payload = answer.share.check(parties.key_NM, Shresp.mt, ctx)
    claims = ShareClaims.decode(payload, sizes_of(suite.id))
    if claims.psid != parties.psid:
        raise PeerFault(ErrorCode.E_AUTH, "share of another session")
    own_claims = parties.own.credential.claims
    assert own_claims.E1 is not None and own_claims.E2 is not None  # a member of protocol A has both
    plaintext = seal.open_(
        suite,
        parties.own.d,
        Point(own_claims.E1),
        Point(own_claims.E2),
        claims.C1,
        ctx,
        claims.ct,
    )
    foreign, own = suite.check(plaintext), suite.check(answer.own_share)
    return Shares(own, foreign, answer.kappa1 or b"", answer.kappa2 or b"")


@dataclass(frozen=True, slots=True)
class Repeat:
    """A request without an answer yet. Sent again after 2 and 4 s, given up 8 s later (PW-30).

    `to` is an address, "" lets the managers relay to the peer, None means a LINK record to the own manager.
    """

    to: Peer | None
    data: bytes
    at: float
    attempt: int = 0

    @classmethod
    def first(cls, to: Peer | None, data: bytes, now: Now) -> "Repeat":
        return cls(to, data, now.mono + SESSION_TIMEOUTS_S[0])

    def output(self) -> Output:
        if self.to is None:
            return Tell(OWN_LINK, SealBody(self.data))
        return towards(self.to, self.data)

    def again(self, now: Now) -> "Repeat | None":
        """Return the next repetition, None when there is none left."""
        attempt = self.attempt + 1
        if attempt == len(SESSION_TIMEOUTS_S):
            return None
        return replace(self, at=now.mono + SESSION_TIMEOUTS_S[attempt], attempt=attempt)


def towards(peer: Peer, data: bytes) -> Output:
    """Return the output that carries `data` to the peer device, through the managers when its address is unknown."""
    return Send(peer, data, 1) if peer else Tell(OWN_LINK, Forward(data))


Replies = tuple[tuple[bytes, bytes], ...]
"""(message received, answer sent): a repetition gets the identical answer (PW-28)."""


def reply_to(replies: Replies, data: bytes) -> bytes | None:
    """Return the cached answer to exactly these bytes."""
    return next((answer for question, answer in replies if question == data), None)
