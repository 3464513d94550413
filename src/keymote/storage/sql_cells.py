"""The tables of the cells' store, as queries see them; `migrations/cells` makes them."""

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, LargeBinary, MetaData, String, Table

metadata = MetaData()

cells = Table(
    "cell",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("id", LargeBinary(64), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Column("wake_at", BigInteger),
    Index("cell_wake_at", "wake_at"),
)
"""`record` is sealed for ("cell", kind, id, version); the version of a row is the number of the commit that wrote it."""

aliases = Table(
    "alias",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("alias", LargeBinary(64), primary_key=True),
    Column("id", LargeBinary(64), nullable=False),
    ForeignKeyConstraint(["kind", "id"], ["cell.kind", "cell.id"], ondelete="CASCADE"),
    Index("alias_of", "kind", "id"),
)

meta = Table(
    "meta",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
"""`key`: the wrapped data key; `state`: sealed [boot, number of the last commit, sum over all rows]."""
