"""What a coordinator finds when a gateway that was cut off reports: facts that cannot all be as they should, each by name.

Pure, and indifferent to the order in which reports arrive. Nothing is resolved here: a conflict is shown to people.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple


class ConflictKind(StrEnum):
    """The names under which conflicts are shown."""

    REVOKED_MEMBER = "revoked-member"
    TWO_ROSTERS = "two-rosters"
    TWO_EPOCHS = "two-epochs"
    TAKEN_DEVICE = "taken-device"
    UNKNOWN_MEMBER = "unknown-member"


class RosterSeen(NamedTuple):
    """A signed roster, as a gateway reported it or as the coordinator signed it itself (`gateway` empty).

    `strangers` are kids on it that are nobody's, as far as the coordinator knows.
    """

    gid: bytes
    gateway: bytes
    ver: int
    digest: bytes
    strangers: frozenset[bytes] = frozenset()


class EpochSeen(NamedTuple):
    """An epoch that all of `members` confirmed. `began_ms`: UTC milliseconds, by the gateway's clock."""

    gid: bytes
    gateway: bytes
    epoch: int
    key_id: bytes
    members: frozenset[bytes]
    began_ms: int


class Revocation(NamedTuple):
    """A member (named as in EpochSeen) whose credential is worthless since `at_ms`, UTC milliseconds."""

    member: bytes
    at_ms: int


class Enrolment(NamedTuple):
    """A device at the place where it was enrolled: a manager, or another operator's coordinator."""

    dev_id: bytes
    place: bytes


class Conflict(NamedTuple):
    """Sorts by kind, group and number. `number`: the epoch or roster version, 0 for a device.

    `parties`: the gateways, or the places of a device; `members`: whom it is about.
    """

    kind: ConflictKind
    gid: bytes
    number: int
    parties: tuple[bytes, ...]
    members: tuple[bytes, ...]

    def __str__(self) -> str:
        who, where = (", ".join(each.hex() for each in ids) for ids in (self.members, self.parties))
        return sentence(self.kind, self.number, who, where)


def sentence(kind: ConflictKind, number: int, who: str, where: str, group: str = "") -> str:
    """Return a conflict in words; `who` it is about and `where` it was seen are the names that the reader knows them by."""
    of = f" of {group}" if group else ""
    match kind:
        case ConflictKind.REVOKED_MEMBER:
            return f"epoch {number}{of} was begun at {where} with {who}, revoked before"
        case ConflictKind.TWO_ROSTERS:
            return f"two rosters{of} have version {number}, signed or shown by {where}"
        case ConflictKind.TWO_EPOCHS:
            return f"two keys{of} have the epoch number {number}, from {where}"
        case ConflictKind.TAKEN_DEVICE:
            return f"device {who} is enrolled at {where}"
        case ConflictKind.UNKNOWN_MEMBER:
            return (
                f"roster {number} of {where}{f' in {group}' if group else ''} names {who}, which is nobody's credential"
            )


def conflicts(
    rosters: Iterable[RosterSeen] = (),
    epochs: Iterable[EpochSeen] = (),
    revocations: Iterable[Revocation] = (),
    enrolments: Iterable[Enrolment] = (),
) -> Sequence[Conflict]:
    """Return every conflict among these once, sorted."""
    known, signed = frozenset(epochs), frozenset(rosters)
    found = {
        *_revoked_members(known, revocations),
        *_two_rosters(signed),
        *_unknown_members(signed),
        *_two_epochs(known),
        *_taken_devices(frozenset(enrolments)),
    }
    return sorted(found)


def _revoked_members(epochs: frozenset[EpochSeen], revocations: Iterable[Revocation]) -> Iterable[Conflict]:
    """An epoch that was begun after a member of it had been revoked."""
    since: dict[bytes, int] = {}
    for member, at_ms in revocations:
        since[member] = min(at_ms, since.get(member, at_ms))
    for seen in epochs:
        revoked = sorted(member for member in seen.members if member in since and since[member] <= seen.began_ms)
        if revoked:
            yield Conflict(ConflictKind.REVOKED_MEMBER, seen.gid, seen.epoch, (seen.gateway,), tuple(revoked))


def _two_rosters(rosters: frozenset[RosterSeen]) -> Iterable[Conflict]:
    """One version of one group's roster, two contents."""
    versions: dict[tuple[bytes, int], set[RosterSeen]] = defaultdict(set)
    for seen in rosters:
        versions[seen.gid, seen.ver].add(seen)
    for (gid, ver), same in versions.items():
        if len({seen.digest for seen in same}) > 1:
            yield Conflict(ConflictKind.TWO_ROSTERS, gid, ver, _parties(seen.gateway for seen in same), ())


def _unknown_members(rosters: frozenset[RosterSeen]) -> Iterable[Conflict]:
    """A roster that holds somebody whom the coordinator never heard of: its gateway lets in whom it likes."""
    for seen in rosters:
        if seen.strangers:
            strangers = tuple(sorted(seen.strangers))
            yield Conflict(ConflictKind.UNKNOWN_MEMBER, seen.gid, seen.ver, (seen.gateway,), strangers)


def _two_epochs(epochs: frozenset[EpochSeen]) -> Iterable[Conflict]:
    """One epoch number of one group, two keys: of two gateways, or of one whose backup was put back."""
    numbers: dict[tuple[bytes, int], set[EpochSeen]] = defaultdict(set)
    for seen in epochs:
        numbers[seen.gid, seen.epoch].add(seen)
    for (gid, number), same in numbers.items():
        if len({(seen.gateway, seen.key_id) for seen in same}) > 1:
            yield Conflict(ConflictKind.TWO_EPOCHS, gid, number, _parties(seen.gateway for seen in same), ())


def _taken_devices(enrolments: frozenset[Enrolment]) -> Iterable[Conflict]:
    places: dict[bytes, set[bytes]] = defaultdict(set)
    for dev_id, place in enrolments:
        places[dev_id].add(place)
    for dev_id, where in places.items():
        if len(where) > 1:
            yield Conflict(ConflictKind.TAKEN_DEVICE, b"", 0, _parties(where), (dev_id,))


def _parties(ids: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(sorted(set(ids)))
