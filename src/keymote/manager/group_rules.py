"""What a charter means for the gateway that it names: pure decisions between the coordinator's words and the engine's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from keymote.crypto.kdf import sha256
from keymote.engine.group.charter import Charter
from keymote.engine.group.faces import RingPlan
from keymote.engine.policy.group_faces import GroupPolicy, Members
from keymote.errors import PeerFault
from keymote.manager.group_record import DIGEST, GroupRecord, What
from keymote.wire import admin
from keymote.wire.admin_groups import CharterView, MemberEntry
from keymote.wire.credential import SignedCredential, kid_of
from keymote.wire.group import EDGE, RELAY
from keymote.wire.group_fields import Entry
from keymote.wire.invitation import COMPACT, MULTICAST, STANDBY, Invite

ACTIVE: Final = "active"
CLOSED: Final = "closed"
EDGE_MODE: Final = "edge"
ABOVE: Final = 1000
"""By how much the epochs of a ring that is formed anew lie above the highest that was reported: another gateway may have led
the members on unheard."""
COMPROMISE: Final = 4


@dataclass(frozen=True, slots=True)
class Belonging:
    """Who should be on a roster, who may ask, who must not, by what is known here now; by dev_id."""

    members: Members
    allowed: Members
    evicted: Members
    revoked: Members


def belonging(record: GroupRecord, revoked_here: Members) -> Belonging:
    """Return who belongs: the charter, and what happened here since that the coordinator has not heard of yet."""
    charter = record.charter
    assert charter is not None
    members = {bytes.fromhex(member.dev_id) for member in charter.members}
    allowed = {bytes.fromhex(member.dev_id) for member in charter.allowed}
    gone = {bytes.fromhex(each.dev_id): each.reason for each in charter.gone}
    for event in record.here:
        match event.what:
            case What.JOINED:
                members.add(event.dev_id)
                gone.pop(event.dev_id, None)
            case What.LEFT:
                members.discard(event.dev_id)
            case What.EVICTED:
                members.discard(event.dev_id)
                allowed.discard(event.dev_id)
                gone[event.dev_id] = event.reason
    revoked = revoked_here | {dev_id for dev_id, reason in gone.items() if reason == COMPROMISE}
    evicted = frozenset(gone) - revoked
    out = revoked | evicted
    return Belonging(frozenset(members) - out, frozenset(allowed) - revoked, evicted - allowed, revoked)


def entries_of(charter: CharterView) -> Mapping[bytes, Entry]:
    """Return how a roster names the members and those who may join, by dev_id, as the coordinator knows them."""
    return {bytes.fromhex(each.dev_id): _entry(each) for each in (*charter.allowed, *charter.members)}


def _entry(member: MemberEntry) -> Entry:
    return Entry(bytes.fromhex(member.kid), admin.from_base64url(member.sig_pk))


def named_by(charter: CharterView) -> Mapping[bytes, bytes]:
    """Return kid -> dev_id of everybody whom the charter names, also under the kids of those who are gone."""
    named = {bytes.fromhex(kid): bytes.fromhex(each.dev_id) for each in charter.gone for kid in each.kids}
    return named | {entry.kid: dev_id for dev_id, entry in entries_of(charter).items()}


def at_home(charter: CharterView, nm_id: str) -> Members:
    """Return the members and those who may join that are enrolled here, so that we can invite them."""
    everybody = (*charter.members, *charter.allowed)
    return frozenset(bytes.fromhex(each.dev_id) for each in everybody if each.nm_id == nm_id)


def policy_of(charter: CharterView) -> GroupPolicy:
    """Return the numbers by which this group is led; CallerFault for numbers that cannot be."""
    told = charter.policy
    return GroupPolicy(
        least=told.least,
        gateway_counts=charter.mode == EDGE_MODE,
        wake_s=tuple(told.wake),
        lifetime_s=told.period_s,
        records=told.records,
        batch_s=told.batch_s,
        absent_after=told.misses,
    )


def plan_of(charter: CharterView, place: bytes) -> RingPlan:
    """Return how the ring is led; by unicast where this manager has no multicast group."""
    mode = EDGE if charter.mode == EDGE_MODE else RELAY
    return RingPlan(mode, charter.policy.period_s, charter.multicast and bool(place))


def authority_of(charter: CharterView) -> Charter:
    """Return the charter of the engine: the coordinator is the roster authority, the gateway comes by its delegation.

    Raises:
        PeerFault: E_FORMAT when the coordinator's credential is none.
    """
    raw = admin.from_base64url(charter.credential)
    claims = SignedCredential.decode(raw).claims
    return Charter(bytes.fromhex(charter.gid), charter.suite, kid_of(raw), claims.sig_pk)


def invitation(charter: CharterView, place: bytes, *, standby: bool) -> Invite:
    """Return what a device is told of a group that it belongs to, or (`standby`) may join; a hedge is added for members."""
    multicast = charter.multicast and bool(place)
    flags = (MULTICAST if multicast else 0) | (COMPACT if charter.compact else 0) | (STANDBY if standby else 0)
    return Invite(
        bytes.fromhex(charter.gid),
        charter.level,
        flags,
        place if multicast else b"",
        tuple(resource.encode() for resource in charter.telemetry),
        admin.from_base64url(charter.delegation),
        admin.from_base64url(charter.credential),
        b"",
    )


def digest_of(invite: Invite, kid: bytes) -> bytes:
    """Return what tells whether a device knows this: the invitation, and the credential by which it answers."""
    return sha256(invite.encode() + kid)[:DIGEST]


def names(dev_ids: Iterable[bytes]) -> list[str]:
    """Return ids as people read them, in their order."""
    return sorted(dev_id.hex() for dev_id in dev_ids)


def is_ours(charter: CharterView, nm_id: str) -> bool:
    """Return whether this manager leads the group now."""
    return charter.nm_id == nm_id and charter.state == ACTIVE


def unreadable(charter: CharterView) -> str:
    """Return why a charter cannot be acted on; empty when it can."""
    try:
        authority_of(charter)
        entries_of(charter)
        for raw in (charter.delegation, charter.roster):
            admin.from_base64url(raw)
    except PeerFault as fault:
        return fault.what
    return ""
