"""The root gateway: the kind `root_gateway`, one cell for each gid_root, beside the ring of the top (Triad-1 3.7).

It never has the root key. It learns from signed reports which kcv the key has that the top ring's members compute, and signs
ROOT when they all say the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.engine.base import Command, Due, Durability, Item, Kind, Now, Output, Step, Tell, Told, replace
from keymote.engine.group.faces import ForgetGroup, Resume, ring_of
from keymote.engine.group.party import Party
from keymote.engine.group.ring import SID8
from keymote.engine.group.root_faces import (
    FormRoot,
    HandOn,
    KcvReported,
    RatchetRoot,
    RootAnnounced,
    RootStuck,
    TopAgreed,
)
from keymote.engine.group.timing import Asking
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.group import FRESH, RATCHET, Need, RootClaims, What, bitmap
from keymote.wire.group_signed import read, write

REPORTERS: Final = 2
"""Members of the top ring whose word is asked for a ratchet step (Triad-1 3.7)."""

Reports = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Top:
    """The newest committed run of the top ring: its name and its members in ring order."""

    sid8: bytes
    kids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RootGatewayLasting:
    """The durable part: `gid` of the top ring, `kid` that signs, `e` of the newest ROOT and that message, the top ring's run."""

    gid: bytes
    kid: bytes
    e: int = 0
    root: bytes = field(default=b"", repr=False)
    top: Top | None = None


@dataclass(frozen=True, slots=True)
class AwaitReports:
    """The members of the top ring are asked for the kcv of the next root key. `kcvs` by kid; `everybody` must say one."""

    mode: int
    kcvs: Reports
    everybody: bool
    asking: Asking


@dataclass(frozen=True, slots=True)
class Announced:
    """The newest ROOT is out, or there is none yet."""


@dataclass(frozen=True, slots=True)
class RootGatewayCell:
    """One root group at the gateway of its top ring."""

    gid_root: bytes
    lasting: RootGatewayLasting
    stage: AwaitReports | Announced = field(default_factory=Announced)


GatewayStep = tuple[RootGatewayCell, Sequence[Output]]


def root_gateway_kind(party: Party) -> Kind:
    """Return the kind `root_gateway` of a node that signs as `party`."""
    steps = _Steps(party)
    return Kind(
        "root_gateway",
        Durability.DURABLE,
        steps.step,
        record=_record,
        load=_load,
        deadline=lambda cell: cell.stage.asking.at if isinstance(cell.stage, AwaitReports) else None,
        same_record=lambda old, new: old.lasting is new.lasting,
    )


class _Steps:
    def __init__(self, party: Party) -> None:
        self.party = party

    def step(self, cell: RootGatewayCell | None, item: Item, now: Now, _entropy: Entropy) -> Step:
        match item, cell:
            case FormRoot(gid_root, top, kid), None:
                return RootGatewayCell(gid_root, RootGatewayLasting(top, kid)), ()
            case Resume(), None:
                return None, ()
            case _, None:
                raise PeerFault(ErrorCode.E_UNKNOWN_ID, "this node does not lead the root group")
            case FormRoot(), _:
                raise CallerFault("this root group is led already", do="forget the group first")
            case Told(TopAgreed(sid, kids, kcvs)), _:
                return self._agreed(cell, Top(sid[:SID8], kids), kcvs, now)
            case Told(KcvReported(sid8, kid, kcv)), _:
                return self._reported(cell, sid8, kid, kcv, now)
            case RatchetRoot(), _:
                return self._ratchet(cell, now)
            case Due(), _:
                return self._due(cell, now)
            case Resume(), _:
                return cell, self._again(cell)
            case ForgetGroup(), _:
                return None, ()
            case ((Command() | Told()), _):
                raise PeerFault(ErrorCode.E_STATE, "not for a root gateway")
            case _:
                return cell, ()

    # ------------------------------------------------------------------ what the top ring says

    def _agreed(self, cell: RootGatewayCell, top: Top, kcvs: Reports, now: Now) -> GatewayStep:
        """A new key of the top ring: announce the fresh root key if all members have signed one kcv for it (CL-02)."""
        cell = replace(cell, lasting=replace(cell.lasting, top=top), stage=Announced())
        if _one(kcvs, top.kids) is not None:
            return self._announced(cell, FRESH, kcvs, now)
        return self._asking(cell, FRESH, now, everybody=True)

    def _ratchet(self, cell: RootGatewayCell, now: Now) -> GatewayStep:
        if cell.lasting.top is None or not cell.lasting.root:
            raise CallerFault("there is no root key yet", do="form the top ring first")
        if isinstance(cell.stage, AwaitReports):
            return cell, ()  # a newer root key is on its way
        return self._asking(cell, RATCHET, now, everybody=False)

    def _reported(self, cell: RootGatewayCell, sid8: bytes, kid: bytes, kcv: bytes, now: Now) -> GatewayStep:
        """Count a report; E_STATE for one of another run or that nobody asked for."""
        stage, top = cell.stage, cell.lasting.top
        if not isinstance(stage, AwaitReports) or top is None or sid8 != top.sid8:
            raise PeerFault(ErrorCode.E_STATE, "nobody asked for this kcv")
        kcvs = {**stage.kcvs, kid: kcv}
        cell = replace(cell, stage=replace(stage, kcvs=kcvs))
        enough = top.kids if stage.everybody else tuple(kcvs)
        if len(kcvs) < REPORTERS or _one(kcvs, enough) is None:
            return cell, ()
        return self._announced(cell, stage.mode, kcvs, now)

    # ------------------------------------------------------------------ asking and announcing

    def _asking(self, cell: RootGatewayCell, mode: int, now: Now, *, everybody: bool) -> GatewayStep:
        """Ask for kcvs: two members for a step, all where they have differed; who missed a ROOT is shown the newest first."""
        stage = AwaitReports(mode, {}, everybody and mode == FRESH, Asking.after_progress(now))
        return replace(cell, stage=stage), self._question(cell, everybody=everybody)

    def _question(self, cell: RootGatewayCell, *, everybody: bool) -> list[Output]:
        top = cell.lasting.top
        assert top is not None
        which = range(len(top.kids) if everybody else REPORTERS)
        asked = Need(top.sid8, What.R3, bitmap(which)).encode()
        shown = [cell.lasting.root] if everybody and cell.lasting.root else []
        return [Tell(ring_of(cell.lasting.gid), HandOn(data)) for data in (*shown, asked)]

    def _announced(self, cell: RootGatewayCell, mode: int, kcvs: Reports, now: Now) -> GatewayStep:
        """Sign ROOT. Its number is on disk before it leaves; it grows with every root key (CL-03)."""
        lasting = cell.lasting
        kcv = next(iter(kcvs.values()))
        claims = RootClaims(cell.gid_root, lasting.e + 1, kcv, mode, self.party.timestamp(now))
        root = write(self.party.signing, claims, kid=lasting.kid)
        cell = replace(cell, lasting=replace(lasting, e=claims.e, root=root), stage=Announced())
        return cell, self._again(cell)

    def _again(self, cell: RootGatewayCell) -> list[Output]:
        """Return what brings the newest ROOT to the top ring, and to whoever reaches the gateways of the others."""
        lasting = cell.lasting
        if not lasting.root:
            return []
        claims = read(lasting.root, RootClaims, sizes_of(self.party.signing.suite_id)).claims
        report = RootAnnounced(cell.gid_root, claims.e, claims.mode, lasting.root)
        return [Tell(ring_of(lasting.gid), HandOn(lasting.root)), report]

    def _due(self, cell: RootGatewayCell, now: Now) -> GatewayStep:
        """Ask all members anew after a second; after 20 questions say that there is no agreement (fail closed)."""
        stage = cell.stage
        if not isinstance(stage, AwaitReports) or now.mono < stage.asking.at:
            return cell, ()
        if not stage.asking.left:
            return replace(cell, stage=Announced()), [RootStuck(cell.gid_root, cell.lasting.e + 1, stage.kcvs)]
        kcvs = {} if len(set(stage.kcvs.values())) > 1 else stage.kcvs
        again = replace(stage, kcvs=kcvs, asking=stage.asking.again(now))
        return replace(cell, stage=again), self._question(cell, everybody=True)


def _one(kcvs: Reports, kids: Sequence[bytes]) -> bytes | None:
    """Return the kcv that all of these members have signed; None where one is missing or differs."""
    said = {kcvs.get(kid) for kid in kids}
    return said.pop() if len(said) == 1 else None


# ------------------------------------------------------------------ the record


def _record(cell: RootGatewayCell) -> bytes:
    lasting = cell.lasting
    top = None if lasting.top is None else [lasting.top.sid8, b"".join(lasting.top.kids)]
    return cbor.encode_array(1, lasting.gid, lasting.kid, lasting.e, lasting.root, top)


def _load(gid_root: bytes, data: bytes) -> RootGatewayCell:
    row: Any = cbor.decode(data, max_size=2048)
    _, gid, kid, e, root, top_row = row
    top = None
    if top_row is not None:
        sid8, packed = top_row
        top = Top(sid8, tuple(packed[at : at + 8] for at in range(0, len(packed), 8)))
    return RootGatewayCell(gid_root, RootGatewayLasting(gid, kid, e, root, top))
