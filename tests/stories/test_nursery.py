"""Processes that are born of a loaded one: their words, their ends, and nobody left behind."""

import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from keymote.errors import Unavailable
from keymote.stories.nursery import Nursery
from keymote.stories.processes import Cast, own_environment

PROGRAM = """
import json, os, signal, sys
match sys.argv[1:]:
    case ["say", *words]:
        print(json.dumps({"words": words[:-2], "pid": os.getpid(), "parent": os.getppid()}))
    case ["fail", code, *_]:
        print("it went wrong", file=sys.stderr)
        sys.exit(int(code))
    case ["serve"]:
        print(json.dumps({"at": "here"}), flush=True)
        signal.pause()
"""


@pytest_asyncio.fixture
async def nursery(tmp_path: Path) -> AsyncIterator[Nursery]:
    async with await _opened(tmp_path) as nursery:
        yield nursery


async def _opened(folder: Path) -> Nursery:
    (folder / "program.py").write_text(PROGRAM)
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return await Nursery.open({**own_environment(), "PYTHONPATH": paths}, loaded=())


async def _bear(nursery: Nursery, *arguments: str) -> tuple[int, bytes]:
    with tempfile.TemporaryFile() as stderr:
        child = await nursery.bear("program", arguments, stderr.fileno())
    said, _ = await child.communicate()
    code = child.returncode
    assert code is not None
    return code, said


async def test_a_child_runs_its_own_line_in_a_process_of_its_own(nursery: Nursery) -> None:
    said = [json.loads((await _bear(nursery, "say", word, "-o", "json"))[1]) for word in ("one", "two")]
    assert [each["words"] for each in said] == [["one"], ["two"]]
    assert len({said[0]["pid"], said[1]["pid"], said[0]["parent"], os.getpid()}) == 4


async def test_a_child_ends_with_its_own_code(nursery: Nursery) -> None:
    assert (await _bear(nursery, "fail", "3"))[0] == 3
    assert (await _bear(nursery, "say", "on", "-o", "json"))[0] == 0


async def test_a_role_is_started_and_stopped_and_its_end_is_known(nursery: Nursery, tmp_path: Path) -> None:
    async with Cast(tmp_path, nursery) as cast:
        role = await cast.start("server", "serve", address="at", module="program")
        assert (role.address, role.process.returncode) == ("here", None)
    assert role.process.returncode == -signal.SIGTERM


async def test_whoever_lives_on_ends_with_the_nursery(tmp_path: Path) -> None:
    nursery = await _opened(tmp_path)
    with tempfile.TemporaryFile() as stderr:
        child = await nursery.bear("program", ("serve",), stderr.fileno())
    assert await child.stdout.readline()
    await nursery.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


async def test_a_nursery_that_was_killed_is_a_clear_error(nursery: Nursery) -> None:
    said = json.loads((await _bear(nursery, "say", "-o", "json"))[1])
    os.kill(said["parent"], signal.SIGKILL)
    with pytest.raises(Unavailable, match="run the demonstration again"):
        await _bear(nursery, "say", "-o", "json")
