"""The published scheme by its equations, and Triad-1 as our engines run it."""

import tomllib
from collections import Counter
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from keymote.bench import operations
from keymote.bench.operations import Counts
from keymote.bench.reproduce.paper000.carrier import in_coap
from keymote.bench.reproduce.paper000.claims import DATA_OF_A_SESSION, KEPT_FOR_GOOD
from keymote.bench.reproduce.paper000.engines import Measured, Path
from keymote.bench.reproduce.paper000.scheme import AUTHENTICATION, ENROLMENT, SESSION_KEY, Phase, Scheme, State
from keymote.lab.energy import Kind, Traffic

_TITLES = {
    Path(fast=False, compact=False): (
        "triad1",
        "Triad-1, full",
        "normal path, full PEERCRED: the device checks the chain",
    ),
    Path(fast=True, compact=True): ("triad1-fast", "Triad-1, fast", "fast path, compact PEERCRED: its manager vouches"),
}
PATHS = tuple(_TITLES)
"""The dearest and the cheapest way to open a session."""


def counts() -> Mapping[str, Any]:
    """Return counts.toml."""
    return tomllib.loads(files(__package__).joinpath("counts.toml").read_text("utf-8"))


def published(table: Mapping[str, Mapping[str, Any]]) -> Scheme:
    """Return paper 000's scheme with the least that its equations need and no header around its points."""
    phases = []
    for name in (ENROLMENT, AUTHENTICATION, SESSION_KEY):
        entry = table[name]
        bare = Traffic(tuple(entry["sent"]), tuple(entry["received"]))
        source = "bare fields, points compressed to 33 bytes, no CoAP and no DTLS"
        phases.append(Phase(name, Counter(entry["operations"]), entry["source"], bare, bare, Kind.COMPUTED, source))
    needs = dict(DATA_OF_A_SESSION)
    state = State(
        {name: needs.pop(name) for name in KEPT_FOR_GOOD}, needs, Kind.COMPUTED, "paper 000, equations (1) to (9)"
    )
    about = "the scheme as the paper prints it, by the least that its equations need"
    return Scheme("published", "Paper 000", about, None, phases, state, forward_secrecy=False)


def triad1(measured: Measured, suite: int, path: Path, table: Mapping[str, Any]) -> Scheme:
    """Return our scheme on one path: the specification's operations, the engines' own datagrams and state."""
    name, title, about = _TITLES[path]
    counted = divided(path, table)
    phases = [
        Phase(
            phase,
            operations_of_phase,
            source,
            measured.traffic[phase],
            in_coap(measured.traffic[phase]),
            Kind.MEASURED,
            "our engines in the simulator, in this run; carried as CoAP POST /k",
        )
        for phase, (operations_of_phase, source) in counted.items()
    ]
    state = State(
        {f"{kind} record": size for kind, size in measured.durable.items()},
        {"open": measured.session_open},
        Kind.MEASURED,
        f"records as our engines store them, and the fields of the open session's cell; {measured.session_peak} bytes at "
        "most on the way",
    )
    return Scheme(name, title, about, suite, phases, state, forward_secrecy=True)


def divided(path: Path, table: Mapping[str, Any]) -> Mapping[str, tuple[Counts, str]]:
    """Return the specification's operations of a device by the paper's phases, each with its source."""
    authentication = Counter[str](table["authentication"]["operations"])
    if path.compact:
        for operation, by in table["authentication"]["compact"].items():
            authentication[operation] += by
    whole = operations.session(fast=path.fast, compact=path.compact)["I"]
    key = whole.copy()
    key.subtract(authentication)
    if any(number < 0 for number in key.values()):
        raise AssertionError("more operations in authentication than the whole session has")
    text = "bench/operations.toml"
    return {
        ENROLMENT: (operations.enrolment()["device"], f"{text} [enrolment.device], Triad-1 2.4"),
        AUTHENTICATION: (+authentication, table["authentication"]["source"]),
        SESSION_KEY: (+key, f"{text} [session.I] without authentication, Triad-1 2.6, 2.8"),
    }
