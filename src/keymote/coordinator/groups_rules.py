"""The coordinator's decisions about groups, pure: who may belong, which version comes next, when a removal is safe."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from keymote.errors import Incompatible, RefusedByPolicy
from keymote.host.group_register import EpochLine, Gone, Group, GroupState, Kid, Removal
from keymote.host.register import Device, DeviceState
from keymote.wire.group import FEWEST, MOST, RosterClaims
from keymote.wire.group_fields import Entry

HANDOVER: Final = 1000
"""How far a roster's version jumps when the ring begins anew: above all that the gateway before may have signed unseen."""
DELEGATION_S: Final = 30 * 86400
"""Life of a delegation; it is renewed when a third of that is left."""
LAST_VERSION: Final = 2**31
"""The highest version that a gateway may have reached; the rest of the 32 bits is for the jumps of its successors."""
LEAVE: Final = 3
COMPROMISE: Final = 4
"""Reasons of a run (Triad-1 3.4)."""
EDGE: Final = "edge"


@dataclass(frozen=True, slots=True)
class Seat:
    """Somebody with a credential in force: a device at the manager `nm_id`, or a manager itself."""

    dev_id: bytes
    nm_id: bytes
    kid: bytes
    sig_pk: bytes
    suite: int
    raw: bytes

    @property
    def entry(self) -> Entry:
        """How a roster names it."""
        return Entry(self.kid, self.sig_pk)


def check_member(device: Device, seat: Seat | None, gateway: bytes, suite: int) -> Seat:
    """Return the seat of a device that may be let into a group of this suite which `gateway` leads.

    Raises:
        RefusedByPolicy: it is not active, or is enrolled at a manager that the gateway is not: nobody could invite it.
        Incompatible: its key is of another suite than the coordinator's and the gateway's.
    """
    name = f"device {device.dev_id.hex()}"
    if device.state is not DeviceState.ACTIVE or seat is None:
        mends = {
            DeviceState.SUSPENDED: f"keymote device resume {device.dev_id.hex()}",
            DeviceState.REVOKED: "give it a new label and let it rejoin at its manager",
        }
        raise RefusedByPolicy(f"{name} is {device.state}", do=mends.get(device.state, "enrol it at the gateway"))
    if device.nm_id != gateway:
        raise RefusedByPolicy(
            f"{name} is enrolled at manager {device.nm_id.hex()}, the group is led by {gateway.hex()}, which cannot invite it",
            do="make a group that its own manager leads, or retire it there and enrol it at the gateway",
        )
    if seat.suite != suite:
        raise Incompatible(
            f"{name} has a key of suite {seat.suite}, coordinator and gateway have suite {suite}",
            do="give it a label of that suite and let it rejoin, or use a coordinator and a manager of its suite",
        )
    return seat


def check_size(members: int, *, edge: bool) -> None:
    """Return if so many members, in edge mode with the gateway, make a ring; RefusedByPolicy else."""
    n = members + edge
    with_gateway = " with the gateway" if edge else ""
    if n < FEWEST:
        raise RefusedByPolicy(
            f"a group has at least {FEWEST} members{with_gateway}, this would have {n}",
            do="add somebody first, or end it by `keymote group close`",
        )
    if n > MOST:
        raise RefusedByPolicy(
            f"a ring has at most {MOST} members{with_gateway}, this would have {n}",
            do="make several groups of at most 32",
        )


def ring_of(seats: Iterable[Seat], gateway: Seat, *, edge: bool) -> tuple[Entry, ...]:
    """Return the entries of a roster in their order; in edge mode the gateway is among them."""
    entries = [seat.entry for seat in seats]
    return tuple(sorted([*entries, gateway.entry] if edge else entries))


def next_version(group: Group, *, anew: bool) -> int:
    """Return the version of the roster that the coordinator signs next; `anew`: the ring begins anew."""
    if not group.roster:
        return 1
    return max(group.ver, group.roster_ver) + (HANDOVER if anew else 1)


def must_sign(group: Group, held: RosterClaims | None, entries: Sequence[Entry], *, anew: bool) -> bool:
    """Tell whether the coordinator signs a roster now: for a ring that is to be formed, and where it signs all of them.

    A gateway that holds a delegation for rosters and leads the ring signs the later ones itself.
    """
    if held is None or anew:
        return True
    if group.formed and not group.settings.central:
        return False
    return held.entries != tuple(entries)


def delegation_end(group: Group, now: int) -> int:
    """Return until when (UTC seconds) the next delegation lasts: always longer than the one before (GR-14)."""
    return max(now + DELEGATION_S, group.not_after + 1)


def due_before(now: int) -> int:
    """Return the time (UTC seconds) before which a delegation must not end: a third of its life from now."""
    return now + DELEGATION_S // 3


def reason_of(cause: Gone) -> int:
    """Return the reason of the run that puts a device out."""
    return COMPROMISE if cause in (Gone.REVOKED, Gone.BLAMED) else LEAVE


def last_with(kids: Iterable[Kid], names: Iterable[bytes]) -> int:
    """Return the newest epoch that one of these kids confirmed, 0 for none."""
    wanted = frozenset(names)
    return max((kid.epoch for kid in kids if kid.kid in wanted), default=0)


def safe_at(removal: Removal, first: EpochLine | None, acted_ms: int | None, *, led: bool) -> int | None:
    """Return when (UTC milliseconds) nobody on the roster went on with a key that the removed device knows; None: not yet.

    `first` is the first epoch of the group's gateway behind the last one that holds the device, `acted_ms` when the gateway
    acknowledged the change, `led` False for a group that nobody leads any more.

    A device that never had a key, or was out already, and a group that ended, are safe when the gateway knows of it: it
    lets nobody in any more.
    """
    if led and removal.last_with and (first is None or first.epoch <= removal.last_with):
        return None
    if led and removal.last_with and first is not None and first.confirmed_ms >= removal.at_ms:
        return first.confirmed_ms
    return None if acted_ms is None else max(removal.at_ms, acted_ms)


def holding_old(removal: Removal, newest: Iterable[tuple[bytes, int]]) -> tuple[bytes, ...]:
    """Return the members, given with their newest epochs, that still hold one which the removed device knows."""
    return tuple(sorted(dev_id for dev_id, epoch in newest if 0 < epoch <= removal.last_with))


def standing(epoch: int, group: Group, *, active: bool) -> str:
    """Return the word for a member whose newest epoch this is."""
    if not active:
        return DeviceState.SUSPENDED.value
    if group.state is not GroupState.ACTIVE or not group.epoch or epoch < group.epoch:
        return "waiting"
    return "in"
