"""What people read of the reproduction: claims, energy, time, bytes."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from keymote.bench.reproduce import Row
from keymote.bench.reproduce.paper000.claims import Verdict
from keymote.bench.reproduce.paper000.scheme import HANDSHAKE, Scheme
from keymote.lab.energy import Cost, Kind, Profile


def all_of(
    schemes: Sequence[Scheme], profiles: Sequence[Profile], verdicts: Sequence[Verdict]
) -> Mapping[str, list[Row]]:
    """Return the tables by their titles."""
    return {
        "paper 000's claims": [_claim(verdict) for verdict in verdicts],
        "energy of a device, mJ": list(_costs(schemes, profiles, lambda spent: spent.total_j * 1e3)),
        "time of a device at work, ms": list(_costs(schemes, profiles, lambda spent: spent.total_s * 1e3)),
        "messages and state of a device, bytes": [_bytes(scheme) for scheme in schemes],
    }


def _claim(verdict: Verdict) -> Row:
    unit = verdict.claim.unit
    return {
        "claim": verdict.claim.name,
        "paper": f"{verdict.claim.value:g} {unit}",
        "no less than": f"{verdict.floor:,.0f} {unit}",
        "modelled": ", ".join(f"{name} {value:,.0f}" for name, value in verdict.modelled.items()),
        "verdict": str(verdict.ruling),
    }


def by_name(schemes: Sequence[Scheme]) -> Mapping[str, list[Scheme]]:
    """Return the schemes by name: ours is there once for each suite, and each profile prices the one of its group."""
    named: dict[str, list[Scheme]] = {}
    for scheme in schemes:
        named.setdefault(scheme.name, []).append(scheme)
    return named


def _costs(schemes: Sequence[Scheme], profiles: Sequence[Profile], quantity: Callable[[Cost], float]) -> Iterator[Row]:
    for same in by_name(schemes).values():
        fitting = [(each, next(scheme for scheme in same if scheme.fits(each))) for each in profiles]
        shown = same[0].title
        for phase in same[0].phases:
            spent = {each.title: scheme.phase_cost(phase.name, each) for each, scheme in fitting}
            yield _row(shown, phase.name, {title: quantity(each) for title, each in spent.items()})
            shown = ""
        if same[0].phases[0].name != HANDSHAKE:
            whole = {each.title: quantity(scheme.session_cost(each)) for each, scheme in fitting}
            yield _row(shown, "session in all", whole)


def _row(title: str, phase: str, values: Mapping[str, float]) -> Row:
    return {"scheme": title, "phase": phase, **{name: readable(value) for name, value in values.items()}}


def _bytes(scheme: Scheme) -> Row:
    messages = scheme.session_messages
    state = None if scheme.state is None else scheme.state.as_json()
    enrolment = next((phase.messages.octets for phase in scheme.phases if phase.name == "enrolment"), None)
    kinds = {phase.traffic_kind for phase in scheme.phases}
    return {
        "scheme": scheme.title if scheme.suite is None else f"{scheme.title} ({scheme.suite})",
        "enrolment": enrolment,
        "session": messages.octets,
        "datagrams": messages.datagrams,
        "durable": None if state is None else state["durable_bytes"],
        "open": None if state is None else state["session_bytes"],
        "forward secrecy": scheme.forward_secrecy,
        "kind": ", ".join(sorted(kinds)) + (" earlier" if Kind.RECORDED in kinds else ""),
    }


def readable(value: float) -> str:
    """Return a number with three digits, thousands apart: 0.0123, 1.23, 12.3, 1,234."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
