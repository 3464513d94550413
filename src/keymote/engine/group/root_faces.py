"""What is said to and by the cells of a hierarchy (Triad-1 3.7): applications, and the rings below.

Cells: `root` (one per gid_root) at every member, `root_gateway` (one per gid_root) at the gateway that leads the top ring.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from keymote.crypto.secret import Secret
from keymote.engine.base import CellKey, Command, Report
from keymote.errors import ErrorCode
from keymote.wire.group_fields import Entry


def root_of(gid_root: bytes) -> CellKey:
    """Return the key of a member's cell for the root group `gid_root`."""
    return CellKey("root", gid_root)


def root_gateway_of(gid_root: bytes) -> CellKey:
    """Return the key of the cell that signs ROOT for `gid_root`."""
    return CellKey("root_gateway", gid_root)


@dataclass(frozen=True, slots=True)
class RootCharter:
    """What a gid_root is provisioned with: its suite, and the root gateway (or RA) that signs ROOT."""

    gid_root: bytes
    suite: int
    kid: bytes
    pk: bytes


# ------------------------------------------------------------------ to a member's root cell


@dataclass(frozen=True, slots=True)
class JoinRoot(Command):
    """To root_of(gid_root), before JoinGroup of the rings that serve it: take part. `kid` is that of the own credential.

    `senders` (32 at most): who may send to the root group; others listen. For a known gid_root this changes the senders from the
    next root key on; the charter must be the same.
    """

    charter: RootCharter
    kid: bytes
    senders: tuple[Entry, ...] = ()


# Resume, Resync (ask for the newest root key), ForgetGroup, ProtectForGroup and UnprotectForGroup are those of a membership.


# ------------------------------------------------------------------ to a root gateway


@dataclass(frozen=True, slots=True)
class FormRoot(Command):
    """To root_gateway_of(gid_root), before the top ring is formed: sign ROOT as `kid` for the top ring `top`, led by this node."""

    gid_root: bytes
    top: bytes
    kid: bytes


@dataclass(frozen=True, slots=True)
class RatchetRoot(Command):
    """To root_gateway_of(gid_root): let two members of the top ring report the next key, and announce it (a meter has joined).

    For a fresh root key say Rekey to the top ring.
    """


# ------------------------------------------------------------------ to a ring


@dataclass(frozen=True, slots=True)
class HandOn(Command):
    """To ring_of(gid): bring a ROOT to everybody in the ring, and show it to those who ask for a WRAP."""

    data: bytes


# ------------------------------------------------------------------ inside a node: a membership and the root above its ring


class RingKeyed(NamedTuple):
    """Membership -> root: the ring is active under `mk` (32 bytes) since the run `sid`; `idx` is our place among `kids`."""

    gid: bytes
    sid: bytes
    mk: Secret
    idx: int
    kids: tuple[bytes, ...]
    delegate: Entry | None
    deputy: Entry | None
    top: bool


class RingStale(NamedTuple):
    """Membership -> root: a newer roster is held than that of the key; nobody may wrap under this key any more."""

    gid: bytes


class RingLost(NamedTuple):
    """Membership -> root: we do not belong to this ring any more."""

    gid: bytes


class EAsked(NamedTuple):
    """Membership of the top ring -> root: tell me the newest e, now and whenever it grows."""

    gid: bytes


class WrapAsked(NamedTuple):
    """Membership -> root: somebody in this ring's run lacks the root key."""

    sid8: bytes


class KcvAsked(NamedTuple):
    """Membership of the top ring -> root: the gateway asks which kcv the next root key has."""

    sid8: bytes


class RootIs(NamedTuple):
    """Root -> membership of the top ring: the newest e."""

    e: int


class Convey(NamedTuple):
    """Root -> membership: send this in your ring, to everybody or to the gateway alone."""

    data: bytes
    everybody: bool


class TopAgreed(NamedTuple):
    """Top ring -> root gateway: the run `sid` is committed, and these members have signed these kcvs."""

    sid: bytes
    kids: tuple[bytes, ...]
    kcvs: Mapping[bytes, bytes]


class KcvReported(NamedTuple):
    """Top ring -> root gateway: this member has signed that the next root key has this kcv."""

    sid8: bytes
    kid: bytes
    kcv: bytes


# ------------------------------------------------------------------ from a member's root cell


@dataclass(frozen=True, slots=True)
class RootReady(Report):
    """RK_e is here and is what ROOT(e) says: the root group's key from now on."""

    gid_root: bytes
    e: int
    mode: int
    kcv: bytes


@dataclass(frozen=True, slots=True)
class RootErased(Report):
    """Nothing sent under the root key of `e` can be opened here any more."""

    gid_root: bytes
    e: int


@dataclass(frozen=True, slots=True)
class WrapMissing(Report):
    """30 s after ROOT(e) nobody has wrapped its key for the ring `gid`. `deputy`: this node must take the delegate's place.

    A fresh root key can only be had by another delegate: the ring above must run again with the deputy in it.
    """

    gid_root: bytes
    e: int
    gid: bytes
    deputy: bool


@dataclass(frozen=True, slots=True)
class WrapRefused(Report):
    """The delegate or deputy `kid` of the ring `gid` signed a WRAP that is not the key of ROOT(e) (B-19)."""

    gid_root: bytes
    e: int
    gid: bytes
    kid: bytes
    code: ErrorCode


@dataclass(frozen=True, slots=True)
class RootDiffers(Report):
    """ROOT(e) is signed, and not what this member computes; it waits for a WRAP and sends nothing (E_CONFIRM)."""

    gid_root: bytes
    e: int


# ------------------------------------------------------------------ from a root gateway


@dataclass(frozen=True, slots=True)
class RootAnnounced(Report):
    """This ROOT is in the top ring; bring it to the gateways of all other rings (`HandOn`)."""

    gid_root: bytes
    e: int
    mode: int
    root: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RootStuck(Report):
    """The members of the top ring do not report one kcv for `e`: no ROOT is signed. `kcvs` by kid."""

    gid_root: bytes
    e: int
    kcvs: Mapping[bytes, bytes]
