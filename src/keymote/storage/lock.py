"""One process per store: a lock file beside it, let go by the operating system when its holder dies."""

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from keymote.errors import CallerFault, Unavailable


def lock_beside(path: Path) -> Callable[[], None]:
    """Lock `path` for this process by the file `path.lock`; return how to let go (harmless when called twice).

    Raises:
        CallerFault: another process, named by its number, holds it.
        Unavailable: the lock file cannot be made.
    """
    name = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"cannot open {name}: {error.strerror}", do="check the directory and its owner") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise CallerFault(
            f"{path} is in use by process {holder or '(unknown)'}", do="stop that process first"
        ) from error
    with contextlib.suppress(OSError):  # who holds it is told as a courtesy; a full disk does not matter
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    held = [descriptor]

    def unlock() -> None:
        while held:
            os.close(held.pop())

    return unlock
