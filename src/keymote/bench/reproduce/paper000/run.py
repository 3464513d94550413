"""`keymote lab reproduce paper-000`: everything in one run."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from keymote.bench.reproduce import Note, Reproduced, silent
from keymote.bench.reproduce.paper000 import plot, tables
from keymote.bench.reproduce.paper000.baselines import baselines
from keymote.bench.reproduce.paper000.claims import energy_verdicts, memory_verdicts
from keymote.bench.reproduce.paper000.engines import measure
from keymote.bench.reproduce.paper000.ours import PATHS, counts, published, triad1
from keymote.crypto.suites import suite_by_id
from keymote.lab.files import profiles

PLATFORM: Final = ("cc2538-pka", "cc2538-software")
"""The paper's own hardware, with and without its accelerator."""
LEFT_OUT: Final = "idle listening, medium access, repetition, sleep and flash writes: left out for every scheme alike"


def reproduce(
    seed: str,
    further: Sequence[Path] = (),
    *,
    quick: bool = False,  # noqa: ARG001  it is quick as it is
    note: Note = silent,  # noqa: ARG001
) -> Reproduced:
    """Measure our engines and the peers, price everything on every profile, and rule on the paper's claims.

    `further`: files of device profiles beside those that come with the program.
    """
    table = counts()
    devices = profiles(further)
    printed = published(table["published"])
    schemes, metered, ok = [printed], [], True
    for suite in sorted({profile.suite for profile in devices.values()}):
        has_map = suite_by_id(suite).pake
        for path in PATHS:
            measured = measure(f"paper-000/{seed}".encode(), suite, path)
            excess = measured.excess(path, has_map=has_map)
            ok = ok and not excess
            schemes.append(scheme := triad1(measured, suite, path, table["triad1"]))
            metered.append(
                {
                    "scheme": scheme.name,
                    "suite": suite,
                    "called": {part: dict(sorted(called.items())) for part, called in measured.called.items()},
                    "beyond_the_specification": {part: dict(over) for part, over in excess.items()},
                    "session_peak_bytes": measured.session_peak,
                    "trace": measured.trace,
                }
            )
    schemes += baselines(table["baselines"])
    platform = [devices[name] for name in PLATFORM]
    energy, memory = energy_verdicts(printed, platform), memory_verdicts()
    everyone = list(devices.values())
    configuration = {"role": "initiator", "radio": "IEEE 802.15.4, 6LoWPAN, 64-bit addresses", "left_out": LEFT_OUT}
    result: dict[str, object] = {
        "ok": ok,
        "reproduction": "paper-000",
        "seed": seed,
        "configuration": configuration,
        "claims": [verdict.as_json() for verdict in (*energy, *memory)],
        "profiles": [profile.as_json() for profile in everyone],
        "schemes": [scheme.as_json(everyone) for scheme in schemes],
        "metered": metered,
    }
    drawings = {"paper-000": partial(plot.draw, schemes, everyone, energy)}
    return Reproduced(ok, result, tables.all_of(schemes, everyone, (*energy, *memory)), drawings)
