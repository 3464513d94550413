"""When a city's root key goes one step on, and when it is made anew (Triad-1 3.7): for joins, leaves, compromise, and daily.

`decide` is the whole of it. The root gateway's host tells it what the rings have done and carries out what it decides: `Step` is
`RatchetRoot` to its root group, `Refresh` is `Rekey` of the top ring with that reason. All times are UTC seconds.
"""

from dataclasses import dataclass, replace
from typing import Final, assert_never

from keymote.engine.policy.group_faces import DAY_S, Reason
from keymote.errors import CallerFault
from keymote.wire.group import FRESH

QUARTER_S: Final = 900
PATIENCE_S: Final = 300
"""From a decision until it is made again, if no ROOT has come of it."""
_NEVER: Final = -1


@dataclass(frozen=True, slots=True)
class RootPolicy:
    """`leaves_every_s`: between two fresh root keys for ordinary leaves; `fresh_every_s`: the longest life of a chain of steps.

    Steps give no healing: whoever has one root key of a chain has all later ones (Triad-1 3.7).
    """

    leaves_every_s: int = QUARTER_S
    fresh_every_s: int = DAY_S

    def __post_init__(self) -> None:
        if not 0 <= self.leaves_every_s <= self.fresh_every_s or not self.fresh_every_s:
            raise CallerFault(f"fresh root keys every {self.fresh_every_s} s, for leaves every {self.leaves_every_s} s")


# ------------------------------------------------------------------ what happens, once the rings concerned have run


@dataclass(frozen=True, slots=True)
class Joined:
    """A leaf has confirmed an epoch with a newcomer, who has no root key."""


@dataclass(frozen=True, slots=True)
class Left:
    """A leaf has confirmed an epoch without an ordinary meter, which was trusted to the end."""


@dataclass(frozen=True, slots=True)
class Lost:
    """All rings concerned have confirmed epochs without a meter that was compromised, or was a delegate."""


@dataclass(frozen=True, slots=True)
class Announced:
    """A ROOT is out, of this mode."""

    mode: int


@dataclass(frozen=True, slots=True)
class Stuck:
    """The top ring does not agree on a root key."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Nothing but time has gone by."""


Happening = Joined | Left | Lost | Announced | Stuck | Passed


# ------------------------------------------------------------------ what is decided


@dataclass(frozen=True, slots=True)
class Step:
    """Let the root key go one step on."""


@dataclass(frozen=True, slots=True)
class Refresh:
    """Make a fresh root key by a run of the top ring."""

    reason: Reason


Decision = Step | Refresh


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the next root key is wanted for: newcomers, ordinary leaves, or somebody who must be shut out at once."""

    joined: bool = False
    left: bool = False
    lost: bool = False

    def __or__(self, other: "Wishes") -> "Wishes":
        return Wishes(self.joined or other.joined, self.left or other.left, self.lost or other.lost)


@dataclass(frozen=True, slots=True)
class RootState:
    """What the policy of one root group knows.

    `fresh_at`: when the newest chain began. `open`: wishes that nothing was asked for yet; `asked`: what was asked for, at
    `asked_at`, whose ROOT is not out yet.
    """

    policy: RootPolicy
    fresh_at: int
    open: Wishes = Wishes()
    asked: Decision | None = None
    asked_for: Wishes = Wishes()
    asked_at: int = _NEVER


def decide(state: RootState, happening: Happening, now: int) -> tuple[RootState, Decision | None]:
    """Return the state after `happening`, and what is to be done at once, if anything."""
    state = _heard(state, happening, now)
    if state.asked is not None and now < state.asked_at + PATIENCE_S:
        return state, None
    if state.asked is not None:  # nothing has come of it
        state = _taken_back(state)
    decision = _due(state, now)
    if decision is None:
        return state, None
    served = Wishes(joined=state.open.joined) if isinstance(decision, Step) else state.open
    rest = Wishes(left=state.open.left) if isinstance(decision, Step) else Wishes()
    return replace(state, open=rest, asked=decision, asked_for=served, asked_at=now), decision


def due_at(state: RootState) -> int:
    """Return when the policy wants to be asked again though nothing happens."""
    if state.asked is not None:
        return state.asked_at + PATIENCE_S
    policy = state.policy
    return state.fresh_at + (policy.leaves_every_s if state.open.left else policy.fresh_every_s)


def _heard(state: RootState, happening: Happening, now: int) -> RootState:
    match happening:
        case Joined():
            return replace(state, open=state.open | Wishes(joined=True))
        case Left():
            return replace(state, open=state.open | Wishes(left=True))
        case Lost():
            return _taken_back(replace(state, open=state.open | Wishes(lost=True)))  # it waits for nothing begun before
        case Announced(mode):
            return _announced(state, mode, now)
        case Stuck():
            return _taken_back(state)
        case Passed():
            return state
    assert_never(happening)


def _announced(state: RootState, mode: int, now: int) -> RootState:
    """A fresh root key serves what it was asked for; so does a step, but never a leave."""
    if mode == FRESH:
        state = replace(state, fresh_at=now)
        if not isinstance(state.asked, Refresh):
            return state  # somebody else's run: whoever came or went meanwhile is still waited for
    elif not isinstance(state.asked, Step):
        return state
    return replace(state, asked=None, asked_for=Wishes(), asked_at=_NEVER)


def _taken_back(state: RootState) -> RootState:
    return replace(state, open=state.open | state.asked_for, asked=None, asked_for=Wishes(), asked_at=_NEVER)


def _due(state: RootState, now: int) -> Decision | None:
    wishes, policy = state.open, state.policy
    if wishes.lost:
        return Refresh(Reason.COMPROMISE)
    if wishes.left and now >= state.fresh_at + policy.leaves_every_s:
        return Refresh(Reason.LEAVE)
    if now >= state.fresh_at + policy.fresh_every_s:
        return Refresh(Reason.PERIODIC)
    return Step() if wishes.joined else None
