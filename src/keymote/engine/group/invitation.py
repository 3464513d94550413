"""How a device comes to a group: the INVITE of its manager, and what it makes of it (docs/decisions/0163).

A manager may only pass on what the coordinator has decided: the device takes nothing but a delegation that the coordinator
of its own network has signed for this group, and believes the gateway that it names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from keymote.crypto.secret import Secret
from keymote.engine.base import MULTICAST, Command, Now, Output, Peer, Refused, Report, Tell
from keymote.engine.context import DeviceContext, Membership
from keymote.engine.group.charter import Charter, with_delegation
from keymote.engine.group.faces import ForgetGroup, HoldPsk, JoinGroup, Level, membership_of
from keymote.engine.group.payload import ResourcePolicy
from keymote.engine.group.states import MOST_ADDRESS, MOST_TELEMETRY
from keymote.engine.link_faces import OWN_LINK, LinkBody, SealBody
from keymote.errors import ErrorCode, PeerFault
from keymote.wire import invitation as wire
from keymote.wire.credential import Role
from keymote.wire.fields import sizes_of
from keymote.wire.invitation import Invite, Invited, Uninvite
from keymote.wire.registry import peek

MOST_GROUPS: Final = 16
"""Groups that one device may be invited to."""
_PSK_ID: Final = 8
_IPV4_MULTICAST: Final = range(224, 240)
"""First byte of the addresses of RFC 5771."""


class Invitation(NamedTuple):
    """A group that this device may belong to; `place` where its messages go by multicast (6 bytes), empty for unicast."""

    gid: bytes
    place: bytes

    @property
    def address(self) -> tuple[str, int] | None:
        """The multicast group's address and port; None for unicast."""
        if not self.place:
            return None
        return ".".join(map(str, self.place[:4])), int.from_bytes(self.place[4:], "big")


def place_of(address: str, port: int) -> bytes:
    """Return a numeric IPv4 address and a port as an INVITE says them."""
    return bytes(map(int, address.split("."))) + port.to_bytes(2, "big")


# ------------------------------------------------------------------ at the manager


@dataclass(frozen=True, slots=True)
class InviteDevice(Command):
    """To enrolment_of(dev_id): say this over the device's link; its answer is reported as `InvitationAnswered`."""

    invite: Invite


@dataclass(frozen=True, slots=True)
class UninviteDevice(Command):
    """To enrolment_of(dev_id): let the device forget this group; answered as an invitation is."""

    gid: bytes


@dataclass(frozen=True, slots=True)
class InvitationAnswered(Report):
    """A device has taken an invitation (`code` None) or refused it; `kid` is that of the credential by which it belongs.

    `psk_id` names the hedge (8 bytes) that it has taken with this very invitation, empty for none.
    """

    dev_id: bytes
    gid: bytes
    code: ErrorCode | None
    kid: bytes
    psk_id: bytes = b""


def answered(dev_id: bytes, heard: LinkBody) -> InvitationAnswered:
    """Return what a device says to an invitation."""
    said = Invited.decode(heard.body, sizes_of(1))  # it has no field whose length depends on the suite
    return InvitationAnswered(
        dev_id, said.gid, ErrorCode(said.verdict) if said.verdict else None, said.kid, said.psk_id
    )


# ------------------------------------------------------------------ at the device


@dataclass(frozen=True, slots=True)
class GroupInvited(Report):
    """The device may belong to this group from now on."""

    invitation: Invitation


@dataclass(frozen=True, slots=True)
class GroupUninvited(Report):
    """The device has forgotten this group."""

    gid: bytes


def concerns_groups(body: bytes) -> bool:
    """Return whether the body of a LINK record is an INVITE or UNINVITE."""
    return peek(body)[0] in (Invite.mt, Uninvite.mt)


def heard_invitation(
    known: tuple[Invitation, ...], heard: LinkBody, own: Membership, context: DeviceContext, now: Now
) -> tuple[tuple[Invitation, ...], Sequence[Output]]:
    """Return the groups of this device after an INVITE or UNINVITE, and what it says to memberships and to its manager.

    What does not hold is refused by its code in INVITED, and changes nothing (GS-01 to GS-04).
    """
    kid = own.credential.kid
    if peek(heard.body)[0] == Uninvite.mt:
        gid = Uninvite.decode(heard.body, sizes_of(1)).gid
        left = tuple(invitation for invitation in known if invitation.gid != gid)
        said = _said(gid, wire.ACCEPTED, kid)
        if left == known:
            return known, [said]
        return left, [Tell(membership_of(gid), ForgetGroup()), said, GroupUninvited(gid)]
    invite = Invite.decode(heard.body, sizes_of(context.suite.id))
    invitation = Invitation(invite.gid, invite.place)
    others = tuple(each for each in known if each.gid != invite.gid)
    try:
        if len(others) >= MOST_GROUPS:
            raise PeerFault(ErrorCode.E_LIMIT, f"invited to more than {MOST_GROUPS} groups")
        wish = accepted(invite, heard.peer, own, context, now)
    except PeerFault as fault:
        return known, [_said(invite.gid, fault.code, kid), Refused(heard.peer, fault.code, fault.what)]
    outputs: list[Output] = [Tell(membership_of(invite.gid), wish)]
    psk_id = invite.psk[:_PSK_ID]
    if invite.psk:
        outputs.append(Tell(membership_of(invite.gid), HoldPsk(psk_id, Secret(invite.psk[_PSK_ID:]))))
    outputs.append(_said(invite.gid, wire.ACCEPTED, kid, psk_id))
    if invitation in known:
        return known, outputs
    return (*others, invitation), [*outputs, GroupInvited(invitation)]


def accepted(invite: Invite, peer: Peer, own: Membership, context: DeviceContext, now: Now) -> JoinGroup:
    """Return what the membership is told.

    Raises:
        PeerFault: E_CRED unless cred_RA is that of the coordinator of this device's own network, below a pinned key;
            E_SUITE for another suite than the device's; E_ROSTER for a delegation that it has not signed for this group;
            E_FORMAT for a place that is no multicast group, or resources that are no text or too long.
    """
    trust, wall = context.trust, now.wall if context.has_clock else None
    authority = trust.verify((invite.cred_RA,), Role.COORDINATOR, wall)
    claims = authority.claims
    if claims.sub != own.credential.claims.nc_id:
        raise PeerFault(ErrorCode.E_CRED, "the group is another coordinator's")
    if claims.suite != context.suite.id:
        raise PeerFault(ErrorCode.E_SUITE, f"a group of suite {claims.suite}, this device is of {context.suite.id}")
    charter = Charter(invite.gid, claims.suite, authority.kid, claims.sig_pk)
    charter = with_delegation(charter, invite.delegation, trust.key, wall)
    multicast = bool(invite.flags & wire.MULTICAST)
    _check_place(invite.place, multicast=multicast)
    if not multicast and len(peer) > MOST_ADDRESS:
        raise PeerFault(ErrorCode.E_LIMIT, f"the manager's address has more than {MOST_ADDRESS} characters")
    return JoinGroup(
        charter,
        own.credential.kid,
        MULTICAST if multicast else peer,
        Level(invite.level),
        multicast,
        bool(invite.flags & wire.COMPACT),
        ResourcePolicy(_resources(invite.telemetry)),
        bool(invite.flags & wire.STANDBY),
    )


def _check_place(place: bytes, *, multicast: bool) -> None:
    if multicast is not bool(place):
        raise PeerFault(ErrorCode.E_FORMAT, "a place is named where a ring speaks by multicast, and only there")
    if place and not (place[0] in _IPV4_MULTICAST and any(place[4:])):
        raise PeerFault(ErrorCode.E_FORMAT, "the place is no multicast group")


def _resources(telemetry: Sequence[bytes]) -> tuple[str, ...]:
    try:
        resources = tuple(resource.decode() for resource in telemetry)
    except UnicodeDecodeError:
        raise PeerFault(ErrorCode.E_FORMAT, "a resource is no text") from None
    if sum(map(len, resources)) > MOST_TELEMETRY:
        raise PeerFault(ErrorCode.E_LIMIT, f"resources of more than {MOST_TELEMETRY} characters")
    return resources


def _said(gid: bytes, verdict: int, kid: bytes, psk_id: bytes = b"") -> Tell:
    return Tell(OWN_LINK, SealBody(Invited(gid, verdict, kid, psk_id).encode()))
