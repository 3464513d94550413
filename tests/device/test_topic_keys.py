"""What a client's memory does with grants and payloads, in any order."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.suites import suite_by_id
from keymote.device import topic_keys
from keymote.device.topic_keys import MOST_WAITING, OLDER_EPOCHS, NeedsKey, Reading, Rejected, TopicKeys
from keymote.engine.base import Now
from keymote.engine.topic import ratchet
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.topic import CONNECT, PUBLISH, SUBSCRIBE, KeyGrant

TOPIC = "ward/7/hr"
GRANT = KeyGrant(b"sess0001", 1, 1, 2, bytes(range(32)), 0, 100_000, 86_400)
PUBLISHERS = [(1, b"")]


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> Now:
        return Now(self.at, 1_700_000_000 + int(self.at))


def epoch(number: int) -> KeyGrant:
    return replace(GRANT, epoch=number, snd=number, SK=bytes([number]) * 32)


def publisher(grant: KeyGrant = GRANT) -> TopicKeys:
    keys = TopicKeys(Clock())
    keys.take(TOPIC, PUBLISH, grant)
    return keys


def subscriber(grant: KeyGrant = GRANT) -> TopicKeys:
    keys = TopicKeys(Clock())
    keys.take(TOPIC, SUBSCRIBE, grant, [(grant.snd, b"")])
    return keys


def payloads(keys: TopicKeys, count: int) -> list[bytes]:
    return [keys.protect(TOPIC, b"reading %d" % number) for number in range(count)]


def forged(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def texts(readings: Sequence[Reading]) -> list[bytes]:
    return [reading.plaintext for reading in readings]


def refusal(keys: TopicKeys, data: bytes, topic: str = TOPIC) -> ErrorCode:
    with pytest.raises(Rejected) as refused:
        keys.unprotect(topic, data)
    return refused.value.code


def test_TQ01_what_was_protected_opens_with_its_number_and_epoch() -> None:
    sender, receiver = publisher(), subscriber()
    for number, data in enumerate(payloads(sender, 3)):
        assert receiver.unprotect(TOPIC, data) == Reading(TOPIC, b"reading %d" % number, number, 1, 1)
    assert [(s.publishes, s.n, s.missing) for s in sender.standings() + receiver.standings()] == [
        (True, 3, 0),
        (False, 3, 0),
    ]


def test_TQ01_without_a_key_nothing_is_protected() -> None:
    keys = subscriber()
    with pytest.raises(NeedsKey) as needed:
        keys.protect(TOPIC, b"")
    assert (needed.value.topic, needed.value.publish, needed.value.anew) == (TOPIC, True, False)
    spent = publisher(replace(GRANT, max_msgs=1))
    spent.protect(TOPIC, b"")
    with pytest.raises(NeedsKey) as needed:
        spent.protect(TOPIC, b"")
    assert needed.value.anew and not spent.publishes(TOPIC)
    with pytest.raises(CallerFault):
        publisher().protect(TOPIC, bytes(1025))


def test_TQ02_one_grant_begins_one_chain_and_an_older_epoch_none() -> None:
    keys = publisher(epoch(5))
    first = keys.protect(TOPIC, b"a")
    for again in (epoch(5), epoch(4)):
        keys.take(TOPIC, PUBLISH, again)
    assert keys.standings()[0].n == 1
    keys.take(TOPIC, PUBLISH, replace(epoch(5), snd=9))
    assert keys.protect(TOPIC, b"b")[8:13] == b"sess\x09"
    keys.take(TOPIC, PUBLISH, epoch(5))
    assert keys.protect(TOPIC, b"c")[8:13] == b"sess\x09"
    assert first[8:13] == b"sess\x05"


def test_TQ02_two_threads_never_seal_under_one_index() -> None:
    keys = publisher()
    sent: list[bytes] = []

    def work() -> None:
        sent.extend(payloads(keys, 200))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({data[14:17] for data in sent}) == len(set(sent)) == 800


def test_TQ03_taking_a_grant_again_moves_no_chain_back() -> None:
    sender, receiver = publisher(), subscriber()
    (data,) = payloads(sender, 1)
    receiver.unprotect(TOPIC, data)
    receiver.take(TOPIC, SUBSCRIBE, GRANT, [*PUBLISHERS, (2, b"")])
    assert receiver.unprotect(TOPIC, data).duplicate
    assert {standing.snd for standing in receiver.standings()} == {1, 2}


def test_TQ03_readings_of_four_older_epochs_open_and_none_of_the_fifth() -> None:
    grants = [epoch(number) for number in range(1, OLDER_EPOCHS + 3)]
    receiver = subscriber(grants[0])
    for grant in grants[1:]:
        receiver.take(TOPIC, SUBSCRIBE, grant, [(grant.snd, b"")])
    sent = [payloads(publisher(grant), 1)[0] for grant in grants]
    with pytest.raises(NeedsKey):
        receiver.unprotect(TOPIC, sent[0])
    assert [receiver.unprotect(TOPIC, data).epoch for data in sent[1:]] == [2, 3, 4, 5, 6]


def test_TQ03_an_older_epoch_ends_with_its_life_and_at_once_after_a_compromise() -> None:
    clock = Clock()
    keys = TopicKeys(clock)
    for number in (1, 2):
        keys.take(TOPIC, SUBSCRIBE, replace(epoch(number), life_s=60), [(number, b"")])
    sender = publisher(epoch(1))
    clock.at = 59.0
    assert keys.unprotect(TOPIC, payloads(sender, 1)[0]).epoch == 1
    clock.at = 60.0
    assert refusal(keys, payloads(sender, 1)[0]) is ErrorCode.E_EPOCH
    keys.take(TOPIC, SUBSCRIBE, epoch(3), [(3, b"")], oldest=3)
    assert [standing.epoch for standing in keys.standings()] == [3]


def test_TQ03_an_older_grant_that_comes_late_is_not_the_newest() -> None:
    keys = subscriber(epoch(2))
    keys.take(TOPIC, SUBSCRIBE, epoch(1), [(1, b"")])
    first, second = publisher(epoch(1)), publisher(epoch(2))
    assert [keys.unprotect(TOPIC, payloads(sender, 1)[0]).epoch for sender in (first, second)] == [1, 2]
    assert refusal(keys, payloads(first, 300)[-1]) is ErrorCode.E_SKIP
    with pytest.raises(NeedsKey):
        keys.unprotect(TOPIC, payloads(second, 300)[-1])


def test_TQ04_a_bad_payload_is_refused_counted_explained_and_changes_nothing() -> None:
    sender, receiver = publisher(), subscriber()
    first, second = payloads(sender, 2)
    assert refusal(receiver, b"21.5 C") is ErrorCode.E_FORMAT
    assert refusal(receiver, forged(first)) is ErrorCode.E_AUTH
    assert refusal(receiver, b"") is ErrorCode.E_FORMAT
    assert texts([receiver.unprotect(TOPIC, first), receiver.unprotect(TOPIC, second)]) == [b"reading 0", b"reading 1"]
    assert receiver.counts() == {"E_FORMAT": 2, "E_AUTH": 1}
    rejects = receiver.rejects()
    assert [(r.at, r.topic, r.code, r.size, r.first) for r in rejects] == [
        (1_700_000_000, TOPIC, ErrorCode.E_FORMAT, 6, b"21.5 C"),
        (1_700_000_000, TOPIC, ErrorCode.E_AUTH, len(first), first[:16]),
        (1_700_000_000, TOPIC, ErrorCode.E_FORMAT, 0, b""),
    ]
    assert all(reject.why for reject in rejects)


def test_TQ04_nothing_waits_for_a_topic_that_can_have_no_key() -> None:
    receiver, (data,) = subscriber(), payloads(publisher(), 1)
    for topic in ("", "w" * 256):
        assert refusal(receiver, data, topic) is ErrorCode.E_FORMAT
    assert receiver.waits() == {}


def test_TQ04_the_last_256_refusals_are_kept() -> None:
    receiver = subscriber()
    for number in range(300):
        refusal(receiver, b"%d" % number)
    assert [reject.first for reject in receiver.rejects()] == [b"%d" % number for number in range(44, 300)]
    assert receiver.counts() == {"E_FORMAT": 300}


def test_TQ05_what_comes_before_its_key_waits_and_comes_out_in_order() -> None:
    sender, receiver = publisher(), TopicKeys(Clock())
    late: list[Reading] = []
    sent = payloads(sender, 4)
    for number, data in enumerate([*sent, sent[1]]):
        with pytest.raises(NeedsKey) as needed:
            receiver.unprotect(TOPIC, data, late.append if number % 2 else None)
        assert not needed.value.anew
    assert receiver.waits() == {TOPIC: 5}
    assert texts(receiver.take(TOPIC, SUBSCRIBE, GRANT, PUBLISHERS)) == [b"reading 0", b"reading 2"]
    assert texts(late) == [b"reading 1", b"reading 3"]
    assert receiver.waits() == {} and receiver.counts() == {"duplicate": 1}


def test_TQ05_what_six_keys_do_not_open_is_refused() -> None:
    receiver = subscriber()
    stranger = payloads(publisher(replace(GRANT, snd=99)), 1)[0]
    with pytest.raises(NeedsKey):
        receiver.unprotect(TOPIC, stranger)
    for number in range(2, 8):  # as many as a sleeper is owed, and one that it may have overtaken
        assert receiver.waits() == {TOPIC: 1}
        assert receiver.take(TOPIC, SUBSCRIBE, epoch(number), [(number, b"")]) == []
    assert receiver.waits() == {}
    assert [reject.code for reject in receiver.rejects()] == [ErrorCode.E_UNKNOWN_ID]


def test_TQ05_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    sender, receiver = publisher(), TopicKeys(Clock())
    for data in payloads(sender, MOST_WAITING + 1):
        with pytest.raises(NeedsKey):
            receiver.unprotect(TOPIC, data)
    assert receiver.waits() == {TOPIC: MOST_WAITING}
    monkeypatch.setattr(topic_keys, "MOST_WAITING_BYTES", 1)
    assert refusal(receiver, payloads(sender, 1)[0], "ward/8/hr") is ErrorCode.E_LIMIT
    assert receiver.counts() == {"E_LIMIT": 2}
    receiver.end(TOPIC)
    assert receiver.waits() == {}
    assert receiver.take(TOPIC, SUBSCRIBE, GRANT, PUBLISHERS) == []


def test_TQ06_a_repetition_is_told_as_such_and_refuses_nothing() -> None:
    sender, receiver = publisher(), subscriber()
    (data,) = payloads(sender, 1)
    receiver.unprotect(TOPIC, data)
    assert receiver.unprotect(TOPIC, data) == Reading(TOPIC, b"", 0, 1, 1, duplicate=True)
    assert receiver.rejects() == [] and receiver.counts() == {"duplicate": 1}


def test_TQ07_after_more_than_256_lost_readings_only_a_new_epoch_helps() -> None:
    sender, receiver = publisher(), subscriber()
    *_, last = payloads(sender, 258)
    with pytest.raises(NeedsKey) as needed:
        receiver.unprotect(TOPIC, last)
    assert needed.value.anew and receiver.waits() == {}
    assert [reject.code for reject in receiver.rejects()] == [ErrorCode.E_SKIP]
    receiver.take(TOPIC, SUBSCRIBE, epoch(2), [(2, b"")])
    assert refusal(receiver, last) is ErrorCode.E_SKIP
    assert texts([receiver.unprotect(TOPIC, payloads(publisher(epoch(2)), 1)[0])]) == [b"reading 0"]


def test_TQ07_a_session_under_attack_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratchet, "MOST_FAILURES", 8)
    sender, receiver = publisher(), subscriber()
    first, second = payloads(sender, 2)
    for _ in range(8):
        assert refusal(receiver, forged(first)) is ErrorCode.E_AUTH
    with pytest.raises(NeedsKey) as needed:
        receiver.unprotect(TOPIC, second)
    assert needed.value.anew


def test_TQ08_a_signed_topic_opens_only_what_its_publisher_signed() -> None:
    suite = suite_by_id(1)
    key, other = (suite.generate_signing_key(SeededEntropy(bytes([seed]) * 32)) for seed in (1, 2))
    sent = []
    for signing in (key, other, None):
        sender = TopicKeys(Clock())
        sender.take(TOPIC, PUBLISH, GRANT, signing=signing)
        sent.append(sender.protect(TOPIC, b"close the valve"))
    receiver = TopicKeys(Clock(), suite.verify_key)
    receiver.take(TOPIC, SUBSCRIBE, GRANT, [(1, key.public)])
    assert [refusal(receiver, data) for data in sent[1:]] == [ErrorCode.E_AUTH] * 2
    assert receiver.unprotect(TOPIC, sent[0]).plaintext == b"close the valve"
    with pytest.raises(CallerFault):
        TopicKeys(Clock()).take(TOPIC, SUBSCRIBE, GRANT, [(1, key.public)])


def test_TQ09_what_cannot_be_taken_changes_nothing() -> None:
    keys = TopicKeys(Clock())
    for role in (PUBLISH, SUBSCRIBE):
        with pytest.raises(PeerFault, match="E_SUITE"):
            keys.take(TOPIC, role, replace(GRANT, cs=16), PUBLISHERS)
    with pytest.raises(CallerFault):
        keys.take(TOPIC, CONNECT, GRANT)
    assert keys.standings() == [] and not keys.publishes(TOPIC) and not keys.subscribes(TOPIC)
    assert "00010203" not in repr(keys) and "sess" not in repr(keys)
