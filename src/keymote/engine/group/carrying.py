"""Records of a member on their way: sent to the ring, and heard from whatever carrier brought them (decision 0166)."""

from keymote.engine.base import Now, Output, Peer, Refused, Report, replace
from keymote.engine.group import payload
from keymote.engine.group.participation import MemberStep, to_ring
from keymote.engine.group.party import Party
from keymote.engine.group.payload_faces import (
    GroupProtected,
    ProtectForGroup,
    RecordHeld,
    RecordRefused,
    SendToGroup,
    UnprotectForGroup,
)
from keymote.engine.group.states import MembershipCell
from keymote.errors import PeerFault
from keymote.wire import gsec
from keymote.wire.group_record import GroupRecord, check_resource, read


def sent(cell: MembershipCell, wish: SendToGroup, party: Party, now: Now) -> MemberStep:
    """Seal and send; PeerFault as `payload.step`, and E_FORMAT for what is no resource."""
    check_resource(wish.resource)
    order = ProtectForGroup(wish.plaintext, wish.resource, wish.signed)
    said, reports = payload.step(cell.payload, order, party.signing, now)
    cell = replace(cell, payload=said)
    records = [report.record for report in reports if isinstance(report, GroupProtected)]
    carried = [GroupRecord(cell.gid, wish.resource, record).encode() for record in records]
    return cell, [*reports, *(output for data in carried for output in to_ring(cell, data))]


def heard(cell: MembershipCell, peer: Peer, data: bytes, party: Party, now: Now) -> MemberStep:
    """Open a record, or hold one that came early; what is refused is reported with all that it claims to be (GF-04)."""
    carried = read(data)
    order = UnprotectForGroup(peer, carried.record, carried.resource)
    try:
        said, reports = payload.step(cell.payload, order, party.signing, now)
    except PeerFault as fault:
        return cell, [_told(Refused(peer, fault.code, fault.what), carried)]
    outputs: list[Output] = [_told(report, carried) for report in reports]
    if len(said.early) > len(cell.payload.early):
        outputs.append(RecordHeld(cell.gid, peer, carried.resource))
    return (cell if said is cell.payload else replace(cell, payload=said)), outputs


def _told(report: Report, carried: GroupRecord) -> Report:
    """Return a report, a refusal with what the record claims to be."""
    if not isinstance(report, Refused):
        return report
    try:
        claims = gsec.read(carried.record)
    except PeerFault:
        return RecordRefused(report.peer, report.code, report.what, carried.gid, carried.resource)
    return RecordRefused(
        report.peer, report.code, report.what, carried.gid, carried.resource, claims.sender, claims.seq
    )
