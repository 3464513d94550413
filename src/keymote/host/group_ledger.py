"""The coordinator's store as a port, the part of groups: what a transaction reads and writes of them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from keymote.engine.policy.conflicts import ConflictKind
from keymote.host.group_register import (
    Card,
    Conflict,
    EpochLine,
    Group,
    GroupState,
    Kid,
    Lead,
    Member,
    RecordLine,
    Removal,
    RosterLine,
)


class RecordRows(Protocol):
    """The encrypted logs of groups; each in the order in which its records were taken."""

    def add(self, lines: Sequence[RecordLine]) -> None:
        """Enter records behind those that are there; `id` is given by the store."""
        ...

    def lines(self, gid: bytes, after: int, limit: int) -> Sequence[RecordLine]:
        """Return at most `limit` records of a group whose `id` is above `after`."""
        ...

    def taken(self, gid: bytes, nm_id: bytes) -> int:
        """Return the highest `seq` of a manager's records of a group that was taken, 0 for none."""
        ...

    def put_taken(self, gid: bytes, nm_id: bytes, upto: int) -> None: ...

    def keep_newest(self, gid: bytes, most: int) -> None:
        """Forget all records of a group but the newest `most`."""
        ...

    def prune(self, before_ms: int, limit: int) -> int:
        """Forget at most `limit` records that passed before `before_ms`; return how many went."""
        ...


class GroupRows(Protocol):
    """Lists are in the order of their key, start behind `after` and hold at most `limit` rows."""

    def group(self, gid: bytes) -> Group | None: ...

    def named(self, name: str) -> Group | None: ...

    def groups(self, after: bytes, limit: int) -> Sequence[Group]: ...

    def led_by(self, nm_id: bytes) -> Sequence[Group]:
        """Return the groups that this manager should lead; closed ones are not among them."""
        ...

    def due(self, ra_kid: bytes, before: int) -> Sequence[Group]:
        """Return groups whose delegation ends before `before` (UTC seconds) or was signed under another credential."""
        ...

    def put(self, group: Group) -> None:
        """Insert or update; `Taken` when another group has this name (constraint)."""
        ...

    def members(self, gid: bytes) -> Sequence[Member]: ...

    def standings(self, dev_id: bytes) -> Sequence[Member]:
        """Return what a device is in every group, in the order of their gids."""
        ...

    def put_member(self, member: Member) -> None:
        """Insert, update, or forget one that is neither member nor allowed."""
        ...

    def cards(self, gid: bytes) -> Sequence[Card]:
        """Return members and allowed devices that are active and have a credential in force, in the order of their ids."""
        ...

    def kids(self, gid: bytes) -> Sequence[Kid]: ...

    def put_kid(self, kid: Kid) -> None: ...

    def confirm(self, gid: bytes, kids: Sequence[bytes], epoch: int) -> None:
        """Note that these kids, as far as they are known, have confirmed `epoch`, unless it was a later one already."""
        ...

    def add_removal(self, removal: Removal) -> None: ...

    def removals(self, gid: bytes, limit: int) -> Sequence[Removal]:
        """Return the newest removals from a group, newest first."""
        ...

    def open_removals(self, gid: bytes) -> Sequence[Removal]:
        """Return those that are not known to be safe yet, oldest first."""
        ...

    def leaving(self, dev_id: bytes) -> Sequence[bytes]:
        """Return the gids of the groups from which a device was removed and that are not known to be safe from it yet."""
        ...

    def removals_of(self, dev_id: bytes, event: int) -> Sequence[Removal]:
        """Return the removals of a device that were announced after this event, oldest first."""
        ...

    def put_removal(self, removal: Removal) -> None: ...

    def forget_removals(self, gid: bytes, dev_id: bytes) -> None:
        """Forget the open removals of a device that is a member again."""
        ...

    def add_roster(self, line: RosterLine) -> bool:
        """Enter a roster; False when it was there."""
        ...

    def rosters_numbered(self, gid: bytes, ver: int) -> Sequence[RosterLine]: ...

    def rosters(self, gid: bytes, after: int, limit: int) -> Sequence[RosterLine]: ...

    def add_epoch(self, line: EpochLine) -> bool:
        """Enter an epoch; False when it was there."""
        ...

    def epochs_numbered(self, gid: bytes, epoch: int) -> Sequence[EpochLine]: ...

    def epochs(self, gid: bytes, after: int, limit: int) -> Sequence[EpochLine]: ...

    def first_epoch(self, gid: bytes, nm_id: bytes, after: int) -> EpochLine | None:
        """Return the first epoch with a number above `after` that this manager reported."""
        ...

    def reported(self, gid: bytes, nm_id: bytes) -> int:
        """Return the highest `seq` of a manager's reports on a group that was taken, 0 for none."""
        ...

    def put_reported(self, gid: bytes, nm_id: bytes, upto: int) -> None: ...

    def lead(self, gid: bytes, gw_kid: bytes) -> Lead | None: ...

    def leads(self, gid: bytes) -> Sequence[Lead]: ...

    def put_lead(self, lead: Lead) -> None: ...

    def add_conflict(self, conflict: Conflict) -> bool:
        """Enter a conflict; False when one of its kind, group, subject and number was there."""
        ...

    def conflicts(self, after: int, limit: int, *, gid: bytes | None = None, live: bool = False) -> Sequence[Conflict]:
        """Return conflicts, with `live` only those that are not settled."""
        ...

    def conflicts_of(self, kind: ConflictKind, subject: bytes) -> Sequence[Conflict]:
        """Return the conflicts of a kind about this subject that are not settled."""
        ...

    def put_conflict(self, conflict: Conflict) -> None: ...

    def counts(self) -> Mapping[GroupState, int]: ...

    def unsettled(self) -> Mapping[ConflictKind, int]: ...

    def unsafe_groups(self) -> Sequence[Group]:
        """Return the groups with a removal that is not known to be safe yet."""
        ...

    def unsafe(self) -> int:
        """Return how many removals are not known to be safe yet."""
        ...

    def prune(self, before_ms: int, limit: int) -> int:
        """Forget epochs and rosters that are older than `before_ms` and not the newest of their group.

        Groups with a removal that is not safe yet keep theirs. At most `limit` rows of a kind; return how many went.
        """
        ...
