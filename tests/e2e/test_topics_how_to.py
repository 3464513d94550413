"""The commands of docs/how-to/topics-for-operators.md, on a running operator, with devices that publish and subscribe."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from coordinators import ENVIRONMENT
from operators import Operator, operators

from keymote.device import Device
from keymote.device.topic_keys import NeedsKey

pytestmark = [pytest.mark.long, pytest.mark.timeout(480)]

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "topics-for-operators.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PULSE = "ward/7/pulse"
LONG_S = 60.0


class Shell:
    """Runs the page's commands as its reader would."""

    def __init__(self, operator: Operator, folder: Path, **names: str) -> None:
        self._folder = folder
        self._environment = {
            **ENVIRONMENT,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "COLUMNS": "200",
            "KEYMOTE_COORDINATOR_DATA": str(operator.coordinator.folder),
            "KEYMOTE_COORDINATOR_URL": operator.coordinator.url,
            **names,
        }

    async def run(self, commands: str) -> str:
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
        process = await asyncio.create_subprocess_exec(
            "bash", "-euc", commands, cwd=self._folder, env=self._environment, **pipes
        )
        said, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return said.decode()

    async def shown(self, name: str = "ward/7/#") -> dict[str, object]:
        found: dict[str, object] = json.loads(await self.run(f"keymote topic show '{name}' -o json"))
        return found


@asynccontextmanager
async def devices(operator: Operator, count: int) -> AsyncIterator[list[Device]]:
    """Enrol devices that live in this process."""
    folder = operator.folder
    async with AsyncExitStack() as opened:
        made = []
        for role in operator.add_devices(count):
            role.enrolled()
            role.process.stop()
            made.append(await opened.enter_async_context(Device.open(folder / f"{role.id}.toml")))
        operator.devices.clear()
        yield made


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LONG_S):
        while not await holds():  # noqa: ASYNC110  it asks another process
            await asyncio.sleep(0.2)  # the pause of a poll with a deadline


async def reads(device: Device, topic: str, data: bytes) -> bytes:
    """Return what a subscriber reads, at once or when it has asked for the key."""
    late: asyncio.Queue[bytes] = asyncio.Queue()
    try:
        return device.topics.unprotect(topic, data, lambda reading: late.put_nowait(reading.plaintext)).plaintext
    except NeedsKey:
        return await asyncio.wait_for(late.get(), LONG_S)


async def test_CT21_the_page_does_what_it_says(tmp_path: Path) -> None:
    create, provision, clients, show, change, revoke, close, away = BLOCKS
    with operators(tmp_path, 1) as (operator,):
        async with devices(operator, 4) as (mote, nurse, tablet, doctor):
            named = {"MOTE": mote, "NURSE": nurse, "TABLET": tablet, "DOCTOR": doctor}
            ids = {name: device.id for name, device in named.items()}
            data = operator.manager.arguments[operator.manager.arguments.index("--data") + 1]
            shell = Shell(operator, tmp_path, MANAGER="nm", MANAGER_DATA=data, **ids)
            assert "ward/7/alarm" in await shell.run(create)

            async def acted() -> bool:
                return bool((await shell.shown())["acted"])

            await until(acted)
            await mote.topics.ready_to_publish(PULSE)
            for device in (nurse, tablet):
                await device.topics.ready_to_subscribe(PULSE)
            reading = await mote.topics.protect(PULSE, b"71 bpm")
            assert [await reads(device, PULSE, reading) for device in (nurse, tablet)] == [b"71 bpm"] * 2
            await shell.run(provision)

            async def known() -> bool:
                return "pump-4" in await shell.run("keymote topic clients")

            await until(known)
            assert "pump-4" in await shell.run(clients)
            assert PULSE in await shell.run(show)
            await shell.run(change)

            async def without_tablet() -> bool:
                (taken,) = (await shell.shown())["removals"]  # type: ignore[misc]
                return taken["safe_after_ms"] is not None

            await until(without_tablet)
            await doctor.topics.ready_to_subscribe(PULSE)
            reading = await mote.topics.protect(PULSE, b"72 bpm")
            assert [await reads(device, PULSE, reading) for device in (nurse, doctor)] == [b"72 bpm"] * 2
            with pytest.raises(NeedsKey):
                tablet.topics.unprotect(PULSE, reading)
            assert "revoked" in await shell.run(revoke)

            async def without_nurse() -> bool:
                return all(each["safe_after_ms"] is not None for each in (await shell.shown())["removals"])  # type: ignore[attr-defined]

            await until(without_nurse)
            first, second = (await shell.shown())["removals"]  # type: ignore[misc]
            assert (first["client"], first["cause"], first["topics"]) == (nurse.id, "revoked", [PULSE])
            assert (second["client"], second["cause"], second["waiting"]) == (tablet.id, "withdrawn", [])

            asked = "keymote coordinator revocations -o json --data $KEYMOTE_COORDINATOR_DATA"
            (line,) = json.loads(await shell.run(asked))["revocations"]
            told = {each["filter"]: each["safe_after_ms"] for each in line["topics"]}
            assert told.keys() == {"ward/7/#", "ward/7/alarm"}, "she was in two rules"
            assert told["ward/7/#"] == first["safe_after_ms"]
            await shell.run(close)
            assert "alarm" not in await shell.run("keymote topic list")
            assert PULSE in await shell.run(away)
