"""Experiments: what a file may say, and that the ones that come with the program come out as they must."""

from dataclasses import replace
from typing import Any

import pytest

from keymote.errors import CallerFault
from keymote.lab import exchange, files, microgrid
from keymote.lab.experiment import Experiment, Outcome, read
from keymote.lab.simulator import Channel


def shipped(name: str, **changes: Any) -> Experiment:
    title, row = files.experiment(name)
    return replace(read(title, row), **changes)


def assert_holds(found: Outcome) -> None:
    assert {check for check, holds in found.checks.items() if not holds} == set()


@pytest.fixture(scope="module")
def grid() -> Outcome:
    experiment = shipped("microgrid", meters=7, days=5.6)
    return microgrid.run(replace(experiment, load=replace(experiment.load, reading_every_s=8 * 3600)), "0")


def test_the_microgrid_lives_through_its_days(grid: Outcome) -> None:
    assert_holds(grid)
    facts = grid.facts
    assert facts["members_now"] == 7 + 1 - 3  # one came; one left, one was evicted, one revoked
    assert facts["refused"] == 3  # the evicted one, the revoked one, the stranger
    assert facts["records_uploaded"] == facts["records_readable"] > 50  # type: ignore[operator]
    assert facts["commands"] == 6 and facts["commands_opened"] > 0.5 * facts["commands_due"]  # type: ignore[operator]
    assert 16 * 3600 < facts["time_to_safe_s"] < 16 * 3600 + 120  # type: ignore[operator]  # revoked at 20:00, link at 12:00
    assert [each["name"] for each in grid.tables["conflicts"]] == ["revoked-member"] * len(grid.tables["conflicts"])
    mornings = [each for each in grid.tables["epochs"] if each["reason"] == 1]
    assert len(mornings) >= 4


def test_the_same_seed_gives_the_same_week_and_another_another() -> None:
    short = shipped("microgrid", meters=4, days=1.5, events=())
    first, again, other = (microgrid.run(short, seed) for seed in ("1", "1", "2"))
    assert (first.facts, first.tables) == (again.facts, again.tables)
    assert first.tables["epochs"] != other.tables["epochs"]


def test_homes_trade_come_and_go_and_read_the_same_book() -> None:
    small = shipped("exchange", meters=3, most=5, days=6 / 24)
    found = exchange.run(replace(small, market=replace(small.market, round_s=1200)), "0")
    assert_holds(found)
    assert [row["n"] for row in found.tables["sessions"]] == [3, 4, 5, 4, 3, 4]
    assert found.facts["trades"] > 0 and found.facts["left"] == 2  # type: ignore[operator]
    assert found.facts["commands_opened"] == found.facts["commands_due"] > 100  # type: ignore[operator]


def test_on_a_bad_radio_books_may_differ_and_keys_do_not() -> None:
    small = shipped("exchange", meters=3, most=4, days=2 / 24)
    found = exchange.run(replace(small, radio=Channel(0.01, 0.01, 0.2)), "0")
    assert_holds(found)
    assert found.facts["commands_opened"] < found.facts["commands_due"]  # type: ignore[operator]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_exchange_as_it_comes_with_the_program() -> None:
    found = exchange.run(shipped("exchange"), "0")
    assert_holds(found)
    by_n = {row["n"]: row["commands"] for row in found.tables["per_n"]}
    assert set(by_n) == set(range(10, 16)) and by_n[15] > by_n[10]  # type: ignore[operator]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_microgrid_as_it_comes_with_the_program() -> None:
    found = microgrid.run(shipped("microgrid"), "0")
    assert_holds(found)
    assert found.facts["members_now"] == 13


@pytest.mark.parametrize("name", files.experiments())
def test_every_file_that_comes_with_the_program_is_read(name: str) -> None:
    assert shipped(name).name == name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"meters": 40}, "40"),
        ({"days": 0}, "days"),
        ({"case": "casino"}, "casino"),
        ({"ring": {"suit": 1}}, "suit"),
        ({"ring": {"multicast": 1}}, "multicast"),
        ({"policy": {"wake": ["25:00"]}}, "25:00"),
        ({"policy": {"wake": "6"}}, "no time of day"),
        ({"radio": {"loss": "much"}}, "loss"),
        ({"events": [{"day": 1, "at": "06:00", "what": "party", "who": "m1"}]}, "party"),
        ({"unheard": 1}, "unheard"),
    ],
)
def test_a_file_that_says_what_nobody_understands_is_refused(change: dict[str, Any], says: str) -> None:
    title, row = files.experiment("microgrid")
    with pytest.raises(CallerFault, match=says):
        read(title, {**row, **change})


def test_an_experiment_that_is_not_there_is_the_callers_fault() -> None:
    with pytest.raises(CallerFault, match="no experiment"):
        files.experiment("atlantis")
    with pytest.raises(CallerFault, match="cannot read"):
        files.experiment("not-there.toml")
