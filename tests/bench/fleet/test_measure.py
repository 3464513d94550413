"""What a run says: it must fail when somebody was left out, when it took too long, and when the network was no bad one."""

from dataclasses import replace

import pytest

from keymote.bench.fleet.measure import Run, _judge, metrics
from keymote.bench.fleet.plan import Terms
from keymote.bench.report import Metric

TERMS = Terms(devices=4, sessions=2, loss=0.05)
GOOD = Run(
    TERMS,
    wall_s=100.0,
    enrol_ms=[10.0, 20.0, 30.0, 40.0],
    open_ms=[5.0, 7.0],
    open=2,
    device_kib=[1000, 1400, 1500],
    manager_kib=[500, 540, 560],
    relay={"taken": 1000, "dropped": 50, "duplicated": 48, "held": 52, "reordered": 9},
)


def said(run: Run) -> dict[str, Metric]:
    return {figure.name: figure for figure in metrics(run)}


def test_a_run_in_which_everybody_came_through_holds() -> None:
    figures = said(GOOD)
    goals = {name for name, figure in figures.items() if figure.holds is not None}
    assert goals >= {"fleet.enrolled", "fleet.open", "fleet.wall_s", "fleet.relay.dropped"}
    assert all(figures[name].holds for name in goals)
    assert (figures["fleet.enrolled"].goal, figures["fleet.open"].goal, figures["fleet.wall_s"].goal) == (4, 2, 300.0)
    assert figures["fleet.memory.enrolled.device_kib"].value == 100
    assert figures["fleet.memory.open.manager_kib"].value == 10
    assert figures["fleet.enrol.p50_ms"].value == 25.0


@pytest.mark.parametrize(
    ("name", "worse"),
    [
        ("fleet.enrolled", {"enrol_ms": [10.0, 20.0, 30.0]}),
        ("fleet.open", {"open": 1}),
        ("fleet.wall_s", {"wall_s": 300.1}),
        ("fleet.relay.dropped", {"relay": {**GOOD.relay, "dropped": 0}}),
        ("fleet.relay.duplicated", {"relay": {**GOOD.relay, "duplicated": 0}}),
        ("fleet.relay.held", {"relay": {**GOOD.relay, "held": 0}}),
        ("fleet.relay.reordered", {"relay": {**GOOD.relay, "reordered": 0}}),
        ("fleet.relay.dropped", {"relay": {}}),
        ("fleet.relay.taken", {"relay": {**GOOD.relay, "taken": 60}}),
    ],
)
def test_each_goal_can_fail(name: str, worse: dict[str, object]) -> None:
    assert said(replace(GOOD, **worse))[name].holds is False


def test_a_network_that_shall_be_good_need_not_be_bad() -> None:
    quiet = replace(GOOD, terms=replace(TERMS, loss=0.0), relay={"taken": 1000})
    assert all(figure.holds is not False for figure in metrics(quiet))


def test_a_session_is_open_when_two_ends_hold_it_under_one_key_id() -> None:
    run = Run(TERMS)
    north = {
        "enrol_ms": [1.0],
        "open_ms": [2.0],
        "opened": [["both", "k1"], ["here only", "k2"], ["other key", "k3"], ["neighbours", "k5"]],
        "held": [["both", "k1"], ["here only", "k2"], ["other key", "k3"], ["neighbours", "k5"], ["neighbours", "k5"]],
    }
    south = {"enrol_ms": [3.0], "open_ms": [], "opened": [], "held": [["both", "k1"], ["other key", "k4"]]}
    _judge(run, [north, south])
    assert run.open == 2
    assert run.enrol_ms == [1.0, 3.0]
