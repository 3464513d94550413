"""The bench as a user runs it: small and whole, a thousand once, and nothing is left running when it is cut short."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-m", "keymote.cli", "bench", "fleet"]
SETUP_S = 120.0

pytestmark = pytest.mark.long


def ran(*arguments: str, within_s: float) -> tuple[int, dict[str, Any], str]:
    """Run the bench to its end; return its exit code, its metrics by name, and its stderr."""
    done = subprocess.run([*COMMAND, *arguments, "-o", "json"], capture_output=True, timeout=within_s, check=False)
    assert done.stdout, done.stderr.decode()
    said = json.loads(done.stdout)
    return done.returncode, {metric["name"]: metric for metric in said["metrics"]}, done.stderr.decode()


@pytest.mark.timeout(240)
def test_a_small_fleet_comes_through_a_worse_network() -> None:
    status, metrics, errors = ran("--devices", "12", "--sessions", "24", "--loss", "0.1", within_s=220)
    assert metrics["fleet.enrolled"]["value"] == 12
    assert metrics["fleet.open"]["value"] == 24
    assert metrics["fleet.relay.dropped"]["value"] > 0
    assert metrics["fleet.enrol.p99_ms"]["value"] >= metrics["fleet.enrol.p50_ms"]["value"] > 0
    assert metrics["fleet.memory.enrolled.manager_kib"]["value"] > 0
    assert status == 0, errors


@pytest.mark.timeout(660)
def test_a_thousand_devices_enrol_and_open_a_thousand_sessions() -> None:
    status, metrics, errors = ran(within_s=640)
    missed = {name: metric for name, metric in metrics.items() if metric["holds"] is False}
    missed.pop("fleet.wall_s", None)  # the goal of a machine with nothing else to do: the bench says whether it holds
    assert missed == {}, errors
    assert status in (0, 1), errors
    assert metrics["fleet.enrolled"]["value"] == metrics["fleet.open"]["value"] == 1000


def children(parent: int) -> dict[int, str]:
    """Return the command lines of a process's children, by pid."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def lives(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(what: str, done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def hears_interrupts() -> None:
    """Undo what a shell does for jobs in the background: they, and what they start, are deaf to SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("how", "status"), [("interrupt", {1, 130}), ("terminate", {3}), ("a dead relay", {3})])
def test_nothing_is_left_running_when_it_is_cut_short(tmp_path: Path, how: str, status: set[int]) -> None:
    kept = tmp_path / "fleet"
    arguments = ["--devices", "6", "--sessions", "4000", "--keep", str(kept)]  # more than it can open meanwhile
    bench = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=hears_interrupts,  # noqa: PLW1509  no thread runs here
    )
    roles: dict[int, str] = {}
    try:
        until("the fleet does not start", (kept / "south" / "street.sock").exists, SETUP_S)
        until("not all roles run", lambda: len(children(bench.pid)) >= 7, SETUP_S)
        roles = children(bench.pid)
        match how:
            case "interrupt":
                bench.send_signal(signal.SIGINT)
            case "terminate":
                bench.send_signal(signal.SIGTERM)
            case _:
                os.kill(next(pid for pid, line in roles.items() if "fleet.relay" in line), signal.SIGKILL)
        _, errors = bench.communicate(timeout=60)
    finally:
        bench.kill()
        bench.wait()
        for pid in roles if bench.returncode not in status else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert bench.returncode in status, errors.decode()
    assert "Traceback" not in errors.decode()
    until("roles are left", lambda: not any(map(lives, roles)), 10)
