"""A key that encrypts twice (I-05)."""

from typing import Final

from keymote.crypto.aead import CHACHA20_POLY1305
from keymote.crypto.secret import Secret
from keymote.engine.faces import KeyReady
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held
from keymote.lab.attacks.stage import label, meeting
from keymote.lab.simulator import Channel

LOSS: Final = 0.35

FEWEST_REPETITIONS: Final = 8
"""Fewer would mean that the losses missed what is repeated."""
MOST_SESSIONS: Final = 8
"""Sessions begun until one gets through."""


def _encrypted_again(effort: Effort) -> Outcome:
    """Repeat a message by encrypting it anew, with a fresh point in it, under the same key and the zero nonce."""
    entropy = effort.entropy("I-05")
    key, first, second = Secret(entropy.draw(32)), entropy.draw(32), entropy.draw(32)
    boxes = [CHACHA20_POLY1305.seal_once(key, b"", plaintext) for plaintext in (first, second)]
    mixed = bytes(a ^ b for a, b in zip(boxes[0][:32], boxes[1][:32], strict=True))
    if mixed != bytes(a ^ b for a, b in zip(first, second, strict=True)):
        return held("the boxes do not betray the plaintexts")
    return Succeeds("two boxes under one key show the XOR of their plaintexts")


def _lossy_air(effort: Effort) -> Outcome:
    """Lose and repeat datagrams at random, so that all parties repeat themselves; watch every encryption there is."""
    scene = meeting(effort, enrolled=False)
    scene.sim.channel = Channel(loss=LOSS, duplication=LOSS / 2)
    for name in ("d1", "d2"):
        label(scene, name)
        scene.sim.run_until(lambda: scene.membership(name) is not None, 600.0)  # noqa: B023  # used at once
    for _ in range(MOST_SESSIONS):
        scene.ask("d1", "d2")
        if scene.sim.run_until(lambda: bool(scene.sim.heard("d1", KeyReady)), 40.0):
            break
    repeated = len(scene.sim.air) - len({each.data for each in scene.sim.air})
    if scene.witness.reused:
        return Succeeds(f"two different plaintexts under one key: {scene.witness.reused[0]}")
    if repeated < FEWEST_REPETITIONS or not scene.sim.heard("d1", KeyReady):
        return Fails("nothing", f"only {repeated} repetitions, or no session in the end")
    return held(f"{len(scene.witness.sealed)} encryptions, {repeated} repetitions: no key and nonce met two plaintexts")


ATTACKS = (
    Attack(
        "I-05",
        "A retransmission that encrypts anew",
        "M",
        _encrypted_again,
        (Attempt("lossy air", "property", _lossy_air),),
    ),
)
