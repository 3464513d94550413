"""What a gateway keeps of a group and tells its coordinator: the record, the hedges and the reports, each before it counts."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from keymote.crypto.entropy import Entropy, SystemEntropy
from keymote.engine.base import replace
from keymote.engine.context import Membership
from keymote.engine.group.charter import Keys
from keymote.host.ports import Write
from keymote.manager import group_reports as says
from keymote.manager.group_hedge import Hedges
from keymote.manager.group_log import GroupLog, Make
from keymote.manager.group_record import GroupRecord, Here, What
from keymote.manager.group_records import Passed

MOST_REFUSED: Final = 1024
REFUSALS_S: Final = 3600
"""Between two reports that the same device was refused."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a group has around it. `place`: our multicast group as an INVITE says it, empty without one; `now` in UTC seconds.

    `membership` is what this manager is now, `keys` examines signature keys, `keep` puts a group's record or its hedges on
    disk. `generation` counts how often this manager was restored from a backup; `entropy` is what hedges are drawn from. `passed`
    takes what is for the group's encrypted log, and how many records that keeps.
    """

    nm_id: str
    place: bytes
    membership: Callable[[], Membership]
    keys: Keys
    now: Callable[[], int]
    keep: Callable[[GroupRecord | Hedges], Awaitable[None]]
    generation: int = 0
    entropy: Entropy = field(default_factory=SystemEntropy)
    passed: Callable[[bytes, Passed, int], None] = lambda _gid, _record, _keep: None


class Keeping:
    """The record and the hedges of one group, and its part of the log of reports."""

    def __init__(self, record: GroupRecord, hedges: Hedges, log: GroupLog, around: Surroundings) -> None:
        self.record = record
        self.hedges = hedges
        self._log = log
        self._around = around
        self._refused: dict[bytes, int] = {}

    @property
    def gid(self) -> bytes:
        return self.record.gid

    @property
    def is_restored(self) -> bool:
        """Whether the ring is that of a backup, and its members may have gone on without us knowing."""
        return self.record.generation < self._around.generation

    @property
    def leads(self) -> bool:
        """Whether this manager is the group's gateway, as far as it knows; otherwise it only invites its own devices."""
        charter = self.record.charter
        return charter is not None and charter.nm_id == self._around.nm_id

    async def put(self, record: GroupRecord) -> None:
        """Write a record, also one that is held already: an earlier commit may have failed."""
        self.record = record
        await self._around.keep(record)

    async def happened(self, what: What, dev_id: bytes, reason: int, make: Make) -> None:
        """Note and report, in one commit, something that the coordinator has not said."""
        kept: list[GroupRecord] = []

        def noted(seq: int) -> list[Write]:
            kept.append(self.record.happened(Here(seq, what, dev_id, reason)))
            return [kept[0].row]

        await self._log.add(self.record.gid, self._around.now() * 1000, make, noted)
        self.record = kept[0]

    async def tell(self, make: Make, record: GroupRecord | None = None) -> None:
        """Report, and in the same commit keep a record that changed with it."""
        if record is not None:
            self.record = record
        rows = [] if record is None else [record.row]
        await self._log.add(self.record.gid, self._around.now() * 1000, make, lambda _seq: rows)

    async def rostered(self, ver: int, roster: bytes) -> None:
        """Report a roster that came into force."""
        await self.tell(says.roster(roster), replace(self.record, ver=max(ver, self.record.ver)))

    async def refuse(self, dev_id: bytes | None, why: str) -> None:
        """Report a refusal, of one device once an hour."""
        now, who = self._around.now(), why.encode() if dev_id is None else dev_id
        if len(self._refused) >= MOST_REFUSED:
            self._refused.clear()
        if self._refused.get(who, -REFUSALS_S) + REFUSALS_S > now:
            return
        self._refused[who] = now
        logger.warning("refused", extra={"gid": self.record.gid, "subject": who, "what": why})
        if self.leads:
            await self.tell(says.refused(why, dev_id))

    async def keep_hedges(self, hedges: Hedges) -> None:
        if hedges != self.hedges:
            await self._around.keep(hedges)
            self.hedges = hedges

    async def keep(self, record: GroupRecord) -> None:
        if record != self.record:
            self.record = record
            await self._around.keep(record)
