"""A manager with topics on a real socket and a real database, which may be killed and started again; its coordinator is a list."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from street import DEADLINE_S, LabClock, Street, answer

from keymote.crypto.entropy import SystemEntropy
from keymote.device import Device
from keymote.engine.base import CellKey, Command, Report
from keymote.engine.context import RegistrarContext
from keymote.engine.faces import GATE, OpenDoor, RevokeDevice, enrolment_of
from keymote.engine.node import registrar_node
from keymote.engine.policy.topic_charter import TopicCharter, TopicGone, TopicGrant, TopicRule
from keymote.engine.policy.topic_events import TopicEvent, TopicReport
from keymote.errors import Unavailable
from keymote.host.async_host import AsyncHost
from keymote.host.driver import Driver
from keymote.host.topic_desk import Taken
from keymote.manager.app.topics import TopicService
from keymote.storage.seal import FileKey
from keymote.storage.sql import open_database
from keymote.storage.sql_store import SqlStore
from keymote.transports.coap.endpoint import CoapEndpoint
from keymote.transports.coap.requests import Timing

TOPIC = "ward/7/hr"
BOTH = 3


class Coordinator:
    """States a charter and hears reports; `away` while it cannot be reached."""

    def __init__(self) -> None:
        self.away = False
        self.rule = TopicRule("ward/#", 1)
        self.heard: list[TopicReport] = []

    async def topic_charter(self) -> TopicCharter:
        self._reached()
        return TopicCharter(self.rule.version, len(self.heard), (self.rule,))

    async def report_topics(self, items: Sequence[TopicReport]) -> Taken:
        self._reached()
        self.heard += [item for item in items if item.seq > len(self.heard)]
        return Taken(items[-1].seq)

    def grant(self, *grants: tuple[bytes, int], compromised: bool = False, **changes: object) -> None:
        """State who may do what from now on; who was granted something before and is not named lost it."""
        version = self.rule.version + 1
        named = {client for client, _ in grants}
        lost = tuple(
            TopicGone(each.client, compromised, version) for each in self.rule.grants if each.client not in named
        )
        kept = tuple(TopicGrant(*each) for each in sorted(grants))
        self.rule = replace(self.rule, version=version, grants=kept, gone=lost, **changes)

    def _reached(self) -> None:
        if self.away:
            raise Unavailable("the coordinator is away")


class _Cells:
    def __init__(self, host: AsyncHost) -> None:
        self.host = host

    async def command(self, key: CellKey, command: Command) -> Sequence[Report]:
        return await self.host.command(key, command)

    def peek(self, key: CellKey) -> object:
        return self.host.driver.peek(key)


class Trusted(Street):
    """`start` may be called again after `stop` or `die`, on the same port and the same files."""

    def __init__(self, folder: Path, context: RegistrarContext) -> None:
        super().__init__(folder, context)
        self.coordinator = Coordinator()
        self.port = 0
        self.running = AsyncExitStack()
        self.hold_back: Callable[[str, bytes], bool] = lambda _peer, _data: False
        """Tells which datagrams of the manager get lost."""
        self.spoken: list[tuple[str, bytes]] = []
        self.sends_left = -1
        """Datagrams that leave before the manager is as good as dead; negative for no end."""

    async def start(self) -> "Trusted":
        await self.serve()
        self.stack.push_async_callback(self.stop)
        self._pin()
        return self

    async def serve(self) -> None:
        """Bind, open the database, and go on where it stopped."""
        held: list[Driver] = []
        self.endpoint = await CoapEndpoint.open(
            ("127.0.0.1", self.port),
            lambda peer, data, settled=None: held[0].receive(peer, data, settled),
            timing=Timing(ack_timeout_s=0.1, max_retransmit=2),
        )
        self.port = self.endpoint.socket_address[1]
        self.running.callback(self.endpoint.close)
        kek = FileKey(self.folder / "nm.kek", SystemEntropy(), create=not (self.folder / "nm.kek").exists())
        self.store = SqlStore(open_database(self.folder / "nm.db", history="cells"), kek, SystemEntropy())
        self.running.callback(self.store.close)
        clock = LabClock()
        driver = Driver(
            registrar_node(self.context), self.store, self, clock, SystemEntropy(), self._answer,
            lambda _key, report: self._told(report),
        )  # fmt: skip
        held.append(driver)
        self.driver = driver
        self.host = AsyncHost(driver, clock)
        self.running.push_async_callback(self.host.close)
        self.topics = TopicService(
            _Cells(self.host), self.store, lambda: self.coordinator, SystemEntropy(),
            address=self.endpoint.address, suite=1, boxes=self.endpoint.name_box,
        )  # fmt: skip
        self.host.start()
        await self.host.command(GATE, OpenDoor())
        self.topics.start()
        self.running.push_async_callback(self.topics.close)

    async def stop(self) -> None:
        """Let commits finish, and let go of socket and database."""
        await self.running.aclose()
        await asyncio.sleep(0)  # a transport closes in the loop's next turn

    # ------------------------------------------------------------------ between the driver and the world

    reliable = True

    def send(self, peer: str, data: bytes, failed: Callable[[], None] | None) -> None:
        if self.sends_left == 0:
            return
        self.sends_left -= 1
        if self.hold_back(peer, data):
            if failed is not None:
                asyncio.get_running_loop().call_soon(failed)
            return
        self.spoken.append((peer, data))
        self.endpoint.send(peer, data, failed)

    def _answer(self, key: CellKey, query: object, respond: Callable[[object], None]) -> None:
        if not self.topics.answer(query, respond):
            answer(key, query, respond)

    def _told(self, report: Report) -> None:
        self.heard(report)
        if hasattr(self, "topics"):
            self.topics.heard(report)

    # ------------------------------------------------------------------ what tests want

    async def client(self, number: int, **more: object) -> Device:
        """Return a device that is enrolled and open."""
        device = Device.open(await self.label(number, **more))
        await self.stack.enter_async_context(device)
        await device.enrolled(DEADLINE_S)
        return device

    async def grants(self, *grants: tuple[bytes, int], compromised: bool = False, **changes: object) -> None:
        """State a rule; return when the manager has laid it down."""
        self.coordinator.grant(*grants, compromised=compromised, **changes)
        await self.topics.changed()

    async def revoke(self, number: int) -> None:
        """Revoke a device at the manager; return when its topics know."""
        await self.host.command(enrolment_of(number.to_bytes(8, "big")), RevokeDevice(2))
        await self.topics.standing_changed(number.to_bytes(8, "big"))

    async def event(self, kind: type[TopicEvent], holds: Callable[..., bool] = lambda _event: True, since: int = 0):
        """Return the first such event of a session."""
        return await self.told(kind, holds, since)


def dev(number: int) -> bytes:
    return number.to_bytes(8, "big")
