"""Rules and reports of topics travel as REST bodies and come out as they went in."""

import pytest

from keymote.engine.policy.topic_charter import TopicGone, TopicGrant, TopicPolicy, TopicRule
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
)
from keymote.errors import ErrorCode, PeerFault
from keymote.transports.topic_bodies import body_of, report_of, rule_of, rule_view
from keymote.wire import admin
from keymote.wire.admin_topics import RuleView, SafeReport, TopicReports

ANN = bytes.fromhex("00000000000000a1")
EVENTS: list[TopicEvent] = [
    EpochBegun("ward/7/ä", 2, Cause.COMPROMISE, 5),
    Acknowledged("ward/7/ä", 2, ANN, 2),
    Safe("ward/7/ä", 2),
    Parked("ward/7/ä", 2, ANN),
    KeyRefused(ANN, "", ErrorCode.E_TICKET),
    SessionEnded("ward/7/ä"),
    ClientMade(ANN, "pump 4"),
    ClientForgotten(ANN),
]


def test_CT05_every_report_travels_and_is_the_same() -> None:
    assert {type(event) for event in EVENTS} == set(KINDS)
    reports = [TopicReport(seq, 1_700_000_000_000, event) for seq, event in enumerate(EVENTS, start=1)]
    carried = admin.encode(TopicReports([body_of(report) for report in reports]))
    assert [report_of(item) for item in admin.decode(carried, TopicReports).items] == reports


def test_CT05_a_rule_travels_and_is_the_same() -> None:
    rule = TopicRule(
        "ward/+/#",
        5,
        TopicPolicy.SIGNED,
        emergency=True,
        cs=2,
        max_msgs=64,
        life_s=60,
        grants=(TopicGrant(ANN, 3, bytes(32)),),
        rotations=2,
        gone=(TopicGone(ANN, compromised=True, since=4),),
    )
    assert rule_of(admin.decode(admin.encode(rule_view(rule)), RuleView)) == rule


def test_CT05_what_cannot_be_is_refused_on_arrival() -> None:
    good = rule_view(TopicRule("ward/#", 1))
    for wrong in (
        {"filter": "a/#/b"},
        {"policy": "loud"},
        {"version": 0},
        {"cs": 9},
    ):
        values = {name: wrong.get(name, getattr(good, name)) for name in good.__struct_fields__}
        with pytest.raises(PeerFault):
            rule_of(RuleView(**values))
    with pytest.raises(PeerFault):
        report_of(SafeReport(1, 1, "ward/#", 1))
    refused = (
        b'{"items":[{"kind":"refused","seq":1,"ts_ms":1,"client":"00000000000000a1","topic":"","code":"E_NONSENSE"}]}'
    )
    with pytest.raises(PeerFault):
        report_of(admin.decode(refused, TopicReports).items[0])
    with pytest.raises(PeerFault):
        admin.decode(b'{"items":[{"kind":"safe","seq":1,"ts_ms":1,"topic":"t","epoch":1,"key":"00"}]}', TopicReports)
