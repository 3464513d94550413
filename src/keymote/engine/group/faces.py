"""What applications say to the cells of a group and what they hear from them: the closed lists of both directions.

Cells: `membership` (one per gid) at every member, `ring` (one per gid) at the gateway that leads the group. A gateway that is
a member as well (edge mode) has both, and they talk inside the node.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from keymote.crypto.secret import Secret
from keymote.engine.base import CellKey, Command, Peer, Report
from keymote.engine.group.charter import Charter
from keymote.engine.group.payload import ResourcePolicy
from keymote.errors import ErrorCode
from keymote.wire.group_fields import Cause, Entry

HERE: Final[Peer] = "here"
"""Stands for the gateway, or for its own membership, where both are cells of one node."""


PERIODIC: Final = Cause(1)
DEFAULT_POLICY: Final = ResourcePolicy()


def membership_of(gid: bytes) -> CellKey:
    """Return the key of a member's cell for the group `gid`."""
    return CellKey("membership", gid)


def ring_of(gid: bytes) -> CellKey:
    """Return the key of the gateway's cell for the group `gid`."""
    return CellKey("ring", gid)


class Above(NamedTuple):
    """The root group that a ring serves (Triad-1 3.7). `top`: the ring whose key makes the root key, and whose R3s are signed."""

    gid_root: bytes
    top: bool = False


class Level(IntEnum):
    """What a member verifies itself (Triad-1 3.5)."""

    V0 = 0
    """START and COMMIT only: for the weakest members of a gateway that is a member itself."""
    V1 = 1
    """R2 of everybody as well; the gateway is then trusted with availability alone."""
    V2 = 2
    """R1 and the proofs as well: names a cheater without the gateway."""


# ------------------------------------------------------------------ to a member


@dataclass(frozen=True, slots=True)
class JoinGroup(Command):
    """To membership_of(gid): take part from now on. `kid` is that of the own credential; `gateway` where the gateway listens.

    `gateway` MULTICAST: unknown yet, learnt from its START; HERE: this node leads the ring itself. `multicast`: R1 and R2
    go to everybody in range, else to the gateway alone. `compact`: R1 is sent unsigned at first. `policy`: which resources need no
    signature. `above`: the root group, whose cell is told of every key. `standby`: it may join and does so only when told
    (`AskToJoin`). For a known gid this changes these settings and keeps what was agreed; the charter then must be of the same
    authority, unless this node's own enrolment has verified it (an INVITE). A known member that does not stand by is not
    made to, and one that serves a root group goes on to.
    """

    charter: Charter
    kid: bytes
    gateway: Peer
    level: Level = Level.V1
    multicast: bool = True
    compact: bool = False
    policy: ResourcePolicy = DEFAULT_POLICY
    standby: bool = False
    above: Above | None = None


@dataclass(frozen=True, slots=True)
class HoldPsk(Command):
    """To membership_of(gid): the hedge that a START may name by `psk_id` (8 bytes); at most two are kept, newest first."""

    psk_id: bytes
    psk: Secret


@dataclass(frozen=True, slots=True)
class Resume(Command):
    """To membership_of(gid) or ring_of(gid), after each start of the node: go on with what the record holds.

    A ring answers with `RingHeld`.
    """


@dataclass(frozen=True, slots=True)
class Resync(Command):
    """To membership_of(gid): something shows that the group has gone on without us; ask for the newest START."""


@dataclass(frozen=True, slots=True)
class AskToJoin(Command):
    """To membership_of(gid): send JOINREQ until a run begins that we belong to."""


@dataclass(frozen=True, slots=True)
class AskToLeave(Command):
    """To membership_of(gid): send LEAVE until a roster without us arrives; stand by then."""


@dataclass(frozen=True, slots=True)
class ForgetGroup(Command):
    """To membership_of(gid) or ring_of(gid): erase the cell."""


# ------------------------------------------------------------------ to a gateway


@dataclass(frozen=True, slots=True)
class RingPlan:
    """How a ring is led. `mode` RELAY or EDGE; `lifetime_s` until the next planned run, 0 for none.

    `gid_root` (8 bytes): this is the top ring of a hierarchy, whose members sign R3; empty for any other.
    """

    mode: int
    lifetime_s: int = 86400
    multicast: bool = True
    gid_root: bytes = b""


@dataclass(frozen=True, slots=True)
class FormRing(Command):
    """To ring_of(gid): lead this group, and begin its first run.

    `charter` names this gateway; `delegation` is the RA's message of that name, empty if the gateway's key was provisioned
    by hand (it then signs no rosters). `roster` is a whole ROSTER. `peers`: kid -> where a member listens, for unicast.
    `after_epoch`: no lower one is started, where another gateway has led this group; members refuse what they have seen.
    `hedges` as `NameHedges` says them.
    """

    charter: Charter
    roster: bytes
    plan: RingPlan
    delegation: bytes = b""
    peers: Mapping[bytes, Peer] = field(default_factory=dict)
    after_epoch: int = 0
    hedges: tuple["Hedge", ...] = ()


class Hedge(NamedTuple):
    """A post-quantum hedge (Triad-1 3.6) by its `psk_id` (8 bytes), and the kids of those who are known to hold its key."""

    psk_id: bytes
    holders: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class NameHedges(Command):
    """To ring_of(gid): from now on each START names the first of these that everybody on its roster holds, or none.

    Kept in memory only; say it again after a start of the node. While a ring knows of none, the `Cause` of a run stands.
    """

    hedges: tuple[Hedge, ...]


@dataclass(frozen=True, slots=True)
class InstallRoster(Command):
    """To ring_of(gid): the RA's next roster, whole, and as a delta where there is one; a run with it begins at once.

    Members who were absent and whom it lacks are removed.
    """

    roster: bytes
    delta: bytes = b""
    reason: int = 2


@dataclass(frozen=True, slots=True)
class Amend(Command):
    """To ring_of(gid): sign the next roster under the delegation, and begin a run with it. CallerFault without one.

    `remove` may name absent members, too: they are then let in by nobody's JOINREQ alone. `leap`: version and epoch rise by so
    much more, because this gateway was restored from a backup and its members may have gone on since.
    """

    add: tuple[Entry, ...] = ()
    remove: tuple[bytes, ...] = ()
    reason: int = 2
    leap: int = 0


@dataclass(frozen=True, slots=True)
class Rekey(Command):
    """To ring_of(gid): a run of a new epoch with the same members; `psk_id` names a hedge that all of them hold."""

    cause: Cause = PERIODIC


@dataclass(frozen=True, slots=True)
class Locate(Command):
    """To ring_of(gid): kid -> where a member listens. Kept in memory only; say it again after a start of the node."""

    peers: Mapping[bytes, Peer]


@dataclass(frozen=True, slots=True)
class ChangePlan(Command):
    """To ring_of(gid): lead it so from the next run on. CallerFault for another mode: that takes another roster."""

    plan: RingPlan


@dataclass(frozen=True, slots=True)
class TakeDelegation(Command):
    """To ring_of(gid): a newer delegation for this gateway; the members get it before the next START."""

    delegation: bytes


# ------------------------------------------------------------------ inside a gateway's node


class FromRing(NamedTuple):
    """The ring hands a message to the membership of its own node."""

    data: bytes


class FromMember(NamedTuple):
    """The membership hands a message to the ring of its own node."""

    data: bytes


# ------------------------------------------------------------------ from a member


@dataclass(frozen=True, slots=True)
class GroupReady(Report):
    """The run is confirmed by everybody: `epoch` is the group's key from now on.

    `key_id` 8 bytes, public and equal for all who hold the same key; `idx` our position among `n`; `cause` that of START.
    """

    gid: bytes
    epoch: int
    sid: bytes
    key_id: bytes
    idx: int
    n: int
    cause: Cause
    lifetime_s: int


@dataclass(frozen=True, slots=True)
class RunFailed(Report):
    """This run is over without a key; the old epoch stays. `culprits`: positions whose proof did not hold."""

    gid: bytes
    epoch: int
    attempt: int
    code: ErrorCode
    culprits: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EpochErased(Report):
    """The grace of an old epoch is over: nothing sent under it can be opened here any more."""

    gid: bytes
    epoch: int


@dataclass(frozen=True, slots=True)
class RosterAccepted(Report):
    """A newer roster is held; `member` False: it lacks us, and the group's keys are erased here."""

    gid: bytes
    ver: int
    member: bool


@dataclass(frozen=True, slots=True)
class Blamed(Report):
    """The gateway says, signed, that the member at `idx` of this run has cheated."""

    gid: bytes
    epoch: int
    idx: int
    kid: bytes
    code: ErrorCode


# ------------------------------------------------------------------ from a gateway


@dataclass(frozen=True, slots=True)
class RingHeld(Report):
    """What a restart has left: the roster's version and members, who was left out as absent, and the newest epoch.

    `confirmed`: by everybody; otherwise its run goes on with the next attempt.
    """

    gid: bytes
    ver: int
    kids: tuple[bytes, ...]
    absent: tuple[bytes, ...]
    epoch: int
    confirmed: bool


@dataclass(frozen=True, slots=True)
class RunStarted(Report):
    gid: bytes
    epoch: int
    attempt: int
    kids: tuple[bytes, ...]
    cause: Cause


@dataclass(frozen=True, slots=True)
class RingCommitted(Report):
    """Everybody on the roster has confirmed the key of `epoch`. `kcvs`: key check values that signed R3s carried, by kid."""

    gid: bytes
    epoch: int
    attempt: int
    sid: bytes
    key_id: bytes
    kids: tuple[bytes, ...]
    kcvs: Mapping[bytes, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MembersAbsent(Report):
    """These did not answer in time. `excluded`: a roster without them was signed; else the full one is tried again."""

    gid: bytes
    epoch: int
    kids: tuple[bytes, ...]
    excluded: bool


@dataclass(frozen=True, slots=True)
class MemberBlamed(Report):
    """This member cheated; `evidence` is its signed message. `evicted` False: the RA must sign a roster without it."""

    gid: bytes
    epoch: int
    kid: bytes
    code: ErrorCode
    evidence: bytes
    evicted: bool


@dataclass(frozen=True, slots=True)
class JoinAsked(Report):
    """Somebody who is neither on the roster nor absent asks to join; only the application can tell who that is.

    `request` is the JOINREQ as received, whose signature nobody has checked; `peer` where it came from.
    """

    gid: bytes
    kid: bytes
    peer: Peer
    request: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class LeaveAsked(Report):
    """A member wants to leave. `granted`: a roster without it was signed here; else the RA must sign one."""

    gid: bytes
    kid: bytes
    granted: bool


@dataclass(frozen=True, slots=True)
class RosterIssued(Report):
    """This gateway has signed a roster under its delegation; `roster` is the whole one, for the registry and the audit."""

    gid: bytes
    ver: int
    roster: bytes
