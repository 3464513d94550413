"""How far the ring of a group has come: rosters that came into force, epochs that were confirmed, records that passed in them."""

from collections import Counter
from collections.abc import Callable

from keymote.engine.base import replace
from keymote.engine.group.faces import RingCommitted, RunStarted
from keymote.engine.group.ring_states import RingCell
from keymote.engine.policy.group_faces import Confirmed, Counted
from keymote.manager import group_reports as says
from keymote.manager.group_decisions import Decisions
from keymote.manager.group_keeping import Keeping
from keymote.manager.group_people import People
from keymote.manager.group_record import What
from keymote.manager.group_ring import RingAtHand


class Progress:
    """Each step is reported to the coordinator and told to the policy; `now` in UTC seconds, `now_ms` in UTC ms."""

    def __init__(
        self, kept: Keeping, people: People, ring: RingAtHand, decisions: Decisions, now: Callable[[], int]
    ) -> None:
        self._kept = kept
        self._people = people
        self._ring = ring
        self._decisions = decisions
        self._now = now
        self._began: dict[tuple[int, int], tuple[int, int]] = {}
        """(epoch, attempt) -> (when its START left in UTC ms, reason)."""
        self._sent: Counter[bytes] = Counter()

    async def catch_up(self, held: RingCell) -> None:
        """Report what the ring had reached when the manager stopped, if that was cut off."""
        if held.lasting.held.ver > self._kept.record.ver:
            await self.rostered(held.lasting.held.ver, held.lasting.roster)
        committed = self._ring.committed()
        if committed is not None and committed.epoch > self._kept.record.epoch:
            await self.confirmed(committed, self._now() * 1000)

    def started(self, run: RunStarted, now_ms: int) -> None:
        """A run has begun."""
        self._began[run.epoch, run.attempt] = now_ms, run.cause.reason

    async def confirmed(self, report: RingCommitted, now_ms: int) -> None:
        """Everybody on the roster holds the key of a new epoch."""
        began_ms, reason = self._began.pop((report.epoch, report.attempt), (now_ms, 0))
        self._began = {number: at for number, at in self._began.items() if number > (report.epoch, report.attempt)}
        self._sent.clear()
        record = replace(self._kept.record, epoch=max(self._kept.record.epoch, report.epoch))
        await self._kept.tell(says.epoch(report, self._ring.ver, reason, began_ms), record)
        await self._decisions.say(Confirmed(self._people.devices(report.kids)))
        await self._ring.renew_hedge()

    async def rostered(self, ver: int, roster: bytes) -> None:
        """A roster came into force; who is on it and was not named by the coordinator was let in here."""
        self._ring.ver = ver
        await self._kept.rostered(ver, roster)
        held = self._ring.held()
        if held is None or held.lasting.held.ver != ver:
            return  # a later one is in force already, and reported behind this one
        belongs = self._people.belonging()
        for member in sorted(self._people.devices(held.lasting.held.kids) & belongs.allowed - belongs.members):
            await self._kept.happened(What.JOINED, member, 0, says.joined(member, says.DEVICE))
        await self._decisions.say_roster()

    async def passed(self, kid: bytes) -> None:
        """A record of this sender passed in the present epoch."""
        self._sent[kid] += 1
        await self._decisions.say(Counted(self._sent[kid]))
