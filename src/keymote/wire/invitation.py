"""How a device comes to a group: INVITE, its answer, and UNINVITE, between a manager and its device, inside LINK only.

The types are outside the registry of Triad-1 (docs/decisions/0163).
"""

from dataclasses import field
from typing import Annotated, Final

from keymote.wire.fields import ID, Number, Octets, OneOf
from keymote.wire.group_fields import Datagrams
from keymote.wire.message import Message, message

MULTICAST: Final = 1
COMPACT: Final = 2
STANDBY: Final = 4
"""Bits of `Invite.flags`: R1 and R2 go to everybody in range; R1 is sent unsigned at first; join only when told to."""
_FLAGS: Final = Number(0, MULTICAST | COMPACT | STANDBY)
ACCEPTED: Final = 0
_MOST_CODE: Final = 25


@message(74)
class Invite(Message):
    """NM -> D: you may belong to the group `gid`, whose gateway is the one that `delegation` names.

    `level` 0 to 2; `place` the IPv4 address (4 bytes) and port (2 bytes) of the multicast group, empty where the ring speaks
    by unicast; `telemetry` the resources (UTF-8) whose records need no signature; `delegation` the whole message; `psk` a
    hedge: its id (8 bytes) and the key (32 bytes), or empty.
    """

    gid: Annotated[bytes, ID]
    level: Annotated[int, Number(0, 2)]
    flags: Annotated[int, _FLAGS]
    place: Annotated[bytes, OneOf((0, 6))]
    telemetry: Annotated[tuple[bytes, ...], Datagrams(0, 8, 48)]
    delegation: Annotated[bytes, Octets(64, 256)]
    cred_RA: Annotated[bytes, Octets(64, 256)]
    psk: Annotated[bytes, OneOf((0, 40))] = field(repr=False)


@message(75)
class Invited(Message):
    """D -> NM: the answer to INVITE and UNINVITE; `verdict` 0 when it was taken, else an error code.

    `kid` is that of the credential under which the device belongs to the group from now on; `psk_id` names the hedge of the
    INVITE that this answers (8 bytes), empty where it had none: an answer that was on its way for long is known by it.
    """

    gid: Annotated[bytes, ID]
    verdict: Annotated[int, Number(ACCEPTED, _MOST_CODE)]
    kid: Annotated[bytes, ID]
    psk_id: Annotated[bytes, OneOf((0, 8))]


@message(76)
class Uninvite(Message):
    """NM -> D: forget the group `gid`; you were removed from it."""

    gid: Annotated[bytes, ID]
