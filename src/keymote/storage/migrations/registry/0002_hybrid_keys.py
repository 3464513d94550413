"""What managers publish for the post-quantum profile: a hybrid public key and their word for it."""

import sqlalchemy as sa
from alembic import op

revision = "registry_0002"
down_revision = "registry_0001"


def upgrade() -> None:
    op.add_column("manager", sa.Column("hybrid_key", sa.LargeBinary(2048)))
