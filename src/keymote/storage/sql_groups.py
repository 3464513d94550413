"""The port `GroupRows` on one connection: rows to records and back, nothing decided here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, bindparam, delete, exists, func, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from keymote.engine.policy.conflicts import ConflictKind
from keymote.host.group_register import (
    Card,
    Conflict,
    EpochLine,
    Gone,
    Group,
    GroupState,
    Kid,
    Lead,
    Member,
    Removal,
    RosterLine,
    Settings,
)
from keymote.host.register import CredentialState, DeviceState, Taken
from keymote.storage import sql_group_tables as tables
from keymote.storage import sql_registry as register
from keymote.storage.sql_upsert import Upsert

_ID: Final = 8
_PUT_GROUP: Final = Upsert(tables.groups, "gid")
_PUT_MEMBER: Final = Upsert(tables.members, "gid", "dev_id")
_PUT_KID: Final = Upsert(tables.kids, "gid", "kid")
_PUT_REPORTER: Final = Upsert(tables.reporters, "gid", "nm_id")
_PUT_LEAD: Final = Upsert(tables.leads, "gid", "gw_kid")


def _cards() -> Select[Any]:
    m, d, c = tables.members, register.devices, register.credentials
    active = (d.c.state == DeviceState.ACTIVE.value) & (c.c.state == CredentialState.ACTIVE.value)
    joined = m.join(d, d.c.dev_id == m.c.dev_id).join(c, c.c.sub == m.c.dev_id)
    wanted = select(m.c.dev_id, d.c.nm_id, c.c.raw, m.c.member, m.c.allowed).select_from(joined)
    return wanted.where(m.c.gid == bindparam("gid"), active).order_by(m.c.dev_id)


_CARDS: Final = _cards()


class SqlGroups:
    """Reads and writes of one transaction, which somebody else begins and ends."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # Groups

    def group(self, gid: bytes) -> Group | None:
        t = tables.groups
        return next(map(_group, self._all(select(t).where(t.c.gid == gid))), None)

    def named(self, name: str) -> Group | None:
        t = tables.groups
        return next(map(_group, self._all(select(t).where(t.c.name == name))), None)

    def groups(self, after: bytes, limit: int) -> Sequence[Group]:
        t = tables.groups
        return [_group(row) for row in self._all(select(t).where(t.c.gid > after).order_by(t.c.gid).limit(limit))]

    def led_by(self, nm_id: bytes) -> Sequence[Group]:
        t = tables.groups
        led = select(t).where(t.c.nm_id == nm_id, t.c.state != GroupState.CLOSED.value)
        return [_group(row) for row in self._all(led.order_by(t.c.gid))]

    def due(self, ra_kid: bytes, before: int) -> Sequence[Group]:
        t = tables.groups
        stale = (t.c.not_after < before) | (t.c.ra_kid != ra_kid)
        due = select(t).where(t.c.state == GroupState.ACTIVE.value, stale)
        return [_group(row) for row in self._all(due.order_by(t.c.gid))]

    def put(self, group: Group) -> None:
        values = {column.name: getattr(group, column.name) for column in tables.groups.c}
        settings = json.dumps(asdict(group.settings), sort_keys=True)
        try:
            _PUT_GROUP.run(self._connection, {**values, "state": group.state.value, "settings": settings})
        except IntegrityError as error:
            raise Taken(f"another group is called {group.name!r}", do="choose another name") from error

    def counts(self) -> Mapping[GroupState, int]:
        t = tables.groups
        found = self._all(select(t.c.state, func.count().label("number")).group_by(t.c.state))
        return {GroupState(row.state): row.number for row in found}

    # Members

    def members(self, gid: bytes) -> Sequence[Member]:
        t = tables.members
        return [_member(row) for row in self._all(select(t).where(t.c.gid == gid).order_by(t.c.dev_id))]

    def standings(self, dev_id: bytes) -> Sequence[Member]:
        t = tables.members
        return [_member(row) for row in self._all(select(t).where(t.c.dev_id == dev_id).order_by(t.c.gid))]

    def put_member(self, member: Member) -> None:
        t = tables.members
        if member.member or member.allowed:
            _PUT_MEMBER.run(self._connection, _values(member))
        else:
            self._connection.execute(delete(t).where(t.c.gid == member.gid, t.c.dev_id == member.dev_id))

    def cards(self, gid: bytes) -> Sequence[Card]:
        found = self._connection.execute(_CARDS, {"gid": gid}).all()
        return [Card(row.dev_id, row.nm_id, row.raw, row.member, row.allowed) for row in found]

    def kids(self, gid: bytes) -> Sequence[Kid]:
        t = tables.kids
        found = self._all(select(t).where(t.c.gid == gid).order_by(t.c.kid))
        return [Kid(row.gid, row.kid, row.dev_id, row.epoch) for row in found]

    def put_kid(self, kid: Kid) -> None:
        _PUT_KID.run(self._connection, _values(kid))

    def confirm(self, gid: bytes, kids: Sequence[bytes], epoch: int) -> None:
        t = tables.kids
        behind = update(t).where(t.c.gid == gid, t.c.kid.in_(kids), t.c.epoch < epoch)
        self._connection.execute(behind.values(epoch=epoch))

    # Removals

    def add_removal(self, removal: Removal) -> None:
        self._connection.execute(insert(tables.removals), _removal_values(removal))

    def removals(self, gid: bytes, limit: int) -> Sequence[Removal]:
        t = tables.removals
        found = self._all(select(t).where(t.c.gid == gid).order_by(t.c.id.desc()).limit(limit))
        return [_removal(row) for row in found]

    def open_removals(self, gid: bytes) -> Sequence[Removal]:
        t = tables.removals
        still_open = select(t).where(t.c.gid == gid, t.c.safe_ms.is_(None))
        return [_removal(row) for row in self._all(still_open.order_by(t.c.id))]

    def leaving(self, dev_id: bytes) -> Sequence[bytes]:
        t = tables.removals
        still_open = select(t.c.gid).where(t.c.dev_id == dev_id, t.c.safe_ms.is_(None)).distinct()
        return [row.gid for row in self._all(still_open.order_by(t.c.gid))]

    def removals_of(self, dev_id: bytes, event: int) -> Sequence[Removal]:
        t = tables.removals
        found = self._all(select(t).where(t.c.dev_id == dev_id, t.c.event > event).order_by(t.c.id))
        return [_removal(row) for row in found]

    def put_removal(self, removal: Removal) -> None:
        t = tables.removals
        self._connection.execute(update(t).where(t.c.id == removal.id).values(_removal_values(removal)))

    def forget_removals(self, gid: bytes, dev_id: bytes) -> None:
        t = tables.removals
        still_open = delete(t).where(t.c.gid == gid, t.c.dev_id == dev_id, t.c.safe_ms.is_(None))
        self._connection.execute(still_open)

    def unsafe_groups(self) -> Sequence[Group]:
        t, r = tables.groups, tables.removals
        unsafe = select(r.c.gid).where(r.c.safe_ms.is_(None))
        return [_group(row) for row in self._all(select(t).where(t.c.gid.in_(unsafe)).order_by(t.c.gid))]

    def unsafe(self) -> int:
        t = tables.removals
        still_open = select(func.count()).select_from(t).where(t.c.safe_ms.is_(None))
        return int(self._connection.execute(still_open).scalar() or 0)

    # What gateways reported

    def add_roster(self, line: RosterLine) -> bool:
        t = tables.rosters
        same = (t.c.gid == line.gid) & (t.c.ver == line.ver) & (t.c.digest == line.digest)
        return self._add(exists(select(t).where(same)), insert(t), _values(line))

    def rosters_numbered(self, gid: bytes, ver: int) -> Sequence[RosterLine]:
        t = tables.rosters
        found = self._all(select(t).where(t.c.gid == gid, t.c.ver == ver).order_by(t.c.digest))
        return [_roster(row) for row in found]

    def rosters(self, gid: bytes, after: int, limit: int) -> Sequence[RosterLine]:
        t = tables.rosters
        behind = select(t).where(t.c.gid == gid, t.c.ver > after)
        return [_roster(row) for row in self._all(behind.order_by(t.c.ver, t.c.digest).limit(limit))]

    def add_epoch(self, line: EpochLine) -> bool:
        t = tables.epochs
        same = (t.c.gid == line.gid) & (t.c.epoch == line.epoch) & (t.c.nm_id == line.nm_id)
        known = exists(select(t).where(same, t.c.key_id == line.key_id))
        return self._add(known, insert(t), {**_values(line), "kids": b"".join(line.kids)})

    def epochs_numbered(self, gid: bytes, epoch: int) -> Sequence[EpochLine]:
        t = tables.epochs
        found = self._all(select(t).where(t.c.gid == gid, t.c.epoch == epoch).order_by(t.c.nm_id, t.c.key_id))
        return [_epoch(row) for row in found]

    def epochs(self, gid: bytes, after: int, limit: int) -> Sequence[EpochLine]:
        t = tables.epochs
        behind = select(t).where(t.c.gid == gid, t.c.epoch > after)
        return [_epoch(row) for row in self._all(behind.order_by(t.c.epoch, t.c.nm_id, t.c.key_id).limit(limit))]

    def first_epoch(self, gid: bytes, nm_id: bytes, after: int) -> EpochLine | None:
        t = tables.epochs
        behind = select(t).where(t.c.gid == gid, t.c.nm_id == nm_id, t.c.epoch > after)
        return next(map(_epoch, self._all(behind.order_by(t.c.epoch, t.c.key_id).limit(1))), None)

    def reported(self, gid: bytes, nm_id: bytes) -> int:
        t = tables.reporters
        wanted = select(t.c.upto).where(t.c.gid == gid, t.c.nm_id == nm_id)
        return int(self._connection.execute(wanted).scalar() or 0)

    def put_reported(self, gid: bytes, nm_id: bytes, upto: int) -> None:
        _PUT_REPORTER.run(self._connection, {"gid": gid, "nm_id": nm_id, "upto": upto})

    def lead(self, gid: bytes, gw_kid: bytes) -> Lead | None:
        t = tables.leads
        return next(map(_lead, self._all(select(t).where(t.c.gid == gid, t.c.gw_kid == gw_kid))), None)

    def leads(self, gid: bytes) -> Sequence[Lead]:
        t = tables.leads
        return [_lead(row) for row in self._all(select(t).where(t.c.gid == gid).order_by(t.c.not_after))]

    def put_lead(self, lead: Lead) -> None:
        _PUT_LEAD.run(self._connection, _values(lead))

    # Conflicts

    def add_conflict(self, conflict: Conflict) -> bool:
        t = tables.conflicts
        same = (t.c.kind == conflict.kind.value) & (t.c.gid == conflict.gid) & (t.c.subject == conflict.subject)
        live = t.c.settled_ms.is_(None)
        same &= (t.c.number == conflict.number) if conflict.number is not None else live
        return self._add(exists(select(t).where(same)), insert(t), _conflict_values(conflict))

    def conflicts(self, after: int, limit: int, *, gid: bytes | None = None, live: bool = False) -> Sequence[Conflict]:
        t = tables.conflicts
        query = select(t).where(t.c.id > after)
        if gid is not None:
            query = query.where(t.c.gid == gid)
        if live:
            query = query.where(t.c.settled_ms.is_(None))
        return [_conflict(row) for row in self._all(query.order_by(t.c.id).limit(limit))]

    def conflicts_of(self, kind: ConflictKind, subject: bytes) -> Sequence[Conflict]:
        t = tables.conflicts
        live = select(t).where(t.c.kind == kind.value, t.c.subject == subject, t.c.settled_ms.is_(None))
        return [_conflict(row) for row in self._all(live.order_by(t.c.id))]

    def put_conflict(self, conflict: Conflict) -> None:
        t = tables.conflicts
        self._connection.execute(update(t).where(t.c.id == conflict.id).values(_conflict_values(conflict)))

    def unsettled(self) -> Mapping[ConflictKind, int]:
        t = tables.conflicts
        live = select(t.c.kind, func.count().label("number")).where(t.c.settled_ms.is_(None)).group_by(t.c.kind)
        return {ConflictKind(row.kind): row.number for row in self._all(live)}

    # Pruning

    def prune(self, before_ms: int, limit: int) -> int:
        g, e, r = tables.groups, tables.epochs, tables.rosters
        unsafe = select(tables.removals.c.gid).where(tables.removals.c.safe_ms.is_(None))
        newest_epoch = select(g.c.epoch).where(g.c.gid == e.c.gid).correlate(e).scalar_subquery()
        newest_ver = select(g.c.ver).where(g.c.gid == r.c.gid).correlate(r).scalar_subquery()
        epochs = select(e.c.gid, e.c.epoch).where(e.c.confirmed_ms < before_ms, e.c.epoch < newest_epoch)
        rosters = select(r.c.gid, r.c.ver).where(r.c.ts_ms < before_ms, r.c.ver < newest_ver)
        epochs = epochs.where(e.c.gid.not_in(unsafe)).order_by(e.c.confirmed_ms).limit(limit)
        rosters = rosters.where(r.c.gid.not_in(unsafe)).order_by(r.c.ts_ms).limit(limit)
        gone = self._connection.execute(delete(e).where(tuple_(e.c.gid, e.c.epoch).in_(epochs))).rowcount
        return gone + self._connection.execute(delete(r).where(tuple_(r.c.gid, r.c.ver).in_(rosters))).rowcount

    # Plumbing

    def _all(self, query: Select[Any]) -> Sequence[Row[Any]]:
        return self._connection.execute(query).all()

    def _add(self, known: Any, insertion: Any, values: Mapping[str, object]) -> bool:
        """Insert a row unless it is known; there is one writer, so nobody comes between."""
        if self._connection.execute(select(known)).scalar():
            return False
        self._connection.execute(insertion, values)
        return True


def _values(record: Any) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__slots__}


def _split(joined: bytes) -> tuple[bytes, ...]:
    return tuple(joined[at : at + _ID] for at in range(0, len(joined), _ID))


def _group(row: Row[Any]) -> Group:
    values = {name: getattr(row, name) for name in Group.__slots__}
    held = json.loads(row.settings)
    settings = Settings(**{**held, "telemetry": tuple(held["telemetry"]), "wake": tuple(held["wake"])})
    return Group(**{**values, "settings": settings, "state": GroupState(row.state)})


def _member(row: Row[Any]) -> Member:
    return Member(row.gid, row.dev_id, row.member, row.allowed, row.since_ms)


def _removal_values(removal: Removal) -> dict[str, object]:
    values = {name: value for name, value in _values(removal).items() if name != "id"}
    return {**values, "cause": removal.cause.value, "kids": b"".join(removal.kids)}


def _removal(row: Row[Any]) -> Removal:
    values = {name: getattr(row, name) for name in Removal.__slots__}
    return Removal(**{**values, "cause": Gone(row.cause), "kids": _split(row.kids)})


def _roster(row: Row[Any]) -> RosterLine:
    return RosterLine(**{name: getattr(row, name) for name in RosterLine.__slots__})


def _epoch(row: Row[Any]) -> EpochLine:
    values = {name: getattr(row, name) for name in EpochLine.__slots__}
    return EpochLine(**{**values, "kids": _split(row.kids)})


def _lead(row: Row[Any]) -> Lead:
    return Lead(row.gid, row.gw_kid, row.nm_id, row.sig_pk, row.not_after)


def _conflict_values(conflict: Conflict) -> dict[str, object]:
    values = {name: value for name, value in _values(conflict).items() if name != "id"}
    return {**values, "kind": conflict.kind.value, "managers": b"".join(conflict.managers)}


def _conflict(row: Row[Any]) -> Conflict:
    values = {name: getattr(row, name) for name in Conflict.__slots__}
    return Conflict(**{**values, "kind": ConflictKind(row.kind), "managers": _split(row.managers)})
