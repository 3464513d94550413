"""A trusted system and its clients: who is given which key, in which order, and what is kept of it."""

from dataclasses import replace

import pytest

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.crypto.suites import suite_by_id
from keymote.engine.base import MAX_RECORD, Failed
from keymote.engine.policy.topic_charter import TopicPolicy
from keymote.engine.policy.topic_events import Acknowledged, Cause, EpochBegun, KeyRefused, Parked, Safe, SessionEnded
from keymote.engine.policy.topics import MOST_OWED, Parties, Party
from keymote.engine.topic.denial import denial, denied
from keymote.engine.topic.exchange import ClientEnd, SystemEnd, Wanted, answer, hear, push, request
from keymote.engine.topic.faces import ForgetClient, Holder, KeyDenied, KeyTaken, SessionHeld, client_of
from keymote.engine.topic.key_chain import KeyChain
from keymote.engine.topic.repeating import LONGEST_S
from keymote.engine.topic.session_state import MOST_RECORD, Epoch, SessionCell, Terms
from keymote.engine.topic.session_state import load as session_load
from keymote.engine.topic.session_state import record as session_record
from keymote.engine.topic.system_state import ClientCell
from keymote.engine.topic.system_state import load as system_load
from keymote.engine.topic.system_state import record as system_record
from keymote.errors import ErrorCode
from keymote.lab.simulator.host import Quartz
from keymote.lab.simulator.network import Channel
from keymote.lab.topics import SYSTEM, TopicWorld
from keymote.wire.fields import sizes_of
from keymote.wire.registry import peek
from keymote.wire.topic import PUBLISH, SUBSCRIBE, KeyGrant, Kpush, Kreq, Publisher

TOPIC, FILTER = "w/7/hr", "w/#"
PUB, SUB, OTHER = b"publish1", b"subscri1", b"subscri2"


@pytest.fixture
def world() -> TopicWorld:
    """A publisher and a subscriber of w/#, and a stranger."""
    world = TopicWorld(b"topics")
    for name, client in (("p", PUB), ("s", SUB), ("t", OTHER)):
        world.add(name, client)
    world.book.grant(FILTER, PUB, PUBLISH)
    world.book.grant(FILTER, SUB, SUBSCRIBE)
    return world


@pytest.fixture
def going(world: TopicWorld) -> TopicWorld:
    """Both hold the first epoch of w/7/hr."""
    world.ask("p", TOPIC, PUBLISH)
    world.sim.run_for(1.0)
    world.ask("s", TOPIC, SUBSCRIBE)
    world.sim.run_for(1.0)
    return world


def test_TC10_a_session_begins_with_the_first_request_for_its_topic(going: TopicWorld) -> None:
    (for_publisher,), (for_subscriber,) = going.taken["p"], going.taken["s"]
    key, same = for_publisher.grant, for_subscriber.grant
    assert (key.SK, key.sess, key.epoch, key.publishers) == (same.SK, same.sess, 1, None)
    assert for_subscriber.publishers == (Publisher(key.snd),)
    assert for_publisher.publishers == ()
    events = going.sim.heard(SYSTEM, EpochBegun) + going.sim.heard(SYSTEM, Acknowledged) + going.sim.heard(SYSTEM, Safe)
    assert events == [
        EpochBegun(TOPIC, 1, Cause.FIRST, 2),
        Acknowledged(TOPIC, 1, PUB, PUBLISH),
        Acknowledged(TOPIC, 1, SUB, SUBSCRIBE),
        Safe(TOPIC, 1),
    ]


def test_TC07_a_client_without_the_right_is_told_so_at_once(world: TopicWorld) -> None:
    world.ask("t", TOPIC, SUBSCRIBE)
    world.ask("p", TOPIC, SUBSCRIBE)
    world.ask("p", "elsewhere", PUBLISH)
    world.sim.run_for(1.0)
    code = ErrorCode.E_CRED
    assert world.sim.heard("t", KeyDenied) == [KeyDenied(TOPIC, SUBSCRIBE, code)]
    assert world.sim.heard("p", KeyDenied) == [KeyDenied(TOPIC, SUBSCRIBE, code), KeyDenied("elsewhere", PUBLISH, code)]
    assert world.sim.heard(SYSTEM, KeyRefused)[0] == KeyRefused(OTHER, TOPIC, code)
    assert world.session(TOPIC) is None


def test_TM17_a_topic_without_room_is_refused_with_its_reason_and_others_go_on(world: TopicWorld) -> None:
    world.grant(FILTER, "p", PUBLISH)
    world.full.add("w/8/hr")
    world.ask("p", "w/8/hr", PUBLISH)
    world.sim.run_for(5.0)
    world.ask("p", TOPIC, PUBLISH)
    world.sim.run_for(5.0)
    assert world.sim.heard("p", KeyDenied) == [KeyDenied("w/8/hr", PUBLISH, ErrorCode.E_LIMIT)]
    assert world.epochs("p", TOPIC, PUBLISH) == [1]


def test_TC07_a_refusal_opens_nothing() -> None:
    assert denied(denial(ErrorCode.E_LIMIT)) is ErrorCode.E_LIMIT
    assert not any(denial(ErrorCode.E_CRED).SK)
    assert denied(KeyGrant(bytes(8), 9, 0, 1, bytes(32), 0, 1, 0)) is None
    assert denied(KeyGrant(bytes(8), 9, 0, 1, bytes(32), 0, 0, 60)) is None
    assert denied(KeyGrant(b"sess0001", 9, 0, 1, bytes(32), 0, 0, 0)) is None
    assert denied(KeyGrant(bytes(8), 999, 0, 0, bytes(32), 0, 0, 0)) is ErrorCode.E_CRED


def test_TC07_a_publisher_that_cannot_sign_is_refused_where_everybody_must(world: TopicWorld) -> None:
    world.book.grant(FILTER, OTHER, PUBLISH, bytes(32), policy=TopicPolicy.SIGNED)
    world.ask("p", TOPIC, PUBLISH)
    world.ask("t", TOPIC, PUBLISH)
    world.sim.run_for(1.0)
    world.ask("s", TOPIC, SUBSCRIBE)
    world.sim.run_for(1.0)
    assert world.sim.heard("p", KeyDenied) == [KeyDenied(TOPIC, PUBLISH, ErrorCode.E_CRED)]
    assert world.taken["s"][0].publishers == (Publisher(world.taken["t"][0].grant.snd, bytes(32)),)


# ------------------------------------------------------------------ planned epochs


def test_TC11_subscribers_get_a_planned_epoch_first(going: TopicWorld) -> None:
    going.rotate(TOPIC)
    going.sim.run_for(10.0)
    acknowledged = going.sim.heard(SYSTEM, Acknowledged)
    assert acknowledged[2:] == [Acknowledged(TOPIC, 2, SUB, SUBSCRIBE), Acknowledged(TOPIC, 2, PUB, PUBLISH)]
    assert going.taken["s"][1].publishers == (Publisher(going.taken["p"][1].grant.snd),)
    assert going.taken["p"][1].grant.sess == going.taken["p"][0].grant.sess
    assert going.sim.heard(SYSTEM, Safe)[-1] == Safe(TOPIC, 2)


def test_TC11_after_5_s_publishers_do_not_wait_and_the_subscriber_is_listed(going: TopicWorld) -> None:
    start = going.sim.now
    going.cut("s")
    going.rotate(TOPIC)
    going.sim.run_for(4.9)
    assert going.epochs("p", TOPIC, PUBLISH) == [1]
    going.sim.run_for(0.2)
    assert going.epochs("p", TOPIC, PUBLISH) == [1, 2]
    ((at, parked),) = [(at, each) for at, _, each in going.sim.hosts[SYSTEM].reports if isinstance(each, Parked)]
    assert parked == Parked(TOPIC, 2, SUB)
    assert at - start == pytest.approx(5.0, abs=0.01)
    assert Safe(TOPIC, 2) not in going.sim.heard(SYSTEM, Safe)
    going.rotate(TOPIC)
    going.sim.run_for(1.0)
    assert going.epochs("p", TOPIC, PUBLISH) == [1, 2, 3], "who is parked is not waited for again"


@pytest.mark.parametrize("rotations", [1, 4, 6])
def test_TC13_a_sleeper_is_given_the_newest_four_planned_epochs_oldest_first(going: TopicWorld, rotations: int) -> None:
    going.cut("s")
    for _ in range(rotations):
        going.rotate(TOPIC)
        going.sim.run_for(30.0)
    assert len(going.session(TOPIC).epochs) == min(rotations, MOST_OWED)
    going.mend("s")
    going.sim.run_for(2 * LONGEST_S)
    newest = list(range(2, rotations + 2))[-MOST_OWED:]
    assert going.epochs("s", TOPIC, SUBSCRIBE) == [1, *newest]
    for taken in going.taken["s"][1:]:
        chains = {each.snd for each in taken.publishers}
        assert {each.grant.snd for each in going.taken["p"] if each.grant.epoch == taken.grant.epoch} <= chains
    assert len(going.session(TOPIC).epochs) == 1
    assert going.sim.heard(SYSTEM, Safe)[-1] == Safe(TOPIC, rotations + 1)


def test_TC13_who_asks_anew_after_a_restart_gets_what_it_missed_too(going: TopicWorld) -> None:
    going.cut("s")
    for _ in range(3):
        going.rotate(TOPIC)
        going.sim.run_for(8.0)
    going.mend("s")
    going.sim.reboot("s")
    going.ask("s", TOPIC, SUBSCRIBE)
    going.sim.run_for(5.0)
    assert going.epochs("s", TOPIC, SUBSCRIBE) == [1, 4, 2, 3]


def test_TC13_what_is_pushed_before_a_restarted_client_has_asked_is_reported_when_it_does(going: TopicWorld) -> None:
    going.sim.reboot("s")
    for _ in range(2):
        going.rotate(TOPIC)
        going.sim.run_for(1.0)
    assert going.epochs("s", TOPIC, SUBSCRIBE) == [1]
    going.ask("s", TOPIC, SUBSCRIBE)
    going.sim.run_for(1.0)
    assert going.epochs("s", TOPIC, SUBSCRIBE) == [1, 3, 2, 3]


def test_TC22_keys_of_epochs_that_nobody_waits_for_are_in_no_record(going: TopicWorld) -> None:
    old = going.taken["p"][0].grant.SK
    assert any(old in row.record for row in going.sim.hosts[SYSTEM].disk.values())
    going.rotate(TOPIC)
    going.sim.run_for(10.0)
    assert not any(old in row.record for row in going.sim.hosts[SYSTEM].disk.values())
    assert not any(old in row.record for name in "ps" for row in going.sim.hosts[name].disk.values())


def test_TC16_safe_is_said_once_in_an_epoch(going: TopicWorld) -> None:
    going.grant(FILTER, "t", SUBSCRIBE)
    going.sim.run_for(5.0)
    for _ in range(2):
        going.ask("t", TOPIC, SUBSCRIBE)
        going.sim.run_for(5.0)
    assert going.sim.heard(SYSTEM, Safe) == [Safe(TOPIC, 1), Safe(TOPIC, 2)]


def test_TC18_an_epoch_ends_with_its_life_also_across_a_restart(world: TopicWorld) -> None:
    world.book.grant(FILTER, PUB, PUBLISH, life_s=100)
    world.ask("p", TOPIC, PUBLISH)
    world.sim.run_for(90.0)
    world.reboot_system(down_s=5.0)
    world.sim.run_for(4.0)
    assert world.epochs("p", TOPIC, PUBLISH) == [1]
    world.sim.run_for(10.0)
    assert world.epochs("p", TOPIC, PUBLISH) == [1, 2]
    assert world.sim.heard(SYSTEM, EpochBegun)[-1] == EpochBegun(TOPIC, 2, Cause.EXPIRY, 3)
    world.sim.run_for(300.0)
    assert world.epochs("p", TOPIC, PUBLISH) == [1, 2, 3, 4, 5]


# ------------------------------------------------------------------ compromise


def test_TC12_for_compromise_publishers_do_not_wait(going: TopicWorld) -> None:
    going.cut("s")
    going.rotate(TOPIC)
    going.sim.run_for(1.0)
    going.rotate(TOPIC, compromise=True)
    going.sim.run_for(0.5)
    assert going.epochs("p", TOPIC, PUBLISH) == [1, 3]
    assert going.sim.heard(SYSTEM, EpochBegun)[-1].cause is Cause.COMPROMISE
    going.mend("s")
    going.sim.run_for(60.0)
    assert going.epochs("s", TOPIC, SUBSCRIBE) == [1, 3], "the epoch before is given to nobody any more"


def test_TC28_a_subscriber_is_told_that_nothing_of_before_a_compromise_counts(going: TopicWorld) -> None:
    """Who was put out still has the key of the epoch before, and could go on publishing under it."""
    going.rotate(TOPIC)
    going.sim.run_for(10.0)
    going.rotate(TOPIC, compromise=True)
    going.reboot_system()
    going.rotate(TOPIC)
    going.sim.run_for(30.0)
    taken = [each.grant for each in going.sim.heard("s", KeyTaken)]
    assert [(grant.epoch, grant.oldest) for grant in taken] == [(1, 0), (2, 0), (3, 3), (4, 3)]
    assert {each.grant.oldest for each in going.sim.heard("p", KeyTaken)} == {None}


def test_TC12_the_cached_answer_of_a_lost_key_is_not_sent_again(going: TopicWorld) -> None:
    """It is withdrawn, also from the record: a push of the present epoch goes out instead (decision 0187)."""
    going.sim.channels[SYSTEM, "s"] = Channel(loss=1.0)
    going.ask("s", TOPIC, SUBSCRIBE)
    going.sim.run_for(1.0)
    (asked,) = _requests(going, "s")[-1:]
    old = going.session(TOPIC).present.SK.expose()
    going.rotate(TOPIC, compromise=True)
    going.reboot_system()
    mark = len(going.sim.air)
    going.mend("s")
    going.sim.inject("s", SYSTEM, asked)
    going.sim.run_for(30.0)
    assert 49 not in {peek(each.data)[0] for each in going.sim.air[mark:] if each.source == SYSTEM}
    assert going.epochs("s", TOPIC, SUBSCRIBE) == [1, 2]
    assert not any(old in row.record for row in going.sim.hosts[SYSTEM].disk.values())


@pytest.mark.parametrize("compromised", [False, True])
def test_TC12_who_was_put_out_gets_nothing_more_and_the_rest_go_on(going: TopicWorld, compromised: bool) -> None:
    going.grant(FILTER, "t", SUBSCRIBE)
    going.ask("t", TOPIC, SUBSCRIBE)
    going.sim.run_for(10.0)
    going.put_out(FILTER, "t", compromised=compromised)
    going.ask("t", TOPIC, SUBSCRIBE)
    going.sim.run_for(30.0)
    cause = Cause.COMPROMISE if compromised else Cause.REVOKE
    assert going.sim.heard(SYSTEM, EpochBegun)[-1].cause is cause
    assert [going.epochs(name, TOPIC, role)[-1] for name, role in (("p", PUBLISH), ("s", SUBSCRIBE))] == [3, 3]
    assert going.epochs("t", TOPIC, SUBSCRIBE) == [2]
    assert going.sim.heard("t", KeyDenied) == [KeyDenied(TOPIC, SUBSCRIBE, ErrorCode.E_CRED)]
    going.put_out(FILTER, "t", compromised=True)
    going.sim.run_for(5.0)
    assert len(going.sim.heard(SYSTEM, EpochBegun)) == 3, "nobody holds what it held"


# ------------------------------------------------------------------ chains of publishers


def test_TC14_a_publisher_that_asks_again_gets_another_number_in_the_same_epoch(going: TopicWorld) -> None:
    for _ in range(3):
        going.ask("p", TOPIC, PUBLISH)
        going.sim.run_for(1.0)
    assert [(each.grant.epoch, each.grant.snd) for each in going.taken["p"]] == [(1, 0), (1, 1), (1, 2), (1, 3)]
    going.ask("s", TOPIC, SUBSCRIBE)
    going.sim.run_for(1.0)
    assert [each.snd for each in going.taken["s"][-1].publishers] == [0, 1, 2, 3]


def test_TC14_when_the_numbers_of_an_epoch_are_used_up_another_one_begins(going: TopicWorld) -> None:
    """And numbers go on through 256, so that one names one chain in all epochs that are in use."""
    for _ in range(40):
        going.ask("p", TOPIC, PUBLISH)
        going.sim.run_for(1.0)
    taken = [(each.grant.epoch, each.grant.snd) for each in going.taken["p"]]
    assert len(set(taken)) == len(taken)
    assert {epoch: sum(each[0] == epoch for each in taken) for epoch, _ in taken} == {1: 16, 2: 16, 3: 9}
    assert [begun.cause for begun in going.sim.heard(SYSTEM, EpochBegun)[1:]] == [Cause.COUNT, Cause.COUNT]
    assert [snd for _, snd in taken] == list(range(41))


def test_TC15_a_topic_has_at_most_16_publishers(world: TopicWorld) -> None:
    for number in range(17):
        world.add(f"p{number}", b"many%04d" % number)
        world.book.grant("many/#", b"many%04d" % number, PUBLISH)
    for number in range(17):
        world.ask(f"p{number}", "many/t", PUBLISH)
        world.sim.run_for(0.1)
    assert world.sim.heard("p16", KeyDenied) == [KeyDenied("many/t", PUBLISH, ErrorCode.E_LIMIT)]
    for _ in range(2):
        world.rotate("many/t")
        world.sim.run_for(2.0)
    named = {(each.grant.epoch, each.grant.snd) for n in range(16) for each in world.taken[f"p{n}"]}
    assert len(named) == 16 * 3


# ------------------------------------------------------------------ rules that change


def test_TC17_a_grant_begins_an_epoch_and_who_is_new_knows_nothing_of_before(going: TopicWorld) -> None:
    going.grant(FILTER, "t", SUBSCRIBE)
    going.ask("t", TOPIC, SUBSCRIBE)
    going.sim.run_for(5.0)
    assert going.sim.heard(SYSTEM, EpochBegun)[-1] == EpochBegun(TOPIC, 2, Cause.GRANT, 3)
    assert going.epochs("t", TOPIC, SUBSCRIBE) == [2]


def test_TC17_an_operators_wish_and_other_terms_begin_one_and_a_rule_twice_does_not(going: TopicWorld) -> None:
    going.lay_down(going.book.rotate(FILTER))
    going.sim.run_for(5.0)
    going.lay_down()
    going.sim.run_for(5.0)
    going.lay_down(going.book.grant(FILTER, PUB, PUBLISH, cs=3))
    going.sim.run_for(5.0)
    assert [begun.cause for begun in going.sim.heard(SYSTEM, EpochBegun)[1:]] == [Cause.OPERATOR, Cause.OPERATOR]
    assert [each.grant.cs for each in going.taken["p"]] == [1, 1, 3]


def test_TC17_an_older_version_changes_nothing_and_another_filter_rules_where_the_first_went(going: TopicWorld) -> None:
    old = going.book.rules[FILTER]
    going.book.grant(TOPIC, PUB, PUBLISH | SUBSCRIBE)
    going.book.grant(TOPIC, SUB, SUBSCRIBE)
    going.lay_down()
    going.sim.run_for(5.0)
    assert (going.session(TOPIC).filter, going.session(TOPIC).known.version) == (TOPIC, 4)
    del going.book.rules[TOPIC]
    going.lay_down()
    going.sim.run_for(5.0)
    assert (going.session(TOPIC).filter, going.session(TOPIC).known.version) == (FILTER, old.version)
    epochs = len(going.sim.heard(SYSTEM, EpochBegun))
    going.book.rules[FILTER] = replace(old, version=1, grants=())
    going.lay_down()
    assert len(going.sim.heard(SYSTEM, EpochBegun)) == epochs


def test_TC17_a_request_judged_by_an_outdated_rule_comes_again(going: TopicWorld) -> None:
    going.book.grant(FILTER, OTHER, SUBSCRIBE)
    going.ask("t", TOPIC, SUBSCRIBE)
    going.sim.run_for(0.01)
    going.put_out(FILTER, "t", compromised=False)
    going.sim.run_for(10.0)
    assert going.taken["t"] == []
    assert going.sim.heard("t", KeyDenied) == [KeyDenied(TOPIC, SUBSCRIBE, ErrorCode.E_CRED)]


def test_TC17_without_a_rule_a_session_ends_and_its_keys_with_it(going: TopicWorld) -> None:
    keys = {each.grant.SK for each in going.taken["p"]}
    del going.book.rules[FILTER]
    going.lay_down()
    assert going.sim.heard(SYSTEM, SessionEnded) == [SessionEnded(TOPIC)]
    assert not any(key in row.record for key in keys for row in going.sim.hosts[SYSTEM].disk.values())
    going.rotate(TOPIC)
    assert going.session(TOPIC) is None


def test_TC19_a_session_that_ended_does_not_hold_up_the_others(world: TopicWorld) -> None:
    world.book.grant("x/#", SUB, SUBSCRIBE)
    for topic in (TOPIC, "x/1"):
        world.ask("s", topic, SUBSCRIBE)
    world.sim.run_for(1.0)
    world.cut("s")
    world.rotate(TOPIC)
    world.rotate("x/1")
    world.sim.run_for(1.0)
    del world.book.rules[FILTER]
    world.lay_down()
    world.mend("s")
    world.sim.run_for(30.0)
    assert world.epochs("s", "x/1", SUBSCRIBE) == [1, 2]


# ------------------------------------------------------------------ one chain for many topics


def test_TC19_several_topics_of_a_client_are_pushed_one_after_the_other(world: TopicWorld) -> None:
    topics = [f"w/{number}" for number in range(12)]
    for topic in topics:
        world.ask("s", topic, SUBSCRIBE)
    world.sim.run_for(5.0)
    for topic in topics:
        world.rotate(topic)
    world.sim.run_for(5.0)
    assert [world.epochs("s", topic, SUBSCRIBE) for topic in topics] == [[1, 2]] * 12
    pushes = [Kpush.decode(each.data, sizes_of(1)).k for each in world.sim.air if peek(each.data)[0] == Kpush.mt]
    assert pushes == list(range(12, 24))


def test_TC20_a_message_is_repeated_and_then_tried_now_and_then(going: TopicWorld) -> None:
    going.cut("s")
    going.rotate(TOPIC)
    going.sim.run_for(2000.0)
    at = [each.at - 2.0 for each in going.sim.air if each.target == "s" and peek(each.data)[0] == Kpush.mt]
    assert [round(time, 1) for time in at[:8]] == [0.0, 2.0, 6.0, 30.0, 62.0, 126.0, 254.0, 510.0]
    assert 500 < at[-1] - at[-2] <= LONGEST_S + 1
    going.mend("s")
    going.ask("s", "w/other", SUBSCRIBE)
    going.sim.run_for(2.0)
    assert going.epochs("s", TOPIC, SUBSCRIBE) == [1, 2], "whoever is heard of is served at once"


@pytest.mark.parametrize("during", [0.001, 0.008, 0.012, 2.5, 7.0])
def test_TC21_a_restarted_system_goes_on_with_what_is_owed(going: TopicWorld, during: float) -> None:
    going.rotate(TOPIC)
    if during > 1:
        going.cut("s")
    going.sim.run_for(during)
    going.reboot_system(down_s=3.0)
    going.mend("s")
    going.sim.run_for(30.0)
    assert going.epochs("s", TOPIC, SUBSCRIBE) == going.epochs("p", TOPIC, PUBLISH) == [1, 2]
    assert going.sim.heard(SYSTEM, SessionHeld)[-1].topic == TOPIC
    assert going.sim.heard(SYSTEM, Safe)[-1] == Safe(TOPIC, 2)
    going.reboot_system()
    assert going.sim.heard(SYSTEM, SessionHeld)[-1].holders == (
        Holder(SUB, SUBSCRIBE, 2, parked=False),
        Holder(PUB, PUBLISH, 2, parked=False),
    )


def test_TC18_a_clock_that_was_set_back_does_not_make_an_epoch_last(going: TopicWorld) -> None:
    going.sim.set_clock(SYSTEM, Quartz(skew_s=-1e7))
    going.reboot_system()
    going.sim.run_for(86_401.0)
    assert going.epochs("p", TOPIC, PUBLISH) == [1, 2]


def test_TC20_a_reliable_link_that_gives_up_parks_at_once(going: TopicWorld) -> None:
    going.sim.channels[SYSTEM, "s"] = Channel(loss=1.0, reliable=True)
    going.rotate(TOPIC)
    going.sim.run_for(4.0)
    assert going.sim.heard(SYSTEM, Parked) == []
    key = client_of(SUB)
    sent = going.sim.hosts[SYSTEM].cells[key].sent
    for ref, parked in ((sent - 1, []), (sent, [Parked(TOPIC, 2, SUB)])):
        going.sim.hosts[SYSTEM].step(key, Failed("s", ref), going.sim.now)
        assert going.sim.heard(SYSTEM, Parked) == parked


def test_TC24_who_is_not_registered_hears_nothing_and_is_parked(going: TopicWorld) -> None:
    going.sim.command(SYSTEM, client_of(SUB), ForgetClient())
    sent = going.sim.messages[SYSTEM, 51]
    going.ask("s", TOPIC, SUBSCRIBE)
    going.rotate(TOPIC)
    going.sim.run_for(30.0)
    assert going.sim.heard("s", KeyDenied) == [KeyDenied(TOPIC, SUBSCRIBE, ErrorCode.E_TIMEOUT)]
    assert going.sim.heard(SYSTEM, Parked) == [Parked(TOPIC, 2, SUB)]
    assert going.sim.messages[SYSTEM, 51] == sent + 1
    assert going.epochs("p", TOPIC, PUBLISH) == [1, 2]


def test_TC27_a_repetition_by_somebody_else_changes_nothing_for_its_client(going: TopicWorld) -> None:
    """Neither where it is, nor how long it is waited for; also when what it asked for was withdrawn meanwhile."""
    going.cut("s")
    del going.sim.channels["s", SYSTEM]
    going.ask("s", TOPIC, SUBSCRIBE)
    going.sim.run_for(0.5)
    asked = _requests(going, "s")[-1]
    going.cut("s")
    for second in range(18):
        if second == 9:
            going.rotate(TOPIC, compromise=True)
        going.sim.inject("somebody", SYSTEM, asked)
        going.sim.run_for(1.0)
    assert going.sim.hosts[SYSTEM].cells[client_of(SUB)].at == "s"
    going.sim.run_for(10.0)
    assert Parked(TOPIC, 2, SUB) in going.sim.heard(SYSTEM, Parked)
    assert not any(each.target == "somebody" and peek(each.data)[0] == Kpush.mt for each in going.sim.air)


def test_TC25_a_cell_at_rest_is_what_its_record_says(going: TopicWorld) -> None:
    """So that it may leave the memory of a manager with many."""
    host = going.sim.hosts[SYSTEM]
    for key, cell in host.cells.items():
        load = host.node.kinds[key.kind].load
        assert load is not None
        assert load(key.id, host.disk[key].record) == cell


def test_TC25_records_have_room_for_the_most(going: TopicWorld) -> None:
    """A client's record with 16 answers and 16 pushes at one k, a session's with 256 subscribers, 16 publishers, 4 epochs."""
    most = 2**32 - 1
    names = tuple(Publisher(255, bytes(33)) for _ in range(16))
    full = KeyGrant(bytes(8), most, 255, 255, bytes(32), most, most, most, names)
    chain, entropy = KeyChain(SUB, most, Secret(bytes(32))), SeededEntropy(b"full")
    client, end = ClientEnd(suite_by_id(1), chain), SystemEnd(suite_by_id(1), chain)
    for _ in range(16):
        client, asked = request(client, "t" * 255, SUBSCRIBE, entropy)
        wanted = hear(end, asked)
        assert isinstance(wanted, Wanted)
        end, _ = answer(wanted, full)
    for _ in range(16):
        end, _ = push(end, full, entropy)
    cell = ClientCell(end, "a" * 64)
    stored = system_record(cell)
    assert len(stored) <= MAX_RECORD
    again = system_load(stored, suite_by_id)
    assert [(each.request, each.kack, each.receipt) for each in again.end.open] == [
        (each.request, each.kack, each.receipt) for each in end.open
    ]
    assert again.unheard == cell.unheard
    owed = (most - 3, most - 2, most - 1, most)
    subscribers = tuple(Party(b"%08d" % each, most, owed, parked=True) for each in range(256))
    publishers = tuple(Party(b"%08d" % each, most, owed[-1:], True, bytes(33), 255, given=True) for each in range(16))
    lasting = going.session(TOPIC)
    epochs = tuple(Epoch(each, Secret(bytes(32)), Terms(255, most, most), names) for each in owed)
    big = replace(lasting, topic="t" * 255, filter="t" * 255, epochs=epochs, parties=Parties(subscribers, publishers))
    session = SessionCell(replace(big, former=tuple(b"%08d" % each for each in range(256))))
    stored = session_record(session)
    assert len(stored) <= MOST_RECORD
    assert session_load(b"", stored) == session


def _requests(world: TopicWorld, name: str) -> list[bytes]:
    return [each.data for each in world.sim.air if each.source == name and peek(each.data)[0] == Kreq.mt]
