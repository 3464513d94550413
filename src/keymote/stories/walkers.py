"""Patients who walk, a process of their own: the client library of their choice, and two calls of ours, as users write it.

    python -m keymote.stories.walkers PLAN.json

Each patient is a client of a provisioning file. It logs a reading, protects it, and publishes it by QoS 1 at the broker of its
ward; on the way it connects to nobody, and at the next ward it is handed over. Verbs at the control socket: `begin`, `move`
(patient, to, alarm), `stop` (no more readings; returns when brokers have acknowledged all), `status`.
"""

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import aiomqtt

from keymote.bench.fleet.role import serve
from keymote.device.broker_access import AgentDenied, BrokerAccess, connect_via_agent, hand_over
from keymote.device.topic_client import TopicClient
from keymote.errors import PeerFault, Unavailable
from keymote.host.logs import configure
from keymote.storage.counter import StoredCounter
from keymote.stories.ward_logs import Log
from keymote.transports.coap.endpoint import CoapEndpoint

if TYPE_CHECKING:
    from keymote.device.topics import BrokerTicket

VITALS: Final = "vitals"
ALARM: Final = "alarm"
ACKNOWLEDGED_S: Final = 10.0
AGAIN_S: Final = 0.2
CANCELLED_S: Final = 0.5
MOST_BEHIND: Final = 8
"""Readings that may follow HO_REQ in its datagram."""
_READY_S: Final = 60.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Door:
    """A broker as patients reach it: its agent, and a port if somebody stands before the broker's own."""

    broker_id: str
    agent: str
    port: int = 0


@dataclass(frozen=True, slots=True)
class WalkersPlan:
    """`patients`: name -> provisioning file. Logs and counters go to `folder`. `word` stands in every reading, to be looked for."""

    socket: str
    folder: str
    patients: Mapping[str, str]
    doors: tuple[Door, ...]
    read_every_s: float
    walk_s: float = 0.05
    word: str = ""

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Self:
        fields = json.loads(path.read_text())
        return cls(**fields | {"doors": tuple(Door(**each) for each in fields["doors"])})


@dataclass(slots=True)
class Patient:
    """One patient. `outbox`: what no broker has acknowledged, oldest first."""

    name: str
    plan: WalkersPlan
    client: TopicClient
    log: Log
    counter: StoredCounter
    ticket: "BrokerTicket | None" = None
    home: str = ""
    access: BrokerAccess | None = None
    outbox: deque[tuple[str, bytes]] = field(default_factory=deque)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    publishing: asyncio.Task[None] | None = None
    measuring: asyncio.Task[None] | None = None
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    counts: Counter[str] = field(default_factory=Counter)
    times: list[tuple[str, float]] = field(default_factory=list)

    # ------------------------------------------------------------------ keys and readings

    async def begin(self) -> None:
        """Get keys, a ticket, and into the home broker; then measure until told to stop."""
        for kind in (VITALS, ALARM):
            await self.client.topics.ready_to_publish(self.topic(kind), _READY_S)
        self.access = await self._come_in()
        self._publish()
        self.measuring = asyncio.create_task(self._measure())

    def topic(self, kind: str) -> str:
        return f"ward/{self.name}/{kind}"

    async def read(self, kind: str) -> None:
        """Measure: log, protect, put behind what waits."""
        async with self.reading:
            self.counts["readings"] += 1
            number = self.counts["readings"]
            text = f"{self.name} {kind} {number}: pulse {60 + number % 40} {self.plan.word}"
            self.log.write(self.topic(kind), text)
            self.outbox.append((self.topic(kind), await self.client.topics.protect(self.topic(kind), text.encode())))
            self.changed.set()

    async def _measure(self) -> None:
        while True:
            await self.read(VITALS)
            await asyncio.sleep(self.plan.read_every_s)

    # ------------------------------------------------------------------ brokers

    def _door(self, broker_id: str) -> Door:
        return next(door for door in self.plan.doors if door.broker_id == broker_id)

    async def _at_home(self) -> BrokerAccess:
        """Show a ticket, a new one if there is none."""
        if self.ticket is None:
            from keymote.wire.fields import sizes_of
            from keymote.wire.topic import Ticket

            self.ticket = await self.client.topics.ticket(_READY_S)
            self.home = Ticket.decode(self.ticket.ticket, sizes_of(1)).broker_id.hex()
        agent = self._door(self.home).agent
        return await connect_via_agent(
            CoapEndpoint.open, agent, bytes.fromhex(self.client.id), self.ticket.K_home, self.ticket.ticket
        )

    def _publish(self) -> None:
        assert self.access is not None
        self.publishing = asyncio.create_task(self._keep_publishing(self.access))

    async def _keep_publishing(self, access: BrokerAccess) -> None:
        """Publish what waits, one after the other, until acknowledged; connect again when the broker was away."""
        port = self._door(access.broker_id.hex()).port or access.port
        while True:
            try:
                async with aiomqtt.Client(
                    access.host, port, identifier=access.client_id, username=access.user, password=access.password,
                    protocol=aiomqtt.ProtocolVersion.V311, timeout=ACKNOWLEDGED_S,
                ) as broker:  # fmt: skip
                    while True:
                        while self.outbox:
                            topic, data = self.outbox[0]
                            await broker.publish(topic, data, qos=1)
                            self.outbox.popleft()
                            self.changed.set()
                        self.changed.clear()
                        await self.changed.wait()
            except (aiomqtt.MqttError, OSError) as error:
                logger.info("the broker was away: %r", error)
                self.counts["connected again"] += 1
                await asyncio.sleep(AGAIN_S)

    async def move(self, to: str, *, alarm: bool) -> None:
        """Walk out of reach, and into the ward of the broker `to`."""
        await ended(self.publishing)
        self.access = None
        await asyncio.sleep(self.plan.walk_s)
        if alarm:
            await self.read(ALARM)
        began = time.perf_counter()
        self.access = await self._come_in(to)
        self.counts["moves"] += 1
        self.times.append(("home" if to == self.home else "hand-over", time.perf_counter() - began))
        self._publish()

    async def _come_in(self, to: str | None = None) -> BrokerAccess:
        """Get into a broker, the home broker if none is named, and ask again until one does."""
        while True:
            try:
                if to in (None, self.home):
                    return await self._at_home()
                return await self._handed_over(to)
            except (Unavailable, PeerFault, OSError) as error:
                logger.info("not let in: %r", error)
                self.counts["denied" if isinstance(error, AgentDenied) else "not answered"] += 1
                await asyncio.sleep(AGAIN_S)

    async def _handed_over(self, to: str) -> BrokerAccess:
        assert self.ticket is not None
        access = await hand_over(
            CoapEndpoint.open,
            self._door(to).agent,
            self.ticket.K_home,
            bytes.fromhex(self.client.id),
            bytes.fromhex(self.home),
            bytes.fromhex(to),
            self.counter,
            readings=list(self.outbox)[:MOST_BEHIND],
        )
        self.counts["handed over"] += 1
        return access

    async def stop(self) -> None:
        """Measure no more, and return when everything was acknowledged."""
        await ended(self.measuring)
        while self.outbox:
            self.changed.clear()
            await self.changed.wait()

    async def close(self) -> None:
        for task in (self.measuring, self.publishing):
            await ended(task)
        await self.client.close()
        self.log.close()


async def ended(task: asyncio.Task[None] | None) -> None:
    """Cancel a task until it has ended, whatever it ends with.

    Once is not enough: `asyncio.wait_for` of Python 3.11, which the client library calls, may swallow a cancellation.
    """
    if task is None:
        return
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCELLED_S)
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.info("a connection was given up: %r", error)


async def run(plan: WalkersPlan) -> None:
    """Be the patients of a plan until SIGTERM or SIGINT."""
    folder = Path(plan.folder)
    async with contextlib.AsyncExitStack() as stack:
        patients: dict[str, Patient] = {}
        for name, file in plan.patients.items():
            client = await stack.enter_async_context(TopicClient.open(file))
            log = Log(folder / f"{name}.log")
            patient = patients[name] = Patient(name, plan, client, log, StoredCounter(folder / f"{name}.ctr"))
            stack.push_async_callback(patient.close)

        async def begin(_request: Mapping[str, Any]) -> object:
            await asyncio.gather(*(patient.begin() for patient in patients.values()))
            return await status({})

        async def move(request: Mapping[str, Any]) -> object:
            patient = patients[request["patient"]]
            await patient.move(request["to"], alarm=bool(request["alarm"]))
            return {"ms": round(1000 * patient.times[-1][1], 1), "by": patient.times[-1][0]}

        async def stop(_request: Mapping[str, Any]) -> object:
            await asyncio.gather(*(patient.stop() for patient in patients.values()))
            return await status({})

        async def status(_request: Mapping[str, Any]) -> object:
            counts = sum((patient.counts for patient in patients.values()), Counter[str]())
            return {"counts": dict(counts), "waiting": sum(len(patient.outbox) for patient in patients.values())}

        await serve(Path(plan.socket), {"begin": begin, "move": move, "stop": stop, "status": status})


def main() -> None:
    """Read the plan that the command line names, and live by it."""
    configure("info")
    asyncio.run(run(WalkersPlan.read(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
