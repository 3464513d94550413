"""What is said to the policy of one group and what it decides: the closed lists of both directions.

A member is named by whatever the host names it by everywhere (the dev_id at a manager); the policy only compares names.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from keymote.errors import CallerFault
from keymote.wire.group import FEWEST, MOST

Member = bytes
Members = frozenset[Member]
NOBODY: Final[Members] = frozenset()
DAY_S: Final = 86400
MOST_RECORDS: Final = 2**20
"""Records under one sender's key in an epoch (Triad-1 1.8)."""


class Reason(IntEnum):
    """Why a run is begun, as START says it (Triad-1 3.4)."""

    INITIAL = 0
    PERIODIC = 1
    JOIN = 2
    LEAVE = 3
    COMPROMISE = 4


class Refusal(StrEnum):
    """Why somebody who asks is not let in."""

    STRANGER = "neither enlisted nor allowed to join without the coordinator"
    EVICTED = "evicted; only who enlists it again lets it in"
    REVOKED = "revoked; only the coordinator lets it in again"
    FULL = "the ring is full"


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """How one group is led.

    `least`: members, the gateway not counted, before the ring is formed. `gateway_counts`: edge mode, in which the gateway
    is a member itself. `wake_s`: seconds after midnight UTC at which the meters are awake and the key is changed. `lifetime_s`:
    the longest life of an epoch, 0 for none. `records`: after which an epoch is used up. `batch_s`: how long joins and
    ordinary leaves wait for others, so that they share a run; a wake or an eviction ends the wait. `absent_after`: runs without
    an answer after which an absent member is waited for no more, until it asks.
    """

    least: int = 2
    gateway_counts: bool = False
    wake_s: tuple[int, ...] = ()
    lifetime_s: int = 0
    records: int = MOST_RECORDS
    batch_s: int = 0
    absent_after: int = 2

    def __post_init__(self) -> None:
        bounds: Iterable[tuple[str, int, int, int]] = (
            ("least", self.least, self.fewest, self.most),
            *(("wake_s", at, 0, DAY_S - 1) for at in self.wake_s),
            ("lifetime_s", self.lifetime_s, 0, 366 * DAY_S),
            ("records", self.records, 1, MOST_RECORDS),
            ("batch_s", self.batch_s, 0, 366 * DAY_S),
            ("absent_after", self.absent_after, 1, 1000),
        )
        for name, value, low, high in bounds:
            if not low <= value <= high:
                raise CallerFault(f"{name} of a group's policy is {value}", do=f"choose {low} to {high}")

    @property
    def fewest(self) -> int:
        """Members beside the gateway without which there is no ring."""
        return FEWEST - self.gateway_counts

    @property
    def most(self) -> int:
        """Members beside the gateway that a ring has room for."""
        return MOST - self.gateway_counts


# ------------------------------------------------------------------ what happens


@dataclass(frozen=True, slots=True)
class Enlisted:
    """The coordinator, or an operator here, wants these in. Lifts an eviction, not a revocation."""

    members: Members


@dataclass(frozen=True, slots=True)
class Dismissed:
    """These are to go, without haste."""

    members: Members


@dataclass(frozen=True, slots=True)
class Evicted:
    """These are to go at once, and come back only when somebody enlists them."""

    members: Members


@dataclass(frozen=True, slots=True)
class Revoked:
    """The credentials of these are worthless: they go at once, and the old key with them."""

    members: Members


@dataclass(frozen=True, slots=True)
class Reinstated:
    """The coordinator's word that these are no longer revoked."""

    members: Members


@dataclass(frozen=True, slots=True)
class Allowed:
    """These, and no others, may join without the coordinator."""

    members: Members


@dataclass(frozen=True, slots=True)
class Asked:
    """This one asks to be let in (JOINREQ), and is who it says: the host has verified its signature."""

    member: Member


@dataclass(frozen=True, slots=True)
class Left:
    """This one wants to leave (LEAVE). `granted`: the ring has signed a roster without it already."""

    member: Member
    granted: bool


@dataclass(frozen=True, slots=True)
class Missed:
    """These did not answer in a run. `excluded`: the ring has signed a roster without them already."""

    members: Members
    excluded: bool


@dataclass(frozen=True, slots=True)
class Rostered:
    """These, and no others, are on the roster that the ring holds; `absent`: whom it would let in again by itself.

    Said after a start, and whenever it differs.
    """

    members: Members
    absent: Members = NOBODY


@dataclass(frozen=True, slots=True)
class Confirmed:
    """These hold the key of a new epoch."""

    members: Members


@dataclass(frozen=True, slots=True)
class Counted:
    """The busiest sender of the present epoch has sent so many records."""

    records: int


@dataclass(frozen=True, slots=True)
class Passed:
    """Nothing but time."""


Happening = (
    Enlisted
    | Dismissed
    | Evicted
    | Revoked
    | Reinstated
    | Allowed
    | Asked
    | Left
    | Missed
    | Rostered
    | Confirmed
    | Counted
    | Passed
)


# ------------------------------------------------------------------ what is decided


@dataclass(frozen=True, slots=True)
class Form:
    """Form the ring of these (`FormRing`)."""

    members: Members


@dataclass(frozen=True, slots=True)
class Change:
    """Sign the next roster, or have it signed, and begin a run (`Amend`, `InstallRoster`). `remove` may name absent members."""

    add: Members
    remove: Members
    reason: Reason


@dataclass(frozen=True, slots=True)
class Renew:
    """Begin a run of the same members (`Rekey`)."""

    reason: Reason = Reason.PERIODIC


@dataclass(frozen=True, slots=True)
class Dissolve:
    """Too few would stay: nobody leads the ring any more, and `left`, who still hold its key, must forget it."""

    left: Members


@dataclass(frozen=True, slots=True)
class Refuse:
    """Do not let this one in, and tell those who look after the group."""

    member: Member
    why: Refusal


Decision = Form | Change | Renew | Dissolve | Refuse
