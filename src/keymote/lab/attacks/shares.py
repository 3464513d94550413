"""Attacks on the four shares: add them, lack one, choose one, make one vanish, get one unauthorised (A-01, 02, 07, 08, 25)."""

from collections.abc import Iterator
from itertools import combinations

from keymote import cbor
from keymote.crypto.suite import Point, Suite
from keymote.engine.faces import RevokeDevice, enrolment_of
from keymote.engine.link_faces import link_to_device
from keymote.engine.pairwise.register import Register
from keymote.engine.pairwise.schedule import share_scalar
from keymote.engine.pairwise.states import AwaitA3, AwaitA4, AwaitShares
from keymote.errors import PeerFault
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held
from keymote.lab.attacks.impostors import FalseManager, Newcomer
from keymote.lab.attacks.paper import paper
from keymote.lab.attacks.points import IDENTITY
from keymote.lab.attacks.stage import Mallory, label, meeting
from keymote.lab.published.pairwise import SHARES, Letter, enrol, exchange_shares
from keymote.lab.published.weierstrass import Affine
from keymote.lab.scenes import Scene, identity
from keymote.wire.enrolment import Bind
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Fin1, Fin2, Keyreq, Keyresp, Link, Shresp

# ------------------------------------------------------------------ what the judge knows


def true_shares(scene: Scene, mallory: Mallory, psid: bytes) -> tuple[Point, ...]:
    """Return the four terms of (9), read from the cells of all four parties while the session agrees.

    d1's A3 must be held; it is delivered here.
    """
    suite = scene.suite
    a3 = mallory.take(Keyreq.mt)
    cell = scene.session("d1", psid)
    assert isinstance(cell, AwaitA4)
    mallory.release()
    mallory.hold(Link.mt, source="d2")
    mallory.send("d1", "d2", a3)
    other = scene.session("d2", psid)
    assert isinstance(other, AwaitShares)
    managers = [_manager_share(scene, name, psid) for name in ("nm1", "nm2")]
    mallory.release()
    return cell.aV, suite.sub(other.aV, cell.aV), *managers


def _manager_share(scene: Scene, name: str, psid: bytes) -> Point:
    cell = scene.session(name, psid)
    assert isinstance(cell, Register)
    (party,) = cell.own
    assert cell.shares.k_nm is not None
    assert party.W is not None
    b = share_scalar(scene.suite, cell.shares.k_nm, psid, cell.I.kid, cell.R.kid)
    return scene.suite.mul(b, Point(party.W))


# ------------------------------------------------------------------


def _sum_from_the_air(effort: Effort) -> Outcome:
    """Record the four shares of 3.3 and add them."""
    world = paper(effort, "A-01").introduced()
    held1, held2 = exchange_shares(world.one, world.two, world.nm1, world.nm2, world.air, mended=True)
    heard = [letter.point("share") for letter in world.air.heard if letter.name in _SHARE_LETTERS]
    total = world.one.curve.sum(*heard)
    if not total == held1.key(world.one.curve) == held2.key(world.two.curve):
        return held("the sum is another point")
    return Succeeds(f"the sum of {len(heard)} overheard points is the key of both devices")


_SHARE_LETTERS = frozenset({"Key request", "Key response", "Share of NM1", "Share of NM2"})


def _strings(data: bytes) -> Iterator[bytes]:
    """Yield every byte string that a datagram shows to who takes it apart, also inside its strings."""
    try:
        items = [cbor.decode(data, max_size=cbor.MAX_SIZE_LARGE)]
    except PeerFault:
        return
    while items:
        item = items.pop()
        if isinstance(item, list):
            items += item
        elif isinstance(item, dict):
            items += [*item, *item.values()]
        elif isinstance(item, bytes):
            yield item
            for inner in (item, item[:-16]):
                yield from _strings(inner)


def _points_on_air(suite: Suite, datagrams: list[bytes]) -> list[Point]:
    """Return every point that an eavesdropper can take out of datagrams, each once."""
    found: dict[Point, None] = {}
    for data in datagrams:
        for string in _strings(data):
            if len(string) in (suite.point_size, suite.point_size + 16):
                try:
                    found[suite.check(string[: suite.point_size])] = None
                except PeerFault:
                    continue
    return list(found)


def _sum_of_any_four(effort: Effort) -> Outcome:
    """Record a whole session; look for the shares, and add every four points that can be read off the air."""
    scene = meeting(effort)
    scene.open("d1", "d2")  # the managers know each other: what follows is the session alone
    mallory, suite = Mallory(scene), scene.suite
    mallory.hold(Keyreq.mt, source="d1")
    before = len(scene.sim.air)
    psid = scene.ask("d1", "d2")
    shares = true_shares(scene, mallory, psid)
    if not scene.sim.run_until(lambda: scene.ready("d1", psid) is not None, 60.0):
        return Fails("nothing", "the session did not open")
    S = suite.sum(*shares)
    recorded = [sent.data for sent in scene.sim.air[before:]]
    points = _points_on_air(suite, recorded)
    sums = 0
    for four in combinations(points, 4):
        sums += 1
        try:
            if suite.sum(*four) == S:
                return Succeeds(f"four of {len(points)} points on the air add up to S")
        except PeerFault:
            continue
    seen = sum(bytes(share) in data for share in shares for data in recorded)
    if seen:
        return Succeeds(f"{seen} shares stand in datagrams")
    return held(f"{len(points)} points in {len(recorded)} datagrams, none a share; none of {sums} sums of four is S")


# ------------------------------------------------------------------


def _three_of_four(effort: Effort) -> Outcome:
    """Follow the printed deliveries to the letter."""
    world = paper(effort, "A-02").introduced()
    held1, held2 = exchange_shares(world.one, world.two, world.nm1, world.nm2, world.air)
    lacking = [sorted(set(SHARES) - set(each.shares)) for each in (held1, held2)]
    if held1.key(world.one.curve) == held2.key(world.two.curve) or not all(lacking):
        return held("both hold the same key")
    return Succeeds(f"D1 lacks {lacking[0][0]}, D2 lacks {lacking[1][0]}: no common key, without any adversary")


def _completed(effort: Effort) -> Outcome:
    """Run the normal path and compare what both applications were given."""
    scene = meeting(effort)
    psid = scene.ask("d1", "d2")
    scene.sim.run_until(lambda: all(scene.ready(name, psid) for name in ("d1", "d2")), 60.0)
    one, other = scene.ready("d1", psid), scene.ready("d2", psid)
    if one is None or other is None:
        return Succeeds("the devices hold different shares: FIN does not verify, nobody gets a key")
    if one.keys != other.keys:
        return Succeeds("the devices hold different keys")
    return held(f"both hold all four shares and key_id {one.keys.key_id.hex()}")


# ------------------------------------------------------------------


def _chosen_key(effort: Effort) -> Outcome:
    """Speak last: choose aD2V2 = T - (the other three), twice, for one T."""
    T = paper(effort, "A-07 target").one.V
    keys = []
    for run in ("first", "second"):
        world = paper(effort, f"A-07 {run}").introduced()
        curve = world.one.curve
        others = [world.one.share(), world.nm1.share("D1"), world.nm2.share("D2")]
        keys.append(curve.sum(*others, curve.sub(T, curve.sum(*others))))
    return Succeeds("two sessions have the key that D2 chose before") if keys == [T, T] else held("the keys differ")


def _forced_sum(scene: Scene, target: Point) -> bytes | None:
    """Let insider d2 speak last in fast mode, where it knows the other three shares; return d1's key_id."""
    suite, mallory = scene.suite, Mallory(scene)
    mallory.hold(Keyreq.mt, source="d1")
    mallory.hold(Fin1.mt)
    psid = scene.ask("d1", "d2", fast=True)
    a3 = mallory.take(Keyreq.mt)
    cell = scene.session("d2", psid)
    assert isinstance(cell, AwaitA3)
    assert cell.shares is not None
    (half,) = cell.contexts
    aV = Point(half.channel.open("A/k3", Keyreq.decode(a3, sizes_of(suite.id)).ct))
    share = suite.sub(target, suite.sum(aV, cell.shares.own, cell.shares.foreign))
    channel = half.channel.add(a3)
    a4 = Keyresp(psid, channel.seal("A/k4", share)).encode()
    agreement = channel.add(a4).agree(target, cell.shares.kappa1, cell.shares.kappa2)
    mallory.send("d2", "d1", a4)
    fin1 = Fin1.decode(mallory.take(Fin1.mt), sizes_of(suite.id))
    if fin1.tag != agreement.fin(initiator=True):
        return None
    mallory.send("d2", "d1", Fin2(psid, agreement.fin(initiator=False)).encode())
    mallory.release()
    ready = scene.ready("d1", psid)
    return None if ready is None else ready.keys.key_id


def _forced_twice(effort: Effort) -> Outcome:
    """Force S to one and the same point in two sessions and compare the keys."""
    scene = meeting(effort)
    target = scene.suite.random_point(effort.entropy("A-07"))
    first, second = _forced_sum(scene, target), _forced_sum(scene, target)
    if first is None or second is None:
        return Fails("nothing", "S could not be forced")
    if first == second:
        return Succeeds(f"d2 chose the key: {first.hex()} in both sessions")
    return held(f"S is the same chosen point twice, the keys are {first.hex()} and {second.hex()}")


# ------------------------------------------------------------------


def _vanished_shares(effort: Effort) -> Outcome:
    """Send O for e_D and for W: the manager's V and its share become O."""
    world = paper(effort, "A-08", enrolled=False)

    def tamper(letter: Letter) -> Letter:
        if letter.name != "Points":
            return letter
        return Letter(letter.sender, letter.receiver, letter.name, {"W": None, "e_D": None})

    enrol(world.one, world.nm1, world.tampered(tamper).air)
    found, share = world.nm1.coordinator.register["D1"], world.nm1.share("D1")
    V: Affine = world.air.point("Contribution", "V")
    if (V, share) != (None, None) or world.air.point("Selection", "e_NM") != found.E1:
        return held("the manager contributes")
    return Succeeds("V = O, E1 = e_NM and every share of this manager is O")


def _vanishing_newcomer(field: str) -> Attempt:
    """Enrol with O for W (and d_D = 0, for which the proof is true) or for e_D."""

    def run(effort: Effort) -> Outcome:
        scene = meeting(effort, enrolled=False)
        newcomer = Newcomer(Mallory(scene), "nm1", identity("d1"), label(scene, "d1"), effort.entropy("A-08"))
        newcomer.join()
        reaction = newcomer.share(W=IDENTITY) if field == "W" else newcomer.share(e_D=IDENTITY)
        stopped = reaction.stopped()
        if stopped is not None:
            return Fails(stopped[0], stopped[1])
        newcomer.bind()
        claims = newcomer.registered()
        if claims is None:
            return Fails("nothing", "nobody was registered")
        if field == "W" and claims.E2 == IDENTITY:
            return Succeeds("registered with W = O: b·W is O in every session")
        if field == "e_D" and newcomer.e_NM == claims.E1:
            return Succeeds("registered with V = O: E1 = e_NM")
        return Fails("nothing", "the points were drawn anew")

    return Attempt(f"{field} = O in SHARE", "E_POINT", run)


def _vanishing_manager(effort: Effort) -> Outcome:
    """Answer a real device's SHARE with V = O."""
    scene = meeting(effort, enrolled=False)
    suite, entropy = scene.suite, effort.entropy("A-08")
    manager = FalseManager(Mallory(scene), "d1", label(scene, "d1"), entropy, suite, sizes_of(suite.id))
    manager.greet()
    manager.offer(suite.random_point(entropy))
    reaction = manager.vpt(IDENTITY)
    stopped = reaction.stopped()
    if stopped is not None:
        return Fails(stopped[0], f"VPT: {stopped[1]}")
    if Bind.mt in reaction.types():
        return Succeeds("the device binds itself to E1 = e_NM; its shares a·V will be O")
    return Fails("nothing", "no reaction")


def _vanishing_peer(effort: Effort) -> Outcome:
    """Answer A3 with an A4 that seals O."""
    scene = meeting(effort)
    mallory = Mallory(scene)
    mallory.hold(Keyreq.mt, source="d1")
    psid = scene.ask("d1", "d2")
    a3 = mallory.take(Keyreq.mt)
    cell = scene.session("d2", psid)
    assert isinstance(cell, AwaitA3)
    channel = cell.contexts[0].channel.add(a3)
    reaction = mallory.send("d2", "d1", Keyresp(psid, channel.seal("A/k4", IDENTITY)).encode())
    stopped = reaction.stopped()
    if stopped is not None:
        return Fails(stopped[0], f"A4: {stopped[1]}")
    if not isinstance(scene.session("d1", psid), AwaitA4 | None):
        return Succeeds("d1 goes on without a share of d2")
    return Fails("nothing", "no reaction")


def _vanishing_own_manager(effort: Effort) -> Outcome:
    """Let a rogue manager answer SHREQ with O for its own share."""
    scene = meeting(effort)
    mallory = Mallory(scene)
    psid = agreed_without_shares(scene, mallory)
    mallory.hold(Link.mt, source="nm1", target="d1")
    scene.sim.inject("d1", "nm1", mallory.take(Link.mt, source="d1"))
    scene.sim.run_for(0.5)
    cell = scene.session("nm1", psid)
    assert isinstance(cell, Register)
    assert cell.shares.foreign is not None
    answer = Shresp(psid, IDENTITY, cell.shares.foreign).encode()
    reaction = mallory.speaks_for("nm1", link_to_device(identity("d1")), answer)
    stopped = reaction.stopped()
    if stopped is not None:
        return Fails(stopped[0], f"SHRESP: {stopped[1]}")
    if Fin1.mt in reaction.types():
        return Succeeds("d1 computes S without a share of its own manager")
    return Fails("nothing", "no reaction")


def agreed_without_shares(scene: Scene, mallory: Mallory) -> bytes:
    """Bring d1 and d2 to where both wait for their managers' shares; SHREQs are held. Return the psid."""
    mallory.hold(Keyreq.mt, source="d1")
    psid = scene.ask("d1", "d2")
    a3 = mallory.take(Keyreq.mt)
    mallory.release()
    mallory.hold(Link.mt, source="d1")
    mallory.hold(Link.mt, source="d2")
    mallory.send("d1", "d2", a3)
    assert all(isinstance(scene.session(name, psid), AwaitShares) for name in ("d1", "d2"))
    return psid


# ------------------------------------------------------------------


def _shares_for_the_revoked(effort: Effort) -> Outcome:
    """Report two devices to their managers, then let them ask for shares as if nothing had been."""
    world = paper(effort, "A-25").introduced()
    for manager in (world.nm1, world.nm2):
        manager.sessions.clear()
    held1, held2 = exchange_shares(world.one, world.two, world.nm1, world.nm2, world.air, mended=True)
    if held1.key(world.one.curve) != held2.key(world.two.curve):
        return held("no key")
    return Succeeds("the managers hand out shares to devices whose sessions they were told to end")


def _revoked_before_shares(effort: Effort) -> Outcome:
    """Let d1 and d2 run A1 to A4, revoke both, and let them ask for their shares; they hear no revocation."""
    scene = meeting(effort)
    mallory = Mallory(scene)
    agreed_without_shares(scene, mallory)
    for manager, device in (("nm1", "d1"), ("nm2", "d2")):
        mallory.hold(Link.mt, source=manager, target=device)
        scene.sim.command(manager, enrolment_of(identity(device)), RevokeDevice(2))
    request = mallory.take(Link.mt, source="d1")
    scene.sim.run_for(0.1)
    mallory.release()
    reaction = mallory.watch("d1", lambda: scene.sim.inject("d1", "nm1", request), for_s=1.0)
    stopped = reaction.stopped()
    if stopped is not None:
        return Fails(stopped[0], f"SHREQ of a revoked device: {stopped[1]}")
    if Fin1.mt in reaction.types():
        return Succeeds("a revoked device was given both shares and sends FIN")
    return Fails("nothing", "no reaction")


ATTACKS = (
    Attack(
        "A-01",
        "Sum of the shares",
        "E",
        _sum_from_the_air,
        (Attempt("every four points on the air", "property", _sum_of_any_four),),
    ),
    Attack(
        "A-02",
        "A key that nobody can complete",
        "-",
        _three_of_four,
        (Attempt("normal path", "property", _completed),),
    ),
    Attack(
        "A-07",
        "Chosen key",
        "I",
        _chosen_key,
        (Attempt("S forced twice", "property", _forced_twice),),
    ),
    Attack(
        "A-08",
        "Vanishing shares",
        "I",
        _vanished_shares,
        (
            _vanishing_newcomer("W"),
            _vanishing_newcomer("e_D"),
            Attempt("V = O in VPT", "E_POINT", _vanishing_manager),
            Attempt("O in A4", "E_POINT", _vanishing_peer),
            Attempt("O in SHRESP", "E_POINT", _vanishing_own_manager),
        ),
    ),
    Attack(
        "A-25",
        "Shares without a live decision",
        "I",
        _shares_for_the_revoked,
        (Attempt("SHREQ after revocation", "E_NOSHARE", _revoked_before_shares),),
    ),
)
