"""A city of ten thousand meters: what its acts take with every engine in this machine, and what a million would send."""

import os
from collections.abc import Iterator
from typing import Final

from keymote.bench.group import Progress, Size
from keymote.bench.report import Metric, metric
from keymote.lab import city_costs
from keymote.lab.city_acts import run_city
from keymote.lab.city_costs import Plan
from keymote.wire.group import FEWEST, MOST

FULL: Final = 10_000
GOALS: Final = {"form": 120.0, "join": 5.0, "leave": 10.0}
"""Seconds for ten thousand meters (issue 4)."""
MILLION: Final = 1_000_000


def rows(size: Size, progress: Progress) -> Iterator[Metric]:
    """Yield what forming, a leave, a join and the loss of a delegate take, and the messages of a million meters."""
    most = min(MOST, max(FEWEST, size.meters // 2))
    city = run_city(size.meters, most=most, processes=len(os.sched_getaffinity(0)), progress=progress)
    label = _label(size.meters)
    for act in city.acts:
        name = act.name.replace(" ", "_")
        goal = GOALS.get(act.name) if size.meters == FULL else None
        yield metric(f"group.{name}_{label}_s", "s", [act.wall_s], goal)
        yield metric(f"group.{name}_{label}_cpu_s", "s of all processes", [act.cpu_s])
        yield metric(f"group.{name}_{label}_messages", "messages", [float(act.counted.total())])
    off = sum((act.counted - act.formula).total() + (act.formula - act.counted).total() for act in city.acts)
    yield metric(f"group.city_{label}_off_formula", "messages", [float(off)], 0.0)
    plan = Plan.of(MILLION)
    leaf = plan.levels[0][0]
    for name, costs in (
        ("form", city_costs.form(plan)),
        ("join", city_costs.join(plan, leaf)),
        ("leave", city_costs.leave(plan, leaf - 1)),
    ):
        yield metric(f"group.{name}_{_label(MILLION)}_messages", "messages by formula", [float(costs.total())])


def _label(meters: int) -> str:
    """Return a number of meters as metrics name it: 10k, 1m."""
    for unit, letter in ((1_000_000, "m"), (1_000, "k")):
        if meters % unit == 0:
            return f"{meters // unit}{letter}"
    return str(meters)
