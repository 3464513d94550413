"""What devices would run instead, in this very run where the peers are installed, recorded figures that say so where not."""

from collections import Counter
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, Final

from keymote.bench.reproduce.paper000.carrier import in_coap, in_edhoc_coap
from keymote.bench.reproduce.paper000.scheme import HANDSHAKE, Phase, Scheme, State
from keymote.lab.energy import Kind, Traffic

PEERS: Final[Mapping[str, str]] = {
    "dtls-psk": "OpenSSL",
    "dtls-cert": "OpenSSL",
    "edhoc": "lakers",
    "s3k-like": "OpenSSL",
}
"""Scheme -> module without which it cannot run here; handshakes of any kind are measured by OpenSSL's module too."""


def baselines(tables: Mapping[str, Mapping[str, Any]]) -> list[Scheme]:
    """Return every scheme of [baselines] in counts.toml."""
    return [_scheme(name, table) for name, table in tables.items()]


def missing(name: str) -> str | None:
    """Return the module without which a baseline cannot be measured; None when it can be."""
    return next((module for module in ("OpenSSL", PEERS[name]) if find_spec(module) is None), None)


def _scheme(name: str, table: Mapping[str, Any]) -> Scheme:
    absent = missing(name)
    if absent is None:
        handshake, kind, source = _measured(name, table), Kind.MEASURED, table["traffic"]
    else:
        recorded = table["recorded"]
        handshake, kind = Traffic(tuple(recorded["sent"]), tuple(recorded["received"])), Kind.RECORDED
        source = f"{table['traffic']}; recorded, because {absent} is not installed here (make test installs it)"
    carried = in_edhoc_coap(handshake) if name == "edhoc" else handshake
    anchor = table.get("anchor", {})
    before = Traffic(tuple(anchor.get("sent", ())), tuple(anchor.get("received", ())))
    phase = Phase(
        HANDSHAKE,
        Counter(table["operations"]),
        table["source"],
        before + handshake,
        in_coap(before) + carried,
        kind,
        source,
    )
    state = State(
        table["durable"], table["session"], Kind.COMPUTED, "the least that the protocol must remember, field by field"
    )
    return Scheme(name, table["title"], table["about"], None, (phase,), state, table["forward_secrecy"])


def _measured(name: str, table: Mapping[str, Any]) -> Traffic:
    """Run one handshake with the real peer and return the initiator's flights."""
    from keymote.bench import handshakes  # noqa: PLC0415  its libraries are of the test group

    makers: Mapping[str, Callable[[], handshakes.Handshake]] = {
        "dtls-psk": handshakes.plain_psk,
        "dtls-cert": handshakes.mutual_certificates,
        "edhoc": handshakes.edhoc,
        "s3k-like": lambda: handshakes.plain_psk(bytes(range(1, 1 + table.get("identity", 0)))),
    }
    cost = makers[name]()()
    return Traffic(tuple(cost.sent), tuple(cost.received))
