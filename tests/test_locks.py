"""The committed locks: every pin hashed, no package host named, the run-time pins the same wherever they stand."""

import re
import tomllib
from pathlib import Path

import pytest

import keymote

ROOT = Path(__file__).parent.parent
LOCKS = sorted(ROOT.glob("requirements*.lock"))
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?P<rest>.*?)(?=^[a-z0-9]|\Z)", re.MULTILINE | re.DOTALL)


def pins(lock: str) -> dict[str, str]:
    return {pin["name"]: pin["version"] for pin in PIN.finditer((ROOT / lock).read_text())}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def names(requirements: list) -> set[str]:
    return {re.split(r"[\[<>=!~ ]", item)[0].lower() for item in requirements if isinstance(item, str)}


def test_the_three_locks_are_there():
    assert [lock.name for lock in LOCKS] == ["requirements-dev.lock", "requirements-setup.lock", "requirements.lock"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_has_a_hash_and_no_host_is_named(lock):
    text = lock.read_text()
    assert "://" not in text
    found = list(PIN.finditer(text))
    assert len(found) == len(re.findall(r"^\S+==", text, re.MULTILINE)) > 0
    assert [pin["name"] for pin in found if "--hash=sha256:" not in pin["rest"]] == []


def test_the_locks_hold_what_the_project_asks_for():
    asked = project()
    assert names(asked["project"]["dependencies"]) <= pins("requirements.lock").keys()
    groups = asked["dependency-groups"]
    assert names([*groups["test"], *groups["lint"]]) <= pins("requirements-dev.lock").keys()
    assert names(groups["setup"]) == pins("requirements-setup.lock").keys()


def test_tests_run_against_the_pins_that_run():
    running = pins("requirements.lock")
    testing = pins("requirements-dev.lock")
    assert running.items() <= testing.items()


def test_the_version_is_said_once():
    assert project()["project"]["version"] == keymote.__version__
