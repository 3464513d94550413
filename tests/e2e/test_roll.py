"""A coordinator of running managers and devices takes a new key: old and new meet, and the log holds."""

import json
from pathlib import Path

import pytest
from coordinators import Authority, Coordinator, keymote
from operators import Operator, free_port, until

from keymote.wire import admin, admin_files
from keymote.wire.credential import SignedCredential

pytestmark = [pytest.mark.timeout(300), pytest.mark.long]


def managers(coordinator: Coordinator) -> dict[str, bytes]:
    """Return the credential that each manager has in the directory, by name."""
    status, body = coordinator.curl("/api/v1/managers")
    assert status == 200
    return {each["name"]: admin.from_base64url(each["credential"]) for each in json.loads(body)["items"]}


def key_of(coordinator: Coordinator) -> bytes:
    carried = admin_files.read_file(
        (coordinator.folder / "nc.cred").read_bytes(), admin_files.CredentialFile, "nc.cred"
    )
    return SignedCredential.decode(admin.from_base64url(carried.credential)).claims.sig_pk


def test_CR12_RN09_a_coordinator_rolls_its_key_and_devices_of_before_and_after_pair(tmp_path: Path) -> None:
    authority = Authority.make()
    coordinator = Coordinator.make(tmp_path / "nc", authority).start()
    data = ("--data", str(coordinator.folder))
    streets: list[Operator] = []
    try:
        for name in ("early", "late"):
            home = tmp_path / name
            home.mkdir()
            streets.append(Operator.make(home, authority, coordinator, free_port(), name=name))
        early, late = streets
        (a,) = early.add_devices(1, has_clock=True)
        (b,) = late.add_devices(1)
        for device in (a, b):
            device.enrolled()
        kept, before, old_key = a.pair(b), managers(coordinator), key_of(coordinator)

        keymote("coordinator", "roll-key", *data)
        assert keymote("coordinator", "roll-key", *data).returncode == 0
        authority.certify(coordinator.folder, "nc.next.req", "nc.next.cred")
        assert keymote("coordinator", "roll-key", *data, check=False).returncode != 0, "it still runs"
        assert coordinator.stop() == 0
        done = json.loads(keymote("coordinator", "roll-key", *data, "-o", "json").stdout)
        assert done["stage"] == "rolled"
        assert key_of(coordinator) != old_key
        coordinator.start()

        late.manager.stop()  # its successor looks at the coordinator's key when it starts
        keymote("manager", "renew", "--data", str(late.folder / "nm"))
        late.manager.start()
        after = managers(coordinator)
        assert after["late"] != before["late"]
        assert after["early"] == before["early"], "it goes on under the old key until it looks"
        (c,) = late.add_devices(1, has_clock=True)
        c.enrolled()
        for one, other in ((a, c), (c, a), (b, c), (b, a)):
            opened = one.pair(other)
            until(lambda: opened["psid"] in {each["psid"] for each in other.sessions()})  # noqa: B023  used at once
        assert kept["psid"] in {session["psid"] for session in a.sessions()}

        early.manager.stop()
        early.manager.start()  # by itself
        until(lambda: managers(coordinator)["early"] != before["early"], 60.0)
        opened = a.pair(c)
        until(lambda: opened["psid"] in {each["psid"] for each in c.sessions()})
        early.operate("revoke", a.id)
        until(lambda: c.ask("open", a.id, check=False).returncode == 4)

        assert coordinator.stop() == 0  # and signs a head
        verified = json.loads(keymote("audit", "verify", *data, "-o", "json").stdout)
        assert verified["ok"] is True
        assert verified["heads"] >= 2
    finally:
        for street in streets:
            street.stop()
        coordinator.stop()
