"""When a message of topic keys is said again: after 2 and 4 s, given up 8 s later (Triad-1 4.6)."""

from typing import Final, NamedTuple

from keymote.engine.base import Now

WAITS_S: Final = (2.0, 4.0, 8.0)
LONGEST_S: Final = 600.0
"""Longest pause between two repetitions to somebody who is out of reach."""


class Patience(NamedTuple):
    """Until when an answer is waited for, and how often the message was repeated."""

    at: float
    attempt: int = 0

    @classmethod
    def first(cls, now: Now) -> "Patience":
        return cls(now.mono + WAITS_S[0])

    @property
    def last(self) -> bool:
        """Tell whether this was the last wait."""
        return self.attempt >= len(WAITS_S) - 1

    @property
    def given_up(self) -> bool:
        """Tell whether all waits are over; it is only tried now and then."""
        return self.attempt >= len(WAITS_S)

    def again(self, now: Now) -> "Patience":
        """Return the next wait: 2, 4, 8 s, then twice as long each time, for who is out of reach, up to ten minutes."""
        attempt = self.attempt + 1
        return Patience(now.mono + min(WAITS_S[0] * 2.0 ** min(attempt, 16), LONGEST_S), attempt)
