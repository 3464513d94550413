"""A running agent: its parts put together, started and stopped, the list in force, and what operators ask."""

import asyncio
import contextlib
import logging
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from keymote.agent.app.accounts import Accounts
from keymote.agent.app.directory import DATABASE, Directory
from keymote.agent.app.doors import Doors
from keymote.agent.app.identity import address_of
from keymote.agent.app.moves import Moves
from keymote.agent.app.queues import Queues
from keymote.agent.app.turns import Turns
from keymote.crypto.entropy import SystemEntropy
from keymote.crypto.suites import SUITES, prepare
from keymote.engine.base import CellKey, Command, Report, Send
from keymote.engine.handover.faces import AgentContext, HandedOver, Resume, Revoke, home_of, visit_of
from keymote.engine.handover.node import agent_node
from keymote.errors import ErrorCode, PeerFault
from keymote.host.async_host import AsyncHost, SystemClock, call_soon
from keymote.host.driver import Driver
from keymote.selftest.startup import startup_once
from keymote.storage.broker_files import ListFile
from keymote.storage.sql import open_database
from keymote.storage.sql_store import SqlStore
from keymote.transports import tls_pinned
from keymote.transports.between import AgentCallers, AgentServer
from keymote.transports.control import ControlServer
from keymote.transports.mqtt.broker_face import BrokerFace
from keymote.wire.handover import Between
from keymote.wire.registry import peek

CACHE: Final = 16_384

logger = logging.getLogger(__name__)


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

    def __init__(
        self,
        directory: Directory,
        broker: Callable[[Directory], Awaitable[BrokerFace]] = broker_of,
        mqttsn: tuple[str, int] | None = None,
    ) -> None:
        self.directory: Final = directory
        self._mqttsn = mqttsn
        self._make_broker = broker
        self._closing = contextlib.AsyncExitStack()
        self._counted: Counter[str] = Counter()
        self._turns = Turns(self._counted)

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
        self.context = AgentContext(
            directory.desk(), directory.shared, self._listed.federation, held.mqtt, held.manager
        )
        self.broker = await self._make_broker(directory)
        stack.push_async_callback(self.broker.close)
        self._moves = Moves(directory.broker_id, self.peek, lambda: self._listed.cards)
        self.callers = AgentCallers(directory.tls)
        stack.push_async_callback(self.callers.close)
        self._doors = doors = Doors(self.callers)
        if hasattr(self.broker, "admit"):
            self.broker.admit = doors.admit
        motes = doors.with_motes(self._mqttsn, self.broker.address) if self._mqttsn is not None else None
        queues = Queues(
            self.broker, self.callers, self._turns, lambda: self.context.federation, self.peek, self._command, self._counted
        )  # fmt: skip
        self._accounts = accounts = Accounts(self.broker, motes, self._turns, queues, self._counted)
        self.endpoint = await doors.open(address_of(held.coap))
        stack.callback(self.endpoint.close)
        database = open_database(directory.folder / DATABASE, history="cells")
        store = SqlStore(database, directory.kek, entropy, call_soon=call_soon(asyncio.get_running_loop()))
        stack.callback(store.close)
        clock = SystemClock()
        self._driver = Driver(
            agent_node(self.context), store, doors, clock, entropy, accounts.asked, self._reported, cache=CACHE,
            fault=lambda where, error: logger.error("bug in the engine at %s", where, exc_info=error),
        )  # fmt: skip
        doors.lead_to(self._driver)
        self.host = AsyncHost(self._driver, clock)
        stack.push_async_callback(self._turns.close)
        stack.push_async_callback(self.host.close)
        certificates = {card.certificate: broker_id for broker_id, card in self._listed.cards.items()}
        context = tls_pinned.server_context(*directory.tls, certificates)
        self._server = AgentServer(address_of(held.agent), context, certificates, self._frame, queues.take_in)
        await self.callers.knows({card.agent: card.certificate for card in self._listed.cards.values()})
        if motes is not None:
            stack.push_async_callback(motes.gateway.close)
            await motes.gateway.start()
        self.host.start()
        for row in [*store.of_kind("home"), *store.of_kind("visit")]:
            await self.host.command(row.key, Resume())
        await self._put_out_the_gone()
        await self._server.start()
        stack.push_async_callback(self._server.stop)
        stack.push_async_callback((await ControlServer.open(directory.control, self._handlers())).close)
        logger.info("serving", extra={"address": self.endpoint.address, "broker_id": held.broker_id})

    async def stop(self) -> None:
        """Take nothing in any more, finish what is under way, close."""
        await self._closing.aclose()

    def peek(self, key: CellKey) -> Any | None:
        """Return the newest state of a cell: to look at, never to acknowledge by."""
        return self._driver.peek(key)

    @property
    def owed(self) -> int:
        """How many queues are to be brought to their next brokers again in a while."""
        return self._turns.put_off

    @property
    def busy(self) -> bool:
        """Whether something is being done for a client, or is to be done again in a while."""
        return self._turns.busy or self.callers.busy or not self._driver.idle

    def ready(self) -> Mapping[str, object]:
        """Return what a starter wants to know."""
        host, port = self.broker.address
        motes = self._doors.motes
        return {
            "ready": True,
            "role": "agent",
            "pid": os.getpid(),
            "broker_id": self.directory.identity.broker_id,
            "address": self.endpoint.address,
            "agent": self._server.url,
            "mqtt": f"mqtt://{host}:{port}",
            "mqttsn": "" if motes is None else motes.gateway.address,
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

    async def _frame(self, broker_id: bytes, data: bytes) -> Sequence[Send]:
        if peek(data)[0] != Between.mt:
            raise PeerFault(ErrorCode.E_STATE, "another agent speaks as a client")
        return await self.host.receive(self._listed.cards[broker_id].agent, data)

    def _reported(self, key: CellKey, report: Report) -> None:
        if isinstance(report, HandedOver):
            self._moves.heard(report)
        else:
            self._accounts.reported(key, report)

    async def _command(self, key: CellKey, command: Command) -> object:
        return await self.host.command(key, command)

    # ------------------------------------------------------------------ what operators see

    def _handlers(self) -> Mapping[str, Callable[[Mapping[str, Any]], Awaitable[object]]]:
        return {"status": self._status, "update": self._update, **self._moves.handlers()}

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
