"""How far takings from clients of topics have come: in which topics they matter, since when they are safe, who is waited for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from keymote.coordinator import topics_rules as rules
from keymote.engine.policy.topic_filters import matches
from keymote.host.ledger import Transaction
from keymote.host.topic_register import Session, Taking, Topic, TopicEpoch


@dataclass(frozen=True, slots=True)
class Reach:
    """A taking with the topics that it matters in, and when it was safe (UTC milliseconds), None while it is not."""

    topic: Topic
    taking: Taking
    sessions: Sequence[Session]
    safe_ms: int | None
    waiting: Sequence[bytes]


def reach_of(tx: Transaction, topic: Topic, taking: Taking) -> Reach:
    """Return how far a taking has come."""
    sessions: list[Session] = []
    firsts: list[TopicEpoch | None] = []
    late: set[bytes] = set()
    granted = {card.client: card.roles for card in tx.topics.cards(topic.tid) if card.is_active}
    for holder in tx.topics.holdings(topic.nm_id, taking.client):
        session = tx.topics.session(topic.nm_id, holder.topic)
        if session is None or session.ended or not matches(topic.filter, holder.topic):
            continue
        first = tx.topics.first_since(topic.nm_id, holder.topic, taking.version)
        if not rules.concerns(holder, tx.topics.last_before(topic.nm_id, holder.topic, taking.version), first):
            continue
        sessions.append(session)
        firsts.append(first)
        if first is None or first.safe_ms is None:
            epoch = session.epoch + 1 if first is None else first.epoch
            holders = tx.topics.holders(topic.nm_id, holder.topic)
            late |= {each.client for each in holders if each.client in granted and each.epoch < epoch}
    if taking.safe_ms is not None:
        return Reach(topic, taking, sessions, taking.safe_ms, ())
    acted = tx.acknowledged_at(topic.nm_id, taking.event)
    return Reach(topic, taking, sessions, rules.safe_at(taking, acted, firsts), sorted(late - {taking.client}))


def settle(tx: Transaction, nm_id: bytes) -> None:
    """Write down which takings at a manager are safe by now."""
    topics = {topic.tid: topic for topic in tx.topics.ruled_by(nm_id)}
    for taking in tx.topics.open_takings(nm_id):
        reach = reach_of(tx, topics[taking.tid], taking)
        if reach.safe_ms is not None:
            tx.topics.put_taking(replace(taking, safe_ms=reach.safe_ms))
