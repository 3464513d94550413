"""The device's store: all rows in one small sealed file, replaced as a whole.

Layout: `"KMS1" | length of the wrapped key (1 byte) | wrapped data key | nonce, ciphertext, tag of CBOR [boot, [[kind, id,
record, [alias, ...], wake_at or null], ...]]`. A commit writes a new file beside the old one, syncs it, renames it over,
syncs the directory, and overwrites the old one before its blocks are given back. A kill at any moment leaves the old rows
or the new ones. Only the standard library and the seal are needed, so that a device starts fast.
"""

import contextlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.engine.base import CellKey
from keymote.errors import Incompatible, Unavailable
from keymote.host.ports import Done, Write
from keymote.storage.lock import lock_beside
from keymote.storage.memory import MemoryStore
from keymote.storage.seal import DataKey, KeyEncryptionKey
from keymote.storage.worker import CallSoon, Worker

_MAGIC: Final = b"KMS1"
_PLACE: Final = "device rows"
_MAX_FILE: Final = 16 * 1024 * 1024
"""Largest file that is read, in bytes; a device's rows take a few KiB."""


class FileStore:
    """Rows of one device in the file `path`; `boot` counts how often it was opened.

    With `call_soon`, commits are written by a thread and end through it; without, before `commit` returns.

    Raises:
        CallerFault: another process has the file open, or `kek` is not its key (the message names both).
        Tampered: the file was changed.
        Incompatible: another version wrote it.
        Unavailable: the disk does not answer.
    """

    def __init__(
        self, path: Path, kek: KeyEncryptionKey, entropy: Entropy, *, call_soon: CallSoon | None = None
    ) -> None:
        self._path = path
        self._beside = path.with_name(f".{path.name}.new")
        self._before = path.with_name(f".{path.name}.old")
        self._unlock = lock_beside(path)
        try:
            self._wipe_before()
            self._rows = MemoryStore()
            self.boot = 0
            blob = self._path.read_bytes() if self._path.exists() else b""
            if blob:
                self._parse(blob, kek, entropy)
            else:
                self._data_key = DataKey.fresh(entropy)
                self._wrapped = self._data_key.wrapped_by(kek)
            self.boot += 1
            self._write(self._rows, self._wrapped)
        except BaseException as error:
            self._unlock()
            if isinstance(error, OSError):
                raise Unavailable(f"cannot read {path}: {error.strerror}") from error
            raise
        self._call_soon = call_soon
        self._worker = None if call_soon is None else Worker("file-store")

    @property
    def rows(self) -> Sequence[Write]:
        """Everything that is kept, for a backup."""
        return self._rows.rows

    def load(self, key: CellKey) -> bytes | None:
        """Return the record under `key`."""
        return self._rows.load(key)

    def find(self, kind: str, alias: bytes) -> CellKey | None:
        """Return the key of the cell of this kind that has `alias`."""
        return self._rows.find(kind, alias)

    def due(self, wall: int, limit: int) -> Sequence[CellKey]:
        """Return at most `limit` keys to be woken by `wall`, oldest first."""
        return self._rows.due(wall, limit)

    def next_wake(self) -> int | None:
        """Return the earliest `wake_at` of all rows."""
        return self._rows.next_wake()

    def commit(self, writes: Sequence[Write], done: Done) -> None:
        """Replace the file by one with these rows."""
        if self._worker is None or self._call_soon is None:
            done(self._commit(writes))
            return
        call_soon = self._call_soon
        self._worker.submit(lambda: (call_soon(partial(done, self._commit(writes))), None)[1])

    def rewrap(self, kek: KeyEncryptionKey) -> None:
        """Keep the data key under another key-encryption key from now on; the old one opens this file no more.

        Call it while no commit is under way. Raises Unavailable; then the old key-encryption key stays the right one.
        """
        wrapped = self._data_key.wrapped_by(kek)
        self._write(self._rows, wrapped)
        self._wrapped = wrapped

    def close(self) -> None:
        """Finish commits and let go of the file."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        self._unlock()

    # ------------------------------------------------------------------ the file

    def _commit(self, writes: Sequence[Write]) -> Exception | None:
        rows = MemoryStore(self._rows.rows)
        rows.apply(writes)
        try:
            self._write(rows, self._wrapped)
        except Exception as error:  # noqa: BLE001  whatever it is, nothing was committed, and the caller hears of it
            return error
        self._rows = rows
        return None

    def _parse(self, blob: bytes, kek: KeyEncryptionKey, entropy: Entropy) -> None:
        if not blob.startswith(_MAGIC):
            raise Incompatible(f"{self._path} is no store of this version", do="run the version that wrote it")
        start = len(_MAGIC) + 1
        end = start + blob[len(_MAGIC)] if len(blob) >= start else start
        self._wrapped = blob[start:end]
        self._data_key = DataKey.unwrapped(self._wrapped, kek, entropy, where=str(self._path))
        body: Any = cbor.decode(self._data_key.open(blob[end:], _PLACE), max_size=_MAX_FILE)
        self.boot, rows = body
        self._rows.apply(
            Write(CellKey(kind, id_), record, tuple(aliases), wake_at) for kind, id_, record, aliases, wake_at in rows
        )

    def _write(self, rows: MemoryStore, wrapped: bytes) -> None:
        """Put `rows` on disk in place of what is there; raises Unavailable when it still holds the old ones."""
        body = [self.boot, [[*row.key, row.record, list(row.aliases), row.wake_at] for row in rows.rows]]
        sealed = self._data_key.seal(cbor.encode(body), _PLACE)
        try:
            self._wipe_before()
            _write_synced(self._beside, _MAGIC + bytes([len(wrapped)]) + wrapped + sealed)
            with contextlib.suppress(OSError):  # the first commit, or a file system without hard links
                self._before.hardlink_to(self._path)
            self._beside.replace(self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._beside.unlink()
            raise Unavailable(
                f"cannot write {self._path}: {error.strerror}", do="free space or mend the disk"
            ) from error
        with contextlib.suppress(OSError):  # the commit stands; what could not be wiped is wiped before the next one
            self._wipe_before()

    def _wipe_before(self) -> None:
        """Overwrite and remove the previous file; a kill may have left it, or left a second name of the present one."""
        if not self._before.exists():
            return
        if not (self._path.exists() and self._before.samefile(self._path)):
            _write_synced(self._before, bytes(self._before.stat().st_size), flags=os.O_WRONLY)
        self._before.unlink()


def _write_synced(path: Path, data: bytes, flags: int = os.O_WRONLY | os.O_CREAT | os.O_TRUNC) -> None:
    descriptor = os.open(path, flags, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
