"""What applications say to a group's payload and what they hear: commands to the membership, reports from it."""

from dataclasses import dataclass, field

from keymote.engine.base import Command, Peer, Refused, Report
from keymote.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class ProtectForGroup(Command):
    """Seal up to 1024 bytes for a resource (Uri-Path or topic, "" if none); answered by `GroupProtected` in the same step.

    The record is countersigned where the group's policy demands it, and where `signed` asks for it.
    """

    plaintext: bytes = field(repr=False)
    resource: str
    signed: bool = False


@dataclass(frozen=True, slots=True)
class SendToGroup(Command):
    """Seal as `ProtectForGroup` does, and send to the other members: by multicast, else to the gateway, which hands it on.

    Answered by `GroupProtected` when what the record depends on is on disk; nobody says whether it arrived.
    """

    plaintext: bytes = field(repr=False)
    resource: str
    signed: bool = False


@dataclass(frozen=True, slots=True)
class UnprotectForGroup(Command):
    """Open a record that came from `peer` for a resource; answered by `GroupOpened`, later where it came early."""

    peer: Peer
    record: bytes = field(repr=False)
    resource: str


@dataclass(frozen=True, slots=True)
class GroupProtected(Report):
    gid: bytes
    epoch: int
    record: bytes


@dataclass(frozen=True, slots=True)
class GroupOpened(Report):
    """A record of the member `kid`, verified and never seen before. `signed`: not even another member can have made it."""

    gid: bytes
    epoch: int
    kid: bytes
    seq: int
    resource: str
    signed: bool
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RecordRefused(Refused):
    """A record that came for `resource` was refused. `sender` is its header 4 and `seq` its number, as it claims.

    A record for another resource than its sender's, or of another group, is refused as a forged one is: by its tag (E_AUTH).
    """

    gid: bytes
    resource: str
    sender: bytes = b""
    seq: int = -1


@dataclass(frozen=True, slots=True)
class RecordHeld(Report):
    """A record of an epoch that is agreed on and not confirmed here yet: it is opened when COMMIT comes (GP-11)."""

    gid: bytes
    peer: Peer
    resource: str


@dataclass(frozen=True, slots=True)
class RecordPassed(Report):
    """From a gateway: a record came from the address of the member `kid`. It is as sealed as it came: for a log, and to count.

    Nobody has verified it here; a false one fails at whoever opens it.
    """

    gid: bytes
    kid: bytes
    resource: str
    record: bytes


@dataclass(frozen=True, slots=True)
class RekeyWanted(Report):
    """The group needs a new epoch soon: a key in this one is nearly or wholly used up (Triad-1 1.8)."""

    gid: bytes
    epoch: int
    code: ErrorCode
    why: str
