"""How far takings from clients of topics have come: in which topics they matter, since when they are safe, who is waited for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from keymote.coordinator import topics_rules as rules
from keymote.engine.policy.topic_filters import matches
from keymote.host.ledger import Transaction
from keymote.host.topic_register import Holder, Session, Taking, Topic, TopicEpoch


@dataclass(frozen=True, slots=True)
class Ending:
    """A topic in which a taking matters: what its client holds there, and the first epoch that it cannot know, None so far."""

    session: Session
    holder: Holder
    first: TopicEpoch | None


@dataclass(frozen=True, slots=True)
class Reach:
    """A taking with the topics that it matters in, and when it was safe (UTC milliseconds), None while it is not."""

    topic: Topic
    taking: Taking
    endings: Sequence[Ending]
    safe_ms: int | None
    waiting: Sequence[bytes]


def reach_of(tx: Transaction, topic: Topic, taking: Taking) -> Reach:
    """Return how far a taking has come."""
    endings = _endings(tx, topic, taking)
    if taking.safe_ms is not None:
        return Reach(topic, taking, endings, taking.safe_ms, ())
    granted = {card.client for card in tx.topics.cards(topic.tid) if card.is_active} - {taking.client}
    late: set[bytes] = set()
    for each in endings:
        if each.first is None or each.first.safe_ms is None:
            epoch = each.session.epoch + 1 if each.first is None else each.first.epoch
            holders = tx.topics.holders(topic.nm_id, each.session.topic)
            late |= {holder.client for holder in holders if holder.client in granted and holder.epoch < epoch}
    acted = tx.acknowledged_at(topic.nm_id, taking.event)
    return Reach(topic, taking, endings, rules.safe_at(taking, acted, [each.first for each in endings]), sorted(late))


def settle(tx: Transaction, nm_id: bytes) -> None:
    """Write down which takings at a manager are safe by now, and forget what their clients held."""
    topics = {topic.tid: topic for topic in tx.topics.ruled_by(nm_id)}
    for taking in tx.topics.open_takings(nm_id):
        reach = reach_of(tx, topics[taking.tid], taking)
        if reach.safe_ms is None:
            continue
        tx.topics.put_taking(replace(taking, safe_ms=reach.safe_ms))
        for each in reach.endings:
            if each.first is not None and each.holder.epoch < each.first.epoch:
                tx.topics.forget_holder(nm_id, each.session.topic, taking.client)


def _endings(tx: Transaction, topic: Topic, taking: Taking) -> Sequence[Ending]:
    """Return the topics of which the client had a key, or was on the way to have one when the rule was laid down.

    The first epoch that it cannot know began under the version of the taking or later; or earlier, behind what it holds, because
    somebody had to go: its manager put it out as soon as it heard of a revocation, before it knew the rule.
    """
    found: dict[str, Ending] = {}
    for holder in tx.topics.holdings(topic.nm_id, taking.client):
        session = tx.topics.session(topic.nm_id, holder.topic)
        if session is None or session.ended or not matches(topic.filter, holder.topic):
            continue
        first = tx.topics.first_since(topic.nm_id, holder.topic, taking.version)
        first = first or tx.topics.first_ending(topic.nm_id, holder.topic, holder.epoch)
        found[holder.topic] = Ending(session, holder, first)
    for first in tx.topics.ended_under(topic.tid, taking.version):
        session = tx.topics.session(topic.nm_id, first.topic)
        if session is not None and not session.ended and first.topic not in found:
            found[first.topic] = Ending(session, Holder(topic.nm_id, first.topic, taking.client), first)
    return list(found.values())
