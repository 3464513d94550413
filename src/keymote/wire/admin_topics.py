"""Bodies of the coordinator's REST interface for topics: what an operator wants, what a manager reads, what it reports.

Nothing here is a key or leads to one: filters, ids, public keys, numbers and times. Times that end in `_ms` are UTC
milliseconds. What rules and events mean stands in `engine.policy.topic_charter` and `topic_events`.
"""

from typing import Annotated, Final

from msgspec import Meta, field

from keymote.wire.admin import Base64Url, Body, HexId, TopicGap, View
from keymote.wire.admin_groups import Milliseconds, RefusedItem

MOST_ITEMS: Final = 64
"""Reports of one batch: some 300 bytes each at most, and the coordinator takes 16 KiB in all."""
MOST_OCTETS: Final = 12 * 1024
MOST_GRANTS: Final = 256
MOST_CHANGES: Final = 64
MOST_FILTER: Final = 255
MOST_RULES: Final = 32
"""Rules of one page of a charter, each with up to 256 grants of some 100 bytes."""

Filter = Annotated[str, Meta(min_length=1, max_length=MOST_FILTER, description="An MQTT topic filter")]
Topic = Annotated[str, Meta(min_length=1, max_length=MOST_FILTER, description="A topic without wildcard")]
Policy = Annotated[str, Meta(pattern="^(mac|signed)$")]
Number = Annotated[int, Meta(ge=0, lt=1 << 53)]
Roles = Annotated[int, Meta(ge=1, le=3, description="1 publish, 2 subscribe, 3 both")]
Role = Annotated[int, Meta(ge=1, le=3, description="1 publish, 2 subscribe, 3 connect")]
Code = Annotated[str, Meta(pattern="^E_[A-Z0-9_]{1,20}$")]
ClientName = Annotated[str, Meta(min_length=1, max_length=64)]


# ------------------------------------------------------------------ an operator's wishes


class Grant(Body, frozen=True):
    """What a client (a device's dev_id, or the id of a provisioning file) may do."""

    client: HexId
    roles: Roles


class CreateTopic(Body, frozen=True):
    """A rule for the topics that `filter` stands for; `manager` is the nm_id of the trusted system that leads them.

    `policy`: mac (who has the key is believed) or signed (publishers countersign). `emergency`: a visited broker may forward
    before it knows the client. `cs`: the cipher. An epoch lasts `max_msgs` of one publisher, or `life_s` seconds.
    """

    filter: Filter
    manager: HexId
    policy: Policy = "mac"
    emergency: bool = False
    cs: Annotated[int, Meta(ge=0, le=255)] = 1
    max_msgs: Annotated[int, Meta(ge=1, le=1 << 20)] = 1 << 20
    life_s: Annotated[int, Meta(ge=1, le=366 * 86400)] = 86400
    grants: Annotated[list[Grant], Meta(max_length=MOST_CHANGES)] = field(default_factory=list)


class GrantTopic(Body, frozen=True):
    """Let clients do this from now on, instead of what they were granted in this rule before."""

    grants: Annotated[list[Grant], Meta(min_length=1, max_length=MOST_CHANGES)]


class RevokeTopic(Body, frozen=True):
    """Take these clients' grants away: subscribers get a new epoch first, or with `compromised` everybody at once."""

    clients: Annotated[list[HexId], Meta(min_length=1, max_length=MOST_CHANGES)]
    compromised: bool = False


# ------------------------------------------------------------------ what a manager reads


class GrantEntry(View, frozen=True):
    """A grant in force; `sig_pk` with what a publisher of a signed topic countersigns, empty else."""

    client: HexId
    roles: int
    sig_pk: Base64Url = ""


class GoneEntry(View, frozen=True):
    """Something was taken from a client in version `since`; epochs that began under an earlier one and that it holds end."""

    client: HexId
    compromised: bool
    since: int


class RuleView(View, frozen=True):
    """One rule as the trusted system lays it down; `version` is the manager's charter version of its last change."""

    filter: str
    version: int
    policy: str
    emergency: bool
    cs: int
    max_msgs: int
    life_s: int
    rotations: int
    grants: list[GrantEntry]
    gone: list[GoneEntry]


class TopicCharterPage(View, frozen=True):
    """Rules of the calling manager in the order of their filters; one that no page has is gone.

    `version` grows with every change of any rule: pages with another one are of another charter. `reported` is the highest
    `seq` of the caller's reports that was taken. `next` is the value of `after` for the following page, null on the last.
    """

    version: int
    reported: int
    items: list[RuleView]
    next: str | None


# ------------------------------------------------------------------ what a manager reports


class Report(Body, frozen=True, tag_field="kind"):
    """`seq` grows by one with each report of a manager on topics; `ts_ms` is when it heard of it."""

    seq: Annotated[int, Meta(ge=1, lt=1 << 53)]
    ts_ms: Milliseconds


class EpochReport(Report, frozen=True, tag="epoch"):
    """A topic has a new epoch, begun under version `version`; `cause` 0 first to 6 compromise."""

    topic: Topic
    epoch: Number
    cause: Annotated[int, Meta(ge=0, le=6)]
    version: Number


class AcknowledgedReport(Report, frozen=True, tag="acknowledged"):
    """A client holds the key of an epoch for this role."""

    topic: Topic
    epoch: Number
    client: HexId
    role: Role


class SafeReport(Report, frozen=True, tag="safe"):
    """Everybody that holds a key of the topic has this epoch's."""

    topic: Topic
    epoch: Number


class ParkedReport(Report, frozen=True, tag="parked"):
    """A client did not acknowledge in time, and is waited for no more."""

    topic: Topic
    epoch: Number
    client: HexId


class KeyRefusedReport(Report, frozen=True, tag="refused"):
    """A client asked for a key that it may not have; topic "": to connect."""

    client: HexId
    topic: Annotated[str, Meta(max_length=MOST_FILTER)]
    code: Code


class EndedReport(Report, frozen=True, tag="ended"):
    """Nobody leads this topic any more."""

    topic: Topic


class ClientMadeReport(Report, frozen=True, tag="client"):
    """The manager has made a provisioning file for a client that is no device."""

    client: HexId
    name: ClientName


class ClientForgottenReport(Report, frozen=True, tag="client-gone"):
    """The manager has forgotten such a client."""

    client: HexId


TopicReportBody = (
    EpochReport
    | AcknowledgedReport
    | SafeReport
    | ParkedReport
    | KeyRefusedReport
    | EndedReport
    | ClientMadeReport
    | ClientForgottenReport
)


class TopicReports(Body, frozen=True):
    """Reports of one manager, oldest first."""

    items: Annotated[list[TopicReportBody], Meta(min_length=1, max_length=MOST_ITEMS)]


class TopicReportsTaken(View, frozen=True):
    """Every report up to `upto` has been dealt with.

    When that is more than the highest that was sent, the manager's counter has gone back (a backup was restored): it goes on
    above `upto`, with these reports too.
    """

    upto: int
    refused: list[RefusedItem] = field(default_factory=list)


# ------------------------------------------------------------------ what everybody sees


class ClientEntry(View, frozen=True):
    """A client of a rule. `kind`: device or file (a provisioning file, with its name); `state` of a device, else active."""

    client: HexId
    kind: str
    name: str
    state: str
    roles: int


class HolderEntry(View, frozen=True):
    """The newest epoch whose key a client acknowledged, by role; 0: none. `parked`: it slept when a later one came."""

    client: HexId
    published: int
    subscribed: int
    parked: bool


class SessionView(View, frozen=True):
    """A topic under a rule: its newest epoch, why and when it began, and how long until the last client had it.

    `safe_after_ms` is null while `waiting` clients, of which `parked` slept, have not acknowledged it.
    """

    topic: str
    epoch: int
    cause: int
    begun_ms: int
    safe_after_ms: int | None
    holders: list[HolderEntry]
    waiting: list[HexId]
    parked: list[HexId]


class TopicView(View, frozen=True):
    """A rule as it is, with the first of its topics. `acted`: its manager has acted on the last change."""

    tid: HexId
    filter: str
    manager: str
    nm_id: HexId
    manager_state: str
    version: int
    policy: str
    emergency: bool
    cs: int
    max_msgs: int
    life_s: int
    rotations: int
    acted: bool
    clients: list[ClientEntry]
    sessions: list[SessionView]
    removals: list[TopicGap]
    topics: int


class TopicLine(View, frozen=True):
    """A rule in a list: `topics` under it, `waiting` of them not safe, `clients` that it grants something."""

    tid: HexId
    filter: str
    manager: str
    policy: str
    emergency: bool
    clients: int
    topics: int
    waiting: int


class TopicPage(View, frozen=True):
    """`next` is the value of `after` for the following page, null on the last."""

    items: list[TopicLine]
    next: str | None


class SessionPage(View, frozen=True):
    """`next` is the value of `after` for the following page, null on the last."""

    items: list[SessionView]
    next: str | None


class TopicEpochView(View, frozen=True):
    """An epoch of a topic: never a key. `safe_ms`: when the last client acknowledged it or a later one, null if none did."""

    topic: str
    epoch: int
    cause: int
    version: int
    begun_ms: int
    safe_ms: int | None


class TopicEpochPage(View, frozen=True):
    """Oldest first; `next` is the value of `after` for the following page, null on the last."""

    items: list[TopicEpochView]
    next: int | None


class FileClientView(View, frozen=True):
    """A client of a provisioning file, and how often it asked for what it may not have."""

    client: HexId
    name: str
    nm_id: HexId
    made_ms: int


class FileClientPage(View, frozen=True):
    """`next` is the value of `after` for the following page, null on the last."""

    items: list[FileClientView]
    next: str | None
