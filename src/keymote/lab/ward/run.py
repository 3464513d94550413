"""Ten thousand moves of fifty patients: what their logs hold against what the caregivers opened, with and without loss."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from keymote.errors import ErrorCode
from keymote.lab.experiment import Experiment, Outcome, Progress, Row
from keymote.lab.ward.caregiver import count, delays
from keymote.lab.ward.hospital import Hospital
from keymote.lab.ward.patient import ALARM, VITALS
from keymote.lab.ward.plan import WardPlan
from keymote.lab.ward.trouble import rotate, stop

SETTLES_S: Final = 60.0
"""Within which everybody has keys and is served at home."""
DRAINS_S: Final = 600.0
"""Within which, after the last move, everything has been handed on."""
BINS_MS: Final = (50, 75, 100, 125, 150, 200, 300, 500, 1000, 2000, 4000, 8000, 16000, 32000)


def run(experiment: Experiment, seed: str, progress: Progress = lambda _share: None) -> Outcome:
    """Let the patients walk in one world for each loss, and compare logs. Same experiment, same seed: same outcome."""
    plan = experiment.ward
    rows: list[Row] = []
    tables: dict[str, Sequence[Row]] = {}
    checks: dict[str, bool] = {}
    for number, loss in enumerate(plan.losses):
        done = number / len(plan.losses)
        world = walked(plan, loss, seed, lambda share, done=done: progress(done + share / len(plan.losses)))  # type: ignore[misc]
        row = counted(world, loss)
        rows.append(row)
        tables[f"arrivals at {loss:.0%} loss"] = histogram(world)
        checks |= {f"{what} at {loss:.0%} loss": holds for what, holds in held(world, row).items()}
    facts: dict[str, object] = {
        "patients": plan.patients,
        "moves": sum(int(str(row["moves"])) for row in rows),
        "readings": sum(int(str(row["logged"])) for row in rows),
        "lost": sum(int(str(row["lost"])) for row in rows),
        "duplicates": sum(int(str(row["twice"])) for row in rows),
        "out_of_order": sum(int(str(row["out_of_order"])) for row in rows),
    }
    return Outcome(experiment, seed, facts, {"losses": rows, **tables}, checks)


def walked(plan: WardPlan, loss: float, seed: str, progress: Progress = lambda _share: None) -> Hospital:
    """Return a hospital after all its moves, when everything has been handed on."""
    world = Hospital(plan, loss, seed)
    world.run(lambda: all(patient.served for patient in world.patients.values()), SETTLES_S)
    for name in world.patients:
        _measure(world, name)
        world.walk(name)
    if plan.down_every_s:
        _repeat(world, plan.down_every_s, lambda: stop(world, _one_of(world, plan.wards), plan.down_for_s))
    if plan.rotate_every_s:
        _repeat(world, plan.rotate_every_s, lambda: _rotate(world))
    while world.moves < plan.moves:
        world.run(lambda: world.moves >= plan.moves, 60.0)
        progress(world.moves / plan.moves)
    world.run(lambda: settled(world), DRAINS_S)
    return world


def settled(world: Hospital) -> bool:
    """Tell whether every reading has reached every caregiver, who has its key."""
    return (
        all(patient.idle for patient in world.patients.values())
        and not any(
            session.queue or session.under_way
            for broker in world.brokers.values()
            for session in (*broker.sessions.values(), *broker.bridges.values())
        )
        and not any(caregiver.waiting or not caregiver.awake for caregiver in world.caregivers.values())
        and not any(order.held for caregiver in world.caregivers.values() for order in caregiver.orders.values())
    )


def _measure(world: Hospital, name: str) -> None:
    """Let a sensor measure now and then, as long as anybody walks; not all at once."""

    def again() -> None:
        if world.moves < world.plan.moves:
            world.read(name, VITALS)
            world.after(world.plan.read_every_s * (0.5 + world.dice.uniform()), again)

    world.after(world.plan.read_every_s * world.dice.uniform(), again)


def _repeat(world: Hospital, every_s: float, action: Callable[[], None]) -> None:
    def again() -> None:
        if world.moves < world.plan.moves:
            action()
            world.after(every_s, again)

    world.after(every_s, again)


def _one_of(world: Hospital, count: int) -> int:
    return int(world.dice.uniform() * count)


def _rotate(world: Hospital) -> None:
    patients, caregivers = list(world.patients), list(world.caregivers)
    topic = f"ward/{patients[_one_of(world, len(patients))]}/{(VITALS, ALARM)[_one_of(world, 2)]}"
    rotate(world, topic, caregivers[_one_of(world, len(caregivers))], world.plan.asleep_s)


# ------------------------------------------------------------------ what came of it


def counted(world: Hospital, loss: float) -> dict[str, object]:
    """Return one row: readings, arrivals and what they cost."""
    found = count(list(world.patients.values()), list(world.caregivers.values()))
    by = Counter(arrival.by for arrival in world.arrivals.over)
    dropped = sum((caregiver.dropped for caregiver in world.caregivers.values()), Counter[ErrorCode]())
    patients, caregivers = list(world.patients.values()), list(world.caregivers.values())
    opened = {
        way: sorted(
            1000 * arrival.opened_s
            for arrival in world.arrivals.over
            if arrival.by == way and arrival.opened_s is not None
        )
        for way in ("hand-over", "home", "full")
    }
    alarms = [1000 * delay for delay in delays(patients, caregivers, ALARM)]
    return {
        "loss": loss,
        "moves": world.moves,
        "virtual_s": round(world.sim.now),
        **found._asdict(),
        "hand_overs": by["hand-over"],
        "came_home": by["home"],
        "full_way": by["full"],
        "rotations": world.rotations,
        "repeated_by_patients": sum(patient.repeated for patient in patients),
        "replays_dropped": dropped[ErrorCode.E_REPLAY],
        "others_dropped": dropped.total() - dropped[ErrorCode.E_REPLAY],
        "held_for_order": sum(caregiver.held for caregiver in world.caregivers.values()),
        "unverified_forwarded": world.unverified,
        "most_kept_by_a_patient": max(patient.longest for patient in patients),
        "most_queued": max(
            session.longest
            for broker in world.brokers.values()
            for session in (*broker.sessions.values(), *broker.bridges.values())
        ),
        "denied": dict(world.refused),
        "hand_over_to_opened_ms": _quantiles(opened["hand-over"]),
        "home_to_opened_ms": _quantiles(opened["home"]),
        "full_way_to_opened_ms": _quantiles(opened["full"]),
        "alarm_to_opened_ms": _quantiles(alarms),
        "datagrams_by_mote": _mean([arrival.datagrams for arrival in world.arrivals.over if arrival.by == "hand-over"]),
    }


def held(world: Hospital, row: Mapping[str, object]) -> Mapping[str, bool]:
    """Return what must hold, with or without loss."""
    return {
        "no reading is lost": row["lost"] == 0,
        "no reading is opened twice": row["twice"] == 0,
        "the order of every topic is kept": row["out_of_order"] == 0,
        "nothing is opened that nobody has logged": row["strange"] == 0,
        "nothing is dropped but repetitions": row["others_dropped"] == 0,
        "everything was handed on in the end": settled(world),
        "a broker holds no reading": not any(broker.saw(b"pulse") for broker in world.brokers.values()),
        "all moves were made": world.moves >= world.plan.moves,
    }


def histogram(world: Hospital) -> Sequence[Row]:
    """Return how many arrivals took how long until a caregiver had opened the reading that waited, by the way in."""
    counts: Counter[tuple[int, str]] = Counter()
    for arrival in world.arrivals.over:
        if arrival.opened_s is not None:
            bound = next((bound for bound in BINS_MS if 1000 * arrival.opened_s <= bound), BINS_MS[-1])
            counts[bound, arrival.by] += 1
    ways = ("hand-over", "home", "full")
    return [{"at_most_ms": bound, **{way: counts[bound, way] for way in ways}} for bound in BINS_MS]


def _quantiles(values: Sequence[float]) -> Mapping[str, float] | None:
    """Return the median, the 95th percentile and the largest of sorted values; None of none."""
    if not values:
        return None
    places = {"p50": 0.5, "p95": 0.95, "most": 1.0}
    return {name: round(values[min(len(values) - 1, int(part * len(values)))], 1) for name, part in places.items()}


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 3) if values else None
