"""`keymote bench edhoc`: our EDHOC beside lakers', which is written in Rust, both sides in this very process.

A round runs every handshake `TRIES` times and keeps the least of each: what else the machine does can only add to it.
Processor time is that of this thread; a ratio is taken within a round. Each run makes new ephemeral keys, ends with one
export of 16 bytes and compares both ends'; credentials are known beforehand, as lakers' are.
"""

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from keymote import cbor
from keymote.bench import handshakes
from keymote.bench.handshakes import Cost, Handshake
from keymote.bench.report import Metric, metric
from keymote.crypto.edhoc_suites import edhoc_suite
from keymote.crypto.entropy import SystemEntropy
from keymote.crypto.secret import Secret
from keymote.engine.edhoc import initiator, responder
from keymote.engine.edhoc.credentials import KnownPeers, Own, Peer
from keymote.engine.edhoc.profile import Profile
from keymote.errors import Unavailable
from keymote.wire.edhoc import id_cred_by_kid

TRIES: Final = 30
GOALS: Final = {"m3s2": 1 / 2, "m3s0": 1 / 3}
"""Method and suite -> the most that one side may take of what lakers takes for method 3 in suite 2."""
VARIANTS: Final = {"m3s2": (3, 2), "m3s0": (3, 0), "m0s2": (0, 2), "m0s0": (0, 0)}

Progress = Callable[[int, int], None]


def run(rounds: int, progress: Progress) -> Iterator[Metric]:
    """Measure `rounds` rounds and yield the metrics."""
    ours = {name: handshake(*variant) for name, variant in VARIANTS.items()}
    everything: Mapping[str, Handshake] = {"lakers": handshakes.edhoc(), **ours}
    table: dict[str, list[float]] = {}
    for number in range(rounds):
        gc.collect()
        gc.freeze()  # collections look at what the runs leave behind
        costs = {name: handshakes.least([again() for _ in range(TRIES)]) for name, again in everything.items()}
        gc.unfreeze()
        for name, value in _figures(costs):
            table.setdefault(name, []).append(value)
        progress(number + 1, rounds)
    for name, values in table.items():
        unit = "us" if name.endswith("_us") else "B" if name.endswith("bytes") else "ratio"
        variant, _, last = name.rpartition(".")
        yield metric(f"edhoc.{name}", unit, values, GOALS.get(variant) if last == "vs_lakers" else None)


def _figures(costs: Mapping[str, Cost]) -> Iterator[tuple[str, float]]:
    base = costs["lakers"].initiator_us + costs["lakers"].responder_us
    for name, cost in costs.items():
        if name != "lakers":
            yield f"{name}.vs_lakers", (cost.initiator_us + cost.responder_us) / base
        yield f"{name}.initiator_us", cost.initiator_us
        yield f"{name}.responder_us", cost.responder_us
        yield f"{name}.bytes", cost.octets


def handshake(method: int, suite_id: int) -> Handshake:
    """Return our handshake with credentials by kid, three messages: each call runs one from the beginning."""
    one, other = _party(suite_id, b"\x0a", signs=method == 0), _party(suite_id, b"\x0b", signs=method == 0)
    I = Profile(method, one[0], KnownPeers([other[1]]), (suite_id,))  # noqa: E741  the role's letter
    R = Profile(method, other[0], KnownPeers([one[1]]), (suite_id,))
    entropy = SystemEntropy()

    def run_once() -> Cost:
        cost, clock = Cost(), time.thread_time_ns
        started = clock()
        awaiting, message_1 = initiator.begin(I, b"\x01", entropy)
        cost.initiator_us += (clock() - started) / 1000
        started = clock()
        waiting, message_2 = responder.write_message_2(responder.read_message_1(R, message_1), b"\x02", entropy)
        cost.responder_us += (clock() - started) / 1000
        started = clock()
        last, message_3 = initiator.write_message_3(initiator.read_message_2(awaiting, message_2))
        mine = last.session.exporter(0, b"", 16)
        cost.initiator_us += (clock() - started) / 1000
        started = clock()
        finished = responder.read_message_3(waiting, message_3)
        theirs = finished.session.exporter(0, b"", 16)
        cost.responder_us += (clock() - started) / 1000
        if mine != theirs:
            raise Unavailable("both ends of EDHOC hold different keys")
        cost.octets, cost.datagrams = len(message_1) + len(message_2) + len(message_3), 3
        return cost

    return run_once


def _party(suite_id: int, kid: bytes, *, signs: bool) -> tuple[Own, Peer]:
    """Return a credential as its owner has it and as the other side knows it."""
    suite, seed = edhoc_suite(suite_id), Secret(os.urandom(32))
    if signs:
        signing = suite.signing_key(seed)
        cred = cbor.encode({2: "dev", 8: {1: {1: 1, 2: kid, -1: suite.cose_crv_of_signatures, -2: signing.public}}})
        return Own(id_cred_by_kid(kid), cred, signing), Peer(
            id_cred_by_kid(kid), cred, suite.verify_key(signing.public)
        )
    static = suite.curve.private(seed)
    cred = cbor.encode({2: "dev", 8: {1: {1: 2, 2: kid, -1: suite.curve.cose_crv, -2: static.public}}})
    return Own(id_cred_by_kid(kid), cred, static), Peer(id_cred_by_kid(kid), cred, suite.curve.check(static.public))
