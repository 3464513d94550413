"""How long a run waits, and when it asks again (Triad-1 3.6, 8; docs/decisions/0141)."""

from typing import Final, NamedTuple

from keymote.engine.base import Now

ASK_EVERY_S: Final = 1.0
"""Between two NEEDs, and from the last progress to the first one."""
MOST_ASKS: Final = 20
START_EVERY_S: Final = 10.0
"""Between two STARTs of one gateway, but for an eviction (Triad-1 1.14)."""
ANSWER_EVERY_S: Final = 0.8
"""Between two answers to one asker about one thing: somewhat less than it waits, so that jitter costs nothing."""
BEACON_S: Final = 5.0
"""Between two repetitions of START for members who are absent."""
LATER_S: Final = 5.0
LATEST_S: Final = 30.0
"""First and longest pause of a member that has asked 20 times and goes on asking."""
MOST_LATE: Final = 24
"""Questions after such pauses, which is ten minutes."""
SELDOM_S: Final = 900.0
"""Pause of a member that nobody answers: it is refused, or there is nobody."""
MOST_NUDGES: Final = 32
"""Repetitions of one START that make a member ask at once; further ones, every 30 s."""
MOST_SKEW_S: Final = 300
"""Difference of clocks that a timestamp may show (Triad-1 1.13)."""


def timeout_s(n: int) -> float:
    """Return the unit of patience in a ring of `n`: 5 s and 0.2 s for each member."""
    return 5.0 + 0.2 * n


def gateway_patience_s(n: int) -> float:
    """Return how long a gateway waits for one round: two timeouts, then it goes on without who is missing."""
    return 2.0 * timeout_s(n)


def member_patience_s(n: int) -> float:
    """Return how long a member waits for one round: longer than the gateway, which may begin anew meanwhile."""
    return 3.0 * timeout_s(n)


class Asking(NamedTuple):
    """When to ask next, how often still, and after how many seconds each time."""

    at: float
    left: int = MOST_ASKS
    every_s: float = ASK_EVERY_S

    @classmethod
    def after_progress(cls, now: Now) -> "Asking":
        """Return the pace of a round in which something new was just heard."""
        return cls(now.mono + ASK_EVERY_S)

    @classmethod
    def throughout(cls, now: Now, patience_s: float) -> "Asking":
        """Return the pace of a wait without signs of progress: the questions last for all of it."""
        every_s = max(ASK_EVERY_S, patience_s / MOST_ASKS)
        return cls(now.mono + every_s, MOST_ASKS, every_s)

    @property
    def deadline(self) -> float | None:
        return self.at if self.left else None

    def due(self, now: Now) -> bool:
        return self.left > 0 and now.mono >= self.at

    def again(self, now: Now) -> "Asking":
        return Asking(now.mono + self.every_s, self.left - 1, self.every_s)


class Pursuit(NamedTuple):
    """A wish that is repeated until it comes true: every second at first, then after longer and longer pauses (0177).

    `said`: how often; `nudges`: how often a START that does not name us has shortened a long pause.
    """

    wish: int
    at: float
    said: int = 0
    nudges: int = 0

    def due(self, now: Now) -> bool:
        return now.mono >= self.at

    def again(self, now: Now) -> "Pursuit":
        """Return the wish after it was said once more."""
        late = self.said + 1 - MOST_ASKS
        slower = min(LATER_S * 2 ** max(0, min(late, 8)), LATEST_S)
        pause = ASK_EVERY_S if late < 0 else slower if late < MOST_LATE else SELDOM_S
        return self._replace(at=now.mono + pause, said=self.said + 1)

    def afresh(self, now: Now) -> "Pursuit":
        """Return the wish as it is when something new has happened."""
        return Pursuit(self.wish, now.mono + ASK_EVERY_S)

    def nudged(self, now: Now) -> "Pursuit":
        """Return the wish when the newest START is heard once more: said soon, or after a while if that has not helped."""
        soon = now.mono + (ASK_EVERY_S if self.nudges < MOST_NUDGES else LATEST_S)
        if self.at <= soon:
            return self
        return self._replace(at=soon, nudges=self.nudges + 1)


def is_fresh(ts: int, wall: int | None) -> bool:
    """Return whether a timestamp is acceptable: 0 comes from somebody without a clock, `wall` None is nobody's judge."""
    return ts == 0 or wall is None or abs(ts - wall) <= MOST_SKEW_S
