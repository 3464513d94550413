"""A number that only grows, in a small private file."""

import contextlib
from pathlib import Path

from keymote.errors import CallerFault
from keymote.storage.private_files import read_private, write_private


class StoredCounter:
    """A counter in a small private file; a number is on disk before it is returned (HO-02)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def reserve(self) -> int:
        """Return the next number; Unavailable when the disk does not take it, CallerFault for a file that is no counter."""
        last = 0
        if self._path.exists():
            with contextlib.suppress(ValueError):
                last = int(read_private(self._path, "counter of hand-overs"))
            if last < 1:
                raise CallerFault(
                    f"{self._path} is no counter of hand-overs", do="get a new ticket and remove the file"
                )
        write_private(self._path, b"%d\n" % (last + 1))
        return last + 1
