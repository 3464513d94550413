"""The encrypted log of a group in real processes: the coordinator dead, the gateway killed, and everything in order afterwards."""

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from coordinators import keymote
from gateways import RUN_S, Group
from operators import DeviceRole, Operator, operators, until

from keymote.wire.admin import from_base64url, to_base64url

pytestmark = [pytest.mark.timeout(180), pytest.mark.long]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with operators(tmp_path_factory.mktemp("street"), 1) as (operator,):
        for device in operator.add_devices(2):
            device.enrolled()
        yield operator


def say(group: Group, device: DeviceRole, text: str) -> None:
    group.ask(device, "send", resource="telemetry/power", payload=to_base64url(text.encode()))


def waiting(group: Group) -> int:
    return int(group.here()["records_waiting"])


def test_GL02_GL04_what_passed_while_the_coordinator_was_dead_goes_up_in_order_when_it_is_back(
    street: Operator,
) -> None:
    a, b = street.devices
    group = Group.create(street, "log", [a, b], policy={"keep_records": 1000, "period_s": 0})
    epoch = group.agreed(a, b)
    assert street.coordinator.stop(signal.SIGKILL) != 0
    for number in range(3):
        say(group, a, f"unheard {number}")
    until(lambda: waiting(group) == 3)
    street.manager.stop(signal.SIGKILL)
    street.manager.start()
    until(lambda: waiting(group) == 3)
    until(lambda: group.epoch(a, b) == epoch, RUN_S)
    said = 3

    def another() -> bool:  # until the gateway has heard where its members are
        nonlocal said
        say(group, b, f"unheard {said}")
        said += 1
        return waiting(group) > 4

    until(another, RUN_S)
    kept = waiting(group)
    street.coordinator.start()
    until(lambda: waiting(group) == 0, RUN_S)

    data, url = str(street.coordinator.folder), street.coordinator.url
    shown = keymote("group", "log", "log", "--coordinator", data, "--url", url, "-o", "json")
    page: dict[str, Any] = json.loads(shown.stdout)
    items = page["items"]
    assert len(items) >= kept
    assert [each["seq"] for each in items] == list(range(1, len(items) + 1))
    assert [(each["dev_id"], each["number"]) for each in items[:3]] == [(a.id, number) for number in range(3)]
    assert {each["dev_id"] for each in items} == {a.id, b.id}
    assert {(each["epoch"], each["resource"]) for each in items} == {(epoch, "telemetry/power")}
    assert all(b"unheard" not in from_base64url(each["record"]) for each in items)
    assert group.here()["records_dropped"] == 0
