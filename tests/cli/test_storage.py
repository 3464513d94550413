"""`keymote storage rotate`: one command for every role, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import keymote

sys.path.insert(0, str(Path(__file__).parents[1] / "storage"))

from keyed_roles import ROLES

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(keymote.__file__).parents[1])}


def rotate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "keymote.cli", "storage", "rotate", *arguments, "-o", "json"],
        check=False, capture_output=True, text=True, timeout=200, env=ENVIRONMENT,
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", [role if role == "device" else pytest.param(role, marks=pytest.mark.long) for role in ROLES]
)
def test_KT08_one_command_changes_the_key_of_every_role(name: str, tmp_path: Path) -> None:
    role = ROLES[name]
    role.make(tmp_path, "")
    before = role.use(tmp_path)
    which = ("--config", str(tmp_path / "d.toml")) if name == "device" else ("--data", str(tmp_path))
    inside = json.loads(rotate(*which).stdout)
    assert (inside["key"], inside["old_key"], inside["resumed"]) == (f"file:{tmp_path}/{role.key}-2", "erased", False)
    assert len(inside["stores"]) == role.stores
    nowhere = rotate(*which, "--to", f"file:{tmp_path}/absent/new")
    assert (nowhere.returncode, "cannot write" in nowhere.stderr) == (3, True)
    assert role.use(tmp_path) == before
    named = json.loads(rotate(*which, "--to", "file:new").stdout)
    assert named["key"] == f"file:{(tmp_path / role.key).parent}/new"
    assert role.use(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "one role at a time"),
        (("--data", ".", "--config", "x.toml"), "one role at a time"),
        (("--data", "{empty}"), "holds no role"),
        (("--config", "{empty}/x.toml"), "cannot read"),
    ],
)
def test_what_names_no_role_is_refused(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    done = rotate(*(part.format(empty=tmp_path) for part in arguments))
    assert (done.returncode, done.stdout, says in done.stderr) == (2, "", True)
