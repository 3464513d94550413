"""Fixtures of the coordinator's tests; the cast stands in `office`."""

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from office import Office, open_office

from keymote.coordinator.authority import Root
from keymote.crypto.entropy import SeededEntropy


@pytest.fixture
def root() -> Root:
    return Root.create(1, SeededEntropy(b"root"))


@pytest.fixture
async def office(root: Root, empty_database: Callable[[str], Path | str]) -> AsyncIterator[Office]:
    made = open_office(root, b"coord--A", empty_database("a"))
    yield made
    await made.desk.ledger.close()


@pytest.fixture
async def other_office(root: Root, empty_database: Callable[[str], Path | str]) -> AsyncIterator[Office]:
    made = open_office(root, b"coord--B", empty_database("b"))
    yield made
    await made.desk.ledger.close()
