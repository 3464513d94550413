"""Scenario `pair`: two devices of two operators get one key, use it with other people's software, and lose it."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from keymote.coordinator.app.directory import token_in
from keymote.errors import Unavailable
from keymote.stories.offices import Office, appoint, authority_of, open_offices
from keymote.stories.processes import Cast, Role, free_port
from keymote.stories.street import METER
from keymote.stories.telling import Teller, Timeline
from keymote.transports.control import ControlClient
from keymote.transports.http_operator import OperatorClient
from keymote.wire import admin

READING: Final = "21.5 C"
RESOURCE: Final = "temperature"
_WATCH_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.01
_CLIENT_S: Final = 30.0


@dataclass(slots=True)
class Operator(Office):
    """One operator's part of the world, with its device."""

    device: Role | None = None
    dev_id: str = ""
    listen: tuple[str, ...] = ()

    @property
    def config(self) -> Path:
        return self.folder / "device.toml"

    def ask(self, do: str, **arguments: object) -> Any:
        """Ask this operator's device over its control socket, as `keymote pair` does."""
        with ControlClient(self.folder / "device.state" / "control.sock") as device:
            return device.ask(do, **arguments)


@dataclass(slots=True)
class Story:
    """The state of the telling."""

    cast: Cast
    tell: Teller
    line: Timeline = field(init=False)
    north: Operator = field(init=False)
    south: Operator = field(init=False)
    group: str = ""

    def __post_init__(self) -> None:
        folder = self.cast.folder
        self.line = Timeline(self.tell, self.traffic)
        self.north = Operator("north", folder / "north", free_port())
        self.south = Operator("south", folder / "south", free_port())
        self.group = f"224.0.1.187:{free_port()}"

    @property
    def operators(self) -> tuple[Operator, Operator]:
        return self.north, self.south

    def traffic(self) -> tuple[int, int]:
        """Return UDP payloads and bytes at both devices so far."""
        messages = octets = 0
        for operator in self.operators:
            if operator.device is not None:
                status = operator.ask("status")
                messages, octets = messages + status["messages"], octets + status["bytes"]
        return messages, octets


async def prepare(story: Story) -> None:
    """Set the world up: two operators under one authority, with a manager and a device each."""
    await _institutions(story)
    await _managers(story)
    await _devices(story)


async def pair(story: Story) -> dict[str, object]:
    """Play the scenario in a prepared world and return its part of the demo's result."""
    roles = [role for role in story.cast.roles if not role.name.startswith(METER)]
    facts: dict[str, object] = {"roles": [role.facts() for role in roles]}
    await _agree(story, facts)
    await _talk(story, facts)
    await _revoke(story, facts)
    ok = (
        facts["key_id_initiator"] == facts["key_id_responder"]
        and facts["oscore_ok"] is True
        and facts["refused_after_revocation"] is True
        and facts["oscore_refused_after_revocation"] is True
    )
    return {"name": "pair", "ok": ok, "steps": story.line.views(), "facts": facts}


async def _both(story: Story, work: Callable[[Operator], Awaitable[object]]) -> None:
    await asyncio.gather(*(work(operator) for operator in story.operators))


# ------------------------------------------------------------------ the world is set up as an operator would


async def _institutions(story: Story) -> None:
    async with story.line.step("authority and coordinators", lambda: "one offline root certifies two coordinators"):
        await open_offices(story.cast, story.operators)


async def _managers(story: Story) -> None:
    async with story.line.step("managers enrol", lambda: "the procedure of devices, at their coordinators"):
        await _both(story, lambda operator: appoint(story.cast, operator, "--port", "0", *operator.listen))


async def _devices(story: Story) -> None:
    cast = story.cast
    root = authority_of(cast) / "root.pin"

    async def expect(operator: Operator) -> None:
        labels = operator.folder / "labels.csv"
        await cast.run("device", "labels", "--count", "1", "--to", str(labels))
        reading = operator.folder / "reading"
        reading.write_text(READING)
        assert operator.manager is not None
        made = await cast.run(
            *("device", "init", str(labels), "--dir", str(operator.folder), "--root", str(root)),
            *("--manager", operator.manager.address, "--serve", f"{RESOURCE}={reading}"),
        )
        operator.dev_id = made["id"]
        await cast.run("device", "import", str(labels), "--data", str(operator.folder / "manager"))

    async def enrol(operator: Operator) -> None:
        operator.device = await cast.start(
            f"device-{operator.name}", "device", "run", "--config", str(operator.config), address="address"
        )
        await asyncio.to_thread(operator.ask, "enrolled", timeout_s=15)

    async with story.line.step("devices enrol", lambda: "a one-time code each, never on the air"):
        await _both(story, expect)
        await _both(story, enrol)


# ------------------------------------------------------------------ the key


async def _agree(story: Story, facts: dict[str, object]) -> None:
    north, south = story.operators
    async with story.line.step("one key", lambda: f"key_id {facts['key_id_initiator']} on both sides"):
        opened = await asyncio.to_thread(north.ask, "pair.open", peer=south.dev_id, timeout_s=15)
        listed = await _until(lambda: south.ask("pair.list"), bool)
        facts["key_id_initiator"], facts["psid"] = opened["key_id"], opened["psid"]
        facts["key_id_responder"] = next((row["key_id"] for row in listed if row["psid"] == opened["psid"]), None)


async def _talk(story: Story, facts: dict[str, object]) -> None:
    """Let the stock client of aiocoap, a process of its own, read the peer's resource with the exported context."""
    north, south = story.operators
    assert south.device is not None
    keys = story.cast.folder / "keys"
    uri = f"{south.device.address}/{RESOURCE}"
    async with story.line.step(
        "talk by OSCORE", lambda: f"aiocoap-client reads {facts['oscore_reading']!r} of the other device"
    ):
        await asyncio.to_thread(
            north.ask,
            "pair.export",
            psid=facts["psid"],
            to="aiocoap",
            directory=str(keys),
            peer=south.device.address,
        )
        said = await _client("--credentials", str(keys / "credentials.json"), uri)
        facts["oscore_reading"] = said
        facts["oscore_ok"] = said == READING
    facts["refused_without_oscore"] = await _client(uri) != READING
    facts["uri"] = uri


async def _revoke(story: Story, facts: dict[str, object]) -> None:
    """Revoke the south's device at its coordinator and watch the north lose what it shared with it."""
    north, south = story.operators
    # a second session shows the end at a peer that still holds it: the first was handed over to aiocoap-client
    opened = await asyncio.to_thread(north.ask, "pair.open", peer=south.dev_id, timeout_s=15)
    office = south.folder / "coordinator"
    operator = OperatorClient(south.url, office / "ca.pem", token_in(office / "token"))
    await operator.get("/revocations", admin.RevocationPage)  # connected: what is timed below is the revocation alone

    async def ended() -> float:
        await _until(lambda: north.ask("pair.list"), lambda rows: all(row["psid"] != opened["psid"] for row in rows))
        return time.perf_counter()

    async with story.line.step("revoke", lambda: f"the peer's session ended after {facts['revoked_after_ms']} ms"):
        watching = asyncio.create_task(ended())
        began = time.perf_counter()
        await operator.send("POST", "/revocations", admin.Revoke("device", south.dev_id, 2), admin.RevocationView)
        facts["revoked_after_ms"] = round((await watching - began) * 1000)
    await operator.close()
    async with story.line.step("refused", lambda: str(facts["refusal"])):
        try:
            await asyncio.to_thread(north.ask, "pair.open", peer=south.dev_id, timeout_s=10)
            facts["refused_after_revocation"], facts["refusal"] = False, "a new session opened"
        except Exception as refusal:  # noqa: BLE001  whatever the device says is what the story tells
            facts["refused_after_revocation"], facts["refusal"] = True, str(refusal)
        keys = story.cast.folder / "keys" / "credentials.json"
        credentials = ("--credentials", str(keys)) if keys.exists() else ()
        facts["oscore_refused_after_revocation"] = await _client(*credentials, str(facts["uri"])) != READING


async def _until(look: Callable[[], Any], seen: Callable[[Any], bool]) -> Any:
    """Look until it is as wanted; Unavailable when it stays otherwise."""
    deadline = time.monotonic() + _WATCH_S
    while True:
        found = await asyncio.to_thread(look)
        if seen(found):
            return found
        if time.monotonic() > deadline:
            raise Unavailable("what the story waits for did not happen")
        await asyncio.sleep(_LOOK_EVERY_S)


async def _client(*arguments: str) -> str:
    """Return what aiocoap's stock client prints, "" when it fails or is not answered."""
    program = Path(sys.executable).with_name("aiocoap-client")
    process = await asyncio.create_subprocess_exec(
        str(program), "-q", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_CLIENT_S):
            out, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return out.decode(errors="replace").strip() if process.returncode == 0 else ""
