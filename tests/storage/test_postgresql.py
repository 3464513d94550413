"""Our stores on a real PostgreSQL: one process each, nothing acknowledged is lost when the server dies, no password is told.

The same examinations as on SQLite stand where the stores are examined (tests/conformance, tests/coordinator).
"""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from keymote.crypto.entropy import SystemEntropy
from keymote.engine.base import CellKey
from keymote.errors import CallerFault, Incompatible, KeymoteError, Unavailable
from keymote.host.ports import Write
from keymote.host.register import Manager
from keymote.storage import sql
from keymote.storage.migrations import HEADS
from keymote.storage.seal import FileKey
from keymote.storage.sql import open_database
from keymote.storage.sql_ledger import SqlLedger, open_ledger
from keymote.storage.sql_store import SqlStore
from postgresql_cluster import Cluster

A, B = CellKey("link", b"a" * 8), CellKey("link", b"b" * 8)
pytestmark = pytest.mark.timeout(120)
real = pytest.mark.peers


@pytest.fixture
def url(postgresql: Cluster) -> str:
    return postgresql.fresh()


@pytest.fixture
def open_store(url: str, tmp_path: Path) -> Callable[[], SqlStore]:
    kek = FileKey(tmp_path / "kek", SystemEntropy(), create=True)
    return lambda: SqlStore(open_database(url, history="cells"), kek, SystemEntropy())


def commit(store: SqlStore, *writes: Write) -> Exception | None:
    ends: list[Exception | None] = []
    store.commit(writes, ends.append)
    return ends[0]


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    """Ask as somebody with the password would, past our stores."""
    engine = create_engine(url)
    with engine.begin() as connection:
        found = [tuple(row) for row in connection.execute(text(statement))]
    engine.dispose()
    return found


def insist(work: Callable[[], object]) -> object:
    """Call again after an outage was noticed, as the driver and people do."""
    try:
        return work()
    except Unavailable:
        return work()


@real
def test_one_process_at_a_time_uses_a_database(
    url: str, open_store: Callable[[], SqlStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    with monkeypatch.context() as hasty:
        hasty.setattr(sql, "_LOCK_WITHIN_MS", 100)
        with pytest.raises(CallerFault, match="in use by another process"):
            open_store()
    assert commit(store, Write(A, b"one")) is None
    store.close()  # the server lets go of the lock in its own time
    again = open_store()
    assert again.load(A) == b"one"
    again.close()


@real
def test_a_process_that_was_killed_leaves_no_lock(url: str) -> None:
    script = """
        import os, sys
        from keymote.storage.sql import open_database
        database = open_database(sys.stdin.readline().strip(), history="registry")
        print("open", flush=True)
        sys.stdin.read()
    """
    held = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert held.stdin is not None and held.stdout is not None
    held.stdin.write(url + "\n")
    held.stdin.flush()
    assert held.stdout.readline() == "open\n"
    held.kill()
    held.communicate()
    open_database(url, history="registry").close()


@real
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_DR04_a_server_that_stops_loses_nothing_that_was_acknowledged(
    mode: str, postgresql: Cluster, open_store: Callable[[], SqlStore]
) -> None:
    store = open_store()
    assert commit(store, Write(A, b"one", (b"alias",), 7)) is None
    postgresql.stop(mode)
    assert isinstance(commit(store, Write(B, b"two")), Unavailable)
    for _ in range(2):
        with pytest.raises(Unavailable):
            store.load(A)
    postgresql.start()
    assert insist(lambda: store.load(A)) == b"one"
    assert (store.load(B), store.find("link", b"alias"), store.next_wake()) == (None, A, 7)
    assert commit(store, Write(B, b"two")) is None
    store.close()
    again = open_store()
    assert (again.boot, again.load(A), again.load(B)) == (2, b"one", b"two")
    again.close()


@real
async def test_DR04_a_register_goes_on_after_its_server_died(postgresql: Cluster, url: str) -> None:
    ledger = open_ledger(url)
    await ledger.write(lambda tx: tx.put_manager(Manager(b"manager1", "north")))
    postgresql.stop("immediate")
    with pytest.raises(Unavailable):
        await ledger.write(lambda tx: tx.count("reg_no"))
    postgresql.start()
    assert await ledger.write(lambda tx: tx.count("reg_no")) == 1
    found = await ledger.read(lambda tx: tx.manager(b"manager1"))
    assert found is not None
    await ledger.close()


@real
def test_a_writer_whose_lock_went_to_another_process_is_refused(
    postgresql: Cluster, url: str, open_store: Callable[[], SqlStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is lost with the connection; what took the database meanwhile keeps it."""
    monkeypatch.setattr(sql, "_LOCK_WITHIN_MS", 100)
    store = open_store()
    postgresql.stop("immediate")
    postgresql.start()
    other = open_store()
    refused = commit(store, Write(A, b"of the one before"))
    assert isinstance(refused, Unavailable)
    assert "another process" in str(refused)
    assert other.load(A) is None
    other.close()
    store.close()


@real
def test_DR08_a_row_that_was_taken_out_is_missed(url: str, open_store: Callable[[], SqlStore]) -> None:
    store = open_store()
    commit(store, Write(A, b"one"), Write(B, b"two"))
    store.close()
    assert b"one" not in b"".join(bytes(row[0]) for row in query(url, "SELECT record FROM cell"))  # type: ignore[call-overload]
    query(url, "DELETE FROM cell WHERE id = 'aaaaaaaa'::bytea RETURNING id")
    with pytest.raises(KeymoteError, match="not those that were committed last"):
        open_store()


@real
def test_tables_of_before_are_brought_up_and_later_ones_refused(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection, pytest.MonkeyPatch.context() as patch:
        patch.setitem(HEADS, "registry", "registry_0001")
        sql.upgrade(connection, "registry", url)
        connection.execute(text("INSERT INTO manager (nm_id, name, state) VALUES ('manager1', 'north', 'active')"))
    engine.dispose()
    open_database(url, history="registry").close()
    assert query(url, "SELECT version_num FROM alembic_version") == [(HEADS["registry"],)]
    assert query(url, "SELECT name, hybrid_key FROM manager") == [("north", None)]
    query(url, "UPDATE alembic_version SET version_num = 'registry_0999' RETURNING 1")
    with pytest.raises(Incompatible, match="version registry_0999"):
        open_database(url, history="registry")


@real
def test_a_history_does_not_move_into_another_ones_database(url: str) -> None:
    open_database(url, history="registry").close()
    with pytest.raises(Incompatible):
        open_database(url, history="cells")


@real
async def test_no_error_tells_the_password(postgresql: Cluster, url: str) -> None:
    ledger = SqlLedger(open_database(url, history="registry"))
    wrong = url.replace(postgresql.password, "wrong-password-of-this-test")
    with pytest.raises(Unavailable) as refused:
        open_database(wrong, history="registry")
    assert "password authentication failed" in str(refused.value)
    with pytest.raises(Unavailable) as written:
        await ledger.read(lambda tx: tx.count("reg_no"))
    await ledger.close()
    for said in (str(refused.value), str(written.value)):
        assert "127.0.0.1" in said
        assert "wrong-password" not in said
        assert postgresql.password not in said


def test_a_driver_that_is_not_installed_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(CallerFault, match=r"keymote\[postgresql\]") as refused:
        open_database("postgresql://keymote:word@127.0.0.1/keymote", history="cells")
    assert "word" not in str(refused.value)


def test_other_databases_are_refused() -> None:
    with pytest.raises(CallerFault, match="use SQLite or PostgreSQL"):
        open_database("mysql://localhost/keymote", history="cells")
