"""The rural microgrid of paper 001 (6.2): days without an uplink, a key every morning, readings that wait sealed for the link."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from keymote.engine.group.faces import GroupReady, RingCommitted
from keymote.engine.group.payload_faces import GroupOpened
from keymote.engine.policy.group_faces import DAY_S, Refuse
from keymote.lab.experiment import Event, Experiment, Outcome, Progress, Row
from keymote.lab.simulator import EPOCH
from keymote.lab.street import GW
from keymote.lab.village import SealedRecord, Village, negotiations, opened_outside, readable, village

READING: Final = "telemetry/energy"
LIMIT: Final = "control/limit"
BEFORE_NIGHT_S: Final = 600.0
"""Readings are taken so long after the full hour, so that no morning's run and no reading begin together."""


def run(experiment: Experiment, seed: str, progress: Progress = lambda _share: None) -> Outcome:
    """Let the days pass and say what came of them. Same experiment, same seed: same outcome."""
    made = village(
        experiment.meters,
        experiment.policy,
        experiment.uplink,
        seed=f"{experiment.name} {seed}".encode(),
        channel=experiment.radio,
        multicast=experiment.ring.multicast,
        compact=experiment.ring.compact,
        suite=experiment.ring.suite,
    )
    made.settle()
    end = experiment.days * DAY_S
    waiting: list[tuple[float, int]] = []
    made.agenda.every(1800.0, 0.0, lambda: waiting.append((made.now, len(made.uplink.waiting))))
    made.agenda.every(float(experiment.load.reading_every_s), BEFORE_NIGHT_S, partial(_read_out, made))
    limits: list[int] = []
    for at_s in experiment.load.limit_at_s:
        made.agenda.every(float(DAY_S), _first(made, at_s), partial(_limit, made, limits))
    for event in experiment.events:
        made.agenda.at(made.clock(event.day, event.at_s), partial(happen, made, event))
    made.run(end, lambda now: progress(min(1.0, now / end)))
    return _outcome(made, experiment, seed, waiting, limits)


def happen(made: Village, event: Event) -> None:
    """Let people do what the calendar says; what cannot be (somebody who is not there) is nothing."""
    match event.what:
        case "arrive":
            made.arrive(event.who, allowed=True)
        case "stranger":
            made.arrive(event.who, allowed=False)
        case _ if event.who not in made.street.sim.hosts:
            return
        case "leave":
            made.leave(event.who)
        case "evict":
            made.evict(event.who)
        case "revoke":
            made.revoke(event.who)
        case "off" | "restart":
            made.power(event.who, float(event.for_s))


def _first(made: Village, at_s: int) -> float:
    return next(at for day in (0, 1) if (at := made.clock(day, at_s)) >= made.now)


def _read_out(made: Village) -> None:
    """Let every meter that is a member, or waits to be one again, read and send; Wh of the hour, by the dice."""
    for name in made.meters:
        if not made.is_outside(name):
            made.read_out(name, READING, f"{int(made.dice.uniform() * 900)} Wh".encode())


def _limit(made: Village, limits: list[int]) -> None:
    """Let the first meter that is active limit everybody's load; note how many others should hear it."""
    active = [name for name in made.street.members() if made.street.active(name) is not None]
    if active and made.send(active[0], LIMIT, b"2 kW until 22:00", signed=True):
        limits.append(sum(made.street.sim.hosts[name].up for name in active[1:]))


def _outcome(
    made: Village, experiment: Experiment, seed: str, waiting: list[tuple[float, int]], limits: list[int]
) -> Outcome:
    street, office, uplink = made.street, made.office, made.uplink
    epochs = negotiations(street)
    commands = sum(report.resource == LIMIT for name in made.meters for report in street.sim.heard(name, GroupOpened))
    passed = len(office.records) + sum(isinstance(item.fact, SealedRecord) for item in uplink.waiting)
    found = office.conflicts()
    safe = time_to_safe(made)
    outside = {event.who: event.what for event in experiment.events if event.what in ("leave", "evict", "revoke")}
    intruders = sum(_opened_after_leaving(made, name) for name in outside)
    early = sum(_opened_before_joining(made, name) for name in made.meters)
    facts: dict[str, object] = {
        "days": experiment.days,
        "meters": experiment.meters,
        "members_now": len(street.members()),
        "epoch": street.newest(),
        "uplink_share": round(min(1.0, experiment.uplink.for_s / DAY_S), 4),
        "morning_ready_ms_median": _median([each.ready_ms for each in epochs[1:]]),
        "morning_air_ms_median": _median([each.air_ms for each in epochs[1:]]),
        "readings_sent": sum(meter.sent for meter in made.meters.values()) - len(limits),
        "records_logged": passed,
        "records_uploaded": len(office.records),
        "records_readable": readable(office.records, made.epochs, street),
        "batches": uplink.uploads,
        "items_repeated": office.repeated,
        "most_waiting": uplink.longest,
        "commands": len(limits),
        "commands_due": sum(limits),
        "commands_opened": commands,
        "refused": len({each.decision.member for each in made.steward.decided if isinstance(each.decision, Refuse)}),
        **safe,
    }
    tables: dict[str, Sequence[Row]] = {
        "epochs": [each.row() for each in epochs],
        "waiting": [{"at": at, "items": items} for at, items in waiting],
        "conflicts": [{"name": str(each.kind), "what": str(each)} for each in found],
        "decisions": _decisions(made),
    }
    checks = {
        "everybody agrees at the end": street.agreed(),
        "no epoch has two keys": all(len(keys) == 1 for keys in street.keys().values()),
        "no nonce was used twice": not made.street.witness.reused,
        "whoever left, was evicted or revoked opens nothing after": intruders == 0,
        "who joined opens nothing of before": early == 0,
        "what was uploaded can be read by who holds the keys": facts["records_readable"] == len(office.records),
        "the log lost nothing": _sequence_is_whole(made),
    }
    return Outcome(experiment, seed, facts, tables, checks)


def time_to_safe(made: Village) -> Mapping[str, object]:
    """Return, for who was revoked, seconds until the gateway knew and until all others had a key without it; {} if nobody was."""
    rows: dict[str, object] = {}
    for kid, at_ms in made.office.revoked.items():
        at = at_ms / 1000 - EPOCH
        safe = next(
            (
                when
                for when, _, report in made.street.sim.hosts[GW].reports
                if isinstance(report, RingCommitted) and when >= at and kid not in report.kids
            ),
            None,
        )
        known = next(
            (each.at for each in made.steward.decided if each.at >= at and kid in getattr(each.decision, "remove", ())),
            None,
        )
        rows["time_to_known_s"] = None if known is None else round(known - at, 3)
        rows["time_to_safe_s"] = None if safe is None else round(safe - at, 3)
    return rows


def _opened_after_leaving(made: Village, name: str) -> int:
    """Return how many records of epochs without it a member has opened."""
    kid = made.street.people[name].kid if name in made.street.people else b""
    with_it = [r.epoch for r in made.street.sim.heard(GW, RingCommitted) if kid in r.kids]
    return opened_outside(made.street, name, 0, max(with_it, default=0)) if name in made.meters else 0


def _opened_before_joining(made: Village, name: str) -> int:
    ready = [report.epoch for report in made.street.sim.heard(name, GroupReady)]
    return opened_outside(made.street, name, min(ready, default=1 << 32), 1 << 32)


def _sequence_is_whole(made: Village) -> bool:
    """Return whether what is uploaded and what still waits are all lines of the log, each once."""
    known = made.office.taken.get(made.uplink.gateway, 0)
    return [item.seq for item in made.uplink.waiting if item.seq > known] == list(
        range(known + 1, made.uplink.last + 1)
    )


def _decisions(made: Village) -> list[Mapping[str, object]]:
    """Return what the policy decided, refusals of one asker once."""
    rows: list[Mapping[str, object]] = []
    seen: set[object] = set()
    for at, decision, failed in made.steward.decided:
        if isinstance(decision, Refuse):
            if decision in seen:
                continue
            seen.add(decision)
        what = type(decision).__name__.lower()
        rows.append({"day": round(at / DAY_S, 3), "decision": what, "why": _why(decision), "failed": failed})
    return rows


def _why(decision: object) -> str:
    if isinstance(decision, Refuse):
        return str(decision.why)
    reason = getattr(decision, "reason", None)
    return "" if reason is None else reason.name.lower()


def _median(values: list[float]) -> float | None:
    return round(sorted(values)[len(values) // 2], 3) if values else None
