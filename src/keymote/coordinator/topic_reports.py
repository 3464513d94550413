"""What managers report of their topics: taken once, in order, and only of topics and clients that are theirs.

A report that cannot be believed is named in the answer and in the audit log, and never holds up the ones behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, assert_never

from keymote.coordinator import topics_rules as rules
from keymote.coordinator.desk import Desk, by_manager
from keymote.coordinator.topic_changes import overtake, version_of
from keymote.coordinator.topic_safety import settle
from keymote.engine.policy.topic_events import (
    Acknowledged,
    ClientForgotten,
    ClientMade,
    EpochBegun,
    KeyRefused,
    Parked,
    Safe,
    SessionEnded,
    TopicReport,
)
from keymote.errors import CallerFault, ErrorCode, KeymoteError, PeerFault
from keymote.host.ledger import Transaction
from keymote.host.topic_register import FileClient, Holder, Refusal, Session, Topic, TopicEpoch
from keymote.wire.topic import PUBLISH

MOST_REFUSALS: Final = 1000
"""Clients of a manager of which the last refusal is kept."""
LONGEST_LEAD_S: Final = 366 * 86400
"""How far a version may be above the time in seconds: one for each of so many changes in a second, or a clock that was ahead."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Reports up to `upto` were dealt with; `refused` are (seq, why)."""

    upto: int
    refused: Sequence[tuple[int, str]]


class TopicReports:
    """The desk at which managers hand in what happened."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def take(self, caller: bytes, items: Sequence[TopicReport]) -> Taken:
        """Enter the reports of the manager `caller` that are new; doing it again changes nothing.

        Raises:
            CallerFault: the reports do not ascend.
        """
        if any(one.seq >= other.seq for one, other in pairwise(items)):
            raise CallerFault("reports must ascend by seq", do="send the oldest first")
        taken = await self._desk.ledger.write(lambda tx: _Batch(self._desk, tx, caller).take(items))
        self._desk.news.ring()
        return taken


class _Batch:
    """The reports of one call, in one transaction."""

    def __init__(self, desk: Desk, tx: Transaction, caller: bytes) -> None:
        self._desk, self._tx, self._caller = desk, tx, caller
        self._rules: Sequence[Topic] | None = None
        self._moved: set[bytes] = set()
        """Rules under which a topic has become safe, or ended."""

    def take(self, items: Sequence[TopicReport]) -> Taken:
        refused = list[tuple[int, str]]()
        upto = self._tx.topics.reported(self._caller)
        for item in items:
            if item.seq <= upto:
                continue
            upto = item.seq
            try:
                self._enter(item)
            except KeymoteError as fault:
                refused.append((item.seq, fault.what))
                self._note("topic.disbelieve", self._caller, seq=item.seq, why=fault.what[:200])
        self._tx.topics.put_reported(self._caller, upto)
        if self._moved:
            settle(self._tx, self._caller, self._moved)
        return Taken(upto, refused)

    def _enter(self, item: TopicReport) -> None:
        at_ms = min(item.at_ms, self._desk.now_ms())
        match item.event:
            case EpochBegun() as event:
                self._begun(event, at_ms)
            case Acknowledged(topic, epoch, client, role):
                held = self._holder(topic, client)
                if role == PUBLISH:
                    held = replace(held, published=max(held.published, epoch))
                else:
                    held = replace(held, subscribed=max(held.subscribed, epoch))
                self._tx.topics.put_holder(held)
            case Safe(topic, epoch):
                session = self._session(topic)
                self._moved.add(session.tid)
                self._tx.topics.safe(self._caller, topic, epoch, at_ms)
                if epoch >= session.epoch and session.safe_ms is None:
                    self._tx.topics.put_session(replace(session, safe_ms=at_ms))
            case Parked(topic, epoch, client):
                held = self._holder(topic, client)
                self._tx.topics.put_holder(replace(held, parked=max(held.parked, epoch)))
            case KeyRefused(client, topic, code):
                before = self._tx.topics.refusal(self._caller, client)
                times = 1 if before is None else before.times + 1
                refusal = Refusal(self._caller, client, topic, int(code), times, at_ms)
                self._tx.topics.put_refusal(refusal, MOST_REFUSALS)
            case SessionEnded(topic):
                session = self._session(topic)
                self._moved.add(session.tid)
                self._tx.topics.put_session(replace(session, ended=True))
                self._tx.topics.forget_holders(self._caller, topic)
                self._note("topic.end", session.tid, topic=topic)
            case ClientMade(client, name):
                self._made(client, name, at_ms)
            case ClientForgotten(client):
                self._forgotten(client)
            case _:
                assert_never(item.event)

    # ------------------------------------------------------------------ epochs

    def _begun(self, event: EpochBegun, at_ms: int) -> None:
        """A session begins, or goes on; one whose manager was restored from a backup goes on from where that was."""
        session = self._tx.topics.session(self._caller, event.topic)
        if session is None or session.ended:
            tid = rules.ruling(self._ruled(), event.topic)
            if not tid:
                raise PeerFault(ErrorCode.E_NOSHARE, f"no rule of manager {self._caller.hex()} is for {event.topic!r}")
            self._tx.topics.forget_epochs(self._caller, event.topic)
            session = Session(self._caller, event.topic, tid)
        if event.version > version_of(self._tx, self._caller):
            if event.version > self._desk.now + LONGEST_LEAD_S:
                raise PeerFault(ErrorCode.E_FORMAT, f"version {event.version} of a charter was never given out")
            overtake(self._desk, self._tx, self._caller, event.version)
        for held in self._tx.topics.holders(self._caller, event.topic):
            if held.epoch >= event.epoch or held.parked >= event.epoch:
                self._tx.topics.put_holder(_before(held, event.epoch))
        begun = (event.epoch, int(event.cause), event.version, at_ms)
        self._tx.topics.put_epoch(TopicEpoch(self._caller, event.topic, *begun))
        self._tx.topics.put_session(Session(self._caller, event.topic, session.tid, *begun))
        cause = event.cause.name.lower()
        self._note("topic.epoch", session.tid, topic=event.topic, epoch=event.epoch, cause=cause)

    def _session(self, topic: str) -> Session:
        session = self._tx.topics.session(self._caller, topic)
        if session is None or session.ended:
            raise PeerFault(ErrorCode.E_STATE, f"no epoch of {topic!r} was reported")
        return session

    def _holder(self, topic: str, client: bytes) -> Holder:
        self._session(topic)
        return self._tx.topics.holder(self._caller, topic, client) or Holder(self._caller, topic, client)

    def _ruled(self) -> Sequence[Topic]:
        if self._rules is None:
            self._rules = self._tx.topics.ruled_by(self._caller)
        return self._rules

    # ------------------------------------------------------------------ clients of provisioning files

    def _made(self, client: bytes, name: str, at_ms: int) -> None:
        known = self._tx.topics.client(client)
        if self._tx.device(client) is not None or (known is not None and known.nm_id != self._caller):
            raise PeerFault(ErrorCode.E_CRED, f"client {client.hex()} is somebody else's")
        if known is None or known.gone or known.name != name:
            self._tx.topics.put_client(FileClient(client, self._caller, name, at_ms))
            self._note("topic.client", client, name=name)

    def _forgotten(self, client: bytes) -> None:
        known = self._tx.topics.client(client)
        if known is None or known.nm_id != self._caller:
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"client {client.hex()} is none of manager {self._caller.hex()}")
        self._tx.topics.put_client(replace(known, gone=True))
        self._note("topic.forget", client)

    def _note(self, action: str, subject: bytes, **details: int | str | bytes) -> None:
        self._desk.note(self._tx, by_manager(self._caller), action, subject, **details)


def _before(held: Holder, epoch: int) -> Holder:
    """Return what somebody holds when this epoch begins: nothing of it yet."""
    return replace(
        held,
        published=min(held.published, epoch - 1),
        subscribed=min(held.subscribed, epoch - 1),
        parked=min(held.parked, epoch - 1),
    )
