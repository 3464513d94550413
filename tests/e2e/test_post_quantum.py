"""The post-quantum profile between processes: two operators whose managers demand it, devices that demand it too."""

from collections.abc import Iterator

import pytest
from operators import Operator, Process, operators, until

pytestmark = [pytest.mark.timeout(240), pytest.mark.long]


def restarted(operator: Operator, profile: str) -> None:
    """Start the operator's manager again, at the same port, with another post-quantum profile."""
    port = operator.manager.address.rpartition(":")[2]
    operator.manager.stop()
    arguments = operator.manager.arguments
    kept = arguments[: arguments.index("--port")]
    operator.manager = Process((*kept, "--port", port, "--post-quantum", profile), operator.manager.log).start()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Operator]]:
    with operators(tmp_path_factory.mktemp("world"), 2) as made:
        for operator in made:
            restarted(operator, "required")
            operator.add_devices(1, post_quantum=True)
        for operator in made:
            operator.devices[0].enrolled()
        yield made


def test_PQ01_AU07_devices_that_demand_the_profile_get_one_key(world: list[Operator]) -> None:
    a, b = (operator.devices[0] for operator in world)
    opened = a.pair(b)
    until(lambda: bool(b.sessions()))
    assert b.sessions()[0]["key_id"] == opened["key_id"]


def test_PQ04_a_manager_that_left_the_profile_is_refused(world: list[Operator]) -> None:
    north, south = world
    restarted(south, "off")
    a, b = north.devices[0], south.devices[0]
    until(lambda: "E_SUITE" in a.ask("open", b.id, check=False).stderr)  # once south has withdrawn its key
    restarted(south, "on")
    until(lambda: a.ask("open", b.id, check=False).returncode == 0)
