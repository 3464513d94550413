"""The composition root of a client of a provisioning file: its one cell with a sealed file store and a CoAP endpoint."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from keymote.crypto.entropy import Entropy, SystemEntropy
from keymote.crypto.suites import prepare, suite_by_id
from keymote.device.app.directory import CELLS
from keymote.device.app.identity import verify_key
from keymote.device.faults import NotReady
from keymote.device.topic_client import ClientConfig
from keymote.device.topics import Topics
from keymote.engine.base import CellKey, Command, Peer, Report
from keymote.engine.topic.client_state import ChainCell
from keymote.engine.topic.faces import OWN_CHAIN, Provision, Relocate
from keymote.engine.topic.key_chain import KeyChain
from keymote.engine.topic.nodes import client_node
from keymote.errors import CallerFault, PeerFault, Unavailable
from keymote.host.async_host import AsyncHost, SystemClock, call_soon
from keymote.host.batches import Settled
from keymote.host.client_file import AGAIN, ClientFile
from keymote.host.driver import Driver
from keymote.selftest.startup import startup_once
from keymote.storage.file import FileStore
from keymote.storage.provisioning import read_client, spend
from keymote.storage.rotation import refuse_unfinished
from keymote.storage.seal import open_key
from keymote.transports.coap.endpoint import CoapEndpoint, address_of

logger = logging.getLogger(__name__)


class ClientNode:
    """A running client; implements `keymote.device.topics.TopicNode`."""

    def __init__(self, client_id: bytes) -> None:
        self.client_id: Final = client_id
        self.topics: Final = Topics(self, SystemClock().now, verify_key)
        self._running: tuple[AsyncHost, FileStore, CoapEndpoint] | None = None

    def attach(self, host: AsyncHost, store: FileStore, endpoint: CoapEndpoint) -> None:
        """Work with these from now on."""
        self._running = host, store, endpoint

    def reported(self, _key: CellKey, report: Report) -> None:
        self.topics.heard(report)

    def why_no_chain(self) -> Exception | None:
        if self._running is None:
            return NotReady("the client is not open", do="use it inside `async with`")
        return None

    async def order_chain(self, command: Command) -> Sequence[Report]:
        if self._running is None:
            raise NotReady("the client is not open", do="use it inside `async with`")
        return await self._running[0].command(OWN_CHAIN, command)

    async def close(self) -> None:
        """Let commits finish, then let go of socket and store."""
        self.topics.close()
        if self._running is not None:
            (host, store, endpoint), self._running = self._running, None
            endpoint.close()
            try:
                await host.close()
            finally:
                store.close()


async def launch(config: ClientConfig) -> ClientNode:
    """Start the client of a provisioning file; at its first start the file's secret becomes its chain and leaves the file.

    Raises:
        CallerFault: the file is missing, unfit, readable by others, or its secret was taken out of it elsewhere.
        Unavailable: the port or the store is taken, or the secret cannot be taken out of the file.
    """
    file = read_client(config.file)
    suite_id = _suite(file, config.file)
    startup_once((suite_id,))
    prepare(suite_id)
    address_of(file.manager)
    entropy, folder = SystemEntropy(), config.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_unfinished(folder)
    kek = open_key(
        config.key_uri or f"file:{quote(str(folder / 'kek'))}", entropy, create=not (folder / CELLS).exists()
    )
    store = FileStore(folder / CELLS, kek, entropy, call_soon=call_soon(asyncio.get_running_loop()))
    node = ClientNode(file.client_id)
    try:
        endpoint, host = await _started(config, store, entropy, node)
    except BaseException:
        store.close()
        raise
    node.attach(host, store, endpoint)
    try:
        await _know_the_manager(config, file, host)
    except BaseException:
        await node.close()
        raise
    if config.poll_s > 0:
        endpoint.poll(config.poll_s, lambda: (file.manager, (file.client_id,)))
    return node


async def _started(
    config: ClientConfig, store: FileStore, entropy: Entropy, node: ClientNode
) -> tuple[CoapEndpoint, AsyncHost]:
    held: list[Driver] = []

    def receive(peer: Peer, data: bytes, settled: Settled | None = None) -> None:
        if held:
            held[0].receive(peer, data, settled)
        elif settled is not None:
            settled(Unavailable("not started yet", do="try again"))

    def unasked(_key: CellKey, _query: object, answer: Callable[[object], None]) -> None:
        answer(Unavailable("a client asks no service"))

    endpoint, clock = await CoapEndpoint.open(config.listen, receive), SystemClock()
    driver = Driver(
        client_node(suite_by_id),
        store,
        endpoint,
        clock,
        entropy,
        unasked,
        node.reported,
        fault=lambda where, error: logger.error("bug in the engine at %s", where, exc_info=error),
    )
    held.append(driver)
    host = AsyncHost(driver, clock)
    host.start()
    return endpoint, host


async def _know_the_manager(config: ClientConfig, file: ClientFile, host: AsyncHost) -> None:
    """Make the file's secret a chain on our disk, then take it out of the file; or go on with the chain that is there."""
    cell = host.driver.peek(OWN_CHAIN)
    ours = isinstance(cell, ChainCell) and cell.end.chain.client_id == file.client_id
    if file.pss is None and not ours:
        raise CallerFault(
            f"{config.file} was used already, and {config.folder} does not hold what became of it",
            do=f"ask for {AGAIN}",
        )
    if ours:
        await host.command(OWN_CHAIN, Relocate(file.manager))
    elif file.pss is not None:
        chain = KeyChain.begin(file.client_id, file.pss)
        await host.command(OWN_CHAIN, Provision(file.client_id, chain.ck, file.suite, file.manager))
    if file.pss is not None:
        spend(config.file, file)


def _suite(file: ClientFile, path: Path) -> int:
    try:
        return suite_by_id(file.suite).id
    except PeerFault as fault:
        raise CallerFault(f"{path} is for suite {file.suite}, which is not run here", do="update Keymote") from fault
