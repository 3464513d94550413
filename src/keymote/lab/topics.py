"""A trusted system and its clients over the simulated network, without enrolment and without a broker.

What is decided elsewhere in the product, rules and tickets, is decided here by a `Rulebook`; keys that clients take are kept
by name, in the order in which they came.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.crypto.suites import suite_by_id
from keymote.engine.base import CellKey, Command, Report
from keymote.engine.policy.topic_charter import TopicGone, TopicGrant, TopicRule
from keymote.engine.policy.topic_filters import most_specific
from keymote.engine.topic.faces import (
    CLIENT,
    OWN_CHAIN,
    SESSION,
    AskForKey,
    KeyTaken,
    LayDown,
    Provision,
    RegisterClient,
    ResumeClient,
    ResumeTopic,
    RotateTopic,
    Terms,
    TicketFor,
    TicketTerms,
    WhoMay,
    client_of,
    topic_of,
)
from keymote.engine.topic.key_chain import KeyChain
from keymote.engine.topic.nodes import client_node, system_node
from keymote.lab.simulator.network import Channel
from keymote.lab.simulator.witness import Witness, WitnessedSuite
from keymote.lab.simulator.world import Simulator

SYSTEM: Final = "ts"
"""Name and address of the trusted system."""
_SUITE: Final = 1


@dataclass
class Rulebook:
    """The rules by filter, as a coordinator would lay them down; each change is a version of its own."""

    rules: dict[str, TopicRule] = field(default_factory=dict)
    version: int = 0

    def grant(self, filter_: str, client: bytes, roles: int, sig_pk: bytes = b"", **changes: Any) -> TopicRule:
        """Let a client take part (roles: bit 0 publish, bit 1 subscribe; 0: no more) and return the new version."""
        old = self.rules.get(filter_) or TopicRule(filter_, 1)
        grants = {each.client: each for each in old.grants if each.client != client}
        if roles:
            grants[client] = TopicGrant(client, roles, sig_pk)
        return self._put(replace(old, grants=tuple(grants[each] for each in sorted(grants)), **changes))

    def put_out(self, filter_: str, client: bytes, *, compromised: bool) -> TopicRule:
        """Take from a client what it was granted, and return the new version."""
        old = self.rules[filter_]
        gone = {each.client: each for each in old.gone}
        gone[client] = TopicGone(client, compromised, self.version + 1)
        grants = tuple(each for each in old.grants if each.client != client)
        return self._put(
            replace(old, version=self.version + 1, grants=grants, gone=tuple(gone[c] for c in sorted(gone)))
        )

    def rotate(self, filter_: str) -> TopicRule:
        """Ask for a new epoch of every topic of a filter, as an operator does."""
        old = self.rules[filter_]
        return self._put(replace(old, rotations=old.rotations + 1))

    def _put(self, rule: TopicRule) -> TopicRule:
        self.version += 1
        made = self.rules[rule.filter] = replace(rule, version=self.version)
        return made

    def rule_of(self, topic: str) -> TopicRule | None:
        name = most_specific(self.rules, topic)
        return None if name is None else self.rules[name]


class TopicWorld:
    """A simulator with one trusted system; clients are added by name and known to it from the start.

    `sim.witness` sees what the nodes seal, unless `suite` makes another one of the plain suite.
    """

    def __init__(
        self,
        seed: bytes,
        *,
        channel: Channel | None = None,
        suite: Callable[[Suite, Witness], Suite] = WitnessedSuite,
        recording: bool = True,
    ) -> None:
        self.book = Rulebook()
        self.tickets: dict[bytes, TicketTerms] = {}
        self.full: set[str] = set()
        """Topics that find no room any more."""
        """Client id -> what its ticket says; nobody else gets one."""
        self.taken: dict[str, list[KeyTaken]] = defaultdict(list)
        """Name of a client -> the keys that it was given, in order; a restart empties its own memory, not this."""
        self.ids: dict[str, bytes] = {}
        self.topics: set[str] = set()
        self.sim = Simulator(seed, channel=channel, answer=self._answer, recording=recording)
        self.sim.hear = self._hear
        self._suites = lambda number: suite(suite_by_id(number), self.sim.witness)
        self.sim.add(SYSTEM, lambda: system_node(self._suites)).at_boot = _Resumed(self.sim)

    def add(self, name: str, client_id: bytes, *, at_boot: Iterable[AskForKey] = ()) -> None:
        """Add a client with a PSS of its own, registered at the trusted system. `at_boot`: what it asks for at each start."""
        chain = KeyChain.begin(client_id, Secret(client_id * 4))
        self.ids[name] = client_id
        self.sim.command(SYSTEM, client_of(client_id), RegisterClient(client_id, chain.ck, _SUITE))
        self.sim.add(name, lambda: client_node(self._suites))
        self.sim.command(name, OWN_CHAIN, Provision(client_id, chain.ck, _SUITE, SYSTEM))
        self.sim.hosts[name].at_boot = tuple((OWN_CHAIN, wish) for wish in at_boot)
        for wish in at_boot:
            self.sim.command(name, OWN_CHAIN, wish)

    # ------------------------------------------------------------------ acting

    def ask(self, name: str, topic: str, role: int) -> None:
        """Let a client ask for a key."""
        self.sim.command(name, OWN_CHAIN, AskForKey(topic, role))

    def lay_down(self, rule: TopicRule | None = None) -> None:
        """Bring every session under the rule that covers it now; with `rule`, only those that it covers."""
        for topic in sorted(self.topics):
            covering = self.book.rule_of(topic)
            if rule is None or covering is rule:
                self.sim.command(SYSTEM, topic_of(topic), LayDown(covering))

    def grant(self, filter_: str, name: str, roles: int, **changes: Any) -> None:
        self.lay_down(self.book.grant(filter_, self.ids[name], roles, **changes))

    def put_out(self, filter_: str, name: str, *, compromised: bool) -> None:
        self.lay_down(self.book.put_out(filter_, self.ids[name], compromised=compromised))

    def rotate(self, topic: str, *, compromise: bool = False) -> None:
        self.sim.command(SYSTEM, topic_of(topic), RotateTopic(compromise=compromise))

    def cut(self, name: str) -> None:
        """Let nothing pass between a client and the trusted system, as while it sleeps."""
        self.sim.channels[SYSTEM, name] = self.sim.channels[name, SYSTEM] = Channel(loss=1.0)

    def mend(self, name: str) -> None:
        """Let everything pass again."""
        for way in ((SYSTEM, name), (name, SYSTEM)):
            self.sim.channels.pop(way, None)

    def reboot_system(self, down_s: float = 0.0) -> None:
        """Cut the trusted system's power; when it is back, its host says Resume to all that it knows, as a manager does."""
        self.sim.reboot(SYSTEM, down_s)

    # ------------------------------------------------------------------ looking

    def session(self, topic: str) -> Any:
        """Return the durable part of a topic's session at the trusted system, None if there is none."""
        cell = self.sim.hosts[SYSTEM].cells.get(topic_of(topic))
        return None if cell is None else cell.lasting

    def epochs(self, name: str, topic: str, role: int) -> list[int]:
        """Return the epochs that a client was given, in order."""
        return [each.grant.epoch for each in self.taken[name] if (each.topic, each.role) == (topic, role)]

    # ------------------------------------------------------------------ the host's part

    def _answer(self, _name: str, query: object) -> object | None:
        match query:
            case WhoMay(_, topic, _):
                self.topics.add(topic)
                return Terms(self.book.rule_of(topic), full=topic in self.full)
            case TicketFor(client):
                return self.tickets.get(client, Terms(None))
        return None

    def _hear(self, name: str, report: Report) -> None:
        if isinstance(report, KeyTaken):
            self.taken[name].append(report)


@dataclass(frozen=True)
class _Resumed:
    """What the host of the trusted system says after each start, whatever cut the power: Resume to all that is on disk then."""

    sim: Simulator

    def __iter__(self) -> Iterator[tuple[CellKey, Command]]:
        cells = sorted(self.sim.hosts[SYSTEM].disk)
        yield from ((key, ResumeTopic()) for key in cells if key.kind == SESSION)
        yield from ((key, ResumeClient()) for key in cells if key.kind == CLIENT)
