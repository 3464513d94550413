"""The encrypted log of groups at their gateway: records as they passed, on disk until the coordinator has them (decision 0184).

Each group has a ring of numbered places: `tail` is the oldest that is kept, `head` the next to be taken. Sixty-four places are
one row, which is written again as it fills up; one more row says where tail and head are. So what a commit costs depends on
what has come since the one before, not on what waits, and nothing but the row that fills up is held in memory.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, NamedTuple

from keymote import cbor
from keymote.engine.base import CellKey
from keymote.errors import PeerFault
from keymote.host.ports import Write
from keymote.manager.group_log import Shelf
from keymote.wire import gsec
from keymote.wire.admin import to_base64url
from keymote.wire.admin_groups import batches
from keymote.wire.admin_records import MOST_BATCH, MOST_ITEMS, LoggedRecord

PLACES: Final = "group-log"
"""Kind of the rows that say where a group's log begins and ends; named by gid."""
BLOCK: Final = "group-log-block"
"""Kind of the rows with records; named by gid and number of the block, 8 bytes each."""
BLOCK_SIZE: Final = 64
_LARGEST_BLOCK: Final = 1 << 17
"""Bytes of a block of the longest records, well beyond."""
_GENERATION_BITS: Final = 32
_HALF: Final = 1 << 15


class Passed(NamedTuple):
    """A record of `kid` that passed at `ts_ms`, with what it says of itself: not verified here."""

    ts_ms: int
    epoch: int
    kid: bytes
    number: int
    resource: str
    record: bytes


def passed(ts_ms: int, newest: int, kid: bytes, resource: str, record: bytes) -> Passed | None:
    """Return a record for the log, None for bytes that are no GSEC.

    It names 16 bits of its epoch; the epoch is the one of these bits that is closest to `newest`, the last that was confirmed.
    """
    try:
        claimed = gsec.read(record)
    except PeerFault:
        return None
    epoch = newest + (claimed.epoch16 - newest + _HALF) % (2 * _HALF) - _HALF
    return Passed(ts_ms, epoch if epoch >= 0 else claimed.epoch16, kid, claimed.seq, resource, record)


@dataclass(slots=True)
class _Buffer:
    """The log of one group. `open` is the block that `head` is in, `coming` what no commit has taken yet."""

    tail: int = 0
    head: int = 0
    dropped: int = 0
    open: list[Passed] = field(default_factory=list)
    coming: list[Passed] = field(default_factory=list)
    keep: int = 0

    def become(self, after: "_Step") -> None:
        """Be as the disk is now; what has come meanwhile still comes."""
        self.tail, self.head, self.open = after.tail, after.head, after.open
        self.dropped += after.lost

    def shed(self) -> None:
        """Let the oldest of those go that no commit took, where more have come than are to be kept."""
        excess = len(self.coming) - self.keep
        if excess > 0:
            del self.coming[:excess]
            self.dropped += excess


class _Step(NamedTuple):
    """What one commit makes of a log; `lost` gave way by it."""

    tail: int
    head: int
    lost: int
    open: list[Passed]
    writes: Sequence[Write]


class RecordLog:
    """What passed is on disk with the next `flush`; numbers grow over the life of a group at a manager, and go up once.

    A manager whose backup was put back begins a new block of numbers: those that its backup holds have been used for other
    records since, so that they are dropped, and counted.
    """

    def __init__(self, shelf: Shelf, generation: int = 0) -> None:
        self._shelf = shelf
        self._generation = generation
        self._groups: dict[bytes, _Buffer] = {}
        self._stale: list[Write] = []
        self._writing = asyncio.Lock()
        for row in shelf.of_kind(PLACES):
            self._groups[row.key.id] = self._resumed(row.key.id, row.record or b"")

    def _resumed(self, gid: bytes, saved: bytes) -> _Buffer:
        places: Any = cbor.decode(saved)
        tail, head, dropped, generation = places
        if generation < self._generation:
            first = self._generation << _GENERATION_BITS
            self._stale += _cleared(gid, tail, head + BLOCK_SIZE)
            return _Buffer(first, first, dropped + head - tail)
        opened = self._block(gid, head // BLOCK_SIZE)[: head % BLOCK_SIZE]
        return _Buffer(tail, head, dropped, list(opened))

    def waiting(self, gid: bytes) -> int:
        """Return how many records of a group are on disk, and survive whatever happens to this process."""
        held = self._groups.get(gid)
        return 0 if held is None else held.head - held.tail

    def dropped(self, gid: bytes) -> int:
        """Return how many records of a group gave way before they were handed in."""
        held = self._groups.get(gid)
        return 0 if held is None else held.dropped

    def groups(self) -> Sequence[bytes]:
        """Return the groups of which something on disk waits for the coordinator."""
        return [gid for gid, held in self._groups.items() if held.head > held.tail]

    def add(self, gid: bytes, record: Passed, keep: int) -> None:
        """Keep one more record with the next `flush`, and at most `keep` of the group from now on; touches no disk."""
        held = self._groups.get(gid)
        if held is None:
            first = self._generation << _GENERATION_BITS
            held = self._groups[gid] = _Buffer(first, first)
        held.keep = keep
        held.coming.append(record)
        held.shed()  # the disk takes nothing, or `keep` is less than comes between two commits

    async def flush(self) -> bool:
        """Put on disk, in one commit, everything that has come; return whether there was anything.

        Raises:
            Unavailable: the store cannot keep it; it is tried again with the next one.
        """
        async with self._writing:
            taken = {gid: held.coming for gid, held in self._groups.items() if held.coming}
            steps = {gid: self._grown(gid, coming) for gid, coming in taken.items()}
            for gid in taken:
                self._groups[gid].coming = []
            try:
                await self._shelf.keep([*self._stale, *chain.from_iterable(step.writes for step in steps.values())])
            except BaseException:  # also when this task is ended: what comes back takes the same places
                for gid, coming in taken.items():
                    held = self._groups[gid]
                    held.coming = coming + held.coming
                    held.shed()
                raise
            self._stale = []
            for gid, step in steps.items():
                self._groups[gid].become(step)
            return bool(taken)

    def _grown(self, gid: bytes, coming: Sequence[Passed]) -> _Step:
        """Return what a commit makes of a group's log with these in it."""
        held = self._groups[gid]
        head = held.head + len(coming)
        tail = max(held.tail, head - held.keep)
        lost, filling = tail - held.tail, [*held.open, *coming]
        blocks = (filling[at : at + BLOCK_SIZE] for at in range(0, len(filling), BLOCK_SIZE))
        numbered = enumerate(blocks, held.head // BLOCK_SIZE)
        rows = [_row(gid, number, block) for number, block in numbered if number >= tail // BLOCK_SIZE]
        rows += [*_cleared(gid, held.tail, tail), self._places(gid, tail, head, held.dropped + lost)]
        return _Step(tail, head, lost, filling[len(filling) - head % BLOCK_SIZE :], rows)

    def batches(self, gid: bytes) -> Sequence[Sequence[LoggedRecord]]:
        """Return the oldest records of a group that are on disk, from one block, each list as much as one call carries."""
        held = self._groups[gid]
        block = held.tail // BLOCK_SIZE
        first, until = block * BLOCK_SIZE, min(held.head, (block + 1) * BLOCK_SIZE)
        kept = held.open if first == held.head - held.head % BLOCK_SIZE else self._block(gid, block)
        numbered = zip(range(first + 1, until + 1), kept, strict=False)
        return list(batches((_told(seq, each) for seq, each in numbered if seq > held.tail), MOST_ITEMS, MOST_BATCH))

    async def settle(self, gid: bytes, upto: int) -> None:
        """Forget the records of a group up to this number: the coordinator has them, or will never take them.

        A number above ours makes us count on above it: the coordinator has heard of more than we remember.
        """
        async with self._writing:
            held = self._groups[gid]
            tail, head, lost, opened = max(held.tail, upto), held.head, 0, held.open
            cleared = _cleared(gid, held.tail, min(tail, held.head))
            if upto > held.head:
                tail = head = -(-upto // BLOCK_SIZE) * BLOCK_SIZE
                lost, opened = held.head - held.tail, []
                cleared = _cleared(gid, held.tail, held.head + BLOCK_SIZE)
            writes = [*cleared, self._places(gid, tail, head, held.dropped + lost)]
            await self._shelf.keep(writes)
            held.become(_Step(tail, head, lost, opened, writes))

    async def skip_block(self, gid: bytes) -> None:
        """Give up what is left of the oldest block."""
        held = self._groups[gid]
        await self.settle(gid, min(held.head, (held.tail // BLOCK_SIZE + 1) * BLOCK_SIZE))

    def _places(self, gid: bytes, tail: int, head: int, dropped: int) -> Write:
        return Write(CellKey(PLACES, gid), cbor.encode([tail, head, dropped, self._generation]))

    def _block(self, gid: bytes, number: int) -> Sequence[Passed]:
        saved = self._shelf.load(_block_key(gid, number))
        rows: Any = [] if saved is None else cbor.decode(saved, max_size=_LARGEST_BLOCK)
        return [Passed(*row) for row in rows]


def _block_key(gid: bytes, number: int) -> CellKey:
    return CellKey(BLOCK, gid + number.to_bytes(8, "big"))


def _row(gid: bytes, number: int, records: Sequence[Passed]) -> Write:
    return Write(_block_key(gid, number), cbor.encode([list(each) for each in records]))


def _cleared(gid: bytes, before: int, tail: int) -> Iterator[Write]:
    """Yield what removes the blocks between the tail before and this one."""
    for number in range(before // BLOCK_SIZE, tail // BLOCK_SIZE):
        yield Write(_block_key(gid, number), None)


def _told(seq: int, record: Passed) -> LoggedRecord:
    return LoggedRecord(
        seq, record.ts_ms, record.epoch, record.kid.hex(), record.number, record.resource, to_base64url(record.record)
    )
