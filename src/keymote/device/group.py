"""A group of devices with one key, as an application of one of them holds it.

group = device.group()
await group.send("telemetry/power", b"3.2 kW")
async for message in group.messages():
...
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from keymote.device.faults import NotReady, refused_by_group
from keymote.errors import CallerFault, PeerFault

if TYPE_CHECKING:
    from keymote.device.groups import (  # load the protocols: when a device opens, not when it is imported
        GroupStanding,
        Stand,
    )
    from keymote.engine.base import Command, Report
    from keymote.engine.group.payload_faces import GroupOpened, RecordHeld, RecordRefused

MAX_PLAINTEXT: Final = 1024
"""Bytes of one record (Triad-1 3.8)."""
MAX_KEPT: Final = 256
"""Messages, and refusals, that are kept for who has not read them; beyond, the oldest is dropped."""
READY_S: Final = 60.0

E = TypeVar("E")


class Kept(Generic[E]):
    """The newest `most` of a stream, numbered from 0; any number of readers, each at its own place."""

    def __init__(self, most: int = MAX_KEPT) -> None:
        self._entries: deque[E] = deque(maxlen=most)
        self._changed = asyncio.Event()
        self.following = 0
        """Number of the next entry."""
        self.ended = False

    def put(self, entry: E) -> None:
        self._entries.append(entry)
        self.following += 1
        self._wake()

    def end(self) -> None:
        """Let those who wait go: nothing more will come."""
        self.ended = True
        self._wake()

    def first(self, number: int) -> tuple[int, E] | None:
        """Return the oldest kept entry from `number` on, and its number; None when there is none yet."""
        oldest = self.following - len(self._entries)
        at = max(number, oldest)
        return None if at >= self.following else (at, self._entries[at - oldest])

    async def beyond(self, number: int) -> None:
        """Return when there is an entry of this number or the stream has ended."""
        while self.following <= number and not self.ended:
            await self._changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


@dataclass(frozen=True, slots=True)
class Sent:
    """A record that has left: under which epoch, and its number there, which no other record of this device has."""

    epoch: int
    seq: int
    signed: bool
    octets: int


class GroupNode(Protocol):
    """What a group needs of the node that it belongs to."""

    def standing(self, gid: bytes) -> "GroupStanding": ...

    async def order_group(self, gid: bytes, command: "Command") -> "Sequence[Report]":
        """Return what a membership says to a command, when what it changed is durable; Unavailable when it cannot be."""
        ...


class Group:
    """One group that this device was invited to; see `Device.group`."""

    def __init__(self, node: GroupNode, gid: bytes) -> None:
        self._node = node
        self._gid = gid
        self._read = 0
        self.id: Final = gid.hex()
        self.opened: Final[Kept[GroupOpened]] = Kept()
        """What members have sent; `messages` reads it."""
        self.refused: Final[Kept[RecordRefused | RecordHeld]] = Kept()
        """What came in the group's name and was refused, or is held until its epoch is confirmed."""
        self.rejects: Final[Counter[str]] = Counter()
        """Refused records by the name of the error."""
        self.changes: Final[Kept[None]] = Kept()

    def __repr__(self) -> str:
        standing = self._node.standing(self._gid)
        return f"<Group {self.id}, epoch {standing.epoch}, key {standing.key_id.hex()}, {standing.state}>"

    @property
    def state(self) -> "Stand":
        return self._node.standing(self._gid).state

    @property
    def epoch(self) -> int:
        """The epoch in which this device sends; 0 before the first."""
        return self._node.standing(self._gid).epoch

    @property
    def key_id(self) -> str:
        """16 hex digits, equal at all who hold the same key; "" before the first epoch."""
        return self._node.standing(self._gid).key_id.hex()

    async def ready(self, timeout_s: float = READY_S, *, epoch: int = 1) -> int:
        """Return the epoch in use as soon as it is at least `epoch`.

        Raises:
            NotReady: no such epoch was confirmed in this time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while self.epoch < epoch and not self.changes.ended:
                    await self.changes.beyond(self.changes.following)
        except TimeoutError as error:
            raise NotReady(f"no epoch {epoch} of the group after {timeout_s:g} s: {self.state}") from error
        if self.epoch < epoch:
            raise NotReady("the device was stopped", do="open it again")
        return self.epoch

    async def send(self, resource: str, payload: bytes, *, signed: bool = False) -> Sent:
        """Seal up to 1024 bytes for `resource` and send them to all other members; nobody acknowledges.

        `resource` is a path such as "telemetry/power". Records for others than the group's telemetry are commands and
        signed anyway.

        Raises:
            NotReady: no epoch of the group is confirmed here.
            Expired: this device's numbers in this epoch are used up; the group must rekey.
            CallerFault: too long, or not a resource.
        """
        from keymote.engine.group.payload_faces import GroupProtected, SendToGroup
        from keymote.wire import gsec
        from keymote.wire.group_record import check_resource

        if len(payload) > MAX_PLAINTEXT:
            raise CallerFault(f"{len(payload)} bytes, a record takes at most {MAX_PLAINTEXT}", do="send it in parts")
        try:
            check_resource(resource)
        except PeerFault as fault:
            raise CallerFault(fault.what, do=fault.do or "write it as telemetry/power") from fault
        for report in await self._order(SendToGroup(bytes(payload), resource, signed)):
            if isinstance(report, GroupProtected):
                record = gsec.read(report.record)
                return Sent(report.epoch, record.seq, record.countersignature is not None, len(report.record))
        raise NotReady("the device could not send", do="see its log")

    async def messages(self) -> "AsyncGenerator[GroupOpened, None]":
        """Yield what members send, verified, each once, until the device is closed.

        All who iterate share one place: what one got, no other gets. At most 256 wait.
        """
        while True:
            found = self.opened.first(self._read)
            if found is not None:
                number, opened = found
                self._read = number + 1
                yield opened
            elif self.opened.ended:
                return
            else:
                await self.opened.beyond(self._read)

    async def join(self) -> None:
        """Ask the gateway to be let in, again and again until a run begins with this device; `ready` tells."""
        from keymote.engine.group.faces import AskToJoin

        await self._order(AskToJoin())

    async def leave(self) -> None:
        """Ask the gateway to be let go, until a roster without this device arrives: its keys are then erased here."""
        from keymote.engine.group.faces import AskToLeave

        await self._order(AskToLeave())

    async def _order(self, command: "Command") -> "Sequence[Report]":
        from keymote.engine.base import Refused

        reports = await self._node.order_group(self._gid, command)
        for report in reports:
            if isinstance(report, Refused):
                raise refused_by_group(report.code, report.what)
        return reports

    # ------------------------------------------------------------------ for the node

    def heard(self, opened: "GroupOpened") -> None:
        """Keep a message for whoever reads."""
        self.opened.put(opened)

    def turned_away(self, refused: "RecordRefused | RecordHeld") -> None:
        """Keep a refusal, and count it by its code; one that is held counts as EARLY."""
        code = getattr(refused, "code", None)
        self.rejects["EARLY" if code is None else code.name] += 1
        self.refused.put(refused)

    def changed(self) -> None:
        """Let who waits for an epoch look again."""
        self.changes.put(None)

    def close(self) -> None:
        for kept in (self.opened, self.refused, self.changes):
            kept.end()


class SyncGroup:
    """`Group` for programs without an event loop; methods and errors are the same."""

    def __init__(self, group: Group, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._group = group
        self._run = run
        self.id: Final = group.id

    @property
    def state(self) -> "Stand":
        stand: Stand = self._look("state")
        return stand

    @property
    def epoch(self) -> int:
        epoch: int = self._look("epoch")
        return epoch

    @property
    def key_id(self) -> str:
        key_id: str = self._look("key_id")
        return key_id

    def ready(self, timeout_s: float = READY_S, *, epoch: int = 1) -> int:
        """As `Group.ready`."""
        reached: int = self._run(self._group.ready(timeout_s, epoch=epoch))
        return reached

    def send(self, resource: str, payload: bytes, *, signed: bool = False) -> Sent:
        """As `Group.send`."""
        sent: Sent = self._run(self._group.send(resource, payload, signed=signed))
        return sent

    def receive(self, timeout_s: float = READY_S) -> "GroupOpened":
        """Return the next message of a member; NotReady when none comes in this time."""

        async def first() -> "GroupOpened":
            async with asyncio.timeout(timeout_s), aclosing(self._group.messages()) as messages:
                async for message in messages:
                    return message
            raise NotReady("the device is closed")

        try:
            message: GroupOpened = self._run(first())
        except TimeoutError as error:
            raise NotReady(f"no message in {timeout_s:g} s", do="wait longer") from error
        return message

    def join(self) -> None:
        """As `Group.join`."""
        self._run(self._group.join())

    def leave(self) -> None:
        """As `Group.leave`."""
        self._run(self._group.leave())

    def _look(self, name: str) -> Any:
        async def looked() -> Any:
            return getattr(self._group, name)

        return self._run(looked())
