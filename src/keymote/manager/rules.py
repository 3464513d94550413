"""What a coordinator's event means for this manager: pure decisions."""

from collections.abc import Mapping

from keymote.engine.base import CellKey, Command
from keymote.engine.faces import (
    DropManager,
    ResumeDevice,
    RevokeDevice,
    SuspendDevice,
    enrolment_of,
    peer_manager,
)

GROUP_CHANGED = "group.change"
"""Event of a group that this manager leads, or led: its charter is to be fetched."""
RETIRED = 4
"""Reason of a revocation (Triad-1 section 8)."""


def command_for(
    kind: str, subject: bytes, data: Mapping[str, str | int], nm_id: bytes
) -> tuple[CellKey, Command] | None:
    """Return the command that an event calls for and the cell that it is for; None: nothing to do here.

    Doing it twice is doing it once, and a device or manager that is not known here is none of this manager's business.
    """
    reason = data.get("reason", 0)
    if type(reason) is not int or not 0 <= reason <= RETIRED:
        reason = 0
    match kind:
        case "device.revoke":
            return enrolment_of(subject), RevokeDevice(reason)
        case "device.retire":
            return enrolment_of(subject), RevokeDevice(RETIRED)
        case "device.suspend":
            return enrolment_of(subject), SuspendDevice()
        case "device.resume":
            return enrolment_of(subject), ResumeDevice()
        case "manager.revoke" if subject != nm_id:
            return peer_manager(subject), DropManager()
        case _:
            return None
