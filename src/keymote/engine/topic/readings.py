"""What becomes of a reading that comes in: it opens, it is refused, or it waits for a key.

Shared by whoever holds a topic's keys and whoever carries readings, which do not know each other otherwise.
"""

from typing import NamedTuple

from keymote.errors import ErrorCode, PeerFault, Unavailable


class Reading(NamedTuple):
    """A reading as its publisher sent it: number `n` of its chain `snd` in `epoch`.

    With `duplicate` it was opened before, or claims so: its key is gone, `plaintext` is empty, and nobody need look at it.
    """

    topic: str
    plaintext: bytes
    n: int
    snd: int
    epoch: int
    duplicate: bool = False


class Reject(NamedTuple):
    """A payload that was refused: at Unix time `at`, `size` bytes, of which `first` are the first at most 16."""

    at: int
    topic: str
    code: ErrorCode
    why: str
    size: int
    first: bytes


class Standing(NamedTuple):
    """One chain: `n` is its next index, of the readings before it `missing` have not come (at most 256 are remembered)."""

    topic: str
    publishes: bool
    epoch: int
    snd: int
    n: int
    missing: int


class Rejected(PeerFault):
    """A payload was refused, noted and counted; nothing else changed."""

    def __init__(self, code: ErrorCode, why: str) -> None:
        super().__init__(code, why)

    @property
    def why(self) -> str:
        return self.what


class NeedsKey(Unavailable):
    """There is no key for this now: ask the trusted system, for a new epoch where `anew`.

    A reading that came in and has no key yet is kept, within bounds, and comes out when the key is taken.
    """

    def __init__(self, topic: str, what: str, *, publish: bool = False, anew: bool = False) -> None:
        super().__init__(what, do="ask the trusted system for a new epoch" if anew else "ask for the topic's key")
        self.topic = topic
        self.publish = publish
        self.anew = anew
