"""The encrypted logs of groups: records as their members sealed them, and how far each gateway has handed in."""

import sqlalchemy as sa
from alembic import op

revision = "registry_0005"
down_revision = "registry_0004"

ID = sa.LargeBinary(8)
NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "group_record",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("gid", ID, sa.ForeignKey("key_group.gid"), nullable=False),
        sa.Column("nm_id", ID, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("ts_ms", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("kid", ID, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("resource", sa.String(100), nullable=False),
        sa.Column("record", sa.LargeBinary(1135), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("records_of_group", "group_record", ["gid", "id"])
    op.create_table(
        "group_archivist",
        sa.Column("gid", ID, sa.ForeignKey("key_group.gid"), primary_key=True),
        sa.Column("nm_id", ID, primary_key=True),
        sa.Column("upto", sa.BigInteger, nullable=False),
    )
