"""A city's messages: as the formulas say, and the formulas as Triad-1 3.7 says."""

import pytest

from keymote.lab import city_costs
from keymote.lab.city_acts import run_city
from keymote.lab.city_costs import Plan
from keymote.wire.group import Root, Round1, Wrap


@pytest.mark.parametrize("meters", [30, 50])
def test_CL19_counted_messages_equal_the_formula(meters: int) -> None:
    """Rings of at most four: three and four levels."""
    result = run_city(meters, "small city", most=4)
    assert [act.name for act in result.acts] == ["form", "leave", "join", "delegate loss"]
    for act in result.acts:
        assert act.counted == act.formula, act.name
    assert result.exact


@pytest.mark.long
@pytest.mark.timeout(900)
def test_CL19_counted_messages_equal_the_formula_for_a_thousand_meters() -> None:
    result = run_city(1000)
    assert result.clusters == (32, 1)
    for act in result.acts:
        assert act.counted == act.formula, act.name


def test_CL19_a_million_meters_cost_what_the_text_says() -> None:
    plan = Plan.of(1_000_000)
    assert [len(level) for level in plan.levels] == [31250, 977, 31, 1]
    assert all(2 <= n <= 32 for level in plan.levels for n in level)
    assert plan.top == 31
    leave = city_costs.leave(plan, 31)
    assert city_costs.run(31).total() == 95
    assert leave[Wrap.mt] == 32258
    assert leave[Round1.mt] == 2 * 31
    assert leave[Root.mt] == 32259
    join = city_costs.join(plan, 32)
    assert join[Wrap.mt] == 1
    assert join[Root.mt] == 32259


@pytest.mark.parametrize("meters", [33, 64, 65, 1000, 1025, 10_000])
def test_a_plan_has_rings_of_two_to_thirty_two_and_one_seat_for_each_delegate(meters: int) -> None:
    plan = Plan.of(meters)
    assert plan.meters == meters
    assert all(2 <= n <= 32 for level in plan.levels for n in level)
    for below, level in zip(plan.levels, plan.levels[1:], strict=False):
        assert sum(level) == len(below)
    assert len(plan.levels[-1]) == 1
