"""No role starts on algorithms that answer wrongly, or without the guards before them: it opens nothing at all."""

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from keymote.agent.app.service import AgentProcess
from keymote.coordinator.app.service import CoordinatorProcess
from keymote.crypto import ristretto255
from keymote.device.app.launch import launch
from keymote.device.config import DeviceConfig
from keymote.errors import Incompatible
from keymote.manager.app.service import ManagerProcess, Options
from keymote.selftest import startup_once

NO_DIRECTORY: Any = None
"""What stands in for a directory: whoever looks at it before the examination fails by another error."""


def device(folder: Path) -> Awaitable[object]:
    return launch(DeviceConfig(b"device 1", folder / "state", folder / "root.pin", f"file:{folder / 'kek'}"))


ROLES: dict[str, Callable[[Path], Awaitable[object]]] = {
    "coordinator": lambda _folder: CoordinatorProcess(NO_DIRECTORY, "127.0.0.1", 0).start(),
    "manager": lambda _folder: ManagerProcess(NO_DIRECTORY, Options()).start(),
    "agent": lambda _folder: AgentProcess(NO_DIRECTORY).start(),
    "device": device,
}


@pytest.fixture(autouse=True)
def unexamined(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests of this process have examined does not count."""
    monkeypatch.setattr(sys.modules[startup_once.__module__], "_SOUND", set())


@pytest.mark.parametrize("role", ROLES)
async def test_IM01_no_role_starts_without_the_guards(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ristretto255.Ristretto255, "check", lambda _self, encoding: encoding)
    with pytest.raises(Incompatible, match="self-test failed: suite 1") as refused:
        await ROLES[role](tmp_path)
    assert refused.value.do
    assert os.listdir(tmp_path) == []  # noqa: PTH208  a glance, not work


def test_a_process_examines_a_suite_once_and_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(ristretto255.libsodium, "add", lambda P, _Q: P)
        for _ in range(2):
            with pytest.raises(Incompatible):
                startup_once([1])
    startup_once([1])
    monkeypatch.setattr(ristretto255.libsodium, "add", lambda P, _Q: P)
    startup_once([1])
    with pytest.raises(Incompatible):
        startup_once([1, 2])
