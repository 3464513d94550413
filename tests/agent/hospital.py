"""Agents in this process over real loopback sockets, a trusted system that only signs and shares, and clients of MQTT."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from keymote.agent.app.directory import Directory
from keymote.agent.app.identity import Identity, address_of
from keymote.agent.app.service import AgentProcess, broker_of
from keymote.crypto.entropy import SystemEntropy
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suites import SUITES
from keymote.device.broker_access import BrokerAccess, connect_via_agent, hand_over
from keymote.engine.topic.admission import issue_ticket
from keymote.storage.broker_files import GivenFile, ListFile
from keymote.storage.counter import StoredCounter
from keymote.stories.processes import free_port
from keymote.transports.coap.endpoint import CoapEndpoint
from keymote.transports.mqtt.broker_face import BrokerFace
from keymote.transports.mqtt.packets import Delivery
from keymote.transports.mqtt.session import MqttSession
from keymote.wire import signed
from keymote.wire.federation import FederationClaims, FederationList
from keymote.wire.topic import PUBLISH, SUBSCRIBE, Right, TicketBody

CLIENT = b"patient7"
NM_ID = b"manager1"
RIGHTS = (Right("w/#", SUBSCRIBE), Right("w/7/hr", PUBLISH), Right("w/7/alarm", PUBLISH))


class Hospital:
    """Agents `names`, enrolled and running; `stack` stops them."""

    def __init__(
        self,
        folder: Path,
        *,
        broker: Callable[[Directory], Awaitable[BrokerFace]] = broker_of,
        mqttsn: tuple[str, int] | None = None,
    ) -> None:
        self._mqttsn = mqttsn
        self.folder = folder
        self.entropy = SystemEntropy()
        self.stack = AsyncExitStack()
        self.key = SUITES[1].generate_signing_key(self.entropy)
        self.K_home = Secret(self.entropy.draw(32))
        self.agents: dict[str, AgentProcess] = {}
        self.shared: dict[str, Secret] = {}
        self.management: dict[str, tuple[tuple[str, int], str]] = {}
        """Of a Mosquitto: its second listener, and the password of the account that may be anybody there."""
        self.version = 0
        self.counter = StoredCounter(folder / "counter")
        self._broker = broker
        self._cards: dict[str, bytes] = {}

    def prepare(self, *names: str, kind: str = "embedded") -> None:
        """Make the directories of agents and enrol them."""
        places = [f"127.0.0.1:{free_port()}" for _ in range(4 * len(names))]
        made: dict[str, Directory] = {}
        for number, name in enumerate(names):
            (self.folder / name).mkdir()
            coap, agent, mqtt, management = places[4 * number : 4 * number + 4]
            identity = Identity(name, "", coap, agent, mqtt, kind, management if kind == "mosquitto" else "")
            made[name] = Directory.create(self.folder / name, identity, self.entropy, 1_700_000_000)
            self._cards[name] = made[name].card
            self.shared[name] = Secret(self.entropy.draw(32))
        listed = self.list(emergency=("w/+/alarm",))
        for name, directory in made.items():
            given = GivenFile(directory.broker_id, NM_ID, 1, self.key.public, self.shared[name], listed)
            directory.enrol(given)
            if kind == "mosquitto":
                place = address_of(directory.identity.management)
                self.management[name] = place, directory.broker_passwords[1].expose().hex()
            directory.close()

    def list(self, *, emergency: tuple[str, ...] = (), gone: tuple[bytes, ...] = (), without: str = "") -> ListFile:
        """Return the next signed list."""
        self.version += 1
        cards = tuple(card for name, card in self._cards.items() if name != without)
        content = FederationList(cards, emergency, gone).encode()
        claims = FederationClaims(NM_ID, self.version, 1_700_000_000, sha256(content))
        return ListFile(signed.write(self.key, claims), content)

    async def start(self, *names: str) -> None:
        for name in names:
            directory = Directory(self.folder / name, self.entropy)
            process = AgentProcess(directory, self._broker, self._mqttsn)
            try:
                await process.start()
            except BaseException:
                directory.close()
                raise
            self.agents[name] = process
            self.stack.push_async_callback(self.stop, name)

    async def stop(self, name: str) -> None:
        process = self.agents.pop(name, None)
        if process is not None:
            await process.stop()
            process.directory.close()

    def coap(self, name: str) -> str:
        return self.agents[name].endpoint.address

    def broker_id(self, name: str) -> bytes:
        return self.agents[name].directory.broker_id

    async def connect(self, name: str, ticket_id: bytes = b"ticket-1", life_s: int = 3600) -> BrokerAccess:
        """CONNAUTH at this agent."""
        body = TicketBody(CLIENT, self.K_home.expose(), RIGHTS, life_s, ticket_id)
        ticket = issue_ticket(self.shared[name], self.broker_id(name), body, self.entropy)
        return await connect_via_agent(CoapEndpoint.open, self.coap(name), CLIENT, self.K_home, ticket)

    async def move(self, home: str, to: str, *, readings: tuple[tuple[str, bytes], ...] = ()) -> BrokerAccess:
        """HO_REQ at this agent."""
        there, from_ = self.broker_id(to), self.broker_id(home)
        return await hand_over(
            CoapEndpoint.open, self.coap(to), self.K_home, CLIENT, from_, there, self.counter, readings=readings
        )

    async def mqtt(self, access: BrokerAccess, *, clean: bool = False) -> MqttSession:
        """Connect as the client."""
        session = await MqttSession.open(
            (access.host, access.port), access.client_id, access.user, access.password, clean=clean
        )
        self.stack.push_async_callback(session.close)
        return session

    async def publish(self, name: str, *payloads: bytes, topic: str = "w/9/hr") -> None:
        """Publish at a broker as somebody who may."""
        for payload in payloads:
            await self.agents[name].broker.publish(Delivery(topic, payload, 1, False, 0))

    async def quiet(self) -> None:
        """Return when no agent does anything for a client any more."""
        async with asyncio.timeout(30):
            while any(agent.busy for agent in self.agents.values()):  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.005)


async def received(session: MqttSession, count: int) -> list[bytes]:
    """Return the next payloads of a session, acknowledged."""
    found = []
    async with asyncio.timeout(30):
        while len(found) < count:
            delivery = await session.deliveries.get()
            await session.acknowledge(delivery)
            found.append(delivery.payload)
    return found
