"""What a coordinator's store keeps of groups, as plain values: who belongs to them, what gateways said of them, conflicts.

No key, and nothing that leads to one. Times that end in `_ms` are UTC milliseconds.
"""

from dataclasses import dataclass
from enum import StrEnum

from keymote.engine.policy.conflicts import ConflictKind


class GroupState(StrEnum):
    """`paused`: fewer than two members, nobody leads it; `closed` for good."""

    ACTIVE = "active"
    PAUSED = "paused"
    CLOSED = "closed"


class Gone(StrEnum):
    """Why a device was taken away from a group."""

    REVOKED = "revoked"
    RETIRED = "retired"
    SUSPENDED = "suspended"
    SUPERSEDED = "superseded"
    """It has new keys; those of before are no member's any more."""
    EVICTED = "evicted"
    BLAMED = "blamed"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a group is led; `mode` is relay or edge. What the numbers mean stands at `admin_groups.GroupPolicy`.

    `hedge`: its gateway hands out a post-quantum hedge.
    """

    mode: str
    level: int
    multicast: bool
    compact: bool
    central: bool
    telemetry: tuple[str, ...]
    period_s: int
    least: int
    batch_s: int
    misses: int
    records: int
    wake: tuple[int, ...]
    hedge: bool = False
    keep_records: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """What should be of a group, and the newest that is known of it.

    `rev` grows with every change, `event` announced the last. `ra_kid` is the coordinator's credential that `delegation`
    (mt 11, until `not_after`, UTC seconds) and `roster` (mt 39, version `roster_ver`) were signed under. `formed`: the
    gateway is known to lead the group with that roster or a later one. `rekey` counts the wishes for a new epoch.
    `ver` is the highest roster version and `epoch` the highest epoch that any gateway reported, 0 before the first.
    """

    gid: bytes
    name: str
    nm_id: bytes
    settings: Settings
    suite: int
    state: GroupState = GroupState.ACTIVE
    rev: int = 0
    event: int = 0
    ra_kid: bytes = b""
    gw_kid: bytes = b""
    delegation: bytes = b""
    not_after: int = 0
    roster: bytes = b""
    roster_ver: int = 0
    formed: bool = False
    rekey: int = 0
    rekey_reason: int = 0
    ver: int = 0
    epoch: int = 0
    key_id: bytes = b""
    confirmed_ms: int = 0
    reported_ms: int = 0


@dataclass(frozen=True, slots=True)
class Member:
    """A device's standing in a group: a `member` since `since_ms`, and `allowed` to come in without the coordinator."""

    gid: bytes
    dev_id: bytes
    member: bool
    allowed: bool
    since_ms: int = 0


@dataclass(frozen=True, slots=True)
class Card:
    """A device of a group that is active, with its credential in force; `nm_id` is the manager where it is enrolled."""

    dev_id: bytes
    nm_id: bytes
    raw: bytes
    member: bool
    allowed: bool


@dataclass(frozen=True, slots=True)
class Kid:
    """A name under which a device stands, or stood, on rosters of a group; `epoch` the newest that it confirmed, 0: none."""

    gid: bytes
    kid: bytes
    dev_id: bytes
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Removal:
    """A device was taken away from a group under these kids. `reason` 3 leave, 4 compromise; `event` carries it out.

    `last_with` is the newest epoch known to hold one of the kids, `safe_ms` when one without them was confirmed.
    """

    gid: bytes
    dev_id: bytes
    cause: Gone
    reason: int
    kids: tuple[bytes, ...]
    at_ms: int
    event: int
    last_with: int
    safe_ms: int | None = None
    id: int = 0


@dataclass(frozen=True, slots=True)
class RosterLine:
    """A roster that came into force, as the manager `nm_id` reported it; `kid` signed it, `digest` is the SHA-256 of `raw`."""

    gid: bytes
    ver: int
    digest: bytes
    kid: bytes
    nm_id: bytes
    n: int
    ts_ms: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class EpochLine:
    """An epoch that everybody on roster `ver` confirmed; `kids` are those."""

    gid: bytes
    epoch: int
    nm_id: bytes
    key_id: bytes
    attempt: int
    ver: int
    reason: int
    kids: tuple[bytes, ...]
    began_ms: int
    confirmed_ms: int


@dataclass(frozen=True, slots=True)
class RecordLine:
    """A record of the group's log, as sealed as it passed the manager `nm_id`; `number` is its sender's, `seq` the manager's."""

    gid: bytes
    nm_id: bytes
    seq: int
    ts_ms: int
    epoch: int
    kid: bytes
    number: int
    resource: str
    record: bytes
    id: int = 0


@dataclass(frozen=True, slots=True)
class Lead:
    """A credential under which a manager may, or might, lead a group, until `not_after` (UTC seconds)."""

    gid: bytes
    gw_kid: bytes
    nm_id: bytes
    sig_pk: bytes
    not_after: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """`subject` is a dev_id, `number` a roster version or epoch; empty and None where they do not apply."""

    kind: ConflictKind
    gid: bytes
    subject: bytes
    number: int | None
    managers: tuple[bytes, ...]
    ts_ms: int
    text: str
    settled_ms: int | None = None
    id: int = 0
