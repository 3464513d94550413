"""Devices as processes of their own, driven by the commands that people type; one is killed while it sends."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from ring import GID, Ring
from street import DEADLINE_S, Street

import keymote as keymote_package
from keymote.device.config import DeviceConfig
from keymote.engine.faces import Enrolled
from keymote.engine.group.faces import LeaveAsked, Locate, RingCommitted, ring_of
from keymote.engine.group.payload_faces import RecordPassed
from keymote.errors import Unavailable
from keymote.lab.scene_founding import two_operators
from keymote.transports.control import ControlClient
from keymote.wire import gsec
from keymote.wire.admin import to_base64url

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(keymote_package.__file__).parents[1])}
pytestmark = pytest.mark.long
KEYMOTE = (sys.executable, "-m", "keymote.cli")


@dataclass
class Role:
    """`keymote device run` of one configuration."""

    config: DeviceConfig
    file: Path
    process: asyncio.subprocess.Process | None = None
    address: str = ""

    @classmethod
    async def make(cls, street: Street, number: int) -> "Role":
        config = await street.label(number)
        file = street.folder / f"{number}.toml"
        named = {
            "id": config.id.hex(), "root": str(config.root), "state": str(config.state), "key_uri": config.key_uri,
            "code_file": str(config.code_file), "manager": config.manager,
        }  # fmt: skip
        file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in named.items()))
        return await cls(config, file).start()

    async def start(self) -> "Role":
        self.process = await asyncio.create_subprocess_exec(
            *KEYMOTE, "device", "run", "--config", str(self.file), stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, env=ENVIRONMENT,
        )  # fmt: skip
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            self.address = json.loads(await self.process.stdout.readline())["address"]
        return self

    async def end(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            await self.process.wait()
            self.process = None

    def ask(self, do: str, **arguments: object) -> object:
        with ControlClient(self.config.socket) as control:
            return control.ask(do, **arguments)

    @property
    def id(self) -> str:
        return self.config.id.hex()

    async def group(self, *words: str, stdin: bytes = b"") -> list[dict[str, object]]:
        """Run `keymote group WORDS --config ... -o json` and return the objects that it prints."""
        ran = await asyncio.create_subprocess_exec(
            *KEYMOTE, "group", *words, "--config", str(self.file), "-o", "json", stdout=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=ENVIRONMENT,
        )  # fmt: skip
        out, err = await ran.communicate(stdin)
        assert ran.returncode == 0, err.decode()
        return [json.loads(line) for line in out.decode().splitlines()]


@pytest.fixture
async def made(tmp_path) -> AsyncIterator[tuple[Ring, Role, Role]]:
    """Yield a group of two processes whose gateway lives in this one."""
    scene = two_operators(b"processes", homes={"d1": "nm1"}, enrolled=False)
    street = await Street(tmp_path, scene.managers["nm1"]).start()
    async with street.stack:
        ring = Ring(street, scene.operators["nc1"])
        roles = [await Role.make(street, number) for number in (1, 2)]
        for role in roles:
            street.stack.push_async_callback(role.end, signal.SIGKILL)
            await street.told(Enrolled, lambda report, role=role: report.dev_id.hex() == role.id)
            await ring.invite(role)
        await ring.lead(*roles)
        await street.told(RingCommitted, lambda report: report.epoch == 1)
        yield ring, *roles


def numbers(ring: Ring, sender: Role) -> dict[bytes, int]:
    """Return the records of one sender that have passed the gateway, and their numbers."""
    kid = ring.entry(sender).kid
    passed = [one for one in ring.street.reports if isinstance(one, RecordPassed) and one.kid == kid]
    return {one.record: gsec.read(one.record).seq for one in passed}


async def test_GF07_GF08_people_use_groups_by_commands(made) -> None:
    ring, a, b = made
    (listed,) = (await a.group("list"))[0]["groups"]
    assert (listed["gid"], listed["epoch"], listed["n"], listed["state"]) == (GID.hex(), 1, 2, "active")
    (sent,) = await a.group("send", "67a0", "telemetry/power", "3.2 kW")
    assert (sent["epoch"], sent["seq"], sent["signed"]) == (1, 0, False)
    (sent,) = await a.group("send", GID.hex(), "load/shed", "-", stdin=b"\x01\x02")
    assert (sent["seq"], sent["signed"]) == (1, True)
    heard = await b.group("tail", "67a0", "--count", "2", "--timeout", "10")
    assert [(one["kind"], one["text"], one["payload"], one["signed"]) for one in heard] == [
        ("message", "3.2 kW", to_base64url(b"3.2 kW"), False),
        ("message", None, to_base64url(b"\x01\x02"), True),
    ]
    await a.group("leave", "67a0")
    await ring.street.told(LeaveAsked, lambda report: report.kid == ring.entry(a).kid)


async def test_GF09_a_device_that_is_killed_while_it_sends_uses_no_number_twice(made) -> None:
    ring, a, b = made
    loop = asyncio.get_running_loop()

    def send_until_killed() -> int:
        sent = 0
        with suppress(Unavailable):
            while True:
                a.ask("group.send", group="67a0", resource="telemetry", payload=to_base64url(b"%d" % sent))
                sent += 1
        return sent

    for _ in range(2):
        seen = len(numbers(ring, a))
        sending = loop.run_in_executor(None, send_until_killed)
        await ring.street.told(RecordPassed, lambda _report, seen=seen: len(numbers(ring, a)) >= seen + 20)
        await a.end(signal.SIGKILL)
        assert await sending >= 19  # the gateway may pass the twentieth before its command has its answer
        await a.start()
        await ring.street.host.command(ring_of(GID), Locate({ring.entry(a).kid: a.address}))
    before = set(numbers(ring, a).values())
    last = await loop.run_in_executor(None, lambda: a.ask("group.send", group="67a0", resource="t", payload=""))
    used = numbers(ring, a)
    assert len(set(used.values())) == len(used), "two records share a number"
    assert last["seq"] not in before
    heard = await b.group("tail", "67a0", "--rejects", "--last", "256", "--timeout", "0.1")
    late = {one["code"] for one in heard if one["kind"] == "reject"}
    assert late <= {"E_REPLAY"}, "but for one that CoAP brought again when numbers had gone on by a block"
    opened = [one["seq"] for one in heard if one["kind"] == "message"]
    assert len(set(opened)) == len(opened) >= 40


async def test_GF08_the_commands_of_the_page_do_what_it_says(made) -> None:
    ring, a, b = made
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "groups.md").read_text()
    (commands, *_) = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for name, role in (("meter.toml", a), ("other.toml", b)):
        (ring.street.folder / name).symlink_to(role.file)
    environment = {**ENVIRONMENT, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "GROUP": "67a0"}
    ran = await asyncio.create_subprocess_exec(
        "bash", "-euc", commands, cwd=ring.street.folder, env=environment, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await ran.communicate()
    assert ran.returncode == 0, err.decode()
    printed = out.decode()
    for said in ("67a0000000000000", "telemetry/power  3.2 kW", "signed load/shed  2 kW", '"kind": "message"'):
        assert said in printed, printed
