"""Provisioning files on a disk: written once by the manager, read by the client, which takes the secret out at its first start."""

import contextlib
import os
from dataclasses import replace
from pathlib import Path

from keymote.errors import CallerFault, Unavailable
from keymote.host.client_file import AGAIN, ClientFile
from keymote.storage.private_files import read_private, write_private


def write_new(path: Path, file: ClientFile) -> None:
    """Write a file that was not there, on disk when this returns; nobody but its owner can read it.

    Raises:
        CallerFault: there is something under this name; it is untouched.
        Unavailable: the disk does not take it; nothing is left.
    """
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError as error:
        raise CallerFault(f"{path} exists already", do="name a file that does not") from error
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error
    try:
        with open(opened, "wb") as written:  # noqa: PTH123  a descriptor
            written.write(file.encode())
            written.flush()
            os.fsync(written.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error


def is_provisioning(path: Path) -> bool:
    """Tell whether a file looks like a provisioning file; False for one that cannot be read."""
    try:
        with path.open("rb") as opened:
            head = opened.read(64)
    except OSError:
        return False
    return b'"keymote-client/' in head


def read_client(path: Path) -> ClientFile:
    """Return what a provisioning file says.

    Raises:
        CallerFault: it is missing, others can read it, or it is none.
        Incompatible: it is of another version.
    """
    return ClientFile.decode(read_private(path, "provisioning file", do=AGAIN), str(path))


def spend(path: Path, file: ClientFile) -> ClientFile:
    """Take the secret out of the file for good, and return what is left; Unavailable when the disk does not take that."""
    left = replace(file, pss=None)
    write_private(path, left.encode())
    return left
