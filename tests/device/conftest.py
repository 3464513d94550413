"""Makes the casts of the device's tests importable by name; `desk` is a node with surroundings that only take notes."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from doors_desk import Desk


@pytest.fixture
def desk() -> Desk:
    return Desk()
