"""When a topic gets a new epoch, in which order it is given, and what stays owed: the pure decisions."""

import pytest

from keymote.engine.policy.topic_charter import TopicGone, TopicGrant, TopicPolicy, TopicRule
from keymote.engine.policy.topic_events import Cause
from keymote.engine.policy.topics import (
    MOST_OWED,
    Known,
    Parties,
    Party,
    Turn,
    admission,
    epochs_owed,
    is_safe,
    late,
    parked,
    publishers_may,
    refused_by,
    rotated,
    sig_pk_of,
    turn_of,
    without,
)
from keymote.wire.topic import PUBLISH, SUBSCRIBE

A, B, C = b"client-a", b"client-b", b"client-c"
PARTIES = Parties((Party(A, 1), Party(B, 1)), (Party(C, 1, snd=250, given=True),))
KNOWN = Known(5, b"terms", b"rights", 0, 5)


def rule(version: int = 6, *, gone: tuple[TopicGone, ...] = (), without: bytes = b"") -> TopicRule:
    roles = {A: SUBSCRIBE, B: SUBSCRIBE, C: PUBLISH}
    grants = tuple(TopicGrant(client, role) for client, role in roles.items() if client != without)
    return TopicRule("w/#", version, grants=grants, gone=gone)


def test_TC13_planned_epochs_stay_owed_and_a_compromise_leaves_the_newest_alone() -> None:
    parties, snd = PARTIES, 251
    for epoch in range(2, 8):
        parties, snd = rotated(parties, epoch, snd, compromise=False)
    assert [party.owed for party in parties.subscribers] == [(4, 5, 6, 7)] * 2
    assert [party.owed for party in parties.publishers] == [(7,)]
    assert epochs_owed(parties, 7) == {4, 5, 6, 7}
    assert len(parties.subscribers[0].owed) == MOST_OWED
    taken = parties.put(SUBSCRIBE, parties.subscribers[0].has(4))
    assert taken.subscribers[0].owed == (5, 6, 7)
    parties, _ = rotated(parties, 8, snd, compromise=True)
    assert epochs_owed(parties, 8) == {8}


def test_TC14_numbers_of_chains_go_on_from_epoch_to_epoch_modulo_256() -> None:
    many = Parties((), tuple(Party(b"%08d" % each) for each in range(4)))
    first, snd = rotated(many, 2, 250, compromise=False)
    second, snd = rotated(first, 3, snd, compromise=False)
    assert [party.snd for party in first.publishers] == [250, 251, 252, 253]
    assert [party.snd for party in second.publishers] == [254, 255, 0, 1]
    assert snd == 2
    assert all(party.numbered for party in second.publishers)
    assert not Party(A).numbered


def test_TC11_publishers_wait_for_subscribers_that_can_be_reached() -> None:
    parties, _ = rotated(PARTIES, 2, 251, compromise=False)
    assert not publishers_may(parties, 2)
    assert [party.client for party in late(parties, 2)] == [A, B]
    parties = parties.put(SUBSCRIBE, parties.subscribers[0].has(2))
    assert not publishers_may(parties, 2)
    parties = parked(parties, SUBSCRIBE, B)
    assert publishers_may(parties, 2)
    assert late(parties, 2) == ()
    assert not is_safe(parties, 2)
    parties = parties.put(PUBLISH, parties.publishers[0].has(2)).put(SUBSCRIBE, parties.subscribers[1].has(2))
    assert is_safe(parties, 2)
    assert not parties.subscribers[1].parked
    assert parked(parties, SUBSCRIBE, C) == parties


@pytest.mark.parametrize(
    ("new", "known", "former", "turn"),
    [
        (rule(), KNOWN, (), None),
        (rule(), KNOWN._replace(rights=b"other"), (), Turn(Cause.GRANT)),
        (rule(), KNOWN._replace(terms=b"other"), (), Turn(Cause.OPERATOR)),
        (rule(), KNOWN._replace(rotations=-1), (), Turn(Cause.OPERATOR)),
        (rule(without=A), KNOWN, (), Turn(Cause.REVOKE)),
        (rule(without=C), KNOWN, (), Turn(Cause.REVOKE)),
        (rule(without=A, gone=(TopicGone(A, True, 6),)), KNOWN, (), Turn(Cause.COMPROMISE, compromise=True)),
        (rule(gone=(TopicGone(A, False, 6),)), KNOWN, (), Turn(Cause.REVOKE)),
        (rule(gone=(TopicGone(A, True, 6),)), KNOWN, (), Turn(Cause.COMPROMISE, compromise=True)),
        (rule(gone=(TopicGone(A, True, 5),)), KNOWN, (), None),
        (rule(gone=(TopicGone(b"stranger", True, 6),)), KNOWN, (), None),
        (rule(gone=(TopicGone(b"stranger", True, 6),)), KNOWN, (b"stranger",), Turn(Cause.COMPROMISE, compromise=True)),
    ],
    ids=["nothing", "granted", "terms", "asked", "subscriber out", "publisher out", "compromised", "back again",
         "back again, compromised", "served already", "never here", "still readable"],
)  # fmt: skip
def test_TC17_what_a_newer_rule_asks_for(
    new: TopicRule, known: Known, former: tuple[bytes, ...], turn: Turn | None
) -> None:
    following = Known(new.version, b"terms", b"rights", 0, known.begun)
    assert turn_of(known, following, new, PARTIES, former) == turn


def test_TC17_who_may_not_take_part_is_out_in_that_role_alone() -> None:
    both = Parties((Party(C),), (Party(C),))
    assert without(both, rule()) == Parties((), (Party(C),))
    assert without(PARTIES, rule(without=B)).clients() == (A, C)


def test_TC07_a_signed_topic_wants_publishers_that_can_sign() -> None:
    signed = TopicRule("w/#", 1, TopicPolicy.SIGNED, grants=(TopicGrant(A, 3), TopicGrant(B, 3, bytes(32))))
    assert refused_by(signed, A, PUBLISH)
    assert not refused_by(signed, A, SUBSCRIBE)
    assert not refused_by(signed, B, PUBLISH)
    assert (sig_pk_of(signed, A), sig_pk_of(signed, B), sig_pk_of(rule(), B)) == (b"", bytes(32), b"")


def test_TC15_a_session_has_room_for_256_subscribers_and_16_publishers() -> None:
    full = Parties(
        tuple(Party(b"%08d" % each) for each in range(256)), tuple(Party(b"%08d" % each) for each in range(16))
    )
    for client, role in ((A, SUBSCRIBE), (C, PUBLISH)):
        refusal = admission(full, rule(), client, role)
        assert refusal is not None
        assert refusal.full
        known = full.put(role, Party(client))
        assert admission(known, rule(), client, role) is None
    refusal = admission(PARTIES, rule(), A, PUBLISH)
    assert refusal is not None
    assert not refusal.full
