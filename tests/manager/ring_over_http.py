"""A ring in one event loop: its gateway on a CoAP socket and an HTTP port, members on either."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.engine.base import CellKey, Command, Node, Now, Report
from keymote.engine.chain import Trust
from keymote.engine.context import DeviceContext, Membership, RegistrarContext
from keymote.engine.group.faces import FormRing, GroupReady, JoinGroup, RingPlan, membership_of, ring_of
from keymote.engine.node import device_node, registrar_node
from keymote.host.async_host import AsyncHost
from keymote.host.driver import Driver
from keymote.host.ports import Link
from keymote.lab.simulator import EPOCH
from keymote.lab.street import GW, Street, street
from keymote.manager.app.group_http import GroupsHttp, HttpFace
from keymote.manager.group_face import address_of
from keymote.storage.memory import MemoryStore
from keymote.transports.coap.endpoint import CoapEndpoint
from keymote.transports.coap.multicast import Group
from keymote.transports.coap.requests import Timing
from keymote.wire.credential import Role
from keymote.wire.fields import sizes_of
from keymote.wire.json_form import from_json, to_json

DEADLINE_S = 15.0
CBOR, JSON = "application/cbor", "application/json"


class LabClock:
    """Runs as this machine does, in the lab's years."""

    @staticmethod
    def now() -> Now:
        return Now(time.monotonic(), EPOCH + int(time.monotonic()))


@dataclass
class Party:
    """A node with its reports."""

    name: str
    host: AsyncHost
    reports: list[Report] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def told(self, kind: type[Report], count: int = 1) -> list[Report]:
        """Return the reports of this kind as soon as there are so many."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                self.news.clear()
                found = [report for report in self.reports if isinstance(report, kind)]
                if len(found) >= count:
                    return found
                await self.news.wait()


class HttpLink:
    """How a member that speaks HTTP could do it: posts what its node says, and asks for what waits, in one form."""

    reliable = True

    def __init__(self, url: str, suite: int, form: str) -> None:
        self.url, self.sizes, self.form = url, sizes_of(suite), form
        self.client = httpx.AsyncClient(timeout=30)
        self.after = 0
        self.driver: Driver | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self.posted: list[bytes] = []

    def send(self, _peer: str, data: bytes, _failed: object) -> None:
        self.posted.append(data)
        self._begin(self.post(data))

    def listen(self) -> None:
        self._begin(self._listening())

    def _begin(self, work: object) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def post(self, data: bytes = b"", wait_s: int = 0) -> None:
        body = to_json(data, self.sizes) if data and self.form == JSON else data
        headers = {"content-type": self.form, "prefer": f"wait={wait_s}"}
        answer = await self.client.post(f"{self.url}?after={self.after}", content=body, headers=headers)
        assert answer.status_code in (200, 204), answer.text
        self.after = max(self.after, int(answer.links["next"]["url"].rpartition("=")[2]))
        if answer.status_code == 200 and self.driver is not None:
            assert answer.headers["content-type"] == self.form
            bundle = from_json(answer.content, self.sizes) if self.form == JSON else answer.content
            self.driver.receive("http:", bundle)

    async def _listening(self) -> None:
        while True:
            await self.post(wait_s=10)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.client.aclose()


class Ring:
    """Keys and papers are those of the lab's street."""

    def __init__(self, n: int, port: int, *, multicast: bool, suite: int = 1) -> None:
        self.papers: Street = street(n, suite=suite, multicast=multicast, formed=False)
        self.gid = self.papers.gid
        self.multicast = multicast
        self.group = Group(port=port)
        self.stack = AsyncExitStack()
        self.parties: dict[str, Party] = {}
        self.links: dict[str, HttpLink] = {}
        self.peers: dict[bytes, str] = {}

    async def start(self) -> "Ring":
        gw = self.papers.people[GW]
        membership = Membership(Secret(bytes(32)), b"", gw.credential, ())
        suites = {self.papers.suite.id: self.papers.suite}
        context = RegistrarContext(
            gw.id, bytes(8), Role.MANAGER, gw.signing, suites, (), Trust((), suites), membership
        )  # fmt: skip
        held: list[Driver] = []

        def receive(peer, data, settled=None) -> None:
            self.face.link.overheard(data)
            held[0].receive(peer, data, settled)

        self.endpoint = await CoapEndpoint.open(("127.0.0.1", 0), receive, timing=Timing(ack_timeout_s=0.2))
        self.stack.callback(self.endpoint.close)
        if self.multicast:
            await self.endpoint.attend(self.group)
        self.face = HttpFace(GroupsHttp(("127.0.0.1", 0)), self.endpoint)
        party = self._party(GW, registrar_node(context), self.face.link)
        held.append(party.host.driver)
        await self.face.start(party.host)
        self.stack.push_async_callback(self.face.stop)
        return self

    @property
    def gateway(self) -> Party:
        return self.parties[GW]

    def _party(self, name: str, node: Node, link: Link) -> Party:
        clock = LabClock()
        party: list[Party] = []

        def report(_key: CellKey, said: Report) -> None:
            if party:
                party[0].reports.append(said)
                party[0].news.set()

        driver = Driver(node, MemoryStore(), link, clock, SeededEntropy(name.encode()), _nobody, report)
        party.append(Party(name, AsyncHost(driver, clock)))
        self.stack.push_async_callback(party[0].host.close)
        party[0].host.start()
        self.parties[name] = party[0]
        return party[0]

    def _node(self, name: str) -> Node:
        person = self.papers.people[name]
        suites = {self.papers.suite.id: self.papers.suite}
        return device_node(DeviceContext(person.id, self.papers.suite, person.signing, Trust((), suites)))

    async def add_coap(self, name: str) -> Party:
        held: list[Driver] = []
        endpoint = await CoapEndpoint.open(
            ("127.0.0.1", 0), lambda peer, data, settled=None: held[0].receive(peer, data, settled),
            timing=Timing(ack_timeout_s=0.2),
        )  # fmt: skip
        self.stack.callback(endpoint.close)
        if self.multicast:
            await endpoint.attend(self.group)
        party = self._party(name, self._node(name), endpoint)
        held.append(party.host.driver)
        self.peers[self.papers.people[name].kid] = endpoint.address
        await self._provision(name, self.endpoint.address, multicast=self.multicast)
        return party

    async def add_http(self, name: str, form: str) -> Party:
        kid = self.papers.people[name].kid
        link = self.links[name] = HttpLink(self.url(kid), self.papers.suite.id, form)
        self.stack.push_async_callback(link.close)
        party = self._party(name, self._node(name), link)
        link.driver = party.host.driver
        self.peers[kid] = address_of(self.gid, kid, "127.0.0.1")
        await self._provision(name, "http:", multicast=False)
        return party

    async def _provision(self, name: str, gateway: str, *, multicast: bool) -> None:
        kid = self.papers.people[name].kid
        await self.tell(name, JoinGroup(self.papers.charter(), kid, gateway, multicast=multicast))

    def url(self, kid: bytes) -> str:
        return f"{self.face.url}/groups/{self.gid.hex()}/{kid.hex()}"

    async def tell(self, name: str, command: Command) -> Sequence[Report]:
        return await self.parties[name].host.command(membership_of(self.gid), command)

    async def form(self) -> None:
        """Let the gateway lead all who were added, and wait until each has the key."""
        papers, names = self.papers, [name for name in self.parties if name != GW]
        wish = FormRing(
            papers.charter(), papers.roster(names), RingPlan(0, 0, self.multicast), papers.delegation(), self.peers
        )
        await self.gateway.host.command(ring_of(self.gid), wish)
        for name, link in self.links.items():
            assert name in names
            link.listen()

    async def key_ids(self) -> set[bytes]:
        """Return the different keys that the members have, when all have one."""
        members = [party for name, party in self.parties.items() if name != GW]
        return {(await party.told(GroupReady))[0].key_id for party in members}


def _nobody(_key: CellKey, _query: object, _answer: object) -> None:
    raise AssertionError("a group asks no service")
