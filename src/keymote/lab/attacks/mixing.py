"""Attacks that put a message where it does not belong: another time, another session, another name (A-15, 16, 18, 19)."""

from dataclasses import replace

from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point
from keymote.engine.faces import CloseSession, session_of
from keymote.engine.link_faces import OWN_LINK, link_to_device
from keymote.engine.pairwise.register import Register
from keymote.engine.pairwise.schedule import Handshake, challenge, recover
from keymote.engine.pairwise.states import AwaitA3, AwaitFin, AwaitShares
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held
from keymote.lab.attacks.impostors import answer_of
from keymote.lab.attacks.paper import paper
from keymote.lab.attacks.stage import Mallory, Reaction, meeting, type_of
from keymote.lab.published.pairwise import Device, Letter, authenticate, enrol, exchange_shares, introduce
from keymote.lab.scenes import Scene, identity
from keymote.wire.credential import issue
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Auth1, Auth2, Close, Fin1, Keyreq, Keyresp, Link, Peercred, Shresp

THREE = {"d1": "nm1", "d2": "nm2", "d3": "nm2"}


def _judged(reaction: Reaction, reached: bool, evidence: str, at: str = "") -> Outcome:
    """Return what a reaction means when the adversary wants `reached`."""
    if reached:
        return Succeeds(evidence)
    name, what = reaction.stopped() or ("nothing", "no reaction")
    return Fails(name, at + what)


# ------------------------------------------------------------------


def _old_key_revived(effort: Effort) -> Outcome:
    """Replay the four shares of an earlier session into a later one: requests carry no freshness."""
    world = paper(effort, "A-15").introduced()
    held1, _ = exchange_shares(world.one, world.two, world.nm1, world.nm2, world.air, mended=True)
    old = {letter.name: letter.fields for letter in world.air.heard if "share" in letter.fields}

    def tamper(letter: Letter) -> Letter:
        return replace(letter, fields=old[letter.name]) if letter.name in old else letter

    again, other = exchange_shares(world.one, world.two, world.nm1, world.nm2, world.tampered(tamper).air, mended=True)
    key = held1.key(world.one.curve)
    taken = {name: share for name, share in again.shares.items() if share == held1.shares[name]}
    if len(taken) < 3 or other.shares["aD1V1"] != held1.shares["aD1V1"]:
        return held("the old shares are not taken")
    revived = again.key(world.one.curve) == key
    return Succeeds(f"{len(taken)} old shares taken for new ones" + ("; the old key is revived" if revived else ""))


def _old_call(*, reboot: bool) -> Attempt:
    """Replay A1 of a session that is closed, or that d2 lost by a reboot."""

    def run(effort: Effort) -> Outcome:
        scene = meeting(effort)
        mallory = Mallory(scene)
        psid = scene.open("d1", "d2")
        a1 = next(sent.data for sent in scene.sim.air if sent.source == "d1" and type_of(sent.data) == Auth1.mt)
        if reboot:
            scene.sim.reboot("d2")
        else:
            scene.sim.command("d1", session_of(psid), CloseSession())
            scene.sim.run_for(1.0)
        reaction = mallory.send("d1", "d2", a1)
        return _judged(reaction, answer_of(reaction, Auth2.mt) is not None, "d2 answers a call of a dead session")

    return Attempt("A1 after a reboot" if reboot else "A1 after CLOSE", "E_UNKNOWN_ID", run)


def _old_share(effort: Effort) -> Outcome:
    """Deliver A3 of an old session in a new one, under the new psid."""
    scene = meeting(effort)
    mallory = Mallory(scene)
    old = scene.open("d1", "d2")
    a3 = [sent.data for sent in scene.sim.air if sent.source == "d1" and type_of(sent.data) == Keyreq.mt][-1]
    mallory.hold(Keyreq.mt, source="d1")
    psid = scene.ask("d1", "d2")
    mallory.take(Keyreq.mt)
    assert isinstance(scene.session("d2", psid), AwaitA3)
    reaction = mallory.send("d1", "d2", a3.replace(old, psid))
    return _judged(reaction, Keyresp.mt in reaction.types(), "d2 takes a share of an old session")


def _old_fin(effort: Effort) -> Outcome:
    """Deliver FIN1 of an old session in a new one, under the new psid."""
    scene = meeting(effort)
    mallory = Mallory(scene)
    old = scene.open("d1", "d2")
    fin = next(sent.data for sent in scene.sim.air if type_of(sent.data) == Fin1.mt)
    mallory.hold(Fin1.mt)
    psid = scene.ask("d1", "d2")
    mallory.take(Fin1.mt)
    scene.sim.run_until(lambda: isinstance(scene.session("d2", psid), AwaitFin), 1.0)
    reaction = mallory.send("d1", "d2", fin.replace(old, psid))
    return _judged(reaction, scene.ready("d2", psid) is not None, "d2 opens on the FIN of an old session")


def _old_close(effort: Effort) -> Outcome:
    """Deliver CLOSE of an old session in a new one, under the new psid."""
    scene = meeting(effort)
    mallory = Mallory(scene)
    old = scene.open("d1", "d2")
    scene.sim.command("d1", session_of(old), CloseSession())
    scene.sim.run_for(1.0)
    close = next(sent.data for sent in scene.sim.air if type_of(sent.data) == Close.mt)
    psid = scene.open("d1", "d2")
    reaction = mallory.send("d1", "d2", close.replace(old, psid))
    return _judged(reaction, scene.session("d2", psid) is None, "d2 closes a session on the word of an older one")


def _old_record(source: str, target: str) -> Attempt:
    """Replay the last LINK record of a session's making: the device's SHREQ, or its manager's SHRESP."""

    def run(effort: Effort) -> Outcome:
        scene = meeting(effort)
        mallory = Mallory(scene)
        scene.open("d1", "d2")
        heard = [sent.data for sent in scene.sim.air if (sent.source, sent.target) == (source, target)]
        record = [data for data in heard if type_of(data) == Link.mt][-1]
        cells, link = scene.sim.hosts[target].cells, OWN_LINK if target == "d1" else link_to_device(identity("d1"))
        before = cells[link]
        reaction = mallory.send(source, target, record)
        taken = cells[link] is not before
        return _judged(reaction, taken, "a request or share of the past is taken for a new one", "LINK: ")

    return Attempt("SHREQ again" if source == "d1" else "SHRESP again", "E_REPLAY", run)


# ------------------------------------------------------------------


def _swapped_credentials(effort: Effort) -> Outcome:
    """Replace d2's (E1, E2) in the message that hands them to d1."""
    world = paper(effort, "A-16")
    mallory = Device("M", b"any", effort.entropy("A-16"))
    world.nm1.codes["M"] = mallory.code
    enrol(mallory, world.nm1, world.air)
    own = world.nm1.coordinator.register["M"]

    def tamper(letter: Letter) -> Letter:
        if (letter.name, letter.receiver) != ("Credentials", "D1"):
            return letter
        return replace(letter, fields={"E1": own.E1, "E2": own.E2})

    introduce(world.one, world.two, world.nm1, world.nm2, world.tampered(tamper).air)
    if not authenticate(world.one, mallory, world.air):
        return held("Mallory is not taken for d2")
    return Succeeds("D1 authenticates Mallory as D2")


def _forged_by_own_manager(effort: Effort) -> Outcome:
    """Let rogue nm1 hand d1 a credential for d2 with Mallory's keys, signed by the only key that it has: its own."""
    scene = meeting(effort)
    mallory, suite, entropy = Mallory(scene), scene.suite, effort.entropy("A-16")
    d_M, E1 = suite.random_scalar(entropy), suite.random_point(entropy)
    true = scene.membership("d2")
    assert true is not None
    E2, key = suite.mul(d_M, E1), suite.generate_signing_key(entropy)
    claims = replace(true.credential.claims, E1=E1, E2=E2, sig_pk=key.public)
    forged = issue(scene.managers["nm1"].signing, claims)
    psid = _introduced_by_rogue(scene, mallory, "d2")
    body = Peercred(psid, 1, forged.raw, *_chain(scene, "nm2")).encode()
    reaction = mallory.speaks_for("nm1", link_to_device(identity("d1")), body)
    call = answer_of(reaction, Auth1.mt)
    if call is None:
        return _judged(reaction, False, "", "PEERCRED: ")
    reaction = mallory.send("d2", "d1", _answered_by(scene, psid, call, d_M, forged.digest, effort))
    return _judged(reaction, Keyreq.mt in reaction.types(), "d1 authenticates Mallory as d2 and sends its share")


def _introduced_by_rogue(scene: Scene, mallory: Mallory, peer: str) -> bytes:
    """Let d1 ask for `peer`, and keep what its manager's honest engine answers."""
    mallory.hold(Link.mt, source="nm1")
    psid = scene.ask("d1", peer)
    scene.sim.run_for(0.5)
    return psid


def _chain(scene: Scene, manager: str) -> tuple[bytes, bytes]:
    cred_NM, cred_NC = scene.managers[manager].chain[:2]
    return cred_NM, cred_NC


def _answered_by(scene: Scene, psid: bytes, call: bytes, d_M: Secret, digest_R: bytes, effort: Effort) -> bytes:
    """Return the A2 of somebody whose private key is d_M."""
    suite, entropy, own = scene.suite, effort.entropy("answer"), scene.membership("d1")
    assert own is not None
    claims = own.credential.claims
    assert claims.E1 is not None
    assert claims.E2 is not None
    a1 = Auth1.decode(call, sizes_of(suite.id))
    N_I = recover(suite, d_M, Point(a1.C1R), Point(a1.C2R))
    x_R, posed = suite.random_scalar(entropy), challenge(suite, Point(claims.E1), Point(claims.E2), entropy)
    a2 = Auth2(psid, suite.base_mul(x_R), posed.C1, posed.C2, bytes(16))
    handshake = Handshake.start(suite, "A/auth", psid, own.credential.digest, digest_R, call).answered(a2)
    return replace(a2, tagR=handshake.tag(N_I, suite.mul(x_R, Point(a1.X_I)))).encode()


def _other_device(effort: Effort) -> Outcome:
    """Let rogue nm1 hand d1 the true credential of d3 when it asked for d2."""
    scene = meeting(effort, homes=THREE)
    mallory, other = Mallory(scene), scene.membership("d3")
    assert other is not None
    psid = _introduced_by_rogue(scene, mallory, "d2")
    body = Peercred(psid, 1, other.credential.raw, *_chain(scene, "nm2")).encode()
    reaction = mallory.speaks_for("nm1", link_to_device(identity("d1")), body)
    return _judged(reaction, Auth1.mt in reaction.types(), "d1 calls d3 and believes that it is d2", "PEERCRED: ")


# ------------------------------------------------------------------


def _crossed_shares(effort: Effort) -> Outcome:
    """Interleave D1's sessions with D2 and D3 and deliver D3's share in D2's: nothing names a session."""
    world = paper(effort, "A-18")
    three = Device("D3", b"code of D3", effort.entropy("A-18"))
    world.nm2.codes["D3"] = three.code
    enrol(three, world.nm2, world.air)
    stray = three.share()

    def tamper(letter: Letter) -> Letter:
        return replace(letter, fields={"share": stray}) if letter.name == "Key response" else letter

    world.introduced().tampered(tamper)
    held1, _ = exchange_shares(world.one, world.two, world.nm1, world.nm2, world.air, mended=True)
    if held1.shares["aD2V2"] != stray:
        return held("the share of D3 is refused")
    return Succeeds("D1 takes D3's share for D2's: a key that it attributes to the wrong device")


def _crossed_answer(effort: Effort) -> Outcome:
    """Deliver d2's answer in d1's session with d3."""
    scene = meeting(effort, homes=THREE)
    mallory = Mallory(scene)
    mallory.hold(Auth2.mt, source="d2")
    mallory.hold(Auth2.mt, source="d3")
    with_d2, with_d3 = scene.ask("d1", "d2"), scene.ask("d1", "d3")
    answer = mallory.take(Auth2.mt, source="d2")
    mallory.take(Auth2.mt, source="d3")
    reaction = mallory.send("d3", "d1", answer.replace(with_d2, with_d3))
    return _judged(reaction, Keyreq.mt in reaction.types(), "d1 takes d2's answer for d3's", "A2: ")


def _crossed_share(effort: Effort) -> Outcome:
    """Let rogue nm1 hand d1 the share of its session with d2 in that with d3."""
    scene = meeting(effort, homes=THREE)
    mallory = Mallory(scene)
    with_d2 = scene.open("d1", "d2")
    source = scene.session("nm1", with_d2)
    assert isinstance(source, Register)
    assert source.shares.foreign is not None
    mallory.hold(Keyreq.mt, source="d1")
    with_d3 = scene.ask("d1", "d3")
    a3 = mallory.take(Keyreq.mt)
    mallory.release()
    mallory.hold(Link.mt, source="d1")
    mallory.send("d1", "d3", a3)
    assert isinstance(scene.session("d1", with_d3), AwaitShares)
    own = scene.suite.random_point(effort.entropy("A-18"))
    body = Shresp(with_d3, own, source.shares.foreign).encode()
    reaction = mallory.speaks_for("nm1", link_to_device(identity("d1")), body)
    taken = Fin1.mt in reaction.types()
    return _judged(reaction, taken, "d1 takes nm2's share for d2 into its key with d3", "SHRESP: ")


# ------------------------------------------------------------------


def _reflected(effort: Effort) -> Outcome:
    """Hand D1 its own credentials as the peer's and its own challenge back: it authenticates itself."""
    world = paper(effort, "A-19")
    own = world.nm1.coordinator.register["D1"]

    def tamper(letter: Letter) -> Letter:
        if (letter.name, letter.receiver) != ("Credentials", "D1"):
            return letter
        return replace(letter, fields={"E1": own.E1, "E2": own.E2})

    introduce(world.one, world.two, world.nm1, world.nm2, world.tampered(tamper).air)
    if not authenticate(world.one, world.one, world.air):
        return held("the reflected challenge is not answered")
    return Succeeds("D1 answers its own challenge and believes that D2 did")


def _with_itself(effort: Effort) -> Outcome:
    """Let rogue nm1 introduce d1 to d1."""
    scene = meeting(effort)
    mallory, own = Mallory(scene), scene.membership("d1")
    assert own is not None
    psid = _introduced_by_rogue(scene, mallory, "d1")
    body = Peercred(psid, 1, own.credential.raw, *_chain(scene, "nm1")).encode()
    reaction = mallory.speaks_for("nm1", link_to_device(identity("d1")), body)
    return _judged(reaction, Auth1.mt in reaction.types(), "d1 opens a session with itself", "PEERCRED: ")


def _reflected_call(effort: Effort) -> Outcome:
    """Send A1 back to its sender."""
    scene = meeting(effort)
    mallory = Mallory(scene)
    mallory.hold(Auth1.mt, source="d1")
    scene.ask("d1", "d2")
    reaction = mallory.send("d2", "d1", mallory.take(Auth1.mt))
    return _judged(reaction, Auth2.mt in reaction.types(), "d1 answers its own call", "A1: ")


def _reflected_challenge(effort: Effort) -> Outcome:
    """Turn d1's own A1 into an A2 for d1."""
    scene = meeting(effort)
    mallory = Mallory(scene)
    mallory.hold(Auth1.mt, source="d1")
    psid = scene.ask("d1", "d2")
    a1 = Auth1.decode(mallory.take(Auth1.mt), sizes_of(scene.suite.id))
    a2 = Auth2(psid, a1.X_I, a1.C1R, a1.C2R, sha256(a1.encode())[:16])
    reaction = mallory.send("d2", "d1", a2.encode())
    return _judged(reaction, Keyreq.mt in reaction.types(), "d1 takes its own challenge for d2's answer", "A2: ")


ATTACKS = (
    Attack(
        "A-15",
        "Replay into another session",
        "M",
        _old_key_revived,
        (
            _old_call(reboot=False),
            _old_call(reboot=True),
            Attempt("old A3 in a new session", "E_AUTH", _old_share),
            Attempt("old FIN1 in a new session", "E_AUTH", _old_fin),
            Attempt("old CLOSE in a new session", "E_AUTH", _old_close),
            _old_record("d1", "nm1"),
            _old_record("nm1", "d1"),
        ),
    ),
    Attack(
        "A-16",
        "Credential exchanged on the way",
        "N",
        _swapped_credentials,
        (
            Attempt("forged by the own manager", "E_CRED", _forged_by_own_manager),
            Attempt("credential of another device", "E_CRED", _other_device),
        ),
    ),
    Attack(
        "A-18",
        "Sessions mixed up",
        "M",
        _crossed_shares,
        (
            Attempt("answer of another session", "E_AUTH", _crossed_answer),
            Attempt("share of another session", "E_AUTH", _crossed_share),
        ),
    ),
    Attack(
        "A-19",
        "Reflection",
        "M",
        _reflected,
        (
            Attempt("introduced to itself", "E_STATE", _with_itself),
            Attempt("A1 reflected", "E_STATE", _reflected_call),
            Attempt("A1 turned into A2", "E_AUTH", _reflected_challenge),
        ),
    ),
)
