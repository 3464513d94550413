"""A manager alone, cut off, dead and restored: its fleet goes on."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from coordinators import keymote
from operators import Operator, Process, operators, until

pytestmark = [pytest.mark.timeout(240), pytest.mark.long]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with operators(tmp_path_factory.mktemp("street"), 1) as (operator,):
        operator.add_devices(1)
        operator.add_devices(1, group="any")  # finds its manager by multicast
        operator.add_devices(1, suite=17)
        for device in operator.devices:
            device.enrolled()
        yield operator


def test_devices_of_one_manager_pair_while_the_coordinator_is_away(street: Operator) -> None:
    a, b, *_ = street.devices
    street.coordinator.stop(signal.SIGKILL)
    opened = a.pair(b)
    until(lambda: bool(b.sessions()))
    assert b.sessions()[0]["key_id"] == opened["key_id"]
    (newcomer,) = street.add_devices(1)
    street.coordinator.start()
    newcomer.enrolled()  # its BIND waited for the coordinator


def test_the_doctor_finds_a_healthy_manager_and_a_used_code(street: Operator) -> None:
    data = ("doctor", "--data", str(street.folder / "nm"), "-o", "json")
    until(lambda: keymote(*data, check=False).returncode == 0)
    found = json.loads(keymote(*data).stdout)["findings"]
    assert {finding["check"] for finding in found} == {
        "key file", "schema", "certificate", "certificate name", "clock", "credential", "manager"
    }  # fmt: skip
    used = keymote(*data, "--device", street.devices[0].id, check=False)
    assert "was used already; the device is active" in used.stdout
    assert keymote("doctor", "--config", str(street.devices[0].config)).returncode == 0


def test_a_revocation_that_the_manager_slept_through_reaches_it(street: Operator) -> None:
    a, b = street.devices[0], street.devices[-1]
    b.pair(a)
    street.manager.stop()
    street.operate("revoke", b.id, "--reason", "1")
    street.manager.start()
    until(lambda: b.ask("open", a.id, check=False).returncode == 4)


def test_suspension_and_a_new_label(street: Operator, tmp_path: Path) -> None:
    a, b, *_ = street.devices
    street.operate("suspend", a.id)
    until(lambda: b.ask("open", a.id, check=False).returncode == 4)
    street.operate("resume", a.id)
    until(lambda: b.ask("open", a.id, check=False).returncode == 0)
    keymote("device", "labels", "--to", str(tmp_path / "new.csv"))
    code = (tmp_path / "new.csv").read_text().splitlines()[1].split(",")[1]
    code_file = a.config.with_suffix(".code")
    code_file.write_text(code)
    manager = ("--data", str(street.folder / "nm"))
    keymote("device", "rejoin", a.id, "--code-file", str(code_file), *manager)
    before = json.loads(street.operate("show", a.id).stdout)["serial"]
    a.process.stop()
    a.process = Process((*a.process.arguments, "--rejoin"), a.process.log).start()
    a.enrolled()
    assert json.loads(street.operate("show", a.id).stdout)["serial"] != before
    assert b.pair(a)["state"] == "active"


def test_a_dead_manager_is_restored_elsewhere_and_its_fleet_goes_on(street: Operator, tmp_path: Path) -> None:
    a, b, *_ = street.devices
    passphrase = tmp_path / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text("correct horse battery\n")
    secret = ("--passphrase-file", str(passphrase))
    keymote("manager", "backup", "--data", str(street.folder / "nm"), "--to", str(tmp_path / "b"), *secret)
    a.pair(b)  # links go on after the backup was made
    port = street.manager.address.rpartition(":")[2]
    street.manager.stop(signal.SIGKILL)
    keymote("manager", "restore", str(tmp_path / "b"), "--data", str(tmp_path / "new"), *secret)
    arguments = ("manager", "run", "--data", str(tmp_path / "new"), "--group", "", "--port", port)
    street.manager = Process(arguments, tmp_path / "log").start()
    opened = b.pair(a)
    until(lambda: opened["psid"] in {session["psid"] for session in a.sessions()})
    assert opened["key_id"] in {session["key_id"] for session in a.sessions()}


def test_ten_thousand_labels_are_imported_within_a_minute_and_again_without_effect(
    street: Operator, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    data = ("--data", street.manager.arguments[street.manager.arguments.index("--data") + 1], "-o", "json")
    keymote("device", "labels", "--count", "10000", "--to", str(labels))
    assert labels.stat().st_mode & 0o777 == 0o600
    for _ in range(2):
        began = time.monotonic()
        imported = json.loads(keymote("device", "import", str(labels), *data).stdout)
        assert imported == {"read": 10_000, "taken": 10_000, "bad_lines": []}
        assert time.monotonic() - began < 60  # the promise: ten thousand a minute
    lines = labels.read_text().splitlines()
    other_code = lines[2].split(",")[1]
    lines[1] = ",".join((lines[1].split(",")[0], other_code, "1"))
    labels.write_text("\n".join([*lines[:3], "nonsense,here,1"]) + "\n")
    refused = keymote("device", "import", str(labels), *data, check=False)
    assert refused.returncode == 1
    bad = json.loads(refused.stdout)["bad_lines"]
    assert [entry["line"] for entry in bad] == [2, 4]
    assert "rejoin" in bad[0]["why"]
    assert other_code not in refused.stdout + refused.stderr
