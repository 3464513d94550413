"""Topics as people look at them: epochs, who holds them, who sleeps, when takings were safe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keymote.coordinator import topics_rules as rules
from keymote.coordinator.desk import Desk
from keymote.coordinator.topic_changes import found
from keymote.coordinator.topic_safety import Reach, reach_of
from keymote.errors import ErrorCode, PeerFault
from keymote.host.ledger import Transaction
from keymote.host.register import Manager, Revocation, RevocationKind
from keymote.host.topic_register import Card, FileClient, Holder, Session, Topic, TopicEpoch, Why

SHOWN = 20
"""Takings, newest first, that are shown with a rule."""
SESSIONS_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Running:
    """A topic under a rule: who holds which epoch, who has not the newest, and who of them sleeps."""

    session: Session
    holders: Sequence[Holder]
    waiting: Sequence[bytes]
    parked: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Picture:
    """A rule as it is, with the first of its topics; `n` are all. `acted`: its manager has acted on the last change."""

    topic: Topic
    manager: Manager
    acted: bool
    cards: Sequence[Card]
    running: Sequence[Running]
    takings: Sequence[Reach]
    n: int


@dataclass(frozen=True, slots=True)
class Outline:
    """A rule in a list: how many clients, topics, and topics whose newest epoch somebody has not."""

    topic: Topic
    manager: str
    clients: int
    topics: int
    waiting: int


class TopicPictures:
    """Queries over the register; nothing is written."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def one(self, tid: bytes) -> Picture:
        """Return a rule with everything about it; PeerFault E_UNKNOWN_ID."""
        return await self._desk.ledger.read(lambda tx: _picture(tx, found(tx, tid)))

    async def listing(self, after: str, limit: int, name: str | None = None) -> Sequence[Outline]:
        """Return rules in the order of their filters, or the one of this filter."""

        def work(tx: Transaction) -> Sequence[Outline]:
            if name is None:
                return [_outline(tx, topic) for topic in tx.topics.topics(after, limit)]
            topic = tx.topics.filtered(name)
            return [] if topic is None else [_outline(tx, topic)]

        return await self._desk.ledger.read(work)

    async def sessions(self, tid: bytes, after: str, limit: int) -> Sequence[Running]:
        """Return topics under a rule in their order."""

        def work(tx: Transaction) -> Sequence[Running]:
            return _running(tx, found(tx, tid), tx.topics.cards(tid), after, limit)

        return await self._desk.ledger.read(work)

    async def epochs(self, tid: bytes, after: int, limit: int) -> Sequence[TopicEpoch]:
        """Return the log of epochs of the topics under a rule, oldest first."""

        def work(tx: Transaction) -> Sequence[TopicEpoch]:
            found(tx, tid)
            return tx.topics.epochs(tid, after, limit)

        return await self._desk.ledger.read(work)

    async def clients(self, after: bytes, limit: int) -> Sequence[FileClient]:
        """Return the clients of provisioning files."""
        return await self._desk.ledger.read(lambda tx: tx.topics.clients(after, limit))

    async def reach_of(self, revocation: Revocation) -> Sequence[Reach]:
        """Return what a device's revocation comes to in each of its rules."""
        if revocation.kind is not RevocationKind.DEVICE:
            return []

        def work(tx: Transaction) -> Sequence[Reach]:
            taken = [
                each for each in tx.topics.takings_of(revocation.subject, revocation.event) if each.why is Why.REVOKED
            ]
            return [reach_of(tx, found(tx, each.tid), each) for each in taken]

        return await self._desk.ledger.read(work)


def _picture(tx: Transaction, topic: Topic) -> Picture:
    manager = tx.manager(topic.nm_id)
    if manager is None:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"manager {topic.nm_id.hex()} was never added")
    cards = tx.topics.cards(topic.tid)
    return Picture(
        topic=topic,
        manager=manager,
        acted=tx.acknowledged_at(topic.nm_id, topic.event) is not None,
        cards=cards,
        running=_running(tx, topic, cards, "", SESSIONS_SHOWN),
        takings=[reach_of(tx, topic, taking) for taking in tx.topics.takings(topic.tid, SHOWN)],
        n=tx.topics.count_sessions(topic.tid)[0],
    )


def _running(tx: Transaction, topic: Topic, cards: Sequence[Card], after: str, limit: int) -> Sequence[Running]:
    granted: Mapping[bytes, int] = {card.client: card.roles for card in cards if card.is_active}
    found_ = []
    for session in tx.topics.sessions(topic.tid, after, limit):
        holders = tx.topics.holders(session.nm_id, session.topic)
        found_.append(Running(session, holders, *rules.waiting(session, holders, granted)))
    return found_


def _outline(tx: Transaction, topic: Topic) -> Outline:
    manager = tx.manager(topic.nm_id)
    number, waiting = tx.topics.count_sessions(topic.tid)
    name = topic.nm_id.hex() if manager is None else manager.name
    return Outline(topic, name, len(tx.topics.grants(topic.tid)), number, waiting)
