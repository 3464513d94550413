"""What other cells say to a link and hear from it, and the keys under which links stand (Triad-1 1.7)."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from keymote.crypto.secret import Secret
from keymote.engine.base import CellKey, Peer


@dataclass(frozen=True, slots=True)
class Install:
    """Start the link `id` with this key. `own_part` 0: this end sends D->N. `field_id` stands in the associated data."""

    id: bytes
    peer_id: bytes
    field_id: bytes
    own_part: int
    suite: int
    key: Secret
    peer: Peer


class SealBody(NamedTuple):
    """Send `body` as the next record."""

    body: bytes = field(repr=False)


class Forward(NamedTuple):
    """Send bytes that are protected end to end to where this link's peer was last seen."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StepEpoch:
    """Ratchet the key forward now."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Forget the link: the peer is revoked or enrols anew."""


class LinkBody(NamedTuple):
    """A verified body: link `link` says that `peer_id` sent it from `peer`."""

    link: CellKey
    peer_id: bytes
    peer: Peer
    body: bytes = field(repr=False)


OWN_LINK: Final = CellKey("link", b"")
"""The link of a device, or of a manager as a newcomer, to its registrar."""


def link_to_device(dev_id: bytes) -> CellKey:
    """Return the key of a registrar's link to somebody who enrolled there."""
    return CellKey("link", dev_id)


def link_to_manager(nm_id: bytes, *, started_here: bool) -> CellKey:
    """Return the key of a link between managers; each of the two may have started one."""
    return CellKey("link", nm_id + (b"I" if started_here else b"R"))
