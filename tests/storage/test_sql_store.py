"""The database: sealed, private, one process, no traces of what was erased, older schemas migrate and newer are refused."""

import queue
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import inspect

from keymote.crypto.entropy import SystemEntropy
from keymote.engine.base import CellKey
from keymote.errors import CallerFault, Incompatible, Unavailable
from keymote.host.ports import Write
from keymote.storage.migrations import HEADS
from keymote.storage.seal import FileKey, Tampered
from keymote.storage.sql import Database, open_database
from keymote.storage.sql_cells import metadata
from keymote.storage.sql_store import SqlStore

A, B = CellKey("link", b"a" * 8), CellKey("link", b"b" * 8)
ENTROPY = SystemEntropy()


@pytest.fixture
def kek(tmp_path: Path) -> FileKey:
    return FileKey(tmp_path / "kek", ENTROPY, create=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.db"


@pytest.fixture
def open_store(path: Path, kek: FileKey) -> Callable[[], SqlStore]:
    return lambda: SqlStore(open_database(path, history="cells"), kek, ENTROPY)


def commit(store: SqlStore, *writes: Write) -> Exception | None:
    ends: list[Exception | None] = []
    store.commit(writes, ends.append)
    assert len(ends) == 1
    return ends[0]


def bytes_on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.parent.iterdir()) if file.name.startswith(path.name))


def alter(path: Path, *statements: str) -> None:
    """Change the file as somebody with the disk in hand would."""
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_every_file_is_private(path: Path, open_store: Callable[[], SqlStore]) -> None:
    store = open_store()
    commit(store, Write(A, b"one"))
    files = [file for file in path.parent.iterdir() if file.name.startswith("node.db")]
    assert {file.name for file in files} >= {"node.db", "node.db-wal"}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    store.close()


def test_opens_count_and_the_journal_is_empty_after_close(path: Path, open_store: Callable[[], SqlStore]) -> None:
    for boot in (1, 2):
        store = open_store()
        assert store.boot == boot
        commit(store, Write(A, b"%d" % boot))
        store.close()
        log = path.with_name("node.db-wal")
        assert not log.exists() or log.stat().st_size == 0


def test_DR03_DR08_no_record_is_readable_in_any_file(path: Path, open_store: Callable[[], SqlStore]) -> None:
    store = open_store()
    commit(store, Write(A, b"secret-record"))
    assert b"secret-record" not in bytes_on_disk(path)
    store.close()
    assert b"secret-record" not in bytes_on_disk(path)


def sealed_record(path: Path, key: CellKey) -> bytes:
    connection = sqlite3.connect(path)
    (record,) = connection.execute("SELECT record FROM cell WHERE id = ?", (key.id,)).fetchone()
    connection.close()
    return bytes(record)


def test_DR09_an_erased_row_is_in_no_file_when_the_commit_ends(path: Path, open_store: Callable[[], SqlStore]) -> None:
    store = open_store()
    commit(store, Write(A, b"x" * 200, (b"an-alias-of-a",)), Write(B, b"y" * 200))
    sealed = sealed_record(path, A)
    assert sealed in bytes_on_disk(path)
    assert commit(store, Write(A, None)) is None
    for trace in (sealed, sealed[:32], b"an-alias-of-a"):
        assert trace not in bytes_on_disk(path)
    assert sealed_record(path, B) in bytes_on_disk(path)
    store.close()


def test_DR09_a_replaced_row_goes_when_the_store_is_quiet(path: Path, kek: FileKey) -> None:
    ended: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
    store = SqlStore(open_database(path, history="cells"), kek, ENTROPY, call_soon=lambda call: call())
    store.commit([Write(A, b"x" * 200)], ended.put)
    assert ended.get(timeout=10) is None
    sealed = sealed_record(path, A)
    store.commit([Write(A, b"y" * 200)], ended.put)
    assert ended.get(timeout=10) is None
    until = time.monotonic() + 20
    while sealed in bytes_on_disk(path):
        assert time.monotonic() < until, "the old row is still in the files"
    store.close()


def test_a_database_that_breaks_while_it_is_read_is_unavailable_and_recovers(path: Path, kek: FileKey) -> None:
    database = open_database(path, history="cells")
    store = SqlStore(database, kek, ENTROPY)
    commit(store, Write(A, b"one", (b"x",), 5))
    with database.writer.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE cell RENAME TO away")
    for reading in (lambda: store.load(A), store.next_wake, lambda: store.due(9, 9)):
        with pytest.raises(Unavailable, match="does not serve: no such table"):
            reading()
    assert isinstance(commit(store, Write(B, b"two")), Unavailable)
    with database.writer.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO cell")
    assert store.load(A) == b"one"
    assert commit(store, Write(B, b"two")) is None
    store.close()


def test_DR08_rows_that_change_places_are_refused(path: Path, open_store: Callable[[], SqlStore]) -> None:
    store = open_store()
    commit(store, Write(A, b"one"), Write(B, b"two"))
    store.close()
    alter(
        path,
        "CREATE TABLE t AS SELECT * FROM cell",
        "UPDATE cell SET record = (SELECT record FROM t WHERE t.id != cell.id)",
        "DROP TABLE t",
    )
    store = open_store()
    with pytest.raises(Tampered, match="cell/link"):
        store.load(A)
    store.close()


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM cell WHERE id = x'6161616161616161'",
        "UPDATE cell SET version = version - 1 WHERE id = x'6161616161616161'",
        "UPDATE cell SET kind = 'peer' WHERE id = x'6161616161616161'",
        "INSERT INTO cell SELECT 'peer', id, version, record, wake_at FROM cell",
    ],
)
def test_DR08_rows_taken_out_or_added_are_refused(path: Path, open_store: Callable[[], SqlStore], change: str) -> None:
    store = open_store()
    commit(store, Write(A, b"one"), Write(B, b"two"))
    store.close()
    alter(path, change)
    with pytest.raises(Tampered, match="not those that were committed last"):
        open_store()


def test_DR08_an_older_row_that_is_put_back_is_refused(path: Path, open_store: Callable[[], SqlStore]) -> None:
    """Its own seal is sound: what gives it away is the sum."""
    store = open_store()
    commit(store, Write(A, b"not revoked"), Write(B, b"two"))
    store.close()
    alter(path, "CREATE TABLE kept AS SELECT * FROM cell")
    store = open_store()
    commit(store, Write(A, b"revoked"))
    store.close()
    alter(path, "DELETE FROM cell WHERE id = x'6161616161616161'")
    alter(path, "INSERT INTO cell SELECT * FROM kept WHERE id = x'6161616161616161'")
    with pytest.raises(Tampered, match="not those that were committed last"):
        open_store()


def test_the_wrong_key_is_named(path: Path, open_store: Callable[[], SqlStore], tmp_path: Path) -> None:
    open_store().close()
    other = FileKey(tmp_path / "other", ENTROPY, create=True)
    with pytest.raises(CallerFault, match=r"node\.db was sealed under key .* but file:.*/other holds"):
        SqlStore(open_database(path, history="cells"), other, ENTROPY)
    open_store().close()


def test_a_second_process_is_refused_by_name(path: Path, open_store: Callable[[], SqlStore]) -> None:
    store = open_store()
    with pytest.raises(CallerFault, match="in use by process"):
        open_database(path, history="cells")
    store.close()
    open_store().close()


def set_room(database: Database, pages: str) -> None:
    """Let the writer's connection find a disk of so many pages."""
    with database.writer.connect() as connection:
        connection.connection.dbapi_connection.execute(f"PRAGMA max_page_count = {pages}")


def test_DR06_a_full_disk_fails_the_commit_and_the_store_works_again_when_there_is_space(
    path: Path, kek: FileKey
) -> None:
    database = open_database(path, history="cells")
    store = SqlStore(database, kek, ENTROPY)
    assert commit(store, Write(A, b"one")) is None
    set_room(database, "1")  # SQLite takes the present size when it is larger
    big = [Write(CellKey("link", bytes([n]) * 8), b"x" * 2000) for n in range(100)]
    failed = commit(store, *big)
    assert isinstance(failed, Unavailable)
    assert "full" in str(failed)
    assert "x" * 20 not in str(failed)
    assert store.load(A) == b"one"
    assert store.load(big[0].key) is None
    set_room(database, "1000000")
    assert commit(store, *big) is None
    store.close()
    store = SqlStore(open_database(path, history="cells"), kek, ENTROPY)
    assert store.load(big[0].key) == b"x" * 2000
    store.close()


def test_a_file_that_is_no_database_is_not_touched(path: Path) -> None:
    path.write_bytes(b"my holiday pictures" * 100)
    with pytest.raises(Unavailable, match="not a database"):
        open_database(path, history="cells")
    assert path.read_bytes() == b"my holiday pictures" * 100


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(CallerFault, match="no database URL"):
        open_database("not a url", history="cells")


def test_the_tables_that_the_migrations_make_are_those_that_the_queries_use(path: Path) -> None:
    database = open_database(path, history="cells")
    made = inspect(database.reader)
    assert set(made.get_table_names()) == {*metadata.tables, "alembic_version"}
    for table in metadata.tables.values():
        columns = {column["name"]: (str(column["type"]), column["nullable"]) for column in made.get_columns(table.name)}
        assert columns == {column.name: (str(column.type), column.nullable) for column in table.columns}
        assert made.get_pk_constraint(table.name)["constrained_columns"] == [key.name for key in table.primary_key]
        assert {index["name"] for index in made.get_indexes(table.name)} == {index.name for index in table.indexes}
    database.close()


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    open_database(path, history="cells").close()
    alter(path, "UPDATE alembic_version SET version_num = '0999'")
    before = path.read_bytes()
    with pytest.raises(Incompatible, match=f"version 0999; this program knows cells up to {HEADS['cells']}"):
        open_database(path, history="cells")
    assert path.read_bytes() == before


def test_an_older_schema_is_brought_up(path: Path) -> None:
    """The oldest there is has no tables yet."""
    alter(path, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    open_database(path, history="cells").close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEADS["cells"],)]
    connection.close()


def test_pragmas_of_the_writer(path: Path) -> None:
    database = open_database(path, history="cells")
    with database.writer.connect() as connection:
        raw = connection.connection.dbapi_connection
        found = {name: raw.execute(f"PRAGMA {name}").fetchone()[0] for name in (
            "journal_mode", "synchronous", "foreign_keys", "secure_delete"
        )}  # fmt: skip
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}
    with pytest.raises(Exception, match="readonly"), database.reader.connect() as connection:
        connection.exec_driver_sql("DELETE FROM cell")
    database.close()
