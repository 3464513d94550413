"""Register, revocation list, outbox and audit log of a coordinator."""

import sqlalchemy as sa
from alembic import op

revision = "registry_0001"
down_revision = None

ID = sa.LargeBinary(8)
NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "counter",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "manager",
        sa.Column("nm_id", ID, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("serial", ID),
        sa.Column("kid", ID),
        sa.Column("endpoint", sa.String(255)),
        sa.Column("acknowledged", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_table(
        "device",
        sa.Column("dev_id", ID, primary_key=True),
        sa.Column("nm_id", ID, sa.ForeignKey("manager.nm_id"), nullable=False, index=True),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("serial", ID, nullable=False),
    )
    op.create_table(
        "credential",
        sa.Column("serial", ID, primary_key=True),
        sa.Column("sub", ID, nullable=False),
        sa.Column("iss", ID, nullable=False),
        sa.Column("raw", sa.LargeBinary(256), nullable=False),
        sa.Column("reg_no", sa.BigInteger, nullable=False, unique=True),
        sa.Column("ts", sa.BigInteger, nullable=False),
        sa.Column("receipt", sa.LargeBinary(256), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
    )
    active = sa.text("state = 'active'")
    op.create_index(
        "one_active_credential", "credential", ["sub"], unique=True, sqlite_where=active, postgresql_where=active
    )
    op.create_table(
        "event",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("subject", ID, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "revocation",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject", ID, nullable=False, index=True),
        sa.Column("reason", sa.Integer, nullable=False),
        sa.Column("ts", sa.BigInteger, nullable=False),
        sa.Column("by", sa.String(64), nullable=False),
        sa.Column("status_epoch", sa.BigInteger, nullable=False),
        sa.Column("event", NUMBER, sa.ForeignKey("event.id"), nullable=False),
        sa.Column("evidence", sa.LargeBinary(512), nullable=False),
        sqlite_autoincrement=True,
    )
    session = sa.text("kind = 'session'")
    op.create_index(
        "one_note_per_session", "revocation", ["subject"], unique=True, sqlite_where=session, postgresql_where=session
    )
    op.create_table(
        "acknowledgement",
        sa.Column("nm_id", ID, sa.ForeignKey("manager.nm_id"), primary_key=True),
        sa.Column("upto", NUMBER, primary_key=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("seq", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("entry", sa.LargeBinary(1280), nullable=False),
        sa.Column("h", sa.LargeBinary(32), nullable=False),
    )
    op.create_table(
        "audit_head",
        sa.Column("seq", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("h", sa.LargeBinary(32), nullable=False),
        sa.Column("ts", sa.BigInteger, nullable=False),
        sa.Column("signed", sa.LargeBinary(256), nullable=False),
    )
