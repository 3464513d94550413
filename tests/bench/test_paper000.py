"""Paper 000 re-measured: verdicts follow from numbers, phases add up to the specification, peers that lack are named."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

import pytest

from keymote.bench import operations
from keymote.bench.reproduce import REPRODUCTIONS, reproduction
from keymote.bench.reproduce.paper000 import baselines as peers
from keymote.bench.reproduce.paper000.carrier import in_coap, in_edhoc_coap
from keymote.bench.reproduce.paper000.claims import (
    FASTEST_MUL,
    LEAST_CODE,
    Ruling,
    energy_verdicts,
    memory_verdicts,
    rule,
)
from keymote.bench.reproduce.paper000.engines import Path, measure
from keymote.bench.reproduce.paper000.held import identities, octets
from keymote.bench.reproduce.paper000.ours import PATHS, counts, divided, published
from keymote.bench.reproduce.paper000.scheme import AUTHENTICATION, ENROLMENT, SESSION_KEY, Phase, Scheme
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault
from keymote.lab.energy import Kind, Traffic
from keymote.lab.files import profiles

PLATFORM = [profiles()[name] for name in ("cc2538-pka", "cc2538-software")]
PAGE = FilePath(__file__).parents[2] / "docs" / "reference" / "paper-000.md"
PRINTED = published(counts()["published"])


# ------------------------------------------------------------------ verdicts


def test_the_papers_energies_cannot_be() -> None:
    authentication, key = energy_verdicts(PRINTED, PLATFORM)
    assert (authentication.claim.value, key.claim.value) == (32.0, 23.0)
    assert authentication.ruling is key.ruling is Ruling.CANNOT_BE
    # three multiplications, 548 873 cycles each, at 32 MHz and 27.3 mW: 1.405 mJ, 44 times the claim
    assert authentication.floor == pytest.approx(3 * 548_873 / 32e6 * 27.3e-3 * 1e6)
    assert authentication.floor / 32 == pytest.approx(43.9, abs=0.1)
    assert key.floor == pytest.approx(authentication.floor / 3)
    assert authentication.factor == authentication.modelled["cc2538-pka"] / 32
    assert "1.17 ms" in authentication.why
    assert "37,509 cycles" in authentication.why
    assert "19.8 bytes" in authentication.why


def test_a_multiplication_that_were_cheap_enough_would_turn_the_verdict() -> None:
    fast = replace(FASTEST_MUL, value=10_000)
    assert {verdict.ruling for verdict in energy_verdicts(PRINTED, PLATFORM, fast)} == {Ruling.DOES_NOT_HOLD}
    nothing = replace(PRINTED, phases=tuple(_idle(each) for each in PRINTED.phases))
    assert {verdict.ruling for verdict in energy_verdicts(nothing, PLATFORM)} == {Ruling.HOLDS}


def _idle(phase: Phase) -> Phase:
    return replace(phase, operations=Counter({"hash": 1}), traffic=Traffic())


def test_the_memory_verdicts_follow_from_what_is_needed() -> None:
    assert [verdict.ruling for verdict in memory_verdicts()] == [Ruling.DOES_NOT_HOLD] * 3
    small = memory_verdicts(replace(LEAST_CODE, value=1400), {"d_D": 20})
    assert [verdict.ruling for verdict in small] == [Ruling.HOLDS] * 3
    assert memory_verdicts()[2].floor == 2900 + 261


@pytest.mark.parametrize(
    ("claimed", "modelled", "floor", "ruling"),
    [
        (10, 12.5, 1, Ruling.HOLDS),
        (10, 12.6, 1, Ruling.DOES_NOT_HOLD),
        (10, 45, 40, Ruling.DOES_NOT_HOLD),
        (10, 45, 40.1, Ruling.CANNOT_BE),
    ],
)
def test_a_ruling_is_a_matter_of_two_numbers(claimed: float, modelled: float, floor: float, ruling: Ruling) -> None:
    assert rule(claimed, modelled, floor) is ruling


def test_the_page_says_what_the_command_says() -> None:
    page = PAGE.read_text("utf-8")
    for verdict in (*energy_verdicts(PRINTED, PLATFORM), *memory_verdicts()[:2]):
        unit, floor = verdict.claim.unit, f"{verdict.floor:,.0f}".replace(",", " ")
        row = f"| {verdict.claim.name} | {verdict.claim.value:g} {unit} | {floor} {unit} | {verdict.ruling}"
        assert row in page


# ------------------------------------------------------------------ our phases


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_the_phases_are_the_specifications_session_divided(path: Path) -> None:
    phases = divided(path, counts()["triad1"])
    authentication, key = phases[AUTHENTICATION][0], phases[SESSION_KEY][0]
    assert authentication + key == operations.session(fast=path.fast, compact=path.compact)["I"]
    assert authentication["mul"] == 4
    assert key["mul"] == 2
    assert phases[ENROLMENT][0] == operations.enrolment()["device"]


def test_our_engines_are_measured_message_by_message() -> None:
    full = measure(b"test", 17, Path(fast=False, compact=False))
    assert full.excess(Path(fast=False, compact=False), has_map=False) == {}
    assert full.called["session"]["mul"] == 6
    enrolment, authentication, key = (full.traffic[name] for name in (ENROLMENT, AUTHENTICATION, SESSION_KEY))
    assert len(enrolment.sent) == len(enrolment.received) == 4  # JOIN SHARE BIND DONE, HELLO OFFER VPT CRED
    assert authentication.sent[0] == 52  # SESSREQ in LINK
    assert authentication.datagrams == 4  # SESSREQ PEERCRED A1 A2
    assert key.datagrams == 6  # A3 A4 SHREQ SHRESP FIN1 FIN2
    assert key.sent[-1] == key.received[-1] == 29  # FIN1, FIN2
    assert full.durable["enrolment"] > full.durable["link"] > 32
    assert full.session_peak > full.session_open > 2 * 32
    assert measure(b"test", 17, Path(fast=False, compact=False)) == full


def test_the_fast_path_has_no_request_for_shares() -> None:
    fast = measure(b"test", 1, Path(fast=True, compact=True))
    assert fast.traffic[SESSION_KEY].datagrams == 5  # A3 A4 SHRESP FIN1 FIN2
    assert max(fast.traffic[AUTHENTICATION].received) < 200  # compact PEERCRED


def test_an_engine_that_computes_too_much_is_told() -> None:
    path = Path(fast=False, compact=False)
    honest = measure(b"test", 17, path)
    greedy = replace(honest, called={**honest.called, "session": honest.called["session"] + Counter(mul=1)})
    assert greedy.excess(path, has_map=False) == {"session": Counter(mul=1)}


# ------------------------------------------------------------------ carriers and state


def test_coap_adds_what_our_endpoint_adds() -> None:
    assert in_coap(Traffic((100,), ())).sent == (100 + 4 + 4 + 2 + 2 + 1,)  # header, token, path, format, marker
    blocks = in_coap(Traffic((), (673,)))
    assert blocks.received == (512 + 16, 161 + 16)  # Block1 in three bytes more
    assert blocks.sent == (4 + 4 + 3,)  # 2.31 Continue
    edhoc = in_edhoc_coap(Traffic((37, 19), (45,)))
    assert edhoc.sent[0] - edhoc.sent[1] == 18
    assert edhoc.received[0] < 45 + 12


def test_state_is_counted_once_and_to_the_bottom() -> None:
    @dataclass(frozen=True)
    class Inner:
        key: Secret
        number: int

    @dataclass(frozen=True)
    class Outer:
        inner: Inner
        again: Inner
        name: str
        maybe: bytes | None = None

    inner = Inner(Secret(bytes(32)), 300)
    assert octets(Outer(inner, inner, "dev")) == 32 + 2 + 3
    assert octets(Outer(inner, inner, "dev"), identities(inner)) == 3
    with pytest.raises(TypeError, match="complex"):
        octets(1j)


# ------------------------------------------------------------------ peers


def _baselines() -> dict[str, Scheme]:
    return {scheme.name: scheme for scheme in peers.baselines(counts()["baselines"])}


def test_the_peers_are_measured_in_this_run() -> None:
    found = _baselines()
    assert set(found) == {"dtls-psk", "dtls-cert", "edhoc", "s3k-like"}
    for scheme in found.values():
        assert scheme.phases[0].traffic_kind is Kind.MEASURED
    assert found["edhoc"].session_messages.octets == 101
    assert found["s3k-like"].session_messages.octets > found["dtls-psk"].session_messages.octets + 32 - 8


def test_what_was_recorded_is_what_is_measured() -> None:
    """Sizes that a machine without the peers prints must stay true; signatures in DER vary by a few bytes."""
    for name, table in counts()["baselines"].items():
        recorded = [*table["recorded"]["sent"], *table["recorded"]["received"]]
        measured = _measured(name)
        assert len(measured) == len(recorded)
        assert all(abs(one - other) <= 8 for one, other in zip(measured, recorded, strict=True))


def _measured(name: str) -> list[int]:
    phase = _baselines()[name].phases[0]
    anchor = 1 if name == "s3k-like" else 0
    return [*phase.messages.sent[anchor:], *phase.messages.received[anchor:]]


def test_a_peer_that_is_not_installed_is_recorded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name == "lakers" else object())
    found = _baselines()
    phase = found["edhoc"].phases[0]
    assert phase.traffic_kind is Kind.RECORDED
    assert "lakers is not installed" in phase.traffic_source
    assert phase.messages.octets == 101
    assert found["dtls-psk"].phases[0].traffic_kind is Kind.MEASURED


# ------------------------------------------------------------------ the register


def test_an_unknown_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(CallerFault, match="paper-000"):
        reproduction("paper-999")
    assert all(callable(each.load()) for each in REPRODUCTIONS.values())
