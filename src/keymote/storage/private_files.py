"""Small files for their owner only: keys, tokens, labels. Written whole or not at all; read only when nobody else can."""

import contextlib
import os
import stat
from pathlib import Path

from keymote.errors import CallerFault, Unavailable


def write_private(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace `path` by `data`, on disk when this returns; nobody ever sees half of it.

    Raises:
        Unavailable: the disk does not take it; the old content is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)  # of a process that died with our number
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as file:  # noqa: PTH123
            os.fchmod(file.fileno(), mode)  # the umask may be stricter than a public file needs
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error


def read_file(path: Path, what: str, *, do: str = "") -> bytes:
    """Return the bytes of a file that may be public; CallerFault that says what it was for when it is not there."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CallerFault(f"cannot read {what} {path}: {error.strerror}", do=do) from error


def read_private(path: Path, what: str, *, do: str = "") -> bytes:
    """Return the bytes of a secret file.

    Raises:
        CallerFault: it is missing, belongs to another user, or others can read or write it.
    """
    try:
        with path.open("rb") as file:
            data, state = file.read(), os.fstat(file.fileno())
    except OSError as error:
        raise CallerFault(f"cannot read {what} {path}: {error.strerror}", do=do) from error
    if state.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CallerFault(f"{what} {path} can be read by others", do=f"chmod 600 {path}")
    if state.st_uid != os.geteuid():
        raise CallerFault(f"{what} {path} belongs to another user", do=f"chown it, or run as user {state.st_uid}")
    return data
