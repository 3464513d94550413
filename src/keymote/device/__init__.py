"""The device's part: `Device` and `SyncDevice` with their errors. Imports below 150 ms; I/O is loaded when one opens."""

from keymote.device.sdk import Device, Expired, Exported, NotReady, Replayed, Revoked, Session, State, SyncDevice

__all__ = ["Device", "Expired", "Exported", "NotReady", "Replayed", "Revoked", "Session", "State", "SyncDevice"]
