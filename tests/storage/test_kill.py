"""`kill -9` at any moment: what was acknowledged is there, what is there is whole, and the next start needs no mending."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keymote.crypto.entropy import SystemEntropy
from keymote.engine.base import CellKey
from keymote.host.ports import Store
from keymote.storage.file import FileStore
from keymote.storage.seal import FileKey
from keymote.storage.sql import open_database
from keymote.storage.sql_store import SqlStore

ROUNDS = 4

CHILD = """
import sys
from pathlib import Path
from keymote.crypto.entropy import SystemEntropy
from keymote.engine.base import CellKey
from keymote.host.ports import Write
from keymote.storage.seal import FileKey
folder, which = Path(sys.argv[1]), sys.argv[2]
entropy = SystemEntropy()
kek = FileKey(folder / "kek", entropy)
if which == "file":
    from keymote.storage.file import FileStore
    store = FileStore(folder / "rows", kek, entropy)
else:
    from keymote.storage.sql import open_database
    from keymote.storage.sql_store import SqlStore
    store = SqlStore(open_database(folder / "rows", history="cells"), kek, entropy)
keys = [CellKey("count", bytes([97 + n]) * 8) for n in range(5)]
count = int(store.load(keys[0]) or b"0")
while True:
    count += 1
    rows = [Write(key, b"%d" % count + b" " * (count % 300)) for key in keys]
    store.commit(rows, lambda error: print(error or count, flush=True))
"""


def reopen(folder: Path, which: str) -> Store:
    entropy = SystemEntropy()
    kek = FileKey(folder / "kek", entropy, create=True)
    if which == "file":
        return FileStore(folder / "rows", kek, entropy)
    return SqlStore(open_database(folder / "rows", history="cells"), kek, entropy)


def run_until_killed(folder: Path, which: str, acknowledgements: int) -> int:
    """Let a child commit, kill it behind so many acknowledgements, return the last count that it acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), which], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for _ in range(acknowledgements):
            assert child.stdout.readline().strip().isdigit()
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split("\n")
    assert child.returncode == -signal.SIGKILL
    complete = [line for line in rest[:-1] if line]
    return int(complete[-1]) if complete else 0


@pytest.mark.parametrize("which", ["file", "sql"])
def test_DR01_DR04_a_kill_loses_nothing_that_was_acknowledged(which: str, tmp_path: Path) -> None:
    chance = random.Random(2)
    reopen(tmp_path, which).close()
    reached = 0
    for _ in range(ROUNDS):
        asked = chance.randrange(1, 40)
        acknowledged = run_until_killed(tmp_path, which, asked)
        store = reopen(tmp_path, which)
        counts = {int(store.load(CellKey("count", bytes([97 + n]) * 8)) or b"0") for n in range(5)}
        store.close()
        assert len(counts) == 1, "half of a commit is on disk"
        assert counts.pop() >= max(acknowledged, reached + asked)
        reached += asked
