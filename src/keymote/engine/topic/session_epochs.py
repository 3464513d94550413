"""New epochs of a topic: begun for a rule, a cause or an age; offered, settled when they are held, ended with the rule."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import HASH_SIZE
from keymote.crypto.secret import Secret
from keymote.engine.base import Now, Output, Tell, replace
from keymote.engine.policy.topic_charter import TopicRule
from keymote.engine.policy.topic_events import EpochBegun, Safe, SessionEnded
from keymote.engine.policy.topics import (
    PUBLISHERS_WAIT_S,
    Party,
    Turn,
    epochs_owed,
    is_safe,
    publishers_may,
    rotated,
    turn_of,
    without,
)
from keymote.engine.topic.between import Owe, Withdraw
from keymote.engine.topic.faces import client_of, topic_of
from keymote.engine.topic.session_state import Epoch, SessionCell, known_of, terms_of
from keymote.wire.topic import PUBLISH, SUBSCRIBE, Publisher

_ALL: Final = 1 << 53
"""Above every epoch."""


def laid_down(cell: SessionCell, rule: TopicRule, now: Now, entropy: Entropy) -> tuple[SessionCell, Sequence[Output]]:
    """Go on under this rule, with a new epoch where it asks for one."""
    lasting = cell.lasting
    new, before = known_of(rule, lasting.known.begun), lasting.parties
    turn = turn_of(lasting.known, new, rule, before, lasting.former)
    after = without(before, rule)
    out = tuple(client for client in before.clients() if client not in after.clients())
    former = tuple(dict.fromkeys((*lasting.former, *out)))
    changes: dict[str, Any] = {"known": new, "terms": terms_of(rule), "filter": rule.filter}
    cell = changed(cell, parties=after, former=former, **changes)
    if turn is None:
        return cell, ()
    cell, outputs = begin_epoch(cell, turn, now, entropy)
    withdrawn = [Tell(client_of(client), Withdraw(lasting.sess, cell.lasting.present.number)) for client in out]
    return cell, [*withdrawn, *outputs]


def begin_epoch(cell: SessionCell, turn: Turn, now: Now, entropy: Entropy) -> tuple[SessionCell, Sequence[Output]]:
    """Begin an epoch: for compromise everybody gets it at once and nothing else any more, else subscribers get it first."""
    lasting = cell.lasting
    number = lasting.present.number + 1
    parties, next_snd = rotated(lasting.parties, number, lasting.next_snd, compromise=turn.compromise)
    chains = tuple(Publisher(party.snd, party.sig_pk) for party in parties.publishers)
    epoch = Epoch(number, Secret(entropy.draw(HASH_SIZE)), lasting.terms, chains)
    owed = epochs_owed(parties, number)
    epochs = (*(each for each in lasting.epochs if each.number in owed), epoch)
    known = lasting.known._replace(begun=lasting.known.version)
    former = lasting.former if len(epochs) > 1 else ()
    changes: dict[str, Any] = {"known": known, "former": former, "begun_at": now.wall, "safe": False}
    if turn.compromise:  # TC-28: who was put out still holds the key that readings of before are sealed with
        changes["oldest"] = number
    cell = changed(cell, parties=parties, next_snd=next_snd, epochs=epochs, **changes)
    release = turn.compromise or publishers_may(parties, number)
    cell = replace(cell, release_at=None if release else now.mono + PUBLISHERS_WAIT_S)
    outputs: list[Output] = [EpochBegun(lasting.topic, number, turn.cause, known.version)]
    if turn.compromise:
        outputs += [Tell(client_of(client), Withdraw(lasting.sess, number)) for client in parties.clients()]
    first = parties.everybody() if release else ((SUBSCRIBE, party) for party in parties.subscribers)
    outputs += offered(cell, first, urgent=turn.compromise)
    cell, more = settled(cell)
    return cell, [*outputs, *more]


def offered(cell: SessionCell, parties: Iterable[tuple[int, Party]], *, urgent: bool = False) -> list[Output]:
    """Return what tells clients' cells that these are owed something; publishers that wait for subscribers are not told."""
    return [
        Tell(client_of(party.client), Owe(id_of(cell), party.client, role, urgent))
        for role, party in parties
        if party.owed and (role == SUBSCRIBE or cell.release_at is None)
    ]


def settled(cell: SessionCell) -> tuple[SessionCell, Sequence[Output]]:
    """Erase keys that nobody waits for, let publishers on where no subscriber must be waited for, and tell of safety, once."""
    lasting, outputs = cell.lasting, list[Output]()
    parties, present = lasting.parties, lasting.present.number
    owed = epochs_owed(parties, present)
    if any(epoch.number not in owed for epoch in lasting.epochs):
        kept = tuple(epoch for epoch in lasting.epochs if epoch.number in owed)
        cell = changed(cell, epochs=kept, former=lasting.former if len(kept) > 1 else ())
    if cell.release_at is not None and publishers_may(parties, present):
        cell = replace(cell, release_at=None)
        outputs += offered(cell, ((PUBLISH, party) for party in parties.publishers))
    if not cell.lasting.safe and is_safe(parties, present):
        cell = changed(cell, safe=True)
        outputs.append(Safe(lasting.topic, present))
    return cell, outputs


def ended(cell: SessionCell) -> tuple[None, Sequence[Output]]:
    """Erase the session and its keys; nothing of it is sent any more."""
    lasting = cell.lasting
    told = [Tell(client_of(client), Withdraw(lasting.sess, _ALL)) for client in lasting.parties.clients()]
    return None, [*told, SessionEnded(lasting.topic)]


def id_of(cell: SessionCell) -> bytes:
    """Return the id under which the session's cell stands."""
    return topic_of(cell.lasting.topic).id


def changed(cell: SessionCell, **changes: Any) -> SessionCell:
    """Return the cell with changes to what lasts."""
    return replace(cell, lasting=replace(cell.lasting, **changes))
