"""Bodies of the coordinator's REST interface for groups: what an operator wants, what a gateway reads, what it reports.

Nothing here is a key or leads to one: signed rosters and delegations, ids, numbers and times. Times are UTC milliseconds
where a name ends in `_ms`.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Final, TypeVar

from msgspec import Meta, field, structs

from keymote.wire.admin import Base64Url, Body, GroupGap, HexId, Name, View, encode

FEWEST: Final = 2
MOST: Final = 32
"""Members of a ring (Triad-1 3.3), in edge mode with the gateway."""
MOST_ALLOWED: Final = 256
MOST_ITEMS: Final = 64
MOST_BATCH: Final = 12 * 1024
"""Items and bytes of one batch of reports; the coordinator takes 16 KiB in all."""

MOST_KEPT: Final = 100_000
"""Records of a group's log."""
MOST_CAUSES: Final = 4
Item = TypeVar("Item", bound=Body)
Milliseconds = Annotated[int, Meta(ge=0, lt=1 << 53, description="UTC milliseconds since 1970")]
Uint32 = Annotated[int, Meta(ge=0, lt=1 << 32)]
Period = Annotated[int, Meta(ge=0, le=366 * 86400, description="Seconds")]
Mode = Annotated[str, Meta(pattern="^(relay|edge)$")]
Level = Annotated[int, Meta(ge=0, le=2)]
Cause = Annotated[int, Meta(ge=0, le=MOST_CAUSES, description="0 initial, 1 periodic, 2 join, 3 leave, 4 compromise")]
Resource = Annotated[str, Meta(min_length=1, max_length=63, pattern="^[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*$")]
DevIds = Annotated[list[HexId], Meta(max_length=MOST)]
Kids = Annotated[list[HexId], Meta(max_length=MOST)]
By = Annotated[str, Meta(pattern="^(device|operator here)$")]


class GroupPolicy(Body, frozen=True):
    """When a gateway rekeys by itself.

    The numbers are those of `engine.policy.group_faces.GroupPolicy`: `period_s` is the longest life of an epoch (0: no
    limit), `least` members before the ring is formed, `batch_s` over which joins and leaves are collected (a revocation
    never waits), `misses` runs without an answer until a member is left out, `records` of one sender until the epoch is used
    up, `wake` seconds of the UTC day at which the members are awake and the key is changed. `keep_records`: how many of the
    newest records are kept as they were sealed, at the gateway until they were handed in, and at the coordinator; 0: none.
    """

    period_s: Period = 86400
    least: Annotated[int, Meta(ge=1, le=MOST)] = FEWEST
    batch_s: Annotated[int, Meta(ge=0, le=86400)] = 0
    misses: Annotated[int, Meta(ge=1, le=1000)] = 3
    records: Annotated[int, Meta(ge=64, le=1 << 20)] = 1 << 20
    wake: Annotated[list[Annotated[int, Meta(ge=0, lt=86400)]], Meta(max_length=24)] = field(default_factory=list)
    keep_records: Annotated[int, Meta(ge=0, le=MOST_KEPT)] = 0


# ------------------------------------------------------------------ an operator's wishes


class CreateGroup(Body, frozen=True):
    """`gateway` is the nm_id of the manager that leads; every member is enrolled there. See `CharterView`.

    `hedge`: the gateway hands out a key over LINK that goes into the group's key, too (Triad-1 3.6, PQ hedge).
    """

    name: Name
    gateway: HexId
    members: DevIds
    allowed: Annotated[list[HexId], Meta(max_length=MOST_ALLOWED)] = field(default_factory=list)
    mode: Mode = "relay"
    level: Level = 1
    multicast: bool = True
    compact: bool = False
    central: bool = False
    telemetry: Annotated[list[Resource], Meta(max_length=16)] = field(default_factory=lambda: ["telemetry"])
    policy: GroupPolicy = field(default_factory=GroupPolicy)
    hedge: bool = False


class ChangeMembers(Body, frozen=True):
    """Take these in, let those go; `reason` of a removal: 3 leave or 4 compromise."""

    add: DevIds = field(default_factory=list)
    remove: DevIds = field(default_factory=list)
    reason: Annotated[int, Meta(ge=3, le=MOST_CAUSES)] = 3


class AllowMembers(Body, frozen=True):
    """Devices that the gateway may let in without asking the coordinator, and those that it may not any more."""

    add: Annotated[list[HexId], Meta(max_length=MOST_ALLOWED)] = field(default_factory=list)
    remove: Annotated[list[HexId], Meta(max_length=MOST_ALLOWED)] = field(default_factory=list)


class RekeyGroup(Body, frozen=True):
    """A new epoch for the same members; `reason` 1 periodic or 4 compromise (the old epoch then ends at once)."""

    reason: Annotated[int, Meta(ge=1, le=MOST_CAUSES)] = 1


class MoveGroup(Body, frozen=True):
    """Another manager leads from now on."""

    gateway: HexId


# ------------------------------------------------------------------ what a gateway reads


class MemberEntry(View, frozen=True):
    """A device as a roster names it. `nm_id` is the manager at which it is enrolled, and which can invite it."""

    dev_id: HexId
    nm_id: HexId
    kid: HexId
    sig_pk: Base64Url
    credential: Base64Url


class GoneEntry(View, frozen=True):
    """A device that is no member any more, under all its kids; `reason` 3 leave or 4 compromise."""

    dev_id: HexId
    kids: list[HexId]
    reason: int


class CharterView(View, frozen=True):
    """What should be of a group; its gateway makes it so, and again is once. `rev` grows with every change of it.

    `state`: active; paused (fewer than two members: the ring is forgotten and nobody holds it); closed (for good).
    `credential` is the coordinator's (its kid and key are the roster authority's), `delegation` (mt 11) for this gateway.
    `roster` (mt 39, version `roster_ver`) is the newest that the coordinator signed: with it a ring is formed that is not
    led here yet, or was led under another roster authority; with `central` the coordinator signs all of them, and a higher
    version is installed. Otherwise the gateway signs what turns its roster into `members` itself.
    `members` and `allowed` are active devices; `gone` are no members any more, and why: it must not let them in by itself, but
    for those in `allowed`, who left by their own wish.
    `rekey` counts the wishes for a new epoch, `rekey_reason` is that of the last. `reported` is the highest `seq` of the
    caller's reports on this group that was taken. `epoch` is the highest that any gateway reported: a ring that is formed
    anew numbers its epochs far above it. `hedge`: the gateway draws a post-quantum hedge and hands it out in INVITE.
    """

    gid: HexId
    name: str
    rev: int
    state: str
    nm_id: HexId
    suite: int
    mode: str
    level: int
    multicast: bool
    compact: bool
    central: bool
    telemetry: list[str]
    policy: GroupPolicy
    credential: Base64Url
    delegation: Base64Url
    roster: Base64Url
    roster_ver: int
    members: list[MemberEntry]
    allowed: list[MemberEntry]
    gone: list[GoneEntry]
    rekey: int
    rekey_reason: int
    reported: int
    epoch: int = 0
    hedge: bool = False


# ------------------------------------------------------------------ what a gateway reports


class Report(Body, frozen=True, tag_field="kind"):
    """`seq` grows by one with each report of a manager, whatever group it is of; `ts_ms` is when it happened."""

    seq: Annotated[int, Meta(ge=1, lt=1 << 53)]
    ts_ms: Milliseconds


class RosterReport(Report, frozen=True, tag="roster"):
    """A roster came into force at the gateway: the whole ROSTER (mt 39), signed by it or by the coordinator."""

    roster: Base64Url


class EpochReport(Report, frozen=True, tag="epoch"):
    """Everybody on the roster `ver` has confirmed the key of `epoch`, the last at `ts_ms`; its START left at `began_ms`.

    `kids` are those on that roster, `key_id` is the public name of the key (Triad-1 3.6).
    """

    epoch: Uint32
    attempt: Uint32
    ver: Annotated[int, Meta(ge=0, lt=1 << 53)]
    key_id: HexId
    kids: Kids
    reason: Cause
    began_ms: Milliseconds


class AbsentReport(Report, frozen=True, tag="absent"):
    """These did not answer in the run for `epoch`; `excluded`: it went on without them."""

    epoch: Uint32
    kids: Kids
    excluded: bool


class BlameReport(Report, frozen=True, tag="blame"):
    """A member has cheated; `evidence` is its signed message, `code` the name of a Triad-1 error."""

    epoch: Uint32
    kid: HexId
    code: Annotated[str, Meta(pattern="^E_[A-Z0-9_]{1,20}$")]
    evidence: Base64Url
    evicted: bool


class JoinedReport(Report, frozen=True, tag="joined"):
    """A device was let in without the coordinator: it asked and was allowed, or an operator said so at the gateway."""

    dev_id: HexId
    by: By


class LeftReport(Report, frozen=True, tag="left"):
    """A device left by its own wish."""

    dev_id: HexId


class EvictedReport(Report, frozen=True, tag="evicted"):
    """An operator put a device out at the gateway; `reason` 3 leave or 4 compromise."""

    dev_id: HexId
    reason: Annotated[int, Meta(ge=3, le=MOST_CAUSES)] = 3


class RefusedReport(Report, frozen=True, tag="refused"):
    """The gateway did not do something; `dev_id` whom it was about, where that is known."""

    text: Annotated[str, Meta(max_length=200)]
    dev_id: HexId | None = None


GroupReport = (
    RosterReport | EpochReport | AbsentReport | BlameReport | JoinedReport | LeftReport | EvictedReport | RefusedReport
)


class GroupReports(Body, frozen=True):
    """Reports of one manager on one group, oldest first."""

    items: Annotated[list[GroupReport], Meta(min_length=1, max_length=MOST_ITEMS)]


class RefusedItem(View, frozen=True):
    """A report that was not believed, and will not be later; the others were taken."""

    seq: int
    why: str


class ReportsTaken(View, frozen=True):
    """Every report up to `upto` has been dealt with.

    When that is more than the highest that was sent, the manager's counter has gone back (a backup was restored): it goes on
    above `upto`, with these reports too.
    """

    upto: int
    refused: list[RefusedItem] = field(default_factory=list)


def renumbered(report: GroupReport, seq: int) -> GroupReport:
    """Return the same report under another number."""
    return structs.replace(report, seq=seq)


def batches(items: Iterable[Item], most: int = MOST_ITEMS, octets: int = MOST_BATCH) -> Iterator[list[Item]]:
    """Yield `items` in their order, as batches that one call may carry: at most so many, and so many bytes of JSON."""
    batch: list[Item] = []
    size = 0
    for item in items:
        more = len(encode(item)) + 1
        if batch and (len(batch) == most or size + more > octets):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += more
    if batch:
        yield batch


# ------------------------------------------------------------------ what everybody sees


class MemberView(View, frozen=True):
    """A member and the newest epoch that it confirmed (0: none yet); `lag` is how many epochs it is behind.

    `state`: in (it has the newest epoch), waiting (it has not), suspended, or leaving (no member any more, and not yet
    safe to say so). `kid` is null for one without a credential in force.
    """

    dev_id: HexId
    kid: HexId | None
    state: str
    epoch: int
    lag: int


class ConflictView(View, frozen=True):
    """Two things that cannot both be right. `kind`: revoked-member, two-rosters, two-epochs, taken-device or
    unknown-member.

    `subject` is the device, or the kid that is nobody's; `number` the roster version or epoch; `managers` the names of those
    involved; `group` is empty and `gid` null for a device outside groups. `settled_ms`: when it ceased to matter, null while
    it does.
    """

    id: int
    kind: str
    gid: HexId | None
    group: str
    subject: HexId | None
    number: int | None
    managers: list[str]
    ts_ms: int
    settled_ms: int | None
    text: str


class GroupView(View, frozen=True):
    """A group as it is. `epoch` 0: none was reported yet; `waiting` are members without the newest epoch.

    `confirmed_ms` when the last member confirmed it, `reported_ms` when the gateway last reported, `acted`: whether the
    gateway has acted on the last change. `n`: how many should be on the roster now.
    """

    gid: HexId
    name: str
    state: str
    rev: int
    nm_id: HexId
    gateway: str
    gateway_state: str
    suite: int
    mode: str
    level: int
    multicast: bool
    compact: bool
    central: bool
    telemetry: list[str]
    policy: GroupPolicy
    epoch: int
    key_id: HexId | None
    confirmed_ms: int | None
    reported_ms: int | None
    roster_ver: int
    acted: bool
    n: int
    members: list[MemberView]
    allowed: list[HexId]
    waiting: list[HexId]
    removals: list[GroupGap]
    conflicts: list[ConflictView]
    hedge: bool = False


class GroupLine(View, frozen=True):
    """A group in a list."""

    gid: HexId
    name: str
    state: str
    nm_id: HexId
    gateway: str
    n: int
    epoch: int
    confirmed_ms: int | None
    waiting: int
    conflicts: int


class RosterView(View, frozen=True):
    """A roster that came into force: `by` names who signed it (coordinator or the manager's name), `n` how many are on it."""

    ver: int
    by: str
    n: int
    digest: str
    ts_ms: int
    roster: Base64Url


class EpochView(View, frozen=True):
    """An epoch as its gateway reported it; `members` are dev_ids, kids where a kid is nobody's."""

    epoch: int
    attempt: int
    nm_id: HexId
    ver: int
    key_id: HexId
    reason: int
    began_ms: int
    confirmed_ms: int
    members: list[HexId]


class GroupPage(View, frozen=True):
    """`next` is the value of `after` for the following page, null on the last."""

    items: list[GroupLine]
    next: str | None


class RosterPage(View, frozen=True):
    """`next` is the value of `after` for the following page, null on the last."""

    items: list[RosterView]
    next: int | None


class EpochPage(View, frozen=True):
    """`next` is the value of `after` for the following page, null on the last."""

    items: list[EpochView]
    next: int | None


class ConflictPage(View, frozen=True):
    """`next` is the value of `after` for the following page, null on the last."""

    items: list[ConflictView]
    next: int | None
