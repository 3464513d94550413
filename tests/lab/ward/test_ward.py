"""The hospital: walks on a floor, brokers that fail, and readings that are counted one by one (WD rules)."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from keymote.crypto.entropy import SeededEntropy
from keymote.errors import CallerFault
from keymote.lab import files
from keymote.lab.experiment import read
from keymote.lab.simulator.network import Dice
from keymote.lab.village.agenda import Agenda
from keymote.lab.ward.broker import Broker, Message, joined
from keymote.lab.ward.caregiver import count
from keymote.lab.ward.floor import Floor, Habits, next_walk
from keymote.lab.ward.hospital import Hospital
from keymote.lab.ward.plan import WardPlan
from keymote.lab.ward.run import counted, held, run, walked

SMALL = WardPlan(
    patients=4, caregivers=2, moves=24, losses=(0.05,), down_every_s=60.0, rotate_every_s=40.0, dwell_s=25.0
)


@pytest.fixture(scope="module")
def lossy() -> Hospital:
    return walked(SMALL, 0.05, "0")


def test_WD03_at_loss_with_brokers_down_and_topics_rotated_every_reading_is_opened_once_and_in_order(
    lossy: Hospital,
) -> None:
    found = count(list(lossy.patients.values()), list(lossy.caregivers.values()))
    assert found.logged > 100 and found.due == found.opened == 2 * found.logged
    assert (found.lost, found.twice, found.out_of_order, found.strange) == (0, 0, 0, 0)
    assert all(held(lossy, counted(lossy, 0.05)).values())
    assert lossy.rotations > 1 and lossy.moves == SMALL.moves


def test_WD04_a_hand_over_takes_one_datagram_each_way_and_the_trusted_system_hears_nothing() -> None:
    quiet = walked(replace(SMALL, down_every_s=0.0, rotate_every_s=0.0, hasty=0.0), 0.0, "1")
    handed = [arrival for arrival in quiet.arrivals.over if arrival.by == "hand-over"]
    assert len(handed) > 5 and {arrival.datagrams for arrival in handed} == {1}
    asked = [sent for (name, mt), sent in quiet.sim.messages.items() if name in quiet.patients and mt == 48]
    assert set(asked) == {3}, "two topics and one ticket at the beginning, and nothing since"
    assert all(0.06 < (arrival.opened_s or 1.0) < 0.2 for arrival in handed)


def test_WD03_a_reading_that_is_taken_away_or_repeated_is_noticed(lossy: Hospital) -> None:
    patients, caregivers = list(lossy.patients.values()), list(lossy.caregivers.values())
    topic = next(iter(caregivers[0].opened))
    shown = caregivers[0].opened[topic]
    kept = list(shown)
    try:
        shown[0:2] = [kept[1], kept[0], kept[0]]
        found = count(patients, caregivers)
        assert (found.lost, found.twice, found.out_of_order) == (0, 1, 1)
        shown[:] = kept[1:]
        assert count(patients, caregivers).lost == 1
    finally:
        shown[:] = kept


def test_the_same_seed_gives_the_same_course_and_another_another() -> None:
    tiny = replace(SMALL, patients=2, moves=6)
    first, again, other = (walked(tiny, 0.05, seed) for seed in ("1", "1", "2"))
    assert counted(first, 0.05) == counted(again, 0.05) != counted(other, 0.05)
    assert first.arrivals.over == again.arrivals.over


def test_people_walk_next_door_and_home_again() -> None:
    floor, dice = Floor(6), Dice(SeededEntropy(b"walks"))
    assert floor.neighbours(0) == (1, 2, 3, 4, 5) and floor.neighbours(1) == (0, 2, 5)
    assert Floor(3).neighbours(2) == (0, 1) and Floor(2).neighbours(1) == (0,)
    here, visits, stays = 3, Counter[int](), list[float]()
    for _ in range(3000):
        walk = next_walk(floor, Habits(10, 60, 0.5), 3, here, dice)
        assert walk.to in floor.neighbours(here) and 0.5 <= walk.on_the_way_s <= 1.0
        here = walk.to
        visits[here] += 1
        stays.append(walk.stay_s)
    assert visits[3] > visits[2] and set(visits) == set(range(6))
    assert min(stays) >= 10 and 55 < sum(stays) / len(stays) < 65


def test_a_broker_that_was_down_sends_again_what_was_not_acknowledged_before_what_is_new() -> None:
    agenda, now, came = Agenda(), [0.0], list[bytes]()

    def until(at: float) -> None:
        while (due := agenda.next_at) is not None and due <= at:
            now[0] = due
            agenda.act(due)
        now[0] = at

    def deliver(message: Message, acknowledge: Callable[[], None]) -> None:
        came.append(message.data)
        acknowledge()

    here, there = (Broker(name, agenda, lambda: now[0]) for name in ("a", "b"))
    joined({"a": here, "b": there}, 0.1)
    session = there.subscribe("c", lambda _: True, deliver, 0.1)
    here.allowed.add(b"p")
    assert here.publish(b"p", Message("t", b"1")) and not there.publish(b"p", Message("t", b"x"))
    until(0.15)
    there.stop()  # 1 is under way to the caregiver
    here.bridges["b"].lose()
    assert here.publish(b"p", Message("t", b"2")) and came == []
    until(1.0)
    there.start()
    there.connect(session)
    here.connect(here.bridges["b"])
    until(2.0)
    assert came == [b"1", b"1", b"2"], "the bridge had not heard the first acknowledgement either"
    assert not session.queue and not session.under_way and here.saw(b"2") and not here.saw(b"3")


def test_the_file_that_comes_with_the_program_says_what_paper_002_asks() -> None:
    experiment = read(*files.experiment("ward"))
    assert (experiment.ward.patients, experiment.ward.moves, experiment.ward.losses) == (50, 10_000, (0.0, 0.05))
    assert read(*files.experiment("ward"), moves=7).ward.moves == 7
    for meters, days in ((5, None), (None, 1.0)):
        with pytest.raises(CallerFault, match="neither"):
            read(*files.experiment("ward"), meters, days)
    with pytest.raises(CallerFault, match="nobody moves"):
        read(*files.experiment("microgrid"), moves=7)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"patients": 0}, "patients"),
        ({"losses": (0.7,)}, "losses"),
        ({"least_s": 70.0}, "shorter"),
        ({"wards": 1}, "wards"),
    ],
)
def test_a_ward_that_cannot_be_is_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(CallerFault, match=says):
        replace(WardPlan(), **change)  # type: ignore[arg-type]


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_WD03_ten_thousand_moves_lose_nothing_and_repeat_nothing() -> None:
    found = run(read(*files.experiment("ward")), "0")
    assert {check for check, holds in found.checks.items() if not holds} == set()
    assert found.facts["moves"] == 20_000 and found.facts["lost"] == found.facts["duplicates"] == 0
