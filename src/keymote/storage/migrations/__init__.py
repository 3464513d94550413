"""How the tables came to be: one folder per history, one file per step, run by Alembic without files beside the package.

An older database is brought to `HEADS` when it is opened; a newer one is refused. Once released, a step is never changed.
"""

from importlib.resources import as_file, files
from typing import Final

from sqlalchemy import Connection, inspect, text

from keymote.errors import Incompatible

HEADS: Final = {"cells": "0001", "registry": "registry_0006"}
"""The newest step of each history that this program knows."""

_TABLE: Final = "alembic_version"


def upgrade(connection: Connection, history: str, where: str) -> None:
    """Bring the tables to this program's version within the caller's transaction.

    Raises:
        Incompatible: another history or a newer program made them; nothing was changed.
    """
    found = _version(connection)
    if found == HEADS[history]:
        return
    from alembic import command  # noqa: PLC0415  an up-to-date database does not pay for its import
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    with as_file(files(__name__)) as folder:
        config = Config()
        config.set_main_option("script_location", str(folder))
        config.set_main_option("version_locations", str(folder / history))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        try:
            if found is not None:
                ScriptDirectory.from_config(config).get_revision(found)
        except CommandError as error:
            raise Incompatible(
                f"{where} has tables of version {found}; this program knows {history} up to {HEADS[history]}",
                do="run the newer program that made them, or restore a backup of before",
            ) from error
        command.upgrade(config, HEADS[history])


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {_TABLE}")).scalar()  # noqa: S608  a constant
    return None if found is None else str(found)
