"""Sessions by EDHOC between processes: two operators who allow it, devices that are told to, and one that is not."""

from collections.abc import Iterator

import pytest
from operators import Operator, Process, operators, until

pytestmark = [pytest.mark.timeout(240), pytest.mark.long]


def restarted(operator: Operator, handshake: str) -> None:
    """Start the operator's manager again, at the same port, with other handshakes allowed."""
    port = operator.manager.address.rpartition(":")[2]
    operator.manager.stop()
    arguments = operator.manager.arguments
    kept = arguments[: arguments.index("--port")]
    operator.manager = Process((*kept, "--port", port, "--handshake", handshake), operator.manager.log).start()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Operator]]:
    with operators(tmp_path_factory.mktemp("world"), 2) as made:
        north, south = made
        restarted(north, "edhoc")
        restarted(south, "either")
        north.add_devices(1, handshake="edhoc")
        south.add_devices(1, handshake="edhoc")
        south.add_devices(1)
        for operator in made:
            for device in operator.devices:
                device.enrolled()
        yield made


def test_ED15_devices_of_two_operators_get_one_key_by_edhoc(world: list[Operator]) -> None:
    a, b = (operator.devices[0] for operator in world)
    opened = a.pair(b)
    until(lambda: bool(b.sessions()))
    assert b.sessions()[0]["key_id"] == opened["key_id"]


def test_ED17_nobody_is_talked_into_another_handshake(world: list[Operator]) -> None:
    north, south = world
    by_edhoc, by_triad = north.devices[0], south.devices[1]
    for one, other in ((by_edhoc, by_triad), (by_triad, by_edhoc)):
        refused = one.ask("open", other.id, check=False)
        assert refused.returncode != 0
        assert "E_SUITE" in refused.stderr
    assert not by_triad.sessions()
