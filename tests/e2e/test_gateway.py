"""Groups as a service, in real processes: with the coordinator and without it, through kill -9, and what a gateway never holds."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from coordinators import keymote
from gateways import RUN_S, Group, found_in_memory
from operators import DeviceRole, Operator, operators, until

from keymote.crypto.secret import Secret
from keymote.device import Device
from keymote.device.config import read_config
from keymote.engine.group import ring
from keymote.engine.group.faces import membership_of
from keymote.wire.admin import to_base64url

pytestmark = [pytest.mark.timeout(300), pytest.mark.long]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with operators(tmp_path_factory.mktemp("street"), 1) as (operator,):
        for device in operator.add_devices(4):
            device.enrolled()
        yield operator


def killed_and_started(street: Operator) -> None:
    street.manager.stop(signal.SIGKILL)
    street.manager.start()


def heard(group: Group, device: DeviceRole) -> list[str]:
    return [message["text"] for message in group.ask(device, "tail", last=10)["messages"]]


def test_GS10_devices_of_a_manager_agree_on_a_key_and_the_coordinator_hears_its_name(street: Operator) -> None:
    group = Group.create(street, "first", street.devices[:3])
    epoch = group.agreed(*street.devices[:3])
    until(lambda: group.view()["epoch"] == epoch, RUN_S)
    view, standing = group.view(), group.at(street.devices[0])
    assert standing is not None
    assert (view["n"], view["key_id"], view["waiting"], view["conflicts"]) == (3, standing["key_id"], [], [])


def test_GS19_a_group_lives_on_without_its_coordinator_and_reports_afterwards(street: Operator) -> None:
    a, b, c, d = street.devices
    group = Group.create(street, "street", [a, b, c], allowed=[d.id])
    first = group.agreed(a, b, c)
    until(lambda: group.view()["epoch"] == first, RUN_S)
    street.coordinator.stop(signal.SIGKILL)
    group.ask(d, "join")
    joined = group.agreed(a, b, c, d, above=first)
    group.ask(a, "send", resource="load/shed", payload=to_base64url(b"20 kW"))
    until(lambda: all("20 kW" in heard(group, each) for each in (b, c, d)))
    group.ask(c, "leave")
    left = group.agreed(a, b, d, above=joined)
    at_gateway = ("--here", "--data", str(street.folder / "nm"), "-o", "json")
    keymote("group", "rekey", "street", *at_gateway)
    killed_and_started(street)
    rekeyed = group.agreed(a, b, d, above=left)
    keymote("group", "evict", "street", b.id, *at_gateway)
    last = group.agreed(a, d, above=rekeyed)
    shown = json.loads(keymote("group", "show", "street", *at_gateway).stdout)
    assert {member["dev_id"]: member["state"] for member in shown["members"]} == {a.id: "in", d.id: "in"}
    assert group.here()["reports_waiting"] > 5
    on_disk = (street.folder / "nm" / "cells.db").read_bytes() + (street.folder / "nm" / "cells.db-wal").read_bytes()
    assert group.gid.encode() not in on_disk  # reports are sealed as cells are

    street.coordinator.start()
    until(lambda: group.view()["epoch"] == last, RUN_S)
    until(lambda: group.here()["reports_waiting"] == 0, RUN_S)
    assert group.epochs() == sorted({*group.epochs(), first, joined, left, rekeyed, last})
    view = group.view()
    assert sorted(member["dev_id"] for member in view["members"]) == sorted((a.id, d.id))
    assert {removal["dev_id"]: removal["cause"] for removal in view["removals"]} == {b.id: "evicted", c.id: "left"}
    assert all(removal["safe_after_ms"] is not None for removal in view["removals"])
    assert view["conflicts"] == []


def test_GS15_a_gateway_that_is_killed_in_the_middle_of_a_round_goes_on(street: Operator) -> None:
    a, b, c, _ = street.devices
    group = Group.create(street, "killed", [a, b, c], policy={"period_s": 0})
    first = group.agreed(a, b, c)
    until(lambda: group.here()["confirmed"])
    assert c.process.process is not None
    c.process.process.send_signal(signal.SIGSTOP)
    try:
        group.here("rekey", reason=4)  # it does not wait for the pace of STARTs
        until(lambda: "1 missing" in group.here()["stage"])
        killed_and_started(street)
    finally:
        c.process.process.send_signal(signal.SIGCONT)
    assert group.agreed(a, b, c, above=first) == first + 1


def test_GS20_another_gateway_takes_a_group_over_and_the_one_before_does_not_come_back(street: Operator) -> None:
    a, b, c, _ = street.devices
    home = street.folder / "successor"
    home.mkdir()
    successor = Operator.make(home, street.authority, street.coordinator, street.group_port, name="successor")
    try:
        group = Group.create(street, "handed-over", [a, b, c])
        first = group.agreed(a, b, c)
        until(lambda: group.view()["epoch"] == first, RUN_S)
        street.manager.stop(signal.SIGKILL)
        group.order("gateway", {"gateway": successor.manager.ready["nm_id"]})
        second = group.agreed(a, b, c, above=first)
        assert second > first + 1000
        street.manager.start()
        old = Group(street, group.gid)
        until(lambda: group.gid not in {line["gid"] for line in old.led() if line["leads"]}, RUN_S)
        group.order("rekey", {"reason": 4})
        third = group.agreed(a, b, c, above=second)
        until(lambda: group.view()["epoch"] == third, RUN_S)
        assert group.view()["gateway"] == "successor"
        assert group.view()["conflicts"] == []
    finally:
        successor.stop()


def test_GS10_a_gateway_of_suite_17_is_a_member_itself_and_speaks_to_each_alone(tmp_path: Path) -> None:
    with operators(tmp_path, 1, suite=17) as (operator,):
        devices = operator.add_devices(2, suite=17)
        for device in devices:
            device.enrolled()
        group = Group.create(operator, "edge", devices, mode="edge", multicast=False, level=0)
        first = group.agreed(*devices)
        until(lambda: group.view()["epoch"] == first, RUN_S)
        group.order("rekey", {"reason": 4})
        second = group.agreed(*devices, above=first)
        killed_and_started(operator)
        group.order("rekey", {"reason": 4})
        assert group.agreed(*devices, above=second)


@pytest.mark.skipif(os.geteuid() != 0, reason="the memory of a process that forbids debuggers is read as root only")
async def test_GS21_neither_memory_nor_files_of_a_relay_gateway_hold_a_key(
    street: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c, _ = street.devices
    secrets: dict[str, bytes] = {}
    derived = ring.group_secret

    def noted(*arguments: Any) -> Secret:
        gk_pub = derived(*arguments)
        secrets[f"GK_pub {len(secrets)}"] = gk_pub.expose()
        return gk_pub

    monkeypatch.setattr(ring, "group_secret", noted)
    c.process.stop()
    async with Device.open(read_config(c.config)) as device:  # a member whose secrets this test knows
        group = await asyncio.to_thread(Group.create, street, "watched", [a, b, c])
        epoch = 0
        for _ in range(2):
            epoch = await _active(device, group, above=epoch)
            secrets |= _keys(device, group)
            await asyncio.to_thread(group.ask, a, "send", resource="load/shed", payload=to_base64url(b"20 kW"))
            await asyncio.to_thread(group.here, "rekey", reason=4)
        epoch = await _active(device, group, above=epoch)
        secrets |= _keys(device, group)
    c.process.start()
    assert len(secrets) >= 2 + 3 * (1 + 3)
    pids = {role.process.process.pid for role in (a, b) if role.process.process is not None}
    newest = {name: key for name, key in secrets.items() if name.startswith(f"MK {epoch}")}
    for pid in pids:
        assert found_in_memory(pid, newest) == newest.keys()  # the search finds what is there
    assert street.manager.process is not None
    assert found_in_memory(street.manager.process.pid, secrets) == set()
    files = b"".join(path.read_bytes() for path in (street.folder / "nm").rglob("*") if path.is_file())
    assert [name for name, key in secrets.items() if key in files] == []


async def _active(device: Device, group: Group, above: int) -> int:
    """Wait until the device in this process is active in an epoch above; return the epoch."""
    async with asyncio.timeout(RUN_S):
        while True:
            for standing in device.node.runtime.groups():
                if standing.gid.hex() == group.gid and standing.state == "active" and standing.epoch > above:
                    return standing.epoch
            await asyncio.sleep(0.02)  # the pause of a poll with a deadline


def _keys(device: Device, group: Group) -> dict[str, bytes]:
    """Return MK and all sender keys of the device's present epoch, by name."""
    cell = device.node.runtime.driver.peek(membership_of(bytes.fromhex(group.gid)))  # type: ignore[attr-defined]
    epoch = cell.lasting.active.group
    keys = {f"MK {epoch.epoch}": epoch.key.expose()}
    for place in range(len(epoch.senders)):
        keys[f"sender {epoch.epoch}.{place}"] = epoch.material(place).key.expose()
    return keys
