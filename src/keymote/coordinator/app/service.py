"""A running coordinator: everything put together, started, and stopped without losing what was acknowledged."""

import asyncio
import contextlib
import logging
import signal
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final

from keymote.coordinator.api import Services, build
from keymote.coordinator.api.services import Counted, TopicServices
from keymote.coordinator.app.directory import DATABASE, Directory
from keymote.coordinator.app.enrolment import POLICY, EngineEnrolment
from keymote.coordinator.auditing import Auditing
from keymote.coordinator.desk import Desk
from keymote.coordinator.federation import Federation
from keymote.coordinator.group_pictures import Pictures
from keymote.coordinator.group_records import GroupRecords
from keymote.coordinator.groups import Groups
from keymote.coordinator.groups_reports import GroupReports
from keymote.coordinator.managers import Managers
from keymote.coordinator.outbox import Outbox
from keymote.coordinator.registry import Registry
from keymote.coordinator.revocation import Revocations
from keymote.coordinator.topic_pictures import TopicPictures
from keymote.coordinator.topic_reports import TopicReports
from keymote.coordinator.topics import Topics
from keymote.crypto.entropy import Entropy, SystemEntropy
from keymote.crypto.suites import SUITES
from keymote.engine.context import RegistrarPolicy
from keymote.errors import KeymoteError
from keymote.host.async_host import call_soon
from keymote.selftest.startup import startup_once
from keymote.storage.sql import open_database
from keymote.storage.sql_ledger import open_ledger
from keymote.storage.sql_store import SqlStore
from keymote.transports import tls
from keymote.transports.http_peer import PeerCoordinator
from keymote.transports.http_server import HttpServer

HEADS_EVERY_S: Final = 60.0
"""How often it is asked whether a day's audit head is due."""
CERTIFICATE_EVERY_S: Final = 12 * 3600.0
"""How often the server certificate is looked at."""
PRUNED_EVERY_S: Final = 3600.0
"""How often the outbox is pruned."""
PAPERS_EVERY_S: Final = 3600.0
"""How often it is asked which groups need a new delegation."""

logger = logging.getLogger(__name__)


def _now_ms() -> int:
    return int(time.time() * 1000)


@dataclass(slots=True)
class CoordinatorProcess:
    """One coordinator in the running event loop; `peers` are URLs of federated coordinators.

    `policy` is that of the managers' enrolment.
    """

    directory: Directory
    host: str = "127.0.0.1"
    port: int = 8443
    peers: Sequence[str] = ()
    policy: RegistrarPolicy = POLICY
    _desk: Desk = field(init=False)
    _server: HttpServer = field(init=False)
    _enrolment: EngineEnrolment = field(init=False)
    _auditing: Auditing = field(init=False)
    _links: Sequence[PeerCoordinator] = field(init=False, default=())
    _chores: list[asyncio.Task[None]] = field(init=False, default_factory=list)

    @property
    def url(self) -> str:
        """Where it serves; defined after `start`."""
        return self._server.url

    async def start(self) -> None:
        """Open the store, check who we are, and serve.

        Raises:
            CallerFault: credential or certificate missing or unfit, port taken, files readable by others.
            Incompatible: the algorithms do not answer as published, or the store is of another version.
            Unavailable: the store cannot be opened.
        """
        startup_once(SUITES)
        folder, now, entropy = self.directory.folder, int(time.time()), SystemEntropy()
        identity = self.directory.identity(now)
        authority = self.directory.authority()
        if self.directory.renewed(authority, now):
            logger.info("server certificate issued", extra={"hosts": self.directory.held.hosts})
        context = tls.server_context(folder / "tls.pem", folder / "tls.key", self.directory.password, authority.pem)
        self._desk = Desk(identity, open_ledger(folder / "registry.db"), _now_ms)
        registry = Registry(self._desk)
        self._auditing = Auditing(self._desk)
        self._enrolment = EngineEnrolment(self._desk, registry, self._cells(entropy), entropy, self.policy)
        self._links = [PeerCoordinator(url, identity) for url in self.peers]
        services = Services(
            self._desk,
            registry,
            Revocations(self._desk),
            Managers(self._desk),
            Outbox(self._desk),
            self._auditing,
            Federation(self._desk, registry, self._links),
            Groups(self._desk, entropy),
            GroupReports(self._desk),
            Pictures(self._desk),
            GroupRecords(self._desk),
            TopicServices(Topics(self._desk, entropy), TopicReports(self._desk), TopicPictures(self._desk)),
            self._enrolment,
            authority,
            identity.binding(authority.der, authority.not_after),
            self.directory.token(),
            version("keymote"),
            Counted(),
        )
        self._server = HttpServer(build(services), self.host, self.port, context)
        try:
            await self._server.start()
        except KeymoteError:
            await self._desk.ledger.close()
            raise
        self._enrolment.start()
        self._chores = [
            asyncio.create_task(_regularly(self._auditing.sign_daily, HEADS_EVERY_S, "audit head not signed")),
            asyncio.create_task(_regularly(services.outbox.prune, PRUNED_EVERY_S, "outbox not pruned")),
            asyncio.create_task(_regularly(services.groups.keep_papers, PAPERS_EVERY_S, "groups' papers not renewed")),
            asyncio.create_task(_regularly(services.groups.prune, PRUNED_EVERY_S, "groups' history not pruned")),
            asyncio.create_task(_regularly(services.records.prune, PRUNED_EVERY_S, "groups' records not pruned")),
            asyncio.create_task(_regularly(services.topics.rules.settle, PAPERS_EVERY_S, "topics not settled")),
            asyncio.create_task(_regularly(services.topics.rules.prune, PRUNED_EVERY_S, "topics' history not pruned")),
            asyncio.create_task(
                _regularly(lambda: self._renew(context, authority), CERTIFICATE_EVERY_S, "certificate not renewed")
            ),
        ]
        logger.info("serving", extra={"url": self.url, "nc_id": identity.nc_id})

    async def _renew(self, context: ssl.SSLContext, authority: tls.Authority) -> None:
        """Issue the server certificate anew in time; connections that are made from then on see it."""
        if self.directory.renewed(authority, int(time.time())):
            folder = self.directory.folder
            tls.load_chain(context, folder / "tls.pem", folder / "tls.key", self.directory.password)
            logger.info("server certificate renewed", extra={"hosts": self.directory.held.hosts})

    def _cells(self, entropy: Entropy) -> SqlStore:
        database = open_database(self.directory.folder / DATABASE, history="cells")
        soon = call_soon(asyncio.get_running_loop())
        return SqlStore(database, self.directory.kek, entropy, call_soon=soon)

    async def stop(self) -> None:
        """Let streams go, finish answers, sign the audit head, close."""
        self._desk.news.close()
        await self._server.stop()
        with contextlib.suppress(KeymoteError):
            await self._enrolment.stop()
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        for link in self._links:
            await link.close()
        with contextlib.suppress(KeymoteError):
            await self._auditing.sign_daily(anyway=True)
        await self._desk.ledger.close()
        logger.info("stopped")


async def _regularly(chore: Callable[[], Awaitable[object]], every_s: float, failed: str) -> None:
    """Do a chore now and every `every_s`; what it cannot do now it does the next time."""
    while True:
        try:
            await chore()
        except KeymoteError as fault:
            logger.warning("%s: %s", failed, fault)
        await asyncio.sleep(every_s)


async def run(process: CoordinatorProcess, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ready` hears the URL."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await process.start()
    try:
        ready(process.url)
        await stopped.wait()
    finally:
        await process.stop()
