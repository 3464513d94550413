"""What every test shares: Hypothesis draws from the test's own name, so that a red test is red again."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

from postgresql_cluster import Cluster

settings.register_profile(
    "house",
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile("long", parent=settings.get_profile("house"), max_examples=2000)
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


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A PostgreSQL server, started when the first test asks for it."""
    cluster = Cluster()
    yield cluster
    cluster.remove()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peers)])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Path | str]:
    """Return where a new database of this name may be made, on each engine that we run on."""

    def place(name: str) -> Path | str:
        server = request.param == "postgresql"
        return request.getfixturevalue("postgresql").fresh() if server else tmp_path / f"{name}.db"

    return place
