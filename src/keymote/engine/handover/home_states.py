"""What a home broker keeps of a client, and its record on disk."""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from keymote import cbor
from keymote.crypto.secret import Secret
from keymote.engine.base import Peer
from keymote.engine.handover.reporting import Untold
from keymote.wire.handover import NOWHERE
from keymote.wire.topic import Right

MOST_CONNECTS: Final = 64
"""Nonces of CONNAUTH that are remembered (Triad-1 4.4)."""
MOST_OVER: Final = 16
"""Tickets whose life is over that are remembered."""
MOST_NOTICES: Final = 2
"""Brokers that have not yet answered HO_RELEASE; an older one keeps the client until its life is over."""
MOST_RECORD: Final = 4096
"""Bytes on disk: a ticket of 1 KiB, all nonces, releases and moves that nobody has answered come to some 2.6 KiB."""


class Here(NamedTuple):
    """At home, connected or not."""


@dataclass(frozen=True, slots=True)
class Away:
    """At the broker `vis`. `moved`: what waited here is there, and the account here is gone."""

    vis: bytes
    ho_ctr: int
    K_v: Secret
    moved: bool


@dataclass(frozen=True, slots=True)
class Held:
    """A ticket that lives: until `expires` (UTC seconds), counted from its first CONNAUTH."""

    client_id: bytes
    ticket_id: bytes
    K_home: Secret
    rights: tuple[Right, ...]
    expires: int
    nCs: tuple[bytes, ...]
    nB: bytes
    last_ctr: int
    place: Here | Away


@dataclass(frozen=True, slots=True)
class Notice:
    """HO_RELEASE in its frame, said again to the broker `to` until it answers or the client's life is over."""

    to: bytes
    ho_ctr: int
    K_v: Secret
    data: bytes
    until: int


@dataclass(frozen=True, slots=True)
class Opening:
    """An account is being opened; then `answers` go to `peer`, if somebody waits."""

    ref: int
    peer: Peer
    answers: tuple[bytes, ...] = field(repr=False)
    client_id: bytes


@dataclass(frozen=True, slots=True)
class HomeCell:
    """Durable but for the last four: `handed` is the last HO_PULL's hash and its HO_CTX, for a broker that asks again."""

    over: tuple[bytes, ...] = ()
    held: Held | None = None
    notices: tuple[Notice, ...] = ()
    untold: tuple[Untold, ...] = ()
    asked: int = 0
    opening: Opening | None = None
    again_at: float | None = None
    handed: tuple[bytes, bytes] | None = field(default=None, repr=False)


def record(cell: HomeCell) -> bytes:
    """Return what is on disk of a client: at most `MOST_RECORD` bytes."""
    held = cell.held
    kept: list[Any] = []
    if held is not None:
        place: list[Any] = []
        if isinstance(held.place, Away):
            away = held.place
            place = [away.vis, away.ho_ctr, away.K_v.expose(), away.moved]
        rights = [list(right) for right in held.rights]
        nonces = b"".join(held.nCs)
        kept = [held.client_id, held.ticket_id, held.K_home.expose(), rights, held.expires, nonces, held.nB]
        kept += [held.last_ctr, place]
    notices = [[each.to, each.ho_ctr, each.K_v.expose(), each.data, each.until] for each in cell.notices]
    return cbor.encode([b"".join(cell.over), kept, notices, [list(each) for each in cell.untold]])


def load(_client_id: bytes, data: bytes) -> HomeCell:
    """Return the cell of a record."""
    fields: Any = cbor.decode_array(data, max_size=MOST_RECORD)
    over, kept, notices, *later = fields
    held = None
    if kept:
        client_id, ticket_id, K_home, rights, expires, nonces, nB, last_ctr, place = kept
        away = Away(place[0], place[1], Secret(place[2]), place[3]) if place else None
        held = Held(
            client_id, ticket_id, Secret(K_home), tuple(Right(*right) for right in rights), expires, _eights(nonces), nB,
            last_ctr, away or Here(),
        )  # fmt: skip
    told = tuple(Notice(to, ho_ctr, Secret(K_v), frame, until) for to, ho_ctr, K_v, frame, until in notices)
    untold = tuple(Untold(*each) for each in (later[0] if later else ()))  # agents of before told nobody
    return HomeCell(_eights(over), held, told, untold)


def _eights(joined: bytes) -> tuple[bytes, ...]:
    size = len(NOWHERE)
    return tuple(joined[start : start + size] for start in range(0, len(joined), size))
