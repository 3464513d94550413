"""A coordinator and a gateway that did not hear of each other meet again; the coordinator's key rolls under a living group."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from coordinators import Coordinator, free_port, keymote
from gateways import RUN_S, Group
from operators import Operator, operators, until

pytestmark = [pytest.mark.timeout(300), pytest.mark.long]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with operators(tmp_path_factory.mktemp("street"), 1) as (operator,):
        for device in operator.add_devices(4):
            device.enrolled()
        yield operator


def moved(coordinator: Coordinator, port: int) -> None:
    """Let it serve elsewhere, where its operator finds it and its managers do not."""
    assert coordinator.stop() == 0
    coordinator.port = port
    coordinator.start()


def conflicts(coordinator: Coordinator) -> list[dict[str, Any]]:
    status, body = coordinator.curl("/api/v1/conflicts")
    assert status == 200, body
    found: list[dict[str, Any]] = json.loads(body)["items"]
    return found


def test_CG16_a_meter_that_was_revoked_meanwhile_is_named_and_put_out_when_the_link_returns(street: Operator) -> None:
    a, b, c, _ = street.devices
    group, coordinator = Group.create(street, "reunion", [a, b, c]), street.coordinator
    first = group.agreed(a, b, c)
    until(lambda: group.view()["epoch"] == first, RUN_S)
    home = coordinator.port
    moved(coordinator, free_port())
    street.operate("revoke", a.id, "--reason", "2")
    group.here("rekey")
    unheard = group.agreed(a, b, c, above=first)
    assert group.view()["removals"][0]["safe_after_ms"] is None

    moved(coordinator, home)
    group.agreed(b, c, above=unheard, within_s=120.0)  # it may look for its coordinator only each half minute
    until(lambda: not group.view()["waiting"] and group.view()["epoch"] > unheard, RUN_S)
    (conflict,) = conflicts(coordinator)
    assert (conflict["kind"], conflict["subject"], conflict["number"]) == ("revoked-member", a.id, unheard)
    assert (conflict["group"], conflict["managers"]) == ("reunion", ["nm"])
    assert conflict["settled_ms"] is not None, "it is over: the next epoch is without the meter"
    (line,) = json.loads(coordinator.curl("/api/v1/revocations")[1])["items"]
    (told,) = line["groups"]
    assert (told["group"], told["dev_id"], told["waiting"]) == ("reunion", a.id, [])
    assert told["safe_after_ms"] > 0


def test_CG08_a_group_lives_on_when_the_coordinators_key_rolls(street: Operator) -> None:
    _, b, c, d = street.devices
    group, coordinator = Group.create(street, "rolling", [b, c]), street.coordinator
    first = group.agreed(b, c)
    data = ("--data", str(coordinator.folder))
    keymote("coordinator", "roll-key", *data)
    street.authority.certify(coordinator.folder, "nc.next.req", "nc.next.cred")
    assert coordinator.stop() == 0
    keymote("coordinator", "roll-key", *data)
    coordinator.start()
    renewed = group.agreed(b, c, above=first)
    until(lambda: group.view()["epoch"] == renewed, RUN_S)
    group.order("members", {"add": [d.id]})
    last = group.agreed(b, c, d, above=renewed)
    until(lambda: group.view()["epoch"] == last, RUN_S)
    assert group.view()["roster_ver"] > 1000, "the new key's roster outranks all before"
    assert not [each for each in conflicts(coordinator) if each["gid"] == group.gid]
