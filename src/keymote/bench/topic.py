"""`keymote bench topic`: what protecting and opening a reading costs, beside one bare AES-CCM call of the same library.

Every cipher, plain and, where numba is installed, compiled. A round measures the bare call and each cipher in turn, each figure
the least of some tries, for what else the machine does can only add to it; a ratio is taken within a round. The bare call
keeps its key; ours have a new key for every reading, which is what a ratchet is for.
"""

import time
from collections.abc import Callable, Iterator
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from keymote.bench.report import Metric, metric
from keymote.crypto.lightweight.compiled import compile_all, interpret_all
from keymote.device.topic_keys import TopicKeys
from keymote.engine.base import Now
from keymote.engine.topic.ciphers import CIPHERS
from keymote.engine.topic.ratchet import Opened, Receiving, Sending
from keymote.errors import PeerFault
from keymote.wire.topic import PUBLISH, SUBSCRIBE, KeyGrant

GOAL: Final = 12
GOAL_ASCON: Final = 16
PLAINTEXT: Final = bytes(range(64))
AAD: Final = bytes(52)
"""As long as the associated data of the readings below."""
TOPIC: Final = "ward/7/heart-rate"
TRIES: Final = 5
SLICE_NS: Final = 2_000_000
"""Time for each figure in each try."""
HEADLINE: Final = 2
"""The cipher whose ratios have no name in theirs: AES-CCM, as the bare call."""
NAMES: Final = {
    1: "ascon-aead128", 2: "aes-ccm-8", 3: "chacha20-poly1305", 4: "aes-ccm-16", 16: "hight", 17: "twine-128",
    18: "rectangle-128",
}  # fmt: skip
OWN_CODE: Final = (1, 16, 17, 18)
"""Ciphers that a compiler changes."""

Progress = Callable[[str, int, int], None]
Note = Callable[[str, float], None]


def run(rounds: int, progress: Progress) -> Iterator[Metric]:
    """Measure `rounds` rounds and yield the metrics; rows with numba only where it is installed."""
    interpret_all()
    forms = ["plain", "numba"] if compile_all() else ["plain"]
    table: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        table.setdefault(name, []).append(value)

    for number in range(rounds):
        progress("rounds", number, rounds)
        for form in forms:
            interpret_all()
            if form == "numba":
                compile_all()
            _round(form, note)
    interpret_all()
    for name, values in table.items():
        yield metric(name, "us" if name.endswith("_us") else "ratio", values, _goal(name))


def _goal(name: str) -> float | None:
    if name in {f"topic.{part}{what}.cpu_ratio" for part in ("", "keys.") for what in ("protect", "unprotect")}:
        return GOAL
    return GOAL_ASCON if name.startswith("topic.ascon-aead128.numba.") and name.endswith("cpu_ratio") else None


def _round(form: str, note: Note) -> None:
    chosen = [cs for cs in CIPHERS if form == "plain" or cs in OWN_CODE]
    least: dict[tuple[int, str], float] = {}
    bare = float("inf")
    held = dict.fromkeys(("protect", "unprotect"), bare)
    for _ in range(TRIES):
        bare = min(bare, _bare())
        for cs in chosen:
            for what, spent in zip(("protect", "unprotect"), _reading(cs), strict=True):
                least[cs, what] = min(least.get((cs, what), spent), spent)
        for what, spent in zip(held, _held(), strict=True):
            held[what] = min(held[what], spent)
        bare = min(bare, _bare())
    if form == "plain":
        note("topic.aes_ccm.bare_us", bare)
        for what, spent in held.items():
            note(f"topic.keys.{what}.cpu_ratio", spent / bare)
    for (cs, what), spent in least.items():
        name = f"topic.{NAMES[cs]}.{form}.{what}" if cs in OWN_CODE else f"topic.{NAMES[cs]}.{what}"
        if cs == HEADLINE:
            note(f"topic.{what}.cpu_ratio", spent / bare)
        note(f"{name}.cpu_ratio", spent / bare)
        note(f"{name}.cpu_us", spent)


def _bare() -> float:
    """Return the processor time of one AES-CCM call, in microseconds."""
    cipher, nonce = AESCCM(bytes(16), tag_length=8), bytes(13)
    count = 0
    started = now = time.thread_time_ns()
    while now - started < SLICE_NS:
        for _ in range(100):
            cipher.encrypt(nonce, PLAINTEXT, AAD)
        count += 100
        now = time.thread_time_ns()
    return (now - started) / count / 1000


def _reading(cs: int) -> tuple[float, float]:
    """Return the processor time of protecting, and of opening, one reading in order, in microseconds."""
    grant = KeyGrant(b"sess0001", 3, 1, cs, bytes(32), 0, 1 << 20, 86_400)
    enabled = CIPHERS.keys()
    sending, receiving = Sending.begin(TOPIC, grant, enabled=enabled), Receiving.begin(TOPIC, grant, 1, enabled=enabled)
    sent: list[bytes] = []
    started = now = time.thread_time_ns()
    while now - started < SLICE_NS:
        for _ in range(5):
            sending, data = sending.protect(PLAINTEXT)
            sent.append(data)
        now = time.thread_time_ns()
    protecting = (now - started) / len(sent)
    started = time.thread_time_ns()
    result: Opened | PeerFault | None = None
    for data in sent:
        receiving, result = receiving.unprotect(data)
    opening = (time.thread_time_ns() - started) / len(sent)
    assert result == Opened(len(sent) - 1, PLAINTEXT)
    return protecting / 1000, opening / 1000


def _held() -> tuple[float, float]:
    """Return the same for the keys in a client's memory, which look the chain up and keep it; with the headline's cipher."""
    keys = TopicKeys(lambda: Now(0.0, 0))
    grant = KeyGrant(b"sess0001", 3, 1, HEADLINE, bytes(32), 0, 1 << 20, 86_400)
    for role in (PUBLISH, SUBSCRIBE):
        keys.take(TOPIC, role, grant, [(grant.snd, b"")])
    sent: list[bytes] = []
    started = now = time.thread_time_ns()
    while now - started < SLICE_NS:
        sent += [keys.protect(TOPIC, PLAINTEXT) for _ in range(5)]
        now = time.thread_time_ns()
    protecting = (now - started) / len(sent)
    started = time.thread_time_ns()
    for data in sent:
        keys.unprotect(TOPIC, data)
    opening = (time.thread_time_ns() - started) / len(sent)
    return protecting / 1000, opening / 1000
