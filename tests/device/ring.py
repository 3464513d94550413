"""A group among the devices of a `Street`: the coordinator's word, the manager's ring, and INVITE over real links."""

import asyncio
from collections.abc import Sequence

from street import DEADLINE_S, Street

from keymote.device import Device, Group
from keymote.engine.base import CellKey, Report
from keymote.engine.group.charter import Charter
from keymote.engine.group.faces import Amend, FormRing, RingPlan, ring_of
from keymote.engine.group.invitation import GroupInvited, InviteDevice, place_of
from keymote.lab.scenes import Operator
from keymote.lab.simulator import EPOCH
from keymote.transports.coap.multicast import Group as MulticastGroup
from keymote.wire.credential import SignedCredential, kid_of
from keymote.wire.group import RELAY, DelegationClaims, RosterClaims, write
from keymote.wire.group_fields import Entry
from keymote.wire.invitation import MULTICAST, Invite

GID = b"\x67\xa0" + bytes(6)
DAY = 86400


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

    async def invite(self, device: Device) -> Group:
        place = place_of("224.0.1.187", self.port) if self.port else b""
        flags = MULTICAST if self.port else 0
        said = Invite(self.gid, 1, flags, place, (b"telemetry",), self.delegation, self.nc.credential, b"")
        heard, loop = asyncio.Event(), asyncio.get_running_loop()

        def reported(_key: CellKey, report: Report) -> None:
            if isinstance(report, GroupInvited):
                loop.call_soon_threadsafe(heard.set)  # the device may live in another thread

        device.node.observer = reported
        await self.street.order(device.id, InviteDevice(said))
        async with asyncio.timeout(DEADLINE_S):
            await heard.wait()
        return device.group(self.gid.hex())

    async def form(self, *devices: Device, mode: int = RELAY) -> list[Group]:
        """Invite these, lead them, and return their faces when all have the key."""
        groups = [await self.invite(device) for device in devices]
        await self.lead(*devices, mode=mode)
        await ready(groups)
        return groups

    async def lead(self, *devices: Device, mode: int = RELAY) -> None:
        """Let the gateway lead these, who are invited."""
        if self.port:
            await self.street.endpoint.attend(MulticastGroup(port=self.port))
        claims = RosterClaims(self.gid, 1, tuple(sorted(map(entry, devices))), None, None)
        roster = write(self.nc.signing, claims, kid=self.ra[0])
        charter = Charter(self.gid, 1, *self.ra)
        peers = {entry(device).kid: device.address for device in devices}
        plan = RingPlan(mode, multicast=bool(self.port))
        await self.street.host.command(ring_of(self.gid), FormRing(charter, roster, plan, self.delegation, peers))

    async def remove(self, device: Device, reason: int = 4) -> None:
        await self.street.host.command(ring_of(self.gid), Amend(remove=(entry(device).kid,), reason=reason))


def entry(device: Device) -> Entry:
    held = device.node.membership
    assert held is not None
    return Entry(kid_of(held.credential), SignedCredential.decode(held.credential).claims.sig_pk)


async def ready(groups: Sequence[Group], epoch: int = 1) -> None:
    await asyncio.gather(*(group.ready(DEADLINE_S, epoch=epoch) for group in groups))
