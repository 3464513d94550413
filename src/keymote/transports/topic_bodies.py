"""Rules and reports of topics as REST bodies, both ways: the manager's side writes what the coordinator's reads, and back."""

from collections.abc import Mapping
from dataclasses import fields
from enum import IntEnum
from typing import Any, Final

from keymote.engine.policy.topic_charter import TopicGone, TopicGrant, TopicPolicy, TopicRule
from keymote.engine.policy.topic_events import (
    Acknowledged,
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
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire import admin_topics as bodies
from keymote.wire.admin import from_base64url, id_of, to_base64url

_BODIES: Final[Mapping[type[TopicEvent], type[bodies.Report]]] = {
    EpochBegun: bodies.EpochReport,
    Acknowledged: bodies.AcknowledgedReport,
    Safe: bodies.SafeReport,
    Parked: bodies.ParkedReport,
    KeyRefused: bodies.KeyRefusedReport,
    SessionEnded: bodies.EndedReport,
    ClientMade: bodies.ClientMadeReport,
    ClientForgotten: bodies.ClientForgottenReport,
}
_EVENTS: Final[Mapping[type[bodies.Report], type[TopicEvent]]] = {body: event for event, body in _BODIES.items()}


def body_of(report: TopicReport) -> Any:
    """Return a report as its body (one of `TopicReportBody`)."""
    event = report.event
    said = {each.name: _written(getattr(event, each.name)) for each in fields(event)}
    return _BODIES[type(event)](seq=report.seq, ts_ms=report.at_ms, **said)


def report_of(body: bodies.TopicReportBody) -> TopicReport:
    """Return the report in a body; PeerFault E_FORMAT for one that cannot be (a topic with a wildcard, an unknown code)."""
    kind = _EVENTS[type(body)]
    return TopicReport(body.seq, body.ts_ms, event_of(kind, [_read(body, each.name) for each in fields(kind)]))


def rule_view(rule: TopicRule) -> bodies.RuleView:
    """Return a rule as its body."""
    return bodies.RuleView(
        rule.filter,
        rule.version,
        rule.policy.value,
        rule.emergency,
        rule.cs,
        rule.max_msgs,
        rule.life_s,
        rule.rotations,
        [bodies.GrantEntry(each.client.hex(), each.roles, to_base64url(each.sig_pk)) for each in rule.grants],
        [bodies.GoneEntry(each.client.hex(), each.compromised, each.since) for each in rule.gone],
    )


def rule_of(view: bodies.RuleView) -> TopicRule:
    """Return the rule in a body; PeerFault E_FORMAT for one that no topic can have."""
    try:
        return TopicRule(
            view.filter,
            view.version,
            TopicPolicy(view.policy),
            emergency=view.emergency,
            cs=view.cs,
            max_msgs=view.max_msgs,
            life_s=view.life_s,
            rotations=view.rotations,
            grants=tuple(TopicGrant(id_of(one.client), one.roles, from_base64url(one.sig_pk)) for one in view.grants),
            gone=tuple(TopicGone(id_of(one.client), one.compromised, one.since) for one in view.gone),
        )
    except (CallerFault, ValueError) as fault:
        raise PeerFault(ErrorCode.E_FORMAT, f"a rule that cannot be: {fault}") from fault


def _written(value: object) -> object:
    match value:
        case bytes():
            return value.hex()
        case ErrorCode():
            return value.name
        case IntEnum():
            return int(value)
    return value


def _read(body: bodies.Report, name: str) -> Any:
    value = getattr(body, name)
    match name:
        case "client":
            return id_of(value)
        case "code":
            return int(ErrorCode.__members__.get(value, 0))
    return value
