"""What a manager makes of its coordinator's charter for a group, with and without the coordinator, in virtual time."""

from dataclasses import replace

import pytest
from gatehouse import Gatehouse

from keymote.crypto.entropy import SeededEntropy
from keymote.engine.base import MULTICAST
from keymote.engine.faces import RevokeDevice, enrolment_of
from keymote.engine.group.faces import AskToJoin, AskToLeave, JoinGroup
from keymote.engine.policy.group_faces import Refusal
from keymote.lab.scenes import identity
from keymote.manager.group_rules import authority_of
from keymote.wire.admin_groups import (
    EpochReport,
    EvictedReport,
    JoinedReport,
    LeftReport,
    RefusedReport,
    RosterReport,
)
from keymote.wire.credential import SignedCredential, issue


@pytest.mark.parametrize("suite", [1, 17])
@pytest.mark.parametrize("multicast", [True, False], ids=["multicast", "unicast"])
@pytest.mark.parametrize("mode", ["relay", "edge"])
async def test_GS10_a_charter_becomes_a_ring_with_a_key(suite: int, multicast: bool, mode: str) -> None:
    house = Gatehouse.make(suite=suite, multicast=multicast, mode=mode)
    await house.state()
    assert await house.agreed("d1", "d2", "d3") == 1
    (roster,) = house.told(RosterReport)
    (epoch,) = house.told(EpochReport)
    cell = house.member("d1")
    assert cell is not None
    assert cell.lasting.active is not None
    assert epoch.key_id == cell.lasting.active.key_id.hex()
    assert (epoch.epoch, epoch.ver, len(epoch.kids)) == (1, 1, 3 + (mode == "edge"))
    assert roster.roster == house.office.charter().roster


async def test_GS11_the_same_charter_again_changes_nothing() -> None:
    house = Gatehouse.make()
    await house.state()
    assert await house.agreed("d1", "d2", "d3") == 1
    for _ in range(3):
        await house.state()
        await house.rest(15.0)
    assert house.epoch("d1", "d2", "d3") == 1
    assert len(house.told(RosterReport)) == 1


async def test_GS11_members_come_and_go_as_the_coordinator_says() -> None:
    house = Gatehouse.make()
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    await house.state(members=("d1", "d2", "d3", "d4"))
    second = await house.agreed("d1", "d2", "d3", "d4", above=first)
    await house.state(members=("d1", "d2", "d4"), gone={"d3": 3})
    third = await house.agreed("d1", "d2", "d4", above=second)
    assert 0 < first < second < third
    assert await house.until(lambda: house.member("d3") is None)
    await house.state(rekey=1)
    assert await house.agreed("d1", "d2", "d4", above=third) == third + 1
    await house.state()
    await house.rest(15.0)
    assert house.epoch("d1", "d2", "d4") == third + 1  # one wish is one new epoch


async def test_GS12_who_is_allowed_joins_without_the_coordinator_and_leaves_again() -> None:
    house = Gatehouse.make("d1", "d2", allowed=("d3",))
    await house.state()
    first = await house.agreed("d1", "d2")
    await house.rest(30.0)
    assert house.epoch("d1", "d2") == first
    house.tell("d3", AskToJoin())
    second = await house.agreed("d1", "d2", "d3", above=first)
    assert [report.dev_id for report in house.told(JoinedReport)] == [identity("d3").hex()]
    house.tell("d3", AskToLeave())
    third = await house.agreed("d1", "d2", above=second)
    assert [report.dev_id for report in house.told(LeftReport)] == [identity("d3").hex()]
    await house.rest(60.0)
    house.tell("d3", AskToJoin())
    assert await house.agreed("d1", "d2", "d3", above=third)
    assert len(house.told(JoinedReport)) == 2


async def test_GS12_a_stranger_is_refused_and_reported_once() -> None:
    house = Gatehouse.make("d1", "d2", allowed=("d3",))
    await house.state()
    first = await house.agreed("d1", "d2")
    await house.state(allowed=(), gone={"d3": 3})
    assert await house.until(lambda: house.member("d3") is None)
    charter = house.office.charter()
    for name in ("d3", "d4"):  # both were never told to forget it
        held = house.scene.membership(name)
        assert held is not None
        house.tell(name, JoinGroup(authority_of(charter), held.credential.kid, MULTICAST))
        house.tell(name, AskToJoin())
    await house.rest(120.0)
    assert house.epoch("d1", "d2") == first
    d3, stranger = house.told(RefusedReport)
    assert (d3.dev_id, d3.text) == (identity("d3").hex(), Refusal.EVICTED)
    assert stranger.dev_id is None
    assert stranger.text.endswith(Refusal.STRANGER)


async def test_GS13_what_happened_here_outranks_an_older_charter_and_not_a_newer_one() -> None:
    house = Gatehouse.make()
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    await house.steward.evict(identity("d3"), 3)
    second = await house.agreed("d1", "d2", above=first)
    (evicted,) = house.told(EvictedReport)
    await house.state()  # it was made before the coordinator heard of it
    await house.rest(20.0)
    assert house.epoch("d1", "d2") == second
    await house.state(reported=evicted.seq)  # it has heard, and wants the device in
    assert await house.agreed("d1", "d2", "d3", above=second)


async def test_GS14_a_revoked_device_goes_at_once_and_the_old_key_with_it() -> None:
    house = Gatehouse.make()
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    await house.cells.command(enrolment_of(identity("d3")), RevokeDevice(0))
    second = await house.agreed("d1", "d2", above=first, within_s=5.0)
    assert second == first + 1
    assert house.told(EpochReport)[-1].reason == 4
    house.tell("d3", AskToJoin())
    await house.rest(30.0)
    assert house.epoch("d1", "d2") == second


async def test_GS15_GR55_after_a_kill_the_group_goes_on_and_lost_reports_are_made_again() -> None:
    house = Gatehouse.make()
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    seqs = [report.seq for _, batch in house.log.batches() for report in batch]
    await house.steward.rekey(1)
    await house.crash()  # the run had to wait for the pace of STARTs
    second = await house.agreed("d1", "d2", "d3", above=first)
    await house.rest(11.0)
    await house.steward.rekey(1)
    await house.crash()  # in the middle of the run
    third = await house.agreed("d1", "d2", "d3", above=second)
    await house.rest(11.0)
    await house.steward.rekey(1)
    house.scene.sim.run_for(30.0)  # the service hears nothing of it
    await house.crash()
    assert (second, third, house.epoch("d1", "d2", "d3")) == (first + 1, first + 2, first + 3)
    assert house.told(EpochReport)[-1].epoch == first + 3
    after = [report.seq for _, batch in house.log.batches() for report in batch]
    assert after[: len(seqs)] == seqs
    assert after == sorted(set(after))


async def test_GS16_a_device_that_does_not_answer_holds_nobody_up_for_long() -> None:
    house = Gatehouse.make()
    house.scene.sim.hosts["d3"].lose_power()
    began = house.scene.sim.now
    await house.state()
    first = await house.agreed("d1", "d2")
    assert first
    assert house.scene.sim.now - began < 20.0
    house.scene.sim.reboot("d3")
    assert await house.agreed("d1", "d2", "d3", above=first)


async def test_GS17_a_ring_that_begins_anew_counts_on() -> None:
    house = Gatehouse.make()
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    await house.state(state="paused")
    assert house.ring() is None
    assert await house.until(lambda: all(house.member(name) is None for name in ("d1", "d2", "d3")))
    await house.state(state="active", ver=1001, epoch=first)
    assert await house.agreed("d1", "d2", "d3", above=first) == first + 1
    await house.state(state="paused")
    await house.crash()
    await house.state(state="active", ver=2001, epoch=first + 1)
    assert await house.agreed("d1", "d2", "d3", above=first + 1) == first + 1002


async def test_GS17_another_key_of_the_coordinator_is_followed() -> None:
    house = Gatehouse.make()
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    nc = house.scene.operators["nc1"]
    rolled = house.scene.suite.generate_signing_key(SeededEntropy(b"rolled"))
    root = house.scene.suite.generate_signing_key(SeededEntropy(b"gatehouse").fork("authority"))
    claims = replace(SignedCredential.decode(nc.credential).claims, sig_pk=rolled.public)
    await house.state(credential=issue(root, claims).raw, signing=rolled, ver=1001, days=31)
    assert await house.agreed("d1", "d2", "d3", above=first) == first + 1
    cell = house.member("d1")
    assert cell is not None
    assert cell.lasting.charter.ra_pk == rolled.public


async def test_GS18_where_the_coordinator_signs_all_rosters_its_next_one_is_installed() -> None:
    house = Gatehouse.make(central=True)
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    house.tell("d3", AskToLeave())
    assert await house.until(lambda: bool(house.told(LeftReport)))
    assert house.epoch("d1", "d2", "d3") == first
    left = house.told(LeftReport)[-1]
    await house.state(members=("d1", "d2"), gone={"d3": 3}, ver=2, reported=left.seq)
    assert await house.agreed("d1", "d2", above=first)
