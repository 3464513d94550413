"""Groups: who should belong to them, who leads them, what their gateways reported, and what contradicts itself."""

import sqlalchemy as sa
from alembic import op

revision = "registry_0004"
down_revision = "registry_0003"

ID = sa.LargeBinary(8)
NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _gid() -> "sa.Column[bytes]":
    return sa.Column("gid", ID, sa.ForeignKey("key_group.gid"), primary_key=True)


def upgrade() -> None:
    op.create_table(
        "key_group",
        sa.Column("gid", ID, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("nm_id", ID, sa.ForeignKey("manager.nm_id"), nullable=False, index=True),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("suite", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("rev", sa.BigInteger, nullable=False),
        sa.Column("event", sa.BigInteger, nullable=False),
        sa.Column("ra_kid", ID, nullable=False),
        sa.Column("gw_kid", ID, nullable=False),
        sa.Column("delegation", sa.LargeBinary(256), nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("roster", sa.LargeBinary(2048), nullable=False),
        sa.Column("roster_ver", sa.BigInteger, nullable=False),
        sa.Column("formed", sa.Boolean, nullable=False),
        sa.Column("rekey", sa.BigInteger, nullable=False),
        sa.Column("rekey_reason", sa.Integer, nullable=False),
        sa.Column("ver", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("key_id", ID, nullable=False),
        sa.Column("confirmed_ms", sa.BigInteger, nullable=False),
        sa.Column("reported_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "group_member",
        _gid(),
        sa.Column("dev_id", ID, primary_key=True, index=True),
        sa.Column("member", sa.Boolean, nullable=False),
        sa.Column("allowed", sa.Boolean, nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "group_kid",
        _gid(),
        sa.Column("kid", ID, primary_key=True),
        sa.Column("dev_id", ID, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "group_removal",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("gid", ID, sa.ForeignKey("key_group.gid"), nullable=False, index=True),
        sa.Column("dev_id", ID, nullable=False, index=True),
        sa.Column("cause", sa.String(16), nullable=False),
        sa.Column("reason", sa.Integer, nullable=False),
        sa.Column("kids", sa.LargeBinary(1024), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("event", sa.BigInteger, nullable=False),
        sa.Column("last_with", sa.BigInteger, nullable=False),
        sa.Column("safe_ms", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "group_roster",
        _gid(),
        sa.Column("ver", sa.BigInteger, primary_key=True),
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("kid", ID, nullable=False),
        sa.Column("nm_id", ID, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("ts_ms", sa.BigInteger, nullable=False),
        sa.Column("raw", sa.LargeBinary(2048), nullable=False),
    )
    op.create_table(
        "group_epoch",
        _gid(),
        sa.Column("epoch", sa.BigInteger, primary_key=True),
        sa.Column("nm_id", ID, primary_key=True),
        sa.Column("key_id", ID, primary_key=True),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("ver", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Integer, nullable=False),
        sa.Column("kids", sa.LargeBinary(256), nullable=False),
        sa.Column("began_ms", sa.BigInteger, nullable=False),
        sa.Column("confirmed_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "group_reporter",
        _gid(),
        sa.Column("nm_id", ID, primary_key=True),
        sa.Column("upto", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "group_lead",
        _gid(),
        sa.Column("gw_kid", ID, primary_key=True),
        sa.Column("nm_id", ID, nullable=False),
        sa.Column("sig_pk", sa.LargeBinary(33), nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "conflict",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("gid", ID, nullable=False, index=True),
        sa.Column("subject", ID, nullable=False, index=True),
        sa.Column("number", sa.BigInteger),
        sa.Column("managers", sa.LargeBinary(256), nullable=False),
        sa.Column("ts_ms", sa.BigInteger, nullable=False),
        sa.Column("text", sa.String(512), nullable=False),
        sa.Column("settled_ms", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    live = sa.text("settled_ms IS NULL")
    op.create_index("live_conflicts", "conflict", ["kind"], sqlite_where=live, postgresql_where=live)
