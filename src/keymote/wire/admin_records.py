"""Bodies of the coordinator's REST interface for the encrypted logs of groups: records as members sealed them (GSEC).

Whoever keeps them has no key: what stands beside a record is what its gateway saw of it, and proves nothing before a member
opens it.
"""

from typing import Annotated, Final

from msgspec import Meta

from keymote.wire.admin import Base64Url, Body, HexId, View
from keymote.wire.admin_groups import Milliseconds, Uint32
from keymote.wire.group_record import MOST_RESOURCE

MOST_ITEMS: Final = 512
MOST_BODY: Final = 64 * 1024
"""Bytes of one upload, which MOST_BATCH of items leave room in."""
MOST_BATCH: Final = MOST_BODY - 64

Sealed = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]+$", max_length=1514, description="GSEC, base64url, no padding")]
RecordNumber = Annotated[int, Meta(ge=1, lt=1 << 53)]


class LoggedRecord(Body, frozen=True):
    """A record that passed a gateway. `seq` numbers what a manager keeps of a group, in the order in which it passed.

    `kid` is the member from whose address it came, `ts_ms` when, by the gateway's clock; `epoch` and `number` (the
    sender's own, header 6) are what the record claims. `resource` is what it was sent for, "" if nothing; `record` the
    GSEC, at most 1135 bytes.
    """

    seq: RecordNumber
    ts_ms: Milliseconds
    epoch: Uint32
    kid: HexId
    number: Annotated[int, Meta(ge=0, lt=1 << 24)]
    resource: Annotated[str, Meta(max_length=MOST_RESOURCE)]
    record: Sealed


class GroupRecords(Body, frozen=True):
    """Records of one group from one manager, oldest first; numbers that are missing gave way for want of room."""

    items: Annotated[list[LoggedRecord], Meta(min_length=1, max_length=MOST_ITEMS)]


class RecordsTaken(View, frozen=True):
    """Every record up to `upto` has been dealt with; more than was sent: the manager's counter has gone back, it goes on above."""

    upto: int


class RecordView(View, frozen=True):
    """A record in a group's log: `id` is its place in it, `dev_id` whose `kid` is, null where that is nobody's."""

    id: int
    nm_id: HexId
    seq: int
    ts_ms: int
    epoch: int
    kid: HexId
    dev_id: HexId | None
    number: int
    resource: str
    record: Base64Url


class RecordPage(View, frozen=True):
    """`next` is the value of `after` for the following page, null on the last."""

    gid: HexId
    items: list[RecordView]
    next: int | None
