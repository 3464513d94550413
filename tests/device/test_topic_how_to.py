"""The programs of docs/how-to/mqtt.md do what the page says, against a manager and the embedded broker."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from topic_commands import written
from trusted import TOPIC, Trusted, dev

from keymote.lab.scene_founding import two_operators
from keymote.transports.broker_amqtt import EmbeddedBroker

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "mqtt.md"
BOTH, SUBSCRIBE = 3, 2


@pytest.fixture
async def port() -> AsyncIterator[int]:
    broker = await EmbeddedBroker.start(lambda *_: True, lambda *_: True)
    yield broker.port
    await broker.close()


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Trusted]:
    scene = two_operators(b"ward", homes={"d1": "nm1"}, enrolled=False)
    ward = await Trusted(tmp_path, scene.managers["nm1"]).start()
    async with ward.stack:
        yield ward


async def started(program: str, folder: Path, port: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", program.replace("1883", str(port)), cwd=folder, stdout=asyncio.subprocess.PIPE
    )


async def test_TQ41_the_pages_programs_publish_and_read(ward: Trusted, port: int, tmp_path: Path) -> None:
    publisher, subscriber, paho, bare = re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    for number, name in ((1, "meter"), (2, "nurse")):
        written(await ward.label(number), tmp_path).rename(tmp_path / f"{name}.toml")
    await ward.grants((dev(1), BOTH), (dev(2), SUBSCRIBE))
    nurse = await started(subscriber, tmp_path, port)
    assert nurse.stdout is not None
    async with asyncio.timeout(60):
        assert await nurse.stdout.readline() == b"listening\n"
    outputs = []
    for program in (publisher, paho, bare):
        process = await started(program, tmp_path, port)
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0
        outputs.append(said)
    said, _ = await asyncio.wait_for(nurse.communicate(), 60)
    assert said.decode().splitlines() == [f"{TOPIC} {beats} of epoch 1" for beats in (72, 73, 71)]
    assert outputs[2] == b"35 bytes for your library\n"
