"""What `keymote group` reads and says without a coordinator."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from keymote.cli.group import app
from keymote.cli.group_coordinator import seconds_of_day
from keymote.cli.group_looks import moment
from keymote.errors import CallerFault, Unavailable
from keymote.manager.group_desk import GroupDesk
from keymote.transports.control import ControlServer


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
