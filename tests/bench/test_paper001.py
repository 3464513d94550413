"""Paper 001 re-measured: verdicts follow from numbers, streets are our engines', the page says what the command says."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from keymote.bench import group_baselines, operations
from keymote.bench.group import Size
from keymote.bench.reproduce import REPRODUCTIONS, Reproduced, reproduction
from keymote.bench.reproduce.paper000.claims import Ruling
from keymote.bench.reproduce.paper001 import run
from keymote.bench.reproduce.paper001.claims import own_energy_mj, own_latency_ms, rule
from keymote.bench.reproduce.paper001.commands import CYCLE_S, EVERY_S, delivered
from keymote.bench.reproduce.paper001.run import QUICK, _devices
from keymote.bench.reproduce.paper001.streets import SERIES, Street, in_carrier, measure
from keymote.lab.energy import Kind, Profile

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "paper-001.md"


@pytest.fixture(scope="module")
def devices() -> Mapping[str, Profile]:
    return _devices([])


@pytest.fixture(scope="module")
def streets(devices: Mapping[str, Profile]) -> Mapping[str, Street]:
    """Return four meters under the lines at V1 and at V0."""
    return {series.name: measure(series, 4, 3, devices, b"test") for series in SERIES[:2]}


# ------------------------------------------------------------------ verdicts


def test_the_papers_numbers_contradict_each_other() -> None:
    assert own_latency_ms(25) == 35 + 24 * 26 == 659
    assert own_energy_mj(3) == pytest.approx(1.6 + 2 * 2.4)
    assert rule(450, own_latency_ms(25), 1.0) is Ruling.CANNOT_BE
    assert rule(124, own_latency_ms(5), 1.0) is Ruling.HOLDS
    assert rule(4.2, own_energy_mj(3), 1.0) is Ruling.CANNOT_BE


def test_the_page_says_what_the_papers_own_numbers_are() -> None:
    page = PAGE.read_text("utf-8")
    for name, claimed, n in (
        ("negotiation, 5 meters", 124, 5),
        ("negotiation, 25 meters", 450, 25),
        ("rekeying, 10 meters", 200, 10),
        ("rekeying, 25 meters", 500, 25),
        ("negotiation, 15 meters of a microgrid", 310, 15),
        ("rekeying, 15 homes", 400, 15),
    ):
        own = own_latency_ms(n)
        (row,) = (line for line in page.splitlines() if line.startswith(f"| {name} |"))
        assert f"| {claimed} ms | {own:g} ms |" in row
        assert row.endswith(f"| {rule(claimed, own, 10 * claimed)} |")
    assert f"| 4.2 mJ | {own_energy_mj(3):g} mJ |" in page


@pytest.mark.parametrize(
    ("own", "found", "ruling"),
    [
        (None, 125, Ruling.HOLDS),
        (None, 126, Ruling.DOES_NOT_HOLD),
        (125, 126, Ruling.DOES_NOT_HOLD),
        (126, 1, Ruling.CANNOT_BE),
    ],
)
def test_a_ruling_is_a_matter_of_two_numbers(own: float | None, found: float, ruling: Ruling) -> None:
    assert rule(100, own, found) is ruling


# ------------------------------------------------------------------ streets


def test_a_street_computes_what_the_specification_says(streets: Mapping[str, Street]) -> None:
    light, full = streets["suite1-v0"], streets["suite1-v1"]
    prescribed = operations.as_metered(operations.group(4)["member"], has_map=True)
    assert not full.operations - prescribed
    assert full.operations["verify"] == 1 + 4
    assert light.operations["verify"] == 2
    assert {name: full.operations[name] for name in ("mul", "base_mul", "sign")} == {"mul": 3, "base_mul": 2, "sign": 2}


def test_latency_is_at_least_what_the_critical_path_computes(
    streets: Mapping[str, Street], devices: Mapping[str, Profile]
) -> None:
    meter = devices["paper-001-curve25519"]
    for street in streets.values():
        least_ms = meter.seconds(street.operations) * 1e3
        assert least_ms < street.latency.least_ms < street.latency.mean_ms < street.latency.most_ms < least_ms + 400
        assert street.latency.ci95_ms > 0
    assert streets["suite1-v1"].latency.mean_ms > streets["suite1-v0"].latency.mean_ms + 2 * 26


def test_messages_and_state_are_those_of_the_run(streets: Mapping[str, Street]) -> None:
    full = streets["suite1-v1"]
    assert (full.sizes[33], full.sizes[35], full.sizes[36]) == (132, 188, 30)
    assert list(full.traffic.sent) == [132, 188, 30]
    assert len(full.traffic.received) == 2 + 2 * 3  # START, COMMIT, R1 and R2 of three others
    assert full.on_air == full.traffic.octets + 3 * 30  # the others' R3 go to the gateway alone
    assert full.state["peak"] > full.state["active"] > full.state["record"] > 4 * 40
    assert in_carrier(132) == 132 + 13
    assert in_carrier(1000) == 1000 + 13


def test_the_same_seed_gives_the_same_street(devices: Mapping[str, Profile]) -> None:
    one, two, other = (measure(SERIES[1], 3, 1, devices, seed) for seed in (b"a", b"a", b"b"))
    assert one == two
    assert one.trace != other.trace


def test_commands_grow_with_the_homes(devices: Mapping[str, Profile]) -> None:
    assert delivered((2, 3), devices, b"test") == {2: 2 * CYCLE_S // EVERY_S, 3: 3 * CYCLE_S // EVERY_S}


# ------------------------------------------------------------------ what others would do


def test_the_others_are_measured_on_real_objects() -> None:
    few, many = group_baselines.sizes(3), group_baselines.sizes(25)
    assert many.lkh_leave - few.lkh_leave == pytest.approx(6 * 28, abs=3)  # 2 x 5 - 1 wraps in place of 2 x 2 - 1
    assert many.dh_share == few.dh_share
    assert sum(many.tls) > 1200
    found = {metric.name: metric for metric in group_baselines.rows(Size(rounds=1, largest=10), lambda *_: None)}
    for name in ("lkh", "central_dh", "treekem", "tls_each"):
        assert found[f"group.baseline.{name}.n10.bytes"].value > 100
        assert found[f"group.baseline.{name}.n10.server_us"].value > 0
        assert found[f"group.baseline.{name}.n10.member_us"].value > 0
    central = found["group.baseline.central_dh.n10.server_us"].value
    assert central > found["group.baseline.lkh.n10.server_us"].value


def test_what_was_recorded_of_tls_is_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = group_baselines.measured()
    assert measured.kind is Kind.MEASURED
    monkeypatch.setattr(group_baselines, "find_spec", lambda _name: None)
    recorded = group_baselines.handshake.__wrapped__()
    assert recorded.kind is Kind.RECORDED
    assert all(abs(a - b) <= 12 for a, b in zip(measured.flights, recorded.flights, strict=True))
    assert measured.record == recorded.record


# ------------------------------------------------------------------ the whole


@pytest.fixture(scope="module")
def found() -> Reproduced:
    """Return what an even quicker run than --quick finds."""
    plan = QUICK._replace(ns=(3, 5), runs=2, further=2, scripts=1, homes=(3,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "QUICK", plan)
        return reproduction("paper-001").load()("test", quick=True)


@pytest.mark.long
def test_a_quick_run_says_everything_but_what_it_has_not_measured(found: Reproduced) -> None:
    assert found.ok
    assert json.loads(json.dumps(found.result))["reproduction"] == "paper-001"
    names = [claim["name"] for claim in found.result["claims"]]  # type: ignore[attr-defined]
    page = PAGE.read_text("utf-8")
    assert all(f"| {name} |" in page for name in names)
    assert "negotiation, 5 meters" in names
    assert "negotiation, 25 meters" not in names
    assert len(names) == len(set(names)) >= 15
    assert set(found.drawings) == {f"paper-001-figure-{number}" for number in (4, 5, 8, 9)}
    assert "paper-001" in REPRODUCTIONS


@pytest.mark.long
def test_every_number_of_a_profile_has_its_source(found: Reproduced) -> None:
    for profile in found.result["profiles"]:  # type: ignore[attr-defined]
        for figure in (*profile["electrical"].values(), *profile["cycles"].values()):
            assert figure["source"] and figure["kind"] in set(Kind)


@pytest.mark.long
def test_the_figures_can_be_drawn(found: Reproduced) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    for draw in found.drawings.values():
        figure = figures.Figure()
        draw(figure)
        assert len(figure.axes) == 2
        assert all(axes.get_ylabel() for axes in figure.axes)


def test_a_member_that_computes_too_much_is_told(streets: Mapping[str, Street]) -> None:
    honest = streets["suite1-v1"]
    assert run.excess(honest) is None
    more = honest.operations.copy()
    more["mul"] += 1
    assert run.excess(replace(honest, operations=more)) == {"street": "suite1-v1", "n": 4, "mul": 1}
