"""The port `RecordRows` on one connection: the encrypted logs of groups."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, delete, insert, select

from keymote.host.group_register import RecordLine
from keymote.storage import sql_group_tables as tables
from keymote.storage.sql_upsert import Upsert

_COLUMNS: Final = tuple(name for name in RecordLine.__slots__ if name != "id")
_PUT_ARCHIVIST: Final = Upsert(tables.archivists, "gid", "nm_id")


class SqlRecords:
    """Reads and writes of one transaction, which somebody else begins and ends."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, lines: Sequence[RecordLine]) -> None:
        if lines:
            rows = [{name: getattr(line, name) for name in _COLUMNS} for line in lines]
            self._connection.execute(insert(tables.records), rows)

    def lines(self, gid: bytes, after: int, limit: int) -> Sequence[RecordLine]:
        t = tables.records
        query = select(t).where(t.c.gid == gid, t.c.id > after).order_by(t.c.id).limit(limit)
        found = self._connection.execute(query).all()
        return [RecordLine(**{name: getattr(row, name) for name in RecordLine.__slots__}) for row in found]

    def taken(self, gid: bytes, nm_id: bytes) -> int:
        t = tables.archivists
        query = select(t.c.upto).where(t.c.gid == gid, t.c.nm_id == nm_id)
        return int(self._connection.execute(query).scalar() or 0)

    def put_taken(self, gid: bytes, nm_id: bytes, upto: int) -> None:
        _PUT_ARCHIVIST.run(self._connection, {"gid": gid, "nm_id": nm_id, "upto": upto})

    def keep_newest(self, gid: bytes, most: int) -> None:
        t = tables.records
        newest_out = select(t.c.id).where(t.c.gid == gid).order_by(t.c.id.desc()).offset(most).limit(1)
        last = self._connection.execute(newest_out).scalar()
        if last is not None:
            self._connection.execute(delete(t).where(t.c.gid == gid, t.c.id <= last))

    def prune(self, before_ms: int, limit: int) -> int:
        t = tables.records
        old = select(t.c.id).where(t.c.ts_ms < before_ms).order_by(t.c.id).limit(limit)
        return int(self._connection.execute(delete(t).where(t.c.id.in_(old))).rowcount)
