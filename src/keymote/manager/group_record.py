"""What a manager keeps of a group that it leads: what the coordinator stated last, what happened here since, who was invited."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from keymote import cbor
from keymote.engine.base import CellKey, replace
from keymote.errors import Incompatible
from keymote.host.ports import Write
from keymote.wire import admin
from keymote.wire.admin_groups import CharterView

DIGEST: Final = 16
"""Bytes by which an invitation is known again."""
GROUP: Final = "group"
"""Kind of the rows, named by gid."""
_MOST: Final = 1 << 20
_MOST_PSKS: Final = 2
_VERSION: Final = 1


class What(IntEnum):
    """What changed who belongs to a group without the coordinator."""

    JOINED = 0
    LEFT = 1
    EVICTED = 2


@dataclass(frozen=True, slots=True)
class Here:
    """Something that happened here; report `seq` says it to the coordinator, whose charter covers it from then on."""

    seq: int
    what: What
    dev_id: bytes
    reason: int = 0


@dataclass(frozen=True, slots=True)
class Said:
    """What a device was told last: an invitation by its digest, empty for UNINVITE; `answered`: it has taken that.

    `kid` is the one under which it belongs, as it said last, and `former` that before; both empty before its first answer.
    `psks` names the hedges that it took under `kid`, newest first, at most two as it keeps them (GH-01).
    """

    digest: bytes
    answered: bool = False
    kid: bytes = b""
    former: bytes = b""
    psks: tuple[bytes, ...] = ()

    @property
    def kids(self) -> tuple[bytes, ...]:
        """The names by which it may stand on a roster."""
        return tuple(kid for kid in (self.kid, self.former) if kid)

    def again(self, digest: bytes) -> "Said":
        """Return what follows when it is told something else; one that forgets the group forgets its hedges."""
        return replace(self, digest=digest, answered=False, psks=self.psks if digest else ())

    def by(self, kid: bytes, psk_id: bytes) -> "Said":
        """Return what follows from its answer under this kid, to an invitation with this hedge, or with none (empty)."""
        same = kid == self.kid
        held = tuple(each for each in (self.psks if same else ()) if each != psk_id)
        psks = (psk_id, *held)[:_MOST_PSKS] if psk_id else held
        return replace(self, answered=True, kid=kid, former=self.former if same else self.kid, psks=psks)

    def doubted(self) -> "Said":
        """Return what follows when it is silent in a run: it is told again, and counts as holding nothing until it answers."""
        return replace(self, answered=False, psks=())


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """The durable state of one group at its gateway, beside the engine's ring.

    `charter` None: the coordinator has not been asked yet. `rekeyed` counts the wishes for a new epoch that were fulfilled;
    `ver` and `epoch` are the highest that were reported. `generation` counts the backups of this manager that were put back
    and that the ring has leapt over. `former` is the kid by which a device stood in the charter before its last renewal, by
    dev_id: of one that is enrolled elsewhere nothing else tells.
    """

    gid: bytes
    charter: CharterView | None = None
    rekeyed: int = 0
    ver: int = 0
    epoch: int = 0
    here: tuple[Here, ...] = ()
    said: Mapping[bytes, Said] = field(default_factory=dict)
    generation: int = 0
    former: Mapping[bytes, bytes] = field(default_factory=dict)

    def happened(self, event: Here) -> "GroupRecord":
        """Return the record after `event`; of one device only the last counts."""
        others = tuple(each for each in self.here if each.dev_id != event.dev_id)
        return replace(self, here=(*others, event))

    def told(self, dev_id: bytes, said: Said | None) -> "GroupRecord":
        """Return the record after a device was told something, or (None) is none of ours any more."""
        left = {each: told for each, told in self.said.items() if each != dev_id}
        return replace(self, said=left if said is None else {**left, dev_id: said})

    def adopting(self, charter: CharterView) -> "GroupRecord":
        """Return the record under a newer charter: what its author has heard of is in it."""
        here = tuple(event for event in self.here if event.seq > charter.reported)
        before, now = _kids(self.charter), _kids(charter)
        renewed = {dev_id: before[dev_id] for dev_id, kid in now.items() if before.get(dev_id, kid) != kid}
        former = {dev_id: kid for dev_id, kid in {**self.former, **renewed}.items() if dev_id in now}
        return replace(self, charter=charter, here=here, former=former)

    def renumbered(self, offset: int) -> "GroupRecord":
        """Return the record after the reports that wait got numbers higher by `offset`."""
        return replace(self, here=tuple(replace(event, seq=event.seq + offset) for event in self.here))

    # ------------------------------------------------------------------ on disk

    @property
    def row(self) -> Write:
        """What goes to disk."""
        return Write(CellKey(GROUP, self.gid), self.encode())

    def encode(self) -> bytes:
        """Return the row."""
        charter = b"" if self.charter is None else admin.encode(self.charter)
        here = [[event.seq, int(event.what), event.dev_id, event.reason] for event in self.here]
        said = [
            [dev_id, told.digest, told.answered, told.kid, told.former, list(told.psks)]
            for dev_id, told in self.said.items()
        ]
        former = [[dev_id, kid] for dev_id, kid in self.former.items()]
        return cbor.encode(
            [_VERSION, charter, [self.rekeyed, self.ver, self.epoch, self.generation], here, said, former]
        )

    @classmethod
    def decode(cls, gid: bytes, row: bytes) -> "GroupRecord":
        """Return what a row says; Incompatible for one of another version."""
        items: Any = cbor.decode(row, max_size=_MOST)
        match items:
            case [int(version), charter, [rekeyed, ver, epoch, generation], here, said, *more] if version == _VERSION:
                return cls(
                    gid,
                    admin.decode(charter, CharterView) if charter else None,
                    rekeyed,
                    ver,
                    epoch,
                    tuple(Here(seq, What(what), dev_id, reason) for seq, what, dev_id, reason in here),
                    {
                        dev_id: Said(digest, answered, kid, former, tuple(psks[0]) if psks else ())
                        for dev_id, digest, answered, kid, former, *psks in said
                    },
                    generation,
                    dict(more[0]) if more else {},
                )
        raise Incompatible("the record of a group is of another version", do="use the version that wrote it")


def _kids(charter: CharterView | None) -> Mapping[bytes, bytes]:
    """Return by which kid a charter names devices."""
    named = () if charter is None else (*charter.allowed, *charter.members)
    return {bytes.fromhex(each.dev_id): bytes.fromhex(each.kid) for each in named}
