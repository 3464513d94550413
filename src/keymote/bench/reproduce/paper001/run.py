"""`keymote lab reproduce paper-001`: everything in one run, on two processes."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final, NamedTuple

from keymote.bench import operations
from keymote.bench.group_baselines import handshake
from keymote.bench.reproduce import Note, Reproduced, silent
from keymote.bench.reproduce.paper001 import plot, tables
from keymote.bench.reproduce.paper001.claims import Evidence, verdicts
from keymote.bench.reproduce.paper001.commands import CYCLE_S, EVERY_S, delivered
from keymote.bench.reproduce.paper001.comparison import METER, compared
from keymote.bench.reproduce.paper001.streets import SERIES, Series, Street, measure
from keymote.crypto.suites import suite_by_id
from keymote.lab.energy import Profile, cost
from keymote.lab.files import profiles

PROCESSES: Final = 2
LEFT_OUT: Final = "medium access, idle listening, sleep and flash writes: left out for every scheme alike"


class Plan(NamedTuple):
    """How much is run: sizes of streets, runs of both suites' lines at V1, of the other lines, and of each script."""

    ns: Sequence[int] = (3, 5, 7, 10, 15, 20, 25, 30)
    runs: int = 100
    further: int = 12
    scripts: int = 20
    homes: Sequence[int] = (3, 6, 9, 12, 15)
    series: Sequence[Series] = SERIES


QUICK: Final = Plan(ns=(3, 5), runs=3, further=2, scripts=2, homes=(3, 5), series=SERIES[:5])
_IN_FULL: Final = ("suite1-v1", "suite17-v1")


def reproduce(seed: str, further: Sequence[Path] = (), *, quick: bool = False, note: Note = silent) -> Reproduced:
    """Let streets of real engines agree on modelled devices, replay what others would do there, and rule on the claims.

    `further`: files of device profiles beside those that come with the program; they must not take their names.
    """
    plan = QUICK if quick else Plan()
    devices = _devices(further)
    base = f"paper-001/{seed}".encode()
    streets = dict(_streets(plan, devices, base, note, parallel=not quick))
    ordered = {(series.name, n): streets[series.name, n] for series in plan.series for n in plan.ns}
    note("what others would do on the same devices")
    others = compared(plan.ns, plan.scripts, devices, base)
    note("commands of an energy exchange")
    evidence = Evidence(ordered, others, devices, delivered(plan.homes, devices, base))
    rulings = verdicts(evidence)
    beyond = [over for street in ordered.values() if (over := excess(street))]
    used = [
        devices[name] for name in sorted({each for series in plan.series for each in (series.meter, series.gateway)})
    ]
    result: dict[str, object] = {
        "ok": not beyond,
        "reproduction": "paper-001",
        "seed": seed,
        "configuration": {
            "ns": list(plan.ns),
            "radio": "IEEE 802.15.4 at 250 kbit/s, 6LoWPAN, one channel that all share, CoAP NON",
            "channel": "5 ms and up to 5 ms of jitter; the last line loses 1 % of what each receiver should hear",
            "tls": str(handshake().kind),
            "cycle_s": CYCLE_S,
            "offer_every_s": EVERY_S,
            "left_out": LEFT_OUT,
        },
        "claims": [verdict.as_json() for verdict in rulings],
        "table1": tables.table1(evidence),
        "energy_by_function_mj": tables.energies(devices),
        "streets": [_street(street, devices) for street in ordered.values()],
        "others": [each.as_json(devices[METER]) for each in others.values()],
        "commands": {str(n): number for n, number in evidence.delivered.items()},
        "beyond_the_specification": beyond,
        "profiles": [profile.as_json() for profile in used],
    }
    return Reproduced(not beyond, result, tables.all_of(evidence, rulings), plot.drawings(evidence))


def _devices(further: Sequence[Path]) -> Mapping[str, Profile]:
    with ExitStack() as stack:
        folder = stack.enter_context(as_file(files(__package__).joinpath("profiles")))
        return profiles([*sorted(folder.glob("*.toml")), *further])


def _streets(
    plan: Plan, devices: Mapping[str, Profile], seed: bytes, note: Note, *, parallel: bool
) -> Iterator[tuple[tuple[str, int], Street]]:
    """Yield every street as it is done, the largest first; each has its own seed, so the order changes nothing."""
    jobs = [
        (series, n, plan.runs if series.name in _IN_FULL else plan.further)
        for n in sorted(plan.ns, reverse=True)
        for series in plan.series
    ]
    if not parallel:
        for series, n, runs in jobs:
            yield (series.name, n), measure(series, n, runs, devices, seed)
        return
    with ProcessPoolExecutor(min(PROCESSES, os.cpu_count() or 1)) as pool:
        waiting = {pool.submit(measure, series, n, runs, devices, seed): (series, n) for series, n, runs in jobs}
        for done, future in enumerate(as_completed(waiting), 1):
            series, n = waiting[future]
            note(f"[{done}/{len(jobs)}] {series.title}, {n} members")
            yield (series.name, n), future.result()


def excess(street: Street) -> dict[str, object] | None:
    """Return what a member computed beyond the specification at V1; None when all is well."""
    if "V1" not in street.series.title or street.latency.n < 3:
        return None
    prescribed = operations.as_metered(
        operations.group(street.latency.n)["member"], has_map=suite_by_id(street.series.suite).pake
    )
    over = {name: number for name, number in (street.operations - prescribed).items() if name != "key_check"}
    return {"street": street.series.name, "n": street.latency.n, **over} if over else None


def _street(street: Street, devices: Mapping[str, Profile]) -> dict[str, object]:
    device = devices[street.series.meter]
    spent = cost(device, street.operations, street.carried)
    return {
        "line": street.series.name,
        "title": street.series.title,
        "suite": street.series.suite,
        "device": street.series.meter,
        "latency": street.latency.as_json(),
        "operations": dict(sorted(street.operations.items())),
        "sent": list(street.traffic.sent),
        "received_bytes": sum(street.traffic.received),
        "bytes_on_the_air": street.on_air,
        "largest_message_by_type": {str(mt): size for mt, size in sorted(street.sizes.items())},
        "state_bytes": dict(street.state),
        "energy_mj": round(spent.total_j * 1e3, 3),
        "trace": street.trace,
    }
