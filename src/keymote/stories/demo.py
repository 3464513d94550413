"""The whole demo in one world: its scenarios share what is set up, and the others go on where one waits."""

import asyncio
from dataclasses import replace
from pathlib import Path

from keymote.stories.group import METERS, group
from keymote.stories.nursery import Nursery
from keymote.stories.offices import authority_of
from keymote.stories.pair import Story, pair, prepare
from keymote.stories.processes import Cast, own_environment, together
from keymote.stories.street import Street
from keymote.stories.telling import Step, Teller
from keymote.stories.ward_walks import ward


async def play(folder: Path, tell: Teller) -> list[dict[str, object]]:
    """Play every scenario in `folder` and return their parts of the demo's result, in the order of their telling."""
    async with await Nursery.open(own_environment()) as nursery, Cast(folder, nursery) as cast:
        story = Story(cast, tell)
        story.north.listen = ("--group", story.group)
        await prepare(story)
        async with story.line.step("meters enrol", lambda: f"{METERS} processes"):
            street = await Street.built(cast, story.north, authority_of(cast) / "root.pin", METERS)
        paired, ruled = asyncio.Event(), asyncio.Event()

        async def first() -> dict[str, object]:
            try:
                return await pair(story)
            finally:
                paired.set()

        async def coordinator_is_free() -> None:
            await paired.wait()
            await ruled.wait()

        return await together(
            first(),
            group(street, _indented(tell), coordinator_is_free),
            ward(cast, story.north, _indented(tell), ruled.set),
        )


def _indented(tell: Teller) -> Teller:
    """Return a teller whose lines are told apart from those of the scenario beside it."""

    def say(step: Step) -> None:
        tell(replace(step, name=f"  {step.name}"))

    return say
