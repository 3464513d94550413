"""One thing shown again and again: a table that changes in place for people, a JSON object a line for programs."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from keymote.cli.output import Output

T = TypeVar("T")
Said = Callable[[T], Mapping[str, Any]]


async def watch(
    look: Callable[[], Awaitable[T]], as_json: Said[T], for_people: Said[T], *, every: float, times: int, output: Output
) -> None:
    """Show what `look` returns `times` times (0: until interrupted), `every` seconds apart."""
    if output is Output.JSON:
        async for view in _looks(look, every, times):
            print(json.dumps(as_json(view), ensure_ascii=False), flush=True)
        return
    from rich.console import Group
    from rich.live import Live

    from keymote.cli.output import tables

    with Live(auto_refresh=False) as live:
        async for view in _looks(look, every, times):
            live.update(Group(*tables(for_people(view))), refresh=True)


async def _looks(look: Callable[[], Awaitable[T]], every: float, times: int) -> AsyncIterator[T]:
    done = 0
    while True:
        yield await look()
        done += 1
        if done == times:
            return
        await asyncio.sleep(every)
