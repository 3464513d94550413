"""RECORD: a GSEC together with what its carrier knows of it, for carriers that have no path to say so (docs/decisions/0166).

Over CoAP a record travels as `POST /g/<gid>/<resource>` whose body is the GSEC alone; inside a node, through the simulator, in
bundles and inboxes and over HTTP it travels as this message. Type 77 is ours, outside the registry's 1 to 60.
"""

from typing import Annotated, Final

from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import ID, Octets, Text, sizes_of
from keymote.wire.message import Message, message

MT: Final = 77
MOST_RESOURCE: Final = 100
"""Bytes of a resource in UTF-8, so that the longest GSEC still makes a message of at most 1280 bytes."""
MOST_GSEC: Final = 1135
"""Bytes of the longest GSEC: 1024 of plaintext, a sender named by its kid, a countersignature."""
_NO_POINTS: Final = sizes_of(1)
"""RECORD has no field whose length depends on the suite."""
_OPENING: Final = b"\x84\x18\x4d"


@message(MT)
class GroupRecord(Message):
    """Member -> group, through any carrier: `record` (a GSEC) is for this resource of this group.

    `resource` is a Uri-Path without the leading slash, "" if there is none. Nothing but the record's own tag says that
    it and the group are the sender's.
    """

    gid: Annotated[bytes, ID]
    resource: Annotated[str, Text(MOST_RESOURCE)]
    record: Annotated[bytes, Octets(1, MOST_GSEC)]


def is_group_record(data: bytes) -> bool:
    """Return whether a datagram begins as a RECORD does."""
    return data.startswith(_OPENING)


def read(data: bytes) -> GroupRecord:
    """Return the RECORD in `data`; E_FORMAT unless it has exactly its form and its resource is one."""
    carried = GroupRecord.decode(data, _NO_POINTS)
    check_resource(carried.resource)
    return carried


def check_resource(resource: str) -> None:
    """Return if `resource` is a path of non-empty segments, or none at all; E_FORMAT else."""
    if resource and not all(resource.split("/")):
        raise PeerFault(ErrorCode.E_FORMAT, "a resource with an empty segment", do="write it as telemetry/power")
    if len(resource.encode()) > MOST_RESOURCE:
        raise PeerFault(ErrorCode.E_FORMAT, f"a resource of more than {MOST_RESOURCE} bytes")
