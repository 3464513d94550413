"""A caregivers' station, a process of its own: it listens at every broker, opens readings and logs them in order.

    python -m keymote.stories.station PLAN.json

It has an account at each broker, each by a ticket of its own, and one client that holds the topics' keys: whatever broker a
reading comes by, it is opened once. Verbs at the control socket: `sleep`, `wake`, `status`.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import aiomqtt

from keymote.bench.fleet.role import serve
from keymote.device.broker_access import BrokerAccess, connect_via_agent
from keymote.device.topic_client import TopicClient
from keymote.engine.topic.in_order import InOrder
from keymote.engine.topic.readings import NeedsKey, Reading, Rejected
from keymote.errors import Unavailable
from keymote.stories.walkers import AGAIN_S, Door, ended
from keymote.stories.ward_logs import Log
from keymote.transports.coap.endpoint import CoapEndpoint
from keymote.wire.fields import sizes_of
from keymote.wire.topic import Ticket

LOOK_EVERY_S: Final = 0.5
_READY_S: Final = 60.0
_REFUSED: Final = 0x80


@dataclass(frozen=True, slots=True)
class StationPlan:
    """`clients`: provisioning files, one for the account at each broker; the first holds the keys."""

    socket: str
    log: str
    clients: tuple[str, ...]
    doors: tuple[Door, ...]
    filters: tuple[str, ...] = ("ward/#",)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Self:
        fields = json.loads(path.read_text())
        lists = {word: tuple(fields[word]) for word in ("clients", "filters")}
        return cls(**fields | lists | {"doors": tuple(Door(**each) for each in fields["doors"])})


class Station:
    """What it opens goes to its log; `counts` says what became of everything else."""

    def __init__(self, plan: StationPlan, clients: Sequence[TopicClient]) -> None:
        self.plan = plan
        self.clients = clients
        self.topics = clients[0].topics
        self.counts: Counter[str] = Counter()
        self._log = Log(Path(plan.log))
        self._orders: dict[str, InOrder] = {}
        self._accounts: list[BrokerAccess] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._listening = asyncio.Semaphore(0)

    async def begin(self) -> None:
        """Get into each broker, and return when it listens everywhere."""
        for client in self.clients:
            ticket = await client.topics.ticket(_READY_S)
            home = Ticket.decode(ticket.ticket, sizes_of(1)).broker_id.hex()
            agent = self._door(home).agent
            self._accounts.append(
                await connect_via_agent(
                    CoapEndpoint.open, agent, bytes.fromhex(client.id), ticket.K_home, ticket.ticket
                )
            )
        await self.wake()

    async def wake(self) -> None:
        """Connect to the sessions that wait at each broker, and return when all listen."""
        self._tasks = [asyncio.create_task(self._listen(access)) for access in self._accounts]
        self._tasks.append(asyncio.create_task(self._look()))
        for _ in self._accounts:
            await self._listening.acquire()

    async def sleep(self) -> None:
        """Connect to nobody; brokers keep what comes."""
        await asyncio.gather(*map(ended, self._tasks))

    def _door(self, broker_id: str) -> Door:
        return next(door for door in self.plan.doors if door.broker_id == broker_id)

    async def _listen(self, access: BrokerAccess) -> None:
        port = self._door(access.broker_id.hex()).port or access.port
        said = False
        while True:
            try:
                async with aiomqtt.Client(
                    access.host, port, identifier=access.client_id, username=access.user, password=access.password,
                    protocol=aiomqtt.ProtocolVersion.V311, clean_session=False,
                ) as broker:  # fmt: skip
                    for name in self.plan.filters:
                        granted = await broker.subscribe(name, qos=1)
                        if any(getattr(code, "value", code) >= _REFUSED for code in granted):
                            raise Unavailable(f"the broker refuses {name}", do="see this account's rights")
                    if not said:
                        said = True
                        self._listening.release()
                    async for message in broker.messages:
                        assert isinstance(message.payload, bytes)
                        self.take(str(message.topic), message.payload)
            except aiomqtt.MqttError:
                self.counts["connected again"] += 1
                await asyncio.sleep(AGAIN_S)

    def take(self, topic: str, payload: bytes) -> None:
        """Open what came; a reading whose key is still to come is read when it is there."""
        self.counts["came"] += 1
        try:
            self._read(self.topics.unprotect(topic, payload, self._read))
        except NeedsKey:
            self.counts["waited for a key"] += 1
        except Rejected as refused:
            self.counts[f"rejected {refused.code.name}"] += 1

    def _read(self, reading: Reading) -> None:
        if reading.duplicate:
            self.counts["repeated"] += 1
            return
        order = self._orders.get(reading.topic, InOrder())
        self._show(reading.topic, *order.take(reading, time.monotonic()))

    def _show(self, topic: str, order: InOrder, ready: Sequence[Reading]) -> None:
        self._orders[topic] = order
        for reading in ready:
            self.counts["opened"] += 1
            self._log.write(topic, reading.plaintext.decode())

    async def _look(self) -> None:
        """Read what was held for too long."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for topic, order in list(self._orders.items()):
                if order.held:
                    self._show(topic, *order.due(time.monotonic()))

    @property
    def held(self) -> int:
        """Return how many readings wait for older ones."""
        return sum(len(order.held) for order in self._orders.values())


async def run(plan: StationPlan) -> None:
    """Be the station of a plan until SIGTERM or SIGINT."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(TopicClient.open(file)) for file in plan.clients]
        station = Station(plan, clients)
        await station.begin()
        stack.push_async_callback(station.sleep)

        async def sleep(_request: Mapping[str, Any]) -> object:
            await station.sleep()
            return {}

        async def wake(_request: Mapping[str, Any]) -> object:
            await station.wake()
            return {}

        async def status(_request: Mapping[str, Any]) -> object:
            rejects = [str(each.why) for each in station.topics.keys.rejects()]
            return {"counts": dict(station.counts), "held": station.held, "rejects": rejects[-8:]}

        await serve(Path(plan.socket), {"sleep": sleep, "wake": wake, "status": status})


def main() -> None:
    """Read the plan that the command line names, and live by it."""
    asyncio.run(run(StationPlan.read(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
