"""What a manager makes of its coordinator's charter for a group, with and without the coordinator, in virtual time."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from gatehouse import GID, Gatehouse

from keymote.crypto.entropy import SeededEntropy
from keymote.engine.base import MULTICAST, CellKey, Command, Report
from keymote.engine.faces import RevokeDevice, enrolment_of
from keymote.engine.group.faces import Amend, AskToJoin, AskToLeave, JoinAsked, JoinGroup, MemberBlamed, Rekey, ring_of
from keymote.engine.group.invitation import UninviteDevice
from keymote.engine.policy.group_faces import Refusal
from keymote.errors import CallerFault, ErrorCode, RefusedByPolicy, Unavailable
from keymote.lab.scenes import identity
from keymote.lab.simulator import EPOCH
from keymote.manager.group_rules import authority_of
from keymote.wire.admin import from_base64url
from keymote.wire.admin_groups import (
    BlameReport,
    EpochReport,
    EvictedReport,
    GroupPolicy,
    JoinedReport,
    LeftReport,
    RefusedReport,
    RosterReport,
)
from keymote.wire.credential import SignedCredential, issue, kid_of
from keymote.wire.fields import sizes_of
from keymote.wire.group import JOIN, JoinClaims
from keymote.wire.group_signed import read_roster, write


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


async def test_GS22_a_longer_delegation_reaches_ring_and_members() -> None:
    house = Gatehouse.make()
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    await house.state(days=60)
    await house.rest(2.0)
    cell, ring = house.member("d1"), house.ring()
    assert cell is not None
    assert ring is not None
    assert cell.lasting.charter.not_after == ring.lasting.charter.not_after == EPOCH + 60 * 86400
    assert house.epoch("d1", "d2", "d3") == first


async def test_GS22_without_a_delegation_in_force_nothing_is_signed_and_the_coordinator_hears_of_it() -> None:
    house = Gatehouse.make(days=0, policy=GroupPolicy(period_s=0))
    await house.state()
    assert house.ring() is None  # it ended before the group was formed
    await house.rest(20.0)
    (refused,) = house.told(RefusedReport)
    assert "expired" in refused.text
    await house.state(days=30)
    assert await house.agreed("d1", "d2", "d3")


async def test_GS23_who_renews_its_credential_stands_on_the_roster_by_the_new_one() -> None:
    house = Gatehouse.make(life_s=3600)
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    before = house.known("d1").credential
    assert await house.until(lambda: house.known("d1").credential != before, 3600.0)
    ring = house.ring()
    assert ring is not None
    assert await house.until(
        lambda: house.ring().lasting.held.position(kid_of(house.known("d1").credential)) is not None
    )  # type: ignore[union-attr]
    assert await house.agreed("d1", "d2", "d3", above=first)
    roster = house.told(RosterReport)[-1]
    assert kid_of(before) not in from_base64url(roster.roster)


async def test_GS23_a_gateway_that_is_a_member_goes_on_under_its_renewed_credential() -> None:
    house = Gatehouse.make(mode="edge")
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    house.scene.adopt("nm1", house.scene.renewed("nm1"))
    await house.crash()  # the simulator's nodes take over what they are at their start
    await house.state(days=31)
    assert await house.agreed("d1", "d2", "d3", above=first)
    ring, own = house.ring(), house.scene.managers["nm1"].membership
    assert ring is not None
    assert own is not None
    assert ring.lasting.held.position(own.credential.kid) is not None


async def test_GS15_where_devices_listen_is_said_again_after_a_start() -> None:
    house = Gatehouse.make(multicast=False)
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    await house.rest(11.0)
    await house.crash()
    ring = house.ring()
    assert ring is not None
    assert set(ring.peers.values()) == {house.scene.sim.hosts[name].address for name in ("d1", "d2", "d3")}
    await house.steward.rekey(1)
    assert await house.agreed("d1", "d2", "d3", above=first, within_s=5.0)


async def test_GS11_a_ring_is_rekeyed_every_morning_and_after_its_period() -> None:
    house = Gatehouse.make(policy=GroupPolicy(period_s=3600, wake=[6 * 3600]))
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    began = house.scene.sim.now
    assert await house.until(lambda: house.epoch("d1", "d2", "d3") > first, 3700.0)
    assert house.scene.sim.now - began > 1000.0  # neither at once
    assert house.told(EpochReport)[-1].reason == 1


async def test_GS13_evicted_and_added_again_by_an_operator_here() -> None:
    house = Gatehouse.make()
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    await house.steward.evict(identity("d3"), 4)
    second = await house.agreed("d1", "d2", above=first, within_s=5.0)
    assert house.told(EpochReport)[-1].reason == 4
    await house.steward.add(identity("d3"))
    third = await house.agreed("d1", "d2", "d3", above=second)
    assert third
    assert [report.by for report in house.told(JoinedReport)] == ["operator here"]
    with pytest.raises(RefusedByPolicy):
        await house.steward.evict(identity("d4"), 3)
    with pytest.raises(RefusedByPolicy):
        await house.steward.add(identity("d9"))


async def test_GS14_a_member_that_cheats_is_out_until_the_coordinator_says_otherwise() -> None:
    house = Gatehouse.make()
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    kid = house.office.entries["d3"].kid
    await house.steward.heard(MemberBlamed(GID, first, kid, ErrorCode.E_DLEQ, b"evidence", evicted=False), 0)
    second = await house.agreed("d1", "d2", above=first)
    assert second
    (blame,) = house.told(BlameReport)
    assert (blame.kid, blame.code) == (kid.hex(), "E_DLEQ")
    house.tell("d3", AskToJoin())
    await house.rest(30.0)
    assert house.epoch("d1", "d2") == second


async def test_GS12_nobody_joins_by_another_ones_signature_or_by_a_former_credential() -> None:
    house = Gatehouse.make("d1", "d2", allowed=("d3",))
    await house.state()
    first = await house.agreed("d1", "d2")
    ring, kid = house.ring(), house.office.entries["d3"].kid
    assert ring is not None
    claims = JoinClaims(GID, JOIN, ring.lasting.sid8, 0)
    forged = write(house.scene.devices["d4"].signing, claims, kid=kid)
    await house.steward.heard(JoinAsked(GID, kid, "anywhere", forged), 0)
    former = bytes(8)
    said = house.steward.record.said[identity("d3")]
    await house.steward.kept.put(house.steward.record.told(identity("d3"), replace(said, former=former)))
    genuine = write(house.scene.devices["d3"].signing, claims, kid=former)
    await house.steward.heard(JoinAsked(GID, former, "anywhere", genuine), 0)
    await house.rest(30.0)
    assert house.epoch("d1", "d2") == first
    genuine = write(house.scene.devices["d3"].signing, claims, kid=kid)
    await house.steward.heard(JoinAsked(GID, kid, house.scene.sim.hosts["d3"].address, genuine), 0)
    assert await house.agreed("d1", "d2", "d3", above=first)


async def test_GS15_a_roster_that_a_kill_kept_from_being_reported_is_reported_at_the_start() -> None:
    house = Gatehouse.make()
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    await house.cells.command(ring_of(GID), Amend(remove=(house.office.entries["d3"].kid,), reason=3))
    await house.crash()
    assert await house.agreed("d1", "d2", "d3", above=first)  # the coordinator wants it in, and nobody said otherwise
    told = [read_roster(from_base64url(report.roster), sizes_of(1)).claims.ver for report in house.told(RosterReport)]
    assert told == [1, 2, 3]


async def test_GS24_the_last_who_stays_forgets_the_key_and_a_new_ring_needs_two() -> None:
    house = Gatehouse.make("d1", "d2", allowed=("d3",))
    await house.state()
    first = await house.agreed("d1", "d2")
    house.tell("d2", AskToLeave())
    assert await house.until(lambda: house.ring() is None)
    assert await house.until(lambda: house.member("d2") is None)

    def keyless() -> bool:
        cell = house.member("d1")
        return cell is not None and cell.lasting.active is None

    assert await house.until(keyless)  # it was invited again
    assert len(house.told(LeftReport)) == 1
    await house.steward.add(identity("d3"))
    assert await house.agreed("d1", "d3", above=first)


async def test_GS25_a_gateway_from_a_backup_is_followed_by_members_who_have_gone_on() -> None:
    house = Gatehouse.make()
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    disk = dict(house.scene.sim.hosts["nm1"].disk)
    rows = dict(house.shelf.rows)
    await house.steward.evict(identity("d3"), 3)
    second = await house.agreed("d1", "d2", above=first)
    house.scene.restore("nm1", disk)
    house.shelf.rows = rows
    house.restart(generation=1)
    await house.steward.resume()
    await house.state(members=("d1", "d2"), gone={"d3": 3})
    third = await house.agreed("d1", "d2", above=second)
    assert third > first + 1000
    ring = house.ring()
    assert ring is not None
    assert ring.lasting.held.ver > 1000
    fourth = house.epoch("d1", "d2")
    await house.crash()  # once for each backup
    await house.rest(15.0)
    assert house.epoch("d1", "d2") == fourth


@pytest.mark.parametrize("trouble", [CallerFault("no delegation is in force"), Unavailable("the disk is full")])
async def test_GS26_a_removal_that_could_not_be_carried_out_is_carried_out_later(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    house = Gatehouse.make()
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    well, tries = house.cells.command, []

    async def troubled(key: CellKey, command: Command) -> Sequence[Report]:
        if isinstance(command, Amend):
            tries.append(command)
            raise trouble
        return await well(key, command)

    monkeypatch.setattr(house.cells, "command", troubled)
    if isinstance(trouble, CallerFault):
        await house.steward.evict(identity("d3"), 4)
        await house.rest(30.0)
    else:
        with pytest.raises(Unavailable):
            await house.steward.evict(identity("d3"), 4)
    assert len(tries) == 1  # it is not asked all the time
    monkeypatch.setattr(house.cells, "command", well)
    assert await house.agreed("d1", "d2", above=first)


@pytest.mark.parametrize("how", ["it asks", "the members wake"])
async def test_GS27_who_was_put_out_while_absent_stays_out_though_the_charter_names_it_no_more(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    house = Gatehouse.make("d1", "d2", "d3", "d4")
    await house.state()
    first = await house.agreed("d1", "d2", "d3", "d4")
    house.scene.sim.hosts["d4"].lose_power()
    await house.rest(11.0)
    await house.steward.rekey(1)
    second = await house.agreed("d1", "d2", "d3", above=first)
    well = house.cells.command

    async def defiant(key: CellKey, command: Command) -> Sequence[Report]:
        return () if isinstance(command, UninviteDevice) else await well(key, command)

    monkeypatch.setattr(house.cells, "command", defiant)  # d4 does not do as it is told
    wake = [(house.now() + 40) % 86400] if how == "the members wake" else []
    await house.state(members=("d1", "d2", "d3"), policy=GroupPolicy(period_s=0, wake=wake))  # its removal is safe
    await house.rest(20.0)
    house.scene.sim.reboot("d4")
    house.tell("d4", AskToJoin())
    await house.rest(60.0)
    ring, d4 = house.ring(), house.member("d4")
    assert ring is not None
    assert d4 is not None
    assert len(ring.lasting.held.kids) == 3
    assert d4.lasting.active is None or d4.lasting.active.number <= second


async def test_GS28_papers_from_a_coordinators_backup_hold_up_no_removal() -> None:
    house = Gatehouse.make(days=60)
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    await house.state(days=30, members=("d1", "d2"), gone={"d3": 4})  # the ring holds a longer delegation
    assert await house.agreed("d1", "d2", above=first)
    (refused,) = house.told(RefusedReport)
    assert "lasts longer" in refused.text


async def test_GS28_a_wish_for_a_new_key_is_kept_until_the_store_can_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    house = Gatehouse.make()
    await house.state()
    first = await house.agreed("d1", "d2", "d3")
    well = house.cells.command

    async def full(key: CellKey, command: Command) -> Sequence[Report]:
        if isinstance(command, Rekey):
            raise Unavailable("the disk is full")
        return await well(key, command)

    monkeypatch.setattr(house.cells, "command", full)
    with pytest.raises(Unavailable):
        await house.state(rekey=1, rekey_reason=4)
    monkeypatch.setattr(house.cells, "command", well)
    await house.steward.resume()
    assert await house.agreed("d1", "d2", "d3", above=first) > first
