"""Attacks on the one-time code: read it, guess it, use it twice (A-10, A-11, A-23)."""

import hmac
from typing import Final

from keymote import cbor
from keymote.crypto.secret import Secret, equal
from keymote.engine.enrolment.registrar_cell import AwaitDone
from keymote.engine.enrolment.schedule import Run, generator, opening
from keymote.engine.faces import enrolment_of
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held
from keymote.lab.attacks.impostors import ADDRESS, Newcomer, answer_of, hello_of
from keymote.lab.attacks.paper import paper
from keymote.lab.attacks.stage import Mallory, expect, label, meeting, type_of
from keymote.lab.published.pairwise import Device, enrol
from keymote.lab.scenes import identity
from keymote.wire.enrolment import Bind, Cred, Hello, Join, Offer
from keymote.wire.fields import sizes_of

DIGITS: Final = 8
"""Length of a short code."""


def digits(number: int) -> bytes:
    """Return a code of eight ASCII digits."""
    return str(number).zfill(DIGITS).encode()


def printed(code: bytes) -> Secret:
    """Return PRS of a code and an empty manager's code (Triad-1 2.3)."""
    return Secret(cbor.encode([code, b""]))


# ------------------------------------------------------------------


def _code_from_the_air(effort: Effort) -> Outcome:
    """Listen to a joining message, jam the device, join first under its name."""
    world = paper(effort, "A-10", enrolled=False)
    overheard = world.air.carry("D1", "NM1", "Joining", name="D1", code=world.one.code).fields["code"]
    assert isinstance(overheard, bytes)
    mallory = Device("D1", overheard, effort.entropy("A-10"))
    if not enrol(mallory, world.nm1, world.air):
        return held("the manager does not take the code a second time")
    found = world.nm1.coordinator.register["D1"]
    if found.curve.mul(mallory.d, found.E1) != found.E2:
        return held("the registered key is not Mallory's")
    return Succeeds("the code stood in Joining; D1 is registered with Mallory's key")


def _join_without_the_code(effort: Effort) -> Outcome:
    """Record a whole enrolment for the code, then join in another device's name with a guess."""
    scene = meeting(effort, homes={"d1": "nm1", "d2": "nm1"}, enrolled=False)
    mallory = Mallory(scene)
    scene.enrol("d2")
    prs = label(scene, "d1")
    codes = [scene.codes["d2"].expose(), prs.expose()]
    otcs = [raw[2 : 2 + 16] for raw in codes]
    if any(code in sent.data for sent in scene.sim.air for code in (*codes, *otcs)):
        return Succeeds("a code stands in a datagram")
    guess = printed(b"0123456789abcdef")
    newcomer = Newcomer(mallory, "nm1", identity("d1"), guess, effort.entropy("A-10"))
    newcomer.join()
    reaction = newcomer.share()
    stopped = reaction.stopped()
    if stopped is not None:
        return Fails(stopped[0], f"no code in {len(scene.sim.air)} datagrams; SHARE under a guessed code: {stopped[1]}")
    newcomer.bind()
    claims = newcomer.registered()
    if claims is None or claims.sig_pk != newcomer.keys().public:
        return Fails("nothing", "the run went on, but nobody was registered")
    return Succeeds("d1 is registered with Mallory's keys, without its code")


# ------------------------------------------------------------------


def _space(effort: Effort) -> int:
    """Return how many codes are tried: the dictionary contains the right one."""
    return effort.choose(2_000, 100_000)


def _dictionary_on_a_mac(effort: Effort) -> Outcome:
    """Take one MAC(code, transcript), the obvious mending of clear codes, and try the codes at home."""
    code = digits(_space(effort) * 2 // 3)
    transcript = effort.entropy("A-11").draw(32)
    tag = hmac.digest(code, transcript, "sha256")[:16]
    for number in range(_space(effort)):
        if hmac.digest(digits(number), transcript, "sha256")[:16] == tag:
            return Succeeds(f"code {digits(number).decode()} found after {number + 1} tries off line, one tag seen")
    return held("the code is not in the dictionary")


def _dictionary_on_a_run(effort: Effort) -> Outcome:
    """Play the device once with a guess, keep OFFER and its tag, and try every code of the space on it."""
    scene = meeting(effort, enrolled=False)
    mallory, suite, entropy = Mallory(scene), scene.suite, effort.entropy("A-11")
    right = digits(_space(effort) * 2 // 3)
    expect(scene, "d1", right, weak=True)
    hello_wire = hello_of(mallory, "nm1")
    hello = Hello.decode(hello_wire, sizes_of(1))
    y_D = suite.random_scalar(entropy)
    Y_D = suite.mul(y_D, generator(suite, printed(digits(0)), identity("d1"), hello))
    join = Join(suite.id, identity("d1"), hello.hello_n[:8], Y_D)
    answer = answer_of(mallory.send(ADDRESS, "nm1", join.encode()), Offer.mt)
    if answer is None:
        return Fails("nothing", "the manager does not answer a short code at all")
    offer = Offer.decode(answer, sizes_of(1))
    Y_N, e_NM = suite.check(offer.Y_N), suite.check(offer.e_NM)
    T, K = opening(suite, hello, hello_wire, join), suite.mul(y_D, Y_N)
    for number in range(_space(effort)):
        run = Run.start(suite, T, printed(digits(number)), join, hello, K, Y_N, e_NM)
        if equal(run.offer_tag(), offer.tag):
            return Succeeds(f"code {digits(number).decode()} confirmed off line after {number + 1} tries, one run")
    return held(f"of {_space(effort)} codes, the right one among them, the tag of one run confirms none")


def _short_code_in_suite_17(effort: Effort) -> Outcome:
    """Join in suite 17, which has no password exchange, for a device whose code is short; then try all codes."""
    scene = meeting(effort, suite=17, enrolled=False)
    mallory, suite, entropy = Mallory(scene), scene.suite, effort.entropy("A-11")
    space = effort.choose(200, 10_000)
    right = digits(space * 2 // 3)
    expect(scene, "d1", right, weak=True)
    hello_wire = hello_of(mallory, "nm1")
    hello = Hello.decode(hello_wire, sizes_of(17))
    y_D = suite.random_scalar(entropy)
    join = Join(suite.id, identity("d1"), hello.hello_n[:8], suite.base_mul(y_D))
    reaction = mallory.send(ADDRESS, "nm1", join.encode())
    stopped, answer = reaction.stopped(), answer_of(reaction, Offer.mt)
    if stopped is not None or answer is None:
        return Fails(*(stopped or ("nothing", "no OFFER")))
    offer = Offer.decode(answer, sizes_of(17))
    Y_N, e_NM = suite.check(offer.Y_N), suite.check(offer.e_NM)
    T, K = opening(suite, hello, hello_wire, join), suite.mul(y_D, Y_N)
    for number in range(space):
        run = Run.start(suite, T, printed(digits(number)), join, hello, K, Y_N, e_NM)
        if equal(run.offer_tag(), offer.tag):
            return Succeeds(f"code {digits(number).decode()} found after {number + 1} tries off line")
    return Fails("nothing", "no code fits")


# ------------------------------------------------------------------


def _code_twice(effort: Effort) -> Outcome:
    """Join a second time with a code that was used."""
    world = paper(effort, "A-23")
    again = Device("D1", world.one.code, effort.entropy("A-23"))
    before = world.nm1.coordinator.register["D1"]
    if not enrol(again, world.nm1, world.air) or world.nm1.coordinator.register["D1"] == before:
        return held("the code is refused")
    return Succeeds("the same code enrolled twice; the second key replaced the first")


def _join_again(when: str) -> Attempt:
    """Join with the right code after it was used: after DONE, or while DONE is still out."""

    def run(effort: Effort) -> Outcome:
        scene = meeting(effort, enrolled=False)
        mallory = Mallory(scene)
        if when == "before DONE":
            mallory.hold(9)
        prs = label(scene, "d1")
        scene.greet("d1")
        scene.sim.run_for(1.0)
        mallory.release()
        cell = scene.sim.hosts["nm1"].cells[enrolment_of(identity("d1"))]
        assert isinstance(cell.phase, AwaitDone) is (when == "before DONE")
        newcomer = Newcomer(mallory, "nm1", identity("d1"), prs, effort.entropy("A-23"))
        reaction = newcomer.join()
        stopped = reaction.stopped()
        if stopped is not None:
            return Fails(stopped[0], stopped[1])
        newcomer.share()
        newcomer.bind()
        claims = newcomer.registered()
        if claims is None or claims.sig_pk != newcomer.keys().public:
            return Fails("nothing", "the code was taken, but nobody was registered")
        return Succeeds("a second credential for the same code")

    return Attempt(f"JOIN again {when}", "E_OTC_USED", run)


def _lost_credential(effort: Effort) -> Outcome:
    """Drop CRED once: the device repeats BIND; a registrar that does not remember it bricks it or answers anew."""
    scene = meeting(effort, enrolled=False)
    mallory = Mallory(scene)
    mallory.hold(Cred.mt)
    label(scene, "d1")
    scene.greet("d1")
    first = mallory.take(Cred.mt)
    answered = scene.sim.run_until(lambda: bool(mallory.held), 10.0)
    second = mallory.take(Cred.mt) if answered else first
    mallory.release()
    binds = {sent.data for sent in scene.sim.air if type_of(sent.data) == Bind.mt}
    enrolled = scene.sim.run_until(lambda: scene.membership("d1") is not None, 20.0)
    if len(binds) != 1 or first != second:
        return Succeeds("a repeated BIND made another CRED: two credentials, or one key that encrypts twice")
    if not enrolled:
        return Succeeds("the device is bricked: its code is used and it has no credential")
    return held("the identical BIND gets the identical CRED, and the device is enrolled in the end")


ATTACKS = (
    Attack(
        "A-10",
        "Code read from the air",
        "M",
        _code_from_the_air,
        (Attempt("JOIN without the code", "E_AUTH", _join_without_the_code),),
    ),
    Attack(
        "A-11",
        "Dictionary on a short code",
        "M",
        _dictionary_on_a_mac,
        (
            Attempt("all codes on one OFFER", "property", _dictionary_on_a_run),
            Attempt("short code in suite 17", "E_SUITE", _short_code_in_suite_17),
        ),
    ),
    Attack(
        "A-23",
        "Code used twice",
        "M",
        _code_twice,
        (
            _join_again("after DONE"),
            _join_again("before DONE"),
            Attempt("CRED lost", "property", _lost_credential),
        ),
    ),
)
