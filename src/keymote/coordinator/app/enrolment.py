"""The registrar's engine of a coordinator, which enrols managers over HTTP: datagrams in, datagrams out.

A peer is one connection, so the engine binds a run to it (EN-25). Most answers are made at once; CRED follows BIND when
the register has taken the credential, so whoever sent BIND waits for it.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from keymote import cbor
from keymote.coordinator.desk import Desk
from keymote.coordinator.registry import Registry
from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.crypto.suites import SUITES
from keymote.engine.base import CellKey, Peer, Refused, Report
from keymote.engine.context import RegistrarContext, RegistrarPolicy
from keymote.engine.faces import GATE, ExpectAgain, ExpectDevice, HelloIs, RevokeDevice, SayHello, enrolment_of
from keymote.engine.node import registrar_node
from keymote.engine.queries import Receipt, RegisterCredential
from keymote.errors import ErrorCode, KeymoteError, PeerFault, Unavailable
from keymote.host.async_host import AsyncHost, SystemClock
from keymote.host.driver import Driver
from keymote.host.ports import Store
from keymote.wire.credential import Role
from keymote.wire.enrolment import Bind
from keymote.wire.registry import peek

ANSWER_WITHIN_S: Final = 10.0
JOINS_PER_CONNECTION_PER_MIN: Final = 20

POLICY: Final = RegistrarPolicy(multicast=False, joins_per_source_per_min=JOINS_PER_CONNECTION_PER_MIN)

logger = logging.getLogger(__name__)


class _Replies:
    """The link: what the engine sends goes to the request of that connection, if it still waits."""

    reliable = True

    def __init__(self) -> None:
        self._waiting: dict[Peer, asyncio.Future[bytes]] = {}

    def expect(self, peer: Peer) -> asyncio.Future[bytes]:
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[peer] = future
        return future

    def forget(self, peer: Peer) -> None:
        self._waiting.pop(peer, None)

    def send(self, peer: Peer, data: bytes, failed: Callable[[], None] | None) -> None:
        """Answer the request of `peer`; a late answer is dropped, the manager repeats its message."""
        future = self._waiting.pop(peer, None)
        if future is not None and not future.done():
            future.set_result(data)
        elif failed is not None:
            failed()


class EngineEnrolment:
    """The port `DatagramPort` on the real engine, in the running event loop."""

    def __init__(
        self, desk: Desk, registry: Registry, store: Store, entropy: Entropy, policy: RegistrarPolicy = POLICY
    ) -> None:
        identity = desk.identity
        context = RegistrarContext(
            id=identity.nc_id,
            nc_id=identity.nc_id,
            role=Role.COORDINATOR,
            signing=identity.key,
            suites=SUITES,
            chain=identity.chain,
            trust=identity.trust,
            policy=policy,
        )
        self._registry = registry
        self._replies = _Replies()
        self._asking: set[asyncio.Task[None]] = set()
        self._store = store
        clock = SystemClock()
        driver = Driver(
            registrar_node(context),
            store,
            self._replies,
            clock,
            entropy,
            self._answer,
            self._report,
            fault=lambda where, error: logger.error("bug in the engine at %s", where, exc_info=error),
        )
        self._host = AsyncHost(driver, clock)

    def start(self) -> None:
        """Serve what was due, and work."""
        self._host.start()

    async def stop(self) -> None:
        """Take nothing in any more, let commits finish, close the store."""
        await self._host.close()
        self._store.close()

    async def hello(self) -> bytes:
        """Return the current HELLO."""
        for report in await self._host.command(GATE, SayHello()):
            if isinstance(report, HelloIs):
                return report.wire
        raise Unavailable("the enrolment engine has no HELLO")

    async def exchange(self, peer: str, data: bytes) -> bytes | None:
        """Hand in one datagram and return the one to send back, None for silence."""
        try:
            answered_later = peek(data)[0] == Bind.mt
        except PeerFault:
            return None
        later = self._replies.expect(peer)
        try:
            at_once = await self._host.receive(peer, data)
            if at_once:
                return at_once[0].data
            if not answered_later and not self._asking:
                return None  # NEWCRED, as CRED, comes when the register has taken the credential
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await later
        except TimeoutError:
            return None
        finally:
            self._replies.forget(peer)

    async def expect(self, nm_id: bytes, code: Secret) -> None:
        """Wait for a manager with this code; the same again changes nothing, another one begins anew."""
        prs = Secret(cbor.encode_array(code.expose(), b""))
        reports = await self._host.command(enrolment_of(nm_id), ExpectDevice(nm_id, prs))
        if any(isinstance(report, Refused) and report.code is ErrorCode.E_OTC_USED for report in reports):
            await self._host.command(enrolment_of(nm_id), ExpectAgain(nm_id, prs))

    async def revoke(self, nm_id: bytes, reason: int) -> None:
        """Forget the code of a manager that was revoked; nothing happens for one that never enrolled."""
        await self._host.command(enrolment_of(nm_id), RevokeDevice(reason))

    def _answer(self, _key: CellKey, query: object, answer: Callable[[object], None]) -> None:
        if not isinstance(query, RegisterCredential):
            answer(Unavailable(f"a coordinator does not answer {type(query).__name__}"))
            return
        task = asyncio.create_task(self._register(query, answer))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _register(self, query: RegisterCredential, answer: Callable[[object], None]) -> None:
        try:
            outcome = await self._registry.register_manager(query.credential)
        except KeymoteError as fault:
            answer(fault)
        else:
            answer(Receipt(outcome.registered.receipt))

    def _report(self, key: CellKey, report: Report) -> None:
        if isinstance(report, Refused):
            logger.info("refused", extra={"code": report.code.name, "what": report.what})
        elif not isinstance(report, HelloIs):
            logger.info(type(report).__name__, extra={"subject": key.id})
