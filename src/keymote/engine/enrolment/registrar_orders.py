"""What an operator says to a registrar of a device: expect it, invite it to a group, suspend, resume and revoke it."""

from keymote.engine.base import Command, Output, Step, Tell, replace
from keymote.engine.context import PostQuantum, RegistrarContext
from keymote.engine.enrolment.registrar_cell import AwaitRegistration, Code, RegistrarCell
from keymote.engine.faces import (
    OWN,
    Alarm,
    DeviceRevoked,
    ExpectAgain,
    ExpectDevice,
    ResumeDevice,
    RevokeDevice,
    SuspendDevice,
    session_of,
)
from keymote.engine.group.invitation import InviteDevice, UninviteDevice
from keymote.engine.hybrid import refuses
from keymote.engine.link_faces import SealBody, link_to_device
from keymote.engine.member import ACTIVE, REVOKED, SUSPENDED, DeviceGone, Member
from keymote.engine.own import RaiseStatusEpoch
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.credential import SignedCredential
from keymote.wire.invitation import Uninvite


def weak_code(context: RegistrarContext, dev_id: bytes) -> list[Output]:
    """Warn of a code below 128 bits in the post-quantum profile, and refuse it where that is demanded (PQ-05)."""
    why = refuses(context, hybrid=True, weak=True)
    if why:
        raise PeerFault(ErrorCode.E_SUITE, why, do="give the device a label with a code of 16 bytes")
    if context.policy.post_quantum is PostQuantum.OFF:
        return []
    context.tally.alarms["weak-code"] += 1
    return [Alarm("weak-code", dev_id, "a code below 128 bits: the keys of this device will not be post-quantum")]


def ordered(cell: RegistrarCell | None, command: Command) -> Step:
    """Do what an operator says."""
    match command:
        case ExpectDevice(dev_id, prs, weak):
            if cell is None:
                return RegistrarCell(dev_id, Code(prs, weak)), ()
            if cell.code is None or cell.code.prs != prs:
                raise PeerFault(ErrorCode.E_OTC_USED, "another code is known for this device (device rejoin)")
            return cell, ()
        case ExpectAgain() if cell is not None and isinstance(cell.phase, AwaitRegistration):
            raise PeerFault(ErrorCode.E_BUSY, "the coordinator still decides on this device; try again then")
        case ExpectAgain(dev_id, prs, weak):
            if cell is None or cell.member is None:
                return RegistrarCell(dev_id, Code(prs, weak)), ()
            serial = SignedCredential.decode(cell.member.credential).claims.serial
            return replace(cell, code=Code(prs, weak, 0, serial), phase=None, not_before=0.0), ()
    if cell is None or cell.member is None:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, "not enrolled")
    member = cell.member
    match command:
        case InviteDevice(invite) if member.status == ACTIVE:
            return cell, [Tell(link_to_device(cell.dev_id), SealBody(invite.encode()))]
        case InviteDevice():
            raise PeerFault(ErrorCode.E_CRED, "the device is suspended or revoked")
        case UninviteDevice(gid):
            return cell, [Tell(link_to_device(cell.dev_id), SealBody(Uninvite(gid).encode()))]
        case SuspendDevice() if member.status == ACTIVE:
            return replace(cell, member=replace(member, status=SUSPENDED)), [Tell(OWN, RaiseStatusEpoch())]
        case ResumeDevice() if member.status == SUSPENDED:
            return replace(cell, member=replace(member, status=ACTIVE)), ()
        case RevokeDevice(reason):
            return _revoked(cell, member, reason)
        case _:
            return cell, ()


def _revoked(cell: RegistrarCell, member: Member, reason: int) -> Step:
    """End the membership and whatever could renew it; a registration under way is awaited, to be revoked too."""
    phase = cell.phase if isinstance(cell.phase, AwaitRegistration) else None
    gone = replace(cell, code=None, phase=phase, member=replace(member, status=REVOKED, sessions=()))
    if member.status == REVOKED:
        return gone, ()
    outputs: list[Output] = [Tell(OWN, RaiseStatusEpoch())]
    outputs += [Tell(session_of(psid), DeviceGone(cell.dev_id, reason)) for psid in member.sessions]
    return gone, [*outputs, DeviceRevoked(cell.dev_id, member.sessions)]
