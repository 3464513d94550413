"""A group's records over CoAP: `POST /g/<gid>/<resource>` whose body is one GSEC (docs/decisions/0166).

The path says what the record itself does not. Inside the node the same thing is one datagram, the RECORD of `wire`; these
functions are the whole translation, both ways.
"""

from collections.abc import Sequence
from typing import Final

from keymote.errors import ErrorCode, PeerFault
from keymote.wire.group_record import GroupRecord, check_resource, read

ROOT: Final = b"g"
"""First segment of the paths of records."""


def request_of(datagram: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """Return path and body of the request that carries a RECORD; E_FORMAT for any other datagram."""
    carried = read(datagram)
    segments = carried.resource.encode().split(b"/") if carried.resource else []
    return (ROOT, carried.gid.hex().encode(), *segments), carried.record


def datagram_of(path: Sequence[bytes], body: bytes) -> bytes:
    """Return the RECORD that a request for `path` carries; E_FORMAT unless it names a gid and a resource in their one form.

    One form: the gid in lower case, and no segment that is empty or holds a slash, so that no two paths mean one resource.
    """
    try:
        root, gid, *segments = path
        named = bytes.fromhex(gid.decode("ascii"))
        resource = b"/".join(segments).decode()
    except ValueError as error:
        raise PeerFault(ErrorCode.E_FORMAT, "not the path of a group's record") from error
    if root != ROOT or named.hex().encode() != gid or any(b"/" in segment for segment in segments):
        raise PeerFault(ErrorCode.E_FORMAT, "not the path of a group's record")
    if segments:
        check_resource(resource or "/")
    datagram = GroupRecord(named, resource, body).encode()
    read(datagram)
    return datagram
