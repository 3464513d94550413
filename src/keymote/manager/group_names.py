"""Who is who in a group at the manager that leads it: kids on rosters and in reports, devices in charters and policies."""

from collections.abc import Mapping
from dataclasses import dataclass

from keymote.engine.policy.group_faces import Members
from keymote.manager import group_rules as rules
from keymote.manager.group_invitations import Cells, member_of
from keymote.manager.group_record import GroupRecord
from keymote.wire.credential import kid_of
from keymote.wire.group_fields import Entry


@dataclass(frozen=True, slots=True)
class Names:
    """The names that a group's record and this manager's devices give at one moment; `own_kid` is the manager's own."""

    record: GroupRecord
    cells: Cells
    own_kid: bytes

    def entries(self) -> Mapping[bytes, Entry]:
        """Return how a roster names everybody who may be on it, by dev_id: the device's own word before the coordinator's."""
        charter = self.record.charter
        assert charter is not None
        entries = dict(rules.entries_of(charter))
        gone = (bytes.fromhex(each.dev_id) for each in charter.gone)
        for dev_id in {*entries, *self.record.said, *gone}:
            member, said = member_of(self.cells, dev_id), self.record.said.get(dev_id)
            if member is not None:
                kid = said.kid if said is not None and said.kid else kid_of(member.credential)
                entries[dev_id] = Entry(kid, member.claims.sig_pk)
        return entries

    def named(self) -> Mapping[bytes, bytes]:
        """Return kid -> dev_id of everybody who was ever named here."""
        charter = self.record.charter
        assert charter is not None
        named = {kid: dev_id for dev_id, kid in self.record.former.items()} | dict(rules.named_by(charter))
        for dev_id, said in self.record.said.items():
            named |= dict.fromkeys(said.kids, dev_id)
        return named | {entry.kid: dev_id for dev_id, entry in self.entries().items()}

    def devices(self, kids: tuple[bytes, ...]) -> Members:
        """Return whom these kids name, but for this gateway; a kid that is nobody's stands for itself."""
        named = self.named()
        return frozenset(named.get(kid, kid) for kid in kids if kid != self.own_kid)
