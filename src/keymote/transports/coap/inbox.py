"""What waits at a manager for devices that cannot be reached: asleep, or behind a translating router.

An inbox is named by the pseudonym (`lid`) of the link whose records it holds: nobody but the link's two ends can tell
whose it is, and it changes with every link epoch. Records are sealed, so reading an inbox tells a stranger nothing, and
nothing is removed by reading: a stranger who copied a lid from the air cannot empty it either.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

from keymote import cbor
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Link

MAX_RECORDS: Final = 32
"""Records kept in one inbox; the oldest gives way."""
MAX_AGE_S: Final = 24 * 3600.0
MAX_INBOXES: Final = 4096
READER_S: Final = 24 * 3600.0
"""Seconds after its last visit during which a reader is expected to come again."""
ANSWER_SIZE: Final = 1024
"""Bytes of records after which an answer is full; the reader comes again for the rest."""
_ANY_SUITE: Final = sizes_of(1)
"""No length of a LINK record's clear header depends on the suite."""


def link_header(datagram: bytes) -> tuple[bytes, int] | None:
    """Return `(lid, seq)` of a LINK record, None for any other datagram."""
    if not datagram.startswith(b"\x85\x12"):  # spares every other message the decoder
        return None
    try:
        record = Link.decode(datagram, _ANY_SUITE)
    except PeerFault:
        return None
    return record.lid, record.seq


def encode_fetch(lid: bytes, wanted: int) -> bytes:
    """Return the body of `FETCH /k/inbox`: the inbox, and the first sequence number not received yet."""
    return cbor.encode_array(lid, wanted)


def decode_fetch(body: bytes) -> tuple[bytes, int]:
    """Return `(lid, wanted)`; E_FORMAT for anything else."""
    match cbor.decode_array(body, max_size=32):
        case [bytes(lid), int(wanted)] if len(lid) == 8 and type(wanted) is int and wanted >= 0:
            return lid, wanted
    raise PeerFault(ErrorCode.E_FORMAT, "FETCH /k/inbox takes [lid (8 bytes), first wanted seq]")


def decode_records(answer: bytes) -> list[bytes]:
    """Return the records of an inbox's answer; E_FORMAT for anything else."""
    records = cbor.decode_array(answer, max_size=2 * cbor.MAX_SIZE_LARGE)
    if not all(isinstance(record, bytes) for record in records):
        raise PeerFault(ErrorCode.E_FORMAT, "an inbox answers with an array of byte strings")
    return [record for record in records if isinstance(record, bytes)]


@dataclass(slots=True)
class _Box:
    records: deque[tuple[float, int, bytes]] = field(default_factory=lambda: deque(maxlen=MAX_RECORDS))
    """(kept at, seq, record), oldest first."""
    read_at: float | None = None


class Inbox:
    """The inboxes of one manager, in memory: a restart loses them as a network loses datagrams."""

    def __init__(self) -> None:
        self._boxes: OrderedDict[bytes, _Box] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(box.records) for box in self._boxes.values())

    def expects_reader(self, lid: bytes, now: float) -> bool:
        """Return whether somebody fetched from this inbox lately and will come again."""
        box = self._boxes.get(lid)
        return box is not None and box.read_at is not None and now - box.read_at < READER_S

    def keep(self, lid: bytes, seq: int, record: bytes, now: float) -> None:
        """Keep a record until it is 24 hours old or 32 younger ones have come; the same record once only."""
        box = self._box(lid)
        if all(known != seq for _, known, _ in box.records):
            box.records.append((now, seq, record))

    def fetch(self, body: bytes, now: float) -> bytes:
        """Answer `FETCH /k/inbox`: the oldest wanted records, at least one and at most about 1 KiB of them."""
        lid, wanted = decode_fetch(body)
        box = self._box(lid)
        box.read_at = now
        while box.records and now - box.records[0][0] > MAX_AGE_S:
            box.records.popleft()
        chosen: list[bytes] = []
        size = 0
        for _, seq, record in sorted(box.records, key=lambda entry: entry[1]):
            if seq < wanted:
                continue
            if chosen and size + len(record) > ANSWER_SIZE:
                break
            chosen.append(record)
            size += len(record)
        return cbor.encode(chosen)

    def _box(self, lid: bytes) -> _Box:
        box = self._boxes.get(lid)
        if box is None:
            box = self._boxes[lid] = _Box()
            if len(self._boxes) > MAX_INBOXES:
                self._boxes.popitem(last=False)
        else:
            self._boxes.move_to_end(lid)
        return box
