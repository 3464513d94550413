"""A ward for the tests of topics: an office, a manager with its devices, and what that manager reports."""

import asyncio
from dataclasses import dataclass
from itertools import count
from typing import Any

from office import NOW, Issuer, Office

from keymote.coordinator.topic_reports import Taken
from keymote.coordinator.topics import wish
from keymote.engine.policy.topic_charter import TopicRule
from keymote.engine.policy.topic_events import Acknowledged, Cause, EpochBegun, Safe, TopicEvent, TopicReport
from keymote.host.topic_register import Topic
from keymote.wire.credential import Credential

TS = b"manager1"
OTHER = b"manager2"
PULSE = "ward/7/pulse"
BOTH, PUBLISH, SUBSCRIBE = 3, 1, 2


def v(number: int) -> int:
    """Return the version of the so many-th change, all at the office's first second."""
    return NOW - 1 + number


def mote(number: int) -> bytes:
    return b"mote%04d" % number


@dataclass
class Ward:
    """One coordinator, one manager, its motes. `said` numbers the manager's reports."""

    office: Office
    manager: Issuer
    cards: dict[bytes, Credential]
    said: Any

    @classmethod
    async def built(cls, office: Office, n: int = 4) -> "Ward":
        ward = cls(office, await office.manager(TS), {}, count(1))
        await asyncio.gather(*(ward.enrol(mote(number)) for number in range(n)))  # one commit
        return ward

    async def enrol(self, dev_id: bytes, *, at: Issuer | None = None, **changes: object) -> Credential:
        manager = at or self.manager
        replaces = changes.pop("replaces", None)
        self.cards[dev_id] = card = self.office.device(manager, dev_id, **changes)
        await self.office.registry.register_device(manager.id, card.raw, replaces)  # type: ignore[arg-type]
        return card

    async def topic(self, name: str = "ward/7/#", *, manager: bytes = TS, policy: str = "mac", **roles: int) -> Topic:
        """Make a rule; `m0=3` grants mote 0 both roles."""
        wanted = wish(name, policy, emergency=False, cs=1, max_msgs=1 << 20, life_s=86400)
        grants = {mote(int(key[1:])): each for key, each in roles.items()}
        return await self.office.topics.create(wanted, manager, grants)

    async def rules(self, manager: bytes = TS) -> dict[str, TopicRule]:
        _, _, found = await self.office.topics.charter(manager, "", 100)
        return {rule.filter: rule for rule in found}

    async def version(self) -> int:
        return (await self.office.topics.charter(TS, "", 1))[0]

    def reports(self, *events: TopicEvent) -> list[TopicReport]:
        return [TopicReport(next(self.said), self.office.clock.ms, event) for event in events]

    async def report(self, *events: TopicEvent, by: bytes = TS) -> Taken:
        return await self.office.topic_reports.take(by, self.reports(*events))

    async def epoch(
        self, epoch: int, *holders: int, topic: str = PULSE, cause: Cause = Cause.GRANT, safe: bool = True
    ) -> None:
        """Report that an epoch began under the version in force, and who of the motes holds it."""
        events: list[TopicEvent] = [EpochBegun(topic, epoch, cause, await self.version())]
        events += [Acknowledged(topic, epoch, mote(each), SUBSCRIBE) for each in holders]
        taken = await self.report(*events, *([Safe(topic, epoch)] if safe else []))
        assert not taken.refused

    async def acknowledge(self, caller: bytes = TS) -> None:
        last = await self.office.desk.ledger.read(lambda tx: tx.last_event())
        await self.office.outbox.acknowledge(caller, last)

    async def actions(self) -> list[str]:
        from keymote.engine.audit import Entry

        links = await self.office.desk.ledger.read(lambda tx: tx.audit(0, 1000))
        return [action for link in links if (action := Entry.decode(link.entry).action).startswith("topic.")]
