"""What people read of the reproduction: claims, the paper's table 1, latencies, bytes and state, energy by function."""

from collections.abc import Mapping, Sequence
from typing import Final

from keymote.bench.reproduce import Row
from keymote.bench.reproduce.paper000.tables import readable
from keymote.bench.reproduce.paper001.claims import ECDH_MJ, KEYGEN_MJ, LIGHT_MJ, Evidence, Verdict
from keymote.bench.reproduce.paper001.comparison import METER
from keymote.bench.reproduce.paper001.streets import SERIES
from keymote.lab.baselines import SCHEMES, Event
from keymote.lab.energy import Profile, Traffic, cost

TABLE_N: Final = 25
FUNCTIONS: Final[Mapping[str, tuple[Mapping[str, int], float | None]]] = {
    "key pair": ({"base_mul": 1}, KEYGEN_MJ),
    "ECDH": ({"mul": 1}, ECDH_MJ),
    "signature": ({"sign": 1}, None),
    "verification": ({"verify": 1}, LIGHT_MJ),
    "hash of 200 B": ({"hash": 1}, LIGHT_MJ),
    "AEAD of 64 B": ({"aead": 1}, None),
}
"""Figure 5's blocks: what they compute, and the paper's millijoules; verification and hash "under 1.5"."""
PAPER_TABLE: Final[Mapping[str, Mapping[str, str]]] = {
    "central-dh": {"rounds": "3", "message": "250 B", "energy": "7.5"},
    "lkh": {"rounds": "log n", "message": "220-350 B", "energy": "5.8"},
    "ours": {"rounds": "2-3", "message": "180-200 B", "energy": "4.2"},
}
_ROUNDS: Final = {"lkh": "1", "central-dh": "3", "treekem": "1", "mqtt-tls": "1", "tls-each": "4"}


def all_of(evidence: Evidence, verdicts: Sequence[Verdict]) -> Mapping[str, list[Row]]:
    """Return the tables by their titles."""
    return {
        "paper 001's claims": [_claim(verdict) for verdict in verdicts],
        f"table 1, one rekeying of {evidence.most(TABLE_N)} meters": table1(evidence),
        "latency, ms (mean and half of the 95 % interval)": latencies(evidence),
        "bytes of a member and state, suite 1": _bytes(evidence),
        "energy by function, mJ": energies(evidence.devices),
    }


def _claim(verdict: Verdict) -> Row:
    unit = verdict.claim.unit
    own = "" if verdict.own is None else f"{readable(verdict.own)} {unit}"
    return {
        "claim": verdict.claim.name,
        "paper": f"{verdict.claim.value:g} {unit}",
        "by its own numbers": own,
        "found": "; ".join(f"{name} {readable(value)}" for name, value in verdict.found.items()),
        "verdict": str(verdict.ruling),
    }


def table1(evidence: Evidence) -> list[Row]:
    """Return the paper's comparison with everything on one device and one radio."""
    device, n = evidence.devices[METER], evidence.most(TABLE_N)
    rows: list[Row] = []
    for series in ("suite17-v1", "suite17-v0"):
        street = evidence.streets[series, n]
        spent = cost(device, street.operations, street.carried)
        rows.append(
            {
                "scheme": f"ring, {street.series.title}",
                "rounds": "3",
                "largest message": max(street.sizes.values()),
                "bytes on the air": street.on_air,
                "latency_ms": round(street.latency.mean_ms),
                "energy_mj": round(spent.total_j * 1e3, 1),
                **_printed("ours"),
            }
        )
    for name, (title, _) in SCHEMES.items():
        other = evidence.others[name, Event.LEAVE, n]
        rows.append(
            {
                "scheme": title,
                "rounds": _ROUNDS[name],
                "largest message": max((*other.traffic.sent, *other.traffic.received)),
                "bytes on the air": other.octets,
                "latency_ms": round(other.latency.mean_ms),
                "energy_mj": round(other.energy(device).total_j * 1e3, 1),
                **_printed(name),
            }
        )
    return rows


def _printed(name: str) -> Row:
    printed = PAPER_TABLE.get(name, {})
    return {f"paper: {each}": printed.get(each, "") for each in ("rounds", "message", "energy")}


def latencies(evidence: Evidence) -> list[Row]:
    rows: list[Row] = []
    for series in SERIES:
        streets = [street for (name, _), street in evidence.streets.items() if name == series.name]
        if streets:
            shown = {
                f"n = {each.latency.n}": f"{each.latency.mean_ms:.0f} ± {each.latency.ci95_ms:.0f}" for each in streets
            }
            rows.append({"line": series.title, "device": series.meter, "runs": streets[0].latency.runs, **shown})
    return rows


def _bytes(evidence: Evidence) -> list[Row]:
    streets = [street for (name, _), street in evidence.streets.items() if name == "suite1-v1"]
    return [
        {
            "n": street.latency.n,
            "R1": street.sizes[33],
            "R2": street.sizes[35],
            "R3": street.sizes[36],
            "sent": sum(street.traffic.sent),
            "received": sum(street.traffic.received),
            "record": street.state["record"],
            "cell at most": street.state["peak"],
        }
        for street in streets
    ]


def energies(devices: Mapping[str, Profile]) -> list[Row]:
    """Return figure 5's energies on the paper's meter and on a Cortex-M4, beside what the paper says."""
    rows: list[Row] = []
    shown = [devices[name] for name in ("paper-001-curve25519", "cortex-m4")]
    for name, (operations, printed) in FUNCTIONS.items():
        spent = {each.title: cost(each, operations, Traffic()).total_j * 1e3 for each in shown}
        rows.append(
            {
                "function": name,
                "paper": "" if printed is None else f"{printed:g}",
                **{title: readable(value) for title, value in spent.items()},
            }
        )
    return rows
