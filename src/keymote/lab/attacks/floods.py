"""Attacks by numbers: JOINs, calls, forged records (A-21, A-22, A-27)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from keymote.crypto.metered import MeteredSuite
from keymote.crypto.suite import Point
from keymote.engine.context import RegistrarPolicy
from keymote.engine.faces import Opened
from keymote.engine.pairwise.states import AwaitA1, Open
from keymote.errors import ErrorCode
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held
from keymote.lab.attacks.impostors import hello_of
from keymote.lab.attacks.paper import paper
from keymote.lab.attacks.stage import Mallory, expect, label, meeting, type_of
from keymote.lab.published.pairwise import random_point
from keymote.lab.scenes import Scene, identity
from keymote.wire.enrolment import Cookie, Hello, Join
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Auth1, Srec

MULTIPLICATIONS: Final = ("mul", "base_mul")


def _metered_manager(scene: Scene, name: str, policy: RegistrarPolicy) -> MeteredSuite:
    """Let a manager count its operations, under this policy, from a restart on."""
    suite = MeteredSuite(scene.suite)
    scene.managers[name] = replace(scene.managers[name], suites={suite.id: suite}, policy=policy)
    scene.sim.reboot(name)
    return suite


def _metered_device(scene: Scene, name: str) -> MeteredSuite:
    suite = MeteredSuite(scene.suite)
    scene.devices[name] = replace(scene.devices[name], suite=suite)
    scene.sim.reboot(name)
    return suite


def _multiplied(suite: MeteredSuite) -> int:
    return sum(suite.counts[name] for name in MULTIPLICATIONS)


# ------------------------------------------------------------------


def _computed_for_each(effort: Effort) -> Outcome:
    """Repeat one overheard joining message under a thousand addresses: the manager multiplies for each."""
    world = paper(effort, "A-21")
    calls, entropy = effort.choose(20, 200), effort.entropy("A-21")
    computed = 0
    for _ in range(calls):
        if world.nm1.welcomes("D1", world.one.code):
            curve, e_NM = world.nm1.selects()
            V, _ = world.nm1.contributes(e_NM, random_point(curve, entropy))
            computed += V is not None
    if computed != calls:
        return held(f"{computed} of {calls} were computed")
    return Succeeds(f"{calls} spoofed joining messages: {computed} multiplications of the manager, no end to it")


def _junk_joins(mallory: Mallory, effort: Effort, name: str, count: int, *, cookie: bool) -> Iterator[bytes]:
    """Yield JOINs in a device's name with points of their own."""
    suite, entropy = mallory.scene.suite, effort.entropy(f"junk {name}")
    hello = Hello.decode(hello_of(mallory, "nm1"), sizes_of(1))
    Y_D: Point = suite.random_point(entropy)
    for _ in range(count):
        forged = entropy.draw(16) if cookie else None
        yield Join(suite.id, identity(name), hello.hello_n[:8], Y_D, forged).encode()


def _flood(scene: Scene, joins: Iterator[bytes], source: str) -> None:
    """Send JOINs within one moment; `*` in the source stands for a number."""
    for number, join in enumerate(joins):
        scene.sim.inject(source.replace("*", str(number)), "nm1", join)
    scene.sim.run_for(0.01)


def _spoofed_joins(effort: Effort) -> Outcome:
    """Flood a manager from spoofed sources, then call with cookies of one's own making; an honest device enrols meanwhile."""
    scene = meeting(effort, homes={"d1": "nm1", "d2": "nm1", "d3": "nm1"}, enrolled=False)
    mallory = Mallory(scene)
    suite = _metered_manager(scene, "nm1", RegistrarPolicy())
    for name in ("d2", "d3"):
        expect(scene, name, b"label of " + name.encode())
    flood = effort.choose(1_000, 10_000)
    _flood(scene, _junk_joins(mallory, effort, "d3", flood, cookie=False), "spoofed *")
    asked = sum(type_of(sent.data) == Cookie.mt for sent in scene.sim.air)
    for_the_flood = _multiplied(suite)
    suite.counts.clear()
    _flood(scene, _junk_joins(mallory, effort, "d2", 20, cookie=True), "guessing *")
    computed = _multiplied(suite)
    if computed:
        return Succeeds(f"{computed} multiplications for sources that never got a cookie")
    host = scene.sim.hosts["nm1"]
    codes = {code for (kind, code) in host.refused if kind == "gate"}
    began = scene.sim.now
    _flood(scene, _junk_joins(mallory, effort, "d3", 300, cookie=False), "again *")
    label(scene, "d1")
    scene.greet("d1")
    if not scene.sim.run_until(lambda: scene.membership("d1") is not None, 5.0):
        return Succeeds("the honest device does not enrol within 5 s")
    if ErrorCode.E_COOKIE not in codes:
        return Fails("nothing", "cookies were not looked at")
    return Fails(
        ErrorCode.E_COOKIE.name,
        f"{flood} JOINs: {asked} cookies, {for_the_flood} multiplications in all; 20 forged cookies: 0; "
        f"an honest device enrols in {scene.sim.now - began:.1f} s amid 300 more",
    )


def _one_source(effort: Effort) -> Outcome:
    """Join under many names from one source within a minute."""
    names = [f"d{number}" for number in range(1, 13)]
    scene = meeting(effort, homes=dict.fromkeys(names, "nm1"), enrolled=False)
    mallory = Mallory(scene)
    policy = RegistrarPolicy()
    suite = _metered_manager(scene, "nm1", policy)
    for name in names:
        expect(scene, name, b"label of " + name.encode())
    last: tuple[str, str] | None = None
    answered = 0
    for name in names:
        (join,) = _junk_joins(mallory, effort, name, 1, cookie=False)
        reaction = mallory.send("one source", "nm1", join)
        last = reaction.stopped() or last
        answered += bool(reaction.sent)
    if answered > policy.joins_per_source_per_min:
        return Succeeds(f"{answered} runs computed for one source within seconds, {_multiplied(suite)} multiplications")
    if last is None:
        return Fails("nothing", "no refusal")
    return Fails(last[0], f"{answered} of {len(names)} JOINs answered, then: {last[1]}")


# ------------------------------------------------------------------


def _called_by(scene: Scene, mallory: Mallory) -> tuple[bytes, Auth1]:
    """Announce a session to d2 and keep d1's call."""
    mallory.hold(Auth1.mt, source="d1")
    psid = scene.ask("d1", "d2")
    a1 = Auth1.decode(mallory.take(Auth1.mt, within_s=10.0), sizes_of(scene.suite.id))
    assert scene.sim.run_until(lambda: isinstance(scene.session("d2", psid), AwaitA1), 10.0)
    return psid, a1


def _guessed_sessions(effort: Effort) -> Outcome:
    """Call d2 under psids that nobody announced, while one that somebody did is waiting."""
    scene = meeting(effort)
    mallory = Mallory(scene)
    suite, calls, entropy = _metered_device(scene, "d2"), effort.choose(200, 10_000), effort.entropy("A-22")
    _, a1 = _called_by(scene, mallory)
    before = _multiplied(suite)
    codes: set[str] = set()
    for _ in range(calls):
        reaction = mallory.send("d1", "d2", replace(a1, psid=entropy.draw(8)).encode())
        codes.update(refusal.code.name for refusal in reaction.refusals)
    computed = _multiplied(suite) - before
    if computed:
        return Succeeds(f"{computed} multiplications for {calls} guesses")
    (code,) = codes or {"nothing"}
    return Fails(code, f"{calls} guessed psids: 0 multiplications, no context")


def _variants(scene: Scene, a1: Auth1, count: int, effort: Effort) -> Iterator[bytes]:
    """Yield calls like a1 with other ephemerals."""
    entropy = effort.entropy("variants")
    for _ in range(count):
        yield replace(a1, X_I=scene.suite.random_point(entropy)).encode()


def _contexts_of_one(effort: Effort) -> Outcome:
    """Call d2 four times under one announced psid, each time with another A1."""
    scene = meeting(effort)
    mallory = Mallory(scene)
    psid, a1 = _called_by(scene, mallory)
    reactions = [mallory.send("d1", "d2", call) for call in _variants(scene, a1, 4, effort)]
    kept = len(scene.session("d2", psid).contexts)
    stopped = reactions[-1].stopped()
    if stopped is None:
        return Succeeds(f"{kept} half-open contexts for one psid")
    return Fails(stopped[0], f"{kept} contexts, the fourth call: {stopped[1]}")


def _contexts_in_all(effort: Effort) -> Outcome:
    """Call d2 under three announced psids, three times each."""
    scene = meeting(effort)
    mallory = Mallory(scene)
    stopped, kept = None, 0
    for _ in range(3):
        psid, a1 = _called_by(scene, mallory)
        reactions = [mallory.send("d1", "d2", call) for call in _variants(scene, a1, 3, effort)]
        stopped = reactions[-1].stopped()
        kept += len(scene.session("d2", psid).contexts)
    if stopped is None:
        return Succeeds(f"{kept} half-open contexts at one device")
    return Fails(stopped[0], f"{kept} contexts in all, the ninth call: {stopped[1]}")


# ------------------------------------------------------------------


def _forged_records(effort: Effort) -> Outcome:
    """Throw forged records at an open session until a handshake would have given up."""
    scene = meeting(effort)
    mallory, entropy = Mallory(scene), effort.entropy("A-27")
    psid = scene.open("d1", "d2")
    forgeries = effort.choose(17, 2_000)
    for number in range(forgeries):
        mallory.send("d1", "d2", Srec(psid, 1000 + number, entropy.draw(32)).encode())
    cell = scene.session("d2", psid)
    scene.say("d1", "d2", psid, b"still here")
    scene.sim.run_for(1.0)
    opened = [report.plaintext for report in scene.sim.heard("d2", Opened)]
    if opened != [b"still here"] or not isinstance(cell, Open):
        return Succeeds(f"{forgeries} forged records ended the session")
    return held(f"{forgeries} forged records are counted ({cell.failures}); the next true one is opened")


ATTACKS = (
    Attack(
        "A-21",
        "Flood of JOINs",
        "M",
        _computed_for_each,
        (
            Attempt("spoofed sources", "E_COOKIE", _spoofed_joins),
            Attempt("one source", "E_LIMIT", _one_source),
        ),
    ),
    Attack(
        "A-22",
        "Flood of calls",
        "M",
        None,
        (
            Attempt("guessed psids", "E_UNKNOWN_ID", _guessed_sessions),
            Attempt("contexts of one psid", "E_LIMIT", _contexts_of_one),
            Attempt("contexts in all", "E_LIMIT", _contexts_in_all),
        ),
    ),
    Attack(
        "A-27",
        "Forged records end a session",
        "M",
        None,
        (Attempt("more than sixteen forged SREC", "property", _forged_records),),
    ),
)
