"""The device's composition root: its cells with a sealed file store and a CoAP endpoint."""

import asyncio
import logging
import os
import signal
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from keymote.crypto.entropy import Entropy, SystemEntropy
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey, Suite, VerifyKey
from keymote.crypto.suites import SUITES, prepare, suite_by_id
from keymote.device.agent import Agent
from keymote.device.config import DeviceConfig, read_config, read_secret_text, with_key_uri
from keymote.device.doors import Doors
from keymote.device.groups import GroupStanding, standing
from keymote.device.node import DeviceNode, Settled
from keymote.device.sdk import Device
from keymote.device.topics import Topics
from keymote.engine.base import CellKey, Command, Peer, Refused, Report
from keymote.engine.chain import Pin, Trust
from keymote.engine.context import DeviceContext, Handshake
from keymote.engine.enrolment.device_cell import Registered
from keymote.engine.exports import PskForm
from keymote.engine.faces import (
    OWN_ENROLMENT,
    Announce,
    CloseSession,
    CredentialRenewed,
    Enrolled,
    EnrolmentFailed,
    KeyReady,
    Provision,
    SessionClosed,
    session_of,
)
from keymote.engine.group.faces import Resume, membership_of
from keymote.engine.group.invitation import Invitation
from keymote.engine.label import parse_code
from keymote.engine.link_cell import LinkCell
from keymote.engine.link_faces import OWN_LINK
from keymote.engine.node import device_node
from keymote.engine.topic.faces import OWN_CHAIN
from keymote.errors import CallerFault, PeerFault, Unavailable
from keymote.host.async_host import AsyncHost, SystemClock, call_soon
from keymote.host.driver import Driver
from keymote.host.ports import Store, Write
from keymote.host.resources import Answered, Asked, Handler
from keymote.selftest.startup import startup_once
from keymote.storage.file import FileStore
from keymote.storage.private_files import write_private
from keymote.storage.rotation import Place, Rewrap, refuse_unfinished
from keymote.storage.seal import file_of, file_uri, located, open_key
from keymote.storage.sealed_file import SealedFile
from keymote.transports.coap.endpoint import CoapEndpoint
from keymote.transports.coap.multicast import Group
from keymote.transports.control import ControlServer
from keymote.wire import admin, admin_files
from keymote.wire.credential import Role

if TYPE_CHECKING:
    from keymote.transports.coap.application import CoapApplication  # loaded when a resource is served or asked for
    from keymote.transports.dtls import DtlsServer

SIGNING_SEED: Final = CellKey("identity", b"")
"""Row of the device's own store that holds the seed of its signature key; no cell of the protocols has this kind."""

CELLS: Final = "cells"
MAX_RESOURCE: Final = 1 << 16
"""Bytes that a served file is read to."""
_TEXT_PLAIN: Final = 0
_P256_BYTES: Final = 33

logger = logging.getLogger(__name__)


async def launch(config: DeviceConfig, *, rejoin: bool = False) -> DeviceNode:
    """Start a device; with `rejoin` it forgets its enrolment and begins anew with the code of its configuration.

    Raises:
        Incompatible: the algorithms under the device's suite do not answer as published.
        CallerFault: a file of the configuration or the key-encryption key is missing, unfit, or readable by others.
        Unavailable: the port or the store is taken, or the key's token does not answer.
    """
    entropy = SystemEntropy()
    suite = _suite(config.suite)
    startup_once((suite.id,))
    prepare(suite.id)
    trust = Trust((root_pin(config.root),), SUITES)
    config.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_unfinished(config.state)
    kek = open_key(config.key_uri, entropy, create=not (config.state / CELLS).exists())
    store = FileStore(config.state / CELLS, kek, entropy, call_soon=call_soon(asyncio.get_running_loop()))
    node = DeviceNode(PskForm(config.psk_form))
    try:
        context = DeviceContext(
            id=config.id,
            suite=suite,
            signing=await signing_key(store, suite, entropy),
            trust=trust,
            accept_compact=config.accept_compact,
            has_clock=config.has_clock,
            post_quantum=config.post_quantum,
            handshake=Handshake(config.handshake),
        )
        runtime = await DeviceRuntime.start(config, context, store, entropy, node)
    except BaseException:
        store.close()
        raise
    try:
        node.attach_topics(lambda own: Topics(own, SystemClock().now, verify_key, context.signing))
        await runtime.open_doors(node.doors)
        await runtime.provide_code(again=rejoin)
        if not rejoin:
            runtime.command(OWN_LINK, Announce())
        for invitation in runtime.invitations:
            runtime.command(membership_of(invitation.gid), Resume())
    except BaseException:
        await runtime.close()
        raise
    node.attach(runtime)
    runtime.attend()
    return node


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
        if code.weak and not _suite(config.suite).pake:
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


def place(path: Path) -> Place:
    """Return what hangs on the key-encryption key of the device with the TOML file `path`."""
    config = read_config(path)
    cells, mode = config.state / CELLS, stat.S_IMODE(path.stat().st_mode)
    with_key_uri(path.read_text(), "file:trial")  # a file that we cannot change is found out before anything happens

    def point(uri: str, _rewrap: Rewrap) -> None:
        file = file_of(located(uri, config.state))
        home = path.absolute().parent
        if file is not None:
            uri = file_uri(file.relative_to(home) if file.is_relative_to(home) else file)
        write_private(path, with_key_uri(path.read_text(), uri).encode(), mode=mode)

    return Place(config.state, config.key_uri, [lambda: SealedFile(cells)] if cells.exists() else [], point)


def root_pin(path: Path) -> Pin:
    """Return the authority's key that the device pins; CallerFault when the file is not a root.pin."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CallerFault(f"cannot read root {path}: {error.strerror}", do="copy the authority's root.pin") from error
    root = admin_files.read_file(data, admin_files.RootPin, str(path))
    try:
        return Pin(admin.id_of(root.id), root.suite, admin.from_base64url(root.sig_pk), Role.AUTHORITY)
    except PeerFault as fault:
        raise CallerFault(f"{path} is not a root.pin: {fault.what}") from fault


async def signing_key(store: Store, suite: Suite, entropy: Entropy) -> SigningKey:
    """Return the signature key of this store's owner, made and saved the first time.

    Raises:
        CallerFault: the saved one is of another suite's kind.
        Unavailable: it cannot be saved.
    """
    saved = store.load(SIGNING_SEED)
    if saved is not None:
        suite_id, seed = saved[0], Secret(saved[1:])
        if suite_by_id(suite_id).signatures is not suite.signatures:
            raise CallerFault(
                f"the store belongs to a device of suite {suite_id}", do="use that suite, or another state directory"
            )
        return suite.signing_key(seed)
    key = suite.generate_signing_key(entropy)
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def saved_or_not(error: Exception | None) -> None:
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    store.commit([Write(SIGNING_SEED, bytes((suite.id,)) + key.seed.expose())], saved_or_not)
    await done
    return key


def verify_key(public: bytes) -> VerifyKey:
    """Return the key that checks a publisher's countersignatures: its length tells the curve."""
    return suite_by_id(17 if len(public) == _P256_BYTES else 1).verify_key(public)


def _suite(suite_id: int) -> Suite:
    try:
        return suite_by_id(suite_id)
    except PeerFault as fault:
        raise CallerFault(f"suite {suite_id} is not run here", do=f"choose one of {sorted(SUITES)}") from fault


async def open_dtls(bind: tuple[str, int], doors: Doors, resources: "CoapApplication") -> "DtlsServer":
    """Serve the same resources to clients that prove a session's pre-shared key."""
    from keymote.transports.dtls import DtlsPeer, DtlsServer

    def heard(peer: DtlsPeer, payload: bytes) -> None:
        party = doors.party_of(peer.identity)
        if party is not None:
            resources.heard_secured(payload, peer, peer.remote, party)

    def ended(peer: DtlsPeer) -> None:
        resources.lost_secured(peer, peer.remote)

    server = await DtlsServer.open(bind, doors.key_of, heard)
    server.ended = ended
    return server


def reader_of(file: Path) -> Handler:
    """Return a handler that answers GET by what `file` holds at that moment."""

    def read(asked: Asked) -> Answered:
        if asked.method != "GET":
            return Answered(code="4.05")
        try:
            with file.open("rb") as opened:
                return Answered(opened.read(MAX_RESOURCE), _TEXT_PLAIN)
        except OSError:
            return Answered(code="5.03")

    return read


def _no_service(_key: CellKey, _query: object, answer: Callable[[object], None]) -> None:
    answer(Unavailable("a device asks no service"))


async def serve(config: DeviceConfig, ready: Callable[[Mapping[str, object]], None], *, rejoin: bool = False) -> None:
    """Run a device as a process of its own until SIGTERM or SIGINT; `ready` hears where it is reached."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    device = Device(config)
    await device.start(rejoin=rejoin)
    device.node.observer = _log
    try:
        control = await ControlServer.open(config.socket, Agent(device).handlers())
        try:
            ready(
                {
                    "ready": True,
                    "role": "device",
                    "pid": os.getpid(),
                    "id": device.id,
                    "address": device.address,
                    "control": str(config.socket),
                }
            )
            await stopped.wait()
        finally:
            await control.close()
    finally:
        await device.close()


def _log(key: CellKey, report: Report) -> None:
    match report:
        case Refused(_, code, what):
            logger.debug("refused", extra={"cell": key.kind, "code": code.name, "what": what})
        case SessionClosed(psid, code, revoked, why):
            closed = {"psid": psid, "code": code.name if code is not None else "", "revoked": revoked, "why": why}
            logger.info("session closed", extra=closed)
        case KeyReady(psid, initiator, peer_id, _):
            logger.info("session open", extra={"psid": psid, "initiator": initiator, "peer": peer_id})
        case EnrolmentFailed(code, retry_after_s):
            logger.warning("not enrolled yet", extra={"code": code.name, "retry_after_s": retry_after_s})
        case Enrolled(dev_id):
            logger.info("enrolled", extra={"dev_id": dev_id})
        case CredentialRenewed(dev_id, _, expires):
            logger.info("credential renewed", extra={"dev_id": dev_id, "expires": expires})
        case _:
            pass  # records and their plaintext are the application's
