"""Two devices authenticate each other by EDHOC in the place of A1 to A4 (Triad-1 1.17, docs/decisions/0071).

Both sign (method 0) with the keys of their credentials; message_1 names the psid, message_3 and message_4 carry the devices'
shares as critical EADs. Then the managers' shares enter by EDHOC_KeyUpdate(enc(S)‖κ1‖κ2), and FIN1 and FIN2 confirm.
"""

from dataclasses import dataclass
from typing import Final, TypeVar

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, Suite
from keymote.engine.base import Now, Peer, Refused, Send, Step, replace
from keymote.engine.context import DeviceContext
from keymote.engine.edhoc import initiator, responder
from keymote.engine.edhoc.credentials import KnownPeers, Own
from keymote.engine.edhoc.credentials import Peer as EdhocPeer
from keymote.engine.edhoc.faults import Aborted
from keymote.engine.edhoc.profile import Profile
from keymote.engine.edhoc.session import Session
from keymote.engine.faces import SessionKeys
from keymote.engine.pairwise.parties import Parties, Repeat, Shares
from keymote.engine.pairwise.responder import refuse_crowds
from keymote.engine.pairwise.schedule import Agreement
from keymote.engine.pairwise.states import (
    Answered,
    AwaitA1,
    AwaitMessage2,
    AwaitMessage3,
    AwaitMessage4,
    AwaitShares,
)
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.edhoc import Ead, Eads, id_cred_by_kid
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Edhoc1, Edhoc2, Edhoc3, Edhoc4, Shreq

Waiting = TypeVar("Waiting", AwaitMessage2, AwaitMessage3, AwaitMessage4)

METHOD: Final = 0
SUITES: Final = {1: 0, 2: 0, 3: 0, 17: 2}
"""Suite of Triad-1 -> the suite of EDHOC whose signatures are the same: Ed25519 with X25519, or P-256 for both."""
KID_I: Final = id_cred_by_kid(b"\x01")
KID_R: Final = id_cred_by_kid(b"\x02")
"""References to the two credentials that PEERCRED has named: roles, so that nothing on the air tells devices apart (PW-09)."""
C_I: Final = b"\x01"
C_R: Final = b"\x00"
"""Connection identifiers: they are the OSCORE ids of Triad-1 2.8 by RFC 9528 A.1; the psid correlates the messages."""
EAD_PSID: Final = 65000
EAD_SHARE: Final = 65001
EXPORT_KS: Final = 65000
"""Labels of EADs and of the exporter from the ranges for private use (RFC 9528 10.1, 10.5)."""


def profile_of(context: DeviceContext, parties: Parties) -> Profile:
    """Return how this device and that one talk: both credentials are known, nothing is looked up."""
    own, other = (KID_I, KID_R) if parties.initiator else (KID_R, KID_I)
    if parties.key_peer is None:
        raise PeerFault(ErrorCode.E_SUITE, "compact PEERCRED names no signature key, which EDHOC needs")
    peer = EdhocPeer(other, parties.cred_peer, parties.key_peer)
    mine = Own(own, parties.own.credential.raw, context.signing)
    return Profile(METHOD, mine, KnownPeers([peer]), (SUITES[context.suite.id],), (EAD_PSID, EAD_SHARE))


# ------------------------------------------------------------------ the initiator


def call_peer(
    context: DeviceContext, parties: Parties, at: Peer, shares: Shares | None, now: Now, entropy: Entropy
) -> Step:
    """Send message_1, which names the session."""
    psid = (Ead(-EAD_PSID, parties.psid),)
    run, message_1 = initiator.begin(profile_of(context, parties), C_I, entropy, eads=psid)
    repeat = Repeat.first(at, Edhoc1(parties.psid, message_1).encode(), now)
    return AwaitMessage2(parties, at, run, shares, repeat), [repeat.output()]


def prove(suite: Suite, cell: AwaitMessage2, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> Step:
    """Verify message_2 and answer message_3, which carries this device's share."""
    parties = cell.parties
    try:
        proven = initiator.read_message_2(cell.run, Edhoc2.decode(data, sizes_of(suite.id)).edhoc)
    except Aborted as fault:
        return _bad(cell, peer, fault)
    aV = suite.mul(suite.random_scalar(entropy), Point(parties.own.V))
    run, message_3 = initiator.write_message_3(proven, (Ead(-EAD_SHARE, aV),))
    answer = Edhoc3(parties.psid, message_3).encode()
    repeat = Repeat.first(peer, answer, now)
    waiting = AwaitMessage4(parties, peer, run, aV, cell.shares, repeat, ((data, answer),), cell.bad)
    return waiting, [repeat.output()]


def conclude(
    suite: Suite, cell: AwaitMessage4, peer: Peer, data: bytes, now: Now
) -> AwaitShares | tuple[AwaitMessage4, list[Refused]]:
    """Verify message_4, which holds the responder's share; the devices have agreed then."""
    try:
        session, eads = initiator.read_message_4(cell.run, Edhoc4.decode(data, sizes_of(suite.id)).edhoc)
        share = _share(suite, eads)
    except Aborted as fault:
        return _bad(cell, peer, fault)
    return _agreed(cell.parties, peer, Channel(suite, session), suite.add(cell.aV, share), now, cell.replies, cell.bad)


# ------------------------------------------------------------------ the responder


def answer_call(
    context: DeviceContext, cell: AwaitA1 | AwaitMessage3, peer: Peer, data: bytes, entropy: Entropy
) -> Step:
    """Answer message_1 with message_2, up to three times for a session: anybody may have sent it."""
    parties = cell.parties
    contexts = cell.contexts if isinstance(cell, AwaitMessage3) else ()
    known = next((answered for answered in contexts if answered.call == data), None)
    if known is not None:
        return cell, [Send(peer, known.answer)]
    refuse_crowds(context, len(contexts))
    message_1 = Edhoc1.decode(data, sizes_of(context.suite.id)).edhoc
    called = responder.read_message_1(profile_of(context, parties), message_1)
    if called.eads != (Ead(EAD_PSID, parties.psid),):
        raise PeerFault(ErrorCode.E_FORMAT, "message_1 does not name this session")
    run, message_2 = responder.write_message_2(called, C_R, entropy)
    answer = Edhoc2(parties.psid, message_2).encode()
    bad = cell.bad if isinstance(cell, AwaitMessage3) else 0
    waiting = AwaitMessage3(parties, cell.shares, cell.until, (*contexts, Answered(data, answer, run)), bad)
    return waiting, [Send(peer, answer)]


def accept(
    suite: Suite, cell: AwaitMessage3, peer: Peer, data: bytes, now: Now, entropy: Entropy
) -> AwaitShares | tuple[AwaitMessage3, list[Refused]]:
    """Try message_3 against each caller; the first that verifies wins (PW-27) and gets this device's share in message_4."""
    parties, message_3 = cell.parties, Edhoc3.decode(data, sizes_of(suite.id)).edhoc
    refused: Aborted | None = None
    for answered in cell.contexts:
        try:
            finished = responder.read_message_3(answered.run, message_3)
        except Aborted as fault:
            refused = fault
            continue
        share = _share(suite, finished.eads)
        aV = suite.mul(suite.random_scalar(entropy), Point(parties.own.V))
        answer = Edhoc4(parties.psid, responder.write_message_4(finished, (Ead(-EAD_SHARE, aV),))).encode()
        replies = ((answered.call, answered.answer), (data, answer))
        return _agreed(parties, peer, Channel(suite, finished.session), suite.add(share, aV), now, replies, 0)
    assert refused is not None  # a caller has been answered in this state
    return _bad(cell, peer, refused)


# ------------------------------------------------------------------ both


def _share(suite: Suite, eads: Eads) -> Point:
    """Return the peer's a V, the one EAD of message_3 and message_4."""
    match eads:
        case (Ead(label, bytes(share)),) if label == EAD_SHARE:
            return suite.check(share)
    raise PeerFault(ErrorCode.E_FORMAT, "no share of the peer")


def _agreed(
    parties: Parties,
    peer: Peer,
    channel: "Channel",
    aV: Point,
    now: Now,
    replies: tuple[tuple[bytes, bytes], ...],
    bad: int,
) -> AwaitShares:
    request = Repeat.first(None, Shreq(parties.psid, parties.kid_I, parties.kid_R).encode(), now)
    return AwaitShares(parties, peer, channel, aV, request, replies, bad=bad)


def _bad(cell: Waiting, peer: Peer, fault: Aborted) -> tuple[Waiting, list[Refused]]:
    """Keep the run as it was before a message that anybody could have sent, and count it (PW-29)."""
    return replace(cell, bad=cell.bad + 1), [Refused(peer, fault.code, fault.what)]


@dataclass(frozen=True, slots=True)
class Channel:
    """A finished EDHOC session that lacks the managers' shares."""

    suite: Suite
    session: Session

    def agree(self, S: Point, kappa1: bytes, kappa2: bytes) -> Agreement:
        """Return what EDHOC_KeyUpdate(enc(S)‖κ1‖κ2) gives (Triad-1 1.17)."""
        updated = self.session.updated(S + kappa1 + kappa2)
        return EdhocAgreement(self.suite, Secret(updated.exporter(EXPORT_KS, b"", 32)), updated.TH_4, updated)


@dataclass(frozen=True, slots=True)
class EdhocAgreement(Agreement):
    """KS is exported from the updated session and T is TH_4; OSCORE's input is EDHOC's own (RFC 9528 A.1)."""

    session: Session

    def export(self) -> SessionKeys:
        """Return the keys for DTLS-PSK and OSCORE."""
        oscore = self.session.oscore()
        keys = Agreement.export(self)  # super() does not see a class that slots have made anew
        return SessionKeys(keys.key_id, keys.dtls_psk, oscore.master_secret, oscore.master_salt)
