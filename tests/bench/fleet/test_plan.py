"""What the seed decides before the first datagram."""

from collections import Counter

import pytest

from keymote.bench.fleet.plan import (
    OPERATORS,
    Place,
    StreetPlan,
    Terms,
    device_number,
    manager_number,
    meetings,
    read_street_plan,
    share_of,
    write_plan,
)
from keymote.errors import CallerFault


def test_the_same_seed_plans_the_same_meetings_and_another_one_others() -> None:
    terms = Terms(devices=100, sessions=300, seed=7)
    assert meetings(terms) == meetings(Terms(devices=100, sessions=300, seed=7))
    assert meetings(terms) != meetings(Terms(devices=100, sessions=300, seed=8))


def test_everybody_meets_somebody_else_mostly_of_the_other_operator() -> None:
    planned = meetings(Terms(devices=1000, sessions=1000))
    assert len(planned) == 1000
    assert all(meeting.initiator != meeting.responder for meeting in planned)
    assert set(Counter(meeting.initiator for meeting in planned).values()) == {1}
    foreign = sum(meeting.initiator[0] != meeting.responder[0] for meeting in planned)
    assert 750 < foreign < 850
    assert 430 < sum(meeting.direct for meeting in planned) < 570


def test_a_street_of_one_house_meets_the_other_one() -> None:
    planned = meetings(Terms(devices=2, sessions=10))
    assert {(meeting.initiator[0], meeting.responder[0]) for meeting in planned} == {(0, 1), (1, 0)}


@pytest.mark.parametrize("devices", [2, 3, 12, 1001])
def test_every_node_has_a_place_of_its_own(devices: int) -> None:
    shares = [share_of(devices, operator) for operator in range(len(OPERATORS))]
    assert sum(shares) == devices
    numbers = [manager_number(operator) for operator in range(len(OPERATORS))]
    numbers += [device_number(operator, index) for operator, share in enumerate(shares) for index in range(share)]
    assert sorted(numbers) == list(range(1, devices + 3))
    places = [Place(number, 5683) for number in numbers]
    assert len({place.home for place in places} | {place.door for place in places}) == 2 * len(places)
    assert all(place.home.startswith("127.64.") and place.door.startswith("127.65.") for place in places)


@pytest.mark.parametrize("wrong", [{"devices": 1}, {"devices": 1 << 16}, {"loss": -0.1}, {"loss": 0.6}])
def test_a_fleet_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(CallerFault):
        Terms(**wrong)  # type: ignore[arg-type]


def test_a_process_reads_what_it_was_told(tmp_path) -> None:
    plan = StreetPlan(1, 5683, "labels.csv", "street", "root.pin", 25, 1, "street.sock")
    write_plan(tmp_path / "plan.json", plan)
    assert read_street_plan(tmp_path / "plan.json") == plan
