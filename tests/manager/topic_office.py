"""A manager's cells that only take notes, and what its topics are made of in tests."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gatehouse import Shelf

from keymote.crypto.entropy import SeededEntropy
from keymote.engine.base import CellKey, Command, Report
from keymote.engine.enrolment.registrar_cell import RegistrarCell
from keymote.engine.faces import enrolment_of
from keymote.engine.member import Member
from keymote.engine.policy.topic_charter import TopicCharter, TopicGrant, TopicRule
from keymote.engine.policy.topic_events import Cause, EpochBegun, TopicReport
from keymote.engine.topic.faces import ForgetClient, RegisterClient, ResumeTopic, SessionHeld
from keymote.errors import Unavailable
from keymote.host.client_file import ClientFile
from keymote.host.ports import Done, Write
from keymote.host.topic_desk import Taken
from keymote.manager.topic_clients import TopicClients
from keymote.manager.topic_log import TopicLog
from keymote.manager.topics import TopicSteward
from keymote.storage.provisioning import write_new


class Nobody:
    """A coordinator that is away."""

    async def topic_charter(self) -> TopicCharter:
        raise Unavailable("the coordinator is away")

    async def report_topics(self, items: Sequence[TopicReport]) -> Taken:
        raise Unavailable("the coordinator is away")


class Rows:
    """A shelf as the database of the cells."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def of_kind(self, kind: str) -> Iterable[Write]:
        return self._shelf.of_kind(kind)

    def load(self, key: CellKey) -> bytes | None:
        return self._shelf.load(key)

    def commit(self, writes: Sequence[Write], done: Done) -> None:
        for write in writes:
            if write.record is None:
                self._shelf.rows.pop(write.key, None)
            else:
                self._shelf.rows[write.key] = write.record
        done(None)


NOBODY = Nobody()
ONE, TWO = b"\x01" * 8, b"\x02" * 8
TOPIC = "ward/7/hr"


class Cells:
    """Takes notes of commands; `members` is what enrolments say, `held` what sessions answer."""

    def __init__(self) -> None:
        self.said: list[tuple[CellKey, Command]] = []
        self.members: dict[bytes, Member] = {}
        self.chains: set[CellKey] = set()
        self.held: dict[CellKey, SessionHeld] = {}
        self.broken = False

    async def command(self, key: CellKey, command: Command) -> Sequence[Report]:
        if self.broken:
            raise Unavailable("the disk is full")
        self.said.append((key, command))
        if isinstance(command, RegisterClient):
            self.chains.add(key)
        if isinstance(command, ForgetClient):
            self.chains.discard(key)
        return [self.held[key]] if isinstance(command, ResumeTopic) and key in self.held else []

    def peek(self, key: CellKey) -> object:
        if key in self.chains:
            return key
        member = self.members.get(key.id) if key == enrolment_of(key.id) else None
        return None if member is None else RegistrarCell(key.id, member=member)

    def told(self, kind: type[Command]) -> list[Command]:
        return [command for _, command in self.said if isinstance(command, kind)]


def rule(version: int = 1, name: str = "ward/#", grants: tuple[bytes, ...] = (ONE, TWO), **more: object) -> TopicRule:
    return TopicRule(name, version, grants=tuple(TopicGrant(client, 3) for client in grants), **more)  # type: ignore[arg-type]


def charter(*rules: TopicRule) -> TopicCharter:
    return TopicCharter(max(each.version for each in rules), 0, rules)


def steward(cells: Cells, shelf: Shelf) -> TopicSteward:
    return TopicSteward(cells, shelf, TopicLog(shelf))


async def begun(world: TopicSteward, topic: str = TOPIC, epoch: int = 1) -> None:
    ruling = world.terms(topic).rule
    assert ruling is not None
    await world.hear([EpochBegun(topic, epoch, Cause.FIRST, ruling.version)], 5)


def clients(cells: Cells, shelf: Shelf, write: Callable[[Path, ClientFile], None] = write_new) -> TopicClients:
    entropy = SeededEntropy(b"clients")
    return TopicClients(cells, shelf, TopicLog(shelf), entropy, lambda: 5000, "coap://127.0.0.1:5683", write)
