"""What every test shares: Hypothesis draws from the test's own name, so that a red test is red again."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "house",
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile("long", parent=settings.get_profile("house"), derandomize=False, max_examples=2000)
settings.load_profile("house")


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Find a third-party program by name: in this environment's bin, else on PATH; a missing one fails, never skips."""

    def find(name: str) -> str:
        beside = Path(sys.executable).parent / name
        found = str(beside) if beside.exists() else shutil.which(name)
        if found is None:
            pytest.fail(f"{name} is not installed: run `make peers`")
        return found

    return find
