"""`keymote lab reproduce`: what the papers claim, measured and computed again.

The room is the bench's because a reproduction puts our engines beside the peers in one run; the laboratory, which meets
engines only, gives profiles, radio and energy (docs/decisions/0100). A further reproduction is one entry in
`REPRODUCTIONS` and one package that returns a `Reproduced`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from keymote.bench.reproduce.figures import Drawing
from keymote.errors import CallerFault

__all__ = ["REPRODUCTIONS", "Note", "Reproduced", "Reproduction", "reproduction", "silent"]

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What a reproduction found. `result` is for programs, every number with its source; `tables` are for people.

    `ok` is False when the reproduction itself went wrong, never because a claim does not hold.
    """

    ok: bool
    result: Mapping[str, object]
    tables: Mapping[str, list[Row]]
    drawings: Mapping[str, Drawing] = field(default_factory=dict)


Note = Callable[[str], None]
"""Hears what is being done."""


def silent(_what: str) -> None:
    """Hear nothing."""


class Reproduce(Protocol):
    """One reproduction. The same seed gives the same numbers where no peer's own randomness takes part."""

    def __call__(
        self, seed: str, further: Sequence[Path] = (), *, quick: bool = False, note: Note = silent
    ) -> Reproduced:
        """Return what was found; `further` are files of device profiles, `quick` takes a fraction of the runs."""
        ...


class Reproduction(NamedTuple):
    """One entry of the register: where it lives (`module:function`) and what it says."""

    title: str
    target: str

    def load(self) -> Reproduce:
        """Import it, which is late because its libraries are many."""
        module, _, function = self.target.partition(":")
        found: Reproduce = getattr(import_module(module), function)
        return found


REPRODUCTIONS: Final[Mapping[str, Reproduction]] = {
    "paper-000": Reproduction(
        "Energy, time, state and messages of mutual symmetric keys (Alfakeeh 2025): 32 and 23 uJ re-measured",
        "keymote.bench.reproduce.paper000.run:reproduce",
    ),
    "paper-001": Reproduction(
        "Group keys of smart meters (Yang, Zhang 2025): table 1 and figures 4, 5, 8 and 9 re-measured, beside LKH, TLS and others",
        "keymote.bench.reproduce.paper001.run:reproduce",
    ),
    "paper-002": Reproduction(
        "Energy, lifetime and mobility of secure MQTT (Bashir, Mir 2021): 17.84 % and 53 664 hours, beside CB-DTLS and HIP",
        "keymote.bench.reproduce.paper002.run:reproduce",
    ),
}


def reproduction(name: str) -> Reproduction:
    """Return the entry of this name; CallerFault that names those that exist."""
    found = REPRODUCTIONS.get(name)
    if found is None:
        raise CallerFault(f"no reproduction {name!r} in this version", do=f"known are {', '.join(REPRODUCTIONS)}")
    return found
