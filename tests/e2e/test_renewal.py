"""Credentials that live for a minute: processes renew them by themselves, and nobody notices but the register."""

import json
from collections.abc import Iterator

import pytest
from coordinators import Authority, Coordinator, keymote
from operators import Operator, Process, free_port, until

from keymote.wire import admin
from keymote.wire.credential import SignedCredential

pytestmark = [pytest.mark.timeout(300), pytest.mark.long]

LIFE = ("--credential-life", "60")


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    home, authority = tmp_path_factory.mktemp("street"), Authority.make()
    coordinator = Coordinator.make(home / "nc", authority)
    coordinator.options = LIFE
    coordinator.start()
    operator = Operator.make(home, authority, coordinator, free_port())
    try:
        operator.manager.stop()
        operator.manager = Process((*operator.manager.arguments, *LIFE), operator.manager.log).start()
        operator.add_devices(1)
        operator.add_devices(1, has_clock=True)
        for device in operator.devices:
            device.enrolled()
        yield operator
    finally:
        operator.stop()
        coordinator.stop()


def serial(street: Operator, dev_id: str) -> str:
    shown: dict[str, str] = json.loads(street.operate("show", dev_id).stdout)
    return shown["serial"]


def of_manager(street: Operator) -> bytes:
    status, body = street.coordinator.curl("/api/v1/managers")
    assert status == 200
    credential: str = json.loads(body)["items"][0]["credential"]
    return SignedCredential.decode(admin.from_base64url(credential)).claims.serial


def test_RN02_RN07_devices_and_their_manager_renew_and_pair_before_and_after(street: Operator) -> None:
    a, b = street.devices
    serials, before = [serial(street, each.id) for each in (a, b)], of_manager(street)
    a.pair(b)
    until(lambda: all(serial(street, each.id) != old for each, old in zip((a, b), serials, strict=True)), 90.0)
    until(lambda: of_manager(street) != before, 90.0)
    opened = b.pair(a)
    until(lambda: opened["psid"] in {session["psid"] for session in a.sessions()})
    street.operate("revoke", b.id)  # under the newer credential the manager still hears its coordinator
    until(lambda: a.ask("open", b.id, check=False).returncode == 4)


def test_RN08_an_expired_manager_is_found_by_the_doctor_and_mended_by_its_command(street: Operator) -> None:
    data = ("--data", str(street.folder / "nm"))
    street.manager.stop()
    until(lambda: "keymote manager renew" in keymote("doctor", *data, check=False).stdout, 120.0)
    renewed = json.loads(keymote("manager", "renew", *data, "-o", "json").stdout)
    assert renewed["expires"] > 0
    assert "expired on" not in keymote("doctor", *data, check=False).stdout
