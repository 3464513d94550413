"""What runs an experiment, by its case."""

from collections.abc import Callable, Mapping
from typing import Final

from keymote.lab import exchange, microgrid
from keymote.lab.city_acts import names_of, run_city
from keymote.lab.experiment import Experiment, Outcome, Progress
from keymote.lab.ward import run as ward

Run = Callable[[Experiment, str, Progress], Outcome]


def _city(experiment: Experiment, seed: str, progress: Progress) -> Outcome:
    """Let a city form, lose and gain; counted messages must be those of the formula exactly."""
    found = run_city(
        experiment.meters,
        f"{experiment.name} {seed}",
        suite=experiment.ring.suite,
        progress=lambda _what, done, of: progress(min(1.0, done / max(1, of))),
    )
    facts = {"meters": found.meters, "clusters": list(found.clusters), "settled_s": round(found.settled_s, 3)}
    rows = [
        {
            "act": act.name,
            "messages": sum(act.counted.values()),
            "formula": sum(act.formula.values()),
            "virtual_s": round(act.virtual_s, 3),
            "cpu_s": round(act.cpu_s, 3),
            **dict(names_of(act.counted)),
        }
        for act in found.acts
    ]
    checks = {f"{act.name}: messages as the formula says": act.exact for act in found.acts}
    return Outcome(experiment, seed, facts, {"acts": rows}, checks)


RUNS: Final[Mapping[str, Run]] = {"microgrid": microgrid.run, "exchange": exchange.run, "city": _city, "ward": ward.run}
