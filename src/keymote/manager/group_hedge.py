"""The post-quantum hedge of a group: keys that its gateway draws and hands out over LINK (Triad-1 3.6, decision 0165).

Who records a run today and breaks its elliptic curve later lacks this key, for LINK never carried it in the clear.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.engine.base import CellKey, replace
from keymote.engine.group.faces import Hedge
from keymote.errors import Incompatible
from keymote.host.ports import Write
from keymote.manager.group_record import Said

HEDGE: Final = "group-hedge"
"""Kind of the rows, named by gid, sealed like all others."""
PSK_ID: Final = 8
PSK: Final = 32
MOST: Final = 2
"""Hedges in use, as many as a member keeps: the newest, and the one before for runs that cannot wait."""
_MOST_ROW: Final = 1 << 14
_VERSION: Final = 1


class Psk(NamedTuple):
    """A hedge: `psk_id` 8 bytes, public; `psk` 32 bytes; `told` the dev_ids that it was, or will be, sent to."""

    psk_id: bytes
    psk: Secret
    told: frozenset[bytes] = frozenset()

    @property
    def said(self) -> bytes:
        """As INVITE says it."""
        return self.psk_id + self.psk.expose()


@dataclass(frozen=True, slots=True)
class Hedges:
    """The hedges of one group, newest first, at most two."""

    gid: bytes
    psks: tuple[Psk, ...] = ()

    @property
    def newest(self) -> Psk | None:
        return self.psks[0] if self.psks else None

    def for_members(self, members: frozenset[bytes], ours: frozenset[bytes], entropy: Entropy) -> "Hedges":
        """Return the hedges after the newest was meant for those of `members` (dev_ids) that are `ours` to tell.

        Another one is drawn when there is none, or when somebody who was told is no member any more (GH-03).
        """
        newest = self.newest
        if newest is None or newest.told - members:
            drawn = Psk(entropy.draw(PSK_ID), Secret(entropy.draw(PSK)), ours)
            return replace(self, psks=(drawn, *self.psks[: MOST - 1]))
        if ours <= newest.told:
            return self
        return replace(self, psks=(newest._replace(told=newest.told | ours), *self.psks[1:]))

    def held_by(self, said: Mapping[bytes, Said], here: Iterable[bytes]) -> tuple[Hedge, ...]:
        """Return who is known to hold which, by kid, from what devices answered; `here` are this gateway's own kids.

        A device whose credential was renewed stands on the roster by its former kid for a while.
        """
        own = frozenset(here)
        return tuple(
            Hedge(
                each.psk_id,
                own | {kid for told in said.values() if each.psk_id in told.psks for kid in told.kids},
            )
            for each in self.psks
        )

    # ------------------------------------------------------------------ on disk

    @property
    def row(self) -> Write:
        """What goes to disk; without a hedge no row is left."""
        return Write(CellKey(HEDGE, self.gid), self.encode() if self.psks else None)

    def encode(self) -> bytes:
        """Return the row."""
        rows = [[each.psk_id, each.psk.expose(), sorted(each.told)] for each in self.psks]
        return cbor.encode([_VERSION, rows])

    @classmethod
    def decode(cls, gid: bytes, row: bytes | None) -> "Hedges":
        """Return what a row says, no hedge without one; Incompatible for one of another version."""
        if row is None:
            return cls(gid)
        items: Any = cbor.decode(row, max_size=_MOST_ROW)
        match items:
            case [int(version), rows] if version == _VERSION:
                return cls(gid, tuple(Psk(psk_id, Secret(psk), frozenset(told)) for psk_id, psk, told in rows))
        raise Incompatible("the hedges of a group are of another version", do="use the version that wrote them")
