"""What people read of the reproduction: claims, energy, lifetime, bytes, hand-over."""

from collections.abc import Iterator, Mapping, Sequence

from keymote.bench.reproduce import Row
from keymote.bench.reproduce.paper000.tables import readable
from keymote.bench.reproduce.paper002 import carriers
from keymote.bench.reproduce.paper002.claims import Evidence, Verdict
from keymote.bench.reproduce.paper002.lifetime import Between
from keymote.bench.reproduce.paper002.schemes import READING
from keymote.lab.energy import Traffic, cost

SHOWN: Sequence[int] = (1, 10, 60)
"""Readings an hour of the table; the figure has more."""


def all_of(evidence: Evidence, rulings: Sequence[Verdict]) -> Mapping[str, list[Row]]:
    """Return the tables by their titles."""
    return {
        "paper 002's claims": [_claim(verdict) for verdict in rulings],
        f"a reading of {READING} bytes at its sensor, mJ": list(_readings(evidence)),
        "lifetime, hours": list(_hours(evidence)),
        "what carries a reading, bytes beyond a UDP header": list(_carriers(evidence)),
        "when the mote moves": list(_moves(evidence)),
    }


def _claim(verdict: Verdict) -> Row:
    return {
        "claim": verdict.claim,
        "paper": verdict.paper,
        "found": verdict.found,
        "verdict": str(verdict.ruling),
    }


def _readings(evidence: Evidence) -> Iterator[Row]:
    for scheme in evidence.schemes.values():
        spent, keys = evidence.device.spend(scheme.reading), evidence.device.spend(scheme.keys)
        yield {
            "scheme": scheme.title,
            "processor": readable(spent.cpu_j * 1e3),
            "radio": readable((spent.tx_j + spent.rx_j) * 1e3),
            "in all": readable(spent.total_j * 1e3),
            "keys": readable(keys.total_j * 1e3),
            "sent, bytes": sum(scheme.reading.traffic.sent),
            "state, bytes": sum(scheme.state.values()),
        }


def _hours(evidence: Evidence) -> Iterator[Row]:
    for scheme in evidence.schemes.values():
        shown = scheme.title
        for session in scheme.sessions:
            hours = {
                f"{between}, {rate}/h": readable(evidence.hours(scheme.name, session, between, rate))
                for between in Between
                for rate in SHOWN
            }
            yield {"scheme": shown, "session": str(session), **hours}
            shown = ""


def _carriers(evidence: Evidence) -> Iterator[Row]:
    for name, carried in carriers.CARRIERS.items():
        sizes = {f"{octets} B": "+".join(map(str, _sizes(carried(octets)))) for octets in (16, 32, 64)}
        spent = cost(evidence.device.profile, {}, carried(READING))
        yield {
            "carrier": name,
            **sizes,
            f"radio for {READING} B, mJ": readable(spent.total_j * 1e3),
            "frames": spent.frames,
        }


def _sizes(traffic: Traffic) -> tuple[int, ...]:
    return (*traffic.sent, *traffic.received)


def _moves(evidence: Evidence) -> Iterator[Row]:
    for name, step in evidence.hand_overs.items():
        spent = evidence.device.spend(step)
        yield {
            "step": name,
            "messages": step.traffic.datagrams,
            "bytes": step.traffic.octets,
            "public-key operations": sum(step.work.operations[each] for each in ("mul", "base_mul", "sign", "verify")),
            "processor, s": readable(spent.cpu_s),
            "mJ": readable(spent.total_j * 1e3),
        }
