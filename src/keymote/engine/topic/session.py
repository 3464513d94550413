"""The session of one topic at a trusted system: the kind `topic-session` (Triad-1 4.4, 4.5).

It begins with the first client that asks for the topic's key, and has one epoch after another under one `sess`. What the
policy decides (`engine/policy/topics`) is carried out here; clients' cells bring it to its parties.
"""

from collections.abc import Sequence
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import HASH_SIZE
from keymote.crypto.secret import Secret
from keymote.engine.base import Command, Due, Durability, Item, Kind, Now, Output, Step, Tell, Told, replace
from keymote.engine.policy.topic_events import Acknowledged, Cause, EpochBegun, Parked
from keymote.engine.policy.topics import (
    PUBLISHERS_WAIT_S,
    Parties,
    Party,
    Turn,
    admission,
    late,
    once_more,
    parked,
    publishers_may,
    sig_pk_of,
    starts_over,
)
from keymote.engine.topic.between import Dropped, Fetch, Give, Held, Join, Owe, Settled, Turned, Unreachable
from keymote.engine.topic.faces import (
    SESSION,
    EndTopic,
    Holder,
    LayDown,
    ResumeTopic,
    RotateTopic,
    SessionHeld,
    client_of,
)
from keymote.engine.topic.session_epochs import begin_epoch, changed, ended, id_of, laid_down, offered, settled
from keymote.engine.topic.session_state import (
    MOST_RECORD,
    Epoch,
    Lasting,
    SessionCell,
    grant_of,
    known_of,
    load,
    record,
    terms_of,
)
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.topic import MOST_PUBLISHERS, PUBLISH, SUBSCRIBE, Publisher

_SESS: Final = 8
_CHAINS: Final = 256

SessionStep = tuple[SessionCell | None, Sequence[Output]]


def session_kind() -> Kind:
    """Return the kind `topic-session`."""
    return Kind(
        SESSION,
        Durability.DURABLE,
        _step,
        record=record,
        load=load,
        aliases=lambda cell: (cell.lasting.sess,),
        deadline=lambda cell: cell.release_at,
        wake_at=lambda cell: cell.lasting.ends_at,
        same_record=lambda old, new: old.lasting is new.lasting,
        most_record=MOST_RECORD,
    )


def _step(cell: SessionCell | None, item: Item, now: Now, entropy: Entropy) -> Step:
    match item, cell:
        case Told(Join() as wish), _:
            return _joined(cell, wish, now, entropy)
        case Told(Fetch(session, client, role)), None:
            return None, [Tell(client_of(client), Settled(session, role))]
        case ((Due() | Told() | Command()), None):
            return None, ()
        case _, None:
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, "nobody has asked for this topic")
        case Told(Fetch(_, client, role)), _:
            return _fetched(cell, client, role, now, entropy)
        case Told(Held(client, role, epoch)), _:
            return _held(cell, client, role, epoch)
        case Told(Unreachable(client, role)), _:
            return _unreachable(cell, client, role)
        case Due(), _:
            return _due(cell, now, entropy)
        case Command() as command, _:
            return _commanded(cell, command, now, entropy)
        case _:
            raise PeerFault(ErrorCode.E_STATE, "not for a topic's session")


def _commanded(cell: SessionCell, command: Command, now: Now, entropy: Entropy) -> SessionStep:
    match command:
        case LayDown(None) | EndTopic():
            return ended(cell)
        case LayDown(rule):
            assert rule is not None
            lasting = cell.lasting
            news = rule.version > lasting.known.version or rule.filter != lasting.filter
            return laid_down(cell, rule, now, entropy) if news else (cell, ())
        case RotateTopic(cause, compromise):
            at_once = compromise or cause is Cause.COMPROMISE
            return begin_epoch(cell, Turn(Cause.COMPROMISE if at_once else cause, at_once), now, entropy)
        case ResumeTopic():
            if (
                cell.lasting.begun_at > now.wall
            ):  # the clock was set back: its life begins again, and does not last for ever
                cell = changed(cell, begun_at=now.wall)
            waits = not publishers_may(cell.lasting.parties, cell.lasting.present.number)
            cell = replace(cell, release_at=now.mono + PUBLISHERS_WAIT_S if waits else None)
            return cell, [_standing(cell.lasting), *offered(cell, cell.lasting.parties.everybody())]
    raise PeerFault(ErrorCode.E_STATE, "not for a topic's session")


# ------------------------------------------------------------------ clients that ask


def _joined(cell: SessionCell | None, wish: Join, now: Now, entropy: Entropy) -> SessionStep:
    """Let a client take part, and give it the present epoch; the first one begins the session."""
    asker, outputs = client_of(wish.client), list[Output]()
    if cell is not None and wish.rule.version < cell.lasting.known.version:
        return cell, [Tell(asker, Dropped(wish.ref))]
    if cell is not None and cell.lasting.topic != wish.topic:
        return cell, [Tell(asker, Turned(wish.ref, wish.topic, ErrorCode.E_LIMIT))]
    if cell is not None and wish.rule.version > cell.lasting.known.version:
        cell, more = laid_down(cell, wish.rule, now, entropy)
        outputs += more
    refusal = admission(Parties() if cell is None else cell.lasting.parties, wish.rule, wish.client, wish.role)
    if refusal is not None:
        code = ErrorCode.E_LIMIT if refusal.full else ErrorCode.E_CRED
        return cell, [*outputs, Tell(asker, Turned(wish.ref, wish.topic, code))]
    if cell is None:
        cell, outputs = _begun(wish, now, entropy)
    if wish.role == SUBSCRIBE:
        cell, more = _reachable(cell, wish.client, now, entropy)
        outputs += more
    lasting = cell.lasting
    present = lasting.present.number
    party = lasting.parties.find(wish.client, wish.role) or Party(wish.client)
    if present not in party.owed:
        party = party._replace(owed=(*party.owed, present))
    party = party._replace(sig_pk=sig_pk_of(wish.rule, wish.client) if wish.role == PUBLISH else b"")
    cell = changed(cell, parties=lasting.parties.put(wish.role, party))
    if wish.role == SUBSCRIBE:
        grant = grant_of(cell.lasting, cell.lasting.present, None)
        cell = replace(cell, told=cell.telling(wish.client, cell.lasting.present))
    else:
        cell, snd, more = _numbered(cell, wish.client, now, entropy)
        outputs += more
        grant = grant_of(cell.lasting, cell.lasting.present, snd)
    return cell, [*outputs, Tell(asker, Give(wish.ref, id_of(cell), wish.role, grant))]


def _reachable(cell: SessionCell, client: bytes, now: Now, entropy: Entropy) -> tuple[SessionCell, Sequence[Output]]:
    """Begin an epoch for a subscriber that cannot reach the readings of the present one, and owe it that one once more (TC-26)."""
    lasting, present = cell.lasting, cell.lasting.present.number
    age, told_all = now.wall - lasting.begun_at, cell.told_all(client)
    party = lasting.parties.find(client, SUBSCRIBE)
    if party is None or not starts_over(lasting.parties, present, client, age, told_all=told_all):
        return cell, ()
    parties = lasting.parties.put(SUBSCRIBE, once_more(party, present))
    return begin_epoch(changed(cell, parties=parties), Turn(Cause.GRANT), now, entropy)


def _begun(wish: Join, now: Now, entropy: Entropy) -> tuple[SessionCell, list[Output]]:
    rule = wish.rule
    epoch = Epoch(1, Secret(entropy.draw(HASH_SIZE)), terms_of(rule), ())
    ids = (wish.topic, rule.filter, entropy.draw(_SESS), known_of(rule, rule.version), terms_of(rule))
    lasting = Lasting(*ids, 0, (epoch,), now.wall, Parties())
    return SessionCell(lasting), [EpochBegun(wish.topic, 1, Cause.FIRST, rule.version)]


def _numbered(
    cell: SessionCell, client: bytes, now: Now, entropy: Entropy
) -> tuple[SessionCell, int, Sequence[Output]]:
    """Return the number of a publisher's chain that no grant has named yet; a full epoch is followed by another one (TC-14)."""
    outputs: Sequence[Output] = ()
    party = _publisher(cell, client)
    if not party.numbered and len(cell.lasting.present.publishers) >= MOST_PUBLISHERS:
        cell, outputs = begin_epoch(cell, Turn(Cause.COUNT), now, entropy)
        party = _publisher(cell, client)
    lasting = cell.lasting
    if not party.numbered:
        snd = lasting.next_snd
        present = lasting.present._replace(publishers=(*lasting.present.publishers, Publisher(snd, party.sig_pk)))
        cell = changed(cell, next_snd=(snd + 1) % _CHAINS, epochs=(*lasting.epochs[:-1], present))
        party = party._replace(snd=snd)
    parties = cell.lasting.parties.put(PUBLISH, party._replace(given=True))
    return changed(cell, parties=parties), party.snd, outputs


def _publisher(cell: SessionCell, client: bytes) -> Party:
    party = cell.lasting.parties.find(client, PUBLISH)
    assert party is not None
    return party


# ------------------------------------------------------------------ a client's chain is free, or it has acknowledged


def _fetched(cell: SessionCell, client: bytes, role: int, now: Now, entropy: Entropy) -> SessionStep:
    party, receiver = cell.lasting.parties.find(client, role), client_of(client)
    waits = role == PUBLISH and cell.release_at is not None
    if party is None or not party.owed or waits:
        return cell, [Tell(receiver, Settled(id_of(cell), role))]
    if role == SUBSCRIBE:
        epoch = next(each for each in cell.lasting.epochs if each.number == party.owed[0])
        grant = grant_of(cell.lasting, epoch, None)
        return replace(cell, told=cell.telling(client, epoch)), [Tell(receiver, Give(0, id_of(cell), role, grant))]
    cell, snd, outputs = _numbered(cell, client, now, entropy)
    grant = grant_of(cell.lasting, cell.lasting.present, snd)
    return cell, [*outputs, Tell(receiver, Give(0, id_of(cell), role, grant))]


def _held(cell: SessionCell, client: bytes, role: int, epoch: int) -> SessionStep:
    lasting, receiver = cell.lasting, client_of(client)
    party = lasting.parties.find(client, role)
    if party is None:
        return cell, [Tell(receiver, Settled(id_of(cell), role))]
    was_owed, party = epoch in party.owed, party.has(epoch)
    cell = changed(cell, parties=lasting.parties.put(role, party))
    outputs: list[Output] = [Acknowledged(lasting.topic, epoch, client, role)] if was_owed else []
    following = Owe(id_of(cell), client, role) if party.owed else Settled(id_of(cell), role)
    cell, more = settled(cell)
    return cell, [*outputs, Tell(receiver, following), *more]


def _unreachable(cell: SessionCell, client: bytes, role: int) -> SessionStep:
    lasting = cell.lasting
    party = lasting.parties.find(client, role)
    if party is None or party.parked or not party.owed:
        return cell, ()
    cell = changed(cell, parties=parked(lasting.parties, role, client))
    cell, more = settled(cell)
    return cell, [Parked(lasting.topic, lasting.present.number, client), *more]


# ------------------------------------------------------------------ time


def _due(cell: SessionCell, now: Now, entropy: Entropy) -> SessionStep:
    if now.wall >= cell.lasting.ends_at:
        return begin_epoch(cell, Turn(Cause.EXPIRY), now, entropy)
    if cell.release_at is None or now.mono < cell.release_at:
        return cell, ()
    lasting = cell.lasting
    outputs: list[Output] = []
    for party in late(lasting.parties, lasting.present.number):
        cell = changed(cell, parties=parked(cell.lasting.parties, SUBSCRIBE, party.client))
        outputs.append(Parked(lasting.topic, lasting.present.number, party.client))
    cell, more = settled(cell)
    return cell, [*outputs, *more]


# ------------------------------------------------------------------ looking


def _standing(lasting: Lasting) -> SessionHeld:
    holders = tuple(Holder(party.client, role, party.held, party.parked) for role, party in lasting.parties.everybody())
    ids = (lasting.topic, lasting.filter, lasting.known.version, lasting.present.number, lasting.begun_at)
    return SessionHeld(*ids, lasting.safe, holders)
