"""A group among the devices of a `Street`: the coordinator's word, the manager's ring, and INVITE over real links."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from street import DEADLINE_S, Street

from keymote.device import Device, Group
from keymote.engine.faces import Enrolled
from keymote.engine.group.charter import Charter
from keymote.engine.group.faces import Amend, FormRing, RingPlan, ring_of
from keymote.engine.group.invitation import InvitationAnswered, InviteDevice, place_of
from keymote.lab.scenes import Operator
from keymote.lab.simulator import EPOCH
from keymote.transports.coap.multicast import Group as MulticastGroup
from keymote.wire.credential import SignedCredential, kid_of
from keymote.wire.group import RELAY, DelegationClaims, RosterClaims
from keymote.wire.group_fields import Entry
from keymote.wire.group_signed import write
from keymote.wire.invitation import MULTICAST, Invite

GID = b"\x67\xa0" + bytes(6)
DAY = 86400


class Member(Protocol):
    """A device in this process or in another one."""

    @property
    def id(self) -> str: ...
    @property
    def address(self) -> str: ...


class Ring:
    """`nc` is the roster authority, the street's manager the gateway. `port` of the multicast group, 0 for unicast."""

    def __init__(self, street: Street, nc: Operator, port: int = 0, gid: bytes = GID) -> None:
        self.street, self.nc, self.port, self.gid = street, nc, port, gid
        own = street.context.membership
        assert own is not None
        gateway = (own.credential.kid, street.context.signing.public)
        self.ra = (kid_of(nc.credential), nc.signing.public)
        claims = DelegationClaims(gid, *gateway, EPOCH + 30 * DAY, 32)
        self.delegation = write(nc.signing, claims, kid=self.ra[0])

    def entry(self, member: Member) -> Entry:
        """Return how the roster names an enrolled device."""
        (credential,) = {
            report.credential
            for report in self.street.reports
            if isinstance(report, Enrolled) and report.dev_id.hex() == member.id
        }
        return Entry(kid_of(credential), SignedCredential.decode(credential).claims.sig_pk)

    async def invite(self, member: Member) -> None:
        place = place_of("224.0.1.187", self.port) if self.port else b""
        flags = MULTICAST if self.port else 0
        said = Invite(self.gid, 1, flags, place, (b"telemetry",), self.delegation, self.nc.credential, b"")
        since = len(self.street.reports)
        answered = asyncio.ensure_future(
            self.street.told(InvitationAnswered, lambda one: one.dev_id.hex() == member.id, since)
        )
        while not answered.done():  # as a manager does: until it is answered
            await self.street.order(member.id, InviteDevice(said))
            await asyncio.wait([answered], timeout=0.5)
        assert answered.result().code is None

    async def lead(self, *members: Member, mode: int = RELAY) -> None:
        """Let the gateway lead these, who are invited."""
        if self.port:
            await self.street.endpoint.attend(MulticastGroup(port=self.port))
        entries = tuple(sorted(map(self.entry, members)))
        roster = write(self.nc.signing, RosterClaims(self.gid, 1, entries, None, None), kid=self.ra[0])
        charter = Charter(self.gid, 1, *self.ra)
        peers = {self.entry(member).kid: member.address for member in members}
        plan = RingPlan(mode, multicast=bool(self.port))
        await self.street.host.command(ring_of(self.gid), FormRing(charter, roster, plan, self.delegation, peers))

    async def form(self, *devices: Device) -> list[Group]:
        """Invite these, lead them, and return their faces when all have the key."""
        for device in devices:
            await self.invite(device)
        await self.lead(*devices)
        groups = [device.group(self.gid.hex()) for device in devices]
        await ready(groups)
        return groups

    async def remove(self, member: Member, reason: int = 4) -> None:
        await self.street.host.command(ring_of(self.gid), Amend(remove=(self.entry(member).kid,), reason=reason))


async def ready(groups: Sequence[Group], epoch: int = 1) -> None:
    await asyncio.gather(*(group.ready(DEADLINE_S, epoch=epoch) for group in groups))
