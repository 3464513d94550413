"""Search the models of the protocols (models/*.maude) for what must not be, and show how it came about.

    python tools/model_search.py                          list models and scenarios
    python tools/model_search.py pairwise pair            every state of a scenario, with every check in place
    python tools/model_search.py pairwise pair tagR       ... with one check taken away: the shortest attack, step by step

Breadth first, so that the first attack found is a shortest one, and exhaustive: a scenario is a finite number of parts
in sessions, and the intruder's choices are finite, too. `STATE_LIMIT` is a stop for models that grow by mistake.
"""

import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

import maude

MODELS: Final = Path(__file__).parent.parent / "models"
STATE_LIMIT: Final = 200_000

_SYMBOLS: Final = (
    (re.compile(r"'([\w/]+)"), r"\1"),
    (re.compile(r"\((\d)\)\.Number"), r"\1"),
    (re.compile(r"\bmine\b"), "by the intruder"),
    (re.compile(r"\bagain\b"), "re-randomised"),
    (re.compile(r"\br\(\w+\)"), "as it was"),
    (re.compile(r"cred\((\w+), (\w+), (\w+)\)"), r"\1's credential for \2 (keys of \3)"),
    (re.compile(r"\b(\w+)\((\w+)\)"), r"\1_\2"),
    (re.compile(r"\bpt_one\b"), "g"),
    (re.compile(r"\bpt_(\w+)"), r"g^\1"),
    (re.compile(r"\bpt\(([^()]*(?:\([^()]*\)[^()]*)*)\)"), r"g^(\1)"),
)
"""How terms are shown in traces."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one party: the rule's label, and its sentence with what was heard and said put in."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Exploration:
    """What a search saw. `faults`: property violated -> a shortest way there; `complete`: honest runs that ended well."""

    scenario: str
    states: int
    transitions: int
    complete: int
    cpu_s: float
    exhausted: bool
    faults: dict[str, tuple[Step, ...]] = field(default_factory=dict)

    def render(self) -> str:
        """Return the summary, and each attack as numbered steps."""
        seen = f"{self.scenario}: {self.states} states, {self.transitions} steps, {self.complete} complete runs"
        lines = [f"{seen}, {self.cpu_s:.2f} s CPU{'' if self.exhausted else ', stopped'}"]
        for name, trace in self.faults.items():
            lines.append(f"  {name} is violated:")
            lines += [f"  {number:3}. {step.text}" for number, step in enumerate(trace, 1)]
        return "\n".join(lines)


class Model:
    """A loaded module of models/: `verdict(State)` names the violated properties, `complete(State)` an honest end."""

    def __init__(self, name: str) -> None:
        _initialised()
        path = MODELS / f"{name}.maude"
        if not maude.load(str(path)):
            raise OSError(f"{path} cannot be loaded")
        self.name = name
        self.module = maude.getModule(name.upper())
        state = self.module.findSort("State").kind()
        self._verdict = self.module.findSymbol("verdict", [state], self.module.findSort("Set").kind())
        self._complete = self.module.findSymbol("complete", [state], self.module.findSort("Bool").kind())
        self.sentences = {rule.getLabel(): rule.getMetadata() or rule.getLabel() for rule in self.module.getRules()}

    def scenarios(self) -> list[str]:
        """Return the names of the initial states."""
        return self._operators("Facts", "State")

    def checks(self) -> list[str]:
        """Return the names of the checks that a scenario can be without."""
        return self._operators("Check")

    def _operators(self, *sorts: str) -> list[str]:
        return [
            str(symbol)
            for symbol in self.module.getSymbols()
            for declaration in symbol.getOpDeclarations()
            if tuple(str(sort) for sort in declaration.getDomainAndRange()) == sorts and str(symbol) not in sorts
        ]

    def explore(self, scenario: str, *off: str, until: str | None = None, limit: int = STATE_LIMIT) -> Exploration:
        """Visit every state of `scenario` without the checks `off`; stop at the first violation of the property `until`.

        Raises:
            ValueError: no such scenario or check.
        """
        facts = " ".join(f"off({check})" for check in off) or "empty"
        start = self.module.parseTerm(f"{scenario}({facts})")
        if start is None or str(start.getSort()) != "State":
            raise ValueError(f"{self.name} has no scenario {scenario} or no check among {off}")
        began = time.process_time()
        graph = maude.RewriteGraph(start)
        faults: dict[str, tuple[Step, ...]] = {}
        number = transitions = complete = 0
        while number < graph.getNrStates() and number < limit:
            state = graph.getStateTerm(number)
            for name in self._violated(state):
                if name not in faults:
                    faults[name] = self._trace(graph, number)
            if until is not None and until in faults:
                break
            complete += self._is_complete(state)
            transitions += sum(1 for _ in _successors(graph, number))
            number += 1
        label = f"{self.name} {scenario}" + (f" without {', '.join(off)}" if off else "")
        exhausted = number == graph.getNrStates()
        spent = time.process_time() - began
        return Exploration(label, graph.getNrStates(), transitions, complete, spent, exhausted, faults)

    def _violated(self, state: maude.Term) -> Iterator[str]:
        verdict = self._verdict.makeTerm([state])
        verdict.reduce()
        text = str(verdict)
        if text != "none":
            yield from (name.strip() for name in text.split(";"))

    def _is_complete(self, state: maude.Term) -> bool:
        complete = self._complete.makeTerm([state])
        complete.reduce()
        return str(complete) == "true"

    def _trace(self, graph: maude.RewriteGraph, number: int) -> tuple[Step, ...]:
        steps: list[Step] = []
        while number > 0:
            before = graph.getStateParent(number)
            rule = graph.getRule(before, number)
            steps.append(self._told(graph.getStateTerm(before), graph.getStateTerm(number), rule.getLabel()))
            number = before
        return tuple(reversed(steps))

    def _told(self, before: maude.Term, after: maude.Term, label: str) -> Step:
        """Find the match of the rule that leads from one state to the other, and put its values into its sentence."""
        for reached, values, _, _ in before.apply(label):
            reached.reduce()
            if reached.equal(after):
                return Step(label, _filled(self.sentences[label], values))
        raise AssertionError(f"rule {label} does not lead there")


@lru_cache(maxsize=1)
def _initialised() -> None:
    maude.init(advise=False)


@lru_cache
def model(name: str) -> Model:
    """Return the model of that name, loaded once."""
    return Model(name)


def model_names() -> list[str]:
    """Return the models that can be searched; terms and intruder alone are none."""
    return sorted(path.stem for path in MODELS.glob("*.maude") if path.stem != "dolev-yao")


def _successors(graph: maude.RewriteGraph, number: int) -> Iterator[int]:
    index = 0
    while (found := graph.getNextState(number, index)) >= 0:
        yield found
        index += 1


def _filled(sentence: str, values: maude.Substitution) -> str:
    def value(match: re.Match[str]) -> str:
        return _readable(str(values.find(match[1])))

    return re.sub(r"\{(\w+)\}", value, sentence)


def _readable(term: str) -> str:
    for pattern, replacement in _SYMBOLS:
        term = pattern.sub(replacement, term)
    return term


def main(arguments: Iterable[str]) -> None:
    match list(arguments):
        case [name, scenario, *off]:
            print(model(name).explore(scenario, *off).render())
        case _:
            for name in model_names():
                print(name, *model(name).scenarios())


if __name__ == "__main__":
    main(sys.argv[1:])
