"""`keymote bench group`: what a group's key costs, beside the bare primitives and the paper's milliseconds, all in one run.

Every module `group_*` of this package measures something of its own: its `rows` yields the metrics. Goals are those of
suite 1.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Final, Protocol, cast

from keymote.bench import __path__ as _here
from keymote.bench.report import Metric
from keymote.errors import CallerFault

PREFIX: Final = "group_"

Progress = Callable[[str, int, int], None]
"""`(what, done, of)`."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: `rounds` of everything, rings of 3 to `largest` members, a street of `street`, in each of `suites`;
    and once a city of `meters`.
    """

    rounds: int = 5
    largest: int = 32
    street: int = 25
    suites: Sequence[int] = (1, 17)
    meters: int = 10_000


class Part(Protocol):
    """A module `group_*`."""

    def rows(self, size: Size, progress: Progress) -> Iterator[Metric]: ...


def parts() -> Mapping[str, str]:
    """Return what can be measured: the name without its prefix -> the module."""
    names = [module.name for module in iter_modules(_here) if module.name.startswith(PREFIX)]
    return {name.removeprefix(PREFIX): f"keymote.bench.{name}" for name in sorted(names)}


def run(size: Size, progress: Progress, only: Sequence[str] = ()) -> Iterator[Metric]:
    """Measure all parts, or those that are named; CallerFault for one that there is not."""
    known = parts()
    if not set(only) <= set(known):
        raise CallerFault(
            f"no part of the bench is called {', '.join(set(only) - set(known))}", do=f"try {', '.join(known)}"
        )
    for name in only or known:
        yield from cast("Part", import_module(known[name])).rows(size, progress)


def prefix(suite: int) -> str:
    """Return how the metrics of a suite begin: that of suite 1 is not named."""
    return "group" if suite == 1 else f"group.suite{suite}"
