"""The responder's own steps: A2 to at most three callers, A4 to the one that proves itself (Triad-1 2.6, 1.14)."""

from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.suite import Point, Suite
from keymote.engine.base import Now, Peer, Send, Step, replace
from keymote.engine.context import DeviceContext
from keymote.engine.pairwise.parties import Repeat, Shares
from keymote.engine.pairwise.schedule import Channel, Handshake, challenge, recover
from keymote.engine.pairwise.states import AwaitA1, AwaitA3, AwaitShares, HalfOpen, HalfOpenCell, SessionCell
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Auth1, Auth2, Keyreq, Keyresp, Shreq

MOST_PER_SESSION: Final = 3
MOST_IN_ALL: Final = 8


def answer_challenge(
    context: DeviceContext, cell: AwaitA1 | AwaitA3, peer: Peer, data: bytes, entropy: Entropy
) -> Step:
    """Answer A1 with A2: N_I recovered (7), a challenge back, and tagR over everything."""
    suite, parties = context.suite, cell.parties
    contexts = cell.contexts if isinstance(cell, AwaitA3) else ()
    known = next((half for half in contexts if half.a1 == data), None)
    if known is not None:
        return cell, [Send(peer, known.a2)]
    refuse_crowds(context, len(contexts))
    a1 = Auth1.decode(data, sizes_of(suite.id))
    if a1.suite != suite.id:
        raise PeerFault(ErrorCode.E_SUITE, f"A1 of suite {a1.suite}, this device runs {suite.id}")
    X_I, C1, C2 = suite.check(a1.X_I), suite.check(a1.C1R), suite.check(a1.C2R)
    N_I = recover(suite, parties.own.d, C1, C2)
    x_R = suite.random_scalar(entropy)
    posed = challenge(suite, parties.E1, parties.E2, entropy)
    DH = suite.mul(x_R, X_I)
    untagged = Auth2(parties.psid, suite.base_mul(x_R), posed.C1, posed.C2, bytes(16))
    started = Handshake.start(suite, "A/auth", parties.psid, parties.digest_I, parties.digest_R, data)
    handshake = started.answered(untagged)
    a2 = Auth2(parties.psid, untagged.X_R, posed.C1, posed.C2, handshake.tag(N_I, DH)).encode()
    channel = Channel(suite, handshake.key(N_I, posed.N, DH), handshake.T)
    half = HalfOpen(data, a2, peer, channel)
    bad = cell.bad if isinstance(cell, AwaitA3) else 0
    waiting = AwaitA3(parties, cell.shares, cell.until, (*contexts, half), bad)
    return waiting, [Send(peer, a2)]


def accept(
    suite: Suite, cell: AwaitA3, peer: Peer, data: bytes, now: Now, entropy: Entropy
) -> tuple[AwaitA3 | AwaitShares, Shares | None]:
    """Try A3 against each context; the first that opens wins (PW-27) and is answered with this device's share."""
    parties = cell.parties
    a3 = Keyreq.decode(data, sizes_of(suite.id))
    for half in cell.contexts:
        try:
            share = suite.check(half.channel.open("A/k3", a3.ct))
        except PeerFault as fault:
            if fault.code is not ErrorCode.E_AUTH:
                raise
            continue
        aV = suite.mul(suite.random_scalar(entropy), Point(parties.own.V))
        channel = half.channel.add(data)
        a4 = Keyresp(parties.psid, channel.seal("A/k4", aV)).encode()
        request = Repeat.first(None, Shreq(parties.psid, parties.kid_I, parties.kid_R).encode(), now)
        both = suite.add(share, aV)
        replies = ((half.a1, half.a2), (data, a4))
        return AwaitShares(parties, peer, channel.add(a4), both, request, replies), cell.shares
    return replace(cell, bad=cell.bad + 1), None


def refuse_crowds(context: DeviceContext, here: int) -> None:
    """Refuse one more caller with E_LIMIT where there are three in this session or eight in all (DS-09)."""
    if here >= MOST_PER_SESSION or sum(context.tally.half_open.values()) >= MOST_IN_ALL:
        raise PeerFault(ErrorCode.E_LIMIT, "too many half-open contexts")


def count_half_open(context: DeviceContext, before: SessionCell | None, after: SessionCell | None) -> None:
    """Keep the number of half-open contexts beside the state (DS-09)."""
    if isinstance(after, HalfOpenCell):
        context.tally.half_open[after.parties.psid] = len(after.contexts)
    elif isinstance(before, HalfOpenCell):
        del context.tally.half_open[before.parties.psid]
