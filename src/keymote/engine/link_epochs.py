"""From one epoch of a link to another: on our own account, behind the peer, and out of all that a backup has forgotten.

What may be sent and believed after a restart or a restore is decided here (docs/decisions/0005).
"""

from typing import Final

from keymote.engine.base import Now, replace
from keymote.engine.link_cell import LinkCell, Standing, fresh
from keymote.engine.link_keys import EpochKeys
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.pairwise import Link

JUMP: Final = 64
"""Epochs that a link restored from a backup leaves out: more than can have passed since (one a day, or a restart each)."""
FORMER: Final = JUMP + 32
"""Epochs after that of a backup in which the peer may have been led by a former life of the link, and is still known."""
ORIGINS: Final = 1 << 19
"""Seconds, six days, after which two lives of one backup may begin at the same number."""
OLD_KEY_S: Final = 60.0


def stepped(cell: LinkCell, now: Now) -> LinkCell:
    """Go to the next epoch on our own account: the peer may not have followed yet."""
    standing = cell.standing
    moved = moved_to(cell, standing.ahead, now, trail=(*standing.trail, standing.keys))
    return replace(moved, standing=replace(moved.standing, beyond=standing.beyond[1:])) if standing.beyond else moved


def moved_to(cell: LinkCell, keys: EpochKeys, now: Now, *, trail: tuple[EpochKeys, ...]) -> LinkCell:
    """Go to the epoch of `keys`: seq restarts at 0, the window is cleared, the old receive key lives 60 s in memory."""
    before = cell.standing
    trusted = not (before.doubtful or before.resumed)
    standing = Standing(
        keys,
        cell.end.after(keys),
        trail,
        now.mono,
        previous=before.keys if trusted else None,
        previous_until=now.mono + OLD_KEY_S,
        previous_window=cell.window,
        announced=before.announced,
    )
    return fresh(cell.end, standing, cell.peer, cell.unanswered)


def jumped(cell: LinkCell, now: Now, heard: EpochKeys | None = None) -> LinkCell:
    """Leave every epoch that this link may have reached after the backup was made, and the one `heard` of (LK-10).

    The same backup may be put back twice, and neither life knows of the other. Where its numbers begin, in this epoch and
    in every later one, is read off the wall clock, one a second: a second life begins above all that the first has used.
    """
    standing, end = cell.standing, cell.end
    known = [*standing.trail, standing.keys, standing.ahead, *standing.beyond]
    first = known[0].le
    here = JUMP if heard is None else max(JUMP, heard.le - first) + 1
    while len(known) <= max(FORMER, here + 1):
        known.append(end.after(known[-1]))
    if standing.doubtful:
        end = replace(end, origin=now.wall % ORIGINS)
    moved = moved_to(replace(cell, end=end), known[here], now, trail=tuple(known[:here]))
    return replace(moved, standing=replace(moved.standing, beyond=tuple(known[here + 2 :])))


def afresh(cell: LinkCell, now: Now) -> LinkCell:
    """Leave the epoch of which a restart has left us ignorant what was received in it: there the answer would be refused."""
    if cell.standing.doubtful:
        return jumped(cell, now)
    return stepped(cell, now) if cell.standing.resumed else cell


def former_epoch(cell: LinkCell, record: Link) -> EpochKeys | None:
    """Return the epoch of a record that may be a former life's, None when this link has none or the epoch is not among them.

    Where a backup put it, JUMP epochs after its own, a link only speaks: another life may have been there before. It
    listens in a later one, to which it has called the peer.
    """
    standing = cell.standing
    if standing.doubtful or len(standing.trail) == JUMP:
        candidates = (*standing.trail, standing.keys, standing.ahead, *standing.beyond)
    else:
        candidates = (standing.ahead, *standing.beyond) if standing.beyond else ()
    return next((keys for keys in candidates if keys.lid == record.lid and keys.le == record.le), None)


def rolled(cell: LinkCell, record: Link) -> EpochKeys:
    """Return the keys of a later epoch that the peer has gone to; only the device's end follows further than one."""
    end, keys, here = cell.end, cell.standing.ahead, cell.standing.keys.le
    limit = here + (2 * JUMP if end.own_part == 0 else 1)
    if not here < record.le <= limit:
        raise PeerFault(ErrorCode.E_EPOCH, f"record of link epoch {record.le}, here it is {here}")
    while keys.le < record.le:
        keys = end.after(keys)
    if keys.lid != record.lid:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, "no link has this pseudonym")
    return keys
