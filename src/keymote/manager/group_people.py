"""Who is who in a group at its gateway, and who belongs: kids on rosters and in reports, devices in charters and policies."""

from collections.abc import Callable, Iterable, Mapping

from keymote.engine.context import Membership
from keymote.engine.member import REVOKED
from keymote.engine.policy.group_faces import Members
from keymote.manager import group_rules as rules
from keymote.manager.group_invitations import Cells, member_of
from keymote.manager.group_keeping import Keeping
from keymote.wire.credential import kid_of
from keymote.wire.group_fields import Entry


class People:
    """What the group's record and this manager's devices say whenever it is asked; `own` is what this manager is now."""

    def __init__(self, kept: Keeping, cells: Cells, own: Callable[[], Membership]) -> None:
        self._kept = kept
        self._cells = cells
        self._own = own

    def belonging(self) -> rules.Belonging:
        """Return who should be in, may ask, and must not be in, by what is known here now."""
        record = self._kept.record
        charter = record.charter
        assert charter is not None
        named = frozenset(rules.entries_of(charter)) | {event.dev_id for event in record.here}
        gone = frozenset(each for each in named if (m := member_of(self._cells, each)) and m.status == REVOKED)
        return rules.belonging(record, gone)

    def entries(self) -> Mapping[bytes, Entry]:
        """Return how a roster names everybody who may be on it, by dev_id: the device's own word before the coordinator's."""
        record = self._kept.record
        charter = record.charter
        assert charter is not None
        entries = dict(rules.entries_of(charter))
        gone = (bytes.fromhex(each.dev_id) for each in charter.gone)
        for dev_id in dict.fromkeys((*entries, *record.said, *gone)):
            member, said = member_of(self._cells, dev_id), record.said.get(dev_id)
            if member is not None:
                kid = said.kid if said is not None and said.kid else kid_of(member.credential)
                entries[dev_id] = Entry(kid, member.claims.sig_pk)
        return entries

    def named(self) -> Mapping[bytes, bytes]:
        """Return kid -> dev_id of everybody who was ever named here."""
        record = self._kept.record
        charter = record.charter
        assert charter is not None
        named = {kid: dev_id for dev_id, kid in record.former.items()} | dict(rules.named_by(charter))
        for dev_id, said in record.said.items():
            named |= dict.fromkeys(said.kids, dev_id)
        return named | {entry.kid: dev_id for dev_id, entry in self.entries().items()}

    def devices(self, kids: Iterable[bytes]) -> Members:
        """Return whom these kids name, but for this gateway; a kid that is nobody's stands for itself."""
        named, own_kid = self.named(), self._own().credential.kid
        return frozenset(named.get(kid, kid) for kid in kids if kid != own_kid)
