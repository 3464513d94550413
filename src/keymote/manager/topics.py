"""The topics of one manager, the trusted system of its clients: the charter is made so, and what happens is told.

It works on with the last charter for as long as the coordinator is away: keys are given out and rotated, and whoever is
revoked or suspended here is put out of every topic at once.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from keymote import cbor
from keymote.crypto.kdf import sha256
from keymote.engine.base import CellKey, Report
from keymote.engine.enrolment.registrar_cell import RegistrarCell
from keymote.engine.faces import enrolment_of
from keymote.engine.member import ACTIVE, REVOKED
from keymote.engine.policy.topic_charter import TopicCharter, TopicRule
from keymote.engine.policy.topic_events import (
    Acknowledged,
    EpochBegun,
    Parked,
    Safe,
    SessionEnded,
    TopicEvent,
)
from keymote.engine.topic.faces import (
    CLIENT,
    SESSION,
    EndTopic,
    ForgetClient,
    LayDown,
    ResumeClient,
    ResumeTopic,
    RotateTopic,
    SessionHeld,
    Terms,
    client_of,
    topic_of,
)
from keymote.errors import CallerFault
from keymote.host.ports import Write
from keymote.manager.group_invitations import Cells
from keymote.manager.group_log import Shelf
from keymote.manager.topic_log import TopicLog
from keymote.manager.topic_rules import Mark, laid, next_since, stated_version

RULE: Final = "topic-rule"
"""Kind of the rows that hold the charter's rules, named by a hash of their filter."""
CHARTER: Final = CellKey("topic-charter", b"")
GENERATION: Final = CellKey("topic-generation", b"")
"""How often this manager had been restored when its chains began."""
MARK: Final = "topic-mark"
"""Kind of the rows that hold what happened to a client here, named by its id."""
MOST_TOPICS: Final = 4096
"""Topics of one rule that have a session."""
_DIGEST: Final = 16
_MOST_ROW: Final = 1 << 16

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """What was last heard of a topic's session. `version` is the laid one; `parked` are who must come for the epoch themselves."""

    filter: str
    version: int
    epoch: int
    began_ms: int
    safe: bool
    parked: frozenset[bytes] = frozenset()


class TopicSteward:
    """Not for two tasks at once: whoever hosts it says one thing after the other. Only `terms` may be asked at any time."""

    def __init__(self, cells: Cells, shelf: Shelf, log: TopicLog) -> None:
        self._cells = cells
        self._shelf = shelf
        self._log = log
        saved = shelf.load(CHARTER)
        stated: Any = 0 if saved is None else cbor.decode(saved)
        rules = tuple(TopicRule.decode(row.record or b"") for row in shelf.of_kind(RULE))
        self.charter = TopicCharter(int(stated), 0, rules)
        self.marks: dict[bytes, Mark] = {row.key.id: Mark.decode(row.record or b"") for row in shelf.of_kind(MARK)}
        self.sessions: dict[str, Known] = {}

    # ------------------------------------------------------------------ what cells ask

    def terms(self, topic: str) -> Terms:
        """Return which rule covers a topic here and now."""
        rule = self.charter.rule_of(topic)
        if rule is None:
            return Terms(None)
        return Terms(laid(rule, self.marks), full=topic not in self.sessions and self._has_all(rule))

    def _has_all(self, rule: TopicRule) -> bool:
        """Tell whether no further topic of a rule is kept: who may publish to `ward/#` may name any (TM-17)."""
        return sum(known.filter == rule.filter for known in self.sessions.values()) >= MOST_TOPICS

    # ------------------------------------------------------------------ what the coordinator states

    async def resume(self) -> None:
        """Go on after a start of the manager: with every session, and with who was revoked while it was down."""
        for row in self._shelf.of_kind(SESSION):
            for report in await self._cells.command(row.key, ResumeTopic()):
                if isinstance(report, SessionHeld):
                    self.sessions[report.topic] = _known(report)
        for row in self._shelf.of_kind(CLIENT):
            await self._cells.command(row.key, ResumeClient())
        for client in self._named(self.charter.rules):
            await self.check(client)
        await self._lay_down()

    async def forget_former_life(self, generation: int) -> bool:
        """Erase the chains and sessions of a backup, once for each that was put back; tell whether it was done now.

        Their numbers went on without us: a request that was recorded then, answered again from an older state, would seal
        another key under the key of the first answer (TM-16).
        """
        saved = self._shelf.load(GENERATION)
        known: Any = 0 if saved is None else cbor.decode(saved)
        if generation <= known:
            return False
        for row in tuple(self._shelf.of_kind(SESSION)):
            await self._cells.command(row.key, EndTopic())
        for row in tuple(self._shelf.of_kind(CLIENT)):
            await self._cells.command(row.key, ForgetClient())
        await self._shelf.keep([Write(GENERATION, cbor.encode(generation))])
        return True

    async def adopt(self, charter: TopicCharter) -> None:
        """Make this so from now on; again is once."""
        before = {_row_of(rule): rule for rule in self.charter.rules}
        after = {_row_of(rule): rule for rule in charter.rules}
        writes = [Write(key, None) for key in before if key not in after]
        writes += [Write(key, rule.encode()) for key, rule in after.items() if before.get(key) != rule]
        named = self._named(charter.rules)
        idle = [client for client in self.marks if client not in named]
        writes += [Write(CellKey(MARK, client), None) for client in idle]
        await self._shelf.keep([*writes, Write(CHARTER, cbor.encode(charter.version))])
        self.charter = charter
        for client in idle:
            del self.marks[client]
        for client in named:
            await self.check(client)
        await self._lay_down()

    @staticmethod
    def _named(rules: Iterable[TopicRule]) -> set[bytes]:
        granted = {grant.client for rule in rules for grant in rule.grants}
        return granted | {gone.client for rule in rules for gone in rule.gone}

    async def _lay_down(self) -> None:
        """Hand every session the rule that is for its topic now, unless it has it."""
        for topic, known in tuple(self.sessions.items()):
            rule = self.terms(topic).rule
            if rule is None or (rule.filter, rule.version) != (known.filter, known.version):
                await self._cells.command(topic_of(topic), LayDown(rule))
                if rule is not None and topic in self.sessions:
                    heard = self.sessions[topic]
                    self.sessions[topic] = replace(heard, filter=rule.filter, version=rule.version)

    # ------------------------------------------------------------------ what happens here

    async def check(self, client: bytes) -> None:
        """Look at how a device stands at this manager: who is suspended or revoked has no topics (TM-05)."""
        cell = self._cells.peek(enrolment_of(client))
        if not isinstance(cell, RegistrarCell) or cell.member is None:
            return
        mark, status = self.marks.get(client), cell.member.status
        if status != ACTIVE and (mark is None or not mark.out or (status == REVOKED and not mark.compromised)):
            await self._mark(client, compromised=status == REVOKED, out=True)
        elif status == ACTIVE and mark is not None and mark.out:
            await self._mark(client, compromised=mark.compromised, out=False)
        if status == REVOKED and self._cells.peek(client_of(client)) is not None:
            await self._cells.command(client_of(client), ForgetClient())

    async def put_out(self, client: bytes) -> None:
        """Take every topic from a client at once: others may know its keys."""
        await self._mark(client, compromised=True, out=True)
        if self._cells.peek(client_of(client)) is not None:
            await self._cells.command(client_of(client), ForgetClient())
        await self._lay_down()

    async def changed(self, client: bytes) -> None:
        """A device was revoked, suspended or taken back."""
        if client in self._named(self.charter.rules):
            await self.check(client)
            await self._lay_down()

    async def enrolled(self, client: bytes) -> None:
        """A device has a new chain; what it held under a former one may be known to others (decision 0188)."""
        if client in self._named(self.charter.rules):
            await self._mark(client, compromised=True, out=False)
            await self._lay_down()

    async def _mark(self, client: bytes, *, compromised: bool, out: bool) -> None:
        newest = max([self.charter.version, *(rule.version for rule in self.charter.rules)])
        mark = Mark(next_since(newest, self.marks.values()), compromised, out)
        await self._shelf.keep([Write(CellKey(MARK, client), mark.encode())])
        self.marks[client] = mark

    async def rotate(self, topic: str, *, compromise: bool = False) -> None:
        """Begin a new epoch of a topic that somebody has a key of; CallerFault for any other."""
        if topic not in self.sessions:
            raise CallerFault(f"nobody has a key of topic {topic!r} here", do="see keymote manager topic list")
        await self._cells.command(topic_of(topic), RotateTopic(compromise=compromise))

    async def hear(self, reports: Sequence[Report], at_ms: int) -> None:
        """Take in what the sessions say, in its order, and keep it for the coordinator."""
        events: list[TopicEvent] = []
        for report in reports:
            if isinstance(report, SessionHeld):
                self.sessions[report.topic] = _known(report)
            elif isinstance(report, TopicEvent):
                self._note(report, at_ms)
                events.append(_stated(report))
        await self._log.add(events, at_ms)
        if any(isinstance(report, EpochBegun) for report in reports):
            await self._lay_down()  # it may have begun under a rule of a moment ago

    def _note(self, event: TopicEvent, at_ms: int) -> None:
        match event:
            case EpochBegun(topic, epoch, _, version):
                rule = self.charter.rule_of(topic)
                name = rule.filter if rule is not None else ""
                self.sessions[topic] = Known(name, version, epoch, at_ms, safe=False)
            case SessionEnded(topic):
                self.sessions.pop(topic, None)
            case Safe(topic, epoch) | Parked(topic, epoch, _) | Acknowledged(topic, epoch, _, _):
                known = self.sessions.get(topic)
                if known is not None and known.epoch == epoch:
                    self.sessions[topic] = _moved(known, event)


def _stated(event: TopicEvent) -> TopicEvent:
    """Return an event in the coordinator's versions."""
    return replace(event, version=stated_version(event.version)) if isinstance(event, EpochBegun) else event


def _moved(known: Known, event: TopicEvent) -> Known:
    match event:
        case Safe():
            return replace(known, safe=True)
        case Parked(client=client):
            return replace(known, parked=known.parked | {client})
        case Acknowledged(client=client):
            return replace(known, parked=known.parked - {client})
        case _:
            return known


def _known(held: SessionHeld) -> Known:
    parked = frozenset(holder.client_id for holder in held.holders if holder.parked)
    return Known(held.filter, held.version, held.epoch, held.begun_at * 1000, held.safe, parked)


def _row_of(rule: TopicRule) -> CellKey:
    return CellKey(RULE, sha256(rule.filter.encode())[:_DIGEST])
