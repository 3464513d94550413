"""The coordinator's tables of groups, beside those of the register; how they came to be stands in `migrations/registry`."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text, text

from keymote.storage.sql_registry import ID, NUMBER, metadata

_GID = "key_group.gid"

groups = Table(
    "key_group",
    metadata,
    Column("gid", ID, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("nm_id", ID, ForeignKey("manager.nm_id"), nullable=False, index=True),
    Column("settings", Text, nullable=False),
    Column("suite", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("rev", BigInteger, nullable=False),
    Column("event", BigInteger, nullable=False),
    Column("ra_kid", ID, nullable=False),
    Column("gw_kid", ID, nullable=False),
    Column("delegation", LargeBinary(256), nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("roster", LargeBinary(2048), nullable=False),
    Column("roster_ver", BigInteger, nullable=False),
    Column("formed", Boolean, nullable=False),
    Column("rekey", BigInteger, nullable=False),
    Column("rekey_reason", Integer, nullable=False),
    Column("ver", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("key_id", ID, nullable=False),
    Column("confirmed_ms", BigInteger, nullable=False),
    Column("reported_ms", BigInteger, nullable=False),
)

members = Table(
    "group_member",
    metadata,
    Column("gid", ID, ForeignKey(_GID), primary_key=True),
    Column("dev_id", ID, primary_key=True, index=True),
    Column("member", Boolean, nullable=False),
    Column("allowed", Boolean, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
)

kids = Table(
    "group_kid",
    metadata,
    Column("gid", ID, ForeignKey(_GID), primary_key=True),
    Column("kid", ID, primary_key=True),
    Column("dev_id", ID, nullable=False),
    Column("epoch", BigInteger, nullable=False),
)

removals = Table(
    "group_removal",
    metadata,
    Column("id", NUMBER, primary_key=True),
    Column("gid", ID, ForeignKey(_GID), nullable=False, index=True),
    Column("dev_id", ID, nullable=False, index=True),
    Column("cause", String(16), nullable=False),
    Column("reason", Integer, nullable=False),
    Column("kids", LargeBinary(1024), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("event", BigInteger, nullable=False),
    Column("last_with", BigInteger, nullable=False),
    Column("safe_ms", BigInteger),
    sqlite_autoincrement=True,
)

rosters = Table(
    "group_roster",
    metadata,
    Column("gid", ID, ForeignKey(_GID), primary_key=True),
    Column("ver", BigInteger, primary_key=True),
    Column("digest", LargeBinary(32), primary_key=True),
    Column("kid", ID, nullable=False),
    Column("nm_id", ID, nullable=False),
    Column("n", Integer, nullable=False),
    Column("ts_ms", BigInteger, nullable=False),
    Column("raw", LargeBinary(2048), nullable=False),
)

epochs = Table(
    "group_epoch",
    metadata,
    Column("gid", ID, ForeignKey(_GID), primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("nm_id", ID, primary_key=True),
    Column("key_id", ID, primary_key=True),
    Column("attempt", BigInteger, nullable=False),
    Column("ver", BigInteger, nullable=False),
    Column("reason", Integer, nullable=False),
    Column("kids", LargeBinary(256), nullable=False),
    Column("began_ms", BigInteger, nullable=False),
    Column("confirmed_ms", BigInteger, nullable=False),
)

reporters = Table(
    "group_reporter",
    metadata,
    Column("gid", ID, ForeignKey(_GID), primary_key=True),
    Column("nm_id", ID, primary_key=True),
    Column("upto", BigInteger, nullable=False),
)

leads = Table(
    "group_lead",
    metadata,
    Column("gid", ID, ForeignKey(_GID), primary_key=True),
    Column("gw_kid", ID, primary_key=True),
    Column("nm_id", ID, nullable=False),
    Column("sig_pk", LargeBinary(33), nullable=False),
    Column("not_after", BigInteger, nullable=False),
)

records = Table(
    "group_record",
    metadata,
    Column("id", NUMBER, primary_key=True),
    Column("gid", ID, ForeignKey(_GID), nullable=False),
    Column("nm_id", ID, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("ts_ms", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("kid", ID, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("resource", String(100), nullable=False),
    Column("record", LargeBinary(1135), nullable=False),
    sqlite_autoincrement=True,
)
Index("records_of_group", records.c.gid, records.c.id)

archivists = Table(
    "group_archivist",
    metadata,
    Column("gid", ID, ForeignKey(_GID), primary_key=True),
    Column("nm_id", ID, primary_key=True),
    Column("upto", BigInteger, nullable=False),
)

conflicts = Table(
    "conflict",
    metadata,
    Column("id", NUMBER, primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("gid", ID, nullable=False, index=True),
    Column("subject", ID, nullable=False, index=True),
    Column("number", BigInteger),
    Column("managers", LargeBinary(256), nullable=False),
    Column("ts_ms", BigInteger, nullable=False),
    Column("text", String(512), nullable=False),
    Column("settled_ms", BigInteger),
    sqlite_autoincrement=True,
)
_LIVE = text("settled_ms IS NULL")
Index("live_conflicts", conflicts.c.kind, sqlite_where=_LIVE, postgresql_where=_LIVE)
