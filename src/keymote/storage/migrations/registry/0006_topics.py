"""Topics: rules and grants, what was taken from whom, and what their managers reported of epochs and clients."""

import sqlalchemy as sa
from alembic import op

revision = "registry_0006"
down_revision = "registry_0005"

ID = sa.LargeBinary(8)
NAME = sa.String(255)
NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "topic_rule",
        sa.Column("tid", ID, primary_key=True),
        sa.Column("filter", NAME, nullable=False, unique=True),
        sa.Column("nm_id", ID, sa.ForeignKey("manager.nm_id"), nullable=False, index=True),
        sa.Column("policy", sa.String(16), nullable=False),
        sa.Column("emergency", sa.Boolean, nullable=False),
        sa.Column("cs", sa.Integer, nullable=False),
        sa.Column("max_msgs", sa.BigInteger, nullable=False),
        sa.Column("life_s", sa.BigInteger, nullable=False),
        sa.Column("rotations", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("event", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "topic_grant",
        sa.Column("tid", ID, sa.ForeignKey("topic_rule.tid"), primary_key=True),
        sa.Column("client", ID, primary_key=True, index=True),
        sa.Column("roles", sa.Integer, nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "topic_taking",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("tid", ID, sa.ForeignKey("topic_rule.tid"), nullable=False, index=True),
        sa.Column("client", ID, nullable=False, index=True),
        sa.Column("why", sa.String(16), nullable=False),
        sa.Column("compromised", sa.Boolean, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("event", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("safe_ms", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    still_open = sa.text("safe_ms IS NULL")
    op.create_index("open_takings", "topic_taking", ["tid"], sqlite_where=still_open, postgresql_where=still_open)
    op.create_table(
        "topic_session",
        sa.Column("nm_id", ID, sa.ForeignKey("manager.nm_id"), primary_key=True),
        sa.Column("topic", NAME, primary_key=True),
        sa.Column("tid", ID, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("cause", sa.Integer, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("begun_ms", sa.BigInteger, nullable=False),
        sa.Column("safe_ms", sa.BigInteger),
        sa.Column("ended", sa.Boolean, nullable=False),
    )
    op.create_index("sessions_of_rule", "topic_session", ["tid", "topic"])
    op.create_table(
        "topic_epoch",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("nm_id", ID, nullable=False),
        sa.Column("topic", NAME, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("cause", sa.Integer, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("begun_ms", sa.BigInteger, nullable=False),
        sa.Column("safe_ms", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_index("epochs_of_topic", "topic_epoch", ["nm_id", "topic", "epoch"], unique=True)
    op.create_table(
        "topic_holder",
        sa.Column("nm_id", ID, primary_key=True),
        sa.Column("topic", NAME, primary_key=True),
        sa.Column("client", ID, primary_key=True, index=True),
        sa.Column("published", sa.BigInteger, nullable=False),
        sa.Column("subscribed", sa.BigInteger, nullable=False),
        sa.Column("parked", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "topic_client",
        sa.Column("client", ID, primary_key=True),
        sa.Column("nm_id", ID, sa.ForeignKey("manager.nm_id"), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("made_ms", sa.BigInteger, nullable=False),
        sa.Column("gone", sa.Boolean, nullable=False),
    )
    op.create_table(
        "topic_refusal",
        sa.Column("nm_id", ID, primary_key=True),
        sa.Column("client", ID, primary_key=True),
        sa.Column("topic", NAME, nullable=False),
        sa.Column("code", sa.Integer, nullable=False),
        sa.Column("times", sa.BigInteger, nullable=False),
        sa.Column("last_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "topic_reporter",
        sa.Column("nm_id", ID, sa.ForeignKey("manager.nm_id"), primary_key=True),
        sa.Column("upto", sa.BigInteger, nullable=False),
    )
