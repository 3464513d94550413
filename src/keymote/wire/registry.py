"""Message type -> declarations, and the clear header by which routes find a cell."""

import re
from typing import Final

from keymote.errors import ErrorCode, PeerFault
from keymote.wire import enrolment, group, group_record, gsec, handover, invitation, masking, pairwise, topic
from keymote.wire.message import Body, Message

MESSAGES: Final[tuple[type[Message], ...]] = (
    enrolment.Hello,
    enrolment.SignedHello,
    enrolment.Join,
    enrolment.Offer,
    enrolment.Share,
    enrolment.Vpt,
    enrolment.Bind,
    enrolment.Cred,
    enrolment.Cookie,
    enrolment.DoneMessage,
    enrolment.Error,
    pairwise.XshareRequest,
    pairwise.XshareAnswer,
    pairwise.Sessreq,
    pairwise.Peercred,
    pairwise.PeercredCompact,
    pairwise.Link,
    pairwise.Xcred,
    pairwise.Auth1,
    pairwise.Auth2,
    pairwise.Keyreq,
    pairwise.Keyresp,
    pairwise.NmAuth1,
    pairwise.NmAuth2,
    pairwise.NmAuth3,
    pairwise.Shreq,
    pairwise.Shresp,
    pairwise.Fin1,
    pairwise.Fin2,
    pairwise.Revoke,
    pairwise.Close,
    pairwise.Revnote,
    pairwise.Srec,
    group.Delegation,
    group.Start,
    group.Round1,
    group.Round1Compact,
    group.Round2,
    group.Round3,
    group.SignedRound3,
    group.Commit,
    group.Blame,
    group.Roster,
    group.JoinRequest,
    group.Root,
    group.Wrap,
    group.Need,
    gsec.Gsec,
    group.MaskKey,
    group.Bundle,
    enrolment.Renew,
    enrolment.Newcred,
    pairwise.Edhoc1,
    pairwise.Edhoc2,
    pairwise.Edhoc3,
    pairwise.Edhoc4,
    masking.MaskReport,
    masking.MaskPresent,
    masking.MaskAgree,
    masking.MaskReveal,
    invitation.Invite,
    invitation.Invited,
    invitation.Uninvite,
    group_record.GroupRecord,
    topic.Kreq,
    topic.Kresp,
    topic.Kack,
    topic.Kpush,
    topic.Pub,
    topic.Ticket,
    topic.Connauth,
    topic.ConnackAuth,
    topic.HoReq,
    topic.HoPull,
    topic.HoCtx,
    topic.HoAck,
    topic.HoDeny,
    handover.HoRelease,
    handover.HoReleased,
    handover.HoPub,
    handover.Between,
    handover.BrokerAt,
    handover.HoMoved,
    handover.HoNoted,
)
"""Every message of protocols A, B and C, in the order of Triad-1 1.12 but for the delegation, which comes before START; 61 and
62 (docs/decisions/0121), 64 to 67, which carry EDHOC (0071), 70 to 73 (0152), 74 to 76 (0163), 77 (0166) 78 to 82 (0197), 83
and 84 (0207) are ours."""

BY_TYPE: Final[dict[int, tuple[type[Message], ...]]] = {
    mt: tuple(declared for declared in MESSAGES if declared.mt == mt) for mt in sorted({m.mt for m in MESSAGES})
}


def name_of(kind: type[Body]) -> str:
    """Return a declaration's name as CDDL and JSON say it: PeercredCompact is PEERCRED-COMPACT."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", kind.__name__).upper()


def peek(data: bytes) -> tuple[int, int]:
    """Return `(mt, number of elements)` of a datagram without decoding it; E_FORMAT when it cannot be one of ours.

    All our arrays are shorter than 24 elements and all message types below 256, so the header is 2 or 3 bytes.
    """
    if len(data) >= 2 and 0x80 <= data[0] <= 0x97:
        if data[1] < 24:
            return data[1], data[0] - 0x80
        if data[1] == 0x18 and len(data) >= 3 and data[2] >= 24:
            return data[2], data[0] - 0x80
    raise PeerFault(ErrorCode.E_FORMAT, "not a Triad-1 message")


def peek_id(data: bytes, mt: int) -> bytes:
    """Return element 1 of a datagram of type `mt` when it is an 8-byte string (psid or lid); E_FORMAT else."""
    start = 2 if mt < 24 else 3
    if len(data) >= start + 9 and data[start] == 0x48:
        return data[start + 1 : start + 9]
    raise PeerFault(ErrorCode.E_FORMAT, "no 8-byte id after the message type")


def peek_signed_id(data: bytes) -> bytes:
    """Return the first element of what a message `[mt, COSE_Sign1]` claims, an 8-byte string (gid or sid8); E_FORMAT else.

    The message type has 1 or 2 bytes, the unprotected header is empty or holds a kid.
    """
    at = (2 if data[1:2] < b"\x18" else 3) + _PROTECTED_BYTES
    at += 1 if data[at : at + 1] == b"\xa0" else _KID_BYTES
    at += _BSTR_HEAD_BYTES.get(data[at], 1) + 1 if at < len(data) else 0
    if len(data) >= at + 9 and data[at] == 0x48:
        return data[at + 1 : at + 9]
    raise PeerFault(ErrorCode.E_FORMAT, "no 8-byte id at the head of what is signed")


_PROTECTED_BYTES: Final = 5
"""`84 43` and the three bytes of the protected header."""
_KID_BYTES: Final = 11
"""`a1 04 48` and the eight bytes of the kid."""
_BSTR_HEAD_BYTES: Final = {0x58: 2, 0x59: 3}
"""First byte of a byte string -> bytes of its head, where it is not 1."""
