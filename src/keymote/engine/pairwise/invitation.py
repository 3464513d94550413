"""What a device's enrolment and its sessions say to each other."""

from dataclasses import dataclass
from typing import NamedTuple

from keymote.engine.context import Membership
from keymote.engine.faces import OpenSession
from keymote.wire.pairwise import Peercred, PeercredCompact


class Begin(NamedTuple):
    """To a new session: the application wants it, and this is who we are."""

    membership: Membership
    wish: OpenSession


class Invited(NamedTuple):
    """To a session: the own manager says whom to talk to, in which role."""

    membership: Membership
    peer: Peercred | PeercredCompact


@dataclass(frozen=True, slots=True)
class WantRevocation:
    """To the enrolment: send REVOKE with the next counter."""

    psid: bytes
    key_id: bytes
    reason: int
    kid_accused: bytes
