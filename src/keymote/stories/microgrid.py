"""Case study: a rural microgrid whose coordinator is out of reach (paper 001, 6.2), in real processes."""

import asyncio
import time
from typing import Any, Final

from keymote.errors import KeymoteError
from keymote.stories.processes import kill
from keymote.stories.street import WATCH_S, Group, Meter, refusal, until
from keymote.stories.telling import Timeline

READING: Final = "telemetry/energy"
LIMIT: Final = "control/limit"


async def day(group: Group, newcomer: Meter, line: Timeline, facts: dict[str, Any]) -> None:
    """Readings and a command by the morning's key; then, with the coordinator's process dead, a join and an eviction."""
    first, *others = group.members
    async with line.step("microgrid: readings", lambda: f"{len(group.members)} sealed readings, one signed limit"):
        for meter in group.members:
            group.send(meter, READING, f"{meter.name} 412 Wh", signed=False)
        group.send(first, LIMIT, "2 kW until 22:00")
        facts["limit_opened"] = await group.heard_by_all("2 kW until 22:00", others)
    before = await group.agreed()
    async with line.step("microgrid: coordinator off", lambda: "its process is killed; nothing below needs it"):
        assert group.street.office.coordinator is not None
        await kill(group.street.office.coordinator.process)
    async with line.step(
        "microgrid: join", lambda: f"{newcomer.name} was allowed beforehand; epoch {facts['joined_epoch']}"
    ):
        await asyncio.to_thread(newcomer.ask, "group.join", group=group.gid)
        group.members.append(newcomer)
        facts["joined_epoch"] = await group.agreed(before)
    facts["n"] = len(group.members)
    evicted = group.members.pop(1)
    async with line.step("microgrid: evict at the gateway", lambda: f"{evicted.name} out; epoch {facts['epoch']}"):
        await asyncio.to_thread(group.here, "evict", dev_id=evicted.dev_id)
        facts["epoch"] = await group.agreed(int(facts["joined_epoch"]))
    async with line.step("microgrid: refused", lambda: str(facts["refusal"])):
        group.send(first, LIMIT, "3 kW until 23:00")
        await group.heard_by_all("3 kW until 23:00", group.members[1:])
        facts["refusal"] = refusal(lambda: group.send(evicted, LIMIT, "9 kW for me"))
        facts["evicted_refused"] = bool(facts["refusal"]) and not _opened(group, evicted, "3 kW until 23:00")
    facts["key_ids"] = group.key_ids()
    facts["reports_buffered"] = group.here("show")["reports_waiting"]


async def link_returns(group: Group, line: Timeline, facts: dict[str, Any]) -> None:
    """Start the coordinator again, which hears of everything."""
    office = group.street.office
    async with line.step(
        "microgrid: link returns", lambda: f"{facts['reports_buffered']} reports uploaded, no conflict"
    ):
        office.coordinator = await group.street.cast.start(
            f"coordinator-{office.name}-again",
            *("coordinator", "run", "--data", str(office.folder / "coordinator"), "--port", str(office.port)),
            address="url",
        )
        await until(lambda: group.here("show")["reports_waiting"], lambda waiting: waiting == 0)
        view = await group.view()
        facts["epoch_reported"], facts["conflicts"] = view.epoch, [each.kind for each in view.conflicts]


async def revoke(group: Group, line: Timeline, facts: dict[str, Any]) -> None:
    """Revoke a meter at the coordinator, and wait until nobody waits for the key without it."""
    revoked = group.members.pop(1)
    async with line.step("microgrid: revoke", lambda: f"{revoked.name}: safe after {facts['time_to_safe_ms']} ms"):
        began = time.perf_counter()
        await group.street.cast.run("device", "revoke", revoked.dev_id, *_coordinator(group))
        await group.agreed(int(facts["epoch"]))
        facts["all_agreed_after_ms"] = round((time.perf_counter() - began) * 1000)
        facts["time_to_safe_ms"] = await _safe_after(group, revoked)


def _opened(group: Group, meter: Meter, text: str) -> bool:
    """Tell whether a meter has opened a message; one that has erased the group has nothing to show."""
    try:
        return any(each["text"] == text for each in group.heard(meter)[0])
    except KeymoteError:
        return False


async def _safe_after(group: Group, meter: Meter) -> int:
    """Wait until the coordinator says that a removal is safe; return after how many milliseconds it was."""
    deadline = time.monotonic() + WATCH_S
    while True:
        view = await group.view()
        for removal in view.removals:
            if removal.dev_id == meter.dev_id and removal.safe_after_ms is not None:
                return removal.safe_after_ms
        if time.monotonic() > deadline:
            return -1
        await asyncio.sleep(0.1)


def _coordinator(group: Group) -> tuple[str, ...]:
    office = group.street.office
    return ("--coordinator", str(office.folder / "coordinator"), "--url", office.url)
