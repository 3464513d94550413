"""What the routes need, in one value that the composition root fills."""

from dataclasses import dataclass
from typing import Final

from keymote.coordinator.auditing import Auditing
from keymote.coordinator.desk import Desk
from keymote.coordinator.federation import Federation
from keymote.coordinator.managers import Managers
from keymote.coordinator.outbox import Outbox
from keymote.coordinator.ports import DatagramPort
from keymote.coordinator.registry import Registry
from keymote.coordinator.revocation import Revocations
from keymote.crypto.secret import Secret
from keymote.host.register import DeviceState, ManagerState
from keymote.transports.metrics import Metrics
from keymote.transports.tls import Authority


class Counted:
    """What the coordinator counts."""

    def __init__(self) -> None:
        self.metrics: Final = Metrics()
        self.registrations = self.metrics.counter("registrations", "Registrations by result.", ["result"])
        self.revocations = self.metrics.counter("revocations", "Revocations by kind.", ["kind"])
        self.lookups = self.metrics.counter("lookups", "Look-ups by result.", ["result"])
        self.refusals = self.metrics.counter("refusals", "Requests refused, by error.", ["error"])
        self.requests = self.metrics.seconds(
            "http_request", "HTTP requests by method and status.", ["method", "status"]
        )
        self.streams = self.metrics.gauge("event_streams", "Managers that listen to events now.")
        self.devices = self.metrics.gauge("devices", "Devices by state.", ["state"])
        self.managers = self.metrics.gauge("managers", "Managers by state.", ["state"])
        self.audit_entries = self.metrics.gauge("audit_entries", "Entries of the audit log.")
        self.lag = self.metrics.gauge(
            "events_unacknowledged", "Events that the slowest active manager has not acted on."
        )


@dataclass(frozen=True, slots=True)
class Services:
    """`token` is the operator's bearer token; `authority` issues the managers' TLS certificates."""

    desk: Desk
    registry: Registry
    revocations: Revocations
    managers: Managers
    outbox: Outbox
    auditing: Auditing
    federation: Federation
    enrolment: DatagramPort
    authority: Authority
    binding: bytes
    token: Secret
    version: str
    counted: Counted

    async def measure(self) -> bytes:
        """Return the metrics, with the gauges read from the register now."""
        devices, managers, audit, last = await self.desk.ledger.read(
            lambda tx: (tx.count_devices(), tx.managers(b"", 10_000), tx.last_audit(), tx.last_event())
        )
        for state in DeviceState:
            self.counted.devices.labels(state.value).set(devices.get(state, 0))
        for manager_state in ManagerState:
            number = sum(manager.state is manager_state for manager in managers)
            self.counted.managers.labels(manager_state.value).set(number)
        self.counted.audit_entries.set(0 if audit is None else audit.seq)
        active = [manager.acknowledged for manager in managers if manager.state is ManagerState.ACTIVE]
        self.counted.lag.set(last - min(active, default=last))
        return self.counted.metrics.render()
