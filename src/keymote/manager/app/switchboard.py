"""Where datagrams, reports, questions and events go between the sockets, the node, the services and the coordinator's link."""

from collections.abc import Callable
from dataclasses import dataclass

from keymote.engine.base import CellKey, Peer, Report
from keymote.errors import Unavailable
from keymote.host.batches import Settled
from keymote.host.driver import Driver
from keymote.manager.app.brokers import BrokerDesk
from keymote.manager.app.coordinator import CoordinatorLink
from keymote.manager.app.groups import GroupService
from keymote.manager.app.sight import Tallies
from keymote.manager.app.topics import TopicService
from keymote.manager.group_face import GroupFace


@dataclass(slots=True)
class Switchboard:
    """The parts are connected one after the other, as a start opens them; one that is not there yet is passed over.

    `face` overhears what members of groups send by CoAP.
    """

    tallies: Tallies
    face: GroupFace | None = None
    coordinator: CoordinatorLink | None = None
    driver: Driver | None = None
    groups: GroupService | None = None
    topics: TopicService | None = None
    brokers: BrokerDesk | None = None

    def receive(self, peer: Peer, data: bytes, settled: Settled | None = None) -> None:
        """Bring a datagram to the node."""
        if self.driver is not None:
            if self.face is not None:
                self.face.overheard(data)
            self.driver.receive(peer, data, settled)
        elif settled is not None:
            settled(Unavailable("not started yet", do="try again"))

    def reported(self, key: CellKey, report: Report) -> None:
        """Count what a cell reports, and tell the services."""
        self.tallies.count(key, report)
        if self.groups is not None:
            self.groups.heard(report)
        if self.topics is not None:
            self.topics.heard(report)
        if self.brokers is not None:
            self.brokers.heard(report)

    def answer(self, key: CellKey, query: object, answer: Callable[[object], None]) -> None:
        """The driver's `Answerer`: topics and brokers are answered here, the rest is for the coordinator."""
        here = (self.topics, self.brokers)
        if not any(service is not None and service.answer(query, answer) for service in here):
            assert self.coordinator is not None
            self.coordinator.answer(key, query, answer)

    async def group_changed(self, gid: bytes) -> None:
        """The coordinator has changed something about a group; return when it was acted on."""
        assert self.groups is not None
        await self.groups.changed(gid)

    async def topics_changed(self) -> None:
        """The coordinator has changed something about our topics; return when it was acted on."""
        assert self.topics is not None
        await self.topics.changed()

    async def standing_changed(self, dev_id: bytes) -> None:
        """A device was suspended, taken back or revoked; return when its topics know."""
        assert self.topics is not None
        await self.topics.standing_changed(dev_id)
