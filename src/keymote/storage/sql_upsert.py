"""One statement that most tables need and that both databases spell differently."""

from collections.abc import Mapping

from sqlalchemy import Connection, Table, bindparam, insert, update


class Upsert:
    """Update the row under `keys` or insert it; there is one writer, so nobody comes between."""

    def __init__(self, table: Table, *keys: str) -> None:
        others = [column.name for column in table.c if column.name not in keys]
        self._update = update(table).values({name: bindparam(name) for name in others})
        for key in keys:
            self._update = self._update.where(table.c[key] == bindparam(f"key_{key}"))
        self._insert = insert(table)
        self._keys = keys

    def run(self, connection: Connection, values: Mapping[str, object]) -> None:
        """Write one row."""
        named = {f"key_{key}": values[key] for key in self._keys}
        others = {name: value for name, value in values.items() if name not in self._keys}
        if connection.execute(self._update, {**others, **named}).rowcount == 0:
            connection.execute(self._insert, values)
