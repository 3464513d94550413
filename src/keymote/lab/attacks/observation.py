"""What an observer learns without any message: the time of a comparison, the lines of a log (I-07, I-11)."""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Final

from keymote.crypto import secret
from keymote.errors import PeerFault
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Outcome, Succeeds, held
from keymote.lab.attacks.stage import everything_known, meeting, secrets_in
from keymote.lab.scenes import Scene
from keymote.lab.simulator import Datagram

LENGTH: Final = 1 << 20
"""Bytes compared: so long that the difference is thousands of times the noise."""
LEAK: Final = 8.0
"""A comparison that takes so many times longer for a longer common prefix betrays the prefix."""


def _slowdown(equal: Callable[[bytes, bytes], bool], rounds: int) -> float:
    """Return how much longer `equal` takes when the difference is in the last byte and not in the first."""
    truth = bytes(LENGTH)
    early, late = b"\x01" + truth[1:], truth[:-1] + b"\x01"

    def shortest(guess: bytes) -> int:
        best = sys.maxsize
        for _ in range(rounds):
            before = perf_counter_ns()
            equal(truth, guess)
            best = min(best, perf_counter_ns() - before)
        return max(best, 1)

    return shortest(late) / shortest(early)


def _plain_equal(a: bytes, b: bytes) -> bool:
    return a == b


def _plain_comparison(effort: Effort) -> Outcome:
    slower = _slowdown(_plain_equal, effort.choose(9, 99))
    if slower < LEAK:
        return held(f"a difference at the end takes {slower:.1f} times as long")
    return Succeeds(f"`==` takes {min(slower, 1000):.0f} times as long or more when a long prefix is right")


def comparing_modules() -> Iterator[tuple[str, Callable[[bytes, bytes], bool]]]:
    """Yield every module of ours that compares secrets, with the function that it compares them with."""
    for name, module in sorted(sys.modules.items()):
        equal = getattr(module, "equal", None)
        if name.startswith(("keymote.engine.", "keymote.crypto.")) and callable(equal):
            yield name, equal


def _time_of_a_tag(effort: Effort) -> Outcome:
    """Time the comparison behind every tag, MAC, cookie and challenge of the engines."""
    slowest = 0.0
    names = []
    for name, equal in comparing_modules():
        names.append(name)
        slower = _slowdown(equal, effort.choose(5, 99))
        slowest = max(slowest, slower)
        if slower >= LEAK:
            return Succeeds(f"{name} compares in a time that depends on the common prefix: {slower:.0f} times as long")
    assert secret.__name__ in names
    return held(f"{len(names)} modules compare through one door; late against early difference: {slowest:.2f} at most")


# ------------------------------------------------------------------ I-11


def _forms(secrets: Iterable[bytes]) -> list[tuple[str, str]]:
    """Return the ways in which a secret may stand in a text: hexadecimal, Python's repr of it, decimal."""
    forms = []
    for value in secrets:
        forms += [("hex", value.hex()), ("repr", repr(value)[2:-1]), ("number", str(int.from_bytes(value, "big")))]
    return forms


def _searched(texts: Iterable[str], secrets: Iterable[bytes]) -> str | None:
    """Return the first secret's form that stands in one of the texts."""
    joined = "\n".join(texts)
    return next((form for form, text in _forms(secrets) if text in joined), None)


def _careless_log(effort: Effort) -> Outcome:
    """Log as one does while debugging: the code, the key and the exception's arguments."""
    key = effort.entropy("I-11").draw(32)
    lines = [f"session key is {key!r}", f"tag mismatch: expected {key[:16].hex()}"]
    found = _searched(lines, [key])
    return Succeeds(f"the key stands in the log as {found}") if found else held("nothing found")


@dataclass(slots=True)
class Eyewitness:
    """Looks at every node whenever a datagram leaves: what its cells print, and which secrets they hold just then."""

    scene: Scene
    lines: list[str] = field(default_factory=list)
    secrets: set[bytes] = field(default_factory=set)

    def watch(self, datagram: Datagram) -> Iterable[Datagram]:
        for host in self.scene.sim.hosts.values():
            for key, cell in host.cells.items():
                self.lines.append(f"{key} {cell!r}")
                self.secrets.update(secrets_in(cell))
                self.secrets.update(getattr(cell, name) for name in PASSING if hasattr(cell, name))
        return (datagram,)


PASSING: Final = ("N_I", "aV", "closing_own", "closing_peer")
"""Secrets of a session's states that are points or tags and not keys."""


def _told(scene: Scene) -> Iterator[str]:
    """Yield what a log can hold of a world: every report and refusal that an application was told."""
    for host in scene.sim.hosts.values():
        for _, key, report in host.reports:
            yield f"{key} {report!r}"


def _faults(scene: Scene) -> Iterator[str]:
    """Yield the messages of every fault that changed datagrams provoke at every host."""
    for sent in list(scene.sim.air):
        for at in {len(sent.data) // 2, len(sent.data) - 1}:
            changed = sent.data[:at] + bytes([sent.data[at] ^ 1]) + sent.data[at + 1 :]
            for host in scene.sim.hosts.values():
                try:
                    host.receive(sent.source, changed, scene.sim.now)
                except PeerFault as fault:
                    yield repr(fault)
                    yield str(fault)


READING: Final = b"reading 21.5 degrees"


def _log_of_a_world(effort: Effort) -> Outcome:
    """Run enrolment and session, provoke refusals, and search everything printable for every secret there was."""
    scene = meeting(effort, enrolled=False)
    eyes = Eyewitness(scene)
    scene.sim.adversary = eyes.watch
    scene.enrol("d1", "d2")
    psid = scene.open("d1", "d2")
    scene.say("d1", "d2", psid, READING)
    scene.sim.run_for(1.0)
    recorded = b"|".join(sent.data for sent in scene.sim.air)
    drawn = {point for point in scene.witness.points if point not in recorded}
    secrets = {*everything_known(scene), *eyes.secrets, *drawn, READING}
    lines = [*eyes.lines, *_told(scene), *_faults(scene)]
    found = _searched(lines, secrets)
    if found is not None:
        return Succeeds(f"a secret stands in a line as {found}")
    return held(f"{len(secrets)} secrets in {len(lines)} printed reports, cells and faults: none found")


ATTACKS = (
    Attack(
        "I-07",
        "The time of a comparison",
        "M",
        _plain_comparison,
        (Attempt("prefix of a tag", "property", _time_of_a_tag),),
    ),
    Attack(
        "I-11",
        "Secrets in logs and errors",
        "L",
        _careless_log,
        (Attempt("log of a whole world", "property", _log_of_a_world),),
    ),
)
