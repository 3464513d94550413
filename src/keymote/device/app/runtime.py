"""The running device, as its node and its SDK see it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Self

from keymote.crypto.entropy import Entropy
from keymote.device.app.identity import suite_of
from keymote.device.app.serving import open_dtls, reader_of
from keymote.device.config import DeviceConfig, read_secret_text
from keymote.device.doors import Doors
from keymote.device.groups import GroupStanding, standing
from keymote.device.node import DeviceNode, Settled
from keymote.engine.base import CellKey, Command, Peer
from keymote.engine.context import DeviceContext
from keymote.engine.enrolment.device_cell import Registered
from keymote.engine.faces import (
    OWN_ENROLMENT,
    CloseSession,
    Enrolled,
    Provision,
    session_of,
)
from keymote.engine.group.faces import membership_of
from keymote.engine.group.invitation import Invitation
from keymote.engine.label import parse_code
from keymote.engine.link_cell import LinkCell
from keymote.engine.link_faces import OWN_LINK
from keymote.engine.node import device_node
from keymote.engine.topic.faces import OWN_CHAIN
from keymote.errors import CallerFault, Unavailable
from keymote.host.async_host import AsyncHost, SystemClock
from keymote.host.driver import Driver
from keymote.storage.file import FileStore
from keymote.transports.coap.endpoint import CoapEndpoint
from keymote.transports.coap.multicast import Group

if TYPE_CHECKING:
    from keymote.transports.coap.application import CoapApplication  # loaded when a resource is served or asked for
    from keymote.transports.dtls import DtlsServer


logger = logging.getLogger(__name__)


class DeviceRuntime:
    """The running device; implements `keymote.device.node.Runtime`."""

    def __init__(self, config: DeviceConfig, store: FileStore, endpoint: CoapEndpoint, host: AsyncHost) -> None:
        self._config = config
        self._store = store
        self._host = host
        self._doors = Doors()
        self._resources: CoapApplication | None = None
        self._dtls: DtlsServer | None = None
        self._attended: tuple[str, int] | None = None
        self._attending: set[asyncio.Task[None]] = set()
        self.endpoint: Final = endpoint

    @classmethod
    async def start(
        cls, config: DeviceConfig, context: DeviceContext, store: FileStore, entropy: Entropy, node: DeviceNode
    ) -> Self:
        """Bind the socket, load the cells and serve what fell due meanwhile."""
        door = _Door()
        group = Group(*config.group, config.interface)
        listen = not config.manager
        endpoint = await CoapEndpoint.open(config.listen, door.receive, group=group if listen else None, listen=listen)
        clock = SystemClock()
        driver = Driver(
            device_node(context),
            store,
            endpoint,
            clock,
            entropy,
            _no_service,
            node.reported,
            fault=lambda where, error: logger.error("bug in the engine at %s", where, exc_info=error),
        )
        door.driver = driver
        host = AsyncHost(driver, clock)
        self = cls(config, store, endpoint, host)
        host.start()
        if config.poll_s > 0:
            self._poll_when_linked()
        return self

    @property
    def address(self) -> Peer:
        return self.endpoint.address

    @property
    def traffic(self) -> tuple[int, int]:
        return self.endpoint.traffic.messages, self.endpoint.traffic.octets

    @property
    def dtls_address(self) -> str:
        """Where DTLS clients connect (`coaps://ADDRESS:PORT`), "" without DTLS."""
        return "" if self._dtls is None else self._dtls.address

    @property
    def driver(self) -> Driver:
        return self._host.driver

    @property
    def membership(self) -> Enrolled | None:
        match self.driver.peek(OWN_ENROLMENT):
            case Registered(membership=held):
                return Enrolled(self._config.id, held.credential.raw, held.issuers[0], b"".join(held.issuers[1:]))
            case _:
                return None

    @property
    def has_chain(self) -> bool:
        return self.driver.peek(OWN_CHAIN) is not None

    async def provide_code(self, *, again: bool) -> None:
        """Give the engine the code of the configuration unless it has what it needs."""
        known = self.driver.peek(OWN_ENROLMENT) is not None
        if known and not again:
            return
        config = self._config
        if config.code_file is None:
            raise CallerFault("the device is not enrolled and has no code", do='add code_file = "..." to its file')
        code = parse_code(read_secret_text(config.code_file))
        if code.weak and not suite_of(config.suite).pake:
            raise CallerFault(f"suite {config.suite} needs a code of 128 bits", do="use a label with a long code")
        manager_code = read_secret_text(config.manager_code_file).strip() if config.manager_code_file else ""
        await self._host.command(OWN_ENROLMENT, Provision(code.prs(manager_code.encode())))

    def command(self, key: CellKey, command: Command, settled: Settled | None = None) -> None:
        self.driver.command(key, command, settled)

    def receive(self, peer: Peer, data: bytes) -> None:
        self.driver.receive(peer, data)

    def peer_of(self, session: CellKey) -> Peer:
        """Return the address from which the session's peer spoke last, "" when there is none."""
        peer: Peer = getattr(self.driver.peek(session), "peer", "")
        return peer

    def carries(self, peer: Peer) -> bool:
        """Return whether `peer` is our own manager, which relays for somebody that we cannot address."""
        link = self.driver.peek(OWN_LINK)
        return link is not None and link.peer == peer

    def send(self, peer: Peer, data: bytes) -> None:
        self.endpoint.send(peer, data, None)

    def resources(self) -> "CoapApplication":
        """Return the resources on the device's socket; aiocoap is loaded when somebody needs them first."""
        if self._resources is None:
            from keymote.transports.coap.application import CoapApplication

            self._resources = CoapApplication.mounted(self.endpoint)
            self._resources.contexts.worn_out = self._close_session
            self._doors.attach_resources(self._resources)
        return self._resources

    async def open_doors(self, doors: Doors) -> None:
        """Serve the configured files, and DTLS where it is wanted.

        Raises:
            CallerFault: a path cannot be served, or an address is not of this machine.
            Unavailable: the port is taken, or DTLS is not installed.
        """
        self._doors = doors
        for path, file in self._config.serve.items():
            self.resources().serve(path, reader_of(file))
        if self._config.dtls is not None:
            self._dtls = await open_dtls(self._config.dtls, doors, self.resources())
            doors.attach_connections(self._dtls)

    def _close_session(self, psid: bytes) -> None:
        self.command(session_of(psid), CloseSession())

    def search(self) -> None:
        """Ask for a HELLO: the configured manager, else everybody in the group."""
        if self._config.manager:
            self.endpoint.discover(self._config.manager)
        else:
            self.endpoint.solicit()

    @property
    def invitations(self) -> Sequence[Invitation]:
        """The groups that this device was invited to, in the order of the invitations."""
        match self.driver.peek(OWN_ENROLMENT):
            case Registered(groups=groups):
                return groups
            case _:
                return ()

    def groups(self) -> Sequence[GroupStanding]:
        return [standing(each.gid, self.driver.peek(membership_of(each.gid))) for each in self.invitations]

    def attend(self) -> None:
        places = [invitation.address for invitation in self.invitations]
        wanted = next((place for place in reversed(places) if place is not None), None)
        if wanted is None or wanted == self._attended:
            return
        self._attended = wanted
        task = asyncio.get_running_loop().create_task(self._attend(Group(*wanted, self._config.interface)))
        self._attending.add(task)
        task.add_done_callback(self._attending.discard)

    async def _attend(self, group: Group) -> None:
        try:
            await self.endpoint.attend(group)
        except Unavailable as error:
            self._attended = None
            logger.error("cannot hear the groups of this device: %s", error)

    async def close(self) -> None:
        """Let commits finish, then let go of sockets and store."""
        if self._dtls is not None:
            self._dtls.close()
        if self._resources is not None:
            await self._resources.close()
        self.endpoint.close()
        try:
            await self._host.close()
        finally:
            self._store.close()

    def _poll_when_linked(self) -> None:
        """Fetch from the manager's inbox as soon as there is a link, under its present and its next pseudonym."""

        def where() -> tuple[Peer, Sequence[bytes]] | None:
            match self.driver.peek(OWN_LINK):
                case LinkCell(peer=peer, standing=standing):
                    return peer, (standing.keys.lid, standing.ahead.lid)
                case _:
                    return None

        self.endpoint.poll(self._config.poll_s, where)


class _Door:
    """Takes datagrams in as soon as there is a driver; before, their senders repeat them."""

    def __init__(self) -> None:
        self.driver: Driver | None = None

    def receive(self, peer: Peer, data: bytes, settled: Settled | None = None) -> None:
        if self.driver is not None:
            self.driver.receive(peer, data, settled)
        elif settled is not None:
            settled(Unavailable("not started yet", do="try again"))


def _no_service(_key: CellKey, _query: object, answer: Callable[[object], None]) -> None:
    answer(Unavailable("a device asks no service"))
