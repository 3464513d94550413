"""The policy of a root key: steps for joins, fresh keys for leaves in their time, for a compromise at once, and daily."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymote.engine.policy.group_faces import DAY_S, Reason
from keymote.engine.policy.roots import (
    PATIENCE_S,
    QUARTER_S,
    Announced,
    Decision,
    Happening,
    Joined,
    Left,
    Lost,
    Passed,
    Refresh,
    RootPolicy,
    RootState,
    Step,
    Stuck,
    decide,
    due_at,
)
from keymote.errors import CallerFault
from keymote.wire.group import FRESH, RATCHET

DAWN = 1_800_000_000


def story(*told: tuple[int, Happening], policy: RootPolicy | None = None) -> list[tuple[int, Decision]]:
    """Tell a policy what happens, seconds after its first root key; return its decisions, each with its second."""
    state, decisions = RootState(policy or RootPolicy(), DAWN), []
    for second, happening in told:
        state, decision = decide(state, happening, DAWN + second)
        if decision is not None:
            decisions.append((second, decision))
    return decisions


def test_CL20_a_join_makes_a_step_at_once() -> None:
    assert story((1, Joined())) == [(1, Step())]
    assert story((1, Joined()), (2, Announced(RATCHET)), (3, Passed())) == [(1, Step())]


def test_CL20_a_join_during_a_step_makes_another_one() -> None:
    told = [(1, Joined()), (2, Joined()), (3, Announced(RATCHET)), (4, Announced(RATCHET))]
    assert story(*told) == [(1, Step()), (3, Step())]


def test_CL20_ordinary_leaves_share_one_fresh_root_key_in_a_quarter_of_an_hour() -> None:
    told = [
        (10, Left()),
        (20, Left()),
        (QUARTER_S - 1, Passed()),
        (QUARTER_S, Passed()),
        (QUARTER_S + 1, Announced(FRESH)),
    ]
    assert story(*told, (QUARTER_S + 2, Passed())) == [(QUARTER_S, Refresh(Reason.LEAVE))]
    assert story((QUARTER_S + 5, Left())) == [(QUARTER_S + 5, Refresh(Reason.LEAVE))]


def test_CL20_a_join_does_not_wait_for_leaves_nor_serve_them() -> None:
    told = [(10, Left()), (20, Joined()), (21, Announced(RATCHET)), (QUARTER_S, Passed())]
    assert story(*told) == [(20, Step()), (QUARTER_S, Refresh(Reason.LEAVE))]


@pytest.mark.parametrize("before", [Joined(), Left(), Passed()])
def test_CL20_a_compromise_waits_for_nothing(before: Happening) -> None:
    decisions = story((QUARTER_S, before), (QUARTER_S + 1, Lost()))
    assert decisions[-1] == (QUARTER_S + 1, Refresh(Reason.COMPROMISE))


def test_CL20_who_leaves_during_a_refresh_is_not_forgotten() -> None:
    told = [
        (QUARTER_S, Left()),
        (QUARTER_S + 1, Left()),
        (QUARTER_S + 2, Announced(FRESH)),
        (2 * QUARTER_S + 2, Passed()),
    ]
    assert [second for second, _ in story(*told)] == [QUARTER_S, 2 * QUARTER_S + 2]


def test_CL20_a_fresh_root_key_comes_daily_whatever_else_happens() -> None:
    told: list[tuple[int, Happening]] = []
    for second in range(60, DAY_S, 600):
        told += [(second, Joined()), (second + 1, Announced(RATCHET))]
    assert story(*told, (DAY_S, Passed()))[-1] == (DAY_S, Refresh(Reason.PERIODIC))


@pytest.mark.parametrize("end", [Stuck(), Passed()])
def test_CL20_what_came_to_nothing_is_tried_again(end: Happening) -> None:
    at = 2 if isinstance(end, Stuck) else 1 + PATIENCE_S
    assert story((1, Lost()), (at, end)) == [(1, Refresh(Reason.COMPROMISE)), (at, Refresh(Reason.COMPROMISE))]


def test_a_policy_without_sense_is_refused() -> None:
    for wrong in ((-1, 10), (20, 10), (0, 0)):
        with pytest.raises(CallerFault):
            RootPolicy(*wrong)


happenings = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from([Joined(), Left(), Lost(), Stuck(), Passed()])), max_size=40
)


@given(happenings, st.booleans())
def test_CL20_nobody_waits_longer_than_the_policy_says(told: list[tuple[int, Happening]], answered: bool) -> None:
    """A host that wakes the policy when it asks, and may get no ROOT for its decisions for a while."""
    state, now = RootState(RootPolicy(), DAWN), DAWN
    left_at: int | None = None
    leaves_served = []
    for pause, happening in [*told, (3 * QUARTER_S, Passed())]:
        until = now + pause
        while due_at(state) < until:
            now = max(now, due_at(state))
            state, left_at = _turn(state, Passed(), now, left_at, leaves_served, answered=answered)
        now = until
        if isinstance(happening, Left) and left_at is None:
            left_at = now
        state, left_at = _turn(state, happening, now, left_at, leaves_served, answered=answered)
        assert due_at(state) > now or state.asked is not None
        assert left_at is None or now - left_at <= QUARTER_S
    if answered:
        assert all(b - a >= QUARTER_S for a, b in pairwise(leaves_served))


def _turn(
    state: RootState, happening: Happening, now: int, left_at: int | None, served: list[int], *, answered: bool
) -> tuple[RootState, int | None]:
    state, decision = decide(state, happening, now)
    if isinstance(happening, Lost):
        assert isinstance(decision, Refresh)
    if isinstance(happening, Joined):
        assert decision is not None or state.asked is not None
    if isinstance(decision, Refresh):
        left_at = None
        if decision.reason is Reason.LEAVE:
            served.append(now)
    if decision is not None and answered:
        state, again = decide(state, Announced(FRESH if isinstance(decision, Refresh) else RATCHET), now)
        assert again is None
    return state, left_at
