"""kill -9 of each process at seeded moments while people use the fleet: started again, it goes on where it was.

A seed chooses, for each act, whom it meets and when. The people only try again; nobody repairs anything.
"""

import json
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from coordinators import Coordinator, keymote
from operators import DeviceRole, Operator, Process, operators, until

from keymote.crypto.entropy import SystemEntropy
from keymote.engine.faces import OWN_ENROLMENT
from keymote.errors import KeymoteError
from keymote.storage.file import FileStore
from keymote.storage.seal import FileKey
from keymote.transports.control import ControlClient
from keymote.wire.admin import from_base64url

SEEDS = 1
MANY_SEEDS = 5
PATIENCE_S = 90.0

pytestmark = pytest.mark.timeout(600)


def ask(device: DeviceRole, do: str, **arguments: Any) -> Any:
    with ControlClient(device.config.with_suffix(".state") / "control.sock") as control:
        return control.ask(do, **arguments)


def insist(act: Callable[[], Any]) -> Any:
    """Try again until it is done, as people and scripts do."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return act()
        except (KeymoteError, AssertionError, OSError) as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"{act} was not done in {PATIENCE_S:g} s") from error
        time.sleep(0.1)  # the pause of a poll with a deadline


@contextmanager
def killed(role: Process | Coordinator, after_s: float) -> Iterator[None]:
    """Kill a process `after_s` from now and start it again, while the body goes on."""
    failures: list[BaseException] = []

    def strike() -> None:
        over.wait(after_s)
        try:
            role.stop(signal.SIGKILL)
            role.start()
        except BaseException as error:  # noqa: BLE001  it is raised where the test hears it
            failures.append(error)

    over = threading.Event()
    striking = threading.Thread(target=strike)
    striking.start()
    try:
        yield
    finally:
        striking.join()
    if failures:
        raise failures[0]


@dataclass
class Town:
    """Two operators; the south has one device that stays, the north as many as there are seeds."""

    north: Operator
    south: Operator
    stays: DeviceRole
    newcomers: list[DeviceRole]
    revoked: list[DeviceRole] = field(default_factory=list)

    def play(self, seed: int) -> None:
        """Let a newcomer enrol, pair and be revoked, with a kill during each."""
        dice = random.Random(seed)
        device = self.newcomers.pop()
        device.process.start()
        with killed(dice.choice([device.process, self.north.manager, self.north.coordinator]), dice.random()):
            insist(lambda: ask(device, "enrolled", timeout_s=2))
        everybody = [
            device.process, self.stays.process, self.north.manager, self.south.manager,
            self.north.coordinator, self.south.coordinator,
        ]  # fmt: skip
        with killed(dice.choice(everybody), dice.random() / 4):
            insist(lambda: self.pair(device))
        insist(lambda: self.pair(device))
        with killed(dice.choice([self.north.manager, self.south.manager, self.north.coordinator]), dice.random()):
            insist(lambda: self.north.operate("revoke", device.id, "--reason", "1"))
        self.revoked.append(device)
        until(lambda: all(row["peer"] != device.id for row in insist(lambda: ask(self.stays, "pair.list"))), PATIENCE_S)
        insist(lambda: self.is_refused(device))
        device.process.stop()

    def pair(self, device: DeviceRole) -> None:
        """Both sides hold one key, or an error that makes people try again."""
        opened = ask(device, "pair.open", peer=self.stays.id, timeout_s=10)
        deadline = time.monotonic() + 5
        while (opened["psid"], opened["key_id"]) not in self.keys():
            assert time.monotonic() < deadline
            time.sleep(0.02)  # the pause of a poll with a deadline

    def keys(self) -> set[tuple[str, str]]:
        return {(row["psid"], row["key_id"]) for row in ask(self.stays, "pair.list")}

    def is_refused(self, device: DeviceRole) -> None:
        """The managers have no word for a revoked device; an outage makes people ask again."""
        said = self.stays.ask("open", device.id, check=False)
        assert said.returncode == 4, said.stderr

    def check(self) -> None:
        """The registers are what the devices hold, the audit logs are whole, no manager met a bug."""
        everybody = [(self.south, self.stays, "active"), *((self.north, device, "revoked") for device in self.revoked)]
        for operator, device, state in everybody:
            status, listed = operator.coordinator.curl(f"/api/v1/devices/{device.id}")
            assert status == 200, listed
            view = json.loads(listed)
            assert view["state"] == state
            device.process.stop()
            assert from_base64url(view["credential"]) in enrolment_of(device)
        for operator in (self.north, self.south):
            assert "bug in the engine" not in (operator.folder / "nm.log").read_text()
            operator.coordinator.stop()
            verdict = json.loads(
                keymote("audit", "verify", "--data", str(operator.coordinator.folder), "-o", "json").stdout
            )
            assert verdict["ok"] is True
            assert verdict["entries"] > 2


def enrolment_of(device: DeviceRole) -> bytes:
    """Return the record of the device's enrolment, which holds its credential, from its own disk."""
    state = device.config.with_suffix(".state")
    store = FileStore(state / "cells", FileKey(state / "kek", SystemEntropy()), SystemEntropy())
    try:
        return store.load(OWN_ENROLMENT) or b""
    finally:
        store.close()


@contextmanager
def town(folder: Path, newcomers: int) -> Iterator[Town]:
    with operators(folder, 2) as (north, south):
        (stays,) = south.add_devices(1)
        coming = asleep(north, newcomers)
        ask(stays, "enrolled", timeout_s=20)
        yield Town(north, south, stays, coming)


def asleep(operator: Operator, count: int) -> list[DeviceRole]:
    """Return devices whose codes are imported and whose processes have not been started yet."""
    labels = operator.folder / "newcomers.csv"
    keymote("device", "labels", "--count", str(count), "--to", str(labels))
    keymote("device", "import", str(labels), "--data", str(operator.folder / "nm"))
    made = []
    for row in labels.read_text().splitlines()[1:]:
        dev_id, code = row.split(",")[:2]
        config, code_file = operator.folder / f"{dev_id}.toml", operator.folder / f"{dev_id}.code"
        code_file.touch(0o600)
        code_file.write_text(code)
        config.write_text(
            f'id = "{dev_id}"\nroot = "root.pin"\ncode_file = "{dev_id}.code"\nmanager = "{operator.manager.address}"\n'
        )
        process = Process(("device", "run", "--config", str(config)), operator.folder / f"{dev_id}.log")
        made.append(DeviceRole(dev_id, config, process))
    operator.devices += made
    return made


def play(folder: Path, seeds: range) -> None:
    with town(folder, len(seeds)) as made:
        for seed in seeds:
            try:
                made.play(seed)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}") from error
        made.check()


@pytest.mark.long
def test_DR01_processes_killed_at_any_moment_go_on_where_they_were(tmp_path: Path) -> None:
    play(tmp_path, range(SEEDS))


@pytest.mark.long
def test_DR01_processes_killed_at_many_moments_go_on_where_they_were(tmp_path: Path) -> None:
    play(tmp_path, range(100, 100 + MANY_SEEDS))
