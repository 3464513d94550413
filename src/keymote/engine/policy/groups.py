"""When a group's ring is formed, changed and given a new key: by size, wake schedule, joins, leaves, revocation, period and count.

`decide` is the whole of it. The host tells it what happens and carries out what it decides, by the commands of
`engine/group/faces`; it wakes it at `due_at`. All times are UTC seconds. Nothing here is stored: after a start the host makes
a new state, and says Allowed, Revoked, Evicted and Rostered.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

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
    Member,
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

_NEVER: Final = -1


@dataclass(frozen=True, slots=True)
class GroupState:
    """What the policy of one group knows. `seen_at`: until when wakes have been served.

    `members` are on the roster of the ring, if it is `formed`. `joining` and `leaving` wait for the next change, the first
    of them since `waiting_since`; `haste` is the reason why it cannot wait. `misses`: runs that members have missed since
    they last confirmed a key. `epoch_at`: when the newest epoch was confirmed or asked for; `spent`: a new one was asked
    for because this one is used up.
    """

    policy: GroupPolicy
    seen_at: int
    formed: bool = False
    members: Members = NOBODY
    joining: Members = NOBODY
    leaving: Members = NOBODY
    waiting_since: int = _NEVER
    haste: Reason | None = None
    misses: Mapping[Member, int] = field(default_factory=dict)
    allowed: Members = NOBODY
    evicted: Members = NOBODY
    revoked: Members = NOBODY
    epoch_at: int = 0
    spent: bool = False

    @property
    def absent(self) -> Members:
        """Whom the ring has left out and would let in again."""
        return frozenset(self.misses) - self.members

    @property
    def wanted(self) -> Members:
        """Who is on the roster once everything that waits is done."""
        return (self.members | self.joining) - self.leaving


Decided = tuple[GroupState, Sequence[Decision]]


def decide(state: GroupState, happening: Happening, now: int) -> Decided:
    """Return the state after `happening`, and what is to be done at once, in this order."""
    if now < state.seen_at:  # the clock was set back: a wake too many is better than a day without one
        state = replace(state, seen_at=now, epoch_at=min(state.epoch_at, now))
    state, refusals = _heard(state, happening, now)
    state, decisions = _timely(state, now)
    return state, (*refusals, *decisions)


def due_at(state: GroupState) -> int | None:
    """Return when the policy wants to be asked again though nothing happens; None: never."""
    times = []
    enough = state.formed or len(state.joining) >= state.policy.least
    if state.waiting_since != _NEVER and enough:
        times.append(state.waiting_since + state.policy.batch_s)
    if enough and (wake := next_wake(state.policy.wake_s, state.seen_at)) is not None:
        times.append(wake)
    if state.formed and state.policy.lifetime_s:
        times.append(state.epoch_at + state.policy.lifetime_s)
    return min(times, default=None)


def next_wake(wake: Iterable[int], after: int) -> int | None:
    """Return the first time later than `after` whose second of the day is in `wake`; None if that is empty."""
    return min((after + 1 + (at - after - 1) % DAY_S for at in wake), default=None)


# ------------------------------------------------------------------ what happens


def _heard(state: GroupState, happening: Happening, now: int) -> Decided:
    match happening:
        case Enlisted(members):
            return _enlisted(replace(state, evicted=state.evicted - members), members, now)
        case Dismissed(members):
            return _going(state, members, now), ()
        case Evicted(members):
            state = replace(state, evicted=state.evicted | members)
            return _going(state, members, now, Reason.LEAVE), ()
        case Revoked(members):
            state = replace(state, revoked=state.revoked | members)
            return _going(state, members, now, Reason.COMPROMISE), ()
        case Reinstated(members):
            return replace(state, revoked=state.revoked - members), ()
        case Allowed(members):
            return replace(state, allowed=members), ()
        case Asked(member):
            return _asked(state, member, now)
        case Left(member, granted):
            return _left(state, member, now, granted=granted), ()
        case Missed(members, excluded):
            return _missed(state, members, now, excluded=excluded), ()
        case Rostered(members, absent):
            return _rostered(state, members, absent, now)
        case Confirmed(members):
            misses = {member: count for member, count in state.misses.items() if member not in members}
            return replace(state, misses=misses, epoch_at=now, spent=False), ()
        case Counted(records):
            used_up = state.formed and records >= state.policy.records and not state.spent
            return (replace(state, spent=True, epoch_at=now), (Renew(),)) if used_up else (state, ())
        case Passed():
            return state, ()
    assert_never(happening)


def _enlisted(state: GroupState, members: Members, now: int) -> Decided:
    """Let these wait for the next change, as many as there is room for; a revoked one never."""
    refusals: list[Decision] = [Refuse(member, Refusal.REVOKED) for member in sorted(members & state.revoked)]
    state = replace(state, leaving=state.leaving - (members - state.revoked))
    news = sorted(members - state.revoked - state.wanted)
    room = state.policy.most - len(state.wanted)
    refusals += [Refuse(member, Refusal.FULL) for member in news[room:]]
    return _waiting(replace(state, joining=state.joining | frozenset(news[:room])), now), refusals


def _going(state: GroupState, members: Members, now: int, haste: Reason | None = None) -> GroupState:
    """Let these wait for the next change; one that cannot wait is made at once."""
    here = members & (state.members | state.absent)
    misses = {member: count for member, count in state.misses.items() if member not in members}
    state = replace(state, joining=state.joining - members, leaving=state.leaving | here, misses=misses)
    if haste is not None and here:
        state = replace(state, haste=haste if state.haste is None else max(haste, state.haste))
    return _waiting(state, now)


def _asked(state: GroupState, member: Member, now: int) -> Decided:
    """Let in whom the coordinator allows, and whom the ring has only missed; not one who is revoked or was evicted here."""
    if member in state.revoked:
        return state, (Refuse(member, Refusal.REVOKED),)
    if member in state.evicted:
        return state, (Refuse(member, Refusal.EVICTED),)
    if member in state.members - state.leaving:
        return state, ()
    if member in state.allowed or member in state.misses or member in state.joining:
        return _enlisted(state, frozenset((member,)), now)
    return state, (Refuse(member, Refusal.STRANGER),)


def _left(state: GroupState, member: Member, now: int, *, granted: bool) -> GroupState:
    who = frozenset((member,))
    if not granted:
        return _going(state, who, now)
    misses = {each: count for each, count in state.misses.items() if each != member}
    state = replace(state, members=state.members - who, joining=state.joining - who, leaving=state.leaving - who)
    return _waiting(replace(state, misses=misses), now)


def _missed(state: GroupState, members: Members, now: int, *, excluded: bool) -> GroupState:
    """Count; whom the ring could not leave out by itself is left out when it has missed too many runs."""
    counts = {member: state.misses.get(member, 0) + 1 for member in members & state.members}
    state = replace(state, misses={**state.misses, **counts})
    if excluded:
        return _waiting(replace(state, members=state.members - members, leaving=state.leaving - members), now)
    hopeless = frozenset(member for member, count in counts.items() if count >= state.policy.absent_after)
    return _waiting(replace(state, leaving=state.leaving | hopeless), now)


def _rostered(state: GroupState, members: Members, absent: Members, now: int) -> Decided:
    """Take over what the ring holds; somebody in it who is revoked or was evicted has to go at once."""
    known = members | absent
    state = replace(
        state,
        formed=True,
        members=members,
        joining=state.joining - members,
        leaving=state.leaving & known,
        misses={member: state.misses.get(member, 1) for member in known if member in absent or member in state.misses},
        epoch_at=state.epoch_at or now,
    )
    state = _going(state, known & state.evicted, now, Reason.LEAVE)
    return _going(state, known & state.revoked, now, Reason.COMPROMISE), ()


def _waiting(state: GroupState, now: int) -> GroupState:
    """Note since when somebody has waited."""
    if not state.joining and not state.leaving:
        return replace(state, waiting_since=_NEVER, haste=None)
    return state if state.waiting_since != _NEVER else replace(state, waiting_since=now)


# ------------------------------------------------------------------ what time it is


def _timely(state: GroupState, now: int) -> Decided:
    """Return what is due: a change if anybody waits and must not wait longer, else a new key if one is due."""
    policy = state.policy
    wake = next_wake(policy.wake_s, state.seen_at)
    awake = wake is not None and wake <= now
    state = replace(state, seen_at=now)
    if not state.formed:
        return _formed(state, now, awake=awake)
    if awake:
        missed = (
            frozenset(member for member, count in state.misses.items() if count < policy.absent_after) - state.wanted
        )
        room = max(0, policy.most - len(state.wanted))
        state = _waiting(replace(state, joining=state.joining | frozenset(sorted(missed)[:room])), now)
    waited = state.waiting_since != _NEVER and now >= state.waiting_since + policy.batch_s
    if state.waiting_since != _NEVER and (awake or waited or state.haste is not None):
        return _changed(state, now)
    if awake or (policy.lifetime_s and now >= state.epoch_at + policy.lifetime_s):
        return replace(state, epoch_at=now), (Renew(),)
    return state, ()


def _formed(state: GroupState, now: int, *, awake: bool) -> Decided:
    """Form the ring when it is large enough and everybody who was waited for had their time."""
    waited = state.waiting_since != _NEVER and now >= state.waiting_since + state.policy.batch_s
    full = len(state.joining) == state.policy.most
    if len(state.joining) < state.policy.least or not (waited or full or awake):
        return state, ()
    members = state.joining
    return _settled(replace(state, formed=True), members, now), (Form(members),)


def _changed(state: GroupState, now: int) -> Decided:
    wanted, add, remove = state.wanted, state.joining, state.leaving
    if len(wanted) < state.policy.fewest:
        left = state.members - remove
        return replace(_settled(state, NOBODY, now), formed=False, joining=wanted), (Dissolve(left),)
    reason = state.haste or (Reason.LEAVE if remove else Reason.JOIN)
    return _settled(state, wanted, now), (Change(add, remove, reason),)


def _settled(state: GroupState, members: Members, now: int) -> GroupState:
    return replace(
        state, members=members, joining=NOBODY, leaving=NOBODY, waiting_since=_NEVER, haste=None, epoch_at=now
    )
