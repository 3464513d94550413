"""One exam for every store: whatever passes it may stand under the driver."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keymote.crypto.entropy import SystemEntropy
from keymote.engine.base import CellKey
from keymote.host.ports import Store, Write
from keymote.storage.file import FileStore
from keymote.storage.memory import MemoryStore
from keymote.storage.seal import open_key
from keymote.storage.sql import open_database
from keymote.storage.sql_store import SqlStore


class KeptStore(Store, Protocol):
    @property
    def rows(self) -> Any: ...


class MemoryDisk:
    """Gives a memory store what the others have: something that outlives them."""

    def __init__(self, _folder: Path, _request: pytest.FixtureRequest) -> None:
        self._store = MemoryStore()

    def open(self) -> KeptStore:
        self._store = MemoryStore(self._store.rows)
        return self._store


class FileDisk:
    def __init__(self, folder: Path, _request: pytest.FixtureRequest) -> None:
        self._folder = folder
        self._kek = open_key(f"file:{folder}/kek", SystemEntropy(), create=True)

    def open(self) -> KeptStore:
        return FileStore(self._folder / "device.store", self._kek, SystemEntropy())


class SqlDisk:
    def __init__(self, folder: Path, request: pytest.FixtureRequest) -> None:
        self._where = self.place(folder, request)
        self._kek = open_key(f"file:{folder}/kek", SystemEntropy(), create=True)

    def place(self, folder: Path, _request: pytest.FixtureRequest) -> Path | str:
        return folder / "node.db"

    def open(self) -> KeptStore:
        return SqlStore(open_database(self._where, history="cells"), self._kek, SystemEntropy())


class PostgresqlDisk(SqlDisk):
    def place(self, _folder: Path, request: pytest.FixtureRequest) -> str:
        fresh: str = request.getfixturevalue("postgresql").fresh()
        return fresh


DISKS = [MemoryDisk, FileDisk, SqlDisk, pytest.param(PostgresqlDisk, marks=pytest.mark.peers)]
A, B, C = (CellKey("link", name * 8) for name in (b"a", b"b", b"c"))


def _name(disk: Any) -> str:
    return str(disk.__name__)


class Bench:
    """A disk and the store that is open on it."""

    def __init__(self, disk: MemoryDisk | FileDisk | SqlDisk) -> None:
        self._disk = disk
        self.store = disk.open()

    def commit(self, *writes: Write) -> None:
        ends: list[Exception | None] = []
        self.store.commit(writes, ends.append)
        assert ends == [None]

    def restart(self) -> None:
        self.store.close()
        self.store = self._disk.open()

    def all(self) -> dict[CellKey, Write]:
        return {row.key: Write(row.key, row.record, tuple(sorted(row.aliases)), row.wake_at) for row in self.store.rows}


@pytest.fixture(params=DISKS, ids=_name)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(request.param(tmp_path, request))
    yield made
    made.store.close()


def test_a_committed_row_is_read_back_also_after_a_restart(bench: Bench) -> None:
    bench.commit(Write(A, b"one"), Write(B, b"two", (b"alias",), 7))
    for _ in range(2):
        assert (bench.store.load(A), bench.store.load(B), bench.store.load(C)) == (b"one", b"two", None)
        assert bench.store.find("link", b"alias") == B
        assert bench.store.next_wake() == 7
        bench.restart()


def test_an_empty_store_says_so(bench: Bench) -> None:
    assert bench.store.load(A) is None
    assert bench.store.find("link", b"alias") is None
    assert bench.store.next_wake() is None
    assert bench.store.due(2**31, 10) == []
    bench.commit()
    bench.commit(Write(A, None))
    assert bench.all() == {}


def test_the_last_write_of_a_row_stands(bench: Bench) -> None:
    bench.commit(Write(A, b"one", (b"x", b"y"), 5))
    bench.commit(Write(A, b"two", (b"y", b"z"), 9))
    assert bench.store.load(A) == b"two"
    assert [bench.store.find("link", alias) for alias in (b"x", b"y", b"z")] == [None, A, A]
    assert bench.store.next_wake() == 9
    bench.commit(Write(A, b""))
    assert bench.store.load(A) == b""
    assert bench.store.find("link", b"y") is None
    assert bench.store.next_wake() is None


def test_an_erased_row_takes_its_aliases_and_its_wake_along(bench: Bench) -> None:
    bench.commit(Write(A, b"one", (b"x",), 5))
    bench.commit(Write(A, None))
    for _ in range(2):
        assert bench.store.load(A) is None
        assert bench.store.find("link", b"x") is None
        assert bench.store.due(10, 10) == []
        bench.restart()
    bench.commit(Write(A, b"again", (b"x",)))
    assert bench.store.find("link", b"x") == A


def test_an_alias_belongs_to_who_took_it_last_and_to_one_kind(bench: Bench) -> None:
    bench.commit(Write(A, b"one", (b"x",)))
    bench.commit(Write(B, b"two", (b"x",)), Write(CellKey("peer", b"p"), b"three", (b"x",)))
    assert bench.store.find("link", b"x") == B
    assert bench.store.find("peer", b"x") == CellKey("peer", b"p")
    bench.commit(Write(A, None))
    assert bench.store.find("link", b"x") == B


def test_DR14_due_cells_come_oldest_first_and_survive_a_restart(bench: Bench) -> None:
    bench.commit(Write(A, b"1", (), 30), Write(B, b"2", (), 10), Write(C, b"3", (), 20))
    for _ in range(2):
        assert bench.store.due(9, 10) == []
        assert bench.store.due(25, 10) == [B, C]
        assert bench.store.due(99, 2) == [B, C]
        assert bench.store.next_wake() == 10
        bench.restart()


def test_kinds_and_ids_are_kept_apart(bench: Bench) -> None:
    keys = [CellKey("a", b"bc"), CellKey("ab", b"c"), CellKey("a", b""), CellKey("a", b"bc\0")]
    bench.commit(*(Write(key, b"%d" % number) for number, key in enumerate(keys)))
    assert [bench.store.load(key) for key in keys] == [b"0", b"1", b"2", b"3"]


def test_DR10_a_record_of_the_longest_length_fits(bench: Bench) -> None:
    bench.commit(Write(A, bytes(range(256)) * 8))
    bench.restart()
    assert bench.store.load(A) == bytes(range(256)) * 8


def test_many_rows_in_one_commit(bench: Bench) -> None:
    keys = [CellKey("link", number.to_bytes(8, "big")) for number in range(900)]
    bench.commit(*(Write(key, key.id) for key in keys))
    bench.commit(*(Write(key, key.id * 2 if key.id[-1] % 2 else None) for key in keys))
    bench.restart()
    assert bench.all().keys() == {key for key in keys if key.id[-1] % 2}


ROW = st.builds(
    Write,
    key=st.sampled_from([A, B, C, CellKey("peer", b"a" * 8)]),
    record=st.none() | st.binary(max_size=40),
    aliases=st.lists(st.sampled_from([b"x", b"y", b"z"]), unique=True, max_size=2).map(tuple),
    wake_at=st.none() | st.integers(0, 50),
)
COMMIT = st.lists(ROW, max_size=4, unique_by=(lambda row: row.key, lambda row: row.aliases or row.key)).filter(
    lambda rows: (
        len({(row.key.kind, alias) for row in rows for alias in row.aliases}) == sum(len(row.aliases) for row in rows)
    )
)


@pytest.mark.parametrize("disk", DISKS[1:], ids=_name)
def test_every_store_is_the_memory_store(
    disk: Callable[[Path, Any], FileDisk | SqlDisk], tmp_path_factory: Any, request: pytest.FixtureRequest
) -> None:
    @settings(max_examples=15)
    @given(commits=st.lists(COMMIT, max_size=8))
    def same(commits: Sequence[Sequence[Write]]) -> None:
        model, bench = MemoryStore(), Bench(disk(tmp_path_factory.mktemp("disk"), request))
        for writes in commits:
            model.commit(writes, lambda _error: None)
            bench.commit(*writes)
            for alias in (b"x", b"y", b"z"):
                assert bench.store.find("link", alias) == model.find("link", alias)
            assert bench.store.due(25, 3) == model.due(25, 3)
            assert bench.store.next_wake() == model.next_wake()
        bench.restart()
        for key in (A, B, C, CellKey("peer", b"a" * 8)):
            assert bench.store.load(key) == model.load(key)
        bench.store.close()

    same()
