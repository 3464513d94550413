"""The coordinator's decisions about topics, pure: who may be granted what, what a manager lays down, when a taking is safe."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from keymote.engine.policy.topic_charter import MOST_GRANTS, TopicGone, TopicGrant, TopicPolicy, TopicRule
from keymote.engine.policy.topic_filters import most_specific
from keymote.errors import ErrorCode, PeerFault, RefusedByPolicy
from keymote.host.register import Device, DeviceState
from keymote.host.topic_register import Card, FileClient, Holder, Session, Taking, Topic, TopicEpoch, Why
from keymote.wire.credential import SignedCredential
from keymote.wire.topic import PUBLISH

COMPROMISING: Final = frozenset({Why.REVOKED, Why.SUSPENDED, Why.COMPROMISED})
"""Whoever lost something for these may have given its keys away."""


def check_client(topic: Topic, client: bytes, roles: int, device: Device | None, known: FileClient | None) -> None:
    """Return if a client may be granted these roles.

    Raises:
        PeerFault: E_UNKNOWN_ID, it is no device here and of no provisioning file.
        RefusedByPolicy: it belongs to another manager, is not active, or would publish unsigned in a signed topic.
    """
    name = client.hex()
    if device is None and (known is None or known.gone):
        raise PeerFault(
            ErrorCode.E_UNKNOWN_ID,
            f"client {name} is no device here, and no manager has reported a provisioning file for it",
            do="enrol it, or make it a provisioning file at the manager",
        )
    owner = device.nm_id if device is not None else known.nm_id if known is not None else b""
    if owner != topic.nm_id:
        raise RefusedByPolicy(
            f"client {name} belongs to manager {owner.hex()}, topic {topic.filter} is led by {topic.nm_id.hex()}",
            do="make a rule that its own manager leads, or enrol it there",
        )
    if device is not None and device.state is not DeviceState.ACTIVE:
        raise RefusedByPolicy(
            f"device {name} is {device.state}",
            do=f"keymote device resume {name}" if device.state is DeviceState.SUSPENDED else "enrol it again",
        )
    if device is None and topic.policy == TopicPolicy.SIGNED and roles & PUBLISH:
        raise RefusedByPolicy(
            f"client {name} of a provisioning file has no key to sign with, and topic {topic.filter} is signed",
            do="enrol a device there, or grant it to subscribe only",
        )


def rule_of(topic: Topic, cards: Iterable[Card], takings: Iterable[Taking]) -> TopicRule:
    """Return what the manager of a topic lays down: grants of active clients, and who went since which version.

    A device that is granted something and is enrolled elsewhere by now is no client of this manager.
    """
    grants = [
        TopicGrant(card.client, card.roles, _sig_pk(topic, card))
        for card in cards
        if card.is_active and card.nm_id == topic.nm_id
    ]
    return TopicRule(
        topic.filter,
        topic.version,
        TopicPolicy(topic.policy),
        emergency=topic.emergency,
        cs=topic.cs,
        max_msgs=topic.max_msgs,
        life_s=topic.life_s,
        grants=tuple(grants),
        rotations=topic.rotations,
        gone=gone_of(takings),
    )


def gone_of(takings: Iterable[Taking]) -> tuple[TopicGone, ...]:
    """Return the last taking from each client: the compromised ones and the newest first, if there are too many."""
    last: dict[bytes, TopicGone] = {}
    for each in takings:
        before = last.get(each.client, TopicGone(each.client, compromised=False, since=0))
        compromised = each.compromised or before.compromised
        last[each.client] = TopicGone(each.client, compromised, max(each.version, before.since))
    weightiest = sorted(last.values(), key=lambda gone: (gone.compromised, gone.since), reverse=True)
    return tuple(sorted(weightiest[:MOST_GRANTS]))


def ruling(topics: Iterable[Topic], name: str) -> bytes:
    """Return the tid of the rule that is for a topic, b"" for none."""
    by_filter = {topic.filter: topic.tid for topic in topics}
    chosen = most_specific(by_filter, name)
    return b"" if chosen is None else by_filter[chosen]


# ------------------------------------------------------------------ safety


def safe_at(taking: Taking, acted_ms: int | None, firsts: Sequence[TopicEpoch | None]) -> int | None:
    """Return when (UTC milliseconds) nobody went on with a key that the client knows; None: not yet.

    `acted_ms`: when the manager acknowledged the change; `firsts`: of each topic that the taking matters in the first safe
    epoch without the client, None where there is none yet. Where all of them were before, the client was out already: it is
    safe when the manager knows, and lets it in no more.
    """
    if acted_ms is None or any(first is None for first in firsts):
        return None
    since = [first.safe_ms for first in firsts if first is not None and first.safe_ms is not None]
    return max([each for each in since if each >= taking.at_ms], default=max(acted_ms, taking.at_ms))


def waiting(
    session: Session, holders: Iterable[Holder], granted: Mapping[bytes, int]
) -> tuple[Sequence[bytes], Sequence[bytes]]:
    """Return the clients that still may have the key of a session's newest epoch and have not, and those of them that sleep."""
    if session.safe_ms is not None:
        return (), ()
    late = [each for each in holders if each.client in granted and each.epoch < session.epoch]
    return [each.client for each in late], [each.client for each in late if each.parked > each.epoch]


def _sig_pk(topic: Topic, card: Card) -> bytes:
    if topic.policy != TopicPolicy.SIGNED or not card.roles & PUBLISH or not card.raw:
        return b""
    return SignedCredential.decode(card.raw).claims.sig_pk
