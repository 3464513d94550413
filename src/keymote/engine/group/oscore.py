"""A group's key for Group OSCORE (RFC 10021): the inputs of its Security Context, as Triad-1 3.8 derives them from MK.

What other software has to know besides (algorithms, credentials, where it differs) stands in docs/how-to/group-oscore.md.
"""

from dataclasses import dataclass
from typing import Final

from keymote.crypto.kdf import expand, lexp
from keymote.crypto.secret import Secret
from keymote.engine.group.epoch import GroupEpoch
from keymote.errors import CallerFault

SECRET_SIZE: Final = 16
SALT_SIZE: Final = 8


@dataclass(frozen=True, slots=True)
class GroupOscoreParameters:
    """Of one member in one epoch.

    `secret` 16 bytes, `salt` 8, `group_id` 8: Master Secret, Master Salt and Gid, which is the ID Context. `sender_id` is this
    member's idx in 1 byte; `recipients` are the ids and kids of the others.
    """

    group_id: bytes
    secret: Secret
    salt: bytes
    sender_id: bytes
    recipients: tuple[tuple[bytes, bytes], ...]


def group_oscore(epoch: GroupEpoch, sid: bytes) -> GroupOscoreParameters:
    """Return the context of this member of a ring; `sid` are the 16 bytes that name the run which made the epoch.

    A new epoch is a new Gid and a new Master Secret, so that numbers start anew (RFC 10021 2.6.3). CallerFault for a root
    group, whose members have no idx, and for whoever only listens.
    """
    if epoch.by_kid or epoch.own is None:
        raise CallerFault("Group OSCORE is for the members of a ring", do="export the ring's key, not the root group's")
    ids = [(bytes((idx,)), kid) for idx, (kid, _) in enumerate(epoch.senders)]
    sender_id, _ = ids.pop(epoch.own)
    return GroupOscoreParameters(
        epoch.gid[:4] + epoch.epoch.to_bytes(4, "big"),
        lexp(epoch.key, "B/oscore-ms", sid, SECRET_SIZE),
        expand(epoch.key, "B/oscore-salt", sid, SALT_SIZE),
        sender_id,
        tuple(ids),
    )
