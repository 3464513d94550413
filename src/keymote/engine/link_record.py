"""What is stored of a link: its keys, its epoch, and how far the numbers are reserved in each direction (LK-05).

Of the oldest epoch in which the peer may still be, the keys for records are stored and not the K_link that they were made
of: topic keys hang on the first one (LK-15; docs/decisions/0188).
"""

from collections.abc import Callable
from typing import Any, Final

from keymote import cbor
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.engine.link_cell import LinkCell, Standing, unused
from keymote.engine.link_epochs import FORMER, JUMP
from keymote.engine.link_keys import EpochKeys, LinkEnd

_VERSION: Final = 2
"""Rows of version 1 hold K_link itself."""


def same_record(old: LinkCell, new: LinkCell) -> bool:
    return (
        old.standing is new.standing
        and old.tx_reserved == new.tx_reserved
        and old.rx_reserved == new.rx_reserved
        and old.peer == new.peer
    )


def record_of(cell: LinkCell, generation: int) -> bytes:
    end, standing = cell.end, cell.standing
    base = standing.trail[0] if standing.trail else standing.keys
    return cbor.encode_array(
        _VERSION,
        end.peer_id,
        end.field_id,
        end.own_part,
        end.suite.id,
        base.le,
        [base.lid, base.send.expose(), base.receive.expose(), base.following.expose()],
        standing.keys.le,
        cell.tx_reserved,
        cell.rx_reserved,
        cell.peer,
        generation if not standing.doubtful else generation - 1,
        end.origin,
    )


def load(cell_id: bytes, record: bytes, suites: Callable[[int], Suite], generation: int) -> LinkCell:
    row: Any = cbor.decode(record, max_size=2048)
    _, peer_id, field_id, own_part, suite_id, base_le, kept, le, tx_reserved, rx_reserved, peer, written, origin = row
    end = LinkEnd(cell_id, peer_id, field_id, own_part, suites(suite_id), origin)
    doubtful = written != generation
    known = [_base(end, base_le, kept)]
    last = max(le + 1, base_le + FORMER if doubtful or le >= base_le + JUMP else 0)
    while known[-1].le < last:
        known.append(end.after(known[-1]))
    here = le - base_le
    standing = Standing(
        known[here],
        known[here + 1],
        tuple(known[:here]),
        None,
        tuple(known[here + 2 :]),
        doubtful=doubtful,
        resumed=doubtful or here == 0,
    )
    return LinkCell(end, standing, tx_reserved, tx_reserved, unused(end), rx_reserved, peer)


def _base(end: LinkEnd, le: int, kept: Any) -> EpochKeys:
    match kept:
        case [lid, send, receive, following]:
            return end.stored(le, lid, Secret(send), Secret(receive), Secret(following))
        case _:  # a row of version 1
            return end.epoch(Secret(kept), le)
