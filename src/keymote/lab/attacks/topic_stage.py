"""What the attacks on topic keys have in common: a sensor and a monitor on one topic, a mote and its trusted system.

Both ends are the product's own engines, pure states; `Sensor`, `Monitor`, `Client` and `System` only keep the newest one, as
their hosts do. Whatever passes between them passes through the adversary's hands.
"""

from dataclasses import dataclass, field
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.metered import MeteredSuite
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey, VerifyKey
from keymote.crypto.suites import suite_by_id
from keymote.engine.topic import exchange
from keymote.engine.topic.ciphers import CIPHERS
from keymote.engine.topic.key_chain import KeyChain
from keymote.engine.topic.ratchet import Opened, Receiving, Sending
from keymote.errors import PeerFault
from keymote.lab.attacks.catalogue import Effort, Outcome, Succeeds, refused
from keymote.lab.published.pubsub import Mote, TrustedSystem, system
from keymote.wire.topic import PUBLISH, KeyGrant

TOPIC: Final = "ward/7/bed/3/hr"
ALARMS: Final = "ward/7/alarm"
READING: Final = b'{"hr":72,"spo2":97,"bed":3,"who":"patient 0815"}'
KNOWN: Final = READING[:8]
"""What anybody guesses: how every reading of this sensor begins."""
SND: Final = 1
ALL: Final = frozenset(CIPHERS)
"""Every cipher that Triad-1 names, those off by default too."""
CLIENT: Final = b"mote-7-3"


def ward(effort: Effort, label: str) -> tuple[TrustedSystem, Mote, Mote]:
    """Return the paper's trusted system with a sensor and a monitor that share the key of a session."""
    trusted, (sensor, monitor) = system(effort.entropy(f"paper 002 {label}"), "sensor", "monitor")
    deliver(trusted, sensor, monitor)
    return trusted, sensor, monitor


def deliver(trusted: TrustedSystem, *motes: Mote) -> dict[str, bytes]:
    """Begin a session: let each mote install what is sent to it, and return what was sent."""
    sent = trusted.session()
    for mote in motes:
        mote.install(sent[mote.name])
    return sent


# ------------------------------------------------------------------ readings


@dataclass(slots=True)
class Sensor:
    """A publisher: its chain moves with each reading."""

    state: Sending

    def publish(self, plaintext: bytes) -> bytes:
        self.state, data = self.state.protect(plaintext)
        return data


@dataclass(slots=True)
class Monitor:
    """A subscriber: keeps the state that each payload leaves, and what it refused."""

    state: Receiving
    faults: list[PeerFault] = field(default_factory=list)

    def hear(self, data: bytes) -> Opened | PeerFault:
        try:
            self.state, found = self.state.unprotect(data)
        except PeerFault as fault:
            found = fault
        if isinstance(found, PeerFault):
            self.faults.append(found)
        return found


def a_grant(entropy: Entropy, *, cs: int = 1, snd: int = SND, max_msgs: int = 1 << 16) -> KeyGrant:
    """Return what a trusted system grants for a new session."""
    return KeyGrant(entropy.draw(8), 1, snd, cs, entropy.draw(32), 0, max_msgs, 86_400)


def bedside(
    grant: KeyGrant, *, topic: str = TOPIC, signing: SigningKey | None = None, publisher: VerifyKey | None = None
) -> tuple[Sensor, Monitor]:
    """Return both ends of a session."""
    sensor = Sensor(Sending.begin(topic, grant, signing, ALL))
    return sensor, Monitor(Receiving.begin(topic, grant, grant.snd, publisher, ALL))


def seen(found: Opened | PeerFault, gained: str) -> Outcome:
    """Return how a monitor took a payload of the adversary."""
    if isinstance(found, Opened):
        return Succeeds(f"{gained}: {found.plaintext.decode(errors='replace')[:40]!r} as reading {found.n}")
    return refused(found.code, found.what)


def flipped(data: bytes, at: int, mask: int) -> bytes:
    return data[:at] + bytes((data[at] ^ mask,)) + data[at + 1 :]


# ------------------------------------------------------------------ keys


@dataclass(slots=True)
class Chain:
    """A client and its trusted system, and every key-establishment key that either has sealed with."""

    client: exchange.ClientEnd
    system: exchange.SystemEnd
    suite: MeteredSuite
    entropy: Entropy
    granted: list[KeyGrant] = field(default_factory=list)
    sealed: dict[tuple[bytes, int], KeyGrant] = field(default_factory=dict)

    def ask(self, topic: str = TOPIC) -> bytes:
        self.client, data = exchange.request(self.client, topic, PUBLISH, self.entropy)
        return data

    def serve(self, kreq: bytes) -> bytes:
        """Return the KRESP; a grant that is open at this number is granted again."""
        heard = exchange.hear(self.system, kreq)
        if isinstance(heard, exchange.Repeated):
            return heard.kack
        assert isinstance(heard, exchange.Wanted)
        self.system, data = exchange.answer(heard, self._grant(heard.end))
        return data

    def push(self) -> bytes:
        self.system, data = exchange.push(self.system, self._grant(self.system), self.entropy)
        return data

    def _grant(self, end: exchange.SystemEnd) -> KeyGrant:
        """Return the grant that is open at this number, else another one."""
        if end.open:
            return self.sealed[end.open[0].receipt[:2]]
        grant = a_grant(self.entropy)
        self.sealed[grant.sess, grant.epoch] = grant
        return grant

    def take(self, data: bytes) -> bytes:
        """Let the client take a KRESP or KPUSH; return its KACK."""
        taken = exchange.take(self.client, data)
        if isinstance(taken, exchange.Granted):
            self.client = taken.end
            self.granted.append(taken.grant)
        return taken.kack

    def settle(self, kack: bytes) -> None:
        self.system = exchange.acknowledge(self.system, kack).end

    def round(self) -> tuple[bytes, bytes]:
        """Run one exchange undisturbed; return its KREQ and KRESP."""
        kreq = self.ask()
        kresp = self.serve(kreq)
        self.settle(self.take(kresp))
        return kreq, kresp

    @property
    def together(self) -> bool:
        return self.client.chain == self.system.chain


def chain(effort: Effort, label: str) -> Chain:
    """Return a mote and its trusted system at number 0."""
    entropy = effort.entropy(label)
    suite = MeteredSuite(suite_by_id(1))
    begun = KeyChain.begin(CLIENT, Secret(entropy.draw(32)))
    return Chain(exchange.ClientEnd(suite, begun), exchange.SystemEnd(suite, begun), suite, entropy)


def refused_by(act: object, gained: str, *args: object) -> Outcome:
    """Return how an engine took something: refused by its error, or taken, which is what the adversary wants."""
    assert callable(act)
    try:
        act(*args)
    except PeerFault as fault:
        return refused(fault.code, fault.what)
    return Succeeds(gained)
