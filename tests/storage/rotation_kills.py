"""What a rotation leaves behind, and a rotation that is killed before any line of it."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from urllib.parse import quote

import pytest
from keyed_roles import ENTROPY, Role

from keymote.errors import CallerFault
from keymote.storage.rotation import NOTE, rotate

TRACED = {"rotation.py", "sealed_file.py", "sql_key.py", "private_files.py", "seal.py", "directory.py", "app.py"}
"""Files of ours whose lines are moments."""


def contents(folder: Path) -> bytes:
    return b"\0".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def wrappings(role: Role, folder: Path) -> list[bytes]:
    """Return every wrapped data key of a role as it is kept."""
    place = role.place(folder)
    found = []

    def seen(wrapped: bytes, _where: str) -> bytes:
        found.append(wrapped)
        return wrapped

    for open_store in place.stores:
        store = open_store()
        found.append(store.wrapped)
        store.close()
    place.point(place.key_uri, seen)
    return found


def run_until_killed(work: Callable[[], object], moment: int) -> bool:
    """Do `work` in a process that is killed before the given line of ours; return whether it came to its end."""
    pid = os.fork()
    if pid == 0:
        left = moment

        def trace(frame: FrameType, event: str, _argument: object) -> object:
            nonlocal left
            if Path(frame.f_code.co_filename).name not in TRACED:
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)  # type: ignore[arg-type]
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert status in (0, signal.SIGKILL), "it failed by itself"
    return status == 0


def survives_every_kill(role: Role, ready: Path, step: int, to: str) -> int:
    """Kill a rotation before each step-th line; return how often. Each time the same command ends it."""
    before, named, gone = role.use(ready), role.place(ready).key_uri, wrappings(role, ready)
    if (ready / role.key).exists():
        gone.append((ready / role.key).read_bytes().strip())
    kills = 0
    for moment in range(1, 100_000, step):
        home = ready.with_name("at work")
        shutil.copytree(ready, home)
        ended = run_until_killed(lambda home=home: rotate(role.place(home), to, ENTROPY), moment)
        kills += not ended
        if list(home.rglob(NOTE)):
            with pytest.raises(CallerFault, match="was interrupted"):
                role.use(home)
            rotate(role.place(home), "", ENTROPY)
        elif (
            not ended and role.place(home).key_uri.replace(quote(home.name), quote(ready.name)) == named
        ):  # it had not begun
            assert role.use(home) == before
            rotate(role.place(home), to, ENTROPY)
        assert role.use(home) == before
        left = contents(home)
        assert [secret for secret in gone if secret in left] == [], f"killed before line {moment}"
        shutil.rmtree(home)
        if ended:
            return kills
    raise AssertionError("it never ends")
