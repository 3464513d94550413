"""The coordinator's tables of topics, beside those of the register; how they came to be stands in `migrations/registry`."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, String, Table, text

from keymote.storage.sql_registry import ID, NUMBER, metadata

_NAME = String(255)
_TID = "topic_rule.tid"

rules = Table(
    "topic_rule",
    metadata,
    Column("tid", ID, primary_key=True),
    Column("filter", _NAME, nullable=False, unique=True),
    Column("nm_id", ID, ForeignKey("manager.nm_id"), nullable=False, index=True),
    Column("policy", String(16), nullable=False),
    Column("emergency", Boolean, nullable=False),
    Column("cs", Integer, nullable=False),
    Column("max_msgs", BigInteger, nullable=False),
    Column("life_s", BigInteger, nullable=False),
    Column("rotations", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("event", BigInteger, nullable=False),
)

grants = Table(
    "topic_grant",
    metadata,
    Column("tid", ID, ForeignKey(_TID), primary_key=True),
    Column("client", ID, primary_key=True, index=True),
    Column("roles", Integer, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
)

takings = Table(
    "topic_taking",
    metadata,
    Column("id", NUMBER, primary_key=True),
    Column("tid", ID, ForeignKey(_TID), nullable=False, index=True),
    Column("client", ID, nullable=False, index=True),
    Column("why", String(16), nullable=False),
    Column("compromised", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("event", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("safe_ms", BigInteger),
    sqlite_autoincrement=True,
)
_OPEN = text("safe_ms IS NULL")
Index("open_takings", takings.c.tid, sqlite_where=_OPEN, postgresql_where=_OPEN)

sessions = Table(
    "topic_session",
    metadata,
    Column("nm_id", ID, ForeignKey("manager.nm_id"), primary_key=True),
    Column("topic", _NAME, primary_key=True),
    Column("tid", ID, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("cause", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("begun_ms", BigInteger, nullable=False),
    Column("safe_ms", BigInteger),
    Column("ended", Boolean, nullable=False),
)
Index("sessions_of_rule", sessions.c.tid, sessions.c.topic)

epochs = Table(
    "topic_epoch",
    metadata,
    Column("id", NUMBER, primary_key=True),
    Column("nm_id", ID, nullable=False),
    Column("topic", _NAME, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("cause", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("begun_ms", BigInteger, nullable=False),
    Column("safe_ms", BigInteger),
    sqlite_autoincrement=True,
)
Index("epochs_of_topic", epochs.c.nm_id, epochs.c.topic, epochs.c.epoch, unique=True)

holders = Table(
    "topic_holder",
    metadata,
    Column("nm_id", ID, primary_key=True),
    Column("topic", _NAME, primary_key=True),
    Column("client", ID, primary_key=True, index=True),
    Column("published", BigInteger, nullable=False),
    Column("subscribed", BigInteger, nullable=False),
    Column("parked", BigInteger, nullable=False),
)

clients = Table(
    "topic_client",
    metadata,
    Column("client", ID, primary_key=True),
    Column("nm_id", ID, ForeignKey("manager.nm_id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("gone", Boolean, nullable=False),
)

refusals = Table(
    "topic_refusal",
    metadata,
    Column("nm_id", ID, primary_key=True),
    Column("client", ID, primary_key=True),
    Column("topic", _NAME, nullable=False),
    Column("code", Integer, nullable=False),
    Column("times", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
)

reporters = Table(
    "topic_reporter",
    metadata,
    Column("nm_id", ID, ForeignKey("manager.nm_id"), primary_key=True),
    Column("upto", BigInteger, nullable=False),
)
