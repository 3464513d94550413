"""Messages of masked aggregation (Triad-1 3.9, 8): reports whose sum the gateway learns, and what takes their masks off.

Types 70 to 73 are ours, outside the registry's 1 to 60 (docs/decisions/0152). Each is a COSE_Sign1 with ctx sid over the claims
named beside it; `wire.group` reads and writes them with MASKKEY, whose claims stand there.
"""

from typing import Annotated, Final

from keymote.wire.cose import InlineSign1, Sign1
from keymote.wire.fields import ID, Number, Octets, Uint
from keymote.wire.message import Body, Message, body, message

MOST_MEMBERS: Final = 32
MASK_SIZE: Final = 8
"""Bytes of a mask, and of a reading under masks: a number mod 2^64, big endian."""
MASK: Final = Octets(MASK_SIZE)
_IDX: Final = Number(0, MOST_MEMBERS - 1)
_MEMBERS: Final = Octets(4)
"""A set of positions: bit i of a 32-bit number, big endian, as in NEED."""


@message(70)
class MaskReport(Message):
    """Member -> GW: its reading of period t under all its masks."""

    envelope: Annotated[Sign1, InlineSign1(kid=False)]


@body
class MaskReportClaims(Body):
    sid8: Annotated[bytes, ID]
    idx: Annotated[int, _IDX]
    t: Annotated[int, Uint()]
    masked: Annotated[bytes, MASK]


@message(71)
class MaskPresent(Message):
    """GW -> members: these have reported in period t, and no one else."""

    envelope: Annotated[Sign1, InlineSign1(kid=True)]


@body
class MaskPresentClaims(Body):
    sid8: Annotated[bytes, ID]
    t: Annotated[int, Uint()]
    present: Annotated[bytes, _MEMBERS]


@message(72)
class MaskAgree(Message):
    """Member -> ring, through the gateway: this is what I was told of period t, and I am among them."""

    envelope: Annotated[Sign1, InlineSign1(kid=False)]


@body
class MaskAgreeClaims(Body):
    sid8: Annotated[bytes, ID]
    idx: Annotated[int, _IDX]
    t: Annotated[int, Uint()]
    present: Annotated[bytes, _MEMBERS]


@message(73)
class MaskReveal(Message):
    """Member -> GW: its own mask b of period t, and those it shares with members who are absent."""

    envelope: Annotated[Sign1, InlineSign1(kid=False)]


@body
class MaskRevealClaims(Body):
    """`shared` are the masks with the absent, 8 bytes each, ascending by idx."""

    sid8: Annotated[bytes, ID]
    idx: Annotated[int, _IDX]
    t: Annotated[int, Uint()]
    present: Annotated[bytes, _MEMBERS]
    own: Annotated[bytes, MASK]
    shared: Annotated[bytes, Octets(0, MASK_SIZE * (MOST_MEMBERS - 1))]
