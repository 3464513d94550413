"""Topics with a coordinator and a manager as processes, driven by the commands that people use; clients by the SDK."""

import asyncio
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from coordinators import keymote
from operators import Operator, operators

from keymote.device import Device
from keymote.device.config import read_config
from keymote.device.topic_client import TopicClient
from keymote.engine.topic.faces import KeyTaken
from keymote.storage.provisioning import read_client
from keymote.wire.admin import to_base64url

pytestmark = [pytest.mark.timeout(240), pytest.mark.long]
TOPIC = "ward/7/hr"


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with operators(tmp_path_factory.mktemp("ward"), 1) as (operator,):
        yield operator


async def run(*arguments: str) -> Any:
    """Return what a command prints, without stopping the clients in this process meanwhile."""
    said = await asyncio.to_thread(keymote, *arguments, "-o", "json")
    return json.loads(said.stdout)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110  nobody sets an event for it
            await asyncio.sleep(0.05)  # the pause of a poll with a deadline


async def test_TM13_TM15_topics_go_on_while_everything_is_killed_and_no_file_holds_a_key(
    ward: Operator, tmp_path: Path
) -> None:
    (role,) = ward.add_devices(1)
    role.enrolled()
    role.process.stop()  # the SDK is that device from here on
    path, here = tmp_path / "bed-7.client", ("--data", str(ward.folder / "nm"))
    there = ("--coordinator", str(ward.coordinator.folder), "--url", ward.coordinator.url)
    made = await run("manager", "client", "add", "bed 7", "--out", str(path), *here)
    assert path.stat().st_mode & 0o777 == 0o600
    pss = read_client(path).pss
    assert pss is not None
    assert to_base64url(pss.expose()) not in json.dumps(made)
    grants = ("--publish", made["client_id"], "--subscribe", role.id)
    await run("topic", "create", "ward/#", "--manager", "nm", *grants, *there)
    secrets = {pss.expose()}
    async with Device.open(read_config(role.config)) as nurse, TopicClient.open(path) as mote:
        nurse.node.observer = lambda _key, said: secrets.add(said.grant.SK) if isinstance(said, KeyTaken) else None
        keys = mote.topics.keys
        await mote.topics.ready_to_publish(TOPIC, 20)
        await nurse.topics.ready_to_subscribe(TOPIC, 20)
        assert nurse.topics.unprotect(TOPIC, keys.protect(TOPIC, b"71")).plaintext == b"71"
        ward.coordinator.stop(signal.SIGKILL)
        ward.manager.stop(signal.SIGKILL)
        assert nurse.topics.unprotect(TOPIC, keys.protect(TOPIC, b"72")).plaintext == b"72"  # nobody else is needed
        ward.manager.start()
        ward.coordinator.start()
        began = time.monotonic()
        await run("topic", "rotate", "ward/#", *there)
        await until(lambda: keys.standings()[0].epoch == 2)
        print(f"rotated in {time.monotonic() - began:.2f} s")
        assert nurse.topics.unprotect(TOPIC, keys.protect(TOPIC, b"73")).plaintext == b"73"
        removed = await run("manager", "client", "remove", "bed 7", *here)
        assert removed["state"] == "removed"
        assert (await run("manager", "client", "list", *here))["clients"] == []
    files = b"\n".join(
        file.read_bytes() for folder in (ward.folder, tmp_path) for file in folder.rglob("*") if file.is_file()
    )
    assert len(secrets) >= 3  # the PSS, and the keys of two epochs at least
    for secret in secrets:
        for form in (secret, secret.hex().encode(), to_base64url(secret).encode()):
            assert form not in files
