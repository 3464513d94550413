"""Brokers' agents and a client without I/O: cells on a disk that survives reboots, datagrams that a test carries by hand."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.hpke import SealingKey
from keymote.crypto.secret import Secret
from keymote.crypto.suites import SUITES
from keymote.engine.base import (
    Answer,
    Ask,
    CellKey,
    Command,
    Due,
    Failed,
    Item,
    Node,
    Now,
    Received,
    Refused,
    Report,
    Send,
    run_unit,
)
from keymote.engine.handover.faces import AccountOpen, AgentContext, OpenAccount, Resume, home_of, visit_of
from keymote.engine.handover.federation import Broker, Federation
from keymote.engine.handover.home import Desk
from keymote.engine.handover.moves_cell import MovesCell, SharedWith, moves_kind, moves_of
from keymote.engine.handover.node import agent_node
from keymote.engine.topic.admission import admitted, connect, issue_ticket
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.handover import HoMoved
from keymote.wire.registry import peek_id
from keymote.wire.topic import PUBLISH, SUBSCRIBE, Right, TicketBody

CLIENT, MOTE, TRUSTED = b"patient7", "mote", "trusted system"
RIGHTS = (Right("w/#", SUBSCRIBE), Right("w/7/hr", PUBLISH), Right("w/7/alarm", PUBLISH))
LIFE_S = 3600


def _keys(name: bytes) -> tuple[Any, SealingKey]:
    return SUITES[1].signing_key(Secret(name * 4)), SealingKey.of(Secret((name[::-1]) * 4))


@dataclass
class Agent:
    """One agent in memory: `disk` holds what a reboot leaves."""

    name: str
    broker_id: bytes
    context: AgentContext
    clock: Callable[[], Now]
    entropy: SeededEntropy
    disk: dict[CellKey, bytes] = field(default_factory=dict)
    cells: dict[CellKey, Any] = field(default_factory=dict)
    accounts: dict[bytes, OpenAccount] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    outbox: deque[Send] = field(default_factory=deque)
    opens: bool = True

    def get(self, key: CellKey) -> Any:
        return self.cells.get(key)

    def resolve(self, key: CellKey) -> CellKey | None:
        return key if key in self.cells else None

    def take(self, item: Item, key: CellKey | None = None) -> list[Send]:
        """Run one item, keep records, answer what is asked; return what leaves."""
        node = agent_node(self.context)
        if key is None:
            assert isinstance(item, Received)
            try:
                key = node.key_for(item, self)
            except PeerFault as fault:
                self.reports.append(Refused(item.peer, fault.code, fault.what))
                return []
        unit = run_unit(node, self, key, item, self.clock(), self.entropy)
        for changed, cell in unit.changes.items():
            kept = None if cell is None else node.kinds[changed.kind].record(cell)
            if cell is None:
                self.cells.pop(changed, None)
            else:
                self.cells[changed] = cell
            if kept is None:
                self.disk.pop(changed, None)
            else:
                assert len(kept) <= node.kinds[changed.kind].most_record
                self.disk[changed] = kept
        leaves = list[Send]()
        for at, effect in unit.effects:
            match effect:
                case Send():
                    leaves.append(effect)
                case Ask(ref, OpenAccount() as account):
                    self.accounts[account.client_id] = account
                    leaves += self.take(Answer(ref, AccountOpen() if self.opens else OSError()), at)
                case Report():
                    self.reports.append(effect)
        return leaves

    def command(self, key: CellKey, command: Command) -> list[Send]:
        return self.take(command, key)

    def due(self) -> list[Send]:
        """Serve every deadline that has passed."""
        node, sent = agent_node(self.context), list[Send]()
        for key, cell in list(self.cells.items()):
            kind, now = node.kinds[key.kind], self.clock()
            deadline, wake_at = kind.deadline(cell), kind.wake_at(cell)
            if (deadline is not None and deadline <= now.mono) or (wake_at is not None and wake_at <= now.wall):
                sent += self.take(Due(), key)
        return sent

    def reboot(self) -> list[Send]:
        """Forget everything but the disk, and say again what others must know."""
        self.context = replace(self.context, tally=type(self.context.tally)())
        node = agent_node(self.context)
        self.cells = {key: node.kinds[key.kind].load(key.id, data) for key, data in self.disk.items()}  # type: ignore[misc]
        return [sent for key in list(self.cells) for sent in self.command(key, Resume())]

    def refusals(self) -> list[ErrorCode]:
        return [report.code for report in self.reports if isinstance(report, Refused)]

    def reported(self, kind: type[Report]) -> list[Any]:
        return [report for report in self.reports if type(report) is kind]


class TrustedSystem:
    """What it keeps of moves; `shared` with each broker."""

    def __init__(self, shared: Mapping[bytes, Secret], entropy: SeededEntropy) -> None:
        self.shared, self.entropy = shared, entropy
        self.node = Node({"moves": moves_kind()}, lambda _peer, data: [moves_of(peek_id(data, HoMoved.mt))])
        self.cells: dict[CellKey, MovesCell] = {}
        self.reports: list[Report] = []

    def get(self, key: CellKey) -> Any:
        return self.cells.get(key)

    def resolve(self, key: CellKey) -> CellKey | None:
        return key if key in self.cells else None

    def take(self, item: Item, key: CellKey | None = None) -> list[Send]:
        """Run one item, answer what is asked; return what leaves."""
        if key is None:
            assert isinstance(item, Received)
            key = self.node.key_for(item, self)
        unit = run_unit(self.node, self, key, item, Now(0.0, 0), self.entropy)
        for changed, cell in unit.changes.items():
            self.cells.pop(changed, None)
            if cell is not None:
                self.cells[changed] = cell
        leaves = list[Send]()
        for at, effect in unit.effects:
            match effect:
                case Send():
                    leaves.append(effect)
                case Ask(ref, SharedWith(broker_id)):
                    leaves += self.take(Answer(ref, self.shared.get(broker_id)), at)
                case Report():
                    self.reports.append(effect)
        return leaves

    def reboot(self) -> None:
        """Forget everything but records."""
        kind = self.node.kinds["moves"]
        records = {key: kind.record(cell) for key, cell in self.cells.items()}
        self.cells = {key: kind.load(key.id, data) for key, data in records.items() if data is not None}  # type: ignore[misc]


class Ward:
    """Three federated brokers A, B, C, a clock, and the trusted system's tickets for one client."""

    def __init__(self, *, emergency: tuple[str, ...] = ()) -> None:
        self.entropy = SeededEntropy(b"ward")
        self.mono, self.wall = 0.0, 1_800_000_000
        ids = {name: f"broker-{name}".encode() for name in "ABC"}
        keys = {name: _keys(ids[name]) for name in ids}
        verifiers = {name: SUITES[1].verify_key(keys[name][0].public) for name in ids}
        brokers = {
            ids[name]: Broker(ids[name], f"card-{name}--".encode(), verifiers[name], keys[name][1].public, name)
            for name in ids
        }
        self.federation = Federation(1, brokers, emergency)
        self.shared = {name: Secret(self.entropy.draw(32)) for name in ids}
        self.agents = {name: self._agent(name, ids[name], *keys[name]) for name in ids}
        self.trusted = TrustedSystem({ids[name]: self.shared[name] for name in ids}, self.entropy.fork("ts"))
        self.K_home = Secret(self.entropy.draw(32))
        self.lost: set[str] = set()
        """Names of agents that nothing reaches."""
        self.heard: list[bytes] = []
        """What came to the mote."""
        self.carried: list[bytes] = []
        """Everything that was sent, as an eavesdropper sees it."""

    def tell_trusted(self) -> None:
        """Let agents know where the trusted system is, as the file of their enrolment says."""
        for agent in self.agents.values():
            agent.context = replace(agent.context, trusted=TRUSTED)

    def _agent(self, name: str, broker_id: bytes, signing: Any, sealing: SealingKey) -> Agent:
        desk = Desk(broker_id, f"card-{name}--".encode(), signing, sealing)
        context = AgentContext(desk, self.shared[name], self.federation)
        return Agent(name, broker_id, context, lambda: Now(self.mono, self.wall), self.entropy.fork(name))

    def __getitem__(self, name: str) -> Agent:
        return self.agents[name]

    def pass_time(self, seconds: float) -> None:
        """Let both clocks run and serve deadlines."""
        self.mono += seconds
        self.wall += int(seconds)
        for agent in self.agents.values():
            self.carry(agent.name, agent.due())

    def carry(self, source: str, sends: list[Send]) -> None:
        """Bring datagrams to where they go, and what they cause, until all is quiet."""
        waiting = deque((source, send) for send in sends)
        while waiting:
            sender, send = waiting.popleft()
            self.carried.append(send.data)
            if send.peer == MOTE:
                self.heard.append(send.data)
            elif send.peer == TRUSTED:
                if TRUSTED not in self.lost:
                    waiting.extend((TRUSTED, answer) for answer in self.trusted.take(Received(sender, send.data)))
            elif send.peer in self.lost:
                if send.ref:
                    caused = [
                        answer
                        for key in list(self[sender].cells)
                        if any(run.ref == send.ref for run in getattr(self[sender].cells[key], "runs", ()))
                        for answer in self[sender].take(Failed(send.peer, send.ref), key)
                    ]
                    waiting.extend((sender, answer) for answer in caused)
            else:
                receiver = self[send.peer]
                waiting.extend((receiver.name, answer) for answer in receiver.take(Received(sender, send.data)))

    def tell(self, name: str, data: bytes) -> list[bytes]:
        """Let the mote send to an agent; return what comes back to it."""
        before = len(self.heard)
        self.carried.append(data)
        self.carry(name, self[name].take(Received(MOTE, data)))
        return self.heard[before:]

    def ticket(self, name: str, *, life_s: int = LIFE_S, ticket_id: bytes = b"ticket-1") -> bytes:
        body = TicketBody(CLIENT, self.K_home.expose(), RIGHTS, life_s, ticket_id)
        return issue_ticket(self.shared[name], self[name].broker_id, body, self.entropy)

    def connect(self, name: str = "A", ticket: bytes | None = None) -> None:
        """CONNAUTH of the client at its home broker."""
        asked = connect(self.K_home, CLIENT, ticket or self.ticket(name), self.entropy)
        (answer,) = self.tell(name, asked)
        admitted(self.K_home, asked, answer)

    def home(self, name: str = "A") -> Any:
        return self[name].cells.get(home_of(CLIENT))

    def visit(self, name: str) -> Any:
        return self[name].cells.get(visit_of(CLIENT))
