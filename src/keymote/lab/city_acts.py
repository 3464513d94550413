"""Acts of a city, one after the other, with what they cost: messages counted beside the formula, and seconds."""

import gc
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keymote.lab import city_costs
from keymote.lab.city import City, Progress, silent
from keymote.lab.city_costs import Costs
from keymote.lab.city_founding import city
from keymote.lab.simulator import Simulator
from keymote.wire.group import MOST
from keymote.wire.registry import BY_TYPE


@dataclass(frozen=True, slots=True)
class Act:
    """One act of a city: messages counted and as the formula says, by message type; what it took here, and in the city.

    `wall_s` and `cpu_s` (all processes together) are of this machine, `virtual_s` of the city.
    """

    name: str
    counted: Costs
    formula: Costs
    wall_s: float
    cpu_s: float
    virtual_s: float

    @property
    def exact(self) -> bool:
        return self.counted == self.formula


@dataclass(frozen=True, slots=True)
class CityResult:
    """What `run_city` saw. `clusters` by level, level 0 first; `settled_s` to put the meters there, with keys and credentials."""

    meters: int
    seed: str
    clusters: tuple[int, ...]
    acts: tuple[Act, ...]
    settled_s: float

    @property
    def exact(self) -> bool:
        return all(act.exact for act in self.acts)

    def act(self, name: str) -> Act:
        return next(act for act in self.acts if act.name == name)


def run_city(
    meters: int,
    seed: str = "city",
    *,
    suite: int = 1,
    most: int = MOST,
    processes: int = 1,
    progress: Progress = silent,
) -> CityResult:
    """Form a city, let a meter leave, one join and one delegate be lost; return the messages of each and what they should be.

    Raises:
        RuntimeError: somebody does not get a key, which in a city without losses nobody expects.
    """
    begun = time.perf_counter()
    made = city(meters, seed=seed.encode(), suite=suite, most=most, progress=progress)
    settled_s = time.perf_counter() - begun
    plan = made.plan
    acts: list[Act] = []
    acts.append(_act(made, "form", lambda: made.form(progress, processes), city_costs.form(plan)))
    gc.collect()
    gc.freeze()  # the meters are not garbage: collections look at what the acts leave behind
    try:
        acts += _changes(made, f"m{meters}")
    finally:
        gc.unfreeze()
    clusters = tuple(len(level) for level in plan.levels)
    return CityResult(meters, seed, clusters, tuple(acts), settled_s)


def _changes(made: City, newcomer: str) -> list[Act]:
    """Let a meter leave, `newcomer` join and a delegate be lost."""
    plan, leaf = made.plan, made.levels[0][-1]
    acts: list[Act] = []
    acts.append(_act(made, "leave", lambda: made.leave(leaf.names[-1]), city_costs.leave(plan, len(leaf.names) - 1)))
    acts.append(_act(made, "join", lambda: made.join(leaf, newcomer), city_costs.join(plan, len(leaf.names) + 1)))
    lost = made.levels[0][0].delegate
    sizes = [len(cluster.names) for cluster in made.clusters if lost in cluster.names]
    costs = city_costs.delegate_loss(plan, sizes)
    acts.append(_act(made, "delegate loss", lambda: made.lose_delegate(lost), costs))
    return acts


def _act(made: City, name: str, work: Callable[[], None], formula: Costs) -> Act:
    before, since, spent, began = _messages(made.sim), made.sim.now, _cpu_s(), time.perf_counter()
    work()
    wall_s, cpu_s = time.perf_counter() - began, _cpu_s() - spent
    if not made.agreed():
        raise RuntimeError(f"{name}: not every meter has the newest root key")
    counted = _messages(made.sim)
    counted.subtract(before)
    return Act(name, +counted, formula, wall_s, cpu_s, made.sim.now - since)


def _cpu_s() -> float:
    """Return the seconds that this process and those that it has waited for have used."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _messages(sim: Simulator) -> Costs:
    counted: Costs = Counter()
    for (_, mt), count in sim.messages.items():
        counted[mt] += count
    return counted


def names_of(costs: Costs) -> Sequence[tuple[str, int]]:
    """Return costs by the names of their messages, for people."""
    return [(BY_TYPE[mt][0].__name__, count) for mt, count in sorted(costs.items())]
