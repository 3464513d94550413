"""The device's part: `Device` and `SyncDevice` with their errors. Imports below 150 ms; I/O is loaded when one opens."""

from keymote.device.sdk import (
    Device,
    Expired,
    Exported,
    Group,
    NotReady,
    Replayed,
    Revoked,
    Sent,
    Session,
    State,
    SyncDevice,
    SyncGroup,
    SyncSession,
)

__all__ = [
    "Device", "Expired", "Exported", "Group", "NotReady", "Replayed", "Revoked", "Sent", "Session", "State", "SyncDevice",
    "SyncGroup", "SyncSession",
]  # fmt: skip
