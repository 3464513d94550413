"""What `bench handover` measures in: real sockets of loopback, a radio of 50 ms there and back, 5 ms between brokers.

An authority, a coordinator, a manager (the trusted system), two embedded brokers with their agents, motes and a caregivers'
station; every role with its own stores and sockets, in this process. What a mote says passes relays that hold it back for
half a round trip, to the manager, to agents and to brokers alike; so does what agents say to each other.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from keymote.agent.app.directory import Directory as AgentDirectory
from keymote.agent.app.identity import OWN_FILE, Identity
from keymote.agent.app.service import AgentProcess
from keymote.coordinator.app.directory import Directory as CoordinatorDirectory
from keymote.coordinator.app.directory import token_in
from keymote.coordinator.app.service import CoordinatorProcess
from keymote.crypto.entropy import SystemEntropy
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suites import SUITES
from keymote.device.topic_client import TopicClient
from keymote.engine.topic.faces import TicketTerms
from keymote.engine.topic.readings import Reading
from keymote.errors import Unavailable
from keymote.manager.app.directory import Directory as ManagerDirectory
from keymote.manager.app.service import ManagerProcess, Options
from keymote.storage.broker_files import GivenFile, ListFile
from keymote.storage.private_files import write_private
from keymote.stories.processes import Cast, free_port, together
from keymote.stories.relays import TcpRelay, UdpRelay
from keymote.stories.station import Station, StationPlan
from keymote.stories.walkers import Door
from keymote.transports.http_operator import OperatorClient
from keymote.wire import admin_topics, signed
from keymote.wire.federation import FederationClaims, FederationList
from keymote.wire.topic import PUBLISH, SUBSCRIBE, Right

RADIO_S: Final = 0.025
"""One way between a mote and anybody."""
BETWEEN_S: Final = 0.0025
"""One way between two brokers' agents."""
BROKERS: Final = ("a", "b")
VITALS: Final = "ward/+/vitals"
ALARMS: Final = "ward/+/alarm"
LIFE_S: Final = 3600
KNOWN_S: Final = 20.0
CS: Final = 2
"""AES-CCM: what is measured does not depend on it."""


class Listening(Station):
    """A station that tells when it has opened a reading."""

    def __init__(self, plan: StationPlan, clients: Sequence[TopicClient]) -> None:
        super().__init__(plan, clients)
        self.when: dict[str, float] = {}
        self.waited: dict[str, asyncio.Event] = {}

    def _read(self, reading: Reading) -> None:
        super()._read(reading)
        text = reading.plaintext.decode()
        self.when.setdefault(text, time.perf_counter())
        if text in self.waited:
            self.waited[text].set()

    async def opened(self, text: str, within_s: float) -> float:
        """Return when a reading was opened (seconds of `time.perf_counter`)."""
        if text not in self.when:
            event = self.waited[text] = asyncio.Event()
            async with asyncio.timeout(within_s):
                await event.wait()
        return self.when[text]


class HandoverWorld:
    """`doors` are the brokers as motes see them. Close it by leaving `stack`."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.cast = Cast(folder)
        self.entropy = SystemEntropy()
        self.agents: dict[str, AgentProcess] = {}
        self.relays: dict[str, UdpRelay] = {}
        self.doors: dict[str, Door] = {}
        self.wired: dict[str, Door] = {}
        self.shared: dict[str, Secret] = {}
        self.homes: dict[bytes, str] = {}
        self.rights: dict[bytes, tuple[Right, ...]] = {}
        self.tids: list[str] = []

    @classmethod
    async def open(cls, folder: Path, stack: AsyncExitStack, motes: int) -> Self:
        """Start everything but motes; `motes` of them are expected."""
        made = cls(folder, stack)
        await made._institutions(motes)
        await made._brokers()
        return made

    # ------------------------------------------------------------------ coordinator and manager

    async def _institutions(self, motes: int) -> None:
        cast, folder = self.cast, self.folder
        office, manager, port = folder / "coordinator", folder / "manager", free_port()
        self.url = f"https://127.0.0.1:{port}"
        authority = str(folder / "authority")
        await together(
            cast.run("authority", "init", "--data", authority),
            cast.run("coordinator", "init", "--name", "ward", "--host", "127.0.0.1", "--data", str(office)),
        )
        asked = ("--request", str(office / "nc.req"), "--out", str(office / "nc.cred"))
        await cast.run("authority", "certify", "--data", authority, *asked)
        self.coordinator = CoordinatorProcess(CoordinatorDirectory.open(office, self.entropy), "127.0.0.1", port, [])
        await self.coordinator.start()
        self.stack.push_async_callback(self.coordinator.stop)
        label = folder / "manager.label"
        where = ("--data", str(office), "--url", self.url)
        await cast.run("coordinator", "manager", "add", "ward-street", "--out", str(label), *where)
        await cast.run("manager", "enrol", "--label", str(label), "--data", str(manager))
        labels = folder / "labels.csv"
        await cast.run("device", "labels", "--count", str(motes), "--to", str(labels))
        self.manager = ManagerProcess(ManagerDirectory.open(manager, self.entropy), Options(("127.0.0.1", 0)))
        await self.manager.start()
        self.manager_runs = True
        self.nm_id = bytes.fromhex(str(self.manager.ready()["nm_id"]))
        self.stack.push_async_callback(self.stop_manager)
        self.manager.topics.tickets = self._ticket
        self.system = await self._radio(self.manager.endpoint.socket_address[1])
        await cast.run("device", "import", str(labels), "--data", str(manager))
        self.laid = await cast.run(
            *("device", "init", str(labels), "--all", "--dir", str(folder / "motes")),
            *("--root", str(folder / "authority" / "root.pin"), "--manager", f"coap://127.0.0.1:{self.system.port}"),
        )

    async def stop_manager(self) -> None:
        """End the trusted system."""
        if self.manager_runs:
            self.manager_runs = False
            await self.manager.stop()

    async def _radio(self, port: int) -> UdpRelay:
        relay = await UdpRelay.open("127.0.0.1", port, RADIO_S)
        self.stack.push_async_callback(relay.close)
        return relay

    async def _wire(self, port: int, one_way_s: float, listen: int = 0) -> TcpRelay:
        relay = await TcpRelay.open("127.0.0.1", port, one_way_s, listen=listen)
        self.stack.push_async_callback(relay.close)
        return relay

    def _ticket(self, client_id: bytes) -> TicketTerms | None:
        """Say at which broker a client is at home."""
        name = self.homes.get(client_id)
        if name is None:
            return None
        broker_id = self.agents[name].directory.broker_id
        return TicketTerms(broker_id, self.shared[name], self.rights[client_id], LIFE_S)

    # ------------------------------------------------------------------ brokers

    async def _brokers(self) -> None:
        """Lay agents down under the addresses at which others reach them, then let them listen behind those."""
        made: dict[str, tuple[AgentDirectory, Identity]] = {}
        for name in BROKERS:
            coap, agent, mqtt, seen = (f"127.0.0.1:{free_port()}" for _ in range(4))
            (self.folder / name).mkdir()
            identity = Identity(name, "", coap, seen, mqtt)
            directory = AgentDirectory.create(self.folder / name, identity, self.entropy, int(time.time()))
            made[name] = directory, replace(directory.identity, agent=agent)
            await self._wire(_port(agent), BETWEEN_S, _port(seen))
            self.shared[name] = Secret(self.entropy.draw(32))
        signing = SUITES[1].generate_signing_key(self.entropy)
        content = FederationList(tuple(held.card for held, _ in made.values()), (ALARMS,), ()).encode()
        claims = FederationClaims(self.nm_id, 1, int(time.time()), sha256(content))
        listed = ListFile(signed.write(signing, claims), content)
        for name, (directory, identity) in made.items():
            directory.enrol(
                GivenFile(directory.broker_id, self.nm_id, signing.suite_id, signing.public, self.shared[name], listed)
            )
            behind = replace(directory.identity, agent=identity.agent)
            write_private(directory.folder / OWN_FILE, behind.encode())
            directory.close()
        for name in BROKERS:
            process = self.agents[name] = AgentProcess(AgentDirectory(self.folder / name, self.entropy))
            await process.start()
            self.stack.push_async_callback(self._stop_agent, process)
            self.relays[name] = await self._radio(_port(process.directory.identity.coap))
            port = _port(process.directory.identity.mqtt)
            broker_id = process.directory.identity.broker_id
            far = await self._wire(port, RADIO_S)
            self.doors[name] = Door(broker_id, f"coap://127.0.0.1:{self.relays[name].port}", far.port)
            self.wired[name] = Door(broker_id, process.endpoint.address, port)

    @staticmethod
    async def _stop_agent(process: AgentProcess) -> None:
        await process.stop()
        process.directory.close()

    # ------------------------------------------------------------------ topics and clients

    async def until_known(self, clients: Sequence[str]) -> None:
        """Wait until the manager has told the coordinator of these clients."""
        deadline = time.monotonic() + KNOWN_S
        while True:
            async with self._operator() as operator:
                page = await operator.get("/topics/clients", admin_topics.FileClientPage)
            if {each.client for each in page.items} >= set(clients):
                return
            if time.monotonic() > deadline:
                raise Unavailable("the manager did not report its clients")
            await asyncio.sleep(0.05)

    @asynccontextmanager
    async def _operator(self) -> AsyncIterator[OperatorClient]:
        office = self.folder / "coordinator"
        client = OperatorClient(self.url, office / "ca.pem", token_in(office / "token"))
        try:
            yield client
        finally:
            await client.close()

    async def grant(self, client: str) -> None:
        """Let a client publish, as `keymote topic grant` does; return when the manager knows."""
        for tid in self.tids:
            body = admin_topics.GrantTopic([admin_topics.Grant(client, PUBLISH)])
            async with self._operator() as operator:
                await operator.send("POST", f"/topics/{tid}/grants", body, admin_topics.TopicView)
        await self.manager.topics.changed()

    async def topic(self, name: str, grants: dict[str, int], *, emergency: bool = False) -> None:
        """Make a rule as `keymote topic create` does."""
        body = admin_topics.CreateTopic(
            name,
            self.nm_id.hex(),
            emergency=emergency,
            cs=CS,
            grants=[admin_topics.Grant(each, roles) for each, roles in grants.items()],
        )
        async with self._operator() as operator:
            made = await operator.send("POST", "/topics", body, admin_topics.TopicView)
        self.tids.append(made.tid)

    async def client(self, name: str) -> tuple[str, Path]:
        """Make a client of a provisioning file; return its id and the file."""
        path = self.folder / f"{name}.client"
        made = await self.manager.topics.add_client(name, path)
        return made.client_id.hex(), path

    def at_home(self, client: str, broker: str, rights: tuple[Right, ...]) -> None:
        """Let tickets of a client be for this broker."""
        self.homes[bytes.fromhex(client)] = broker
        self.rights[bytes.fromhex(client)] = rights

    async def station(self, files: Sequence[Path], log: Path) -> Listening:
        """Let caregivers listen at every broker, by wire."""
        plan = StationPlan("", str(log), tuple(map(str, files)), tuple(self.wired.values()))
        clients = [await self.stack.enter_async_context(TopicClient.open(file)) for file in files]
        station = Listening(plan, clients)
        await station.begin()
        self.stack.push_async_callback(station.sleep)
        return station


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


READER: Final = (Right("ward/#", SUBSCRIBE),)


def writer(name: str) -> tuple[Right, ...]:
    """Return what a mote may do at brokers."""
    return (Right(f"ward/{name}/#", PUBLISH),)
