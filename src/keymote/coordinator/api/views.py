"""The one projection from the coordinator's records to what its REST interface shows."""

from collections.abc import Sequence

from keymote.coordinator.api.group_views import gap_view
from keymote.coordinator.api.topic_views import reach_view
from keymote.coordinator.group_pictures import Gap
from keymote.coordinator.rules import Safety
from keymote.coordinator.topic_safety import Reach
from keymote.engine.audit import Entry, Link
from keymote.engine.queries import DeviceFound, ManagerFound
from keymote.host.register import Device, Event, Head, Manager, Registered, Revocation
from keymote.wire.admin import (
    AuditView,
    DeviceView,
    EventView,
    FoundManagerView,
    FoundView,
    HeadView,
    ManagerView,
    RevocationView,
    to_base64url,
)


def manager_view(manager: Manager, credential: bytes | None) -> ManagerView:
    return ManagerView(
        manager.nm_id.hex(),
        manager.name,
        manager.state.value,
        None if credential is None else to_base64url(credential),
        manager.endpoint,
        manager.acknowledged,
    )


def device_view(device: Device, credential: Registered) -> DeviceView:
    return DeviceView(
        device.dev_id.hex(),
        device.nm_id.hex(),
        device.state.value,
        device.serial.hex(),
        credential.reg_no,
        credential.ts,
        to_base64url(credential.raw),
        to_base64url(credential.receipt),
    )


def revocation_view(
    line: Revocation, safety: Safety, gaps: Sequence[Gap] = (), reaches: Sequence[Reach] = ()
) -> RevocationView:
    return RevocationView(
        line.id,
        line.kind.value,
        line.subject.hex(),
        line.reason,
        line.ts,
        line.by,
        line.status_epoch,
        [nm_id.hex() for nm_id in safety.waiting],
        safety.safe_after_ms,
        [gap_view(gap) for gap in gaps],
        [reach_view(reach) for reach in reaches],
    )


def event_view(event: Event) -> EventView:
    return EventView(event.id, event.at_ms // 1000, event.kind, event.subject.hex(), dict(event.data))


def audit_view(link: Link) -> AuditView:
    return AuditView(link.seq, to_base64url(link.entry), link.h.hex(), audit_text(link.entry))


def audit_text(raw: bytes) -> str:
    """Return an audit entry as people read it."""
    entry = Entry.decode(raw)
    details = (f"{name}={value.hex() if isinstance(value, bytes) else value}" for name, value in entry.details.items())
    return " ".join((entry.actor, entry.action, entry.subject.hex(), *details))


def head_view(head: Head) -> HeadView:
    return HeadView(head.seq, head.h.hex(), head.ts, to_base64url(head.signed))


def found_manager_view(found: ManagerFound) -> FoundManagerView:
    cred_nm, cred_nc, hybrid_key = map(to_base64url, (found.cred_NM, found.cred_NC, found.hybrid_key))
    return FoundManagerView(cred_nm, cred_nc, found.manager, hybrid_key)


def found_view(found: DeviceFound) -> FoundView:
    parts = (found.credential, found.cred_NM, found.cred_NC, found.hybrid_key)
    credential, cred_nm, cred_nc, hybrid_key = map(to_base64url, parts)
    return FoundView(credential, cred_nm, cred_nc, found.manager, hybrid_key)
