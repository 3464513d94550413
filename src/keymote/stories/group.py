"""Scenario `group`: the two case studies of paper 001 on one street, every meter a process of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from keymote.stories import exchange, microgrid
from keymote.stories.processes import together
from keymote.stories.street import Street
from keymote.stories.telling import Teller, Timeline

METERS: Final = 15
HOMES: Final = 10
"""Members of the exchange at first; one more joins, one leaves."""


async def group(
    street: Street, tell: Teller, coordinator_is_free: Callable[[], Awaitable[object]]
) -> dict[str, object]:
    """Play both case studies and return the scenario's part of the demo's result.

    `coordinator_is_free`: returns when nobody else needs the street's coordinator, which is then stopped for a while.
    """
    line = Timeline(tell, street.traffic)
    facts: dict[str, Any] = {"roles": [meter.facts() for meter in street.meters]}
    trade: dict[str, Any] = {"sessions": [], "books_alike": True}
    *members, newcomer = street.meters
    async with line.step("groups form", lambda: f"n = {len(members)} by multicast, n = {HOMES} through the gateway"):
        grid, market = await asyncio.gather(
            street.create("microgrid", members, [newcomer], multicast=True),
            street.create("exchange", members[:HOMES], [newcomer], multicast=False),
        )
        await asyncio.gather(grid.agreed(), market.agreed())
    await exchange.session(market, line, trade)
    await coordinator_is_free()

    async def village() -> None:
        await microgrid.day(grid, newcomer, line, facts)
        await microgrid.link_returns(grid, line, facts)

    async def neighbourhood() -> None:
        await exchange.join(market, newcomer, line, trade)
        await exchange.session(market, line, trade)
        await exchange.leave(market, members[0], line, trade)

    await together(village(), neighbourhood())  # at once: a ring begins no run for a join within 10 s of the last
    await microgrid.revoke(grid, line, facts)
    facts["exchange"] = trade
    ok = (
        facts["evicted_refused"] is True
        and len(set(facts["key_ids"])) == 1
        and facts["time_to_safe_ms"] >= 0
        and facts["epoch_reported"] == facts["epoch"]
        and facts["conflicts"] == []
        and trade["books_alike"] is True
    )
    return {"name": "group", "ok": ok, "steps": line.views(), "facts": facts}
