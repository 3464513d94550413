"""Attacks on the mutual challenge: what it decrypts, and who answers it (A-03, A-03b, A-04, A-24)."""

import hashlib

from keymote.crypto.suite import Point, Suite
from keymote.engine.base import Received, Send
from keymote.engine.pairwise.schedule import Handshake, challenge, recover
from keymote.engine.pairwise.states import AwaitA1, AwaitA2
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held
from keymote.lab.attacks.impostors import answer_of
from keymote.lab.attacks.paper import paper
from keymote.lab.attacks.points import IDENTITY
from keymote.lab.attacks.stage import Mallory, meeting
from keymote.lab.published.pairwise import Letter, exchange_shares, random_point, random_scalar
from keymote.lab.published.weierstrass import Affine
from keymote.lab.scenes import Scene
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Auth1, Auth2, Keyreq

# ------------------------------------------------------------------


def _decryption_by_echo(effort: Effort) -> Outcome:
    """Blind a recorded challenge, let its addressee answer it, and read the nonce of the recorded one."""
    world = paper(effort, "A-03").introduced()
    assert world.one.peer is not None
    C1, C2, nonce = world.one.challenges(world.one.peer)
    curve, u = world.one.peer.curve, random_scalar(effort.entropy("A-03"))
    blinded = curve.add(C1, curve.mul(u, world.one.peer.E1)), curve.add(C2, curve.mul(u, world.one.peer.E2))
    echoed = world.two.recovers(*blinded)
    if blinded == (C1, C2) or echoed != nonce:
        return held("the echo is another point")
    return Succeeds("the blinded challenge looks new, its echo is the plaintext of the recorded one")


def _blinded(suite: Suite, a1: Auth1, cell: AwaitA2, effort: Effort, number: int) -> bytes:
    """Return A1 with (C1 + u E1, C2 + u E2): another ciphertext of the same nonce."""
    u = suite.random_scalar(effort.entropy(f"blind {number}"))
    parties = cell.parties
    C1 = suite.add(Point(a1.C1R), suite.mul(u, parties.E1))
    C2 = suite.add(Point(a1.C2R), suite.mul(u, parties.E2))
    return Auth1(a1.psid, suite.id, a1.X_I, C1, C2).encode()


def _called(scene: Scene, mallory: Mallory) -> tuple[bytes, Auth1, AwaitA2]:
    """Let d1 call d2 and keep A1 off the air; return psid, A1 and the state of d1."""
    mallory.hold(Auth1.mt, source="d1")
    psid = scene.ask("d1", "d2")
    a1 = Auth1.decode(mallory.take(Auth1.mt), sizes_of(scene.suite.id))
    cell = scene.session("d1", psid)
    assert isinstance(cell, AwaitA2)
    assert isinstance(scene.session("d2", psid), AwaitA1)
    return psid, a1, cell


def _adaptive_queries(effort: Effort) -> Outcome:
    """Ask d2 again and again about one nonce, each time from the same state, as if it had no limits."""
    scene = meeting(effort)
    psid, a1, cell = _called(scene, Mallory(scene))
    host, suite, entropy = scene.sim.hosts["d2"], scene.suite, effort.entropy("d2 answers")
    step, state, now = host.node.kinds["session"].step, scene.session("d2", psid), host.now(scene.sim.now)
    tags: set[bytes] = set()
    queries = effort.choose(150, 10_000)
    for number in range(queries):
        _, outputs = step(state, Received("mallory", _blinded(suite, a1, cell, effort, number)), now, entropy)
        (answer,) = (output.data for output in outputs if isinstance(output, Send))
        a2 = Auth2.decode(answer, sizes_of(suite.id))
        if bytes(cell.N_I) in answer or cell.N_I[: len(a2.tagR)] == a2.tagR:
            return Succeeds(f"answer {number + 1} holds the nonce of the recorded challenge")
        tags.add(a2.tagR)
    if len(tags) != queries:
        return Succeeds("a tag came twice: it depends on the nonce alone")
    return held(f"{queries} queries about one nonce: {len(tags)} different tags, the nonce in no answer")


# ------------------------------------------------------------------ A-03b


def _static_oracle(effort: Effort) -> Outcome:
    """Send (C1, O) with the C1 of a sealed box: the echo is -d·C1, and minus that opens the box, KDF or not."""
    world = paper(effort, "A-03b")
    found, entropy = world.nm2.coordinator.register["D2"], effort.entropy("A-03b")
    r = random_scalar(entropy)
    C1, Z = found.curve.mul(r, found.E1), found.curve.mul(r, found.E2)
    box = _boxed(Z, b"meter reading 21")
    opened = _boxed(found.curve.neg(world.two.recovers(C1, None)), box)
    return Succeeds(f"opened: {opened.decode()}") if opened == b"meter reading 21" else held("the box stays shut")


def _boxed(Z: Affine, data: bytes) -> bytes:
    """Encrypt or decrypt up to 32 bytes under a key derived from Z."""
    mask = hashlib.sha256(repr(Z).encode()).digest()
    return bytes(a ^ b for a, b in zip(data, mask, strict=False))


def _identity_challenge(effort: Effort) -> Outcome:
    """Call d2 with (P, O): an answer would be a function of d_D·P alone."""
    scene = meeting(effort)
    mallory, suite = Mallory(scene), scene.suite
    psid, a1, cell = _called(scene, mallory)
    P = suite.random_point(effort.entropy("A-03b"))
    asked = Auth1(psid, suite.id, a1.X_I, P, IDENTITY).encode()
    reaction = mallory.send("d1", "d2", asked)
    stopped, answer = reaction.stopped(), answer_of(reaction, Auth2.mt)
    if stopped is not None or answer is None:
        return Fails(*(stopped or ("nothing", "no answer")))
    a2, member, parties = Auth2.decode(answer, sizes_of(suite.id)), scene.membership("d2"), cell.parties
    assert member is not None
    started = Handshake.start(suite, "A/auth", psid, parties.digest_I, parties.digest_R, asked).answered(a2)
    raised = recover(suite, member.d, P, Point(IDENTITY))
    confirmed = started.tag(raised, suite.mul(cell.x_I, Point(a2.X_R))) == a2.tagR
    return Succeeds("tagR confirms -d_D·P for any P") if confirmed else Fails("nothing", "tagR is of another point")


# ------------------------------------------------------------------


def _relayed_challenge(effort: Effort) -> Outcome:
    """Be challenged in the name of d2, and let the real d2 answer in a run of one's own (Lowe)."""
    world = paper(effort, "A-04").introduced()
    assert world.one.peer is not None
    C1, C2, nonce = world.one.challenges(world.one.peer)
    own_run = world.air.carry("Mallory", "D2", "Challenge", C1=C1, C2=C2)
    answer = world.two.recovers(own_run.point("C1"), own_run.point("C2"))
    if answer != nonce:
        return held("the answer is another nonce")
    return Succeeds("D2 answered Mallory; the same nonce makes D1 take Mallory for D2")


def _relay_between_sessions(effort: Effort) -> Outcome:
    """Forward d1's A1 into Mallory's own session with d2, and the answer back."""
    scene = meeting(effort, homes={"d1": "nm1", "d2": "nm2", "d3": "nm1"})
    mallory = Mallory(scene)
    mallory.hold(Auth1.mt, source="d1")
    mallory.hold(Auth1.mt, source="d3")
    mallory.hold(Auth2.mt, source="d2")
    psid, own = scene.ask("d1", "d2"), scene.ask("d3", "d2")
    theirs = mallory.take(Auth1.mt, source="d1")
    mallory.take(Auth1.mt, source="d3")
    mallory.send("d3", "d2", theirs.replace(psid, own))
    answer = mallory.take(Auth2.mt)
    reaction = mallory.send("d2", "d1", answer.replace(own, psid))
    stopped = reaction.stopped()
    if stopped is not None:
        return Fails(stopped[0], f"forwarded answer: {stopped[1]}")
    if Keyreq.mt in reaction.types():
        return Succeeds("d1 takes the forwarded answer for d2's and sends its share")
    return Fails("nothing", "no reaction")


# ------------------------------------------------------------------


def _nothing_to_forge(effort: Effort) -> Outcome:
    """Let d2 answer the challenge, then send another share in its name: no word of the key phase is authenticated."""
    world = paper(effort, "A-24").introduced()
    if not world.authenticated():
        return held("d2 does not authenticate")
    own = random_point(world.one.curve, effort.entropy("A-24"))

    def tamper(letter: Letter) -> Letter:
        if letter.name != "Key response":
            return letter
        return Letter(letter.sender, letter.receiver, letter.name, {"share": own})

    held1, held2 = exchange_shares(world.one, world.two, world.nm1, world.nm2, world.tampered(tamper).air, mended=True)
    names = (("Key request", "share"), ("Key response", "share"), ("Share of NM1", "share"), ("Share of NM2", "share"))
    known = world.one.curve.sum(*[world.air.point(*name) for name in names])
    if held1.key(world.one.curve) != known or held1.shares["aD2V2"] != own or held2 is None:
        return held("the key is another one")
    return Succeeds("d1 authenticated d2 and shares its key with Mallory; not even d_D1 was needed")


def _impersonated_to_its_owner(effort: Effort) -> Outcome:
    """Know d_D1 and play d2 towards d1: answer A1 with every nonce that d_D1 can recover."""
    scene = meeting(effort)
    mallory, suite = Mallory(scene), scene.suite
    psid, a1, cell = _called(scene, mallory)
    leaked, entropy = scene.membership("d1"), effort.entropy("A-24")
    assert leaked is not None
    claims = leaked.credential.claims
    assert claims.E1 is not None
    assert claims.E2 is not None
    guesses = {
        "recovered with d_D1": recover(suite, leaked.d, Point(a1.C1R), Point(a1.C2R)),
        "C2 itself": Point(a1.C2R),
        "d_D1 E1 of d2": suite.mul(leaked.d, cell.parties.E1),
    }
    last = ("nothing", "no reaction")
    for N_I in guesses.values():
        x_R = suite.random_scalar(entropy)
        posed = challenge(suite, Point(claims.E1), Point(claims.E2), entropy)
        a2 = Auth2(psid, suite.base_mul(x_R), posed.C1, posed.C2, bytes(16))
        started = Handshake.start(suite, "A/auth", psid, leaked.credential.digest, cell.parties.digest_R, a1.encode())
        tag = started.answered(a2).tag(N_I, suite.mul(x_R, Point(a1.X_I)))
        reaction = mallory.send("d2", "d1", Auth2(psid, a2.X_R, a2.C1I, a2.C2I, tag).encode())
        if Keyreq.mt in reaction.types():
            return Succeeds("d1 takes Mallory for d2 and sends its share")
        last = reaction.stopped() or last
    return Fails(last[0], f"{len(guesses)} answers made with d_D1: {last[1]}")


ATTACKS = (
    Attack(
        "A-03",
        "Decryption oracle",
        "M",
        _decryption_by_echo,
        (Attempt("adaptive queries", "property", _adaptive_queries),),
    ),
    Attack(
        "A-03b",
        "Static Diffie-Hellman oracle",
        "M",
        _static_oracle,
        (Attempt("challenge (P, O)", "E_POINT", _identity_challenge),),
    ),
    Attack(
        "A-04",
        "Relayed challenge",
        "M",
        _relayed_challenge,
        (Attempt("answer from another session", "E_AUTH", _relay_between_sessions),),
    ),
    Attack(
        "A-24",
        "Impersonation towards the leaked key's owner",
        "L",
        _nothing_to_forge,
        (Attempt("answers made with d_D1", "E_AUTH", _impersonated_to_its_owner),),
    ),
)
