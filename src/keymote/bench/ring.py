"""A ring in one process: a gateway and its members under the product's driver, link and store in memory.

What the benches measure is therefore the product: bytes in, bytes out, with every check, cell and row. Enrolment is left
out: keys and credentials are simply there. Messages go to the gateway alone, which hands each round on as one bundle.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from keymote.crypto.entropy import Entropy, SystemEntropy
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey, Suite
from keymote.engine.base import CellKey, Node, Peer, Report
from keymote.engine.chain import Pin, Trust
from keymote.engine.context import DeviceContext, Membership, RegistrarContext
from keymote.engine.group.charter import Charter
from keymote.engine.group.faces import (
    HERE,
    FormRing,
    GroupReady,
    JoinGroup,
    Level,
    Rekey,
    RingPlan,
    membership_of,
    ring_of,
)
from keymote.engine.node import device_node, registrar_node
from keymote.errors import CallerFault
from keymote.host.async_host import SystemClock
from keymote.host.driver import Driver
from keymote.host.ports import Link
from keymote.storage.memory import MemoryStore
from keymote.transports.memory import MemoryNetwork
from keymote.wire.credential import Claims, Credential, Role, issue
from keymote.wire.group import EDGE, RosterClaims
from keymote.wire.group_fields import Cause, Entry
from keymote.wire.group_signed import write

GW: Final[Peer] = "gw"
GID: Final = b"a street"
AT_ONCE: Final = Cause(4)
"""Why each run is begun: only a compromise does not wait for the pace of STARTs."""
_YEAR_S: Final = 365 * 86400


def meters(n: int) -> Sequence[Peer]:
    """Return the names of `n` members."""
    return [f"m{number}" for number in range(n)]


def identity(name: Peer) -> bytes:
    """Return the 8-byte id of somebody."""
    return sha256(b"keymote/bench/" + name.encode())[:8]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a key and a credential."""

    name: Peer
    signing: SigningKey
    credential: Credential

    @property
    def entry(self) -> Entry:
        return Entry(self.credential.kid, self.signing.public)


def person(name: Peer, suite: Suite, entropy: Entropy, now: int, root: SigningKey | None = None) -> Person:
    """Return somebody with a fresh key; whoever has no `root` above signs for itself. `now` in UTC seconds."""
    signing = suite.generate_signing_key(entropy)
    claims = Claims(
        iss=identity("root"),
        sub=identity(name),
        exp=now + _YEAR_S,
        iat=now,
        serial=identity(name),
        suite=suite.id,
        nc_id=identity("root"),
        E1=None,
        E2=None,
        sig_pk=signing.public,
        status_epoch=0,
        role=Role.GATEWAY if name == GW else Role.DEVICE,
    )
    return Person(name, signing, issue(root or signing, claims))


@dataclass(frozen=True, slots=True)
class Terms:
    """What a ring is made of: `mode` RELAY or EDGE (the gateway is then one of the `n`), `level` of the members."""

    suite: int
    n: int
    mode: int
    level: Level
    multicast: bool = False

    @property
    def names(self) -> Sequence[Peer]:
        """The members but the gateway."""
        return meters(self.n - 1 if self.mode == EDGE else self.n)


@dataclass(slots=True)
class Host:
    """A node under the driver, what its application heard, and the processor time of each message that it took in."""

    name: Peer
    driver: Driver
    heard: list[Report] = field(default_factory=list)
    spent_ns: list[int] = field(default_factory=list)

    def receive(self, peer: Peer, data: bytes) -> None:
        """Take a message in and count the processor time."""
        started = time.thread_time_ns()
        self.driver.receive(peer, data)
        self.spent_ns.append(time.thread_time_ns() - started)

    def ready(self) -> GroupReady | None:
        """Return what the last run gave this member."""
        return next((report for report in reversed(self.heard) if isinstance(report, GroupReady)), None)


class Cast:
    """The people of a ring and what the authority has signed for them: everything but the nodes.

    The same entropy at the same time `now` (UTC seconds) gives the same people.
    """

    def __init__(self, terms: Terms, suite_of: Callable[[Peer], Suite], entropy: Entropy, now: int) -> None:
        self.terms = terms
        self.suite_of = suite_of
        self.root = root = person("root", suite_of("root"), entropy, now)
        everybody = (GW, *terms.names)
        self.people = {name: person(name, suite_of(name), entropy, now, root.signing) for name in everybody}
        gw = self.people[GW]
        ra = self.root.entry
        self.charter: Final = Charter(GID, terms.suite, ra.kid, ra.sig_pk, gw.entry.kid, gw.entry.sig_pk)
        enlisted = [*terms.names, *([GW] if terms.mode == EDGE else [])]
        entries = tuple(sorted(self.people[name].entry for name in enlisted))
        self.roster: Final = write(self.root.signing, RosterClaims(GID, 1, entries, None, None), kid=ra.kid)

    def node(self, name: Peer) -> Node:
        """Return the cells of the gateway or of a member."""
        someone, suite = self.people[name], self.suite_of(name)
        pin = Pin(identity("root"), suite.id, self.root.signing.public, Role.AUTHORITY)
        trust = Trust((pin,), {suite.id: suite})
        if name != GW:
            return device_node(DeviceContext(identity(name), suite, someone.signing, trust))
        membership = Membership(Secret(bytes(32)), b"", someone.credential, ())
        suites = {suite.id: suite}
        return registrar_node(
            RegistrarContext(
                identity(GW), identity("root"), Role.MANAGER, someone.signing, suites, (), trust, membership
            )
        )

    def joining(self, name: Peer, gateway: Peer) -> JoinGroup:
        """Return what provisions a member whose gateway listens there; the gateway itself verifies nothing twice."""
        level = Level.V0 if name == GW else self.terms.level
        return JoinGroup(self.charter, self.people[name].entry.kid, gateway, level, self.terms.multicast)

    def forming(self, addresses: Mapping[Peer, Peer]) -> FormRing:
        """Return what lets the gateway lead the ring, whose members listen at `addresses`, by name."""
        peers = {self.people[name].entry.kid: address for name, address in addresses.items()}
        return FormRing(self.charter, self.roster, RingPlan(self.terms.mode, 0, self.terms.multicast), b"", peers)


class Ring:
    """A ring that has agreed once: `suite_of` gives each node by its name the suite that it computes with."""

    def __init__(self, terms: Terms, suite_of: Callable[[Peer], Suite], entropy: Entropy | None = None) -> None:
        self.terms = terms
        self.entropy = entropy or SystemEntropy()
        self.cast = Cast(terms, suite_of, self.entropy, int(time.time()))
        self.network = MemoryNetwork()
        self.hosts = {name: self._host(name) for name in (GW, *terms.names)}
        for name in terms.names:
            self.hosts[name].driver.command(membership_of(GID), self.cast.joining(name, GW))
        if terms.mode == EDGE:
            self.hosts[GW].driver.command(membership_of(GID), self.cast.joining(GW, HERE))
        addresses = {name: name for name in terms.names} | ({GW: HERE} if terms.mode == EDGE else {})
        self.hosts[GW].driver.command(ring_of(GID), self.cast.forming(addresses))
        self._finish()

    def _host(self, name: Peer) -> Host:
        def receive(peer: Peer, data: bytes) -> None:
            host.receive(peer, data)

        link: Link = self.network.attach(name, receive)
        heard: list[Report] = []

        def listen(_cell: CellKey, report: Report) -> None:
            heard.append(report)

        driver = Driver(
            self.cast.node(name),
            MemoryStore(),
            link,
            SystemClock,
            self.entropy.fork(name),
            unanswered,
            listen,
        )
        host = Host(name, driver, heard)
        driver.start()
        return host

    def run(self) -> None:
        """Let the ring agree on its next key; CallerFault unless all have one and the same."""
        for host in self.hosts.values():
            host.heard.clear()
            host.spent_ns.clear()
        self.hosts[GW].driver.command(ring_of(GID), Rekey(AT_ONCE))
        self._finish()

    def _finish(self) -> None:
        self.network.run()
        members = [self.hosts[name] for name in self.terms.names]
        ready = [host.ready() for host in members]
        if None in ready or len({said.key_id for said in ready if said is not None}) != 1:
            raise CallerFault("a run of the bench did not end with one key at all members")


def unanswered(_cell: CellKey, query: object, _answer: Callable[[object], None]) -> None:
    """Stand for the services that a node may ask: a ring needs none."""
    raise CallerFault(f"nobody in a ring asks for {type(query).__name__}")
