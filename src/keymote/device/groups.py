"""How a device stands in the groups that it was invited to, as its owner may see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from keymote.engine.group.states import MembershipCell


class Stand(StrEnum):
    """Where a member is between an invitation and a key."""

    INVITED = "invited"
    """No roster was heard yet."""
    OUT = "out"
    """The newest roster lacks this device."""
    RUNNING = "running"
    """A run for a new epoch is under way; the epoch before, if there is one, goes on."""
    BEHIND = "behind"
    """A run was begun and did not end here with a key; the device asks to be let in."""
    ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class GroupStanding:
    """`epoch` 0 and `key_id` empty without a key; else the position `idx` among `n` in that epoch."""

    gid: bytes
    state: Stand
    epoch: int = 0
    key_id: bytes = b""
    idx: int = 0
    n: int = 0

    def view(self) -> Mapping[str, object]:
        """Return what a command prints."""
        ids = {"gid": self.gid.hex(), "key_id": self.key_id.hex()}
        return {**ids, "epoch": self.epoch, "idx": self.idx, "n": self.n, "state": self.state.value}


def standing(gid: bytes, cell: MembershipCell | None) -> GroupStanding:
    """Return how this member stands; `cell` is its membership."""
    if cell is None:
        return GroupStanding(gid, Stand.INVITED)
    state = _state(cell)
    active = cell.lasting.active
    if active is None:
        return GroupStanding(gid, state)
    group = active.group
    return GroupStanding(gid, state, active.number, active.key_id, group.own or 0, len(group.senders))


def _state(cell: MembershipCell) -> Stand:
    lasting = cell.lasting
    if cell.phase is not None:
        return Stand.RUNNING
    if lasting.held is None:
        return Stand.INVITED
    if lasting.held.position(lasting.place.kid) is None:
        return Stand.OUT
    return Stand.BEHIND if lasting.is_behind or lasting.active is None else Stand.ACTIVE
