"""A street for the tests of groups: an office, a gateway with its devices, and what that gateway reports."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from office import Issuer, Office

from keymote.coordinator.api.group_views import charter_view
from keymote.coordinator.groups_reports import Taken
from keymote.host.group_register import Group, Settings
from keymote.wire.admin import from_base64url, to_base64url
from keymote.wire.admin_groups import CharterView, EpochReport, GroupReport, RosterReport
from keymote.wire.credential import Credential
from keymote.wire.fields import sizes_of
from keymote.wire.group import RosterClaims
from keymote.wire.group_fields import Entry
from keymote.wire.group_signed import read_roster, write

RELAY = Settings(
    mode="relay",
    level=1,
    multicast=True,
    compact=False,
    central=False,
    telemetry=("telemetry",),
    period_s=86400,
    least=2,
    batch_s=0,
    misses=3,
    records=1 << 20,
    wake=(),
)
GW = b"gateway1"
OTHER = b"gateway2"


def meter(number: int) -> bytes:
    return b"meter%03d" % number


@dataclass
class Street:
    """One coordinator, one gateway, its meters. `said` numbers the gateway's reports."""

    office: Office
    gateway: Issuer
    cards: dict[bytes, Credential]
    said: Any

    @classmethod
    async def built(cls, office: Office, n: int = 4) -> "Street":
        street = cls(office, await office.manager(GW), {}, count(1))
        await asyncio.gather(*(street.enrol(meter(number)) for number in range(n)))  # one commit
        return street

    async def enrol(self, dev_id: bytes, *, at: Issuer | None = None, **changes: object) -> Credential:
        gateway = at or self.gateway
        replaces = changes.pop("replaces", None)
        self.cards[dev_id] = card = self.office.device(gateway, dev_id, **changes)
        await self.office.registry.register_device(gateway.id, card.raw, replaces)  # type: ignore[arg-type]
        return card

    async def group(self, members: Sequence[int] = (0, 1, 2), *, allowed: Sequence[int] = (), **more: object) -> Group:
        settings = replace(RELAY, **more)
        ids = [list(map(meter, numbers)) for numbers in (members, allowed)]
        return await self.office.groups.create("street-7", GW, settings, *ids)

    async def charter(self, group: Group, caller: bytes = GW) -> CharterView:
        found = await self.office.groups.charter(caller, group.gid)
        return charter_view(found, self.office.desk.identity.credential.raw)

    def kid(self, number: int) -> bytes:
        return self.cards[meter(number)].kid

    def entries(self, numbers: Sequence[int]) -> tuple[Entry, ...]:
        cards = [self.cards[meter(number)] for number in numbers]
        return tuple(sorted(Entry(card.kid, card.claims.sig_pk) for card in cards))

    def signed(self, group: Group, ver: int, numbers: Sequence[int], by: Issuer | None = None) -> bytes:
        """Return a roster that a gateway has signed."""
        gateway = by or self.gateway
        claims = RosterClaims(group.gid, ver, self.entries(numbers), None, None)
        return write(gateway.key, claims, kid=gateway.credential.kid)  # type: ignore[union-attr,arg-type]

    async def report(self, group: Group, *items: GroupReport, by: bytes = GW) -> Taken:
        return await self.office.reports.take(by, group.gid, items)

    def roster(self, group: Group, ver: int, numbers: Sequence[int], by: Issuer | None = None) -> RosterReport:
        raw = self.signed(group, ver, numbers, by)
        return RosterReport(next(self.said), self.office.clock.ms, to_base64url(raw))

    def epoch(
        self, number: int, members: Sequence[int], *, ver: int = 1, key: int = 0, began_ms: int | None = None
    ) -> EpochReport:
        """Return the report that `members` confirmed an epoch just now."""
        now = self.office.clock.ms
        kids = [kid.hex() for kid in sorted(map(self.kid, members))]
        key_id = (number * 256 + key).to_bytes(8, "big").hex()
        return EpochReport(next(self.said), now, number, 1, ver, key_id, kids, 1, now if began_ms is None else began_ms)

    async def events(self, kind: str = "group.change") -> list[dict[str, str | int]]:
        return [dict(event.data) for event in await self.office.outbox.events(0, 1000) if event.kind == kind]

    async def acknowledge(self, caller: bytes = GW) -> None:
        last = await self.office.desk.ledger.read(lambda tx: tx.last_event())
        await self.office.outbox.acknowledge(caller, last)


def roster_in(charter: CharterView) -> RosterClaims:
    """Return what the coordinator's roster of a charter claims; its signature is another matter."""
    claims = read_roster(from_base64url(charter.roster), sizes_of(charter.suite)).claims
    assert isinstance(claims, RosterClaims)
    return claims
