"""What a bench prints: the machine, and metrics with their spread and goal."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from math import isnan
from pathlib import Path
from statistics import quantiles


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure: the median of its rounds, the 10th and 90th percentile, and the goal that it must not exceed, or must
    reach (`at_least`). One that could not be measured is not a number, and `note` says why.
    """

    name: str
    value: float
    unit: str
    spread: tuple[float, float]
    goal: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def as_json(self) -> dict[str, object]:
        """Return the shape that `-o json` prints."""
        return {
            "name": self.name,
            "value": None if isnan(self.value) else _rounded(self.value),
            "unit": self.unit,
            "spread": None if isnan(self.value) else [_rounded(bound) for bound in self.spread],
            "goal": self.goal,
            "holds": self.holds,
            **({"note": self.note} if self.note else {}),
        }


def metric(
    name: str, unit: str, rounds: Sequence[float], goal: float | None = None, *, at_least: bool = False
) -> Metric:
    """Return the metric of a figure that was measured in several rounds."""
    if len(rounds) == 1:
        return Metric(name, rounds[0], unit, (rounds[0], rounds[0]), goal, at_least)
    tenths = quantiles(rounds, n=10, method="inclusive")
    return Metric(name, tenths[4], unit, (tenths[0], tenths[8]), goal, at_least)


def machine() -> Mapping[str, object]:
    """Return what the figures depend on: processor, interpreter and the libraries that compute."""
    libraries = ("cbor2", "cryptography", "pycryptodome", "pynacl", "rbcl")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{library: version(library) for library in libraries},
    }


def _processor() -> str:
    with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as lines:
        return next(
            (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
        )


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
