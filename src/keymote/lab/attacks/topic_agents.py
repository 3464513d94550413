"""A hospital to attack in: agents of three federated brokers, one more that nobody listed, and a mote with a ticket.

The agents are the product's cells; what they say to each other, and to the mote, is carried by hand and recorded.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.hpke import SealingKey
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey
from keymote.crypto.suites import suite_by_id
from keymote.engine.base import Answer, Ask, CellKey, Command, Due, Item, Now, Received, Refused, Report, Send, run_unit
from keymote.engine.handover import client
from keymote.engine.handover.faces import AccountOpen, AgentContext, Forward, OpenAccount
from keymote.engine.handover.federation import Broker, Federation
from keymote.engine.handover.home import Desk
from keymote.engine.handover.node import agent_node
from keymote.engine.topic.admission import admitted, connect, issue_ticket
from keymote.errors import PeerFault
from keymote.lab.attacks.catalogue import Effort
from keymote.lab.attacks.stage import secrets_in
from keymote.wire.topic import PUBLISH, Right, TicketBody

MOTE: Final = "mote"
MALLORY: Final = "mallory"
PATIENT: Final = b"mote-7-3"
ALARMS: Final = "ward/+/alarm"
RIGHTS: Final = (Right("ward/7/#", PUBLISH), Right(ALARMS, PUBLISH))
HOME, NEXT, THIRD, ROGUE = "native", "visited", "third", "rogue"
LISTED: Final = (HOME, NEXT, THIRD)
LIFE_S: Final = 3600


def id_of(name: str) -> bytes:
    return name.encode().ljust(8, b"-")


def kid_of(name: str) -> bytes:
    return name.encode().rjust(8, b"+")


def keys_of(name: str) -> tuple[SigningKey, SealingKey]:
    """Return a broker's keys, which follow from its name: this is a world of the laboratory."""
    seeds = [Secret(id_of(name) + bytes((use,)) * 24) for use in (1, 2)]
    return suite_by_id(1).signing_key(seeds[0]), SealingKey.of(seeds[1])


def listed(name: str) -> Broker:
    """Return a broker's entry in a federation's list, whether or not it stands there."""
    signing, sealing = keys_of(name)
    return Broker(id_of(name), kid_of(name), suite_by_id(1).verify_key(signing.public), sealing.public, name)


@dataclass(slots=True)
class Agent:
    """An agent in memory: what it holds, whom its broker lets in, what it reported."""

    name: str
    context: AgentContext
    entropy: Entropy
    cells: dict[CellKey, Any] = field(default_factory=dict)
    accounts: dict[bytes, OpenAccount] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)

    def get(self, key: CellKey) -> Any:
        return self.cells.get(key)

    def resolve(self, key: CellKey) -> CellKey | None:
        return key if key in self.cells else None

    def take(self, item: Item, now: Now, key: CellKey | None = None) -> Iterator[Send]:
        """Run one item, open the accounts that it asks for, and yield what leaves."""
        node = agent_node(self.context)
        try:
            at = node.key_for(item, self) if key is None and isinstance(item, Received) else key
            assert at is not None
            unit = run_unit(node, self, at, item, now, self.entropy)
        except PeerFault as fault:
            self.reports.append(Refused(getattr(item, "peer", ""), fault.code, fault.what))
            return
        for changed, cell in unit.changes.items():
            if cell is None:
                self.cells.pop(changed, None)
            else:
                self.cells[changed] = cell
        for where, effect in unit.effects:
            match effect:
                case Send():
                    yield effect
                case Ask(ref, OpenAccount() as account):
                    self.accounts[account.client_id] = account
                    yield from self.take(Answer(ref, AccountOpen()), now, where)
                case Report():
                    self.reports.append(effect)

    @property
    def refusals(self) -> list[Refused]:
        return [report for report in self.reports if isinstance(report, Refused)]

    @property
    def forwarded(self) -> list[Forward]:
        return [report for report in self.reports if isinstance(report, Forward)]

    def loot(self) -> set[bytes]:
        """Return every secret that this agent holds, its own and its clients'."""
        held = [*self.cells.values(), *self.accounts.values()]
        found = {secret for cell in held for secret in secrets_in(cell)}
        found |= {secret for account in self.accounts.values() for secret in secrets_in(tuple(account))}
        return found | {self.context.desk.sealing.seed.expose(), self.context.shared.expose()}


@dataclass(slots=True)
class Hospital:
    """`air` holds all that was said, `heard` what came to a mote (or to whoever speaks as one) by its address."""

    entropy: Entropy
    agents: dict[str, Agent]
    K_home: Secret
    now: Now = field(default_factory=lambda: Now(0.0, 1_800_000_000))
    air: list[bytes] = field(default_factory=list)
    heard: list[tuple[str, bytes]] = field(default_factory=list)

    def say(self, source: str, target: str, data: bytes) -> list[bytes]:
        """Send a datagram, carry what it causes until all is quiet, and return what came back to its source."""
        before = len(self.heard)
        waiting = deque([(source, Send(target, data))])
        while waiting:
            sender, send = waiting.popleft()
            self.air.append(send.data)
            agent = self.agents.get(send.peer)
            if agent is None:
                self.heard.append((send.peer, send.data))
                continue
            waiting.extend((agent.name, each) for each in agent.take(Received(sender, send.data), self.now))
        return [data for peer, data in self.heard[before:] if peer == source]

    def command(self, name: str, key: CellKey, command: Command) -> None:
        for send in list(self.agents[name].take(command, self.now, key)):
            self.say(name, send.peer, send.data)

    def wait(self, seconds: float) -> None:
        """Let time pass; agents serve their deadlines."""
        self.now = Now(self.now.mono + seconds, self.now.wall + int(seconds))
        for agent in self.agents.values():
            for key in list(agent.cells):
                for send in list(agent.take(Due(), self.now, key)):
                    self.say(agent.name, send.peer, send.data)

    def connect(self) -> None:
        """Let the mote come to its home broker with a ticket."""
        home = self.agents[HOME]
        body = TicketBody(PATIENT, self.K_home.expose(), RIGHTS, LIFE_S, self.entropy.draw(8))
        ticket = issue_ticket(home.context.shared, id_of(HOME), body, self.entropy)
        asked = connect(self.K_home, PATIENT, ticket, self.entropy)
        (answer,) = self.say(MOTE, HOME, asked)
        admitted(self.K_home, asked, answer)

    def ask(
        self, to: str, ho_ctr: int, K_home: Secret | None = None, who: bytes = PATIENT
    ) -> tuple[client.AwaitAck, bytes]:
        """Return an HO_REQ to a broker, of the mote unless `K_home` says otherwise."""
        key = self.K_home if K_home is None else K_home
        return client.begin(key, who, id_of(HOME), id_of(to), ho_ctr, self.entropy)

    def move(self, to: str, ho_ctr: int) -> client.Visit:
        """Let the mote walk to a broker's ward."""
        state, request = self.ask(to, ho_ctr)
        (answer,) = self.say(MOTE, to, request)
        return client.finish(state, answer)


def hospital(effort: Effort, label: str) -> Hospital:
    """Return three federated brokers and a rogue one, with a mote that is connected at home."""
    entropy = effort.entropy(label)
    federation = Federation(1, {id_of(name): listed(name) for name in LISTED}, (ALARMS,))
    agents = {}
    for name in (*LISTED, ROGUE):
        signing, sealing = keys_of(name)
        desk = Desk(id_of(name), kid_of(name), signing, sealing)
        agents[name] = Agent(name, AgentContext(desk, Secret(entropy.draw(32)), federation), entropy.fork(name))
    made = Hospital(entropy, agents, Secret(entropy.draw(32)))
    made.connect()
    return made
