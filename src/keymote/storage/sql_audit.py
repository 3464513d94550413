"""Reading the audit log of a register that another process may be using: no lock, no writing, no upgrade."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from keymote.engine.audit import Link
from keymote.errors import CallerFault
from keymote.host.register import Head
from keymote.storage.sql import engine, unavailable
from keymote.storage.sql_registry import audit, heads


def read_audit(path: Path) -> tuple[Sequence[Link], Sequence[Head]]:
    """Return every entry and every kept head of the register in `path`, as of one moment.

    Raises:
        CallerFault: there is no such file. Unavailable: it is no register.
    """
    if not path.is_file():
        raise CallerFault(f"there is no register at {path}", do="name the coordinator's directory by --data")
    reader = engine(URL.create("sqlite", database=str(path)), writes=False)
    try:
        with reader.connect() as connection:
            kept = connection.execute(select(heads).order_by(heads.c.seq)).all()  # first: the log only grows
            rows = connection.execute(select(audit).order_by(audit.c.seq)).all()
    except SQLAlchemyError as error:
        raise unavailable(str(path), error) from error
    finally:
        reader.dispose()
    found = [Head(row.seq, row.h, row.ts, row.signed) for row in kept]
    return [Link(row.seq, row.entry, row.h) for row in rows], found
