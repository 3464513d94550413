"""`keymote lab reproduce paper-002`: everything in one run, in seconds."""

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from keymote.bench.reproduce import Note, Reproduced, silent
from keymote.bench.reproduce.paper000.scheme import as_json
from keymote.bench.reproduce.paper002 import carriers, plot, tables
from keymote.bench.reproduce.paper002.claims import Evidence, verdicts
from keymote.bench.reproduce.paper002.lifetime import RATES, Between, Supply
from keymote.bench.reproduce.paper002.schemes import READING, Device, Scheme, hand_overs, peers, published, triad1
from keymote.crypto.entropy import SeededEntropy
from keymote.lab.energy import Figure
from keymote.lab.files import profiles

MOTE: Final = "z1"
"""The paper's own mote; claims are judged on it."""
LEFT_OUT: Final = (
    "medium access, repetition, the batteries' own losses and flash writes: left out for every scheme alike"
)


def table() -> Mapping[str, Any]:
    """Return mote.toml."""
    return tomllib.loads(files(__package__).joinpath("mote.toml").read_text("utf-8"))


def reproduce(
    seed: str,
    further: Sequence[Path] = (),
    *,
    quick: bool = False,  # noqa: ARG001  it is quick as it is
    note: Note = silent,
) -> Reproduced:
    """Meter our engines, take the peers' bytes, price everything on a Z1, and rule on the paper's claims.

    `further`: files of device profiles that are priced too; a round of Ascon costs them what it costs the Z1.
    """
    figures = table()
    base = f"paper-002/{seed}".encode()
    entropy = SeededEntropy(base)
    ascon_round = Figure.read("ascon_round", figures["cycles"]["ascon_round"])
    known = profiles(further)
    own = [MOTE, *sorted(known.keys() - profiles().keys())]
    devices = [Device(known[name], ascon_round) for name in own]
    note("readings, grants and hand-overs of our engines")
    schemes = [*published(), *triad1(entropy)]
    moves = hand_overs(entropy, base)
    note("handshakes of DTLS, where OpenSSL is installed")
    schemes += peers(figures)
    evidence = Evidence(devices[0], Supply.read(figures["supply"]), {each.name: each for each in schemes}, moves)
    rulings = verdicts(evidence)
    result: dict[str, object] = {
        "ok": True,
        "reproduction": "paper-002",
        "seed": seed,
        "configuration": {
            "reading_bytes": READING,
            "radio": "IEEE 802.15.4, 6LoWPAN, 64-bit addresses",
            "left_out": LEFT_OUT,
        },
        "claims": [verdict.as_json() for verdict in rulings],
        "schemes": [scheme.as_json(devices) for scheme in schemes],
        "lifetime_h": _lifetimes(evidence, schemes),
        "carriers": {
            name: {str(octets): _traffic(carried(octets)) for octets in (16, 32, 64, 128)}
            for name, carried in carriers.CARRIERS.items()
        },
        "mqttsn_set_up": _traffic(carriers.mqttsn_set_up()),
        "moves": {
            name: {**step.as_json(), "costs": {each.profile.name: as_json(each.spend(step)) for each in devices}}
            for name, step in moves.items()
        },
        "supply": evidence.supply.as_json(),
        "ascon_round_cycles": ascon_round.as_json(),
        "profiles": [device.profile.as_json() for device in devices],
    }
    return Reproduced(True, result, tables.all_of(evidence, rulings), plot.drawings(evidence))


def _traffic(traffic: Any) -> dict[str, list[int]]:
    return {"sent": list(traffic.sent), "received": list(traffic.received)}


def _lifetimes(evidence: Evidence, schemes: Sequence[Scheme]) -> list[dict[str, object]]:
    return [
        {
            "scheme": scheme.name,
            "session": str(session),
            "between": str(between),
            "hours": {str(rate): round(evidence.hours(scheme.name, session, between, rate)) for rate in RATES},
        }
        for scheme in schemes
        for session in scheme.sessions
        for between in Between
    ]
