"""How far takings from clients of topics have come: in which topics they matter, since when they are safe, who is waited for."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from keymote.coordinator import topics_rules as rules
from keymote.coordinator.topic_changes import found
from keymote.engine.policy.topic_filters import matches
from keymote.host.ledger import Transaction
from keymote.host.topic_register import Session, Taking, Topic, TopicEpoch


@dataclass(frozen=True, slots=True)
class Ending:
    """A topic in which a taking matters: the newest epoch that its client holds there, and the first safe one without it."""

    session: Session
    held: int
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
    since = _safe_ms(tx, topic, taking, endings)
    if since is not None:
        return Reach(topic, taking, endings, since, ())
    granted = {card.client for card in tx.topics.cards(topic.tid) if card.is_active} - {taking.client}
    late: set[bytes] = set()
    for each in endings:
        if each.first is None:
            wanted = max(each.session.epoch, each.held + 1)
            holders = tx.topics.holders(topic.nm_id, each.session.topic)
            late |= {holder.client for holder in holders if holder.client in granted and holder.epoch < wanted}
    return Reach(topic, taking, endings, None, sorted(late))


def settle(tx: Transaction, nm_id: bytes, tids: Container[bytes] | None = None) -> None:
    """Write down which takings at a manager are safe by now, of all its rules or of these alone."""
    for taking in tx.topics.open_takings(nm_id):
        if tids is not None and taking.tid not in tids:
            continue
        topic = found(tx, taking.tid)
        since = _safe_ms(tx, topic, taking, _endings(tx, topic, taking))
        if since is not None:
            tx.topics.put_taking(replace(taking, safe_ms=since))


def _safe_ms(tx: Transaction, topic: Topic, taking: Taking, endings: Sequence[Ending]) -> int | None:
    if taking.safe_ms is not None:
        return taking.safe_ms
    acted = tx.acknowledged_at(topic.nm_id, taking.event)
    return rules.safe_at(taking, acted, [each.first for each in endings])


def _endings(tx: Transaction, topic: Topic, taking: Taking) -> Sequence[Ending]:
    """Return the topics of which the client had a key, or was on the way to have one when the rule was laid down.

    Safe is an epoch that everybody acknowledged who takes part. So a safe one that the client has not acknowledged is one
    without it, whatever it began for: a manager puts a device out as soon as it hears of a revocation, before it knows the rule.
    """
    known: dict[str, Ending] = {}
    for holder in tx.topics.holdings(topic.nm_id, taking.client):
        session = tx.topics.session(topic.nm_id, holder.topic)
        if session is None or session.ended or not matches(topic.filter, holder.topic):
            continue
        first = tx.topics.first_safe(topic.nm_id, holder.topic, holder.epoch, taking.version)
        known[holder.topic] = Ending(session, holder.epoch, first)
    for begun in tx.topics.ended_under(topic.tid, taking.version):
        session = tx.topics.session(topic.nm_id, begun.topic)
        if session is not None and not session.ended and begun.topic not in known:
            known[begun.topic] = Ending(session, 0, None if begun.safe_ms is None else begun)
    return list(known.values())
