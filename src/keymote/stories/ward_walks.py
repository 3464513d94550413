"""Scenario `topic`: patients walk between three brokers that read nothing, and a caregiver misses nothing (paper 002)."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from keymote.stories.offices import Office
from keymote.stories.processes import Cast, together
from keymote.stories.telling import Teller, Timeline
from keymote.stories.ward import BROKERS, Ward

PATIENTS: Final = 3
MOVES: Final = 12


async def ward(
    cast: Cast,
    office: Office,
    tell: Teller,
    prepared: Callable[[], object],
    patients: int = PATIENTS,
    moves: int = MOVES,
) -> dict[str, object]:
    """Play the scenario and return its part of the demo's result. `prepared`: called when it needs the coordinator no more."""
    story = Ward(cast, office, [[f"p{number}"] for number in range(1, patients + 1)])
    line = Timeline(tell, story.traffic)
    facts: dict[str, Any] = {}
    try:
        try:
            async with line.step("ward: rules and brokers", lambda: f"{len(BROKERS)} brokers, {patients} patients"):
                await story.prepare()
        finally:
            prepared()
        async with line.step("ward: patients come in", lambda: "by tickets of the trusted system"):
            await story.open()
        async with line.step("ward: walks", lambda: f"{story.moves} moves, alarms on the way"):
            walks = await together(*(story.walk(name, moves // patients) for name in story.names))
            facts["moves_told"] = await story.told()
        async with line.step("ward: logs are compared", lambda: _counted(facts)):
            facts["counts"] = await story.stop()
            tally = await story.tally()
            facts |= {"lost": tally.lost, "duplicates": tally.twice, "out_of_order": tally.out_of_order}
            facts |= {"moves": story.moves, "readings": tally.due, "strange": tally.strange}
        async with line.step(
            "ward: brokers are searched", lambda: f"{facts['searched']['traffic_bytes']} B of traffic"
        ):
            pids = [broker.role.pid for broker in story.brokers if broker.role is not None]
            searched = facts["searched"] = await asyncio.to_thread(story.saw, pids)
    finally:
        await story.close()
    facts |= {
        "roles": [role.facts() for role in story.roles],
        "handed_over": sum(each["by"] == "hand-over" for walk in walks for each in walk),
        "hand_over_ms": sorted(each["ms"] for walk in walks for each in walk if each["by"] == "hand-over"),
        "broker_saw_plaintext": bool(
            searched["memory"] or searched["files"] or searched["logs"] or searched["traffic"]
        ),
    }
    ok = (
        facts["moves"] == facts["moves_told"] == moves
        and facts["readings"] > 0
        and (facts["lost"], facts["duplicates"], facts["out_of_order"], facts["strange"]) == (0, 0, 0, 0)
        and facts["broker_saw_plaintext"] is False
        and searched["finds"] is not False
    )
    return {"name": "topic", "ok": ok, "steps": line.views(), "facts": facts}


def _counted(facts: Mapping[str, Any]) -> str:
    return f"{facts['readings']} readings, {facts['lost']} lost, {facts['duplicates']} opened twice"
