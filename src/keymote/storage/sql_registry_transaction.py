"""One unit of work on the coordinator's tables: rows to records and back, nothing decided here."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, func, insert, select, update
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


class SqlTransaction:
    """The port `Transaction` on one connection whose transaction somebody else begins and ends."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # Managers

    def manager(self, nm_id: bytes) -> Manager | None:
        row = self._one(select(tables.managers).where(tables.managers.c.nm_id == nm_id))
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
            "name": manager.name,
            "state": manager.state.value,
            "serial": manager.serial,
            "kid": manager.kid,
            "endpoint": manager.endpoint,
            "acknowledged": manager.acknowledged,
        }
        try:
            self._put(tables.managers, {"nm_id": manager.nm_id}, values)
        except IntegrityError as error:
            raise Taken(f"another manager is called {manager.name!r}", do="choose another name") from error

    # Devices

    def device(self, dev_id: bytes) -> Device | None:
        row = self._one(select(tables.devices).where(tables.devices.c.dev_id == dev_id))
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
        self._put(tables.devices, {"dev_id": device.dev_id}, values)

    def count_devices(self) -> Mapping[DeviceState, int]:
        t = tables.devices
        found = self._all(select(t.c.state, func.count().label("number")).group_by(t.c.state))
        return {DeviceState(row.state): row.number for row in found}

    # Credentials

    def credential(self, serial: bytes) -> Registered | None:
        row = self._one(select(tables.credentials).where(tables.credentials.c.serial == serial))
        return None if row is None else _credential(row)

    def active_credential(self, sub: bytes) -> Registered | None:
        t = tables.credentials
        row = self._one(select(t).where(t.c.sub == sub, t.c.state == CredentialState.ACTIVE.value))
        return None if row is None else _credential(row)

    def add_credential(self, credential: Registered) -> None:
        try:
            self._connection.execute(
                insert(tables.credentials).values(
                    serial=credential.serial,
                    sub=credential.sub,
                    iss=credential.iss,
                    raw=credential.raw,
                    reg_no=credential.reg_no,
                    ts=credential.ts,
                    receipt=credential.receipt,
                    state=credential.state.value,
                )
            )
        except IntegrityError as error:
            raise Taken(f"serial {credential.serial.hex()} or an active credential is registered already") from error

    def set_credential(self, serial: bytes, state: CredentialState) -> None:
        t = tables.credentials
        self._connection.execute(update(t).where(t.c.serial == serial).values(state=state.value))

    # Counters

    def counter(self, name: str) -> int:
        row = self._one(select(tables.counters.c.value).where(tables.counters.c.name == name))
        return 0 if row is None else int(row.value)

    def count(self, name: str) -> int:
        value = self.counter(name) + 1
        self._put(tables.counters, {"name": name}, {"value": value})
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
        made = self._connection.execute(
            insert(tables.revocations).values(
                kind=kind.value,
                subject=subject,
                reason=reason,
                ts=ts,
                by=by,
                status_epoch=status_epoch,
                event=event,
                evidence=evidence,
            )
        )
        return Revocation(_key(made), kind, subject, reason, ts, by, status_epoch, event, evidence)

    def revocations(self, after: int, limit: int) -> Sequence[Revocation]:
        t = tables.revocations
        return [_revocation(row) for row in self._all(select(t).where(t.c.id > after).order_by(t.c.id).limit(limit))]

    def revocation_of(self, kind: RevocationKind, subject: bytes) -> Revocation | None:
        t = tables.revocations
        query = select(t).where(t.c.subject == subject, t.c.kind == kind.value).order_by(t.c.id.desc()).limit(1)
        row = self._one(query)
        return None if row is None else _revocation(row)

    # Outbox

    def add_event(self, at_ms: int, kind: str, subject: bytes, data: Mapping[str, str | int]) -> Event:
        made = self._connection.execute(
            insert(tables.events).values(
                at_ms=at_ms, kind=kind, subject=subject, data=json.dumps(dict(data), sort_keys=True)
            )
        )
        return Event(_key(made), at_ms, kind, subject, dict(data))

    def event(self, event: int) -> Event | None:
        row = self._one(select(tables.events).where(tables.events.c.id == event))
        return None if row is None else _event(row)

    def events(self, after: int, limit: int) -> Sequence[Event]:
        t = tables.events
        return [_event(row) for row in self._all(select(t).where(t.c.id > after).order_by(t.c.id).limit(limit))]

    def last_event(self) -> int:
        return int(self._connection.execute(select(func.max(tables.events.c.id))).scalar() or 0)

    def add_acknowledgement(self, acknowledgement: Acknowledgement) -> None:
        key = {"nm_id": acknowledgement.nm_id, "upto": acknowledgement.upto}
        if not self._exists(tables.acknowledgements, key):
            self._connection.execute(insert(tables.acknowledgements).values(at_ms=acknowledgement.at_ms, **key))

    def acknowledgements(self, event: int) -> Sequence[Acknowledgement]:
        t = tables.acknowledgements
        query = select(t.c.nm_id, func.min(t.c.at_ms).label("at_ms")).where(t.c.upto >= event).group_by(t.c.nm_id)
        return [Acknowledgement(row.nm_id, event, row.at_ms) for row in self._all(query)]

    # Audit

    def append_audit(self, entry: bytes) -> Link:
        last = self.last_audit()
        seq, h = (1, GENESIS) if last is None else (last.seq + 1, last.h)
        link = Link(seq, entry, following(h, entry))
        self._connection.execute(insert(tables.audit).values(seq=link.seq, entry=link.entry, h=link.h))
        return link

    def audit(self, after: int, limit: int) -> Sequence[Link]:
        t = tables.audit
        found = self._all(select(t).where(t.c.seq > after).order_by(t.c.seq).limit(limit))
        return [Link(row.seq, row.entry, row.h) for row in found]

    def last_audit(self) -> Link | None:
        t = tables.audit
        row = self._one(select(t).order_by(t.c.seq.desc()).limit(1))
        return None if row is None else Link(row.seq, row.entry, row.h)

    def add_head(self, head: Head) -> None:
        self._put(tables.heads, {"seq": head.seq}, {"h": head.h, "ts": head.ts, "signed": head.signed})

    def heads(self) -> Sequence[Head]:
        found = self._all(select(tables.heads).order_by(tables.heads.c.seq))
        return [Head(row.seq, row.h, row.ts, row.signed) for row in found]

    # Plumbing

    def _all(self, query: Select[Any]) -> Sequence[Row[Any]]:
        return self._connection.execute(query).all()

    def _one(self, query: Select[Any]) -> Row[Any] | None:
        return self._connection.execute(query).one_or_none()

    def _exists(self, table: Table, key: Mapping[str, object]) -> bool:
        query = select(func.count()).select_from(table)
        for name, value in key.items():
            query = query.where(table.c[name] == value)
        return bool(self._connection.execute(query).scalar_one())

    def _put(self, table: Table, key: Mapping[str, object], values: Mapping[str, object]) -> None:
        """Update the row under `key` or insert it; there is one writer, so nobody comes between."""
        statement = update(table).values(**values)
        for name, value in key.items():
            statement = statement.where(table.c[name] == value)
        if self._connection.execute(statement).rowcount == 0:
            self._connection.execute(insert(table).values(**key, **values))


def _key(made: Any) -> int:
    return int(made.inserted_primary_key[0])


def _manager(row: Row[Any]) -> Manager:
    return Manager(row.nm_id, row.name, ManagerState(row.state), row.serial, row.kid, row.endpoint, row.acknowledged)


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
