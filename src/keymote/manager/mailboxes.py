"""What waits at a gateway for members that speak HTTP, which nobody can call: they come and ask (docs/decisions/0167).

A mailbox holds the newest messages for one member of one group, numbered. Reading removes nothing, so an answer that got
lost is asked for again; what it holds, anybody near the members' radio can hear, so reading tells a stranger nothing new.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from keymote.wire.group import MOST

MOST_WAITING: Final = 4 * MOST
"""Messages in one mailbox: a whole run of the largest ring and its rosters; the oldest gives way."""
MOST_MAILBOXES: Final = 1024
KEPT_S: Final = 24 * 3600.0
"""How long a mailbox stays that nobody visits."""


class Mail(NamedTuple):
    """What waits from a number on, and the number to ask for next."""

    following: int
    datagrams: tuple[bytes, ...]


@dataclass(slots=True)
class _Box:
    kept: deque[tuple[int, bytes]] = field(default_factory=lambda: deque(maxlen=MOST_WAITING))
    following: int = 0
    given: int = 0
    """Numbers below were handed out at least once."""
    visited: float = 0.0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


Name = tuple[bytes, bytes]
"""gid and kid."""


class Mailboxes:
    """In memory: a restart loses them as a network loses datagrams, and NEED repairs it."""

    def __init__(self) -> None:
        self._boxes: OrderedDict[Name, _Box] = OrderedDict()
        self._closed = False

    def close(self) -> None:
        """Let those who wait go."""
        self._closed = True
        for box in self._boxes.values():
            box.changed.set()

    def __len__(self) -> int:
        return sum(len(box.kept) for box in self._boxes.values())

    def visit(self, gid: bytes, kid: bytes, now: float) -> None:
        """Note that a member was here; its mailbox is made when it or its first message comes."""
        box = self._boxes.pop((gid, kid), None) or _Box()
        self._boxes[gid, kid] = box
        box.visited = now
        while self._boxes:
            oldest = next(iter(self._boxes.values()))
            if len(self._boxes) <= MOST_MAILBOXES and now - oldest.visited <= KEPT_S:
                break
            self._boxes.popitem(last=False)

    def members(self, gid: bytes) -> AbstractSet[bytes]:
        """Return the kids whose mailboxes there are in a group."""
        return {kid for group, kid in self._boxes if group == gid}

    def put(self, gid: bytes, kid: bytes, datagrams: Sequence[bytes], now: float) -> None:
        """Keep messages for a member, who may never have been here.

        One that still waits is not kept twice; one that was fetched is: whoever says it again has a reason.
        """
        if (gid, kid) not in self._boxes:
            self.visit(gid, kid, now)
        box = self._boxes[gid, kid]
        waiting = {known for number, known in box.kept if number >= box.given}
        for datagram in datagrams:
            if datagram not in waiting:
                box.kept.append((box.following, datagram))
                box.following += 1
        changed, box.changed = box.changed, asyncio.Event()
        changed.set()

    def fetch(self, gid: bytes, kid: bytes, after: int, most: int, size: int) -> Mail:
        """Return the oldest messages from number `after` on, at most `most` of together `size` bytes, but one at least.

        Who asks for a number that was not given out yet has read another mailbox (we were restarted) and gets everything.
        """
        box = self._boxes.get((gid, kid))
        if box is None:
            return Mail(0, ())
        wanted = after if after <= box.following else 0
        chosen: list[bytes] = []
        following, octets = box.following, 0
        for number, datagram in box.kept:
            if number < wanted:
                continue
            octets += len(datagram) + 3
            if chosen and (len(chosen) == most or octets > size):
                following = number
                break
            chosen.append(datagram)
        box.given = max(box.given, following)
        return Mail(following, tuple(chosen))

    async def beyond(self, gid: bytes, kid: bytes, after: int) -> None:
        """Return when a message of number `after` or above waits, when there is no such mailbox, or at `close`."""
        while (box := self._boxes.get((gid, kid))) is not None and box.following == after and not self._closed:
            await box.changed.wait()
