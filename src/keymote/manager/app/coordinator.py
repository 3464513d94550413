"""The manager's connection to its coordinator: what engines ask goes out, events come in, nothing waits for either."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from keymote.crypto.suite import SigningKey
from keymote.engine.base import CellKey, Peer
from keymote.engine.context import Membership
from keymote.engine.queries import FindDevice, FindManager, RegisterCredential, ReportRevocation
from keymote.engine.renewal import due_at
from keymote.errors import KeymoteError, PeerFault, Unavailable
from keymote.host.async_host import AsyncHost
from keymote.host.topic_desk import TOPIC_CHANGED
from keymote.manager.app.directory import Directory
from keymote.manager.app.enrol import certify
from keymote.manager.app.own import OwnStore, quietly
from keymote.manager.app.renewal import pause_s, renew, rolled
from keymote.manager.rules import GROUP_CHANGED, command_for
from keymote.storage.private_files import read_file
from keymote.transports import tls
from keymote.transports.http_client import CoordinatorClient
from keymote.wire import admin

ASK_AGAIN_S: Final = 5.0
"""Pause before a coordinator that did not answer is asked again for what can wait."""
REFUSED_S: Final = 60.0
"""Pause after a coordinator has refused this manager altogether; somebody may take it back."""
CERTIFICATE_CHECK_S: Final = 12 * 3600.0
MAX_ASKING: Final = 256

logger = logging.getLogger(__name__)


class CoordinatorLink:
    """Answers the engines' queries and acts on events. A coordinator that is away costs `Unavailable`, not a wait."""

    def __init__(
        self,
        directory: Directory,
        own: OwnStore,
        signing: SigningKey,
        membership: Membership,
        address: Peer,
        hybrid_key: bytes = b"",
        adopt: Callable[[Membership], None] = lambda _membership: None,
        group_changed: Callable[[bytes], Awaitable[None]] | None = None,
        topics_changed: Callable[[], Awaitable[None]] | None = None,
        standing_changed: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> None:
        self._directory = directory
        self._own = own
        self._signing = signing
        self._membership = membership
        self._adopt = adopt
        self._group_changed = group_changed
        self._topics_changed = topics_changed
        self._standing_changed = standing_changed
        self._address = address
        self._hybrid_key = hybrid_key
        self._client = self._connected()
        self._asking: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._notes = asyncio.Event()
        self.refused: str = ""
        """Why the coordinator does not admit this manager any more; empty while it does."""

    @property
    def is_connected(self) -> bool:
        return self._client.connected

    @property
    def client(self) -> CoordinatorClient:
        """The connection in use now; another one after the next certificate."""
        return self._client

    def start(self, host: AsyncHost) -> None:
        """Begin to announce, to listen for events, to hand in notes and to renew the certificate."""
        for work in (self._announce(), self._follow(host), self._hand_in(), self._renew()):
            task = asyncio.get_running_loop().create_task(work)
            task.add_done_callback(_survived)
            self._tasks.append(task)
        self._notes.set()

    async def close(self) -> None:
        """Stop; queries that are under way stay unanswered."""
        for task in [*self._tasks, *self._asking]:
            await quietly(task)
        await self._client.close()

    # ------------------------------------------------------------------ what the engines ask

    def answer(self, _key: CellKey, query: object, answer: Callable[[object], None]) -> None:
        """The driver's `Answerer`."""
        match query:
            case RegisterCredential():
                self._spawn(self._client.register(query), answer)
            case FindDevice():
                self._spawn(self._client.find(query), answer)
            case FindManager():
                self._spawn(self._client.find_manager(query), answer)
            case ReportRevocation(revnote):
                self._own.add_note(revnote)
                self._notes.set()
                answer(True)
            case _:
                answer(Unavailable(f"nobody answers {type(query).__name__}"))

    def _spawn(self, call: Awaitable[object], answer: Callable[[object], None]) -> None:
        if len(self._asking) >= MAX_ASKING:
            asyncio.ensure_future(call).cancel()
            answer(Unavailable("too much waits for the coordinator", do="try again later"))
            return

        async def ask() -> None:
            try:
                answer(await call)
            except KeymoteError as fault:
                answer(fault)

        task = asyncio.get_running_loop().create_task(ask())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    # ------------------------------------------------------------------ what goes on all the time

    async def _announce(self) -> None:
        """Say where other managers reach this one and publish its hybrid key, until the coordinator has heard it."""
        said = (self._directory.nm_id, self._address, self._hybrid_key)
        await self._insist("endpoint", lambda: self._client.announce_endpoint(*said))

    async def _hand_in(self) -> None:
        """Hand in revocation notes, oldest first, whenever there are some and the coordinator answers."""
        while True:
            await self._notes.wait()
            self._notes.clear()
            for note in self._own.notes():
                await self._insist("revocation note", partial(self._report_note, note))

    async def _follow(self, host: AsyncHost) -> None:
        """Act on events in order; each is acknowledged and the cursor saved when what it changed is durable."""
        while True:
            try:
                async for event in self._client.events(self._own.cursor):
                    self.refused = ""
                    await self._act(host, event)
                    self._own.advance(event.id)
                    await self._insist("acknowledgement", partial(self._acknowledge, event.id))
            except Unavailable as error:
                logger.warning("events are interrupted: %s", error)
                await asyncio.sleep(ASK_AGAIN_S)
            except KeymoteError as fault:
                self.refused = fault.what
                logger.error("the coordinator does not admit this manager: %s", fault)
                await asyncio.sleep(REFUSED_S)

    async def _report_note(self, note: bytes) -> None:
        """Hand a note in, again if need be, and keep it no longer; one that is refused will not be taken later either."""
        try:
            await self._client.report(ReportRevocation(note))
        except PeerFault as fault:
            logger.warning("revocation note refused: %s", fault)
        self._own.drop_note(note)

    async def _acknowledge(self, upto: int) -> None:
        await self._client.acknowledge(upto)

    async def _act(self, host: AsyncHost, event: admin.EventView) -> None:
        data: Mapping[str, str | int] = event.data
        wanted = command_for(event.kind, bytes.fromhex(event.subject), data, self._directory.nm_id)
        logger.info("event", extra={"event": event.kind, "number": event.id, "acted_on": wanted is not None})
        if event.kind == "manager.revoke" and event.subject == self._directory.identity.nm_id:
            self.refused = "revoked"
        if event.kind == GROUP_CHANGED and self._group_changed is not None:
            await self._until_done(event.id, partial(self._group_changed, bytes.fromhex(event.subject)))
        if event.kind == TOPIC_CHANGED and self._topics_changed is not None:
            await self._until_done(event.id, self._topics_changed)
        if wanted is not None:
            await self._until_done(event.id, partial(host.command, *wanted))
            if event.kind.startswith("device.") and self._standing_changed is not None:
                await self._until_done(event.id, partial(self._standing_changed, bytes.fromhex(event.subject)))

    @staticmethod
    async def _until_done(event: int, act: Callable[[], Awaitable[object]]) -> None:
        """Act on an event, again if need be: what comes behind it waits, and it is acknowledged only then."""
        while True:
            try:
                await act()
            except Unavailable as error:
                logger.warning("event %s cannot be acted on yet: %s", event, error)
                await asyncio.sleep(ASK_AGAIN_S)
            except KeymoteError as fault:
                logger.error("event %s cannot be acted on: %s", event, fault)
                return
            else:
                return

    async def _renew(self) -> None:
        """Renew our credential 30 days before it ends, or when the coordinator has taken a new key; and the TLS certificate
        when a third of its life is left.
        """
        while True:
            claims = self._membership.credential.claims
            now = int(time.time())
            other_key = await self._rolled()
            renewed = (other_key or now >= due_at(claims)) and await self._newer_credential()
            pem = read_file(self._directory.folder / "tls.pem", "certificate").decode()
            if renewed or tls.validity_of(pem).needs_renewal(now):
                await self._newer_certificate()
            longest_s = REFUSED_S if other_key and not renewed else CERTIFICATE_CHECK_S
            await asyncio.sleep(pause_s(self._membership.credential.claims, now, longest_s))

    async def _rolled(self) -> bool:
        """Tell whether the coordinator has taken a new key; who cannot be asked now is asked the next time."""
        try:
            return await rolled(self._directory, self._membership)
        except KeymoteError as error:
            logger.warning("coordinator's key not compared: %s", error)
            return False

    async def _newer_credential(self) -> bool:
        try:
            self._membership = await renew(self._directory, self._own)
        except KeymoteError as error:
            logger.warning("credential not renewed: %s", error)
            return False
        self._adopt(self._membership)
        logger.info("credential renewed", extra={"expires": self._membership.credential.claims.exp})
        return True

    async def _newer_certificate(self) -> None:
        kid = self._membership.credential.kid
        try:
            await certify(self._directory, self._signing, kid, self._own, self._client)
        except KeymoteError as error:
            logger.warning("certificate not renewed: %s", error)
        else:
            before, self._client = self._client, self._connected()
            await before.close()

    async def _insist(self, what: str, call: Callable[[], Awaitable[Any]]) -> None:
        """Try until the coordinator answers; what it refuses for good is logged and given up."""
        while True:
            try:
                await call()
            except Unavailable:
                await asyncio.sleep(ASK_AGAIN_S)
            except KeymoteError as fault:
                logger.warning("%s refused: %s", what, fault)
                return
            else:
                return

    def _connected(self) -> CoordinatorClient:
        folder = self._directory.folder
        return CoordinatorClient(
            self._directory.identity.coordinators[0],
            read_file(folder / "ca.pem", "coordinator's authority", do="keymote manager enrol").decode(),
            certificate=folder / "tls.pem",
            key=folder / "tls.key",
            password=self._own.password(),
        )


def _survived(task: "asyncio.Task[None]") -> None:
    """Say when a task that should go on has ended: a bug, but not one that stops the manager."""
    if not task.cancelled() and task.exception() is not None:
        logger.error("bug in the connection to the coordinator", exc_info=task.exception())
