"""The rows of cells, the aliases that find them, and what the store notes about itself."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "cell",
        sa.Column("kind", sa.String(32), primary_key=True),
        sa.Column("id", sa.LargeBinary(64), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.Column("wake_at", sa.BigInteger),
    )
    op.create_index("cell_wake_at", "cell", ["wake_at"])
    op.create_table(
        "alias",
        sa.Column("kind", sa.String(32), primary_key=True),
        sa.Column("alias", sa.LargeBinary(64), primary_key=True),
        sa.Column("id", sa.LargeBinary(64), nullable=False),
        sa.ForeignKeyConstraint(["kind", "id"], ["cell.kind", "cell.id"], ondelete="CASCADE"),
    )
    op.create_index("alias_of", "alias", ["kind", "id"])
    op.create_table(
        "meta",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
