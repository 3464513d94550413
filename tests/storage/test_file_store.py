"""The device's file: private, sealed, whole at every moment, and without traces of what was erased."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keymote.crypto.entropy import SystemEntropy
from keymote.engine.base import CellKey
from keymote.errors import CallerFault, Incompatible, Unavailable
from keymote.host.ports import Write
from keymote.storage.file import FileStore
from keymote.storage.seal import FileKey, Tampered

A, B = CellKey("link", b"a" * 8), CellKey("link", b"b" * 8)
ENTROPY = SystemEntropy()


@pytest.fixture
def kek(tmp_path: Path) -> FileKey:
    return FileKey(tmp_path / "kek", ENTROPY, create=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "device.store"


def commit(store: FileStore, *writes: Write) -> Exception | None:
    ends: list[Exception | None] = []
    store.commit(writes, ends.append)
    assert len(ends) == 1
    return ends[0]


@contextmanager
def full_disk(at: int = 0) -> Iterator[None]:
    """No file of this process may grow beyond `at` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_file_is_private_and_opens_count(path: Path, kek: FileKey) -> None:
    for boot in (1, 2, 3):
        store = FileStore(path, kek, ENTROPY)
        assert store.boot == boot
        store.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_DR08_no_record_id_or_alias_is_readable_in_the_file(path: Path, kek: FileKey) -> None:
    store = FileStore(path, kek, ENTROPY)
    commit(store, Write(A, b"secret-record", (b"the-alias",)))
    store.close()
    for word in (b"secret-record", b"the-alias", A.id):
        assert word not in path.read_bytes()


def test_DR09_the_previous_file_is_overwritten_before_it_goes(path: Path, kek: FileKey) -> None:
    """Another name for the old bytes shows what became of them."""
    store = FileStore(path, kek, ENTROPY)
    commit(store, Write(A, b"one"))
    witness = path.with_name("witness")
    witness.hardlink_to(path)
    assert any(witness.read_bytes())
    commit(store, Write(A, None))
    assert witness.stat().st_size > 0
    assert not any(witness.read_bytes())
    assert {file.name for file in path.parent.iterdir()} == {"kek", "device.store", "device.store.lock", "witness"}
    store.close()


def test_a_kill_between_link_and_rename_does_not_cost_the_file(path: Path, kek: FileKey) -> None:
    """The second name of the present file must be removed, never overwritten."""
    store = FileStore(path, kek, ENTROPY)
    commit(store, Write(A, b"one"))
    store.close()
    path.with_name(".device.store.old").hardlink_to(path)
    path.with_name(".device.store.new").write_bytes(b"half of the next")
    store = FileStore(path, kek, ENTROPY)
    assert store.load(A) == b"one"
    assert commit(store, Write(B, b"two")) is None
    store.close()
    assert {file.name for file in path.parent.iterdir()} == {"kek", "device.store", "device.store.lock"}


def test_a_kill_after_the_rename_leaves_a_file_that_is_wiped_at_the_next_start(path: Path, kek: FileKey) -> None:
    old = path.with_name(".device.store.old")
    old.write_bytes(b"sealed bytes of before")
    witness = path.with_name("witness")
    witness.hardlink_to(old)
    FileStore(path, kek, ENTROPY).close()
    assert not old.exists()
    assert not any(witness.read_bytes())


def test_a_second_process_is_refused_with_the_number_of_the_first(path: Path, kek: FileKey) -> None:
    store = FileStore(path, kek, ENTROPY)
    with pytest.raises(CallerFault, match=f"in use by process {os.getpid()}"):
        FileStore(path, kek, ENTROPY)
    store.close()
    FileStore(path, kek, ENTROPY).close()


def test_the_wrong_key_changes_nothing(path: Path, kek: FileKey, tmp_path: Path) -> None:
    FileStore(path, kek, ENTROPY).close()
    before = path.read_bytes()
    other = FileKey(tmp_path / "other", ENTROPY, create=True)
    with pytest.raises(CallerFault, match=r"device\.store was sealed under key"):
        FileStore(path, other, ENTROPY)
    assert path.read_bytes() == before
    FileStore(path, kek, ENTROPY).close()


def test_DR08_every_changed_byte_is_refused(path: Path, kek: FileKey) -> None:
    store = FileStore(path, kek, ENTROPY)
    commit(store, Write(A, b"one"))
    store.close()
    blob = path.read_bytes()
    for index in range(len(blob)):
        path.write_bytes(blob[:index] + bytes([blob[index] ^ 0x80]) + blob[index + 1 :])
        with pytest.raises(Incompatible if index < 4 else (Tampered, CallerFault)):
            FileStore(path, kek, ENTROPY)
    path.write_bytes(blob)
    FileStore(path, kek, ENTROPY).close()


def test_a_cut_file_is_refused(path: Path, kek: FileKey) -> None:
    FileStore(path, kek, ENTROPY).close()
    blob = path.read_bytes()
    for length in (1, 4, 5, 30, len(blob) - 1):
        path.write_bytes(blob[:length])
        with pytest.raises((CallerFault, Incompatible)):
            FileStore(path, kek, ENTROPY)


def test_DR06_a_full_disk_fails_the_commit_and_the_store_works_again_when_there_is_space(
    path: Path, kek: FileKey
) -> None:
    store = FileStore(path, kek, ENTROPY)
    assert commit(store, Write(A, b"one")) is None
    with full_disk(at=100):
        assert isinstance(commit(store, Write(A, b"two"), Write(B, b"x" * 500)), Unavailable)
        assert (store.load(A), store.load(B)) == (b"one", None)
    assert commit(store, Write(B, b"three")) is None
    store.close()
    store = FileStore(path, kek, ENTROPY)
    assert (store.load(A), store.load(B)) == (b"one", b"three")
    store.close()


def test_a_missing_folder_is_the_operators_to_mend(kek: FileKey, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot open"):
        FileStore(tmp_path / "no" / "device.store", kek, ENTROPY)


def test_a_device_does_not_pay_for_the_database() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, keymote.storage.file; print('sqlalchemy' in sys.modules, 'alembic' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert loaded.stdout.split() == ["False", "False"]
