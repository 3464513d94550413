"""What a change means for topics, inside the transaction that makes it: a new version, the manager told, takings noted.

`changed` is the only place that raises a version.
"""

from collections.abc import Iterable
from dataclasses import replace

from keymote.coordinator import topics_rules as rules
from keymote.coordinator.desk import COORDINATOR, Desk
from keymote.errors import ErrorCode, PeerFault
from keymote.host.ledger import Transaction
from keymote.host.topic_desk import TOPIC_CHANGED
from keymote.host.topic_register import Grant, Taking, Topic, Why


def found(tx: Transaction, tid: bytes) -> Topic:
    """Return a rule; PeerFault E_UNKNOWN_ID."""
    topic = tx.topics.topic(tid)
    if topic is None:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"topic {tid.hex()} is not registered here", do="keymote topic list")
    return topic


def version_of(tx: Transaction, nm_id: bytes) -> int:
    """Return the version of a manager's charter, 0 before its first rule."""
    return tx.counter(_counter(nm_id))


def changed(desk: Desk, tx: Transaction, topic: Topic, taken: Iterable[tuple[bytes, Why]] = ()) -> Topic:
    """Give a rule its next version, tell its manager, and note what was taken from whom; return the rule as it is stored."""
    topic = announced(desk, tx, topic)
    tx.topics.put(topic)
    for client, why in taken:
        compromised = why in rules.COMPROMISING
        taking = Taking(topic.tid, client, why, compromised, topic.version, topic.event, desk.now_ms())
        tx.topics.add_taking(taking)
    return topic


def announced(desk: Desk, tx: Transaction, topic: Topic) -> Topic:
    """Return a rule with the next version of its manager's charter, and the event that tells of it.

    A version is never below the time in seconds: what a coordinator says that was restored from a backup is newer than what it said
    before and has lost (CT-22).
    """
    version = tx.count(_counter(topic.nm_id), least=desk.now)
    event = desk.announce(tx, TOPIC_CHANGED, topic.nm_id, version=version, topic=topic.tid.hex())
    return replace(topic, version=version, event=event.id)


def settle_sessions(tx: Transaction, nm_id: bytes) -> None:
    """Say anew which rule is for each topic of a manager: its rules have changed."""
    topics = tx.topics.ruled_by(nm_id)
    for session in tx.topics.sessions_at(nm_id):
        tid = rules.ruling(topics, session.topic)
        if tid != session.tid:
            tx.topics.put_session(replace(session, tid=tid))


def overtake(desk: Desk, tx: Transaction, nm_id: bytes, version: int) -> None:
    """Say all rules of a manager anew that has begun an epoch under a version which we do not know: we have lost it (CT-22)."""
    tx.count(_counter(nm_id), least=version)
    for topic in tx.topics.ruled_by(nm_id):
        changed(desk, tx, topic)
    desk.note(tx, COORDINATOR, "topic.overtake", nm_id, version=version)


# ------------------------------------------------------------------ what happens elsewhere


def device_gone(desk: Desk, tx: Transaction, dev_id: bytes, why: Why) -> None:
    """A device was revoked, retired or suspended: its grants are gone, or rest while it is suspended (CT-14).

    What was taken from it without haste before, it loses now for this reason: revoked, every client goes on at once.
    """
    granted = {each.tid: each for each in tx.topics.grants_of(dev_id)}
    leaving = {each.tid for each in tx.topics.takings_of(dev_id, 0) if each.safe_ms is None and not each.compromised}
    for tid in sorted({*granted, *(leaving if why is Why.REVOKED else ())}):
        topic = found(tx, tid)
        if tid in granted and why is not Why.SUSPENDED:
            tx.topics.put_grant(Grant(tid, dev_id, 0))
        changed(desk, tx, topic, [(dev_id, why)])
        desk.note(tx, COORDINATOR, "topic.remove", tid, client=dev_id, cause=why.value)


def device_back(desk: Desk, tx: Transaction, dev_id: bytes) -> None:
    """A suspended device was taken back: what it was granted holds again."""
    for each in tx.topics.grants_of(dev_id):
        changed(desk, tx, found(tx, each.tid))


def credential_changed(desk: Desk, tx: Transaction, dev_id: bytes, *, same_keys: bool) -> None:
    """A device has another credential; with other keys, publishers sign with those, and what the old ones got ends."""
    if same_keys:
        return
    for each in tx.topics.grants_of(dev_id):
        changed(desk, tx, found(tx, each.tid), [(dev_id, Why.SUPERSEDED)])


def _counter(nm_id: bytes) -> str:
    return f"topics:{nm_id.hex()}"
