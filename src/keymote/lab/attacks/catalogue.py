"""What an attack is: a pair of programs that run at each call, and what the catalogue says they end in.

`published` attacks the scheme as its paper prints it (for the I family: a library called without our guard) and must
succeed. Each attempt attacks Triad-1's own engines from the position that the catalogue gives the adversary, and must
fail by its name: the `ErrorCode` that stops it, or `property` where nothing is refused and yet nothing is gained.

Nothing here decides by comparing with the expectation: an attempt returns what it saw, `judge` compares afterwards.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from keymote.crypto.entropy import SeededEntropy
from keymote.errors import ErrorCode

PROPERTY: Final = "property"
"""What stops an attack where no error is raised."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long an attack may try: `full` takes the long forms. Every random choice comes from `seed`."""

    full: bool = False
    seed: bytes = b"keymote/lab/attacks"

    def entropy(self, label: str) -> SeededEntropy:
        """Return a stream of its own for one run of one attack."""
        return SeededEntropy(self.seed).fork(label)

    def choose(self, short: int, long: int) -> int:
        """Return how often to try."""
        return long if self.full else short


@dataclass(frozen=True, slots=True)
class Succeeds:
    """The adversary has what she wanted; `evidence` is one line that shows it."""

    evidence: str


@dataclass(frozen=True, slots=True)
class Fails:
    """The adversary was stopped by `by`, the name of an `ErrorCode` or `property`."""

    by: str
    evidence: str


Outcome = Succeeds | Fails
Program = Callable[[Effort], Outcome]


def refused(code: ErrorCode, evidence: str) -> Fails:
    """Return that an error with this code stopped the attack."""
    return Fails(code.name, evidence)


def held(evidence: str) -> Fails:
    """Return that a property stopped the attack."""
    return Fails(PROPERTY, evidence)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to attack Triad-1; `by` is what the catalogue says must stop it."""

    name: str
    by: str
    run: Program


@dataclass(frozen=True, slots=True)
class Attack:
    """One entry of the catalogue. `adversary`: E eavesdropper, M in the middle, I insider, N manager, L later leak.

    `published` None: there is nothing in the published scheme that this could attack. The first attempt is the one that
    names the entry; further ones are other ways in, each with a guard of its own.
    """

    id: str
    name: str
    adversary: str
    published: Program | None
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One entry after a run: what happened, and whether it is what the catalogue says."""

    id: str
    name: str
    adversary: str
    published: Outcome | None
    attempts: tuple[tuple[Attempt, Outcome], ...]

    @property
    def ok(self) -> bool:
        """Return whether the published side fell and every attempt failed by its own name."""
        fell = self.published is None or isinstance(self.published, Succeeds)
        return fell and all(isinstance(seen, Fails) and seen.by == attempt.by for attempt, seen in self.attempts)

    @property
    def by(self) -> str:
        """Return what stopped the first attempt, or the first that was not stopped."""
        for _, seen in self.attempts:
            if isinstance(seen, Succeeds):
                return "nothing"
        first = self.attempts[0][1]
        return first.by if isinstance(first, Fails) else "nothing"

    @property
    def also(self) -> tuple[str, ...]:
        """Return what stopped the further attempts, each name once."""
        names = dict.fromkeys(seen.by for _, seen in self.attempts if isinstance(seen, Fails))
        return tuple(name for name in names if name != self.by)

    def row(self) -> dict[str, object]:
        """Return the entry as `keymote lab attack -o json` shows it."""
        published = "not applicable"
        if self.published is not None:
            published = "succeeds" if isinstance(self.published, Succeeds) else "fails"
        stopped = all(isinstance(seen, Fails) for _, seen in self.attempts)
        shown = [f"{attempt.name}: {seen.evidence}" for attempt, seen in self.attempts]
        before = [] if self.published is None else [f"published: {self.published.evidence}"]
        return {
            "id": self.id,
            "name": self.name,
            "adversary": self.adversary,
            "published": published,
            "triad1": "fails" if stopped else "succeeds",
            "by": self.by,
            "also": list(self.also),
            "ok": self.ok,
            "evidence": " · ".join([*before, *shown]),
        }


def judge(attack: Attack, effort: Effort) -> Verdict:
    """Run both halves of an attack and return what happened."""
    published = attack.published(effort) if attack.published is not None else None
    seen = tuple((attempt, attempt.run(effort)) for attempt in attack.attempts)
    return Verdict(attack.id, attack.name, attack.adversary, published, seen)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All attacks of this version by their ids, in the order of the catalogue."""

    attacks: dict[str, Attack] = field(default_factory=dict)

    def table(self) -> list[str]:
        """Return the Markdown table of docs/attacks.md: what a run must show, entry by entry."""
        lines = [
            "| id | attack | adversary | as published | Triad-1: attempt, and what stops it |",
            "|---|---|---|---|---|",
        ]
        for attack in self.attacks.values():
            published = "not applicable" if attack.published is None else "succeeds"
            attempts = "; ".join(f"{attempt.name}: {attempt.by}" for attempt in attack.attempts)
            lines.append(f"| {attack.id} | {attack.name} | {attack.adversary} | {published} | {attempts} |")
        return lines

    @classmethod
    def of(cls, groups: Iterable[Iterable[Attack]]) -> "Catalogue":
        """Collect groups of attacks; an id may stand once."""
        found = [attack for group in groups for attack in group]
        ordered = sorted(found, key=lambda attack: (attack.id[0], int(attack.id[2:4]), attack.id[4:]))
        attacks = {attack.id: attack for attack in ordered}
        assert len(attacks) == len(found), "an id stands twice"
        return cls(attacks)
