"""The initiator's own steps: A1, A3, and what A2 and A4 must prove (Triad-1 2.6)."""

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import equal
from keymote.crypto.suite import Point, Suite
from keymote.engine.base import Now, Peer, Refused, Step, replace
from keymote.engine.pairwise.parties import Parties, Repeat, Shares
from keymote.engine.pairwise.schedule import Channel, Handshake, challenge, recover
from keymote.engine.pairwise.states import AwaitA2, AwaitA4, AwaitShares
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Auth1, Auth2, Keyreq, Keyresp, Shreq


def challenge_peer(suite: Suite, parties: Parties, at: Peer, shares: Shares | None, now: Now, entropy: Entropy) -> Step:
    """Send A1: a challenge under the responder's (E1, E2) and the ephemeral X_I."""
    x_I = suite.random_scalar(entropy)
    posed = challenge(suite, parties.E1, parties.E2, entropy)
    a1 = Auth1(parties.psid, suite.id, suite.base_mul(x_I), posed.C1, posed.C2).encode()
    handshake = Handshake.start(suite, "A/auth", parties.psid, parties.digest_I, parties.digest_R, a1)
    repeat = Repeat.first(at, a1, now)
    return AwaitA2(parties, at, x_I, posed.N, handshake, shares, repeat), [repeat.output()]


def prove(suite: Suite, cell: AwaitA2, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> Step:
    """Verify tagR, recover N_R and answer A3, which carries this device's share."""
    parties = cell.parties
    a2 = Auth2.decode(data, sizes_of(suite.id))
    X_R, C1, C2 = suite.check(a2.X_R), suite.check(a2.C1I), suite.check(a2.C2I)
    DH = suite.mul(cell.x_I, X_R)
    handshake = cell.handshake.answered(a2)
    if not equal(handshake.tag(cell.N_I, DH), a2.tagR):
        bad = replace(cell, bad=cell.bad + 1)
        return bad, [Refused(peer, ErrorCode.E_AUTH, "tagR is not that of the responder")]
    N_R = recover(suite, parties.own.d, C1, C2)
    channel = Channel(suite, handshake.key(cell.N_I, N_R, DH), handshake.T)
    aV = suite.mul(suite.random_scalar(entropy), Point(parties.own.V))
    a3 = Keyreq(parties.psid, channel.seal("A/k3", aV)).encode()
    repeat = Repeat.first(peer, a3, now)
    waiting = AwaitA4(parties, peer, channel.add(a3), aV, cell.shares, repeat, ((data, a3),), cell.bad)
    return waiting, [repeat.output()]


def conclude(
    suite: Suite, cell: AwaitA4, peer: Peer, data: bytes, now: Now
) -> tuple[AwaitA4 | AwaitShares, Shares | None]:
    """Open A4, which holds the responder's share; the transcript ends here."""
    parties = cell.parties
    a4 = Keyresp.decode(data, sizes_of(suite.id))
    try:
        share = suite.check(cell.channel.open("A/k4", a4.ct))
    except PeerFault as fault:
        if fault.code is not ErrorCode.E_AUTH:
            raise
        return replace(cell, bad=cell.bad + 1), None
    request = Repeat.first(None, Shreq(parties.psid, parties.kid_I, parties.kid_R).encode(), now)
    aV = suite.add(cell.aV, share)
    reached = AwaitShares(parties, peer, cell.channel.add(data), aV, request, cell.replies, bad=cell.bad)
    return reached, cell.shares
