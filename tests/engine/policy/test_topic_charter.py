"""What is told about topics: filters as MQTT has them, rules and reports in one form each, both ways."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keymote import cbor
from keymote.engine.policy.topic_charter import (
    MOST_GRANTS,
    TopicCharter,
    TopicGone,
    TopicGrant,
    TopicPolicy,
    TopicRule,
)
from keymote.engine.policy.topic_events import (
    KINDS,
    Acknowledged,
    Cause,
    ClientForgotten,
    ClientMade,
    EpochBegun,
    KeyRefused,
    Parked,
    Safe,
    SessionEnded,
    TopicEvent,
    TopicReport,
    event_of,
)
from keymote.engine.policy.topic_filters import check_filter, check_topic, matches, most_specific, overlap
from keymote.errors import CallerFault, ErrorCode, PeerFault

ANN, BEN = bytes.fromhex("00000000000000a1"), bytes.fromhex("00000000000000b2")
RULE = TopicRule(
    "ward/7/#",
    5,
    TopicPolicy.SIGNED,
    emergency=True,
    cs=2,
    max_msgs=1000,
    life_s=3600,
    grants=(TopicGrant(ANN, 3, bytes(range(32))), TopicGrant(BEN, 2)),
    rotations=1,
    gone=(TopicGone(ANN, compromised=True, since=4),),
)
GOLDEN = bytes.fromhex(
    "8a68776172642f372f2305667369676e6564f5021903e8190e10"
    "8283" + "4800000000000000a1" + "03" + "5820" + bytes(range(32)).hex() + "83" + "4800000000000000b2" + "0240"
    "01" + "8183" + "4800000000000000a1" + "f504"
)
EVENTS: list[TopicEvent] = [
    EpochBegun("ward/7/pulse", 2, Cause.REVOKE, 5),
    Acknowledged("ward/7/pulse", 2, ANN, 1),
    Safe("ward/7/pulse", 2),
    Parked("ward/7/pulse", 2, BEN),
    KeyRefused(BEN, "", ErrorCode.E_TICKET),
    SessionEnded("ward/7/pulse"),
    ClientMade(BEN, "pump 4"),
    ClientForgotten(BEN),
]


# ------------------------------------------------------------------ filters


@pytest.mark.parametrize("name", ["#", "+", "ward/#", "ward/+/pulse", "+/+", "/", "a//b", "ä/ö", "a" * 255])
def test_CT01_takes_filters_of_mqtt(name: str) -> None:
    check_filter(name)


@pytest.mark.parametrize(
    "name",
    ["", "a/#/b", "a#", "#a", "a+/b", "a/+b", "$SYS/#", "$share/x/y", "a\x00b", "a\nb", "ä" * 128, "\ud800"],
)
def test_CT01_refuses_what_is_no_filter(name: str) -> None:
    with pytest.raises(CallerFault):
        check_filter(name)


def test_CT01_a_topic_has_no_wildcard() -> None:
    check_topic("ward/7/pulse")
    for name in ("ward/#", "ward/+/pulse", "", "$SYS/x", "x\x00", "a" * 256):
        with pytest.raises(PeerFault) as caught:
            check_topic(name)
        assert caught.value.code is ErrorCode.E_FORMAT


def test_CT02_filters_match_as_in_mqtt() -> None:
    assert matches("ward/#", "ward")
    assert matches("ward/#", "ward/7/pulse")
    assert matches("+/7/+", "ward/7/")
    assert matches("#", "a/b")
    assert not matches("ward/+", "ward")
    assert not matches("ward/+", "ward/7/pulse")
    assert not matches("ward/7", "ward/8")
    assert not matches("ward/7/#", "ward/8/pulse")


def test_CT02_the_most_specific_filter_rules() -> None:
    filters = ["#", "ward/#", "ward/+/pulse", "ward/7/#", "ward/7/pulse", "+/7/pulse"]
    for topic, pattern in (
        ("ward/7/pulse", "ward/7/pulse"),
        ("ward/7/spo2", "ward/7/#"),
        ("ward/8/pulse", "ward/+/pulse"),
        ("ward", "ward/#"),
        ("bay/7/pulse", "+/7/pulse"),
        ("x", "#"),
    ):
        assert most_specific(filters, topic) == pattern
    assert most_specific(["ward/7/#"], "ward/8/pulse") is None


LEVELS = st.sampled_from(["a", "b", "+", "#"])


@st.composite
def some_filters(draw: st.DrawFn) -> str:
    levels = draw(st.lists(LEVELS, min_size=1, max_size=4))
    return "/".join([each if each != "#" else "+" for each in levels[:-1]] + levels[-1:])


TOPICS = st.lists(st.sampled_from("ab"), min_size=1, max_size=5).map("/".join)


@settings(max_examples=40)
@given(st.lists(some_filters(), min_size=1, max_size=6, unique=True), TOPICS, st.randoms(use_true_random=False))
def test_CT02_the_order_of_filters_decides_nothing(filters: list[str], topic: str, random: object) -> None:
    shuffled = list(filters)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # what hypothesis hands in is a Random
    chosen = most_specific(filters, topic)
    assert chosen == most_specific(shuffled, topic)
    standing = [each for each in filters if matches(each, topic)]
    assert (chosen in standing) if standing else chosen is None
    assert all(overlap(one, other) for one in standing for other in standing)


def test_CT02_knows_filters_that_share_a_topic() -> None:
    for one, other in (("ward/#", "ward"), ("a/+/c", "a/b/#"), ("#", "x"), ("+/b", "a/+")):
        assert overlap(one, other)
        assert overlap(other, one)
    for one, other in (("ward/7", "ward/8"), ("a/+", "a"), ("a/b/#", "a/c/#"), ("a/+/c", "a/b/d")):
        assert not overlap(one, other)
        assert not overlap(other, one)


# ------------------------------------------------------------------ rules


def test_CT03_a_rule_has_one_form_both_ways() -> None:
    assert RULE.encode() == GOLDEN
    assert TopicRule.decode(GOLDEN) == RULE
    assert TopicRule.decode(TopicRule("#", 1).encode()) == TopicRule("#", 1)


def test_CT03_refuses_every_other_form() -> None:
    for cut in range(len(GOLDEN)):
        with pytest.raises(PeerFault):
            TopicRule.decode(GOLDEN[:cut])
    with pytest.raises(PeerFault):
        TopicRule.decode(GOLDEN + b"\x00")
    items = cbor.decode(GOLDEN)
    assert isinstance(items, list)
    wrong = [
        (0, "a/#/b"),
        (0, 7),
        (1, 0),
        (1, True),
        (2, "loud"),
        (3, 1),
        (4, 9),
        (5, 0),
        (6, -1),
        (7, [[ANN, 3, b"x"]]),
        (7, [[ANN, 4, b""]]),
        (7, [[ANN, 0, b""]]),
        (7, [[ANN, True, b""]]),
        (7, [[BEN, 2, b""], [ANN, 3, b""]]),
        (7, [[ANN, 3, b""], [ANN, 3, b""]]),
        (7, [[b"short", 3, b""]]),
        (7, [[ANN, 3]]),
        (8, -1),
        (9, [[ANN, 1, 4]]),
        (9, [[ANN, True, 6]]),
        (9, [[ANN, True]]),
    ]
    for place, value in wrong:
        with pytest.raises(PeerFault) as caught:
            TopicRule.decode(cbor.encode([*items[:place], value, *items[place + 1 :]]))
        assert caught.value.code is ErrorCode.E_FORMAT, (place, value)


def test_CT03_a_rule_no_topic_can_have_is_refused() -> None:
    many = tuple(TopicGrant(n.to_bytes(8, "big"), 1, bytes(33)) for n in range(MOST_GRANTS + 1))
    full = TopicRule("#", 1, grants=many[:-1], gone=tuple(TopicGone(each.client, True, 1) for each in many[:-1]))
    assert TopicRule.decode(full.encode()) == full
    with pytest.raises(CallerFault):
        TopicRule("#", 1, grants=many)
    with pytest.raises(CallerFault):
        TopicRule("#", 1, cs=16, max_msgs=(1 << 20) + 1)


def test_CT03_a_rule_says_who_may() -> None:
    assert RULE.may(ANN, 1)
    assert RULE.may(BEN, 2)
    assert not RULE.may(BEN, 1)
    assert not RULE.may(ANN, 3)
    assert not RULE.may(bytes(8), 2)
    assert RULE.taken_from(ANN, 3) == TopicGone(ANN, compromised=True, since=4)
    assert RULE.taken_from(ANN, 4) is None
    assert RULE.taken_from(BEN, 0) is None


def test_CT02_a_charter_knows_the_rule_of_a_topic() -> None:
    wide = TopicRule("ward/#", 1)
    charter = TopicCharter(5, 0, (wide, RULE))
    assert charter.rule_of("ward/7/pulse") is RULE
    assert charter.rule_of("ward/8/pulse") is wide
    assert charter.rule_of("bay") is None


# ------------------------------------------------------------------ reports


def test_CT04_every_event_has_one_form_both_ways() -> None:
    assert [type(event) for event in EVENTS] == list(KINDS)
    for seq, event in enumerate(EVENTS, start=1):
        report = TopicReport(seq, 1_700_000_000_000 + seq, event)
        assert TopicReport.decode(report.encode()) == report
    first = TopicReport(7, 1, EVENTS[0]).encode()
    assert first == bytes.fromhex("870701006c776172642f372f70756c7365020205")
    for cut in range(len(first)):
        with pytest.raises(PeerFault):
            TopicReport.decode(first[:cut])


@pytest.mark.parametrize(
    "items",
    [
        [1, 1, 0, "ward/#", 2, 2, 5],
        [1, 1, 0, "ward", 2, 7, 5],
        [1, 1, 0, "ward", 2, 2],
        [1, 1, 0, "ward", -1, 2, 5],
        [1, 1, 0, "", 2, 2, 5],
        [1, 1, 1, "ward", 2, b"short", 1],
        [1, 1, 1, "ward", 2, ANN, 4],
        [1, 1, 4, ANN, "ward", 0],
        [1, 1, 4, ANN, "ward", True],
        [1, 1, 6, ANN, ""],
        [1, 1, 6, ANN, "a\nb"],
        [1, 1, 8, ANN],
        [-1, 1, 2, "ward", 1],
        [True, 1, 2, "ward", 1],
        [1],
    ],
)
def test_CT04_refuses_what_is_no_report(items: list[object]) -> None:
    with pytest.raises(PeerFault) as caught:
        TopicReport.decode(cbor.encode(items))
    assert caught.value.code is ErrorCode.E_FORMAT


def test_CT04_an_event_from_outside_is_checked() -> None:
    assert event_of(Safe, ["ward", 3]) == Safe("ward", 3)
    with pytest.raises(PeerFault):
        event_of(Safe, ["ward", "3"])
