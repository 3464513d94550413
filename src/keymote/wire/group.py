"""Messages of the group key (Triad-1 3.3 to 3.9): between the members of a ring, their gateway and the roster authority.

Most are a COSE_Sign1 whose payload is one of the `...Claims` below (`wire/group_signed.py` signs and reads them); ctx, which
the signature covers and nobody sends, is named beside each.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Annotated, ClassVar, Final

from keymote import cbor
from keymote.wire.cose import InlineSign1, Sign1
from keymote.wire.fields import (
    CODE,
    HASH,
    ID,
    MAC,
    POINT,
    SIGNATURE,
    Number,
    Octets,
    Uint,
    sealed,
)
from keymote.wire.group_fields import (
    Cause,
    Datagrams,
    Entry,
    Kids,
    OrNull,
    Reason,
    RosterEntries,
    Which,
)
from keymote.wire.message import Body, Message, body, message

FEWEST: Final = 2
MOST: Final = 32
"""Members of one ring (Triad-1 3.3)."""

IDX: Final = Number(0, MOST - 1)
"""A member's position in the roster, whose entries ascend by kid."""
RELAY: Final = 0
EDGE: Final = 1
JOIN: Final = 1
LEAVE: Final = 2
FRESH: Final = 0
RATCHET: Final = 1


# ------------------------------------------------------------------ who belongs to a group


@message(11)
class Delegation(Message):
    """RA -> GW -> members, before START: this gateway may lead the group and sign its rosters. ctx empty."""

    envelope: Annotated[Sign1, InlineSign1(kid=True)]


@body
class DelegationClaims(Body):
    """`max_n` members at most in a roster that the gateway signs, until `not_after` (UTC seconds); 0: it signs none."""

    gid: Annotated[bytes, ID]
    gw_kid: Annotated[bytes, ID]
    gw_sig_pk: Annotated[bytes, POINT]
    not_after: Annotated[int, Uint()]
    max_n: Annotated[int, Number(0, MOST)]


@message(39, max_size=cbor.MAX_SIZE_LARGE)
class Roster(Message):
    """RA, or the GW under its delegation -> members: who belongs to the ring. ctx empty."""

    envelope: Annotated[Sign1, InlineSign1(kid=True)]


@body
class RosterClaims(Body):
    """The whole roster. No delegate or deputy (null) where the ring stands under no other (docs/decisions/0140)."""

    max_size: ClassVar[int] = cbor.MAX_SIZE_LARGE
    gid: Annotated[bytes, ID]
    ver: Annotated[int, Uint()]
    entries: Annotated[tuple[Entry, ...], RosterEntries(FEWEST, MOST)]
    delegate_idx: Annotated[int | None, OrNull(IDX)]
    deputy_idx: Annotated[int | None, OrNull(IDX)]


@body
class RosterDelta(Body):
    """What roster `ver` changes of roster `base_ver`; delegate and deputy are positions in the new one."""

    max_size: ClassVar[int] = cbor.MAX_SIZE_LARGE
    gid: Annotated[bytes, ID]
    ver: Annotated[int, Uint()]
    base_ver: Annotated[int, Uint()]
    added: Annotated[tuple[Entry, ...], RosterEntries(0, MOST)]
    removed: Annotated[tuple[bytes, ...], Kids(0, MOST)]
    delegate_idx: Annotated[int | None, OrNull(IDX)]
    deputy_idx: Annotated[int | None, OrNull(IDX)]


@message(40)
class JoinRequest(Message):
    """Member -> GW: JOINREQ or LEAVE. ctx empty."""

    envelope: Annotated[Sign1, InlineSign1(kid=True)]


@body
class JoinClaims(Body):
    """`wish` 1 join, 2 leave; `nonce` is the sid8 of the newest START that the member saw (docs/decisions/0142)."""

    gid: Annotated[bytes, ID]
    wish: Annotated[int, Number(JOIN, LEAVE)]
    nonce: Annotated[bytes, ID]
    ts: Annotated[int, Uint()]


# ------------------------------------------------------------------ the run


@message(32)
class Start(Message):
    """GW -> members: a new run. ctx empty; SHA256 of its payload names the run."""

    envelope: Annotated[Sign1, InlineSign1(kid=True)]


@body
class StartClaims(Body):
    """`mode` 0 relay, 1 edge (the gateway is a member); `ts` UTC seconds; `lifetime_s` until the next planned run."""

    gid: Annotated[bytes, ID]
    epoch: Annotated[int, Uint()]
    attempt: Annotated[int, Uint()]
    mode: Annotated[int, Number(RELAY, EDGE)]
    n: Annotated[int, Number(FEWEST, MOST)]
    roster_hash: Annotated[bytes, HASH]
    gw_nonce: Annotated[bytes, Octets(16)]
    ts: Annotated[int, Uint()]
    lifetime_s: Annotated[int, Uint()]
    reason: Annotated[Cause, Reason()]


@message(33)
class Round1(Message):
    """R1, member -> ring: my X_i. ctx sid."""

    envelope: Annotated[Sign1, InlineSign1(kid=False)]


@body
class Round1Claims(Body):
    sid8: Annotated[bytes, ID]
    idx: Annotated[int, IDX]
    X: Annotated[bytes, POINT]
    nonce: Annotated[bytes, ID]
    ts: Annotated[int, Uint()]


@message(34)
class Round1Compact(Message):
    """R1c, member -> ring: the claims of R1 without a signature, for frames of 127 bytes."""

    sid8: Annotated[bytes, ID]
    idx: Annotated[int, IDX]
    X: Annotated[bytes, POINT]
    nonce: Annotated[bytes, ID]
    ts: Annotated[int, Uint()]


@message(35)
class Round2(Message):
    """R2, member -> ring: my Y_i and the proof for it. ctx th1."""

    envelope: Annotated[Sign1, InlineSign1(kid=False)]


@body
class Round2Claims(Body):
    """`Y` and `dleq` (c and s, 32 bytes each) are null in a ring of two and nowhere else."""

    sid8: Annotated[bytes, ID]
    idx: Annotated[int, IDX]
    Y: Annotated[bytes | None, OrNull(POINT)]
    dleq: Annotated[bytes | None, OrNull(SIGNATURE)]


@message(36)
class Round3(Message):
    """R3, member -> GW: the tag that only a holder of the key can make."""

    sid8: Annotated[bytes, ID]
    idx: Annotated[int, IDX]
    tag: Annotated[bytes, MAC]


@message(36)
class SignedRound3(Message):
    """R3 in the top ring of a hierarchy. ctx sid."""

    envelope: Annotated[Sign1, InlineSign1(kid=False)]


@body
class Round3Claims(Body):
    """`tag` is all zeros when only a ratcheted root key is reported (Triad-1 8)."""

    sid8: Annotated[bytes, ID]
    idx: Annotated[int, IDX]
    tag: Annotated[bytes, MAC]
    kcv: Annotated[bytes, Octets(16)]


@message(37)
class Commit(Message):
    """GW -> members: everybody has confirmed. ctx sid."""

    envelope: Annotated[Sign1, InlineSign1(kid=True)]


@body
class CommitClaims(Body):
    """`xor_tag` is the XOR of the tags of all members."""

    sid8: Annotated[bytes, ID]
    th2: Annotated[bytes, HASH]
    xor_tag: Annotated[bytes, MAC]


@message(38)
class Blame(Message):
    """GW -> members: this member has cheated. ctx sid. Its R1 or R2 is the evidence, answered to NEED."""

    envelope: Annotated[Sign1, InlineSign1(kid=True)]


@body
class BlameClaims(Body):
    sid8: Annotated[bytes, ID]
    idx: Annotated[int, IDX]
    code: Annotated[int, CODE]


# ------------------------------------------------------------------ repair


class What(IntEnum):
    """What a NEED asks for (Triad-1 3.5, 8)."""

    R1 = 1
    R2 = 2
    R3 = 3
    EVIDENCE = 4
    ROSTER = 5
    WRAP = 6
    COMMIT = 7
    START = 8


@message(43)
class Need(Message):
    """Member -> GW, or GW -> member: please send this again. `of` is sid8; gid where a roster or START is missing.

    `which` is one idx, or a set of them as 4 bytes (docs/decisions/0140): `bitmap` makes it, `indices` reads it.
    """

    of: Annotated[bytes, ID]
    what: Annotated[int, Number(min(What), max(What))]
    which: Annotated[int | bytes, Which(MOST - 1)]

    @property
    def indices(self) -> Sequence[int]:
        """Return the positions asked for, ascending."""
        if isinstance(self.which, int):
            return (self.which,)
        bits = int.from_bytes(self.which, "big")
        return [idx for idx in range(MOST) if bits >> idx & 1]


def bitmap(indices: Iterable[int]) -> bytes:
    """Return a set of positions as NEED names it: bit i of a 32-bit number, big endian."""
    return sum(1 << idx for idx in set(indices)).to_bytes(4, "big")


@message(46, max_size=cbor.MAX_SIZE_BUNDLE)
class Bundle(Message):
    """GW -> member: messages of others, each exactly as it was sent (docs/decisions/0140). `of` is that of NEED."""

    of: Annotated[bytes, ID]
    datagrams: Annotated[tuple[bytes, ...], Datagrams(0, 2 * MOST, cbor.MAX_SIZE_LARGE)]


# ------------------------------------------------------------------ hierarchy and masks


@message(41)
class Root(Message):
    """Root GW or RA -> everybody: the root key of epoch e has this check value. ctx empty."""

    envelope: Annotated[Sign1, InlineSign1(kid=True)]


@body
class RootClaims(Body):
    """`mode` 0 a fresh root key, 1 the old one ratcheted."""

    gid_root: Annotated[bytes, ID]
    e: Annotated[int, Uint()]
    kcv: Annotated[bytes, Octets(16)]
    mode: Annotated[int, Number(FRESH, RATCHET)]
    ts: Annotated[int, Uint()]


@message(42)
class Wrap(Message):
    """Delegate or deputy -> its ring: the root key under the ring's key. ctx sid."""

    envelope: Annotated[Sign1, InlineSign1(kid=True)]


@body
class WrapClaims(Body):
    sid8: Annotated[bytes, ID]
    gid_root: Annotated[bytes, ID]
    e: Annotated[int, Uint()]
    ct: Annotated[bytes, sealed(lambda _: 32)]


@message(45)
class MaskKey(Message):
    """Member -> ring: the public part of its mask scalar for this epoch. ctx th1."""

    envelope: Annotated[Sign1, InlineSign1(kid=False)]


@body
class MaskKeyClaims(Body):
    sid8: Annotated[bytes, ID]
    idx: Annotated[int, IDX]
    M: Annotated[bytes, POINT]
