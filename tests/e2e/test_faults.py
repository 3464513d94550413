"""A store that fails at the k-th commit of the demo, for every k and every node: nothing is lost, nobody mends by hand.

The product's driver over memory links; `fleet` tells the story and checks what must hold.
"""

import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from fleet import FaultyStore, Fleet, Node

from keymote.crypto.entropy import SeededEntropy
from keymote.host.ports import Done, Store, Write
from keymote.lab.scene_founding import two_operators
from keymote.lab.scenes import Scene
from keymote.storage.file import FileStore
from keymote.storage.seal import FileKey
from keymote.storage.sql import open_database
from keymote.storage.sql_store import SqlStore

REPAIRED_AFTER_S = 40.0
NODES = ("d1", "d2", "nm1", "nm2")

pytestmark = pytest.mark.timeout(240)


@cache
def scene(suite: int = 1) -> Scene:
    """Return the contexts that all stories share; nothing in them changes."""
    return two_operators(b"fleet", suite=suite, enrolled=False)


@cache
def commits(name: str) -> int:
    """Return how many commits a node makes in a story without faults."""
    fleet = Fleet(scene())
    fleet.story()
    fleet.check()
    return fleet.nodes[name].store.commits


def full_until_space_is_made(fleet: Fleet, node: Node, k: int) -> None:
    """The disk is full from the k-th commit on; later somebody makes space, the process goes on."""
    node.store.full_from = k
    node.store.failed = lambda: fleet.after(REPAIRED_AFTER_S, node.store.heal)


def full_until_a_restart(fleet: Fleet, node: Node, k: int) -> None:
    """The disk is full from the k-th commit on; later somebody makes space and restarts the process."""

    def repaired() -> None:
        node.store.heal()
        node.die()

    node.store.full_from = k
    node.store.failed = lambda: fleet.after(REPAIRED_AFTER_S, repaired)


def dies_before_the_disk(fleet: Fleet, node: Node, k: int) -> None:
    """The process ends in its k-th commit and starts again without it."""
    node.store.dies_at = k
    node.store.failed = node.die


def dies_behind_the_disk(fleet: Fleet, node: Node, k: int) -> None:
    """The process ends in its k-th commit, which the disk has, and starts again."""
    node.store.landed = True
    dies_before_the_disk(fleet, node, k)


Fault = Callable[[Fleet, Node, int], None]
FAULTS = (full_until_space_is_made, full_until_a_restart, dies_before_the_disk, dies_behind_the_disk)


FIRST = ("d1", "nm1")
"""A device and a manager; their peers pass through the same states, and are tried with the long tests."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name not in FIRST)) for name in NODES])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_DR01_DR04_the_story_ends_well_whichever_commit_fails(fault: Fault, name: str) -> None:
    assert commits(name) >= 3
    for k in range(1, commits(name) + 1):
        fleet = Fleet(scene())
        node = fleet.nodes[name]
        fault(fleet, node, k)
        fleet.story()
        fleet.check()
        assert node.store.refused or node.boots == 2, f"nothing failed at commit {k}"
        if node.store.dies_at is not None:
            assert node.boots == 2


def test_a_fleet_whose_four_disks_are_full_goes_on_when_there_is_space() -> None:
    fleet = Fleet(scene())
    for name, k in zip(NODES, (4, 3, 9, 7), strict=True):
        full_until_space_is_made(fleet, fleet.nodes[name], k)
    fleet.story()
    fleet.check()
    assert all(node.store.refused for node in fleet.nodes.values())


# ------------------------------------------------------------------ the same with files that the system does not let grow


@contextmanager
def no_space() -> Iterator[None]:
    """Let no write of this process to any file succeed."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class FullDisk(FaultyStore):
    """A real store whose writes the system refuses from the k-th commit on, until `heal`."""

    def commit(self, writes: Sequence[Write], done: Done) -> None:
        if self.full_from is None or self.commits + 1 < self.full_from:
            super().commit(writes, done)
            return
        self.commits += 1
        self.refused += 1
        errors: list[Exception | None] = []
        with no_space():
            self.inner.commit(writes, errors.append)
        (error,) = errors
        assert error is not None, "the commit found space"
        if self.refused == 1:
            self.failed()
        done(error)


def open_real(folder: Path, name: str) -> Store:
    """Return what a manager and a device keep their cells in."""
    entropy = SeededEntropy(name.encode())
    kek = FileKey(folder / f"{name}.kek", entropy, create=True)
    if name.startswith("nm"):
        return SqlStore(open_database(folder / f"{name}.db", history="cells"), kek, entropy)
    return FileStore(folder / name, kek, entropy)


@pytest.mark.parametrize("name", ["d1", pytest.param("nm1", marks=pytest.mark.long)])
def test_DR06_real_stores_on_a_full_disk_lose_nothing_either(name: str, tmp_path: Path) -> None:
    for k in range(1, commits(name) + 1, 2):
        folder = tmp_path / str(k)
        folder.mkdir()
        fleet = Fleet(scene(), lambda each, folder=folder: open_real(folder, each))
        node = fleet.nodes[name]
        node.store = FullDisk(node.store.inner)
        full_until_space_is_made(fleet, node, k)
        fleet.story()
        fleet.check()
        assert node.store.refused, f"nothing failed at commit {k}"
        for each in fleet.nodes.values():
            each.store.close()
