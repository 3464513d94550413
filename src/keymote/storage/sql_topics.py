"""The port `TopicRows` on one connection: rows to records and back, nothing decided here."""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Row, Select, bindparam, case, delete, func, insert, literal, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from keymote.host.register import CredentialState, Taken
from keymote.host.topic_register import (
    ENDING,
    Card,
    FileClient,
    Grant,
    Holder,
    Refusal,
    Session,
    Taking,
    Topic,
    TopicEpoch,
    Why,
)
from keymote.storage import sql_registry as register
from keymote.storage import sql_topic_tables as tables
from keymote.storage.sql_upsert import Upsert

T = TypeVar("T")

_PUT_RULE: Final = Upsert(tables.rules, "tid")
_PUT_GRANT: Final = Upsert(tables.grants, "tid", "client")
_PUT_SESSION: Final = Upsert(tables.sessions, "nm_id", "topic")
_PUT_HOLDER: Final = Upsert(tables.holders, "nm_id", "topic", "client")
_PUT_CLIENT: Final = Upsert(tables.clients, "client")
_PUT_REFUSAL: Final = Upsert(tables.refusals, "nm_id", "client")
_PUT_REPORTER: Final = Upsert(tables.reporters, "nm_id")


def _cards() -> Select[Any]:
    """A device goes before a provisioning file of the same id, which cannot be made while the device is there."""
    g, d, c, f = tables.grants, register.devices, register.credentials, tables.clients
    in_force = (c.c.sub == g.c.client) & (c.c.state == CredentialState.ACTIVE.value)
    joined = (
        g.outerjoin(d, d.c.dev_id == g.c.client)
        .outerjoin(c, in_force)
        .outerjoin(f, (f.c.client == g.c.client) & d.c.dev_id.is_(None))
    )
    of_file = case((f.c.client.is_(None), literal("gone")), (f.c.gone, literal("gone")), else_=literal("active"))
    wanted = select(
        g.c.client,
        g.c.roles,
        case((d.c.dev_id.is_(None), literal("file")), else_=literal("device")).label("kind"),
        func.coalesce(f.c.name, literal("")).label("name"),
        func.coalesce(d.c.state, of_file).label("state"),
        func.coalesce(d.c.nm_id, f.c.nm_id, literal(b"")).label("nm_id"),
        func.coalesce(c.c.raw, literal(b"")).label("raw"),
    )
    return wanted.select_from(joined).where(g.c.tid == bindparam("tid")).order_by(g.c.client)


_CARDS: Final = _cards()


class SqlTopics:
    """Reads and writes of one transaction, which somebody else begins and ends."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # Rules

    def topic(self, tid: bytes) -> Topic | None:
        t = tables.rules
        return self._one(Topic, select(t).where(t.c.tid == tid))

    def filtered(self, name: str) -> Topic | None:
        t = tables.rules
        return self._one(Topic, select(t).where(t.c.filter == name))

    def topics(self, after: str, limit: int) -> Sequence[Topic]:
        t = tables.rules
        return self._every(Topic, select(t).where(t.c.filter > after).order_by(t.c.filter).limit(limit))

    def ruled_by(self, nm_id: bytes, after: str = "", limit: int = -1) -> Sequence[Topic]:
        t = tables.rules
        query = select(t).where(t.c.nm_id == nm_id, t.c.filter > after).order_by(t.c.filter)
        return self._every(Topic, query if limit < 0 else query.limit(limit))

    def put(self, topic: Topic) -> None:
        try:
            _PUT_RULE.run(self._connection, _values(topic))
        except IntegrityError as error:
            raise Taken(f"there is a rule for {topic.filter!r} already", do="change that one") from error

    def remove(self, tid: bytes) -> None:
        for t in (tables.grants, tables.takings, tables.rules):
            self._connection.execute(delete(t).where(t.c.tid == tid))
        s = tables.sessions
        self._connection.execute(update(s).where(s.c.tid == tid).values(tid=b""))

    def count(self) -> int:
        return int(self._connection.execute(select(func.count()).select_from(tables.rules)).scalar() or 0)

    # Grants

    def grants(self, tid: bytes) -> Sequence[Grant]:
        t = tables.grants
        return self._every(Grant, select(t).where(t.c.tid == tid).order_by(t.c.client))

    def grants_of(self, client: bytes) -> Sequence[Grant]:
        t = tables.grants
        return self._every(Grant, select(t).where(t.c.client == client).order_by(t.c.tid))

    def put_grant(self, grant: Grant) -> None:
        t = tables.grants
        if grant.roles:
            _PUT_GRANT.run(self._connection, _values(grant))
        else:
            self._connection.execute(delete(t).where(t.c.tid == grant.tid, t.c.client == grant.client))

    def cards(self, tid: bytes) -> Sequence[Card]:
        return [_record(Card, row) for row in self._connection.execute(_CARDS, {"tid": tid}).all()]

    # Takings

    def add_taking(self, taking: Taking) -> None:
        self._connection.execute(insert(tables.takings), _taking_values(taking))

    def takings(self, tid: bytes, limit: int) -> Sequence[Taking]:
        t = tables.takings
        found = self._all(select(t).where(t.c.tid == tid).order_by(t.c.id.desc()).limit(limit))
        return [_taking(row) for row in found]

    def takings_of(self, client: bytes, event: int) -> Sequence[Taking]:
        t = tables.takings
        found = self._all(select(t).where(t.c.client == client, t.c.event > event).order_by(t.c.id))
        return [_taking(row) for row in found]

    def open_takings(self, nm_id: bytes) -> Sequence[Taking]:
        t, r = tables.takings, tables.rules
        query = select(t).join(r, r.c.tid == t.c.tid).where(r.c.nm_id == nm_id, t.c.safe_ms.is_(None))
        return [_taking(row) for row in self._all(query.order_by(t.c.id))]

    def unsettled(self) -> Sequence[bytes]:
        t, r = tables.takings, tables.rules
        query = select(r.c.nm_id).join(t, t.c.tid == r.c.tid).where(t.c.safe_ms.is_(None)).distinct()
        return [row.nm_id for row in self._all(query.order_by(r.c.nm_id))]

    def put_taking(self, taking: Taking) -> None:
        t = tables.takings
        self._connection.execute(update(t).where(t.c.id == taking.id).values(_taking_values(taking)))

    def unsafe(self) -> int:
        t = tables.takings
        still_open = select(func.count()).select_from(t).where(t.c.safe_ms.is_(None))
        return int(self._connection.execute(still_open).scalar() or 0)

    # What managers reported

    def session(self, nm_id: bytes, topic: str) -> Session | None:
        t = tables.sessions
        return self._one(Session, select(t).where(t.c.nm_id == nm_id, t.c.topic == topic))

    def sessions(self, tid: bytes, after: str, limit: int) -> Sequence[Session]:
        t = tables.sessions
        query = select(t).where(t.c.tid == tid, t.c.topic > after, t.c.ended.is_(False))
        return self._every(Session, query.order_by(t.c.topic).limit(limit))

    def sessions_at(self, nm_id: bytes) -> Sequence[Session]:
        t = tables.sessions
        return self._every(Session, select(t).where(t.c.nm_id == nm_id).order_by(t.c.topic))

    def put_session(self, session: Session) -> None:
        _PUT_SESSION.run(self._connection, _values(session))

    def count_sessions(self, tid: bytes) -> tuple[int, int]:
        t = tables.sessions
        query = select(func.count(), func.count(t.c.safe_ms)).where(t.c.tid == tid, t.c.ended.is_(False))
        number, safe = self._connection.execute(query).one()
        return int(number), int(number) - int(safe)

    def put_epoch(self, line: TopicEpoch) -> None:
        t = tables.epochs
        same = (t.c.nm_id == line.nm_id) & (t.c.topic == line.topic)
        self._connection.execute(delete(t).where(same, t.c.epoch >= line.epoch))
        self._connection.execute(insert(t), {name: value for name, value in _values(line).items() if name != "id"})

    def safe(self, nm_id: bytes, topic: str, epoch: int, at_ms: int) -> None:
        t = tables.epochs
        same = (t.c.nm_id == nm_id) & (t.c.topic == topic) & (t.c.epoch <= epoch) & t.c.safe_ms.is_(None)
        self._connection.execute(update(t).where(same).values(safe_ms=at_ms))

    def epochs(self, tid: bytes, after: int, limit: int) -> Sequence[TopicEpoch]:
        t, s = tables.epochs, tables.sessions
        joined = t.join(s, (s.c.nm_id == t.c.nm_id) & (s.c.topic == t.c.topic))
        query = select(t).select_from(joined).where(s.c.tid == tid, t.c.id > after)
        return self._every(TopicEpoch, query.order_by(t.c.id).limit(limit))

    def first_safe(self, nm_id: bytes, topic: str, after: int, version: int) -> TopicEpoch | None:
        t = tables.epochs
        good = t.c.safe_ms.is_not(None) & ((t.c.epoch > after) | (t.c.version >= version))
        query = select(t).where(t.c.nm_id == nm_id, t.c.topic == topic, good)
        return self._one(TopicEpoch, query.order_by(t.c.epoch).limit(1))

    def ended_under(self, tid: bytes, version: int) -> Sequence[TopicEpoch]:
        t, s = tables.epochs, tables.sessions
        joined = t.join(s, (s.c.nm_id == t.c.nm_id) & (s.c.topic == t.c.topic))
        query = select(t).select_from(joined).where(s.c.tid == tid, t.c.version == version, t.c.cause.in_(ENDING))
        return self._every(TopicEpoch, query.order_by(t.c.id))

    def forget_epochs(self, nm_id: bytes, topic: str) -> None:
        t = tables.epochs
        self._connection.execute(delete(t).where(t.c.nm_id == nm_id, t.c.topic == topic))

    def holders(self, nm_id: bytes, topic: str) -> Sequence[Holder]:
        t = tables.holders
        return self._every(Holder, select(t).where(t.c.nm_id == nm_id, t.c.topic == topic).order_by(t.c.client))

    def holdings(self, nm_id: bytes, client: bytes) -> Sequence[Holder]:
        t = tables.holders
        return self._every(Holder, select(t).where(t.c.nm_id == nm_id, t.c.client == client).order_by(t.c.topic))

    def holder(self, nm_id: bytes, topic: str, client: bytes) -> Holder | None:
        t = tables.holders
        return self._one(Holder, select(t).where(t.c.nm_id == nm_id, t.c.topic == topic, t.c.client == client))

    def put_holder(self, holder: Holder) -> None:
        _PUT_HOLDER.run(self._connection, _values(holder))

    def forget_holders(self, nm_id: bytes, topic: str) -> None:
        t = tables.holders
        self._connection.execute(delete(t).where(t.c.nm_id == nm_id, t.c.topic == topic))

    def reported(self, nm_id: bytes) -> int:
        t = tables.reporters
        return int(self._connection.execute(select(t.c.upto).where(t.c.nm_id == nm_id)).scalar() or 0)

    def put_reported(self, nm_id: bytes, upto: int) -> None:
        _PUT_REPORTER.run(self._connection, {"nm_id": nm_id, "upto": upto})

    # Clients of provisioning files

    def client(self, client: bytes) -> FileClient | None:
        t = tables.clients
        return self._one(FileClient, select(t).where(t.c.client == client))

    def clients(self, after: bytes, limit: int) -> Sequence[FileClient]:
        t = tables.clients
        query = select(t).where(t.c.client > after, t.c.gone.is_(False))
        return self._every(FileClient, query.order_by(t.c.client).limit(limit))

    def put_client(self, client: FileClient) -> None:
        _PUT_CLIENT.run(self._connection, _values(client))

    def refusal(self, nm_id: bytes, client: bytes) -> Refusal | None:
        t = tables.refusals
        return self._one(Refusal, select(t).where(t.c.nm_id == nm_id, t.c.client == client))

    def refusals(self, nm_id: bytes, limit: int) -> Sequence[Refusal]:
        t = tables.refusals
        newest = select(t).where(t.c.nm_id == nm_id).order_by(t.c.last_ms.desc(), t.c.client)
        return self._every(Refusal, newest.limit(limit))

    def put_refusal(self, refusal: Refusal, most: int) -> None:
        t = tables.refusals
        _PUT_REFUSAL.run(self._connection, _values(refusal))
        newest = select(t.c.client).where(t.c.nm_id == refusal.nm_id).order_by(t.c.last_ms.desc(), t.c.client)
        self._connection.execute(delete(t).where(t.c.nm_id == refusal.nm_id, t.c.client.not_in(newest.limit(most))))

    # Pruning

    def prune(self, before_ms: int, limit: int) -> int:
        e, s, h = tables.epochs, tables.sessions, tables.holders
        later = e.alias()
        newest = (
            select(func.max(later.c.epoch))
            .where(later.c.nm_id == e.c.nm_id, later.c.topic == e.c.topic)
            .correlate(e)
            .scalar_subquery()
        )
        old = select(e.c.id).where(e.c.begun_ms < before_ms, e.c.safe_ms.is_not(None), e.c.epoch < newest)
        gone = self._connection.execute(delete(e).where(e.c.id.in_(old.order_by(e.c.id).limit(limit)))).rowcount
        ended = select(s.c.nm_id, s.c.topic).where(s.c.ended.is_(True), s.c.begun_ms < before_ms)
        keys = [tuple(row) for row in self._all(ended.order_by(s.c.nm_id, s.c.topic).limit(limit))]
        if keys:
            for t in (h, e, s):
                self._connection.execute(delete(t).where(tuple_(t.c.nm_id, t.c.topic).in_(keys)))
        return gone + len(keys)

    # Plumbing

    def _all(self, query: Select[Any]) -> Sequence[Row[Any]]:
        return self._connection.execute(query).all()

    def _every(self, kind: type[T], query: Select[Any]) -> Sequence[T]:
        return [_record(kind, row) for row in self._all(query)]

    def _one(self, kind: type[T], query: Select[Any]) -> T | None:
        return next(iter(self._every(kind, query)), None)


def _values(record: Any) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__slots__}


def _record(kind: type[T], row: Row[Any]) -> T:
    return kind(**{name: getattr(row, name) for name in kind.__slots__})  # type: ignore[attr-defined]  # records have slots


def _taking_values(taking: Taking) -> dict[str, object]:
    values = {name: value for name, value in _values(taking).items() if name != "id"}
    return {**values, "why": taking.why.value}


def _taking(row: Row[Any]) -> Taking:
    values = {name: getattr(row, name) for name in Taking.__slots__}
    return Taking(**{**values, "why": Why(row.why)})
