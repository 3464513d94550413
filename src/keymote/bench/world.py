"""Four real nodes in one process: two devices and two managers under the product's driver, link and store in memory.

What the benches measure is therefore the product: bytes in, bytes out, with every check, cell, row and transcript. Only
the services around it are played: the coordinators answer at once from a dictionary.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from keymote import cbor
from keymote.crypto.entropy import Entropy, SystemEntropy
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey, Suite
from keymote.engine.base import CellKey, Node, Peer, Report
from keymote.engine.chain import Pin, Trust
from keymote.engine.context import DeviceContext, Membership, RegistrarContext, RegistrarPolicy
from keymote.engine.enrolment.device_cell import Registered
from keymote.engine.faces import (
    GATE,
    OWN_ENROLMENT,
    ExpectDevice,
    HelloIs,
    KeyReady,
    OpenSession,
    Provision,
    SayHello,
    enrolment_of,
)
from keymote.engine.node import device_node, registrar_node
from keymote.engine.queries import DeviceFound, FindDevice, FindManager, ManagerFound, Receipt, RegisterCredential
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.host.async_host import SystemClock
from keymote.host.driver import Driver
from keymote.host.ports import Link
from keymote.storage.memory import MemoryStore
from keymote.transports.memory import Frame, MemoryNetwork
from keymote.wire.credential import Claims, Role, SignedCredential, issue

YEAR_S: Final = 365 * 86400
POLICY: Final = RegistrarPolicy(multicast=False)


class SwitchedLink:
    """The network in memory, until the bench goes over to another link."""

    reliable = True

    def __init__(self, link: Link) -> None:
        self._link = link

    def go(self, link: Link) -> None:
        """Send by `link` from now on."""
        self._link = link

    def send(self, peer: Peer, data: bytes, failed: Callable[[], None] | None) -> None:
        self._link.send(peer, data, failed)


@dataclass(slots=True)
class Host:
    """A node under the driver, and what its application heard."""

    name: Peer
    id: bytes
    driver: Driver
    link: "SwitchedLink"
    heard: list[Report] = field(default_factory=list)
    command: Callable[..., None] = field(init=False, repr=False)
    spent_ns: int = 0
    """Processor time of this node, when `World.watch` was asked to count it."""

    def __post_init__(self) -> None:
        self.command = self.driver.command

    def membership(self) -> Membership:
        """Return what the enrolment of this device left behind; CallerFault while it is not enrolled."""
        cell = self.driver.peek(OWN_ENROLMENT)
        if not isinstance(cell, Registered):
            raise CallerFault(f"{self.name} is not enrolled")
        return cell.membership


def identity(name: Peer) -> bytes:
    """Return the 8-byte id of the node `name`."""
    return name.encode().ljust(8, b"\0")[:8]


class World:
    """An authority, two coordinators and their managers `nm1` and `nm2`, ready for devices.

    `suite_of` gives each node by its name the suite that it computes with, so that a meter can stand before one of them.
    """

    def __init__(self, suite_of: Callable[[Peer], Suite], entropy: Entropy | None = None) -> None:
        self._suite_of = suite_of
        self._entropy = entropy or SystemEntropy()
        self.network = MemoryNetwork()
        self.hosts: dict[Peer, Host] = {}
        self.managers: dict[Peer, RegistrarContext] = {}
        self._registered: list[bytes] = []
        self._serial = 0
        root = suite_of("authority").generate_signing_key(self._entropy)
        self._pin = Pin(identity("authority"), root.suite_id, root.public, Role.AUTHORITY)
        for number in ("1", "2"):
            self._operator(f"nc{number}", f"nm{number}", root)

    # ------------------------------------------------------------------ who there is

    def _trust(self, name: Peer) -> Trust:
        suite = self._suite_of(name)
        return Trust((self._pin,), {suite.id: suite})

    def _host(self, name: Peer, node: Node) -> Host:
        """Start a node; in the place of an earlier one of the same name."""
        heard: list[Report] = []

        def listen(_cell: CellKey, report: Report) -> None:
            heard.append(report)

        def receive(peer: Peer, data: bytes) -> None:
            driver.receive(peer, data)

        link = SwitchedLink(self.network.attach(name, receive))
        self._serial += 1
        entropy = self._entropy.fork(f"{name}, boot {self._serial}")
        driver = Driver(node, MemoryStore(), link, SystemClock, entropy, self._answer, listen)
        host = self.hosts[name] = Host(name, identity(name), driver, link, heard)
        driver.start()
        return host

    def _operator(self, nc: Peer, nm: Peer, root: SigningKey) -> None:
        """Let a coordinator be certified by the authority, and its manager enrol there by the same engine as devices."""
        suite = self._suite_of(nc)
        signing = suite.generate_signing_key(self._entropy)
        now = int(time.time())
        claims = Claims(
            iss=self._pin.id,
            sub=identity(nc),
            exp=now + YEAR_S,
            iat=now,
            serial=self._entropy.draw(8),
            suite=suite.id,
            nc_id=identity(nc),
            E1=None,
            E2=None,
            sig_pk=signing.public,
            status_epoch=0,
            role=Role.COORDINATOR,
        )
        credential = issue(root, claims).raw
        coordinator = RegistrarContext(
            identity(nc),
            identity(nc),
            Role.COORDINATOR,
            signing,
            {suite.id: suite},
            (credential,),
            self._trust(nc),
            policy=POLICY,
        )
        self._host(nc, registrar_node(coordinator))
        key = self._suite_of(nm).generate_signing_key(self._entropy)
        newcomer = DeviceContext(identity(nm), self._suite_of(nm), key, self._trust(nm), Role.MANAGER)
        membership = self._enrolled(self._host(nm, device_node(newcomer)), nc).membership()
        manager = RegistrarContext(
            identity(nm),
            identity(nc),
            Role.MANAGER,
            key,
            {suite.id: self._suite_of(nm)},
            (membership.credential.raw, credential),
            self._trust(nm),
            membership,
            POLICY,
        )
        self.managers[nm] = manager
        self._host(nm, registrar_node(manager))

    def _answer(self, _cell: CellKey, query: object, answer: Callable[[object], None]) -> None:
        answer(self._looked_up(query))

    def _looked_up(self, query: object) -> object:
        """Return what the coordinators' registers say, without the time that they would take."""
        match query:
            case RegisterCredential(credential):
                self._registered.append(credential)
                return Receipt()
            case FindDevice(dev_id):
                for credential in self._registered:
                    claims = SignedCredential.decode(credential).claims
                    if claims.sub == dev_id:
                        return DeviceFound(credential, *self._managers_own(claims.iss))
            case FindManager(nm_id):
                return ManagerFound(*self._managers_own(nm_id))
        return PeerFault(ErrorCode.E_UNKNOWN_ID, "nobody knows it")

    def _managers_own(self, nm_id: bytes) -> tuple[bytes, bytes, Peer]:
        """Return the manager's credential, its coordinator's, and where it listens."""
        name, context = next((name, context) for name, context in self.managers.items() if context.id == nm_id)
        cred_NM, cred_NC = context.chain
        return cred_NM, cred_NC, name

    # ------------------------------------------------------------------ enrolment

    def newcomer(self, name: Peer, manager: Peer) -> Host:
        """Start a device that has its code, and let `manager` expect it: all that precedes HELLO."""
        suite = self._suite_of(name)
        context = DeviceContext(
            identity(name), suite, suite.generate_signing_key(self._entropy), self._trust(name), accept_compact=True
        )
        host = self._host(name, device_node(context))
        self.label(host, manager)
        return host

    def label(self, host: Host, registrar: Peer) -> None:
        """Give both ends of an enrolment the same 128-bit code."""
        prs = Secret(cbor.encode_array(self._entropy.draw(16), b""))
        self.hosts[registrar].driver.command(enrolment_of(host.id), ExpectDevice(host.id, prs))
        host.driver.command(OWN_ENROLMENT, Provision(prs))

    def hello(self, registrar: Peer) -> bytes:
        """Return the registrar's present HELLO."""
        host = self.hosts[registrar]
        host.driver.command(GATE, SayHello())
        return next(report.wire for report in reversed(host.heard) if isinstance(report, HelloIs))

    def enrol(self, host: Host, registrar: Peer, hello: bytes) -> None:
        """Let `host` hear `hello` and carry the messages of its enrolment until nobody speaks."""
        self.network.put(Frame(registrar, host.name, hello))
        self.network.run()

    def _enrolled(self, host: Host, registrar: Peer) -> Host:
        self.label(host, registrar)
        self.enrol(host, registrar, self.hello(registrar))
        return host

    def device(self, name: Peer, manager: Peer) -> Host:
        """Return a new device, enrolled."""
        host = self.newcomer(name, manager)
        self.enrol(host, manager, self.hello(manager))
        host.membership()
        return host

    # ------------------------------------------------------------------ sessions

    def psid(self) -> bytes:
        """Return a number for the next session."""
        self._serial += 1
        return self._serial.to_bytes(8, "big")

    def want(self, initiator: Host, responder: Host, *, fast: bool, compact: bool) -> bytes:
        """Let an application want a session, whose first record then waits on the network; return its psid."""
        psid = self.psid()
        initiator.command(OWN_ENROLMENT, OpenSession(psid, responder.id, responder.name, fast, compact))
        return psid

    def open(self, initiator: Host, responder: Host, *, fast: bool, compact: bool) -> bytes:
        """Run one session from the wish to both FINs; return its psid."""
        psid = self.want(initiator, responder, fast=fast, compact=compact)
        self.network.run()
        return psid

    def watch(self, host: Host) -> None:
        """Count this node's processor time from now on: what it does when it hears something or its application asks."""

        def timed(call: Callable[..., None]) -> Callable[..., None]:
            def run(*arguments: object) -> None:
                started = time.thread_time_ns()
                call(*arguments)
                host.spent_ns += time.thread_time_ns() - started

            return run

        self.network.attach(host.name, timed(host.driver.receive))
        host.command = timed(host.driver.command)

    def check_ready(self, psid: bytes, *hosts: Host) -> None:
        """Refuse to call a session measured that did not give every host the same key."""
        keys = [said.keys for host in hosts for said in host.heard if isinstance(said, KeyReady) and said.psid == psid]
        if len(keys) != len(hosts) or any(key.dtls_psk != keys[0].dtls_psk for key in keys):
            raise CallerFault("a session of the bench did not end with one key on both sides")
