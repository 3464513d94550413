"""A running agent: cells, sockets, the broker behind it, and what is owed to other agents."""

import asyncio
import contextlib
import logging
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from keymote.agent.app.directory import DATABASE, Directory, address_of
from keymote.crypto.entropy import SystemEntropy
from keymote.crypto.suites import SUITES, prepare
from keymote.engine.base import CellKey, Peer, Refused, Report, Send
from keymote.engine.handover.faces import (
    AccountOpen,
    AgentContext,
    CloseAccount,
    Connected,
    Forward,
    Moved,
    OpenAccount,
    Resume,
    Revoke,
    SessionMoved,
    home_of,
    visit_of,
)
from keymote.engine.handover.home_states import Away, Held, Here, HomeCell
from keymote.engine.handover.node import FROM_CLIENTS, agent_node
from keymote.engine.handover.visit_cell import allows
from keymote.engine.handover.visit_states import VisitCell
from keymote.errors import ErrorCode, KeymoteError, PeerFault, Unavailable
from keymote.host.async_host import AsyncHost, SystemClock, call_soon
from keymote.host.batches import Settled
from keymote.host.driver import Driver
from keymote.selftest.startup import startup_once
from keymote.storage.broker_files import ListFile
from keymote.storage.sql import open_database
from keymote.storage.sql_store import SqlStore
from keymote.transports import tls_pinned
from keymote.transports.between import AgentCallers, AgentServer
from keymote.transports.coap.endpoint import CoapEndpoint
from keymote.transports.coap.requests import Timing
from keymote.transports.control import ControlServer
from keymote.transports.mqtt.broker_face import Account, BrokerFace
from keymote.transports.mqtt.packets import Delivery
from keymote.wire.admin import to_base64url
from keymote.wire.handover import Between
from keymote.wire.registry import peek
from keymote.wire.topic import PUBLISH, SUBSCRIBE

if TYPE_CHECKING:
    from keymote.agent.app.motes import Motes

CACHE: Final = 16_384
TIMING: Final = Timing(outstanding=32, waiting=1024)
RETRIES_S: Final = (0.05, 0.2, 1.0, 5.0)
"""Pauses before a queue is brought to the next broker again; the last one repeats."""
FORWARD_QOS: Final = 1
_MQTT: Final = "mqtt:"
_MQTTSN: Final = "mqttsn:"
_CLOSING_S: Final = 5.0

logger = logging.getLogger(__name__)
Job = Callable[[], Awaitable[None]]


async def broker_of(directory: Directory) -> BrokerFace:
    """Return the broker behind this agent: started here when it is the embedded one, connected to when it is Mosquitto."""
    held = directory.identity
    if held.broker == "embedded":
        from keymote.transports.mqtt.embedded_face import EmbeddedFace  # noqa: PLC0415  an extra

        return await EmbeddedFace.start(*address_of(held.mqtt))
    from keymote.transports.mqtt.dynsec import MosquittoFace  # noqa: PLC0415  only where it is asked for

    return await MosquittoFace.start(address_of(held.mqtt), address_of(held.management), *directory.broker_passwords)


class AgentProcess:
    """One agent in the running event loop."""

    reliable = True

    def __init__(
        self,
        directory: Directory,
        broker: Callable[[Directory], Awaitable[BrokerFace]] = broker_of,
        mqttsn: tuple[str, int] | None = None,
    ) -> None:
        self.directory: Final = directory
        self._mqttsn = mqttsn
        self._motes: Motes | None = None
        self._make_broker = broker
        self._closing = contextlib.AsyncExitStack()
        self._counted: Counter[str] = Counter()
        self._jobs: dict[bytes, asyncio.Task[None]] = {}
        self._later: set[asyncio.TimerHandle] = set()
        self._waiting: dict[Peer, asyncio.Future[None]] = {}

    async def start(self) -> None:
        """Open the store, reach the broker, serve.

        Raises:
            CallerFault: not enrolled, a file is unfit, another process has the store, or the broker refuses the agent.
            Unavailable: a port is taken, or the broker does not answer.
        """
        async with contextlib.AsyncExitStack() as starting:
            await self._start(starting)
            self._closing = starting.pop_all()

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        startup_once(SUITES)
        prepare(self.directory.suite.id)
        directory, entropy, held = self.directory, SystemEntropy(), self.directory.identity
        self._listed = directory.listed()
        self.context = AgentContext(directory.desk(), directory.shared, self._listed.federation, held.mqtt)
        self.broker = await self._make_broker(directory)
        stack.push_async_callback(self.broker.close)
        if hasattr(self.broker, "admit"):
            self.broker.admit = self._admit
        self.callers = AgentCallers(directory.tls)
        stack.push_async_callback(self.callers.close)
        self.endpoint = await CoapEndpoint.open(address_of(held.coap), self._from_client, timing=TIMING)
        stack.callback(self.endpoint.close)
        database = open_database(directory.folder / DATABASE, history="cells")
        store = SqlStore(database, directory.kek, entropy, call_soon=call_soon(asyncio.get_running_loop()))
        stack.callback(store.close)
        clock = SystemClock()
        self._driver = Driver(
            agent_node(self.context), store, self, clock, entropy, self._asked, self._reported, cache=CACHE,
            fault=lambda where, error: logger.error("bug in the engine at %s", where, exc_info=error),
        )  # fmt: skip
        self.host = AsyncHost(self._driver, clock)
        stack.push_async_callback(self._settle)
        stack.push_async_callback(self.host.close)
        certificates = {card.certificate: broker_id for broker_id, card in self._listed.cards.items()}
        context = tls_pinned.server_context(*directory.tls, certificates)
        self._server = AgentServer(address_of(held.agent), context, certificates, self._frame, self._queue)
        await self.callers.knows({card.agent: card.certificate for card in self._listed.cards.values()})
        if self._mqttsn is not None:
            await self._serve_motes(self._mqttsn, stack)
        self.host.start()
        for row in [*store.of_kind("home"), *store.of_kind("visit")]:
            await self.host.command(row.key, Resume())
        await self._put_out_the_gone()
        await self._server.start()
        stack.push_async_callback(self._server.stop)
        stack.push_async_callback((await ControlServer.open(directory.control, self._handlers())).close)
        logger.info("serving", extra={"address": self.endpoint.address, "broker_id": held.broker_id})

    async def _serve_motes(self, listen: tuple[str, int], stack: contextlib.AsyncExitStack) -> None:
        from keymote.agent.app.motes import Motes  # noqa: PLC0415  nobody else loads another MQTT client
        from keymote.transports.mqttsn import GatewayOptions  # noqa: PLC0415

        self._motes = Motes(GatewayOptions(listen), self.broker.address, self._from_client)
        stack.push_async_callback(self._motes.gateway.close)
        await self._motes.gateway.start()

    async def stop(self) -> None:
        """Take nothing in any more, finish what is under way, close."""
        await self._closing.aclose()

    async def _settle(self) -> None:
        for handle in self._later:
            handle.cancel()
        tasks = list(self._jobs.values())
        if tasks:
            _, unfinished = await asyncio.wait(tasks, timeout=_CLOSING_S)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)

    def peek(self, key: CellKey) -> Any | None:
        """Return the newest state of a cell: to look at, never to acknowledge by."""
        return self._driver.peek(key)

    @property
    def owed(self) -> int:
        """How many queues are to be brought to their next brokers again in a while."""
        return len(self._later)

    @property
    def busy(self) -> bool:
        """Whether something is being done for a client, or is to be done again in a while."""
        return bool(self._jobs or self._later or self.callers.busy or not self._driver.idle)

    def ready(self) -> Mapping[str, object]:
        """Return what a starter wants to know."""
        host, port = self.broker.address
        return {
            "ready": True,
            "role": "agent",
            "pid": os.getpid(),
            "broker_id": self.directory.identity.broker_id,
            "address": self.endpoint.address,
            "agent": self._server.url,
            "mqtt": f"mqtt://{host}:{port}",
            "mqttsn": "" if self._motes is None else self._motes.gateway.address,
        }

    # ------------------------------------------------------------------ the list of brokers

    async def adopt(self, file: ListFile) -> None:
        """Put a newer list in force; PeerFault when it is none."""
        self._listed = self.directory.update(file, self._listed.federation.version)
        self.context = replace(self.context, federation=self._listed.federation)
        self._driver.become(agent_node(self.context))
        self._server.knows({card.certificate: broker_id for broker_id, card in self._listed.cards.items()})
        await self.callers.knows({card.agent: card.certificate for card in self._listed.cards.values()})
        await self._put_out_the_gone()

    async def _put_out_the_gone(self) -> None:
        for client_id in self.context.federation.gone:
            for key in (home_of(client_id), visit_of(client_id)):
                await self.host.command(key, Revoke())

    # ------------------------------------------------------------------ datagrams

    def send(self, peer: Peer, data: bytes, failed: Callable[[], None] | None) -> None:
        """Carry what cells send: to clients by CoAP, to agents by HTTPS, to whoever waits at CONNECT by letting it in."""
        if peer.startswith(_MQTT):
            waiting = self._waiting.get(peer)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        elif peer.startswith(_MQTTSN) and self._motes is not None:
            self._motes.send(peer, data)
        elif peer.startswith("https://"):
            self.callers.send(peer, data, self._driver.receive, failed)
        else:
            self.endpoint.send(peer, data, failed)

    def _from_client(self, peer: Peer, data: bytes, settled: Settled | None = None) -> None:
        try:
            mt, _ = peek(data)
        except PeerFault:
            mt = -1
        if mt in FROM_CLIENTS:
            self._driver.receive(peer, data, settled)
            return
        self._driver.tally["route", ErrorCode.E_STATE] += 1
        if settled is not None:
            settled([])

    async def _frame(self, broker_id: bytes, data: bytes) -> Sequence[Send]:
        if peek(data)[0] != Between.mt:
            raise PeerFault(ErrorCode.E_STATE, "another agent speaks as a client")
        return await self.host.receive(self._listed.cards[broker_id].agent, data)

    async def _admit(self, name: str, connauth: bytes) -> bool:
        """CONNAUTH in the password field of CONNECT (Triad-1 8 on 4.4)."""
        try:
            if bytes.fromhex(name) != connauth[4:12] or peek(connauth)[0] not in FROM_CLIENTS:
                return False
        except (ValueError, PeerFault):
            return False
        peer = f"{_MQTT}{name}"
        self._waiting[peer] = waiting = asyncio.get_running_loop().create_future()
        try:
            self._driver.receive(peer, connauth)
            async with asyncio.timeout(_CLOSING_S):
                await waiting
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(peer, None)
        return True

    # ------------------------------------------------------------------ what cells want of the broker

    def _asked(self, _key: CellKey, query: object, answer: Callable[[object], None]) -> None:
        assert isinstance(query, OpenAccount)

        async def open_account() -> None:
            try:
                await self.broker.open(_account(query))
            except KeymoteError as error:
                logger.warning("no account for a client: %s", error)
                answer(error)
            else:
                if self._motes is not None:
                    self._motes.opened(query.client_id.hex(), query.password)
                answer(AccountOpen())

        self._after(query.client_id, open_account)

    def _reported(self, key: CellKey, report: Report) -> None:
        match report:
            case Refused(_, code, what):
                self._counted[f"refused {code.name}"] += 1
                logger.info("refused", extra={"cell": key.kind, "code": code.name, "what": what})
                return
            case Moved(client_id):
                self._after(client_id, partial(self._bring, key, report, 0))
            case CloseAccount(client_id):
                if self._motes is not None:
                    self._motes.closed(client_id.hex())
                self._after(client_id, partial(self.broker.remove, client_id.hex()))
            case Forward(client_id, topic, data, verified):
                message = Delivery(topic, data, FORWARD_QOS, False, 0)
                self._after(client_id, partial(self.broker.publish, message, unverified=not verified))
            case Connected():
                pass
        self._counted[type(report).__name__] += 1
        logger.info(type(report).__name__, extra={"cell": key.kind, "client": key.id.hex()})

    def _after(self, client_id: bytes, job: Job) -> "asyncio.Task[None]":
        """Do one thing after the other for each client."""
        before = self._jobs.get(client_id)

        async def work() -> None:
            if before is not None:
                await asyncio.wait([before])
            try:
                await job()
            except KeymoteError as error:
                self._counted["failed"] += 1
                logger.warning("the broker did not do something for a client: %s", error)
            except Exception as error:  # a bug with one client must not stop the others
                self._counted["bugs"] += 1
                logger.error("bug in the agent", exc_info=error)
            finally:
                if self._jobs.get(client_id) is task:
                    del self._jobs[client_id]

        task = self._jobs[client_id] = asyncio.create_task(work(), name="for a client")
        return task

    # ------------------------------------------------------------------ queues

    async def _bring(self, key: CellKey, move: Moved, tries: int) -> None:
        """Bring what waits here for a client to the broker that it went to; again, until it is there or no longer owed."""
        if not _owes(self._driver.peek(key), move):
            return
        to = self.context.federation.brokers.get(move.to)
        try:
            if to is None:
                raise Unavailable("the next broker is not in the list", do="give the agent a newer list")
            carried = await self.broker.drain(
                move.client_id.hex(), partial(self.callers.bring, to.peer, move.client_id)
            )
        except KeymoteError as error:
            logger.info("a queue waits for its next broker: %s", error)
            pause = RETRIES_S[min(tries, len(RETRIES_S) - 1)]
            self._again(pause, move.client_id, partial(self._bring, key, move, tries + 1))
            return
        self._counted["messages carried"] += carried
        await self.host.command(key, SessionMoved(move.ho_ctr))

    def _again(self, pause_s: float, client_id: bytes, job: Job) -> None:
        def now() -> None:
            self._later.discard(handle)
            self._after(client_id, job)

        handle = asyncio.get_running_loop().call_later(pause_s, now)
        self._later.add(handle)

    async def _queue(self, broker_id: bytes, client_id: bytes, messages: Sequence[Delivery]) -> bool:
        """Take in the queue of a client that came here, once its session is there."""
        taken: list[bool] = []

        async def take() -> None:
            rights = self._awaited(broker_id, client_id)
            if rights is None:
                return
            for message in messages:
                if allows(rights, message.topic, SUBSCRIBE):
                    await self.broker.publish(message)
                else:
                    self._counted["messages refused"] += 1
            taken.append(True)

        await self._after(client_id, take)
        return bool(taken)

    def _awaited(self, broker_id: bytes, client_id: bytes) -> tuple[Any, ...] | None:
        """Return the rights of a client whose queue this broker may bring; None when there is no such client."""
        visit: VisitCell | None = self._driver.peek(visit_of(client_id))
        if visit is not None and visit.stay is not None and visit.stay.leaving is None:
            stay = visit.stay
            return stay.rights if broker_id in (stay.origin, stay.request.home) and visit.waiting is None else None
        home: HomeCell | None = self._driver.peek(home_of(client_id))
        if home is not None and home.held is not None and isinstance(home.held.place, Here) and home.opening is None:
            return home.held.rights
        return None

    # ------------------------------------------------------------------ what operators see

    def _handlers(self) -> Mapping[str, Callable[[Mapping[str, Any]], Awaitable[object]]]:
        return {"status": self._status, "update": self._update}

    async def _status(self, _request: Mapping[str, Any]) -> object:
        brokers = [
            {"broker_id": broker_id.hex(), "agent": card.agent, "coap": card.coap, "mqtt": card.mqtt}
            for broker_id, card in self._listed.cards.items()
        ]
        counted = {**self._counted, "faults": self._driver.faults}
        return {**self.ready(), "list": self._listed.federation.version, "brokers": brokers, "counted": counted}

    async def _update(self, request: Mapping[str, Any]) -> object:
        file = ListFile.decode(str(request["file"]).encode(), "the list")
        if file != self.directory.list_file():  # the same list again is no error
            await self.adopt(file)
        return {"list": self._listed.federation.version, "brokers": len(self._listed.cards)}


def _account(asked: OpenAccount) -> Account:
    password = asked.password.expose()
    publish = tuple(right.filter for right in asked.rights if right.rights & PUBLISH)
    subscribe = tuple(right.filter for right in asked.rights if right.rights & SUBSCRIBE)
    return Account(asked.client_id.hex(), to_base64url(password), publish, subscribe, asked.session)


def _owes(cell: object, move: Moved) -> bool:
    """Return whether this cell still owes the queue to that broker."""
    match cell:
        case HomeCell(held=Held(place=Away(vis, ho_ctr, _, False))):
            return (vis, ho_ctr) == (move.to, move.ho_ctr)
        case VisitCell(stay=stay) if stay is not None:
            return (stay.leaving, stay.request.ho_ctr) == (move.to, move.ho_ctr)
    return False


async def run(process: AgentProcess, ready: Callable[[Mapping[str, object]], None]) -> None:
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
