"""`keymote topic` as a process, with a password for the broker in its environment."""

import asyncio
import json
import os
import sys
from pathlib import Path

from keymote.device.config import DeviceConfig

PASSWORD = "s3cret"


def written(config: DeviceConfig, folder: Path) -> Path:
    path = folder / f"{config.id.hex()}.toml"
    lines = {
        "id": config.id.hex(), "state": config.state, "root": config.root, "key_uri": config.key_uri,
        "code_file": config.code_file, "manager": config.manager,
    }  # fmt: skip
    path.write_text("".join(f"{name} = {json.dumps(str(value))}\n" for name, value in lines.items()))
    return path


async def command(*words: object, stdin: bytes = b"", group: str = "topic") -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "keymote.cli", group, *map(str, words),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "KEYMOTE_MQTT_PASSWORD": PASSWORD},
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.close()
    return process


async def until_it_says(process: asyncio.subprocess.Process, word: bytes) -> None:
    assert process.stderr is not None
    said = b""
    async with asyncio.timeout(60):
        while word not in said:
            line = await process.stderr.readline()
            said += line
            assert line, said


async def entry(process: asyncio.subprocess.Process) -> dict[str, object]:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        line = await process.stdout.readline()
    found: dict[str, object] = json.loads(line)
    return found


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """Return exit code, stdout and stderr of a command that ends by itself and shows no traceback."""
    said, complained = await asyncio.wait_for(process.communicate(), 60)
    assert b"Traceback" not in complained
    return process.returncode, said.decode(), complained.decode()
