"""Masked aggregation at the gateway (Triad-1 3.9, 8): the reports of one period, and their sum once the masks are off.

Needs no group key: a relay gateway runs it. What it relays for the members (MASKKEY, MASKAGREE) it need not read.
"""

from dataclasses import dataclass
from typing import Self

from keymote.crypto.suite import SigningKey
from keymote.engine.base import replace
from keymote.engine.group.mask_ring import MaskRing
from keymote.engine.group.masks import sign, unmasked
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.group import bitmap
from keymote.wire.group_signed import read, write
from keymote.wire.masking import MASK_SIZE, MaskPresentClaims, MaskReportClaims, MaskRevealClaims


@dataclass(frozen=True, slots=True)
class Collecting:
    """Reports of period t come in; `masked` by idx."""

    ring: MaskRing
    t: int
    masked: tuple[int | None, ...]

    @classmethod
    def begin(cls, ring: MaskRing, t: int) -> Self:
        return cls(ring, t, (None,) * ring.n)


@dataclass(frozen=True, slots=True)
class Revealing:
    """The bitmap is signed (`wire`, to be repeated as it is). `residues` by idx: what each reveal takes off the sum."""

    ring: MaskRing
    t: int
    masked: tuple[int | None, ...]
    present: bytes
    wire: bytes
    residues: tuple[int | None, ...]

    @property
    def missing(self) -> tuple[int, ...]:
        """Return who is present and has not revealed."""
        return tuple(
            idx
            for idx, (y, r) in enumerate(zip(self.masked, self.residues, strict=True))
            if y is not None and r is None
        )

    def total(self) -> int | None:
        """Return the sum of the readings of those present; None while a reveal is missing."""
        if self.missing:
            return None
        return unmasked((y for y in self.masked if y is not None), (r for r in self.residues if r is not None))


def hear_report(state: Collecting, data: bytes) -> Collecting:
    """Take a member's report; the same one again changes nothing, another one is E_STATE."""
    ring = state.ring
    claimed = read(data, MaskReportClaims, sizes_of(ring.suite.id))
    claims = claimed.verified_by(ring.key_of(claimed.claims.sid8, claimed.claims.idx), ring.sid)
    masked = int.from_bytes(claims.masked, "big")
    if claims.t != state.t or state.masked[claims.idx] not in (None, masked):
        raise PeerFault(ErrorCode.E_STATE, f"another report of member {claims.idx}, or of another period")
    return replace(state, masked=_placed(state.masked, claims.idx, masked))


def close(state: Collecting, signing: SigningKey) -> Revealing:
    """End the period: sign who has reported. E_STATE when too few have; nothing of them can be known then."""
    ring = state.ring
    reported = [idx for idx, masked in enumerate(state.masked) if masked is not None]
    if len(reported) < ring.least:
        raise PeerFault(ErrorCode.E_STATE, f"{len(reported)} reports, a sum takes {ring.least}")
    present = bitmap(reported)
    wire = write(signing, MaskPresentClaims(ring.sid8, state.t, present), ring.sid, kid=ring.gw_kid)
    return Revealing(ring, state.t, state.masked, present, wire, (None,) * ring.n)


def hear_reveal(state: Revealing, data: bytes) -> Revealing:
    """Take a member's masks; E_STATE for another period or bitmap, or other masks than before."""
    ring = state.ring
    claimed = read(data, MaskRevealClaims, sizes_of(ring.suite.id))
    claims = claimed.verified_by(ring.key_of(claimed.claims.sid8, claimed.claims.idx), ring.sid)
    absent = [j for j, masked in enumerate(state.masked) if masked is None]
    if (claims.t, claims.present) != (state.t, state.present) or claims.idx in absent:
        raise PeerFault(ErrorCode.E_STATE, "a reveal of another period or bitmap, or by somebody who is absent")
    if len(claims.shared) != MASK_SIZE * len(absent):
        raise PeerFault(ErrorCode.E_FORMAT, f"{len(claims.shared)} bytes of masks with {len(absent)} who are absent")
    shared = zip(absent, range(0, len(claims.shared), MASK_SIZE), strict=True)
    residue = int.from_bytes(claims.own, "big") + sum(
        sign(claims.idx, j) * int.from_bytes(claims.shared[at : at + MASK_SIZE], "big") for j, at in shared
    )
    if state.residues[claims.idx] not in (None, residue):
        raise PeerFault(ErrorCode.E_STATE, f"member {claims.idx} has revealed other masks")
    return replace(state, residues=_placed(state.residues, claims.idx, residue))


def _placed(values: tuple[int | None, ...], at: int, value: int) -> tuple[int | None, ...]:
    return (*values[:at], value, *values[at + 1 :])
