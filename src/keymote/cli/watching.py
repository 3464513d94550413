"""One thing shown once, or again and again: a table that changes in place for people, a JSON object a line for programs."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar

import typer

from keymote.cli.output import Output, show

T = TypeVar("T")
Said = Callable[[T], Mapping[str, Any]]

WatchOption = Annotated[bool, typer.Option("--watch", "-w", help="Look again and again, until stopped.")]
EveryOption = Annotated[float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="Between two looks.")]
TimesOption = Annotated[int, typer.Option(min=0, help="End after so many looks; 0: never.")]


async def show_looks(
    look: Callable[[], Awaitable[T]],
    as_json: Said[T],
    for_people: Said[T],
    *,
    again: bool,
    every: float,
    times: int,
    output: Output,
) -> None:
    """Show what `look` returns: once, or `again` `times` times (0: until interrupted), `every` seconds apart."""
    if not again:
        view = await look()
        show(as_json(view) if output is Output.JSON else for_people(view), output)
        return
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
