"""Conflicts as the coordinator keeps them: found by `engine.policy.conflicts`, told by name, settled when they are overtaken."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from keymote.coordinator.desk import COORDINATOR, Desk
from keymote.engine.policy import conflicts as found
from keymote.engine.policy.conflicts import ConflictKind, Enrolment, EpochSeen, RosterSeen
from keymote.engine.policy.conflicts import Revocation as Revoked
from keymote.host.group_register import Conflict, EpochLine, Group, RosterLine
from keymote.host.ledger import Transaction
from keymote.host.register import DeviceState, RevocationKind

MOST_LOOKED_AT = 500


class Conflicts:
    """Enters conflicts into the register, the audit log and the outbox; each once."""

    def __init__(self, desk: Desk, tx: Transaction) -> None:
        self._desk, self._tx = desk, tx

    def of_roster(self, group: Group, line: RosterLine) -> None:
        """Compare a roster that was reported with the others of its version."""
        same = self._tx.groups.rosters_numbered(group.gid, line.ver)
        seen = [RosterSeen(each.gid, each.nm_id, each.ver, each.digest) for each in same]
        self._enter(group, found.conflicts(rosters=seen))

    def of_members(self, group: Group, line: RosterLine, kids: Iterable[bytes]) -> None:
        """Look for kids on a roster that was reported which are neither a device's nor a gateway's here."""
        known = {kid.kid for kid in self._tx.groups.kids(group.gid)}
        known |= {lead.gw_kid for lead in self._tx.groups.leads(group.gid)}
        seen = RosterSeen(line.gid, line.nm_id, line.ver, line.digest, frozenset(kids) - known)
        self._enter(group, found.conflicts(rosters=[seen]))

    def member_known(self, kid: bytes) -> None:
        """It is said now whose this kid is."""
        for conflict in self._tx.groups.conflicts_of(ConflictKind.UNKNOWN_MEMBER, kid):
            self._tx.groups.put_conflict(replace(conflict, settled_ms=self._desk.now_ms()))

    def of_epoch(self, group: Group, line: EpochLine, owners: Mapping[bytes, bytes]) -> None:
        """Compare an epoch with the others of its number, and its members (`owners`: kid -> dev_id) with the revocations."""

        def names(kids: Iterable[bytes]) -> frozenset[bytes]:
            return frozenset(owners.get(kid, kid) for kid in kids)

        same = self._tx.groups.epochs_numbered(group.gid, line.epoch)
        seen = [
            EpochSeen(each.gid, each.nm_id, each.epoch, each.key_id, names(each.kids), each.began_ms) for each in same
        ]
        self._enter(group, found.conflicts(epochs=seen, revocations=self._revoked(group, names(line.kids))))

    def of_device(self, dev_id: bytes, held_by: bytes, claimed_by: bytes) -> None:
        """A manager has enrolled a device that another one, or another credential, stands for."""
        places = [Enrolment(dev_id, held_by), Enrolment(dev_id, claimed_by)]
        self._enter(None, found.conflicts(enrolments=places))

    def device_free(self, dev_id: bytes) -> None:
        """The device was retired or enrolled: nobody contests it any more."""
        for conflict in self._tx.groups.conflicts_of(ConflictKind.TAKEN_DEVICE, dev_id):
            self._tx.groups.put_conflict(replace(conflict, settled_ms=self._desk.now_ms()))

    def settle(self, group: Group) -> None:
        """Close what a later epoch or roster of the present gateway has overtaken."""
        newest = self._tx.groups.epochs_numbered(group.gid, group.epoch)
        ours = [line for line in newest if line.nm_id == group.nm_id]
        if len(newest) != 1 or not ours:
            return
        kids = self._tx.groups.kids(group.gid)
        holds = frozenset(kid.dev_id for kid in kids if kid.kid in ours[0].kids) | frozenset(ours[0].kids)
        for conflict in self._tx.groups.conflicts(0, MOST_LOOKED_AT, gid=group.gid, live=True):
            if _overtaken(conflict, group.epoch, ours[0].ver, holds):
                self._tx.groups.put_conflict(replace(conflict, settled_ms=self._desk.now_ms()))

    def _revoked(self, group: Group, members: frozenset[bytes]) -> Iterable[Revoked]:
        for dev_id in members - {card.dev_id for card in self._tx.groups.cards(group.gid)}:
            device = self._tx.device(dev_id)
            line = self._tx.revocation_of(RevocationKind.DEVICE, dev_id)
            if device is None or line is None or device.state is not DeviceState.REVOKED:
                continue
            event = self._tx.event(line.event)
            yield Revoked(dev_id, line.ts * 1000 if event is None else event.at_ms)

    def _enter(self, group: Group | None, conflicts: Iterable[found.Conflict]) -> None:
        for each in conflicts:
            for subject in each.members or (b"",):
                text = self._text(each.kind, group, subject, each.number, each.parties)
                number = each.number if each.gid else None
                made = Conflict(each.kind, each.gid, subject, number, each.parties, self._desk.now_ms(), text)
                if self._tx.groups.add_conflict(made) and each.gid:  # a taken device has an alarm of its own already
                    data = {"conflict": each.kind.value, "number": each.number}
                    self._desk.note(self._tx, COORDINATOR, "alarm.conflict", each.gid, **data, device=subject)
                    self._desk.announce(self._tx, "alarm.conflict", each.gid, **data, device=subject.hex())

    def _text(
        self, kind: ConflictKind, group: Group | None, subject: bytes, number: int, parties: Iterable[bytes]
    ) -> str:
        managers = " and ".join(self._manager(nm_id) for nm_id in parties)
        return found.sentence(kind, number, subject.hex(), managers, "" if group is None else group.name)

    def _manager(self, nm_id: bytes) -> str:
        manager = self._tx.manager(nm_id)
        return nm_id.hex() if manager is None else manager.name


def _overtaken(conflict: Conflict, epoch: int, ver: int, holds: frozenset[bytes]) -> bool:
    """Tell whether a conflict is of the past, now that these (dev_ids and kids) have agreed on this epoch under this roster."""
    number = conflict.number or 0
    match conflict.kind:
        case ConflictKind.REVOKED_MEMBER:
            return epoch > number and conflict.subject not in holds
        case ConflictKind.TWO_EPOCHS:
            return epoch > number
        case ConflictKind.TWO_ROSTERS:
            return ver > number
        case ConflictKind.UNKNOWN_MEMBER:
            return ver > number and conflict.subject not in holds
        case ConflictKind.TAKEN_DEVICE:
            return False
