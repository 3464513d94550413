"""One run of the fleet, and what it says: everybody enrolled, every session open at both ends, how long, how much memory."""

import asyncio
import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

from keymote.bench.fleet.plan import Meeting, Place, Terms, device_number, meetings
from keymote.bench.fleet.processes import Fleet, start
from keymote.bench.fleet.role import processor_s
from keymote.bench.report import Metric
from keymote.errors import Unavailable
from keymote.stories.processes import Cast

GOAL_S: Final = 300.0
LONGEST_S: Final = 600.0
"""A run that is not done by then is measured as it stands."""
LOOK_EVERY_S: Final = 0.25
FAIR_DEVIATIONS: Final = 4.0
"""By how many standard deviations the relay's drops and copies may stay below what was asked for, or it was none."""

FEWEST_PER_ENROLMENT: Final = 10
FEWEST_PER_SESSION: Final = 12
"""Datagrams without which there is no enrolment and no session, however they travel; fewer, and some went past the relay."""

Progress = Callable[[str, int, int], None]
"""`(what, done, of)`."""


@dataclass(slots=True)
class Run:
    """What one run came to. Times in ms but `wall_s` (first process started to last session open) and `setup_s`; KiB."""

    terms: Terms
    setup_s: float = 0.0
    enrol_s: float = 0.0
    open_s: float = 0.0
    wall_s: float = 0.0
    enrol_ms: list[float] = field(default_factory=list)
    open_ms: list[float] = field(default_factory=list)
    open: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    device_kib: list[int] = field(default_factory=list)
    """Of both streets together: before the first device started, all enrolled, all sessions open."""
    manager_kib: list[int] = field(default_factory=list)
    relay: Mapping[str, int] = field(default_factory=dict)
    processor_s: Mapping[str, float] = field(default_factory=dict)
    """Of all roles of a kind (`manager`, `street`) together, from their start to the last session."""


async def run(folder: Path, terms: Terms, progress: Progress) -> Run:
    """Start the fleet in `folder`, enrol and open, and stop everything, whatever happens.

    Raises:
        Unavailable: a role did not start, or ended; or we are told to end (SIGTERM).
    """
    work = asyncio.create_task(_run(folder, terms, progress))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        us = asyncio.current_task()
        if us is not None and us.cancelling():
            raise
        raise Unavailable("told to end") from None
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def _run(folder: Path, terms: Terms, progress: Progress) -> Run:
    began = time.monotonic()
    made = Run(terms)
    progress("starting", 0, 1)
    async with Cast(folder) as cast:
        fleet = await start(cast, terms)
        made.setup_s = time.monotonic() - began
        deadline = began + LONGEST_S
        _weigh(fleet, made)
        made.enrol_s = await _enrol(fleet, terms, progress, deadline)
        _weigh(fleet, made)
        made.open_s = await _open(fleet, terms, progress, deadline)
        made.wall_s = time.monotonic() - began
        _weigh(fleet, made)
        made.processor_s = _processor_s(fleet)
        for said in await fleet.ask_streets("status"):
            made.failures.update(said["failures"])
        _judge(made, await fleet.ask_streets("sessions"))
        made.relay = await fleet.ask(fleet.relay, "counts")
    return made


def _weigh(fleet: Fleet, made: Run) -> None:
    made.device_kib.append(fleet.resident_kib(fleet.streets))
    made.manager_kib.append(fleet.resident_kib(fleet.managers))


def _processor_s(fleet: Fleet) -> Mapping[str, float]:
    spent: dict[str, float] = {}
    for role in fleet.cast.roles:
        kind = role.name.partition("-")[0]
        spent[kind] = spent.get(kind, 0.0) + processor_s(role.pid)
    return spent


async def _enrol(fleet: Fleet, terms: Terms, progress: Progress, deadline: float) -> float:
    began = time.monotonic()
    await fleet.ask_streets("enrol")
    await _until(fleet, "enrolled", terms.devices, progress, deadline)
    return time.monotonic() - began


async def _open(fleet: Fleet, terms: Terms, progress: Progress, deadline: float) -> float:
    began = time.monotonic()
    planned = meetings(terms)
    for operator, street in enumerate(fleet.streets):
        rows = [_row(fleet, meeting) for meeting in planned if meeting.initiator[0] == operator]
        await fleet.ask(street, "open", rows=rows)
    await _until(fleet, "opened", terms.sessions, progress, deadline)
    return time.monotonic() - began


def _row(fleet: Fleet, meeting: Meeting) -> list[object]:
    operator, index = meeting.responder
    at = Place(device_number(operator, index), fleet.port).address if meeting.direct else ""
    return [meeting.initiator[1], fleet.dev_ids[operator][index], at]


async def _until(fleet: Fleet, what: str, wanted: int, progress: Progress, deadline: float) -> None:
    """Look until the streets together have done so much, or time is up."""
    while True:
        done = sum(said[what] for said in await fleet.ask_streets("status"))
        progress(what, done, wanted)
        if done >= wanted or time.monotonic() > deadline:
            return
        await asyncio.sleep(LOOK_EVERY_S)


def _judge(made: Run, streets: Sequence[Mapping[str, Any]]) -> None:
    """Count what is open: two devices hold a session of this psid, under equal key ids."""
    held: dict[str, list[str]] = {}
    for said in streets:
        made.enrol_ms += said["enrol_ms"]
        made.open_ms += said["open_ms"]
        for psid, key_id in said["held"]:
            held.setdefault(psid, []).append(key_id)
    made.open = sum(held.get(psid) == [key_id, key_id] for said in streets for psid, key_id in said["opened"])


# ------------------------------------------------------------------ metrics


def metrics(made: Run) -> list[Metric]:
    """Return the figures of a run, those with goals first."""
    terms, devices, sessions = made.terms, made.terms.devices, made.terms.sessions
    relay = made.relay
    fewest = FEWEST_PER_ENROLMENT * devices + FEWEST_PER_SESSION * sessions
    taken = max(relay.get("taken", 0), fewest)
    dropped, copied = (
        _fair(terms.loss, taken),
        _fair(terms.loss * (1 - terms.loss), taken),
    )  # what is dropped has no copy
    return [
        _one("fleet.enrolled", "devices", len(made.enrol_ms), devices, at_least=True),
        _one("fleet.open", "sessions", made.open, sessions, at_least=True),
        _one("fleet.wall_s", "s", made.wall_s, GOAL_S),
        _one("fleet.relay.taken", "datagrams", relay.get("taken", 0), fewest, at_least=True),
        _one("fleet.relay.dropped", "datagrams", relay.get("dropped", 0), dropped, at_least=True),
        _one("fleet.relay.duplicated", "datagrams", relay.get("duplicated", 0), copied, at_least=True),
        _one("fleet.relay.held", "datagrams", relay.get("held", 0), copied, at_least=True),
        _one("fleet.relay.reordered", "datagrams", relay.get("reordered", 0), min(1, copied), at_least=True),
        _one("fleet.retries", "times", sum(made.failures.values())),
        *(_one(f"fleet.retries.{name.replace(' ', '.')}", "times", n) for name, n in sorted(made.failures.items())),
        *_times("fleet.enrol", made.enrol_ms),
        *_times("fleet.open", made.open_ms),
        _one("fleet.setup_s", "s", made.setup_s),
        _one("fleet.enrol_s", "s", made.enrol_s),
        _one("fleet.open_s", "s", made.open_s),
        *(_one(f"fleet.processor.{kind}_s", "s", spent) for kind, spent in sorted(made.processor_s.items())),
        _one("fleet.memory.enrolled.device_kib", "KiB", _growth(made.device_kib, 1) / devices),
        _one("fleet.memory.enrolled.manager_kib", "KiB", _growth(made.manager_kib, 1) / devices),
        _one("fleet.memory.open.device_kib", "KiB", _growth(made.device_kib, 2) / (2 * sessions)),
        _one("fleet.memory.open.manager_kib", "KiB", _growth(made.manager_kib, 2) / sessions),
    ]


def _fair(part: float, taken: int) -> float:
    """Return the fewest of `taken` datagrams that a dice of this part hits."""
    expected = part * taken
    return max(1.0, expected - FAIR_DEVIATIONS * math.sqrt(expected * (1 - part))) if part else 0.0


def _one(name: str, unit: str, value: float, goal: float | None = None, *, at_least: bool = False) -> Metric:
    return Metric(name, value, unit, (value, value), goal, at_least)


def _times(name: str, rounds: Sequence[float]) -> list[Metric]:
    """Return p50 and p99 of what took so many ms each, with the 10th and 90th percentile beside."""
    if len(rounds) < 2:
        return []
    cuts = quantiles(rounds, n=100, method="inclusive")
    spread = (cuts[9], cuts[89])
    return [Metric(f"{name}.p50_ms", cuts[49], "ms", spread), Metric(f"{name}.p99_ms", cuts[98], "ms", spread)]


def _growth(weights: Sequence[int], step: int) -> int:
    return weights[step] - weights[step - 1]
