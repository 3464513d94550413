"""Attacks on a recording by whoever can take discrete logarithms, years later (A-26).

The quantum computer is an oracle: for two points of the recording it says the scalar between them. It knows no code, no
K_link and no κ, because nothing on the air is a multiple by one of those.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from keymote import cbor
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, Suite
from keymote.engine.base import Refused
from keymote.engine.context import PostQuantum, RegistrarPolicy
from keymote.engine.enrolment.schedule import Run, generator, opening
from keymote.engine.faces import OWN_ENROLMENT, CloseSession, ExpectDevice, Provision, enrolment_of, session_of
from keymote.engine.link_keys import LinkEnd
from keymote.engine.pairwise.register import Register
from keymote.engine.pairwise.schedule import Channel, Handshake, recover
from keymote.errors import PeerFault
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held
from keymote.lab.attacks.paper import paper
from keymote.lab.attacks.stage import type_of
from keymote.lab.published.pairwise import exchange_shares, random_scalar
from keymote.lab.published.weierstrass import Affine
from keymote.lab.scene_founding import two_operators
from keymote.lab.scenes import Scene, identity
from keymote.wire.credential import Claims
from keymote.wire.enrolment import Bind, Cred, Hello, Join, Offer, Share, Vpt
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Auth1, Auth2, Fin1, Keyreq, Keyresp, Link, NmAuth1, NmAuth2, NmAuth3, Shresp, Xcred
from keymote.wire.registry import peek

CODES = 50
"""Of the dictionary for a short code; the right one is among them."""
_A3_OF_NMAUTH = 28


# ------------------------------------------------------------------ as published


def _sealed_shares(effort: Effort) -> Outcome:
    """Mend the clear shares by sealing each with (5) and (6); record them; take the logarithm of E2 to the base E1."""
    world, entropy = paper(effort, "A-26").introduced(), effort.entropy("A-26")
    curve = world.one.curve
    held1, _ = exchange_shares(world.one, world.two, world.nm1, world.nm2, world.air, mended=True)
    opened: list[Affine] = []
    for name, share in held1.shares.items():
        reader = world.two if name == "aD1V1" else world.one
        found = (world.nm2 if reader is world.two else world.nm1).coordinator.register[reader.name]
        r = random_scalar(entropy)
        C1, C2 = curve.mul(r, found.E1), curve.add(share, curve.mul(r, found.E2))
        d = next(k for k in (world.one.d, world.two.d) if curve.mul(k, found.E1) == found.E2)  # the oracle's answer
        opened.append(curve.add(C2, curve.neg(curve.mul(d, C1))))
    if curve.sum(*opened) != held1.key(curve):
        return held("the key is another one")
    return Succeeds("two logarithms of public points open the recorded shares, also those that somebody sealed")


# ------------------------------------------------------------------ the oracle, and what it gives


@dataclass(frozen=True, slots=True)
class Logarithms:
    """A quantum computer: it finds any scalar that anybody has drawn, from a point and its multiple."""

    suite: Suite
    scalars: tuple[bytes, ...]

    def of(self, point: bytes, base: Point | None = None) -> Secret | None:
        """Return k with point = k·base (the standard generator without `base`), None if nobody has drawn it."""
        for raw in self.scalars:
            k = Secret(raw)
            if (self.suite.base_mul(k) if base is None else self.suite.mul(k, base)) == point:
                return k
        return None

    def certain(self, point: bytes, base: Point | None = None) -> Secret:
        k = self.of(point, base)
        assert k is not None, "every scalar of the world was seen"
        return k


def _profile(policy: PostQuantum) -> RegistrarPolicy:
    return RegistrarPolicy(joins_per_source_per_min=60, post_quantum=policy)


def _world(effort: Effort, *, enrolled: bool = True, policy: PostQuantum = PostQuantum.ON) -> tuple[Scene, bytes]:
    """Return a world of the post-quantum profile in which a session was opened, used and closed, and its psid."""
    scene = two_operators(effort.seed, policy=_profile(policy), enrolled=enrolled)
    return (scene, _session(scene)) if enrolled else (scene, b"")


def _session(scene: Scene) -> bytes:
    psid = scene.open("d1", "d2")
    scene.sim.command("d1", session_of(psid), CloseSession())
    scene.sim.run_for(1.0)
    return psid


def _oracle(scene: Scene) -> Logarithms:
    return Logarithms(scene.suite, tuple(dict.fromkeys(scene.witness.scalars)))


@dataclass(frozen=True, slots=True)
class Solved:
    """A recorded session after every logarithm: all that KS is made of but κ1 and κ2. `fin` is the recorded FIN1."""

    channel: Channel
    S: Point
    fin: bytes

    def key_id(self, kappas: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        """Return key_id if one of these pairs explains the recording."""
        for kappa1, kappa2 in kappas:
            agreement = self.channel.agree(self.S, kappa1, kappa2)
            if agreement.fin(initiator=True) == self.fin:
                return agreement.key_id()
        return None


def _keys(claims: Claims) -> tuple[Point, bytes]:
    assert claims.E1 is not None
    assert claims.E2 is not None
    return Point(claims.E1), claims.E2


def _solved(scene: Scene, psid: bytes) -> Solved:
    """Take the recording of a session apart; the managers' shares, which travel under K_link, are a present to her."""
    suite, sizes, oracle = scene.suite, sizes_of(scene.suite.id), _oracle(scene)
    wires = {type_of(sent.data): sent.data for sent in scene.sim.air if psid in sent.data}
    a1, a2 = Auth1.decode(wires[Auth1.mt], sizes), Auth2.decode(wires[Auth2.mt], sizes)
    one, other = scene.membership("d1"), scene.membership("d2")
    assert one is not None
    assert other is not None
    (E1_1, E2_1), (E1_2, E2_2) = _keys(one.credential.claims), _keys(other.credential.claims)
    d1, d2, x_I = oracle.certain(E2_1, E1_1), oracle.certain(E2_2, E1_2), oracle.certain(a1.X_I)
    N_I, N_R = (recover(suite, d, Point(C1), Point(C2)) for d, C1, C2 in ((d2, a1.C1R, a1.C2R), (d1, a2.C1I, a2.C2I)))
    digests = (one.credential.digest, other.credential.digest)
    handshake = Handshake.start(suite, "A/auth", psid, *digests, wires[Auth1.mt]).answered(a2)
    channel = Channel(suite, handshake.key(N_I, N_R, suite.mul(x_I, Point(a2.X_R))), handshake.T)
    first = Point(channel.open("A/k3", Keyreq.decode(wires[Keyreq.mt], sizes).ct))
    channel = channel.add(wires[Keyreq.mt])
    second = Point(channel.open("A/k4", Keyresp.decode(wires[Keyresp.mt], sizes).ct))
    shares: list[Point] = []
    for name in ("nm1", "nm2"):
        cell = scene.session(name, psid)
        assert isinstance(cell, Register)
        shares += [party.bW for party in cell.own if party.bW is not None]
    S = suite.sum(first, second, *shares)
    return Solved(channel.add(wires[Keyresp.mt]), S, Fin1.decode(wires[Fin1.mt], sizes).tag)


def _verdict(scene: Scene, psid: bytes, key_id: bytes | None, evidence: str) -> Outcome:
    ready = scene.ready("d1", psid)
    assert ready is not None
    if key_id == ready.keys.key_id:
        return Succeeds(f"key {key_id.hex()} computed from a recording and discrete logarithms")
    return held(evidence) if key_id is None else Fails("nothing", "the solver went astray")


# ------------------------------------------------------------------ every logarithm of a session


def _guesses(scene: Scene) -> Iterator[tuple[bytes, bytes]]:
    """Yield what could stand for κ1 and κ2: nothing, zeros, and any 32 bytes at the seams of what NMAUTH sealed."""
    words = {b"", bytes(32)}
    for sent in scene.sim.air:
        ct = _sealed_kappa(sent.data, scene.suite)
        words |= {ct[at : at + 32] for at in (0, 1056, 1088, 1120, 1136) if ct}
    yield from product(sorted(words), repeat=2)


def _sealed_kappa(data: bytes, suite: Suite) -> bytes:
    for kind in (NmAuth1, NmAuth2):
        if peek(data) == (kind.mt, 8):
            return kind.decode(data, sizes_of(suite.id)).ct_kappa
    return b""


def _every_logarithm(effort: Effort) -> Outcome:
    """Record a session; later take every logarithm between devices, and get both managers' shares as a present."""
    scene, psid = _world(effort)
    solved, guesses = _solved(scene, psid), list(_guesses(scene))
    why = f"d_D1, d_D2, x_I, S and PRK are known; KS misses κ1 and κ2, none of {len(guesses)} guesses gives FIN1"
    return _verdict(scene, psid, solved.key_id(guesses), why)


# ------------------------------------------------------------------ through the managers' channel


def _manager_keys(scene: Scene) -> Iterator[Secret]:
    """Yield K_nn of the recorded NMAUTH as whoever knows every logarithm computes it, for each guess at κa and κb."""
    suite, sizes, oracle = scene.suite, sizes_of(scene.suite.id), _oracle(scene)
    run = [sent.data for sent in scene.sim.air if {sent.source, sent.target} == {"nm1", "nm2"}]
    w1, w2 = (next(data for data in run if peek(data) == (kind.mt, 8)) for kind in (NmAuth1, NmAuth2))
    w3 = next(data for data in run if type_of(data) == NmAuth3.mt and len(data) == _A3_OF_NMAUTH)
    a1, a2 = NmAuth1.decode(w1, sizes), NmAuth2.decode(w2, sizes)
    members = [scene.managers[name].membership for name in ("nm1", "nm2")]
    one, other = (member.credential for member in members if member is not None)
    (E1_1, E2_1), (E1_2, E2_2) = _keys(one.claims), _keys(other.claims)
    N_I = recover(suite, oracle.certain(E2_2, E1_2), Point(a1.C1R), Point(a1.C2R))
    N_R = recover(suite, oracle.certain(E2_1, E1_1), Point(a2.C1I), Point(a2.C2I))
    DH = suite.mul(oracle.certain(a1.X_I), Point(a2.X_R))
    handshake = Handshake.start(suite, "A/nmauth", a1.psid, one.digest, other.digest, w1).answered(a2)
    channel = Channel(suite, handshake.key(N_I, N_R, DH), handshake.T)
    assert channel.open("A/k3", NmAuth3.decode(w3, sizes).ct) == b""
    for kappa_a, kappa_b in _guesses(scene):
        yield channel.add(w3).manager_key(kappa_a, kappa_b)


def _read(scene: Scene, keys: Iterable[Secret], end: LinkEnd) -> Iterator[bytes]:
    """Yield what LINK records of the recording say under one of these keys, in their first epoch."""
    records = [Link.decode(sent.data, sizes_of(1)) for sent in scene.sim.air if type_of(sent.data) == Link.mt]
    for key in keys:
        epoch = end.epoch(key, 0)
        for record in (record for record in records if record.lid == epoch.lid):
            for secret, aad in ((epoch.send, epoch.send_aad), (epoch.receive, epoch.receive_aad)):
                try:
                    yield scene.suite.open_record(secret, record.seq, aad + cbor.uint(record.seq), record.ct)
                except PeerFault:
                    continue


def _managers_channel(effort: Effort) -> Outcome:
    """Record the managers' meeting too: take its logarithms, open nn-LINK, and read κ1 and κ2 in XCRED."""
    scene, psid = _world(effort)
    end = LinkEnd(b"", identity("nm2"), identity("nm1"), 0, scene.suite)
    keys = list(_manager_keys(scene))
    found = [Xcred.decode(body, sizes_of(1)) for body in _read(scene, keys, end) if peek(body)[0] == Xcred.mt]
    kappas = [xcred.kappa for xcred in found if xcred.psid == psid]
    why = (
        f"PRK of NMAUTH is known; under none of {len(keys)} keys does a record between the managers open: no κa, no κb"
    )
    pairs = [(kappa1, kappa2) for kappa1 in kappas for kappa2 in kappas]
    return _verdict(scene, psid, _solved(scene, psid).key_id(pairs), why)


# ------------------------------------------------------------------ through a short code


def _codes() -> Iterator[bytes]:
    return (b"%08d" % (number * 7919) for number in range(CODES))


def _links_by_dictionary(scene: Scene, name: str) -> Iterator[Secret]:
    """Yield K_link of a recorded enrolment: for each code the logarithm of Y_D, and the tag of OFFER says which is right."""
    suite, sizes, oracle = scene.suite, sizes_of(scene.suite.id), _oracle(scene)
    heard = [sent.data for sent in scene.sim.air]
    wires = {mt: [data for data in heard if type_of(data) == mt] for mt in range(1, 10)}
    (join_wire,) = (data for data in wires[Join.mt] if Join.decode(data, sizes).dev_id == identity(name))
    join = Join.decode(join_wire, sizes)
    (hello_wire,) = {data for data in wires[Hello.mt] if Hello.decode(data, sizes).hello_n[:8] == join.hello_n8}
    hello = Hello.decode(hello_wire, sizes)
    at = heard.index(join_wire)
    offer_wire, *rest = (
        next(data for data in heard[at:] if type_of(data) == mt)
        for mt in (Offer.mt, Share.mt, Vpt.mt, Bind.mt, Cred.mt)
    )
    offer = Offer.decode(offer_wire, sizes)
    for code in _codes():
        prs = Secret(cbor.encode([code, b""]))
        y_D = oracle.of(join.Y_D, generator(suite, prs, join.dev_id, hello))
        if y_D is None:  # for a wrong code the logarithm exists too, but OFFER's tag would not fit
            continue
        K = suite.mul(y_D, Point(offer.Y_N))
        T = opening(suite, hello, hello_wire, join)
        run = Run.start(suite, T, prs, join, hello, K, Point(offer.Y_N), Point(offer.e_NM))
        if run.offer_tag() == offer.tag:
            for wire in rest:
                run = run.add(wire)
            yield run.link_key()


def _short_code(effort: Effort) -> Outcome:
    """Enrol with a code of eight digits where the profile is demanded, and try the codes on a recording of it."""
    scene, _ = _world(effort, enrolled=False, policy=PostQuantum.REQUIRED)
    dev_id, code = identity("d1"), list(_codes())[CODES * 2 // 3]
    prs = Secret(cbor.encode([code, b""]))
    for told in scene.sim.command("nm1", enrolment_of(dev_id), ExpectDevice(dev_id, prs, weak=True)):
        if isinstance(told, Refused):
            return Fails(told.code.name, told.what)
    scene.sim.command("d1", OWN_ENROLMENT, Provision(prs))
    scene.greet("d1")
    scene.sim.run_for(5.0)
    scene.enrol("d2")
    psid = _session(scene)
    end = LinkEnd(b"", b"", dev_id, 1, scene.suite)
    bodies = [body for body in _read(scene, _links_by_dictionary(scene, "d1"), end) if peek(body)[0] == Shresp.mt]
    found = [Shresp.decode(body, sizes_of(scene.suite.id)) for body in bodies]
    kappas = [(each.kappa1 or b"", each.kappa2 or b"") for each in found if each.psid == psid]
    return _verdict(scene, psid, _solved(scene, psid).key_id(kappas), "the dictionary does not open the device's LINK")


ATTACKS = (
    Attack(
        "A-26",
        "Recording for a quantum computer",
        "L",
        _sealed_shares,
        (
            Attempt("every logarithm of a session", "property", _every_logarithm),
            Attempt("through the managers' channel", "property", _managers_channel),
            Attempt("through a short code", "E_SUITE", _short_code),
        ),
    ),
)
