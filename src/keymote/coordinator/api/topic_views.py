"""The one projection from what the coordinator knows of topics to what its REST interface shows."""

from keymote.coordinator.topic_pictures import Outline, Picture, Running
from keymote.coordinator.topic_safety import Reach
from keymote.host.topic_register import Card, FileClient, Holder, TopicEpoch
from keymote.wire.admin import TopicGap
from keymote.wire.admin_topics import (
    ClientEntry,
    FileClientView,
    HolderEntry,
    SessionView,
    TopicEpochView,
    TopicLine,
    TopicView,
)


def reach_view(reach: Reach) -> TopicGap:
    """Return what was taken from a client, and how far that has come."""
    taking = reach.taking
    return TopicGap(
        reach.topic.tid.hex(),
        reach.topic.filter,
        taking.client.hex(),
        taking.why.value,
        taking.at_ms,
        None if reach.safe_ms is None else reach.safe_ms - taking.at_ms,
        [each.session.topic for each in reach.endings],
        [client.hex() for client in reach.waiting],
    )


def topic_view(picture: Picture) -> TopicView:
    topic = picture.topic
    return TopicView(
        tid=topic.tid.hex(),
        filter=topic.filter,
        manager=picture.manager.name,
        nm_id=topic.nm_id.hex(),
        manager_state=picture.manager.state.value,
        version=topic.version,
        policy=topic.policy,
        emergency=topic.emergency,
        cs=topic.cs,
        max_msgs=topic.max_msgs,
        life_s=topic.life_s,
        rotations=topic.rotations,
        acted=picture.acted,
        clients=[_client(card, topic.nm_id) for card in picture.cards],
        sessions=[session_view(each) for each in picture.running],
        removals=[reach_view(each) for each in picture.takings],
        topics=picture.n,
    )


def topic_line(outline: Outline) -> TopicLine:
    topic = outline.topic
    return TopicLine(
        topic.tid.hex(),
        topic.filter,
        outline.manager,
        topic.policy,
        topic.emergency,
        outline.clients,
        outline.topics,
        outline.waiting,
    )


def session_view(running: Running) -> SessionView:
    session = running.session
    return SessionView(
        session.topic,
        session.epoch,
        session.cause,
        session.begun_ms,
        None if session.safe_ms is None else max(0, session.safe_ms - session.begun_ms),
        [_holder(each) for each in running.holders],
        [client.hex() for client in running.waiting],
        [client.hex() for client in running.parked],
    )


def epoch_view(line: TopicEpoch) -> TopicEpochView:
    return TopicEpochView(line.topic, line.epoch, line.cause, line.version, line.begun_ms, line.safe_ms)


def file_client_view(client: FileClient) -> FileClientView:
    return FileClientView(client.client.hex(), client.name, client.nm_id.hex(), client.made_ms)


def _client(card: Card, nm_id: bytes) -> ClientEntry:
    state = card.state if card.nm_id == nm_id or not card.is_active else "elsewhere"
    return ClientEntry(card.client.hex(), card.kind, card.name, state, card.roles)


def _holder(holder: Holder) -> HolderEntry:
    return HolderEntry(holder.client.hex(), holder.published, holder.subscribed, holder.parked > holder.epoch)
