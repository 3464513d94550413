"""What the routes need, in one value that the composition root fills."""

from dataclasses import dataclass
from typing import Final

from keymote.coordinator.auditing import Auditing
from keymote.coordinator.desk import Desk
from keymote.coordinator.federation import Federation
from keymote.coordinator.group_pictures import Pictures
from keymote.coordinator.group_records import GroupRecords
from keymote.coordinator.groups import Groups
from keymote.coordinator.groups_reports import GroupReports
from keymote.coordinator.managers import Managers
from keymote.coordinator.outbox import Outbox
from keymote.coordinator.ports import DatagramPort
from keymote.coordinator.registry import Registry
from keymote.coordinator.revocation import Revocations
from keymote.coordinator.topic_pictures import TopicPictures
from keymote.coordinator.topic_reports import TopicReports
from keymote.coordinator.topics import Topics
from keymote.crypto.secret import Secret
from keymote.engine.policy.conflicts import ConflictKind
from keymote.host.group_register import GroupState
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
        self.group_reports = self.metrics.counter("groups_reports", "Reports of gateways by result.", ["result"])
        self.group_records = self.metrics.counter("groups_records", "Records of groups' logs that gateways handed in.")
        self.groups = self.metrics.gauge("groups", "Groups by state.", ["state"])
        self.group_conflicts = self.metrics.gauge("groups_conflicts", "Conflicts that last, by kind.", ["kind"])
        self.group_unsafe = self.metrics.gauge(
            "groups_removals_unsafe", "Devices put out of a group that still know its newest key."
        )
        self.topic_reports = self.metrics.counter("topics_reports", "Reports on topics by result.", ["result"])
        self.topic_rules = self.metrics.gauge("topics_rules", "Rules of topics.")
        self.topic_unsafe = self.metrics.gauge(
            "topics_takings_unsafe", "Clients that lost something in a topic and still know its newest key."
        )


@dataclass(frozen=True, slots=True)
class TopicServices:
    """What the routes of topics need."""

    rules: Topics
    reports: TopicReports
    pictures: TopicPictures


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
    groups: Groups
    reports: GroupReports
    pictures: Pictures
    records: GroupRecords
    topics: TopicServices
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
        await self._measure_groups()
        await self._measure_topics()
        return self.counted.metrics.render()

    async def _measure_groups(self) -> None:
        groups, conflicts, unsafe = await self.desk.ledger.read(
            lambda tx: (tx.groups.counts(), tx.groups.unsettled(), tx.groups.unsafe())
        )
        for state in GroupState:
            self.counted.groups.labels(state.value).set(groups.get(state, 0))
        for kind in ConflictKind:
            self.counted.group_conflicts.labels(kind.value).set(conflicts.get(kind, 0))
        self.counted.group_unsafe.set(unsafe)

    async def _measure_topics(self) -> None:
        rules, unsafe = await self.desk.ledger.read(lambda tx: (tx.topics.count(), tx.topics.unsafe()))
        self.counted.topic_rules.set(rules)
        self.counted.topic_unsafe.set(unsafe)
