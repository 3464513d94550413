"""A subscriber that needs order: what is held, for what, and for how long (WD rules)."""

from hypothesis import given
from hypothesis import strategies as st

from keymote.engine.topic.in_order import MOST_HELD, InOrder
from keymote.engine.topic.readings import Reading


def reading(n: int, epoch: int = 1, snd: int = 0) -> Reading:
    return Reading("ward/7/hr", b"%d" % n, n, snd, epoch)


def fed(*numbers: int, now: float = 0.0) -> tuple[InOrder, list[int]]:
    state, read = InOrder(), list[int]()
    for n in numbers:
        state, ready = state.take(reading(n), now)
        read += [each.n for each in ready]
    return state, read


def test_WD01_what_follows_is_read_at_once_and_what_does_not_is_held() -> None:
    state, read = fed(5, 6, 8, 9)
    assert read == [5, 6] and [each.n for each in state.held] == [8, 9]
    state, ready = state.take(reading(7), 1.0)
    assert [each.n for each in ready] == [7, 8, 9] and state.held == () and state.deadline is None


def test_WD01_another_publisher_waits_for_nobody_and_a_newer_epoch_for_the_older_one() -> None:
    state, _ = fed(0, 2)
    state, ready = state.take(reading(40, snd=1), 0.0)
    assert [each.n for each in ready] == [40]
    state, ready = state.take(reading(0, epoch=2, snd=2), 0.0)
    assert ready == ()
    state, ready = state.take(reading(1), 0.0)
    assert [(each.epoch, each.n) for each in ready] == [(1, 1), (1, 2), (2, 0)]


def test_WD02_nothing_is_held_for_longer_than_the_patience_and_nothing_is_dropped() -> None:
    state, read = fed(0, 3, 4, 7)
    assert read == [0] and state.deadline == 10.0
    state, ready = state.due(9.9)
    assert ready == ()
    state, ready = state.due(10.0)
    assert [each.n for each in ready] == [3, 4, 7]
    state, ready = state.take(reading(1), 11.0)
    assert [each.n for each in ready] == [1], "too late, and read nevertheless"


def test_WD02_no_more_is_held_than_there_may_be_keys_missing() -> None:
    state, read = fed(0, *range(2, MOST_HELD + 2))
    assert read == [0] and len(state.held) == MOST_HELD
    state, ready = state.take(reading(MOST_HELD + 2), 0.0)
    assert [each.n for each in ready] == list(range(2, MOST_HELD + 3))


@given(st.permutations(range(12)), st.lists(st.floats(0.0, 4.0), min_size=12, max_size=12))
def test_WD01_whatever_overtakes_what_everything_is_read_once(order: list[int], pauses: list[float]) -> None:
    state, now, read = InOrder(patience_s=5.0), 0.0, list[int]()
    for n, pause in zip(order, pauses, strict=True):
        now += pause
        state, ready = state.take(reading(n), now)
        read += [each.n for each in ready]
    state, ready = state.due(now + 5.0)
    assert sorted(read + [each.n for each in ready]) == list(range(12)) and state.held == ()


@given(st.permutations(range(1, 12)))
def test_WD01_with_patience_enough_the_order_is_that_of_the_publisher(order: list[int]) -> None:
    _, read = fed(0, *order)
    assert read == list(range(12))
