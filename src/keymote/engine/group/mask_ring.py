"""Who aggregates under masks in one epoch, and how their messages are verified (Triad-1 3.9)."""

from dataclasses import dataclass
from typing import Final

from keymote.crypto.suite import Point, Suite, VerifyKey
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.group import MaskKeyClaims
from keymote.wire.group_signed import read

FEWEST_PRESENT: Final = 3
"""With two, each of them learns the other's reading from the sum."""


@dataclass(frozen=True, slots=True)
class MaskRing:
    """The run that made the epoch (`sid` 16 bytes, `th1` 32), its members' keys in roster order, and its gateway.

    `least` members must be present in a sum: all but one of them have to collude with the gateway to isolate the last one.
    """

    suite: Suite
    sid: bytes
    th1: bytes
    members: tuple[VerifyKey, ...]
    gw_kid: bytes
    gw: VerifyKey
    least: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "least", max(self.least or self.n // 2 + 1, FEWEST_PRESENT))

    @property
    def n(self) -> int:
        return len(self.members)

    @property
    def sid8(self) -> bytes:
        return self.sid[:8]

    def key_of(self, sid8: bytes, idx: int) -> VerifyKey:
        """Return the key of a sender of this run; E_STATE for another run, E_UNKNOWN_ID for nobody."""
        if sid8 != self.sid8:
            raise PeerFault(ErrorCode.E_STATE, "of another run")
        if idx >= self.n:
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"member {idx} of {self.n}")
        return self.members[idx]

    def hear_key(self, data: bytes) -> tuple[int, Point]:
        """Return who sent a MASKKEY, and its checked point."""
        claimed = read(data, MaskKeyClaims, sizes_of(self.suite.id))
        claims = claimed.verified_by(self.key_of(claimed.claims.sid8, claimed.claims.idx), self.th1)
        return claims.idx, self.suite.check(claims.M)

    def members_in(self, present: bytes) -> frozenset[int]:
        """Return the positions of a bitmap; E_FORMAT for one beyond the ring."""
        bits = int.from_bytes(present, "big")
        if bits >> self.n:
            raise PeerFault(ErrorCode.E_FORMAT, "somebody beyond the roster is present")
        return frozenset(idx for idx in range(self.n) if bits >> idx & 1)
