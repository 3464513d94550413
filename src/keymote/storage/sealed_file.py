"""A small file with a wrapped data key in front of what it seals, replaced as a whole; the previous one is overwritten.

Layout: `"KMS1" | length of the wrapped key (1 byte) | wrapped data key | what it seals`. A replacement writes a new file beside
the old one, syncs it, renames it over, syncs the directory, and overwrites the old one before its blocks are given back. A
kill at any moment leaves the old content or the new one.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

from keymote.errors import Incompatible, Unavailable
from keymote.storage.lock import lock_beside
from keymote.storage.seal import Tampered

_MAGIC: Final = b"KMS1"
_KEY_AT: Final = len(_MAGIC) + 1


class SealedFile:
    """The file `path`, locked for this process until `close`; `wrapped` and `sealed` are empty when it is not there.

    Raises:
        CallerFault: another process has it open (it is named).
        Incompatible: another version wrote it.
        Tampered: it was cut off.
        Unavailable: the disk does not answer.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._beside = path.with_name(f".{path.name}.new")
        self._before = path.with_name(f".{path.name}.old")
        self._unlock = lock_beside(path)
        try:
            self._wipe_before()
            self.wrapped, self.sealed = parsed(path.read_bytes(), path) if path.exists() else (b"", b"")
        except BaseException as error:
            self._unlock()
            if isinstance(error, OSError):
                raise Unavailable(f"cannot read {path}: {error.strerror}") from error
            raise

    @property
    def where(self) -> str:
        return str(self.path)

    def keep(self, wrapped: bytes) -> None:
        """Keep the data key wrapped like this from now on; raises Unavailable, then all is as it was."""
        self.replace(wrapped, self.sealed)

    def replace(self, wrapped: bytes, sealed: bytes) -> None:
        """Put this on disk in place of what is there; raises Unavailable when the file still holds the old content."""
        try:
            self._wipe_before()
            _write_synced(self._beside, _MAGIC + bytes([len(wrapped)]) + wrapped + sealed)
            with contextlib.suppress(OSError):  # the first time, or a file system without hard links
                self._before.hardlink_to(self.path)
            self._beside.replace(self.path)
            _sync_folder(self.path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._beside.unlink()
            raise Unavailable(
                f"cannot write {self.path}: {error.strerror}", do="free space or mend the disk"
            ) from error
        self.wrapped, self.sealed = wrapped, sealed
        with contextlib.suppress(OSError):  # the new content stands; what could not be wiped is wiped the next time
            self._wipe_before()

    def close(self) -> None:
        """Let go of the file; harmless when called twice."""
        self._unlock()

    def _wipe_before(self) -> None:
        """Overwrite and remove the previous file; a kill may have left it, or left a second name of the present one."""
        if not self._before.exists():
            return
        if not (self.path.exists() and self._before.samefile(self.path)):
            _write_synced(self._before, bytes(self._before.stat().st_size), flags=os.O_WRONLY)
        self._before.unlink()


def wipe(path: Path) -> None:
    """Overwrite a file with zeros and remove it; harmless when it is not there. Raises Unavailable."""
    try:
        if path.exists():
            _write_synced(path, bytes(path.stat().st_size), flags=os.O_WRONLY)
            path.unlink()
    except OSError as error:
        raise Unavailable(f"cannot erase {path}: {error.strerror}") from error


def parsed(blob: bytes, path: Path) -> tuple[bytes, bytes]:
    """Return the wrapped data key and what it seals, both empty for an empty file; raises as `SealedFile`."""
    if not blob:
        return b"", b""
    if not blob.startswith(_MAGIC):
        raise Incompatible(f"{path} is no store of this version", do="run the version that wrote it")
    end = _KEY_AT + blob[len(_MAGIC)] if len(blob) >= _KEY_AT else 0
    if not _KEY_AT < end < len(blob):
        raise Tampered(f"{path} was cut off or changed", do="restore a backup")
    return blob[_KEY_AT:end], blob[end:]


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
