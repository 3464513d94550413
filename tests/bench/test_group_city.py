"""The bench of a city prints the metrics that the issue names, with their goals at ten thousand meters alone."""

from keymote.bench.group import Size, parts, run
from keymote.bench.group_city import FULL, GOALS


def test_a_small_city_has_every_row_and_no_goal_but_the_formula() -> None:
    assert "city" in parts()
    metrics = {found.name: found for found in run(Size(meters=8), lambda *_: None, ["city"])}
    for act in ("form", "leave", "join", "delegate_loss"):
        assert metrics[f"group.{act}_8_s"].value > 0
        assert metrics[f"group.{act}_8_s"].holds is None
    assert metrics["group.city_8_off_formula"].holds is True
    # 95 + 95 of the two runs, LEAVE and the roster, 32 259 ROOTs and 32 258 WRAPs (Triad-1 3.7)
    assert metrics["group.leave_1m_messages"].value == 95 + 95 + 2 + 32259 + 32258


def test_the_goals_are_those_of_the_issue() -> None:
    assert Size().meters == FULL == 10_000
    assert GOALS == {"form": 120.0, "join": 5.0, "leave": 10.0}
