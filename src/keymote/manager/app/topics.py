"""The topics of a manager at work: charters come in, reports go out, and one worker does one thing after the other."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.engine.base import Peer, Report
from keymote.engine.faces import DeviceRevoked, Enrolled, LinkSeen
from keymote.engine.link_cell import LinkCell
from keymote.engine.link_faces import link_to_device
from keymote.engine.policy.topic_events import TopicEvent
from keymote.engine.topic.faces import ResumeClient, TicketFor, TicketTerms, WhoMay, client_of
from keymote.engine.topic.system_state import ClientCell
from keymote.errors import KeymoteError, Unavailable
from keymote.host.topic_desk import TopicDesk as Coordinator
from keymote.manager.app.admitted import admitted
from keymote.manager.app.jobs import Job, Jobs
from keymote.manager.app.own import quietly
from keymote.manager.app.shelf import Rows, StoreShelf
from keymote.manager.group_invitations import Cells
from keymote.manager.topic_clients import FileClient, TopicClients
from keymote.manager.topic_log import TopicLog
from keymote.manager.topics import TopicSteward
from keymote.storage.provisioning import write_new

SYNC_S: Final = 5.0
"""Pause before a coordinator that did not answer is asked again."""

logger = logging.getLogger(__name__)

Boxes = Callable[[Peer, bytes], None]
"""Hears where a client without a link listens, and under which name it fetches what could not be brought there."""
Tickets = Callable[[bytes], TicketTerms | None]
"""What a client's ticket says, by its id; None: it gets none."""


def _no_tickets(_client: bytes) -> TicketTerms | None:
    return None


def _no_boxes(_peer: Peer, _name: bytes) -> None:
    return None


class TopicService:
    """Every method belongs to the thread of the running loop."""

    def __init__(
        self,
        cells: Cells,
        rows: Rows,
        coordinator: Callable[[], Coordinator],
        entropy: Entropy,
        *,
        address: Peer,
        suite: int,
        generation: int = 0,
        tickets: Tickets = _no_tickets,
        boxes: Boxes = _no_boxes,
    ) -> None:
        shelf = StoreShelf(rows)
        self._cells = cells
        self._coordinator = coordinator
        self._suite = suite
        self._generation = generation
        self._doubtful = generation > 0
        """Chains may still be those of a backup: no request is answered."""
        self._boxes = boxes
        self.tickets = tickets
        self._log = TopicLog(shelf, generation)
        self.steward: Final = TopicSteward(cells, shelf, self._log)
        self.clients: Final = TopicClients(cells, shelf, self._log, entropy, _now_ms, address, write_new)
        self._jobs = Jobs("topics", self._resume, after=self._sync_soon)
        self._heard: list[tuple[int, Report]] = []
        self._sync_wanted = asyncio.Event()
        self._syncing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Go on where the manager stopped, and ask what has changed since."""
        self._jobs.put(self._resume)
        for client in self.clients.all():
            self._name_box(client.client_id)
        for work in (self._jobs.work(), self._sync()):
            self._tasks.append(asyncio.get_running_loop().create_task(work))
        self._sync_wanted.set()

    async def close(self) -> None:
        for task in self._tasks:
            await quietly(task)

    @property
    def waiting(self) -> int:
        """How many reports the coordinator has not taken yet."""
        return len(self._log)

    @property
    def faults(self) -> int:
        """How many bugs were survived."""
        return self._jobs.faults

    async def _resume(self) -> None:
        """Go on with what is on disk; where a backup was put back, with nothing of it that was secret."""
        if await self.steward.forget_former_life(self._generation):
            for client in self.clients.all():
                await self.clients.forget(client)
            logger.warning(
                "a backup was put back: devices must be enrolled anew for topics, and file clients made anew"
            )
        self._doubtful = False
        await self.steward.resume()

    # ------------------------------------------------------------------ what the engine asks

    def answer(self, query: object, answer: Callable[[object], None]) -> bool:
        """Answer a question about topics; False for any other."""
        match query:
            case WhoMay() | TicketFor() if self._doubtful:
                answer(Unavailable("a backup was put back a moment ago", do="ask again"))
            case WhoMay(client, topic, _):
                self._name_box(client)
                answer(self.steward.terms(topic))
            case TicketFor(client):
                answer(self.tickets(client))
            case _:
                return False
        return True

    # ------------------------------------------------------------------ what happens

    def heard(self, report: Report) -> None:
        """Take in a report of the cells; it is worked off after those before it."""
        match report:
            case LinkSeen(client, peer) if self._cells.peek(client_of(client)) is not None:
                self._jobs.put(partial(self._seen, client, peer))
            case DeviceRevoked(client, _):
                self._jobs.put(partial(self.steward.changed, client))
            case Enrolled(client):
                self._jobs.put(partial(self.steward.enrolled, client))
            case _ if isinstance(report, TopicEvent):
                if not self._heard:
                    self._jobs.put(self._take_in)
                self._heard.append((_now_ms(), report))

    async def _take_in(self) -> None:
        """Keep what was heard since, in one commit."""
        heard, self._heard = self._heard, []
        await self.steward.hear([report for _, report in heard], heard[0][0])

    def _name_box(self, client: bytes) -> None:
        """Say under which name a client fetches what waits for it: the pseudonym of its link, or without one its id."""
        cell, link = self._cells.peek(client_of(client)), self._cells.peek(link_to_device(client))
        if isinstance(cell, ClientCell) and cell.at:
            self._boxes(cell.at, link.keys.lid if isinstance(link, LinkCell) else client)

    async def _seen(self, client: bytes, peer: Peer) -> None:
        await self._cells.command(client_of(client), ResumeClient(peer))

    async def standing_changed(self, client: bytes) -> None:
        """A device was suspended or taken back; return when its topics know."""
        await self.do(partial(self.steward.changed, client))

    async def changed(self) -> None:
        """The coordinator has changed something about our topics; return when it was acted on.

        Raises:
            Unavailable: it cannot be asked now, or the store cannot keep what it says.
        """
        await self._exchange(fetch=True)

    # ------------------------------------------------------------------ what an operator wants here

    async def add_client(self, name: str, path: Path) -> FileClient:
        """Make a client and its provisioning file; errors as `TopicClients.add`."""
        made: list[FileClient] = []

        async def add() -> None:
            made.append(await self.clients.add(name, path, self._suite))

        await self.do(add)
        return made[0]

    async def remove_client(self, name: str) -> FileClient:
        """Forget a client of a provisioning file, and take every topic from it at once."""
        client = self.clients.named(name)

        async def remove() -> None:
            await self.steward.put_out(client.client_id)
            await self.clients.forget(client)

        await self.do(remove)
        return client

    async def do(self, job: Job) -> None:
        """Do this after what happened before it; raises what it raises."""
        await self._jobs.do(job)

    # ------------------------------------------------------------------ the coordinator

    def _sync_soon(self) -> None:
        if self._log:
            self._sync_wanted.set()

    async def _sync(self) -> None:
        """Hand in what waits whenever there is something and the coordinator answers; fetch the charter once after a start."""
        fetch = True
        while True:
            await self._sync_wanted.wait()
            self._sync_wanted.clear()
            try:
                await self._exchange(fetch=fetch)
                fetch = False
            except Unavailable:
                await asyncio.sleep(SYNC_S)
                self._sync_wanted.set()
            except KeymoteError as fault:
                logger.error("topics were not exchanged with the coordinator: %s", fault)

    async def _exchange(self, *, fetch: bool) -> None:
        """Hand in reports, and only then fetch the charter: it covers what was handed in.

        What begins by it is handed in before the change is acknowledged: an acknowledgement with nothing behind it says that
        nothing had to be rotated.
        """
        async with self._syncing:
            await self._hand_in()
            if fetch:
                charter = await admitted(self._coordinator().topic_charter())
                await self.do(partial(self.steward.adopt, charter))
                await self.do(_heard)
                await self._hand_in()

    async def _hand_in(self) -> None:
        while batch := self._log.oldest():
            upto, refused = await admitted(self._coordinator().report_topics(batch))
            for item in refused:
                logger.warning("a report on topics is not believed", extra={"seq": item.seq, "what": item.why})
            if upto > batch[-1].seq:
                await self.do(partial(self._log.go_on_above, upto))
            else:
                await self.do(partial(self._log.settle, upto))
            if upto < batch[-1].seq:
                raise Unavailable("the coordinator took no reports on topics", do="hand them in again")


async def _heard() -> None:
    """Do nothing: by its turn every report that came before was heard."""


def _now_ms() -> int:
    return int(time.time() * 1000)
