"""How far removals have come: until when a device that was put out could still read, and who holds its epoch even now."""

from dataclasses import replace

from keymote.coordinator import groups_rules as rules
from keymote.coordinator.desk import Desk
from keymote.coordinator.group_conflicts import Conflicts
from keymote.host.group_register import Group, GroupState, Removal
from keymote.host.ledger import Transaction


def safe_ms(tx: Transaction, group: Group, removal: Removal) -> int | None:
    """Return when a removal was safe (UTC milliseconds), None while it is not."""
    if removal.safe_ms is not None:
        return removal.safe_ms
    first = tx.groups.first_epoch(group.gid, group.nm_id, removal.last_with)
    acted = tx.acknowledged_at(group.nm_id, removal.event)
    return rules.safe_at(removal, first, acted, led=group.state is GroupState.ACTIVE)


def settle(desk: Desk, tx: Transaction, group: Group) -> None:
    """Write down which removals are safe by now, and which conflicts a later epoch has overtaken."""
    for removal in tx.groups.open_removals(group.gid):
        since = safe_ms(tx, group, removal)
        if since is not None:
            tx.groups.put_removal(replace(removal, safe_ms=since))
    Conflicts(desk, tx).settle(group)
