"""The manager's cells as its desks and services reach them through the host, and links that a backup left behind."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from keymote.engine.base import CellKey, Command, Report
from keymote.engine.faces import Revive
from keymote.host.async_host import AsyncHost

REVIVED_AT_ONCE: Final = 1024
"""Links that share a commit when a backup was put back."""


@dataclass(frozen=True, slots=True)
class HostCells:
    """`command` returns the reports of the step when what it changed is durable."""

    host: AsyncHost

    async def command(self, key: CellKey, command: Command) -> Sequence[Report]:
        return await self.host.command(key, command)

    def peek(self, key: CellKey) -> object:
        return self.host.driver.peek(key)


async def revive(host: AsyncHost, links: Sequence[CellKey]) -> None:
    """Lead every link out of the epochs of a backup, many in one commit; those that have left them stay where they are."""
    for start in range(0, len(links), REVIVED_AT_ONCE):
        await asyncio.gather(*(host.command(key, Revive()) for key in links[start : start + REVIVED_AT_ONCE]))
