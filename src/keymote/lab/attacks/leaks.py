"""Attacks after the fact: every long-term secret, and a recording of the air (A-14)."""

from collections.abc import Iterator
from dataclasses import dataclass

from keymote import cbor
from keymote.crypto.suite import Point, Suite
from keymote.engine.faces import CloseSession, session_of
from keymote.engine.link_cell import LinkCell
from keymote.engine.pairwise.schedule import Channel, Handshake, recover
from keymote.errors import PeerFault
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held
from keymote.lab.attacks.paper import paper
from keymote.lab.attacks.points import IDENTITY
from keymote.lab.attacks.stage import meeting, type_of
from keymote.lab.published.pairwise import exchange_shares, random_scalar
from keymote.lab.published.weierstrass import Affine
from keymote.lab.scenes import Scene
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Auth1, Auth2, Fin1, Keyreq, Keyresp, Link, Shresp
from keymote.wire.registry import peek


def _static_seals(effort: Effort) -> Outcome:
    """Mend the clear shares by sealing each with (5) and (6); record them; obtain d_D1 and d_D2 a year later."""
    world, entropy = paper(effort, "A-14").introduced(), effort.entropy("A-14")
    held1, _ = exchange_shares(world.one, world.two, world.nm1, world.nm2, world.air, mended=True)
    recorded = []
    for name, share in held1.shares.items():
        reader = world.two if name == "aD1V1" else world.one
        found = (world.nm2 if reader is world.two else world.nm1).coordinator.register[reader.name]
        r = random_scalar(entropy)
        C1: Affine = found.curve.mul(r, found.E1)
        recorded.append((reader, C1, found.curve.add(share, found.curve.mul(r, found.E2))))
    solved = world.one.curve.sum(*[reader.recovers(C1, C2) for reader, C1, C2 in recorded])
    if solved != held1.key(world.one.curve):
        return held("the key is another one")
    return Succeeds("d_D1 and d_D2 open the recorded shares of every session there ever was")


@dataclass(frozen=True, slots=True)
class Recording:
    """What a recording of one session and all long-term secrets give together, without guessing."""

    suite: Suite
    handshake: Handshake
    N_I: Point
    N_R: Point
    a3: bytes
    a4: bytes
    fin: bytes
    manager_shares: tuple[Point, ...]
    on_air: tuple[Point, ...]
    static: tuple[Point, ...]


def _bodies(scene: Scene) -> Iterator[bytes]:
    """Open every LINK record of the recording with the leaked link keys."""
    cells = [cell for host in scene.sim.hosts.values() for cell in host.cells.values() if isinstance(cell, LinkCell)]
    for sent in scene.sim.air:
        if type_of(sent.data) != Link.mt:
            continue
        record = Link.decode(sent.data, sizes_of(scene.suite.id))
        for cell in cells:
            aad = cbor.encode_array(
                "TRIAD1", Link.mt, cell.end.suite.id, cell.end.field_id, record.le, cell.end.own_part, record.seq
            )
            try:
                yield scene.suite.open_record(cell.keys.send, record.seq, aad, record.ct)
            except PeerFault:
                continue


def _recorded(scene: Scene, psid: bytes) -> Recording:
    """Take the recording apart with d_D1, d_D2 and every K_link."""
    suite, sizes = scene.suite, sizes_of(scene.suite.id)
    wires = {type_of(sent.data): sent.data for sent in scene.sim.air if psid in sent.data}
    a1, a2 = Auth1.decode(wires[Auth1.mt], sizes), Auth2.decode(wires[Auth2.mt], sizes)
    one, other = scene.membership("d1"), scene.membership("d2")
    assert one is not None
    assert other is not None
    digests = (one.credential.digest, other.credential.digest)
    handshake = Handshake.start(suite, "A/auth", psid, *digests, wires[Auth1.mt]).answered(a2)
    answers = [Shresp.decode(body, sizes) for body in _bodies(scene) if peek(body)[0] == Shresp.mt]
    own = tuple(dict.fromkeys(Point(answer.own_share) for answer in answers if answer.psid == psid))
    X_I, X_R = Point(a1.X_I), Point(a2.X_R)
    static = tuple(suite.mul(secret.d, X) for secret in (one, other) for X in (X_I, X_R))
    return Recording(
        suite,
        handshake,
        recover(suite, other.d, Point(a1.C1R), Point(a1.C2R)),
        recover(suite, one.d, Point(a2.C1I), Point(a2.C2I)),
        wires[Keyreq.mt],
        wires[Keyresp.mt],
        wires[Fin1.mt],
        own,
        (X_I, X_R, Point(a1.C1R), Point(a1.C2R), Point(a2.C1I), Point(a2.C2I)),
        static,
    )


def _candidates(found: Recording) -> Iterator[Point]:
    """Yield what can be put in DH's place: what is on the air, products with static keys, sums, and nothing."""
    known = [*found.on_air, *found.static, found.N_I, found.N_R, *found.manager_shares]
    yield from known
    yield Point(IDENTITY)
    for P in known:
        for Q in known:
            try:
                yield found.suite.add(P, Q)
                yield found.suite.sub(P, Q)
            except PeerFault:
                continue


def _solve(found: Recording) -> tuple[bytes | None, int]:
    """Return key_id if any candidate for DH explains the recording, and how many were tried."""
    sizes, tried = sizes_of(found.suite.id), 0
    a3, a4 = Keyreq.decode(found.a3, sizes), Keyresp.decode(found.a4, sizes)
    for DH in _candidates(found):
        tried += 1
        channel = Channel(found.suite, found.handshake.key(found.N_I, found.N_R, DH), found.handshake.T)
        try:
            first = Point(channel.open("A/k3", a3.ct))
            channel = channel.add(found.a3)
            second = Point(channel.open("A/k4", a4.ct))
        except PeerFault:
            continue
        S = found.suite.sum(first, second, *found.manager_shares)
        agreement = channel.add(found.a4).agree(S, b"", b"")
        if agreement.fin(initiator=True) == Fin1.decode(found.fin, sizes).tag:
            return agreement.key_id(), tried
    return None, tried


def _everything_static(effort: Effort) -> Outcome:
    """Record a session, let it end, then leak every long-term secret of all four parties to a solver."""
    scene = meeting(effort)
    psid = scene.open("d1", "d2")
    scene.sim.command("d1", session_of(psid), CloseSession())
    scene.sim.run_for(1.0)
    found = _recorded(scene, psid)
    key_id, tried = _solve(found)
    ready = scene.ready("d1", psid)
    assert ready is not None
    if key_id == ready.keys.key_id:
        return Succeeds(f"key {key_id.hex()} computed from the recording and long-term secrets")
    if key_id is not None or len(found.manager_shares) != 2:
        return Fails("nothing", "the solver went astray")
    return held(
        f"N_I, N_R and both managers' shares are recovered; none of {tried} candidates for x_I·X_R opens A3: KS is safe"
    )


ATTACKS = (
    Attack(
        "A-14",
        "Long-term secrets leak later",
        "L",
        _static_seals,
        (Attempt("every long-term secret", "property", _everything_static),),
    ),
)
