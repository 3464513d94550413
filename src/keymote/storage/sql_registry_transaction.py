"""One unit of work on the coordinator's tables: rows to records and back, nothing decided here."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Delete,
    Row,
    Select,
    Table,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from keymote.engine.audit import GENESIS, Link, following
from keymote.host.register import (
    Acknowledgement,
    CredentialState,
    Device,
    DeviceState,
    Event,
    Head,
    Manager,
    ManagerState,
    Registered,
    Revocation,
    RevocationKind,
    Taken,
)
from keymote.storage import sql_registry as tables
from keymote.storage.sql_group_records import SqlRecords
from keymote.storage.sql_groups import SqlGroups
from keymote.storage.sql_topics import SqlTopics
from keymote.storage.sql_upsert import Upsert


def _by(table: Table, *columns: str) -> Select[Any]:
    """Return the query for the rows whose columns have the values bound under their names."""
    query = select(table)
    for column in columns:
        query = query.where(table.c[column] == bindparam(column))
    return query


# Statements are built once: that costs as much as running them.
_MANAGER: Final = _by(tables.managers, "nm_id")
_DEVICE: Final = _by(tables.devices, "dev_id")
_CREDENTIAL: Final = _by(tables.credentials, "serial")
_ACTIVE_CREDENTIAL: Final = _by(tables.credentials, "sub", "state")
_COUNTER: Final = _by(tables.counters, "name")
_EVENT: Final = _by(tables.events, "id")
_REVOCATION: Final = _by(tables.revocations, "subject", "kind").order_by(tables.revocations.c.id.desc()).limit(1)
_LAST_AUDIT: Final = select(tables.audit).order_by(tables.audit.c.seq.desc()).limit(1)
_LAST_EVENT: Final = select(func.max(tables.events.c.id))
_PUT_MANAGER: Final = Upsert(tables.managers, "nm_id")
_PUT_DEVICE: Final = Upsert(tables.devices, "dev_id")
_PUT_COUNTER: Final = Upsert(tables.counters, "name")
_PUT_HEAD: Final = Upsert(tables.heads, "seq")
_PUT_ACKNOWLEDGEMENT: Final = Upsert(tables.acknowledgements, "nm_id", "upto")
_ADD_CREDENTIAL: Final = insert(tables.credentials)
_ADD_EVENT: Final = insert(tables.events)
_ADD_REVOCATION: Final = insert(tables.revocations)
_ADD_AUDIT: Final = insert(tables.audit)


def _pruned_events() -> Delete:
    e, r = tables.events, tables.revocations
    old = select(e.c.id).where(e.c.id <= bindparam("upto"), e.c.at_ms < bindparam("before_ms"))
    unreferred = old.where(~exists().where(r.c.event == e.c.id))
    return delete(e).where(e.c.id.in_(unreferred.order_by(e.c.id).limit(bindparam("most"))))


def _pruned_acknowledgements() -> Delete:
    """An acknowledgement counts if it is its manager's first that covers the event of some revocation."""
    a, r = tables.acknowledgements, tables.revocations
    earlier = a.alias()
    highest = select(func.coalesce(func.max(earlier.c.upto), 0))
    before = highest.where(earlier.c.nm_id == a.c.nm_id, earlier.c.upto < a.c.upto).correlate(a).scalar_subquery()
    counts = exists().where(r.c.event <= a.c.upto, r.c.event > before)
    old = select(a.c.nm_id, a.c.upto).where(a.c.upto <= bindparam("upto"), a.c.at_ms < bindparam("before_ms"), ~counts)
    return delete(a).where(tuple_(a.c.nm_id, a.c.upto).in_(old.order_by(a.c.upto).limit(bindparam("most"))))


_PRUNE_EVENTS: Final = _pruned_events()
_PRUNE_ACKNOWLEDGEMENTS: Final = _pruned_acknowledgements()


class SqlTransaction:
    """The port `Transaction` on one connection whose transaction somebody else begins and ends."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def records(self) -> SqlRecords:
        return SqlRecords(self._connection)

    @property
    def groups(self) -> SqlGroups:
        return SqlGroups(self._connection)

    @property
    def topics(self) -> SqlTopics:
        return SqlTopics(self._connection)

    # Managers

    def manager(self, nm_id: bytes) -> Manager | None:
        row = self._one(_MANAGER, nm_id=nm_id)
        return None if row is None else _manager(row)

    def managers(self, after: bytes, limit: int) -> Sequence[Manager]:
        t = tables.managers
        return [_manager(row) for row in self._all(select(t).where(t.c.nm_id > after).order_by(t.c.nm_id).limit(limit))]

    def active_managers(self) -> Sequence[bytes]:
        t = tables.managers
        found = self._all(select(t.c.nm_id).where(t.c.state == ManagerState.ACTIVE.value).order_by(t.c.nm_id))
        return [row.nm_id for row in found]

    def put_manager(self, manager: Manager) -> None:
        values = {
            "nm_id": manager.nm_id,
            "name": manager.name,
            "state": manager.state.value,
            "serial": manager.serial,
            "kid": manager.kid,
            "endpoint": manager.endpoint,
            "acknowledged": manager.acknowledged,
            "hybrid_key": manager.hybrid_key,
        }
        try:
            _PUT_MANAGER.run(self._connection, values)
        except IntegrityError as error:
            raise Taken(f"another manager is called {manager.name!r}", do="choose another name") from error

    # Devices

    def device(self, dev_id: bytes) -> Device | None:
        row = self._one(_DEVICE, dev_id=dev_id)
        return None if row is None else _device(row)

    def devices(
        self, after: bytes, limit: int, *, state: DeviceState | None = None, nm_id: bytes | None = None
    ) -> Sequence[Device]:
        t = tables.devices
        query = select(t).where(t.c.dev_id > after).order_by(t.c.dev_id).limit(limit)
        if state is not None:
            query = query.where(t.c.state == state.value)
        if nm_id is not None:
            query = query.where(t.c.nm_id == nm_id)
        return [_device(row) for row in self._all(query)]

    def put_device(self, device: Device) -> None:
        values = {"nm_id": device.nm_id, "state": device.state.value, "serial": device.serial}
        _PUT_DEVICE.run(self._connection, {"dev_id": device.dev_id, **values})

    def count_devices(self) -> Mapping[DeviceState, int]:
        t = tables.devices
        found = self._all(select(t.c.state, func.count().label("number")).group_by(t.c.state))
        return {DeviceState(row.state): row.number for row in found}

    # Credentials

    def credential(self, serial: bytes) -> Registered | None:
        row = self._one(_CREDENTIAL, serial=serial)
        return None if row is None else _credential(row)

    def active_credential(self, sub: bytes) -> Registered | None:
        row = self._one(_ACTIVE_CREDENTIAL, sub=sub, state=CredentialState.ACTIVE.value)
        return None if row is None else _credential(row)

    def renewed_credentials(self, sub: bytes) -> Sequence[Registered]:
        t = tables.credentials
        wanted = select(t).where(t.c.sub == sub, t.c.state == CredentialState.RENEWED.value)
        return [_credential(row) for row in self._all(wanted.order_by(t.c.reg_no.desc()).limit(4))]

    def add_credential(self, credential: Registered) -> None:
        try:
            self._connection.execute(
                _ADD_CREDENTIAL,
                {
                    "serial": credential.serial,
                    "sub": credential.sub,
                    "iss": credential.iss,
                    "raw": credential.raw,
                    "reg_no": credential.reg_no,
                    "ts": credential.ts,
                    "receipt": credential.receipt,
                    "state": credential.state.value,
                },
            )
        except IntegrityError as error:
            raise Taken(f"serial {credential.serial.hex()} or an active credential is registered already") from error

    def set_credential(self, serial: bytes, state: CredentialState) -> None:
        t = tables.credentials
        self._connection.execute(update(t).where(t.c.serial == serial).values(state=state.value))

    # Counters

    def counter(self, name: str) -> int:
        row = self._one(_COUNTER, name=name)
        return 0 if row is None else int(row.value)

    def count(self, name: str, least: int = 0) -> int:
        value = max(self.counter(name) + 1, least)
        _PUT_COUNTER.run(self._connection, {"name": name, "value": value})
        return value

    # Revocations

    def add_revocation(
        self,
        kind: RevocationKind,
        subject: bytes,
        reason: int,
        ts: int,
        by: str,
        status_epoch: int,
        event: int,
        evidence: bytes = b"",
    ) -> Revocation:
        values = {"kind": kind.value, "subject": subject, "reason": reason, "ts": ts, "by": by}
        made = self._connection.execute(
            _ADD_REVOCATION, {**values, "status_epoch": status_epoch, "event": event, "evidence": evidence}
        )
        return Revocation(_key(made), kind, subject, reason, ts, by, status_epoch, event, evidence)

    def revocations(self, after: int, limit: int) -> Sequence[Revocation]:
        t = tables.revocations
        return [_revocation(row) for row in self._all(select(t).where(t.c.id > after).order_by(t.c.id).limit(limit))]

    def revocation_of(self, kind: RevocationKind, subject: bytes) -> Revocation | None:
        row = self._one(_REVOCATION, subject=subject, kind=kind.value)
        return None if row is None else _revocation(row)

    # Outbox

    def add_event(self, at_ms: int, kind: str, subject: bytes, data: Mapping[str, str | int]) -> Event:
        values = {"at_ms": at_ms, "kind": kind, "subject": subject, "data": json.dumps(dict(data), sort_keys=True)}
        made = self._connection.execute(_ADD_EVENT, values)
        return Event(_key(made), at_ms, kind, subject, dict(data))

    def event(self, event: int) -> Event | None:
        row = self._one(_EVENT, id=event)
        return None if row is None else _event(row)

    def events(self, after: int, limit: int) -> Sequence[Event]:
        t = tables.events
        return [_event(row) for row in self._all(select(t).where(t.c.id > after).order_by(t.c.id).limit(limit))]

    def last_event(self) -> int:
        return int(self._connection.execute(_LAST_EVENT).scalar() or 0)

    def add_acknowledgement(self, acknowledgement: Acknowledgement) -> None:
        values = {"nm_id": acknowledgement.nm_id, "upto": acknowledgement.upto, "at_ms": acknowledgement.at_ms}
        _PUT_ACKNOWLEDGEMENT.run(self._connection, values)

    def acknowledgements(self, event: int) -> Sequence[Acknowledgement]:
        t = tables.acknowledgements
        query = select(t.c.nm_id, func.min(t.c.at_ms).label("at_ms")).where(t.c.upto >= event).group_by(t.c.nm_id)
        return [Acknowledgement(row.nm_id, event, row.at_ms) for row in self._all(query)]

    def acknowledged_at(self, nm_id: bytes, event: int) -> int | None:
        t = tables.acknowledgements
        covering = select(t.c.at_ms).where(t.c.nm_id == nm_id, t.c.upto >= event).order_by(t.c.upto).limit(1)
        found = self._connection.execute(covering).scalar()
        return None if found is None else int(found)

    def prune_outbox(self, upto: int, before_ms: int, limit: int) -> int:
        values = {"upto": upto, "before_ms": before_ms, "most": limit}
        return sum(
            self._connection.execute(prune, values).rowcount for prune in (_PRUNE_EVENTS, _PRUNE_ACKNOWLEDGEMENTS)
        )

    # Audit

    def append_audit(self, entry: bytes) -> Link:
        last = self.last_audit()
        seq, h = (1, GENESIS) if last is None else (last.seq + 1, last.h)
        link = Link(seq, entry, following(h, entry))
        self._connection.execute(_ADD_AUDIT, {"seq": link.seq, "entry": link.entry, "h": link.h})
        return link

    def audit(self, after: int, limit: int) -> Sequence[Link]:
        t = tables.audit
        found = self._all(select(t).where(t.c.seq > after).order_by(t.c.seq).limit(limit))
        return [Link(row.seq, row.entry, row.h) for row in found]

    def last_audit(self) -> Link | None:
        row = self._one(_LAST_AUDIT)
        return None if row is None else Link(row.seq, row.entry, row.h)

    def add_head(self, head: Head) -> None:
        values = {"seq": head.seq, "h": head.h, "ts": head.ts, "signed": head.signed}
        _PUT_HEAD.run(self._connection, values)

    def heads(self) -> Sequence[Head]:
        found = self._all(select(tables.heads).order_by(tables.heads.c.seq))
        return [Head(row.seq, row.h, row.ts, row.signed) for row in found]

    # Plumbing

    def _all(self, query: Select[Any]) -> Sequence[Row[Any]]:
        return self._connection.execute(query).all()

    def _one(self, query: Select[Any], **values: object) -> Row[Any] | None:
        return self._connection.execute(query, values).one_or_none()


def _key(made: Any) -> int:
    return int(made.inserted_primary_key[0])


def _manager(row: Row[Any]) -> Manager:
    state, hybrid_key = ManagerState(row.state), bytes(row.hybrid_key or b"")
    return Manager(row.nm_id, row.name, state, row.serial, row.kid, row.endpoint, row.acknowledged, hybrid_key)


def _device(row: Row[Any]) -> Device:
    return Device(row.dev_id, row.nm_id, DeviceState(row.state), row.serial)


def _credential(row: Row[Any]) -> Registered:
    return Registered(
        row.serial, row.sub, row.iss, row.raw, row.reg_no, row.ts, row.receipt, CredentialState(row.state)
    )


def _revocation(row: Row[Any]) -> Revocation:
    return Revocation(
        row.id,
        RevocationKind(row.kind),
        row.subject,
        row.reason,
        row.ts,
        row.by,
        row.status_epoch,
        row.event,
        row.evidence,
    )


def _event(row: Row[Any]) -> Event:
    return Event(row.id, row.at_ms, row.kind, row.subject, json.loads(row.data))
