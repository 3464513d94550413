"""The wrapped data key of a store on SQL, for wrapping it anew while nobody else has the store open."""

from typing import Any, Final

from sqlalchemy import bindparam, select, update
from sqlalchemy.exc import SQLAlchemyError

from keymote.errors import Unavailable
from keymote.storage.sql import Database, unavailable
from keymote.storage.sql_cells import meta

_KEY: Final = select(meta.c.value).where(meta.c.name == "key")
_SET_KEY: Final = update(meta).where(meta.c.name == "key").values(value=bindparam("wrapped"))


class SqlKey:
    """The key of `open_database(url, history="cells")`, which it owns from now on; `wrapped` is empty in a new store.

    Raises:
        Unavailable: the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        try:
            with database.reader.connect() as connection:
                found: Any = connection.execute(_KEY).scalar()
        except SQLAlchemyError as error:
            database.close()
            raise unavailable(database.where, error) from error
        self.wrapped: bytes = found or b""

    @property
    def where(self) -> str:
        return self._database.where

    def keep(self, wrapped: bytes) -> None:
        """Keep the data key wrapped like this from now on, and leave nothing of the old wrapping in the journal.

        Raises:
            Unavailable: the database does not take it, or somebody reads an old state of it.
        """
        try:
            with self._database.writer.begin() as connection:
                connection.execute(_SET_KEY, {"wrapped": wrapped})
            is_cut = self._database.truncate_journal()
        except SQLAlchemyError as error:
            raise unavailable(self.where, error) from error
        if not is_cut:
            raise Unavailable(f"somebody reads {self.where}", do="let a backup of it end, then do it again")
        self.wrapped = wrapped

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()
