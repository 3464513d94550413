"""What operators see of a running manager: what happened since its start, whether it is well, and its metrics."""

import logging
from collections import Counter
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keymote.engine.base import CellKey, Refused, Report
from keymote.engine.faces import Alarm, HelloIs
from keymote.host.driver import Driver
from keymote.manager.app.coordinator import CoordinatorLink
from keymote.manager.app.groups import GroupService
from keymote.manager.app.topics import TopicService
from keymote.transports.http_status import Health
from keymote.transports.metrics import Metrics

if TYPE_CHECKING:
    from keymote.manager.app.mqttsn import MqttSnService

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tallies:
    """Reports by their kind, and alarms by their name, since the start."""

    reports: Counter[str] = field(default_factory=Counter)
    alarms: Counter[str] = field(default_factory=Counter)

    def count(self, key: CellKey, report: Report) -> None:
        """Log a report and count it; refused inputs are counted by the driver."""
        match report:
            case Refused(_, code, what):
                logger.debug("refused", extra={"cell": key.kind, "code": code.name, "what": what})
            case Alarm(name, subject, what):
                self.alarms[name] += 1
                logger.warning("alarm", extra={"alarm": name, "subject": subject, "what": what})
            case HelloIs():
                pass
            case _:
                self.reports[type(report).__name__] += 1
                logger.info(type(report).__name__, extra={"cell": key.kind, "subject": key.id})


@dataclass(frozen=True, slots=True)
class Sight:
    """`inbox` holds the records that wait for devices which cannot be reached."""

    tallies: Tallies
    driver: Driver
    coordinator: CoordinatorLink
    groups: GroupService
    topics: TopicService
    inbox: Sized
    mqttsn: "MqttSnService | None" = None

    def health(self) -> Health:
        """Return whether all is well: a coordinator that refuses this manager is worse than one that is away."""
        refused = self.coordinator.refused
        return Health(
            ok=not refused,
            facts={
                "coordinator": "refused" if refused else "connected" if self.coordinator.is_connected else "away",
                "alarms": sum(self.tallies.alarms.values()),
                "faults": self.driver.faults + self.groups.faults + self.topics.faults,
            },
        )

    def metrics(self) -> Metrics:
        """Return what is asked for whenever somebody reads the metrics."""
        metrics = Metrics()
        metrics.asked("refused", "Inputs refused since the start, by reason.", "code", self._refusals)
        metrics.asked("events", "Things that happened since the start, by kind.", "event", lambda: self.tallies.reports)
        metrics.asked("alarms", "Alarms since the start, by name.", "alarm", lambda: self.tallies.alarms)
        metrics.asked(
            "coordinator_connected",
            "1 while the event stream of the coordinator is up.",
            "state",
            lambda: {"connected": float(self.coordinator.is_connected)},
        )
        metrics.asked(
            "groups_led",
            "Groups that this manager knows of, by whether it leads a ring now.",
            "state",
            self._groups_led,
        )
        metrics.asked(
            "group_reports",
            "Reports on groups that the coordinator has not taken yet.",
            "state",
            lambda: {"waiting": float(self.groups.waiting)},
        )
        metrics.asked(
            "topics",
            "Topics that somebody has a key of, by whether everybody has the newest.",
            "state",
            self._topics_led,
        )
        metrics.asked(
            "topic_reports",
            "Reports on topics that the coordinator has not taken yet.",
            "state",
            lambda: {"waiting": float(self.topics.waiting)},
        )
        metrics.asked(
            "inbox_records",
            "Records that wait for devices which cannot be reached.",
            "state",
            lambda: {"waiting": float(len(self.inbox))},
        )
        if self.mqttsn is not None:
            self.mqttsn.add_to(metrics)
        return metrics

    def _groups_led(self) -> Mapping[str, float]:
        stewards = self.groups.stewards()
        led = sum(steward.ring is not None for steward in stewards)
        return {"led": float(led), "resting": float(len(stewards) - led)}

    def _topics_led(self) -> Mapping[str, float]:
        known = tuple(self.topics.steward.sessions.values())
        safe = sum(each.safe for each in known)
        return {"safe": float(safe), "waiting": float(len(known) - safe)}

    def _refusals(self) -> Mapping[str, float]:
        counted: Counter[str] = Counter()
        for (_, code), number in self.driver.tally.items():
            counted[code.name] += number
        return counted
