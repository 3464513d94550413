"""A generator or a counter that repeats itself after a fork or in a twin of the machine (I-08)."""

import copy
import random

from keymote.crypto import dleq
from keymote.crypto.entropy import SeededEntropy, SystemEntropy
from keymote.crypto.kdf import Transcript
from keymote.crypto.suite import Suite
from keymote.crypto.suites import suite_by_id
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Outcome, Succeeds, held
from keymote.lab.attacks.stage import meeting

DRAWS = 64


def _generator_in_the_process(effort: Effort) -> Outcome:
    """Snapshot a process that buffers its randomness: both twins go on with the same numbers."""
    machine = random.Random(effort.seed)  # noqa: S311  # the unguarded choice is what is shown
    twin = copy.deepcopy(machine)
    if machine.randbytes(32) != twin.randbytes(32):
        return held("the twins differ")
    return Succeeds("a snapshot and its original draw the same 32-byte key next")


def _twin_of_the_source(_effort: Effort) -> Outcome:
    """Do the same to the product's source of randomness: nothing of it lives in the process."""
    machine = SystemEntropy()
    twin = copy.deepcopy(machine)
    drawn = [source.draw(32) for _ in range(DRAWS) for source in (machine, twin)]
    repeated = len(drawn) - len(set(drawn))
    if repeated:
        return Succeeds(f"{repeated} of {len(drawn)} draws were repeated by the twin")
    return held(f"{len(drawn)} draws of two twins, none twice: the operating system is asked at each use")


def _solve(order: int, one: tuple[bytes, bytes], other: tuple[bytes, bytes]) -> int:
    """Return d if two proofs (c, s) came from one nonce k: s - s' = (c - c')·d mod q."""
    c1, s1, c2, s2 = (int.from_bytes(part, "little") for part in (*one, *other))
    return (s1 - s2) * pow(c1 - c2, -1, order) % order


def _two_proofs(suite: Suite, effort: Effort) -> tuple[int, tuple[bytes, bytes], tuple[bytes, bytes]]:
    """Let a device and its twin, whose generator repeats itself, prove the same d in two contexts."""
    entropy = effort.entropy("I-08")
    d = suite.random_scalar(entropy)
    B1, B2 = suite.random_point(entropy), suite.random_point(entropy)
    statement = (B1, suite.mul(d, B1), B2, suite.mul(d, B2))

    def prove(run: bytes) -> tuple[bytes, bytes]:
        ctx = Transcript.begin("A/enrol", run).value
        return dleq.prove(suite, d, *statement, "A/dleq", ctx, SeededEntropy(b"twin of one machine"))

    return int.from_bytes(d.expose(), "little"), prove(b"first run"), prove(b"second run")


def _repeated_proof(effort: Effort) -> Outcome:
    suite = suite_by_id(1)
    d, one, other = _two_proofs(suite, effort)
    if _solve(suite.order, one, other) == d:
        return Succeeds("two proofs with one repeated nonce give d_D by one division")
    return held("the nonce of a proof is hashed with d and the context: twins with one generator do not share it")


def _restarted(effort: Effort) -> Outcome:
    """Restart manager and device, and put one old backup back again and again: does a (key, number) come twice?"""
    scene = meeting(effort)
    scene.open("d1", "d2")
    backup, lives = dict(scene.sim.hosts["nm1"].disk), effort.choose(3, 12)
    for _ in range(lives):
        scene.restore("nm1", backup)
        for name in ("nm1", "d1"):
            scene.sim.reboot(name)
            scene.ask("d1", "d2")
            scene.ask("d2", "d1")
            scene.sim.run_for(60.0)
    if scene.witness.reused:
        return Succeeds(f"two messages under one key and number: {scene.witness.reused[0]}")
    return held(
        f"{len(scene.witness.sealed)} encryptions over {lives} lives of one backup and {2 * lives} restarts: none twice"
    )


ATTACKS = (
    Attack(
        "I-08",
        "A fork or snapshot repeats the generator",
        "L",
        _generator_in_the_process,
        (
            Attempt("twin of the source", "property", _twin_of_the_source),
            Attempt("twin proves twice", "property", _repeated_proof),
            Attempt("restarts and a backup", "property", _restarted),
        ),
    ),
)
