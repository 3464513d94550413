"""An index from events to the revocations that they carry out: the outbox is pruned, but not of those."""

from alembic import op

revision = "registry_0003"
down_revision = "registry_0002"


def upgrade() -> None:
    op.create_index("revocation_by_event", "revocation", ["event"])
