"""Devices of two operators get one key: every role a process of its own, driven by the commands that people use.

The demo, which `make test` plays, goes the same way; this adds what goes wrong on it.
"""

import json
import signal
from collections.abc import Iterator

import pytest
from operators import Operator, operators, until

pytestmark = [pytest.mark.timeout(240), pytest.mark.long]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Operator]]:
    with operators(tmp_path_factory.mktemp("world"), 2) as made:
        for operator in made:
            operator.add_devices(2)
        for operator in made:
            for device in operator.devices:
                device.enrolled()
        yield made


def test_devices_of_two_operators_agree_on_one_key_and_a_revocation_ends_it(world: list[Operator]) -> None:
    north, south = world
    a, b = north.devices[0], south.devices[0]
    opened = a.pair(b)
    until(lambda: bool(b.sessions()))
    (theirs,) = b.sessions()
    assert (theirs["psid"], theirs["key_id"]) == (opened["psid"], opened["key_id"])
    assert (opened["role"], theirs["role"]) == ("initiator", "responder")
    listed = json.loads(north.operate("list").stdout)["devices"]
    assert {row["dev_id"] for row in listed} == {device.id for device in north.devices}
    assert {row["state"] for row in listed} == {"active"}
    north.operate("revoke", a.id, "--reason", "2")
    until(lambda: not b.sessions())
    for asking, peer in ((b, a), (a, b)):
        refused = asking.ask("open", peer.id, check=False)
        assert refused.returncode == 4, refused.stderr


def test_a_session_is_closed_on_both_sides(world: list[Operator]) -> None:
    a, b = (operator.devices[1] for operator in world)
    opened = b.pair(a, "--fast")
    until(lambda: bool(a.sessions()))
    assert a.ask("close", opened["psid"]).returncode == 0
    until(lambda: not b.sessions())


def test_a_manager_killed_and_started_again_serves_on(world: list[Operator]) -> None:
    north, south = world
    a, b = north.devices[1], south.devices[1]
    north.manager.stop(signal.SIGKILL)
    north.manager.start()
    opened = a.pair(b)
    until(lambda: bool(b.sessions()))
    assert b.sessions()[0]["key_id"] == opened["key_id"]
    b.ask("revoke", opened["psid"], "--reason", "1")
    until(lambda: not a.sessions())


def test_an_unknown_peer_is_said_so(world: list[Operator]) -> None:
    refused = world[0].devices[1].ask("open", "00" * 8, check=False)
    assert refused.returncode == 1
    assert "E_UNKNOWN_ID" in refused.stderr
