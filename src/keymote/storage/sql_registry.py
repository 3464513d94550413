"""The coordinator's tables. Uniqueness is the database's business: one active credential per subject, serials once.

How they came to be stands in `migrations/registry`.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData()
ID = LargeBinary(8)
"""Whatever has 8 bytes by which it is known: devices, managers, groups, rules, keys, serials."""
NUMBER = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only where the type is INTEGER."""

counters = Table(
    "counter",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

managers = Table(
    "manager",
    metadata,
    Column("nm_id", ID, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("serial", ID),
    Column("kid", ID),
    Column("endpoint", String(255)),
    Column("acknowledged", BigInteger, nullable=False, server_default="0"),
    Column("hybrid_key", LargeBinary(2048)),
)

devices = Table(
    "device",
    metadata,
    Column("dev_id", ID, primary_key=True),
    Column("nm_id", ID, ForeignKey("manager.nm_id"), nullable=False, index=True),
    Column("state", String(16), nullable=False, index=True),
    Column("serial", ID, nullable=False),
)

credentials = Table(
    "credential",
    metadata,
    Column("serial", ID, primary_key=True),
    Column("sub", ID, nullable=False),
    Column("iss", ID, nullable=False),
    Column("raw", LargeBinary(256), nullable=False),
    Column("reg_no", BigInteger, nullable=False, unique=True),
    Column("ts", BigInteger, nullable=False),
    Column("receipt", LargeBinary(256), nullable=False),
    Column("state", String(16), nullable=False),
)
_ACTIVE = text("state = 'active'")
Index("one_active_credential", credentials.c.sub, unique=True, sqlite_where=_ACTIVE, postgresql_where=_ACTIVE)

events = Table(
    "event",
    metadata,
    Column("id", NUMBER, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("subject", ID, nullable=False),
    Column("data", Text, nullable=False),
    sqlite_autoincrement=True,
)

revocations = Table(
    "revocation",
    metadata,
    Column("id", NUMBER, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("subject", ID, nullable=False, index=True),
    Column("reason", Integer, nullable=False),
    Column("ts", BigInteger, nullable=False),
    Column("by", String(64), nullable=False),
    Column("status_epoch", BigInteger, nullable=False),
    Column("event", NUMBER, ForeignKey("event.id"), nullable=False),
    Column("evidence", LargeBinary(512), nullable=False),
    sqlite_autoincrement=True,
)
_SESSION = text("kind = 'session'")
Index("one_note_per_session", revocations.c.subject, unique=True, sqlite_where=_SESSION, postgresql_where=_SESSION)

Index("revocation_by_event", revocations.c.event)

acknowledgements = Table(
    "acknowledgement",
    metadata,
    Column("nm_id", ID, ForeignKey("manager.nm_id"), primary_key=True),
    Column("upto", NUMBER, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", NUMBER, primary_key=True, autoincrement=False),
    Column("entry", LargeBinary(1280), nullable=False),
    Column("h", LargeBinary(32), nullable=False),
)

heads = Table(
    "audit_head",
    metadata,
    Column("seq", NUMBER, primary_key=True, autoincrement=False),
    Column("h", LargeBinary(32), nullable=False),
    Column("ts", BigInteger, nullable=False),
    Column("signed", LargeBinary(256), nullable=False),
)
