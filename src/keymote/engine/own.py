"""A manager's own durable state: the keys that its shares are derived from, and its status epoch."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.engine.base import CellKey, Durability, Item, Kind, Now, Step, Tell, Told, replace
from keymote.engine.context import RegistrarContext
from keymote.errors import ErrorCode, PeerFault

OLD_KEY_S: Final = 600
"""How long an exchanged k_nm still answers for sessions that were begun with it (PW-17)."""


@dataclass(frozen=True, slots=True)
class ShareKey:
    """k_nm number `number`, `retired` 0 while it is the present one, else the wall time of its exchange."""

    number: int
    key: Secret
    born: int
    retired: int = 0


@dataclass(frozen=True, slots=True)
class OwnCell:
    keys: tuple[ShareKey, ...]
    status_epoch: int


class WantShareKey(NamedTuple):
    """Tell `session` the present k_nm, or the one with this `number` if the session already answered with it."""

    session: CellKey
    number: int | None


class ShareKeyIs(NamedTuple):
    """The answer; `key` None: the one asked for is gone."""

    number: int
    key: Secret | None
    status_epoch: int


@dataclass(frozen=True, slots=True)
class RaiseStatusEpoch:
    """The revocation list has changed (RV-08)."""


def own_kind(context: RegistrarContext) -> Kind:
    """Return the kind `own`."""

    def step(cell: OwnCell | None, item: Item, now: Now, entropy: Entropy) -> Step:
        if cell is None:
            cell = OwnCell((ShareKey(1, Secret(entropy.draw(32)), now.wall),), 1)
        match item:
            case Told(WantShareKey(session, number)):
                cell = _rotated(cell, context.policy.k_nm_life_s, now, entropy)
                wanted = cell.keys[-1].number if number is None else number
                found = next((k.key for k in cell.keys if k.number == wanted), None)
                return cell, [Tell(session, ShareKeyIs(wanted, found, cell.status_epoch))]
            case Told(RaiseStatusEpoch()):
                return replace(cell, status_epoch=cell.status_epoch + 1), ()
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not for the own cell")

    return Kind("own", Durability.DURABLE, step, record=_record, load=_load)


def _rotated(cell: OwnCell, life_s: int, now: Now, entropy: Entropy) -> OwnCell:
    present = cell.keys[-1]
    if now.wall < present.born + life_s:
        return cell
    kept = tuple(key for key in cell.keys[:-1] if now.wall < key.retired + OLD_KEY_S)
    fresh = ShareKey(present.number + 1, Secret(entropy.draw(32)), now.wall)
    return replace(cell, keys=(*kept, replace(present, retired=now.wall), fresh))


def _record(cell: OwnCell) -> bytes:
    keys = [[key.number, key.key.expose(), key.born, key.retired] for key in cell.keys]
    return cbor.encode_array(1, keys, cell.status_epoch)


def _load(_id: bytes, record: bytes) -> OwnCell:
    row: Any = cbor.decode(record, max_size=2048)
    _, keys, status_epoch = row
    return OwnCell(
        tuple(ShareKey(number, Secret(key), born, retired) for number, key, born, retired in keys), status_epoch
    )
