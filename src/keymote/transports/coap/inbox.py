"""What waits at a manager for devices that cannot be reached: asleep, or behind a translating router.

An inbox is named by the pseudonym (`lid`) of the link to its device: nobody but the link's two ends can tell whose it is,
and it changes with every link epoch. What it holds is protected end to end, so reading it tells a stranger no more than
the air would, and nothing is removed by reading: a stranger who copied a lid cannot empty it either.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

from keymote import cbor
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.pairwise import Link
from keymote.wire.registry import peek, peek_id

MAX_DATAGRAMS: Final = 32
"""Datagrams kept in one inbox; the oldest gives way."""
MAX_AGE_S: Final = 24 * 3600.0
MAX_INBOXES: Final = 4096
READER_S: Final = 24 * 3600.0
"""Seconds after its last visit during which a reader is expected to come again."""
ANSWER_SIZE: Final = 1024
"""Bytes of datagrams after which an answer is full; the reader comes again for the rest."""
_LINK_ELEMENTS: Final = 5


def pseudonym(datagram: bytes) -> bytes | None:
    """Return the lid of a LINK record, None for any other datagram."""
    try:
        mt, elements = peek(datagram)
        return peek_id(datagram, mt) if (mt, elements) == (Link.mt, _LINK_ELEMENTS) else None
    except PeerFault:
        return None


def encode_fetch(lid: bytes, wanted: int) -> bytes:
    """Return the body of `FETCH /k/inbox`: the inbox, and the number of the first datagram not received yet."""
    return cbor.encode_array(lid, wanted)


def decode_fetch(body: bytes) -> tuple[bytes, int]:
    """Return `(lid, wanted)`; E_FORMAT for anything else."""
    match cbor.decode_array(body, max_size=32):
        case [bytes(lid), int(wanted)] if len(lid) == 8 and type(wanted) is int and wanted >= 0:
            return lid, wanted
    raise PeerFault(ErrorCode.E_FORMAT, "FETCH /k/inbox takes [lid (8 bytes), first wanted number]")


def decode_answer(answer: bytes) -> tuple[int, list[bytes]]:
    """Return the number to ask for next and the datagrams of an inbox's answer; E_FORMAT for anything else."""
    match cbor.decode_array(answer, max_size=cbor.MAX_SIZE_BUNDLE):
        case [int(following), list(datagrams)] if type(following) is int and following >= 0:
            if all(isinstance(datagram, bytes) for datagram in datagrams):
                return following, [datagram for datagram in datagrams if isinstance(datagram, bytes)]
    raise PeerFault(ErrorCode.E_FORMAT, "an inbox answers with [next number, [datagrams]]")


@dataclass(slots=True)
class _Box:
    kept: deque[tuple[float, int, bytes]] = field(default_factory=lambda: deque(maxlen=MAX_DATAGRAMS))
    """(kept at, number, datagram), oldest first."""
    following: int = 0
    given: int = 0
    """Numbers below were handed out at least once."""
    read_at: float | None = None


class Inbox:
    """The inboxes of one manager, in memory: a restart loses them as a network loses datagrams."""

    def __init__(self) -> None:
        self._boxes: OrderedDict[bytes, _Box] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(box.kept) for box in self._boxes.values())

    def expects_reader(self, lid: bytes, now: float) -> bool:
        """Return whether somebody fetched from this inbox lately and will come again."""
        box = self._boxes.get(lid)
        return box is not None and box.read_at is not None and now - box.read_at < READER_S

    def keep(self, lid: bytes, datagram: bytes, now: float) -> None:
        """Keep a datagram until it is 24 hours old or 32 younger ones have come.

        One that still waits is not kept twice; one that was fetched is: its sender had no answer and says it again.
        """
        box = self._box(lid)
        if all(known != datagram or number < box.given for _, number, known in box.kept):
            box.kept.append((now, box.following, datagram))
            box.following += 1

    def fetch(self, body: bytes, now: float) -> bytes:
        """Answer `FETCH /k/inbox`: the oldest wanted datagrams, at least one and at most about 1 KiB of them.

        A reader that asks for numbers which this inbox has not given out yet has read another one (we were restarted)
        and gets everything.
        """
        lid, wanted = decode_fetch(body)
        box = self._box(lid)
        box.read_at = now
        while box.kept and now - box.kept[0][0] > MAX_AGE_S:
            box.kept.popleft()
        if wanted > box.following:
            wanted = 0
        chosen: list[bytes] = []
        size, following = 0, box.following
        for _, number, datagram in box.kept:
            if number < wanted:
                continue
            if chosen and size + len(datagram) > ANSWER_SIZE:
                following = number
                break
            chosen.append(datagram)
            size += len(datagram)
        box.given = max(box.given, following)
        return cbor.encode_array(following, chosen)

    def _box(self, lid: bytes) -> _Box:
        box = self._boxes.get(lid)
        if box is None:
            box = self._boxes[lid] = _Box()
            if len(self._boxes) > MAX_INBOXES:
                self._boxes.popitem(last=False)
        else:
            self._boxes.move_to_end(lid)
        return box
