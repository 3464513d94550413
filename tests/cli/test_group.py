"""What `keymote group` reads and says without a coordinator."""

import asyncio
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from keymote.cli import group_log
from keymote.cli.group import app
from keymote.cli.group_asking import manager_named
from keymote.cli.group_coordinator import seconds_of_day
from keymote.cli.moments import moment
from keymote.cli.output import Output, show
from keymote.errors import CallerFault, Unavailable
from keymote.manager.group_desk import GroupDesk
from keymote.transports.control import ControlServer
from keymote.wire.admin import MAX_PAGE
from keymote.wire.admin_records import RecordPage, RecordView


@pytest.mark.parametrize(("text", "seconds"), [("00:00", 0), ("06:30", 23400), ("23:59", 86340)])
def test_a_time_of_the_day_is_read(text: str, seconds: int) -> None:
    assert seconds_of_day(text) == seconds


@pytest.mark.parametrize("text", ["", "6", "24:00", "06:60", "06:30:00", "-1:00", "06.30", "a:b"])
def test_what_is_no_time_of_the_day_is_refused(text: str) -> None:
    with pytest.raises(CallerFault, match="HH:MM"):
        seconds_of_day(text)


def test_times_are_said_in_utc() -> None:
    assert moment(1_800_000_000_000) == "2027-01-15 08:00:00Z"
    assert moment(None) is None


class Managers:
    """A coordinator that knows managers by these names, two a page."""

    def __init__(self, *names: str) -> None:
        self.names = names

    async def get(self, path: str, kind: type, *, after: str | None, limit: int) -> object:
        assert (path, limit) == ("/managers", MAX_PAGE)
        start = int(after or 0)
        page = [SimpleNamespace(name=name, nm_id=f"id of {name}") for name in self.names[start : start + 2]]
        return SimpleNamespace(items=page, next=str(start + 2) if start + 2 < len(self.names) else None)


@pytest.mark.parametrize(
    ("names", "do"),
    [
        ((), "add one: keymote coordinator manager add"),
        (("gw-2", "gw-1", "gw-3"), "choose gw-1 or gw-2 or gw-3"),
        (tuple(f"gw-{each}" for each in range(9)), "or gw-7, or one of 1 others: keymote coordinator manager list"),
    ],
)
async def test_a_manager_that_does_not_exist_is_answered_by_those_that_do(names: tuple[str, ...], do: str) -> None:
    with pytest.raises(CallerFault, match="no manager is called 'gw-x'") as fault:
        await manager_named(Managers(*names), "gw-x")  # type: ignore[arg-type]
    assert (fault.value.do or "").endswith(do)
    for name in names:
        assert await manager_named(Managers(*names), name) == f"id of {name}"  # type: ignore[arg-type]


def test_where_there_is_nothing_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    show({"conflicts": []}, Output.TABLE)
    assert capsys.readouterr().out.split() == ["conflicts", "none"]


# ------------------------------------------------------------------ at the manager


async def test_with_here_the_manager_is_told_each_thing_and_nobody_else(tmp_path: Path) -> None:
    heard: list[Mapping[str, Any]] = []

    async def hear(request: Mapping[str, Any]) -> object:
        heard.append(request)
        return {"state": "done"}

    verbs = set(GroupDesk(groups=None).handlers())  # type: ignore[arg-type]  # asked for their names alone
    server = await ControlServer.open(tmp_path / "control.sock", dict.fromkeys(verbs, hear))

    def run(*args: str) -> object:
        ran = CliRunner().invoke(app, [*args, "--here", "--data", str(tmp_path), "-o", "json"])
        assert ran.exception is None, ran.exception
        return json.loads(ran.stdout)

    try:
        done = await asyncio.to_thread(run, "evict", "street-7", "a1", "a2", "--reason", "4")
        for line in (("add", "street-7", "a3"), ("rekey", "street-7"), ("show", "street-7"), ("list",)):
            await asyncio.to_thread(run, *line)
    finally:
        await server.close()
    assert done == {"evicted": [{"state": "done"}, {"state": "done"}]}
    assert heard == [
        {"do": "group.evict", "group": "street-7", "dev_id": "a1", "reason": 4},
        {"do": "group.evict", "group": "street-7", "dev_id": "a2", "reason": 4},
        {"do": "group.add", "group": "street-7", "dev_id": "a3"},
        {"do": "group.rekey", "group": "street-7", "reason": 1},
        {"do": "group.show", "group": "street-7"},
        {"do": "group.list"},
    ]


def test_a_manager_that_does_not_run_is_unavailable(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["list", "--here", "--data", str(tmp_path)])
    assert isinstance(ran.exception, Unavailable)


# ------------------------------------------------------------------ what was sent


@pytest.mark.parametrize("output", ["table", "json"])
def test_the_log_of_a_group_names_who_and_how_long_and_where_to_go_on(
    monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    known, stranger = "00000000000000a1", "5c00000000000000"
    page = RecordPage(
        "67" * 8,
        [
            RecordView(7, "11" * 8, 1, 1_800_000_000_000, 3, "aa" * 8, known, 0, "telemetry/power", "AAAAAAAA"),
            RecordView(9, "11" * 8, 2, 1_800_000_001_000, 3, stranger, None, 4, "load", "AAAA"),
        ],
        9,
    )
    monkeypatch.setattr(group_log, "at_coordinator", lambda *_: page)
    ran = CliRunner().invoke(app, ["log", "street-7", "-o", output], env={"COLUMNS": "200"})
    assert ran.exit_code == 0, ran.output
    if output == "json":
        assert json.loads(ran.stdout)["items"][1] == {
            "id": 9, "nm_id": "11" * 8, "seq": 2, "ts_ms": 1_800_000_001_000, "epoch": 3, "kid": stranger,
            "dev_id": None, "number": 4, "resource": "load", "record": "AAAA",
        }  # fmt: skip
        return
    first, second = (line.split() for line in ran.output.splitlines() if "2027-01-15" in line)
    assert [each for each in first if each in (known, "telemetry/power", "6")] == [known, "telemetry/power", "6"]
    assert ("kid", stranger) in list(pairwise(second))
    assert "--after 9" in ran.output
