"""Attacks with revocations: forge one, replay one, lie in one (A-17)."""

from keymote import cbor
from keymote.crypto.suite import Suite
from keymote.engine.faces import RevokeSession, session_of
from keymote.engine.link_cell import LinkCell
from keymote.engine.link_faces import link_to_device
from keymote.engine.pairwise.register import Dead, Register
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held
from keymote.lab.attacks.paper import paper
from keymote.lab.attacks.stage import Mallory, meeting, type_of
from keymote.lab.scenes import Scene, identity
from keymote.wire.enrolment import Error
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Link, Revnote, Revoke
from keymote.wire.registry import peek


def _anybody_revokes(effort: Effort) -> Outcome:
    """Send the revocation message of 3.4.4 in a device's name: nothing authenticates it."""
    world = paper(effort, "A-17").introduced()
    before = {manager.name: len(manager.sessions) for manager in (world.nm1, world.nm2)}
    for manager in (world.nm1, world.nm2):
        letter = world.air.carry("Mallory", manager.name, "Revocation", names=("D1", "D2"))
        manager.hears_revocation(letter)
    if not all(before.values()) or world.nm1.sessions or world.nm2.sessions:
        return held("the session is still there")
    return Succeeds("both managers end the session on a stranger's word")


def _last_record(scene: Scene) -> Link:
    """Return the last LINK record that d1 sent to its manager."""
    data = [
        sent.data
        for sent in scene.sim.air
        if (sent.source, sent.target) == ("d1", "nm1") and type_of(sent.data) == Link.mt
    ][-1]
    return Link.decode(data, sizes_of(scene.suite.id))


def _forged(effort: Effort) -> Outcome:
    """Forge the next LINK record of d1, its pseudonym and number taken from the air, with a REVOKE in it."""
    scene = meeting(effort)
    mallory = Mallory(scene)
    psid = scene.open("d1", "d2")
    assert isinstance(scene.session("nm1", psid), Register)
    seen = _last_record(scene)
    body = Revoke(psid, bytes(8), 2, bytes(8), 1_000).encode()
    forged = Link(seen.lid, seen.le, seen.seq + 1, body + bytes(16)).encode()
    reaction = mallory.send("d1", "nm1", forged)
    stopped = reaction.stopped()
    if stopped is not None:
        return Fails(stopped[0], f"LINK: {stopped[1]}")
    if isinstance(scene.session("nm1", psid), Dead):
        return Succeeds("the manager ends the session on a forged report")
    return Fails("nothing", "no reaction")


def _body_for_d1(scene: Scene, suite: Suite, record: bytes) -> bytes:
    """Read, as the judge, what nm1 says to d1 in a record."""
    link = scene.sim.hosts["nm1"].cells[link_to_device(identity("d1"))]
    assert isinstance(link, LinkCell)
    said = Link.decode(record, sizes_of(suite.id))
    aad = cbor.encode_array("TRIAD1", Link.mt, suite.id, link.end.field_id, said.le, 1, said.seq)
    return suite.open_record(link.keys.send, said.seq, aad, said.ct)


def _replayed(effort: Effort) -> Outcome:
    """Replay the record in which d1 once revoked a session: does the manager act on it again?"""
    scene = meeting(effort)
    mallory, suite = Mallory(scene), scene.suite
    psid = scene.open("d1", "d2")
    scene.sim.command("d1", session_of(psid), RevokeSession(1))
    scene.sim.run_for(1.0)
    assert isinstance(scene.session("nm1", psid), Dead)
    record = _last_record(scene).encode()
    reaction = mallory.send("d1", "nm1", record)
    stopped = reaction.stopped()
    if stopped is not None:
        return Fails(stopped[0], f"LINK: {stopped[1]}")
    for sent in reaction.sent:
        body = _body_for_d1(scene, suite, sent)
        mt, _ = peek(body)
        if mt == Revnote.mt:
            return Succeeds("the manager acts on the old report once more and sends its note again")
        if mt == Error.mt:
            return Fails(f"code {Error.decode(body, sizes_of(suite.id)).code}", "refused inside LINK")
    return Fails("nothing", "no reaction")


def _liar(effort: Effort) -> Outcome:
    """Let d1 accuse the honest d2: the session ends at once, d2's credential must not."""
    scene = meeting(effort)
    psid = scene.open("d1", "d2")
    scene.sim.command("d1", session_of(psid), RevokeSession(2))
    scene.sim.run_for(1.0)
    ended = isinstance(scene.session("nm2", psid), Dead) and scene.session("d2", psid) is None
    if not ended:
        return Fails("nothing", "the report did not end the session")
    again = scene.ask("d1", "d2")
    if scene.sim.run_until(lambda: scene.ready("d2", again) is not None, 30.0):
        return held("one report ends that session at all four parties; d2 keeps its credential and opens the next one")
    return Succeeds("one liar has evicted an honest device")


ATTACKS = (
    Attack(
        "A-17",
        "Abuse of revocation",
        "M",
        _anybody_revokes,
        (
            Attempt("forged report", "E_AUTH", _forged),
            Attempt("replayed report", "E_REPLAY", _replayed),
            Attempt("lying report", "property", _liar),
        ),
    ),
)
