"""A running manager: everything put together, started, and stopped without losing what was acknowledged."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from keymote.crypto.entropy import SystemEntropy
from keymote.crypto.suites import SUITES, prepare
from keymote.engine import hybrid
from keymote.engine.base import Peer
from keymote.engine.context import Membership, PostQuantum, RegistrarContext, RegistrarPolicy
from keymote.engine.faces import GATE, OpenDoor
from keymote.engine.group.invitation import place_of
from keymote.engine.node import registrar_node
from keymote.errors import KeymoteError
from keymote.host.async_host import AsyncHost, SystemClock, call_soon
from keymote.host.driver import Driver
from keymote.host.ports import Link
from keymote.manager.app.brokers import broker_desk
from keymote.manager.app.cells import HostCells, revive
from keymote.manager.app.coordinator import CoordinatorLink
from keymote.manager.app.directory import DATABASE, OWN_CELLS, Directory
from keymote.manager.app.enrol import newcomer_context
from keymote.manager.app.group_http import GroupsHttp, HttpFace
from keymote.manager.app.groups import GroupService
from keymote.manager.app.own import OwnStore
from keymote.manager.app.sight import Sight, Tallies
from keymote.manager.app.switchboard import Switchboard
from keymote.manager.app.topics import TopicService
from keymote.manager.desk import Desk, Handler
from keymote.manager.group_desk import GroupDesk
from keymote.manager.topic_desk import TopicDesk
from keymote.selftest.startup import startup_once
from keymote.storage.sql import open_database
from keymote.storage.sql_store import SqlStore
from keymote.transports.coap.endpoint import CoapEndpoint
from keymote.transports.coap.multicast import Group
from keymote.transports.coap.requests import Timing
from keymote.transports.control import ControlServer
from keymote.transports.http_status import StatusServer
from keymote.wire import admin
from keymote.wire.credential import Role

if TYPE_CHECKING:
    from keymote.manager.app.mqttsn import MqttSnOptions, MqttSnService

CACHE: Final = 16_384
"""Cells kept in memory, some KiB each; the others are read when they are needed."""
TIMING: Final = Timing(outstanding=32, waiting=1024)
"""A manager speaks for its devices: what is courteous towards one of them (NSTART) counts for each, not for all together."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """Where a manager serves. `announce`: its address as other managers see it, when that is not `listen`.

    `groups_http`: where members of groups that speak HTTP post, None for nowhere; `mqttsn`: the gateway for motes.
    """

    listen: tuple[str, int] = ("127.0.0.1", 5683)
    group: Group | None = None
    status: tuple[str, int] = ("127.0.0.1", 0)
    announce: Peer = ""
    policy: RegistrarPolicy = field(default_factory=RegistrarPolicy)
    groups_http: GroupsHttp | None = None
    mqttsn: "MqttSnOptions | None" = None


class ManagerProcess:
    """One manager in the running event loop."""

    def __init__(self, directory: Directory, options: Options) -> None:
        self.directory: Final = directory
        self.options: Final = options
        self._wires = Switchboard(Tallies())
        self._face: HttpFace | None = None
        self._mqttsn: MqttSnService | None = None
        self._closing = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Open the stores, bind the sockets, load who we are, and serve.

        Raises:
            Incompatible: the algorithms do not answer as published.
            CallerFault: not enrolled, a file is missing, unfit or readable by others, another process has the stores.
            Unavailable: a port is taken.
        """
        async with contextlib.AsyncExitStack() as starting:
            await self._start(starting)
            self._closing = starting.pop_all()

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        startup_once(SUITES)
        directory, options, entropy = self.directory, self.options, SystemEntropy()
        prepare(directory.suite.id)
        own = OwnStore(directory.folder / OWN_CELLS, directory.kek, entropy)
        stack.callback(own.close)
        signing = own.signing_key(directory.suite)
        membership = own.membership(newcomer_context(directory, signing))
        self.endpoint = await CoapEndpoint.open(
            options.listen, self._wires.receive, timing=TIMING, group=options.group, listen=options.group is not None
        )
        stack.callback(self.endpoint.close)
        database = open_database(directory.folder / DATABASE, history="cells")
        store = SqlStore(database, directory.kek, entropy, call_soon=call_soon(asyncio.get_running_loop()))
        stack.callback(store.close)
        context = RegistrarContext(
            id=directory.nm_id,
            nc_id=directory.nc_id,
            role=Role.MANAGER,
            signing=signing,
            suites=SUITES,
            chain=(membership.credential.raw, membership.issuers[0]),
            trust=directory.trust,
            membership=membership,
            policy=options.policy,
            hybrid=own.hybrid_key() if options.policy.post_quantum is not PostQuantum.OFF else None,
            generation=directory.identity.generation,
        )
        address = options.announce or self.endpoint.address
        self._context = context
        self.coordinator = CoordinatorLink(
            directory,
            own,
            signing,
            membership,
            address,
            hybrid.statement(context),
            self._adopt,
            self._wires.group_changed,
            self._wires.topics_changed,
            self._wires.standing_changed,
        )
        self._wires.coordinator = self.coordinator
        stack.push_async_callback(self.coordinator.close)
        clock = SystemClock()
        driver = Driver(
            registrar_node(context),
            store,
            self._link(),
            clock,
            entropy,
            self._wires.answer,
            self._wires.reported,
            cache=CACHE,
            fault=lambda where, error: logger.error("bug in the engine at %s", where, exc_info=error),
        )
        host = AsyncHost(driver, clock)
        stack.push_async_callback(_closed, host)
        self._wires.driver = driver
        host.start()
        if directory.identity.generation:
            await revive(host, [row.key for row in store.rows if row.key.kind == "link"])
        await host.command(GATE, OpenDoor())
        cells = HostCells(host)
        self.groups = self._wires.groups = self._group_service(cells, store)
        self.topics = self._wires.topics = self._topic_service(cells, store, address)
        self.brokers = self._wires.brokers = broker_desk(
            self.topics, store, signing, directory.nm_id, entropy, cells, address
        )
        self._sight = Sight(
            self._wires.tallies,
            driver,
            self.coordinator,
            self.groups,
            self.topics,
            self.endpoint.inbox,
            self._mqttsn,
        )
        for service in (self.groups, self.topics):
            service.start()
            stack.push_async_callback(service.close)
        stack.push_async_callback((await ControlServer.open(directory.control, self._handlers(cells))).close)
        self.status = await StatusServer.open(options.status, self._sight.health, self._sight.metrics())
        stack.push_async_callback(self.status.close)
        if self._face is not None:
            stack.push_async_callback(self._face.stop)
            await self._face.start(host)
        if self._mqttsn is not None:
            stack.push_async_callback(self._mqttsn.close)
            await self._mqttsn.start()
        self.coordinator.start(host)
        logger.info("serving", extra={"address": self.endpoint.address, "nm_id": directory.identity.nm_id})

    def _link(self) -> Link:
        """Return what reaches everybody: the endpoint, or the HTTP face before it, and the gateway for motes beside it."""
        air: Link = self.endpoint
        if self.options.groups_http is not None:
            self._face = HttpFace(self.options.groups_http, self.endpoint)
            self._wires.face = air = self._face.link
        if self.options.mqttsn is None:
            return air
        from keymote.manager.app.mqttsn import MqttSnService  # noqa: PLC0415  nobody else loads an MQTT client

        self._mqttsn = MqttSnService(self.options.mqttsn, self._wires.receive)
        return self._mqttsn.beside(air)

    def _handlers(self, cells: HostCells) -> dict[str, Handler]:
        """Return what an operator's commands may ask, by name."""
        desk = Desk(cells, self._status, changed=self.topics.standing_changed)
        further = (GroupDesk(self.groups), TopicDesk(self.topics), self.brokers)
        return {**desk.handlers(), **{name: handler for each in further for name, handler in each.handlers().items()}}

    def _group_service(self, cells: HostCells, store: SqlStore) -> GroupService:
        group, identity = self.options.group, self.directory.identity
        return GroupService(
            cells,
            store,
            lambda: self.coordinator.client,
            self._membership,
            self.directory.trust.key,
            nm_id=identity.nm_id,
            place=b"" if group is None else place_of(group.address, group.port),
            generation=identity.generation,
        )

    def _topic_service(self, cells: HostCells, store: SqlStore, address: Peer) -> TopicService:
        return TopicService(
            cells,
            store,
            lambda: self.coordinator.client,
            SystemEntropy(),
            address=address,
            suite=self.directory.suite.id,
            generation=self.directory.identity.generation,
            boxes=self.endpoint.name_box,
        )

    def _membership(self) -> Membership:
        assert self._context.membership is not None
        return self._context.membership

    def _adopt(self, membership: Membership) -> None:
        """Be known by a renewed credential from the next unit of work on."""
        chain = (membership.credential.raw, membership.issuers[0])
        self._context = replace(self._context, membership=membership, chain=chain)
        if self._wires.driver is not None:
            self._wires.driver.become(registrar_node(self._context))

    async def stop(self) -> None:
        """Take nothing in any more, let commits finish, close."""
        await self._closing.aclose()
        logger.info("stopped")

    def ready(self) -> Mapping[str, object]:
        """Return what a starter wants to know."""
        host, port = self.status.address
        return {
            "ready": True,
            "role": "manager",
            "pid": os.getpid(),
            "nm_id": self.directory.identity.nm_id,
            "address": self.endpoint.address,
            "status": f"http://{host}:{port}",
            "groups": "" if self._face is None else self._face.url,
            "mqttsn": "" if self._mqttsn is None else self._mqttsn.address,
        }

    def _status(self) -> Mapping[str, object]:
        own = self._context.membership
        credential = "" if own is None else admin.to_base64url(own.credential.raw)
        profile = {"post_quantum": self.options.policy.post_quantum.value, "credential": credential}
        return {**self.ready(), **self._sight.health().facts, **profile, "inbox": len(self.endpoint.inbox)}


async def _closed(host: AsyncHost) -> None:
    """Close a host; a store that does not finish must not keep the process."""
    try:
        await host.close()
    except KeymoteError as error:
        logger.warning("closing: %s", error)


async def run(process: ManagerProcess, ready: Callable[[Mapping[str, object]], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ready` hears where."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await process.start()
    try:
        ready(process.ready())
        await stopped.wait()
    finally:
        await process.stop()
