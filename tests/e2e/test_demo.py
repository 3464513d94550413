"""`keymote demo` and `keymote up` as a stranger runs them: shapes, facts, processes of their own, and nothing left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from coordinators import ENVIRONMENT

pytestmark = pytest.mark.timeout(300)
PROGRAM = [sys.executable, "-m", "keymote.cli"]
PATIENCE_S = 240.0


@dataclass
class Watch:
    """Notes every process below `pid` while it lives: its command line, by pid."""

    pid: int
    seen: dict[int, str] = field(default_factory=dict)

    def look(self) -> None:
        found: dict[int, tuple[int, str]] = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it has ended
            found[int(entry.name)] = parent, command
        family = {self.pid}
        while more := {pid for pid, (parent, _) in found.items() if parent in family} - family:
            family |= more  # numbers begin anew some time: a child's may be below its parent's
        for pid in family - {self.pid}:
            self.seen[pid] = found[pid][1] or self.seen.get(pid, "")  # none any more when it ended


def is_alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until_gone(pids: set[int]) -> None:
    deadline = time.monotonic() + 10
    while alive := {pid for pid in pids if is_alive(pid)}:
        assert time.monotonic() < deadline, f"still running: {alive}"
        time.sleep(0.05)  # the pause of a poll with a deadline


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Watch, int]:
    """Return what one run of the demo said, which processes it had, and its exit code."""
    folder = tmp_path_factory.mktemp("demo")
    with (folder / "err").open("w") as err:
        process = subprocess.Popen(
            [*PROGRAM, "demo", "-o", "json"], stdout=subprocess.PIPE, stderr=err, env=ENVIRONMENT, cwd=folder
        )
    watch = Watch(process.pid)
    over = threading.Event()

    def look_on() -> None:
        while not over.wait(0.1):
            watch.look()

    looking = threading.Thread(target=look_on)
    looking.start()
    try:
        out, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        over.set()
        looking.join()
        process.kill()
    assert process.returncode == 0, (folder / "err").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["err"]
    return json.loads(out), watch, process.returncode


def test_the_demo_has_the_documented_shape_and_facts(told: tuple[dict[str, Any], Watch, int]) -> None:
    result, _, code = told
    assert code == 0
    assert result["ok"] is True
    (pair,) = (scenario for scenario in result["scenarios"] if scenario["name"] == "pair")
    assert pair["ok"] is True
    assert len(pair["steps"]) >= 6
    for step in pair["steps"]:
        assert isinstance(step["name"], str)
        assert step["ms"] >= 0
        assert step["messages"] >= 0
        assert step["bytes"] >= step["messages"]
    enrolment = next(step for step in pair["steps"] if "devices enrol" in step["name"])
    assert enrolment["messages"] >= 2 * 6  # JOIN, OFFER, SHARE, VPT, BIND, CRED of two devices
    facts = pair["facts"]
    assert re.fullmatch("[0-9a-f]{16}", facts["key_id_initiator"])
    assert facts["key_id_initiator"] == facts["key_id_responder"]
    assert facts["oscore_ok"] is True
    assert facts["refused_after_revocation"] is True
    assert 0 < facts["revoked_after_ms"] < 1000 * PATIENCE_S


def test_both_case_studies_of_groups_come_out_as_documented(told: tuple[dict[str, Any], Watch, int]) -> None:
    result, _, _ = told
    (group,) = (scenario for scenario in result["scenarios"] if scenario["name"] == "group")
    facts = group["facts"]
    assert group["ok"] is True
    assert {step["name"].partition(":")[0] for step in group["steps"]} == {"groups form", "exchange", "microgrid"}
    assert facts["n"] == 15 and facts["epoch"] == 3  # formed, joined, evicted
    (key_id,) = set(facts["key_ids"])
    assert re.fullmatch("[0-9a-f]{16}", key_id) and len(facts["key_ids"]) == 14
    assert facts["evicted_refused"] is True and facts["refusal"]
    assert 0 <= facts["time_to_safe_ms"] < 1000 * PATIENCE_S
    assert (facts["epoch_reported"], facts["conflicts"]) == (facts["epoch"], [])
    assert facts["reports_buffered"] > 0
    trade = facts["exchange"]
    assert [session["n"] for session in trade["sessions"]] == [10, 11]
    assert all(session["opened"] == session["commands"] * (session["n"] - 1) for session in trade["sessions"])
    assert trade["books_alike"] is True and any("sold to" in line for line in trade["book"])
    for each in (group["steps"][0], group["steps"][-1]):
        assert each["messages"] > 3 * 14 and each["bytes"] > each["messages"]


def test_WD08_patients_walk_and_no_reading_is_lost_or_read_by_a_broker(told: tuple[dict[str, Any], Watch, int]) -> None:
    result, watch, _ = told
    (topic,) = (scenario for scenario in result["scenarios"] if scenario["name"] == "topic")
    facts = topic["facts"]
    assert topic["ok"] is True
    assert (facts["moves"], facts["lost"], facts["duplicates"], facts["out_of_order"]) == (12, 0, 0, 0)
    assert facts["moves_told"] == 12, "each home broker's agent has told the trusted system (4.6)"
    assert facts["readings"] > 12 and facts["handed_over"] >= 6
    assert facts["broker_saw_plaintext"] is False
    searched = facts["searched"]
    assert searched["traffic_bytes"] > 40 * facts["readings"] and searched["finds"] is not False
    assert (searched["memory"] is False) is (os.geteuid() == 0)
    names = [role["role"].partition("-")[0] for role in facts["roles"]]
    assert sorted(names) == ["broker"] * 3 + ["patient"] * 3 + ["station"]
    pids = {role["pid"] for role in facts["roles"]}
    assert len(pids) == len({role["address"] for role in facts["roles"]}) == 7
    assert pids <= set(watch.seen)
    until_gone(pids)


def test_every_meter_is_a_process_of_its_own_that_has_ended(told: tuple[dict[str, Any], Watch, int]) -> None:
    result, watch, _ = told
    roles = next(scenario["facts"]["roles"] for scenario in result["scenarios"] if scenario["name"] == "group")
    pids = {role["pid"] for role in roles}
    assert len(pids) == len({role["address"] for role in roles}) == 15
    assert pids <= set(watch.seen)
    until_gone(pids)


def test_every_role_of_the_demo_is_a_process_that_has_ended(told: tuple[dict[str, Any], Watch, int]) -> None:
    result, watch, _ = told
    roles = result["scenarios"][0]["facts"]["roles"]
    assert {role["role"].partition("-")[0] for role in roles} == {"coordinator", "manager", "device"}
    pids = [role["pid"] for role in roles]
    assert len(set(pids)) == len(pids) == 6
    assert set(pids) <= set(watch.seen)
    assert len({role["address"] for role in roles}) == 6
    until_gone(set(watch.seen) | {watch.pid})


# ------------------------------------------------------------------ keymote up


@dataclass
class Up:
    """A running `keymote up` and the line that it printed."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        assert self.process.stdout is not None
        assert self.process.stdout.read() == "", "one line is all that goes to stdout"
        self.process.stdout.close()
        return code


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    running: list[subprocess.Popen[str]] = []

    def started() -> Up:
        with (tmp_path / "err").open("a") as err:
            process = subprocess.Popen(
                [*PROGRAM, "up", "--operators", "2", "--data", str(tmp_path / "world"), "-o", "json"],
                stdout=subprocess.PIPE, stderr=err, text=True, env=ENVIRONMENT,
            )  # fmt: skip
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (tmp_path / "err").read_text()
        return Up(process, json.loads(line))

    yield started
    for process in running:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.long
def test_up_says_where_it_is_and_is_there_again_with_the_same_data_however_it_ended(start: Any) -> None:
    first = start()
    endpoints = first.ready["endpoints"]
    assert first.ready["ready"] is True
    assert [url.partition(":")[0] for url in endpoints["coordinators"]] == ["https"] * 2
    assert [url.partition(":")[0] for url in endpoints["managers"]] == ["coap"] * 2
    assert [url.partition(":")[0] for url in endpoints["mqtt"]] == ["mqtt"] * 2  # the tests have the extra `broker`
    assert [url.partition(":")[0] for url in endpoints["agents"]] == ["coap"] * 2
    assert endpoints["dashboard"] is None
    assert "BEGIN CERTIFICATE" in Path(first.ready["ca"]).read_text()
    assert Path(first.ready["token"]).stat().st_mode & 0o077 == 0
    watch = Watch(first.process.pid)
    watch.look()
    assert watch.seen == {}, "everything runs in one process"
    token = Path(first.ready["token"]).read_text().strip()
    assert _status(first, token) == "200"
    assert _status(first, "") == "401"
    assert first.end() == 0
    second = start()
    assert second.ready == first.ready
    assert _status(second, token) == "200"
    os.kill(second.process.pid, signal.SIGKILL)
    second.process.wait()
    third = start()
    assert third.ready == first.ready
    assert third.end() == 0
    assert not any(is_alive(run.process.pid) for run in (first, second, third))


def _status(running: Up, token: str) -> str:
    """Return the HTTP status that curl gets for the list of managers."""
    ran = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10", "--cacert", running.ready["ca"],
         *(["-H", f"Authorization: Bearer {token}"] if token else []),
         f"{running.ready['endpoints']['coordinators'][0]}/api/v1/managers"],
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    return ran.stdout
