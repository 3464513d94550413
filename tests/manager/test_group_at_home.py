"""A group that was handed to another manager: the home manager of its members invites them, and leads nothing."""

import logging
from collections.abc import Callable

import pytest
from gatehouse import GID, NAMES, STEP_S, Gatehouse

from keymote.errors import RefusedByPolicy
from keymote.lab.scenes import identity
from keymote.manager.group_desk import GroupDesk
from keymote.manager.groups import GroupSteward
from keymote.wire.admin_groups import EpochReport
from keymote.wire.credential import kid_of

FAR = 1000


class Towns:
    """The home manager nm1 of d1 to d4, and nm2, which leads their group since it was moved."""

    def __init__(self, **settings: object) -> None:
        self.home = Gatehouse.make(life_s=3600, **settings)
        self.away = Gatehouse(self.home.scene, self.home.office, self.home.place, "nm2")
        segments = self.home.scene.sim.reach.segments
        segments["nm2"] = segments["nm1"]  # one radio's reach

    async def moved(self) -> int:
        """Let nm1 form the ring, and hand it to nm2; return the first epoch there."""
        await self.home.state()
        first = await self.home.agreed("d1", "d2", "d3")
        assert first
        self.home.office.manager = "nm2"
        await self.state(ver=1 + FAR, epoch=first, days=31)
        assert await self.until(lambda: self.away.epoch("d1", "d2", "d3") > first)
        return self.away.epoch("d1", "d2", "d3")

    async def state(self, **changed: object) -> None:
        """Let the coordinator state something, and both managers act on it."""
        charter = self.home.office.charter(**changed)
        for house in (self.away, self.home):
            await house.steward.adopt(charter)

    async def until(self, reached: Callable[[], bool], within_s: float = 60.0) -> bool:
        ends = self.home.scene.sim.now + within_s
        while not reached():
            if self.home.scene.sim.now >= ends:
                return False
            self.home.scene.sim.run_for(STEP_S)
            for house in (self.home, self.away):
                await house.pump()
        return True

    def kid(self, name: str) -> bytes:
        """Return the name of a device by the credential that its home manager knows."""
        return kid_of(self.home.known(name).credential)

    def is_on(self, name: str) -> bool:
        ring = self.away.ring()
        return ring is not None and ring.lasting.held.position(self.kid(name)) is not None


async def test_GH08_a_renewed_member_stays_on_the_roster_of_a_gateway_that_it_is_not_enrolled_at() -> None:
    towns = Towns()
    epoch = await towns.moved()
    before = {name: towns.kid(name) for name in NAMES[:3]}
    assert await towns.until(lambda: all(towns.kid(name) != before[name] for name in before), 3600.0)
    towns.home.office.entries.clear()  # the register hears of renewals
    await towns.state()
    assert await towns.until(lambda: all(towns.is_on(name) for name in before))
    assert await towns.until(lambda: towns.away.epoch("d1", "d2", "d3") > epoch)


async def test_GH08_a_newcomer_is_invited_at_home_and_who_went_forgets_there() -> None:
    towns = Towns()
    epoch = await towns.moved()
    await towns.state(members=NAMES)
    assert await towns.until(lambda: towns.away.epoch(*NAMES) > epoch)
    await towns.state(members=NAMES[1:], gone={"d1": 3})
    assert await towns.until(lambda: towns.home.member("d1") is None)
    assert await towns.until(lambda: towns.away.epoch(*NAMES[1:]) > epoch)


async def test_GH08_a_home_manager_leads_nothing_and_reports_nothing() -> None:
    towns = Towns()
    await towns.moved()
    reports = len(towns.home.told(EpochReport))
    assert towns.home.ring() is None
    assert (towns.home.steward.leads, towns.away.steward.leads) == (False, True)
    await towns.home.crash()
    await towns.state(rekey=1)
    assert await towns.until(lambda: len(towns.away.told(EpochReport)) > 1)
    assert towns.home.ring() is None
    assert len(towns.home.told(EpochReport)) == reports
    await towns.home.rest(15.0)
    due = towns.home.steward.due_at()
    assert due is None or due > towns.home.now(), "it does not wake for nothing"


async def test_GH08_a_hedge_does_not_go_through_another_manager() -> None:
    towns = Towns(hedge=True)
    await towns.moved()
    ring = towns.away.ring()
    assert ring is not None
    claims = ring.lasting.started()
    assert claims is not None
    assert claims.reason.psk_id == b""
    assert towns.home.steward.hedges.psks == ()


async def test_GH08_a_group_that_comes_back_is_led_at_home_again() -> None:
    towns = Towns()
    epoch = await towns.moved()
    towns.home.office.manager = "nm1"
    await towns.state(ver=1 + 2 * FAR, epoch=epoch, days=32)
    assert await towns.until(lambda: towns.home.epoch("d1", "d2", "d3") > epoch)
    assert towns.away.ring() is None
    assert towns.home.ring() is not None


@pytest.mark.parametrize(
    ("settings", "why"), [({"multicast": False}, "unicast"), ({"place": b""}, "no multicast group")]
)
async def test_GH09_who_could_not_be_told_where_the_gateway_is_goes_on_and_the_log_says_why(
    settings: dict[str, object], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    house = Gatehouse.make(**settings)  # type: ignore[arg-type]
    await house.state()
    assert await house.agreed("d1", "d2", "d3")
    told = dict(house.steward.record.said)
    house.office.manager = "nm2"
    with caplog.at_level(logging.WARNING):
        await house.state(ver=1 + FAR, days=31)
    assert any(why in str(getattr(record, "what", "")) for record in caplog.records)
    await house.rest(15.0)
    assert house.steward.record.said == told
    assert house.member("d1") is not None
    assert house.ring() is None


async def test_GH08_an_operator_at_a_home_manager_is_sent_to_who_leads() -> None:
    towns = Towns()
    await towns.moved()
    steward = towns.home.steward

    class Ours:
        waiting = 0

        def stewards(self) -> list[GroupSteward]:
            return [steward]

        async def do(self, job: Callable[[], object]) -> None:
            raise AssertionError(job)

    handlers = GroupDesk(Ours()).handlers()  # type: ignore[arg-type]
    for name in ("group.add", "group.evict", "group.rekey"):
        with pytest.raises(RefusedByPolicy, match="led by manager") as refused:
            await handlers[name]({"group": GID.hex(), "dev_id": identity("d1").hex(), "reason": 3})
        assert refused.value.do
    (line,) = await handlers["group.list"]({})  # type: ignore[misc]
    assert line["leads"] is False
