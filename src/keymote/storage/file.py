"""The device's store: all rows in one small sealed file (`sealed_file`), replaced as a whole by each commit.

What is sealed: nonce, ciphertext and tag of CBOR [boot, [[kind, id, record, [alias, ...], wake_at or null], ...]]. A kill at
any moment leaves the old rows or the new ones. Only the standard library and the seal are needed, so that a device starts
fast.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.engine.base import CellKey
from keymote.host.ports import Done, Write
from keymote.storage.memory import MemoryStore
from keymote.storage.seal import DataKey, KeyEncryptionKey
from keymote.storage.sealed_file import SealedFile
from keymote.storage.worker import CallSoon, Worker

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
        self._file = SealedFile(path)
        try:
            self._rows = MemoryStore()
            self.boot = 0
            if self._file.wrapped:
                self._data_key = DataKey.unwrapped(self._file.wrapped, kek, entropy, where=self._file.where)
                self._parse(self._file.sealed)
            else:
                self._data_key = DataKey.fresh(entropy)
                self._file.wrapped = self._data_key.wrapped_by(kek)
            self.boot += 1
            self._write(self._rows)
        except BaseException:
            self._file.close()
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

    def close(self) -> None:
        """Finish commits and let go of the file."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        self._file.close()

    # ------------------------------------------------------------------ the file

    def _commit(self, writes: Sequence[Write]) -> Exception | None:
        rows = MemoryStore(self._rows.rows)
        rows.apply(writes)
        try:
            self._write(rows)
        except Exception as error:  # noqa: BLE001  whatever it is, nothing was committed, and the caller hears of it
            return error
        self._rows = rows
        return None

    def _parse(self, sealed: bytes) -> None:
        body: Any = cbor.decode(self._data_key.open(sealed, _PLACE), max_size=_MAX_FILE)
        self.boot, rows = body
        self._rows.apply(
            Write(CellKey(kind, id_), record, tuple(aliases), wake_at) for kind, id_, record, aliases, wake_at in rows
        )

    def _write(self, rows: MemoryStore) -> None:
        """Put `rows` on disk in place of what is there; raises Unavailable when it still holds the old ones."""
        body = [self.boot, [[*row.key, row.record, list(row.aliases), row.wake_at] for row in rows.rows]]
        self._file.replace(self._file.wrapped, self._data_key.seal(cbor.encode(body), _PLACE))
