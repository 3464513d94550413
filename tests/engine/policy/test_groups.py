"""The policy of a group: what it decides, and what it never decides whatever happens."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from keymote.engine.policy.group_faces import (
    DAY_S,
    NOBODY,
    Allowed,
    Asked,
    Change,
    Confirmed,
    Counted,
    Decision,
    Dismissed,
    Dissolve,
    Enlisted,
    Evicted,
    Form,
    GroupPolicy,
    Happening,
    Left,
    Members,
    Missed,
    Passed,
    Reason,
    Refusal,
    Refuse,
    Reinstated,
    Renew,
    Revoked,
    Rostered,
)
from keymote.engine.policy.groups import GroupState, decide, due_at, next_wake
from keymote.errors import CallerFault

MIDNIGHT = 20_000 * DAY_S
SIX = 6 * 3600


def who(*names: str) -> Members:
    return frozenset(name.encode() for name in names)


def story(policy: GroupPolicy, *told: tuple[int, Happening]) -> tuple[GroupState, Sequence[Decision]]:
    """Return the state after all of this, and what the last of it made the policy decide."""
    state, decisions = GroupState(policy, MIDNIGHT), tuple[Decision, ...]()
    for after, happening in told:
        state, decided = decide(state, happening, MIDNIGHT + after)
        decisions = tuple(decided)
    return state, decisions


def formed(policy: GroupPolicy, *names: str) -> GroupState:
    state, decisions = story(replace(policy, batch_s=0), (0, Enlisted(who(*names))))
    assert decisions == (Form(who(*names)),)
    return replace(decide(state, Confirmed(who(*names)), MIDNIGHT)[0], policy=policy)


# ------------------------------------------------------------------ size


def test_PO01_a_ring_is_formed_when_it_is_large_enough() -> None:
    policy = GroupPolicy(least=3)
    assert story(policy, (0, Enlisted(who("a", "b"))))[1] == ()
    assert story(policy, (0, Enlisted(who("a", "b"))), (9, Enlisted(who("c"))))[1] == (Form(who("a", "b", "c")),)


def test_PO01_who_waits_longest_decides_when_a_ring_is_formed() -> None:
    policy = GroupPolicy(batch_s=60)
    state, decisions = story(policy, (0, Enlisted(who("a"))), (40, Enlisted(who("b", "c"))))
    assert (decisions, due_at(state)) == ((), MIDNIGHT + 60)
    assert decide(state, Passed(), MIDNIGHT + 60)[1] == (Form(who("a", "b", "c")),)


@pytest.mark.parametrize(("gateway_counts", "most"), [(False, 32), (True, 31)])
def test_PO02_a_ring_takes_no_more_than_it_has_room_for(gateway_counts: bool, most: int) -> None:
    many = frozenset(bytes((at,)) for at in range(40))
    _, decisions = story(GroupPolicy(gateway_counts=gateway_counts), (0, Enlisted(many)))
    (*refused, form) = decisions
    assert isinstance(form, Form) and len(form.members) == most
    assert {decision.member for decision in refused if decision.why is Refusal.FULL} == many - form.members  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "wrong", [{"least": 1}, {"least": 33}, {"wake_s": (DAY_S,)}, {"records": 2**20 + 1}, {"absent_after": 0}]
)
def test_PO01_a_policy_that_no_ring_can_keep_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(CallerFault, match="policy"):
        GroupPolicy(**wrong)  # type: ignore[arg-type]  # the case of "wake_s" is a tuple


def test_PO03_a_ring_that_is_too_small_is_dissolved_and_formed_again_with_who_comes() -> None:
    state = formed(GroupPolicy(), "a", "b")
    state, decisions = decide(state, Revoked(who("b")), MIDNIGHT + 9)
    assert decisions == (Dissolve(who("a")),)
    assert decide(state, Enlisted(who("c")), MIDNIGHT + 10)[1] == (Form(who("a", "c")),)


def test_PO03_in_edge_mode_the_gateway_and_one_meter_are_a_ring() -> None:
    state = formed(GroupPolicy(least=1, gateway_counts=True), "a", "b")
    _, decisions = decide(state, Revoked(who("b")), MIDNIGHT + 9)
    assert decisions == (Change(NOBODY, who("b"), Reason.COMPROMISE),)


# ------------------------------------------------------------------ at once, or with others


@pytest.mark.parametrize(
    ("happening", "reason"), [(Revoked(who("b")), Reason.COMPROMISE), (Evicted(who("b")), Reason.LEAVE)]
)
def test_PO04_revocation_and_eviction_do_not_wait_and_take_along_who_does(happening: Happening, reason: Reason) -> None:
    state = formed(GroupPolicy(batch_s=3600), "a", "b", "c", "d")
    state, decisions = decide(state, Dismissed(who("c")), MIDNIGHT + 1)
    assert decisions == ()
    state, decisions = decide(state, Enlisted(who("e")), MIDNIGHT + 2)
    assert decisions == ()
    _, decisions = decide(state, happening, MIDNIGHT + 3)
    assert decisions == (Change(who("e"), who("b", "c"), reason),)


def test_PO05_joins_and_leaves_share_a_run_within_their_window() -> None:
    state = formed(GroupPolicy(batch_s=60), "a", "b", "c")
    state, _ = decide(state, Enlisted(who("d")), MIDNIGHT + 10)
    state, _ = decide(state, Left(b"a", granted=False), MIDNIGHT + 50)
    assert due_at(state) == MIDNIGHT + 70
    state, decisions = decide(state, Passed(), MIDNIGHT + 69)
    assert decisions == ()
    state, decisions = decide(state, Passed(), MIDNIGHT + 70)
    assert decisions == (Change(who("d"), who("a"), Reason.LEAVE),)
    assert state.members == who("b", "c", "d")


def test_PO05_who_comes_and_goes_within_the_window_costs_nothing() -> None:
    state = formed(GroupPolicy(batch_s=60), "a", "b")
    state, _ = decide(state, Enlisted(who("c")), MIDNIGHT + 10)
    state, _ = decide(state, Dismissed(who("c")), MIDNIGHT + 20)
    assert due_at(state) is None
    assert decide(state, Passed(), MIDNIGHT + 99)[1] == ()


# ------------------------------------------------------------------ time and count


def test_PO06_every_wake_is_one_new_key() -> None:
    policy = GroupPolicy(wake_s=(SIX,))
    state = formed(policy, "a", "b")
    for day in range(7):
        morning = MIDNIGHT + day * DAY_S + SIX
        assert due_at(state) == morning
        state, decisions = decide(state, Passed(), morning)
        assert decisions == (Renew(),)
        state, decisions = decide(state, Passed(), morning + 1)
        assert decisions == ()


def test_PO06_a_wake_that_was_slept_through_is_made_up_for_once() -> None:
    state = formed(GroupPolicy(wake_s=(SIX,)), "a", "b")
    state, decisions = decide(state, Passed(), MIDNIGHT + 5 * DAY_S)
    assert decisions == (Renew(),)
    assert due_at(state) == MIDNIGHT + 5 * DAY_S + SIX


def test_PO06_a_wake_ends_the_wait_of_those_who_join() -> None:
    state = formed(GroupPolicy(wake_s=(SIX,), batch_s=DAY_S), "a", "b")
    state, _ = decide(state, Enlisted(who("c")), MIDNIGHT + 60)
    assert decide(state, Passed(), MIDNIGHT + SIX)[1] == (Change(who("c"), NOBODY, Reason.JOIN),)


def test_PO06_a_clock_that_was_set_back_does_not_stop_the_wakes() -> None:
    state = formed(GroupPolicy(wake_s=(SIX,), lifetime_s=3600), "a", "b")
    state, _ = decide(state, Passed(), MIDNIGHT + 900 * DAY_S)
    state, _ = decide(state, Passed(), MIDNIGHT)
    assert due_at(state) == MIDNIGHT + 3600


@given(wake=st.lists(st.integers(0, DAY_S - 1), min_size=1, max_size=4), after=st.integers(0, 2**34))
def test_PO06_the_next_wake_is_the_first_one_later(wake: list[int], after: int) -> None:
    found = next_wake(wake, after)
    assert found is not None and after < found <= after + DAY_S and found % DAY_S in wake
    assert not any((found - at) % DAY_S in range(1, found - after) for at in wake)


def test_PO07_an_epoch_lives_no_longer_than_its_period() -> None:
    state = formed(GroupPolicy(lifetime_s=3600), "a", "b")
    assert decide(state, Passed(), MIDNIGHT + 3599)[1] == ()
    assert decide(state, Passed(), MIDNIGHT + 3600)[1] == (Renew(),)
    state, _ = decide(state, Confirmed(who("a", "b")), MIDNIGHT + 3000)
    assert due_at(state) == MIDNIGHT + 6600


def test_PO08_a_used_up_epoch_is_renewed_once() -> None:
    state = formed(GroupPolicy(records=1000), "a", "b")
    assert decide(state, Counted(999), MIDNIGHT + 1)[1] == ()
    state, decisions = decide(state, Counted(1000), MIDNIGHT + 2)
    assert decisions == (Renew(),)
    state, decisions = decide(state, Counted(1001), MIDNIGHT + 3)
    assert decisions == ()
    state, _ = decide(state, Confirmed(who("a", "b")), MIDNIGHT + 4)
    assert decide(state, Counted(1000), MIDNIGHT + 5)[1] == (Renew(),)


# ------------------------------------------------------------------ absence


def test_PO09_the_absent_are_waited_for_at_every_wake_until_they_have_missed_too_many() -> None:
    state = formed(GroupPolicy(wake_s=(SIX,), absent_after=2), "a", "b", "c")
    state, decisions = decide(state, Missed(who("c"), excluded=True), MIDNIGHT + 60)
    assert (decisions, state.members) == ((), who("a", "b"))
    state, decisions = decide(state, Passed(), MIDNIGHT + SIX)
    assert decisions == (Change(who("c"), NOBODY, Reason.JOIN),)
    state, _ = decide(state, Missed(who("c"), excluded=True), MIDNIGHT + SIX + 60)
    state, decisions = decide(state, Passed(), MIDNIGHT + SIX + DAY_S)
    assert decisions == (Renew(),)
    assert decide(state, Asked(b"c"), MIDNIGHT + 3 * DAY_S)[1] == (Change(who("c"), NOBODY, Reason.JOIN),)


def test_PO09_who_confirms_starts_afresh() -> None:
    state = formed(GroupPolicy(wake_s=(SIX,), absent_after=2), "a", "b", "c")
    state, _ = decide(state, Missed(who("c"), excluded=True), MIDNIGHT + 60)
    state, _ = decide(state, Rostered(who("a", "b", "c")), MIDNIGHT + 90)
    state, _ = decide(state, Confirmed(who("a", "b", "c")), MIDNIGHT + 95)
    assert not state.misses


def test_PO09_where_the_ring_cannot_exclude_the_policy_does_after_the_last_miss() -> None:
    state = formed(GroupPolicy(absent_after=2), "a", "b", "c")
    state, decisions = decide(state, Missed(who("c"), excluded=False), MIDNIGHT + 60)
    assert decisions == ()
    assert decide(state, Missed(who("c"), excluded=False), MIDNIGHT + 90)[1] == (
        Change(NOBODY, who("c"), Reason.LEAVE),
    )


@pytest.mark.parametrize("restarted", [False, True])
def test_PO04_who_is_revoked_while_absent_is_removed_for_good(restarted: bool) -> None:
    state = formed(GroupPolicy(batch_s=3600), "a", "b", "c")
    state, _ = decide(state, Missed(who("c"), excluded=True), MIDNIGHT + 60)
    if restarted:
        _, decisions = story(GroupPolicy(), (0, Revoked(who("c"))), (1, Rostered(who("a", "b"), absent=who("c"))))
    else:
        _, decisions = decide(state, Revoked(who("c")), MIDNIGHT + 61)
    assert decisions == (Change(NOBODY, who("c"), Reason.COMPROMISE),)


# ------------------------------------------------------------------ who asks


def test_PO10_who_is_allowed_joins_without_the_coordinator_and_nobody_else() -> None:
    state = formed(GroupPolicy(), "a", "b")
    state, _ = decide(state, Allowed(who("c")), MIDNIGHT)
    assert decide(state, Asked(b"c"), MIDNIGHT + 1)[1] == (Change(who("c"), NOBODY, Reason.JOIN),)
    assert decide(state, Asked(b"d"), MIDNIGHT + 1)[1] == (Refuse(b"d", Refusal.STRANGER),)


def test_PO10_who_is_revoked_as_known_here_is_not_let_in_though_it_is_allowed() -> None:
    state = formed(GroupPolicy(), "a", "b")
    state, _ = decide(state, Allowed(who("c")), MIDNIGHT)
    state, _ = decide(state, Revoked(who("c")), MIDNIGHT)
    assert decide(state, Asked(b"c"), MIDNIGHT + 1)[1] == (Refuse(b"c", Refusal.REVOKED),)
    assert decide(state, Enlisted(who("c")), MIDNIGHT + 1)[1] == (Refuse(b"c", Refusal.REVOKED),)
    state, _ = decide(state, Reinstated(who("c")), MIDNIGHT + 2)
    assert decide(state, Asked(b"c"), MIDNIGHT + 3)[1] == (Change(who("c"), NOBODY, Reason.JOIN),)


def test_PO10_who_was_evicted_here_comes_back_only_by_somebodys_word() -> None:
    state = formed(GroupPolicy(), "a", "b", "c")
    state, _ = decide(state, Allowed(who("c")), MIDNIGHT)
    state, _ = decide(state, Evicted(who("c")), MIDNIGHT)
    assert decide(state, Asked(b"c"), MIDNIGHT + 1)[1] == (Refuse(b"c", Refusal.EVICTED),)
    assert decide(state, Enlisted(who("c")), MIDNIGHT + 1)[1] == (Change(who("c"), NOBODY, Reason.JOIN),)


@pytest.mark.parametrize(
    ("gone", "reason"), [(Revoked(who("b")), Reason.COMPROMISE), (Evicted(who("b")), Reason.LEAVE)]
)
def test_PO10_a_roster_that_holds_somebody_who_has_to_go_is_changed_at_once(gone: Happening, reason: Reason) -> None:
    state, decisions = story(GroupPolicy(), (0, gone), (1, Rostered(who("a", "b", "c"))))
    assert decisions == (Change(NOBODY, who("b"), reason),)
    assert state.members == who("a", "c")


# ------------------------------------------------------------------ whatever happens

NAMES = st.frozensets(st.sampled_from([bytes((at,)) for at in range(6)]), max_size=4)
NAME = st.sampled_from([bytes((at,)) for at in range(6)])
HAPPENINGS: st.SearchStrategy[Happening] = st.one_of(
    st.builds(Enlisted, NAMES),
    st.builds(Dismissed, NAMES),
    st.builds(Evicted, NAMES),
    st.builds(Revoked, NAMES),
    st.builds(Reinstated, NAMES),
    st.builds(Allowed, NAMES),
    st.builds(Asked, NAME),
    st.builds(Left, NAME, st.booleans()),
    st.builds(Missed, NAMES, st.booleans()),
    st.builds(lambda members, absent: Rostered(members, absent - members), NAMES, NAMES),
    st.builds(Confirmed, NAMES),
    st.builds(Counted, st.integers(0, 20)),
    st.just(Passed()),
)


class Policies(RuleBasedStateMachine):
    """A host that carries out what is decided, and a world that does as it likes."""

    @initialize(
        least=st.integers(2, 4),
        gateway_counts=st.booleans(),
        wake=st.lists(st.integers(0, DAY_S - 1), max_size=2).map(tuple),
        lifetime_s=st.sampled_from([0, 3600]),
        batch_s=st.sampled_from([0, 60, 40_000]),
        misses=st.integers(1, 3),
    )
    def begin(
        self, least: int, gateway_counts: bool, wake: tuple[int, ...], lifetime_s: int, batch_s: int, misses: int
    ) -> None:
        self.policy = GroupPolicy(least, gateway_counts, wake, lifetime_s, 10, batch_s, misses)
        self.state = GroupState(self.policy, MIDNIGHT)
        self.now = MIDNIGHT
        self.ring: Members | None = None
        self.absent: Members = NOBODY
        self.revoked: Members = NOBODY
        self.evicted: Members = NOBODY

    @rule(happening=HAPPENINGS)
    def happens(self, happening: Happening) -> None:
        match happening:
            case Revoked(members):
                self.revoked |= members
            case Reinstated(members):
                self.revoked -= members
            case Evicted(members):
                self.evicted |= members
            case Enlisted(members):
                self.evicted -= members
            case Rostered() | Left(_, True) | Missed(_, True) if self.ring is None:
                return  # there is no ring that could say so
            case Rostered(members, _) if len(members) < self.policy.fewest:
                return
            case Rostered(members, absent):
                self.ring, self.absent = members, absent
            case Left(member, True) if self.ring is not None:
                if len(self.ring - {member}) < self.policy.fewest:
                    return
                self.ring -= {member}
                self.absent -= {member}
            case Missed(members, True) if self.ring is not None:
                if len(self.ring - members) < self.policy.fewest:
                    return
                self.absent |= self.ring & members
                self.ring -= members
        self.tell(happening)
        if isinstance(happening, Revoked | Evicted) and self.ring is not None:
            assert not (self.ring | self.absent) & happening.members  # PO-04: in the same breath

    @rule(seconds=st.sampled_from([1, 59, 60, 3600, 30_000, DAY_S, -DAY_S]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        self.tell(Passed())

    @rule()
    def wake_at_the_due_time(self) -> None:
        """PO-11: until it is due nothing is decided; then something is, or nothing is due any more."""
        due = due_at(self.state)
        if due is None:
            assert decide(self.state, Passed(), self.now + 99 * DAY_S)[1] == ()
            return
        assert due > self.now
        assert decide(self.state, Passed(), due - 1)[1] == ()
        self.now = due
        assert self.tell(Passed())

    def tell(self, happening: Happening) -> Sequence[Decision]:
        self.state, decisions = decide(self.state, happening, self.now)
        for decision in decisions:
            self.carry_out(decision)
        return decisions

    def carry_out(self, decision: Decision) -> None:
        match decision:
            case Form(members):
                assert self.ring is None and self.policy.least <= len(members)
                self.ring = members
            case Change(add, remove, reason):
                assert self.ring is not None and (add or remove) and not add & remove
                assert remove <= self.ring | self.absent and not add & self.ring
                assert (reason is Reason.JOIN) == (not remove)
                self.ring = (self.ring | add) - remove
                self.absent -= add | remove
            case Dissolve(left):
                assert self.ring is not None and left <= self.ring
                self.ring, self.absent = None, NOBODY
            case Renew():
                assert self.ring is not None
            case Refuse(member, _):
                assert self.ring is None or member not in self.ring

    @invariant()
    def PO02_PO03_PO10_who_is_in_the_ring_may_be(self) -> None:
        if not hasattr(self, "state"):
            return
        assert self.state.formed == (self.ring is not None)
        if self.ring is not None:
            assert self.state.members == self.ring
            assert self.policy.fewest <= len(self.ring) <= self.policy.most
            assert not self.ring & (self.revoked | self.evicted)
        assert not self.state.joining & (self.revoked | self.evicted)


def test_PO02_PO03_PO04_PO10_PO11_whatever_happens() -> None:
    run_state_machine_as_test(Policies, settings=settings(max_examples=80, stateful_step_count=30))
