"""What managers report of topics: believed once, whatever comes again; and from it, when a taking was safe."""

from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from office import Office
from topic_world import BOTH, OTHER, PUBLISH, PULSE, SUBSCRIBE, TS, Ward, mote, v

from keymote.coordinator import topics_rules as rules
from keymote.coordinator.topic_pictures import Picture
from keymote.coordinator.topics import KEPT_MS
from keymote.engine.policy.topic_events import (
    Acknowledged,
    Cause,
    ClientMade,
    EpochBegun,
    KeyRefused,
    Parked,
    Safe,
    SessionEnded,
    TopicEvent,
    TopicReport,
)
from keymote.errors import CallerFault, ErrorCode
from keymote.host.register import DeviceState, RevocationKind
from keymote.host.topic_register import Taking, Topic, TopicEpoch, Why


@pytest.fixture
async def ward(office: Office) -> Ward:
    return await Ward.built(office)


async def picture(ward: Ward, topic: Topic) -> Picture:
    return await ward.office.topic_pictures.one(topic.tid)


async def safe_after(ward: Ward, topic: Topic) -> list[int | None]:
    """Return the times to safe of a rule's takings in ms, the newest first."""
    reaches = (await picture(ward, topic)).takings
    return [None if each.safe_ms is None else each.safe_ms - each.taking.at_ms for each in reaches]


# ------------------------------------------------------------------ epochs and who holds them


async def test_CT13_a_topic_is_shown_with_who_holds_which_epoch(ward: Ward) -> None:
    topic = await ward.topic(m0=PUBLISH, m1=SUBSCRIBE, m2=SUBSCRIBE)
    await ward.epoch(1, 1, 2, cause=Cause.FIRST)
    await ward.report(Acknowledged(PULSE, 1, mote(0), PUBLISH))
    ward.office.clock.ms += 1000
    await ward.epoch(2, 1, cause=Cause.EXPIRY, safe=False)
    await ward.report(Parked(PULSE, 2, mote(2)))
    shown = await picture(ward, topic)
    (running,) = shown.running
    held = {each.client: (each.published, each.subscribed, each.parked) for each in running.holders}
    assert held == {mote(0): (1, 0, 0), mote(1): (0, 2, 0), mote(2): (0, 1, 2)}
    assert (running.waiting, running.parked) == ([mote(0), mote(2)], [mote(2)])
    assert (running.session.epoch, running.session.safe_ms, shown.n, shown.acted) == (2, None, 1, False)
    ward.office.clock.ms += 250
    await ward.report(
        Acknowledged(PULSE, 2, mote(2), SUBSCRIBE), Acknowledged(PULSE, 2, mote(0), PUBLISH), Safe(PULSE, 2)
    )
    await ward.acknowledge()
    shown = await picture(ward, topic)
    (running,) = shown.running
    assert (running.waiting, running.parked, shown.acted) == ((), (), True)
    assert running.session.safe_ms is not None
    assert running.session.safe_ms - running.session.begun_ms == 250
    log = await ward.office.topic_pictures.epochs(topic.tid, 0, 10)
    assert [(each.epoch, each.cause, each.safe_ms is not None) for each in log] == [(1, 0, True), (2, 3, True)]
    (line,) = await ward.office.topic_pictures.listing("", 10)
    assert (line.clients, line.topics, line.waiting) == (3, 1, 0)
    assert (await ward.actions()).count("topic.epoch") == 2


async def test_CT13_a_topic_stands_under_the_rule_that_is_for_it_now(ward: Ward) -> None:
    wide = await ward.topic("ward/#", m0=BOTH)
    await ward.epoch(1, 0)
    await ward.epoch(1, 0, topic="ward/8/pulse")
    narrow = await ward.topic("ward/7/#", m0=BOTH)
    assert [each.session.topic for each in (await picture(ward, wide)).running] == ["ward/8/pulse"]
    assert [each.session.topic for each in (await picture(ward, narrow)).running] == [PULSE]
    await ward.office.topics.close(narrow.tid)
    assert (await picture(ward, wide)).n == 2
    await ward.office.topics.close(wide.tid)
    taken = await ward.report(SessionEnded(PULSE), Safe("ward/8/pulse", 1), EpochBegun("ward/9", 1, Cause.FIRST, 9))
    assert [why for _, why in taken.refused] == ["no rule of manager " + TS.hex() + " is for 'ward/9'"]


async def test_CT13_a_session_that_ended_begins_with_a_log_of_its_own(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH)
    for epoch in (1, 2, 3):
        await ward.epoch(epoch, 0)
    await ward.report(SessionEnded(PULSE))
    assert (await picture(ward, topic)).running == []
    await ward.epoch(1, 0)
    (running,) = (await picture(ward, topic)).running
    assert (running.session.epoch, [each.epoch for each in running.holders]) == (1, [1])
    assert [each.epoch for each in await ward.office.topic_pictures.epochs(topic.tid, 0, 10)] == [1]


async def test_CT14_reports_count_once_and_the_disbelieved_hold_nothing_up(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH)
    events: list[TopicEvent] = [
        Safe(PULSE, 1),
        EpochBegun("bay/1", 1, Cause.FIRST, 1),
        EpochBegun(PULSE, 1, Cause.FIRST, 1),
        Acknowledged(PULSE, 1, mote(0), PUBLISH),
        KeyRefused(mote(3), "bay/1", ErrorCode.E_NOSHARE),
        KeyRefused(mote(3), PULSE, ErrorCode.E_NOSHARE),
    ]
    reports = ward.reports(*events)
    for _ in range(2):
        taken = await ward.office.topic_reports.take(TS, reports)
        assert taken.upto == 6
        assert [seq for seq, _ in taken.refused] in ([1, 2], [])
    (running,) = (await picture(ward, topic)).running
    assert [each.published for each in running.holders] == [1]
    (refusal,) = await ward.office.desk.ledger.read(lambda tx: tx.topics.refusals(TS, 10))
    assert (refusal.topic, refusal.code, refusal.times) == (PULSE, ErrorCode.E_NOSHARE, 2)
    assert (await ward.office.topics.charter(TS, "", 10))[1] == 6
    assert (await ward.office.topics.charter(OTHER, "", 10))[1] == 0
    with pytest.raises(CallerFault, match="ascend"):
        await ward.office.topic_reports.take(TS, reports[::-1])


async def test_CT14_a_manager_reports_only_of_its_own_topics(ward: Ward) -> None:
    await ward.office.manager(OTHER)
    topic = await ward.topic(m0=BOTH)
    await ward.epoch(1, 0)
    taken = await ward.report(EpochBegun(PULSE, 9, Cause.COMPROMISE, 1), Safe(PULSE, 9), by=OTHER)
    assert len(taken.refused) == 2
    assert (await picture(ward, topic)).running[0].session.epoch == 1


LIFE: list[TopicEvent] = [
    EpochBegun(PULSE, 1, Cause.FIRST, 1),
    Acknowledged(PULSE, 1, mote(0), PUBLISH),
    Acknowledged(PULSE, 1, mote(1), SUBSCRIBE),
    Safe(PULSE, 1),
    EpochBegun("ward/7/spo2", 1, Cause.FIRST, 1),
    EpochBegun(PULSE, 2, Cause.REVOKE, 2),
    Parked(PULSE, 2, mote(1)),
    Acknowledged("ward/7/spo2", 1, mote(0), SUBSCRIBE),
    Acknowledged(PULSE, 2, mote(1), SUBSCRIBE),
    Safe(PULSE, 2),
    SessionEnded("ward/7/spo2"),
]


@pytest.mark.long
@settings(max_examples=8)
@given(cuts=st.lists(st.tuples(st.integers(0, len(LIFE)), st.integers(0, len(LIFE))), max_size=5))
async def test_CT14_whatever_batches_come_again_the_end_is_the_same(
    cuts: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    from office import open_office

    from keymote.coordinator.authority import Root
    from keymote.crypto.entropy import SeededEntropy

    root = Root.create(1, SeededEntropy(b"root"))
    found = []
    for batches in ([(0, len(LIFE))], [*sorted((min(cut), max(cut)) for cut in cuts), (0, len(LIFE))]):
        office = open_office(root, b"coord--A", tmp_path_factory.mktemp("ward") / "a.db")
        ward = await Ward.built(office, 2)
        topic = await ward.topic(m0=BOTH, m1=BOTH)
        reports = [TopicReport(seq, ward.office.clock.ms, event) for seq, event in enumerate(LIFE, start=1)]
        sent = 0
        for first, last in batches:
            if first <= sent and first < last:  # a manager hands in without gaps, and again what was not answered
                await office.topic_reports.take(TS, reports[first:last])
                sent = max(sent, last)
        shown = await picture(ward, topic)
        found.append([asdict(each) for each in shown.running])
        await office.desk.ledger.close()
    assert found[0] == found[1]


async def test_CT14_a_batch_whose_answer_was_lost_comes_again_with_more(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH, m1=BOTH)
    reports = [TopicReport(seq, ward.office.clock.ms, event) for seq, event in enumerate(LIFE, start=1)]
    for upto in (3, 3, 6, len(LIFE), len(LIFE)):
        assert (await ward.office.topic_reports.take(TS, reports[:upto])).upto == upto
    (running,) = (await picture(ward, topic)).running
    held = [(each.published, each.subscribed, each.parked) for each in running.holders]
    assert (running.session.epoch, held, running.waiting) == (2, [(1, 0, 0), (0, 2, 2)], ())
    log = await ward.office.topic_pictures.epochs(topic.tid, 0, 10)
    assert [(each.topic, each.epoch) for each in log] == [(PULSE, 1), ("ward/7/spo2", 1), (PULSE, 2)]


async def test_CT14_a_manager_that_was_restored_goes_on_from_where_it_was(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH, m1=BOTH)
    for epoch in (1, 2, 3, 4):
        await ward.epoch(epoch, 0, 1)
    first = TopicReport(5, ward.office.clock.ms, EpochBegun(PULSE, 3, Cause.COMPROMISE, 1))
    taken = await ward.office.topic_reports.take(TS, [first])
    assert (taken.upto > 5, taken.refused) == (True, [])  # its numbers are old: it goes on above, with this one too
    assert (await picture(ward, topic)).running[0].session.epoch == 4
    await ward.report(first.event)
    (running,) = (await picture(ward, topic)).running
    assert (running.session.epoch, running.waiting) == (3, [mote(0), mote(1)])
    assert [each.epoch for each in await ward.office.topic_pictures.epochs(topic.tid, 0, 10)] == [1, 2, 3]


async def test_CT22_what_a_coordinator_says_that_has_lost_its_last_words_is_newer_than_those(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH, m1=BOTH)
    ward.office.clock.ms += 60_000
    await ward.office.topics.rotate(topic.tid)
    assert await ward.version() == ward.office.clock.ms // 1000  # above all of the minute that a backup may lack
    lost = await ward.version() + 7
    await ward.report(EpochBegun(PULSE, 1, Cause.FIRST, lost))
    rule = (await ward.rules())["ward/7/#"]
    assert rule.version > lost
    assert (await ward.actions())[-2:] == ["topic.overtake", "topic.epoch"]
    events = [event for event in await ward.office.outbox.events(0, 100) if event.kind == "topic.change"]
    assert events[-1].data["version"] == rule.version
    await ward.report(EpochBegun(PULSE, 2, Cause.EXPIRY, lost))
    assert await ward.version() == rule.version


async def test_CT22_a_version_that_nobody_can_have_given_out_is_not_believed(ward: Ward) -> None:
    await ward.topic(m0=BOTH)
    taken = await ward.report(EpochBegun(PULSE, 1, Cause.FIRST, 1 << 52))
    assert [why for _, why in taken.refused] == [f"version {1 << 52} of a charter was never given out"]
    assert await ward.version() == v(1)


# ------------------------------------------------------------------ time to safe


async def test_CT15_a_revocation_is_safe_when_everybody_else_has_another_key(ward: Ward) -> None:
    office = ward.office
    topic = await ward.topic(m0=BOTH, m1=SUBSCRIBE, m2=SUBSCRIBE)
    await ward.epoch(1, 0, 1, 2)
    await ward.epoch(1, 1, topic="ward/7/spo2")
    line = await office.revocations.revoke(RevocationKind.DEVICE, mote(0), 2)
    (reach,) = await office.topic_pictures.reach_of(line)
    assert ([each.session.topic for each in reach.endings], reach.safe_ms) == ([PULSE], None)
    assert reach.waiting == [mote(1), mote(2)]
    await ward.acknowledge()
    assert await safe_after(ward, topic) == [None]
    office.clock.ms += 100
    await ward.epoch(2, 1, cause=Cause.COMPROMISE, safe=False)
    (reach,) = await office.topic_pictures.reach_of(line)
    assert reach.waiting == [mote(2)]
    office.clock.ms += 400
    await ward.report(Acknowledged(PULSE, 2, mote(2), SUBSCRIBE), Safe(PULSE, 2))
    assert await safe_after(ward, topic) == [500]
    (reach,) = await office.topic_pictures.reach_of(line)
    assert (reach.waiting, await office.desk.ledger.read(lambda tx: tx.topics.unsafe())) == ((), 0)


async def test_CT15_who_held_nothing_is_safe_when_the_manager_knows(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH, m1=BOTH, m3=BOTH)
    await ward.epoch(1, 0, 1)
    await ward.epoch(2, 1, safe=False)
    for client in (mote(0), mote(3)):  # one sleeps, and is owed the newest epoch; the other never asked for any
        await ward.office.topics.revoke(topic.tid, [client], compromised=False)
    assert await safe_after(ward, topic) == [None, None]
    ward.office.clock.ms += 300
    await ward.acknowledge()
    assert await safe_after(ward, topic) == [300, None]
    assert await ward.office.topics.settle() == 1


async def test_CT15_a_manager_that_heard_of_the_revocation_first_had_put_it_out_before(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH, m1=BOTH, m2=BOTH)
    await ward.epoch(1, 0, 1, 2)
    version = await ward.version()
    line = await ward.office.revocations.revoke(RevocationKind.DEVICE, mote(0), 2)
    begun = EpochBegun(PULSE, 2, Cause.COMPROMISE, version)  # by device.revoke, which comes before topic.change
    await ward.report(begun, Acknowledged(PULSE, 2, mote(1), SUBSCRIBE))
    await ward.acknowledge()
    (reach,) = await ward.office.topic_pictures.reach_of(line)
    assert (reach.safe_ms, reach.waiting) == (None, [mote(2)])
    ward.office.clock.ms += 120
    await ward.report(Acknowledged(PULSE, 2, mote(2), SUBSCRIBE), Safe(PULSE, 2))
    assert await safe_after(ward, topic) == [120]
    ward.office.clock.ms += 5000
    await ward.office.topics.revoke(topic.tid, [mote(1)], compromised=False)
    await ward.epoch(3, 2, cause=Cause.REVOKE)
    assert await safe_after(ward, topic) == [None, 120]  # what comes later changes nothing
    await ward.acknowledge()
    assert await safe_after(ward, topic) == [0, 120]


async def test_CT15_who_is_let_in_again_is_not_waited_for(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH, m1=BOTH)
    await ward.epoch(1, 0, 1)
    await ward.office.topics.revoke(topic.tid, [mote(0)], compromised=False)
    await ward.office.topics.grant(topic.tid, {mote(0): SUBSCRIBE})
    await ward.epoch(2, 0, 1, cause=Cause.REVOKE, safe=False)
    assert (await picture(ward, topic)).takings[0].safe_ms is None
    await ward.report(Safe(PULSE, 2))
    await ward.acknowledge()
    assert await safe_after(ward, topic) == [0]


async def test_CT15_a_later_epoch_makes_safe_what_an_earlier_one_did_not(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH, m1=BOTH, m2=BOTH)
    await ward.epoch(1, 0, 1, 2)
    await ward.office.topics.revoke(topic.tid, [mote(0)], compromised=False)
    await ward.epoch(2, 1, safe=False, cause=Cause.REVOKE)
    await ward.office.topics.revoke(topic.tid, [mote(1)], compromised=True)
    await ward.acknowledge()
    assert await safe_after(ward, topic) == [None, None]
    ward.office.clock.ms += 50
    await ward.epoch(3, 2, cause=Cause.COMPROMISE)
    assert await safe_after(ward, topic) == [50, 50]


async def test_CT15_an_epoch_that_began_for_a_client_who_never_acknowledged_counts(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH, m1=BOTH)
    await ward.epoch(1, 1)
    await ward.office.topics.revoke(topic.tid, [mote(0)], compromised=True)
    await ward.report(EpochBegun(PULSE, 2, Cause.COMPROMISE, await ward.version()))
    await ward.acknowledge()
    assert await safe_after(ward, topic) == [None]
    await ward.report(Acknowledged(PULSE, 2, mote(1), SUBSCRIBE), Safe(PULSE, 2))
    assert await safe_after(ward, topic) == [0]


async def test_CT15_a_session_that_ended_is_safe(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH)
    await ward.epoch(1, 0)
    await ward.office.revocations.change_state(mote(0), DeviceState.SUSPENDED)
    await ward.report(SessionEnded(PULSE))
    assert await safe_after(ward, topic) == [None]
    await ward.acknowledge()
    assert await safe_after(ward, topic) == [0]


def test_CT15_safety_is_the_last_topics() -> None:
    taking = Taking(b"t", b"c", Why.REVOKED, compromised=True, version=2, event=1, at_ms=100)
    one, other = (TopicEpoch(TS, "t", 2, 6, 2, 110, safe) for safe in (120, 150))
    assert rules.safe_at(taking, None, []) is None
    assert rules.safe_at(taking, 130, []) == 130
    assert rules.safe_at(taking, 90, []) == 100
    assert rules.safe_at(taking, 130, [one, other]) == 150
    assert rules.safe_at(taking, 130, [one, None]) is None
    assert rules.safe_at(taking, 130, [TopicEpoch(TS, "t", 1, 6, 1, 10, 20)]) == 130


async def test_CT16_old_epochs_go_but_for_the_newest_and_those_that_are_not_safe(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH)
    await ward.epoch(1, 0)
    await ward.epoch(2, 0, safe=False)
    await ward.epoch(3, 0)
    await ward.epoch(1, 0, topic="ward/7/old")
    await ward.report(SessionEnded("ward/7/old"))
    assert await ward.office.topics.prune() == 0
    ward.office.clock.ms += KEPT_MS + 1
    assert (
        await ward.office.topics.prune() == 3
    )  # two epochs: 3 was safe, and so was 2 then; and the session that ended
    assert [each.epoch for each in await ward.office.topic_pictures.epochs(topic.tid, 0, 10)] == [3]
    assert await ward.office.topics.prune() == 0


async def test_CT16_of_refusals_the_last_of_each_client_is_kept(ward: Ward) -> None:
    from keymote.host.topic_register import Refusal

    def work(tx: object) -> None:
        for number in range(5):
            tx.topics.put_refusal(Refusal(TS, mote(number), "t", 14, 1, number), 3)  # type: ignore[attr-defined]

    await ward.office.desk.ledger.write(work)
    kept = await ward.office.desk.ledger.read(lambda tx: tx.topics.refusals(TS, 10))
    assert [each.client for each in kept] == [mote(4), mote(3), mote(2)]


async def test_CT13_the_description_of_a_client_is_that_of_now(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH)
    await ward.report(ClientMade(b"pump\0\0\0\4", "pump 4"))
    await ward.office.topics.grant(topic.tid, {b"pump\0\0\0\4": SUBSCRIBE})
    await ward.office.revocations.change_state(mote(0), DeviceState.SUSPENDED)
    cards = (await picture(ward, topic)).cards
    assert [(each.kind, each.name, each.state) for each in cards] == [
        ("device", "", "suspended"),
        ("file", "pump 4", "active"),
    ]
