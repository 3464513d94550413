"""The post-quantum hedge of a group: drawn at its gateway, handed out by INVITE, named by START, in virtual time."""

from dataclasses import replace

import pytest
from gatehouse import GID, Gatehouse

from keymote.cbor import decode
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.engine.base import CellKey
from keymote.engine.group.faces import AskToJoin, AskToLeave, RunStarted, membership_of
from keymote.engine.group.invitation import InvitationAnswered
from keymote.engine.group.ring import master_key
from keymote.lab.scenes import identity
from keymote.lab.simulator import Channel
from keymote.manager.group_hedge import HEDGE, Hedges
from keymote.manager.group_record import Said
from keymote.wire.admin_groups import EpochReport


def named(house: Gatehouse) -> bytes:
    """Return the hedge that the newest START names."""
    ring = house.ring()
    assert ring is not None
    claims = ring.lasting.started()
    assert claims is not None
    return claims.reason.psk_id


def newest(house: Gatehouse) -> bytes:
    assert house.steward.hedges.newest is not None
    return house.steward.hedges.newest.psk_id


def held(house: Gatehouse, name: str) -> list[bytes]:
    cell = house.member(name)
    return [] if cell is None else [psk_id for psk_id, _ in cell.lasting.psks]


def deaf(house: Gatehouse, name: str, channel: Channel) -> None:
    """Let what the manager says to a device go through this air."""
    hosts = house.scene.sim.hosts
    house.scene.sim.channels[hosts["nm1"].address, hosts[name].address] = channel


async def hedged(house: Gatehouse, *names: str) -> bool:
    """Wait until these agree on an epoch that the newest hedge has gone into."""

    def reached() -> bool:
        ring = house.ring()
        done = ring is not None and bool(ring.lasting.commit) and named(house) == newest(house)
        return done and house.epoch(*names) > 0

    return await house.until(reached, 120.0)


@pytest.mark.parametrize("multicast", [True, False], ids=["multicast", "unicast"])
@pytest.mark.parametrize("mode", ["relay", "edge"])
async def test_GH01_a_run_names_the_hedge_that_everybody_has_acknowledged(mode: str, multicast: bool) -> None:
    house = Gatehouse.make(hedge=True, mode=mode, multicast=multicast)
    await house.state()
    assert await house.agreed("d1", "d2", "d3") == 1, "the first run waits for the invitations as it always does"
    assert named(house) == newest(house)
    assert {tuple(held(house, name)) for name in ("d1", "d2", "d3")} == {(newest(house),)}
    await house.state(rekey=1)
    assert await house.agreed("d1", "d2", "d3", above=1) == 2
    assert named(house) == newest(house)


async def test_GH01_a_group_without_the_option_has_no_hedge() -> None:
    house = Gatehouse.make()
    await house.state()
    assert await house.agreed("d1", "d2", "d3") == 1
    assert named(house) == b""
    assert house.shelf.load(CellKey(HEDGE, GID)) is None


def test_GH01_the_key_of_a_group_is_another_with_a_hedge() -> None:
    gk_pub, th2 = Secret(b"g" * 32), bytes(32)
    keys = [master_key(gk_pub, th2, psk) for psk in (None, Secret(b"p" * 32), Secret(b"q" * 32))]
    assert len({key.expose() for key in keys}) == 3


async def test_GH01_who_joins_by_itself_is_let_in_without_and_the_next_run_has_it() -> None:
    house = Gatehouse.make("d1", "d2", allowed=("d3",), hedge=True)
    await house.state()
    assert await hedged(house, "d1", "d2")
    assert held(house, "d3") == [], "who stands by is no member"
    await house.rest(20.0)  # nothing holds up the next START
    house.tell("d3", AskToJoin())
    assert await house.until(lambda: house.epoch("d1", "d2", "d3") > 0)
    assert await hedged(house, "d1", "d2", "d3")
    runs = [report for report in house.scene.sim.heard("nm1", RunStarted) if len(report.kids) == 3]
    assert [run.cause.psk_id for run in runs] == [b"", newest(house)]


async def test_GH02_the_answer_to_an_invitation_with_another_hedge_does_not_count() -> None:
    house = Gatehouse.make(hedge=True)
    await house.state()
    assert await hedged(house, "d1", "d2", "d3")
    before = newest(house)
    deaf(house, "d2", Channel(loss=1.0))
    await house.state(members=("d1", "d2"), gone={"d3": 3})
    assert newest(house) != before
    kid = house.steward.record.said[identity("d2")].kid
    for psk_id in (before, b""):  # what was on its way since
        await house.steward.heard(InvitationAnswered(identity("d2"), GID, None, kid, psk_id), house.now() * 1000)
        assert not house.steward.record.said[identity("d2")].answered
        assert newest(house) not in house.steward.record.said[identity("d2")].psks
    deaf(house, "d2", Channel())
    assert await hedged(house, "d1", "d2")


@pytest.mark.parametrize("reason", [3, 4])
async def test_GH03_an_eviction_waits_for_no_hedge_and_a_fresh_one_follows(reason: int) -> None:
    house = Gatehouse.make("d1", "d2", "d3", "d4", hedge=True)
    await house.state()
    assert await hedged(house, "d1", "d2", "d3", "d4")
    before, epoch = newest(house), house.epoch("d1", "d2", "d3", "d4")
    at = house.scene.sim.now
    await house.state(members=("d1", "d2", "d3"), gone={"d4": reason})
    assert house.scene.sim.now == at
    assert named(house) == before, "the run began at once, with what all of them hold"
    assert newest(house) != before
    after = await house.agreed("d1", "d2", "d3", above=epoch)
    assert after > epoch
    assert await hedged(house, "d1", "d2", "d3")
    assert named(house) != before
    assert newest(house) not in held(house, "d4")


async def test_GH03_who_leaves_by_itself_does_not_learn_the_next_one() -> None:
    house = Gatehouse.make("d1", "d2", "d3", allowed=("d3",), hedge=True)
    await house.state()
    assert await hedged(house, "d1", "d2", "d3")
    before = newest(house)
    house.tell("d3", AskToLeave())
    assert await house.until(lambda: newest(house) != before)
    assert await hedged(house, "d1", "d2")
    assert newest(house) not in held(house, "d3"), "it stands by, and is no member"


async def test_GH03_who_leaves_while_a_fresh_one_is_on_its_way_costs_another_and_two_are_kept() -> None:
    hedges = Hedges(GID)
    entropy = SeededEntropy(b"three")
    members = frozenset(map(identity, ("d1", "d2", "d3")))
    drawn = []
    for gone in (frozenset(), {identity("d3")}, {identity("d2"), identity("d3")}):
        hedges = hedges.for_members(members - gone, members - gone, entropy)
        assert hedges.for_members(members - gone, members - gone, entropy) == hedges, "again is once"
        drawn.append(hedges.newest)
    assert len({each.psk_id for each in drawn if each}) == 3
    assert hedges.psks == (drawn[2], drawn[1])
    assert Hedges.decode(GID, hedges.encode()) == hedges


async def test_GH04_a_member_that_lost_its_hedge_does_not_stay_out() -> None:
    house = Gatehouse.make(hedge=True)
    await house.state()
    assert await hedged(house, "d1", "d2", "d3")
    cells = house.scene.sim.hosts["d2"].cells
    cell = cells[membership_of(GID)]
    cells[membership_of(GID)] = replace(cell, lasting=replace(cell.lasting, psks=()))
    await house.state(rekey=1)
    assert await house.until(lambda: house.epoch("d1", "d2", "d3") > 1 and newest(house) in held(house, "d2"), 300.0)
    assert await hedged(house, "d1", "d2", "d3")


async def test_GH05_a_restart_of_the_gateway_keeps_the_hedge() -> None:
    house = Gatehouse.make(hedge=True)
    await house.state()
    assert await hedged(house, "d1", "d2", "d3")
    before, epoch = newest(house), house.epoch("d1", "d2", "d3")
    await house.crash()
    assert newest(house) == before
    await house.state(rekey=1)
    assert await house.agreed("d1", "d2", "d3", above=epoch)
    assert await hedged(house, "d1", "d2", "d3")
    assert named(house) == before


async def test_GH05_a_run_that_a_restart_cut_off_goes_on_with_its_hedge() -> None:
    house = Gatehouse.make(hedge=True)
    await house.state()
    assert await hedged(house, "d1", "d2", "d3")
    epoch = house.epoch("d1", "d2", "d3")
    await house.rest(20.0)
    await house.state(rekey=1)
    ring = house.ring()
    assert ring is not None
    assert (ring.lasting.number[0], ring.lasting.commit) == (epoch + 1, b""), "its START is out"
    await house.crash()
    assert await house.agreed("d1", "d2", "d3", above=epoch)
    assert named(house) == newest(house)


async def test_GH05_a_backup_has_hedges_that_nobody_may_hold_any_more() -> None:
    house = Gatehouse.make(hedge=True)
    await house.state()
    assert await hedged(house, "d1", "d2", "d3")
    before = newest(house)
    house.restart(1)
    await house.steward.resume()
    await house.state()
    assert await hedged(house, "d1", "d2", "d3")
    assert newest(house) != before


async def test_GH06_the_hedge_is_on_no_record_but_its_own_and_in_no_report() -> None:
    house = Gatehouse.make(hedge=True)
    await house.state()
    assert await hedged(house, "d1", "d2", "d3")
    assert house.steward.hedges.newest is not None
    psk = house.steward.hedges.newest.psk.expose()
    rows = {key.kind for key, row in house.shelf.rows.items() if psk in row}
    assert rows == {HEDGE}
    assert decode(house.shelf.rows[CellKey(HEDGE, GID)], max_size=1 << 14)
    assert psk.hex() not in repr(house.steward.hedges)
    assert len(house.told(EpochReport)) > 0
    await house.state(state="closed", members=())
    assert house.shelf.load(CellKey(HEDGE, GID)) is None


def test_GH06_an_answer_under_new_keys_says_nothing_of_older_hedges() -> None:
    said = Said(b"digest").by(b"kid-one-", b"hedge-01").by(b"kid-one-", b"hedge-02")
    assert said.psks == (b"hedge-02", b"hedge-01")
    assert said.by(b"kid-one-", b"hedge-03").psks == (b"hedge-03", b"hedge-02")
    assert said.by(b"kid-two-", b"hedge-02").psks == (b"hedge-02",)
    assert said.again(b"").psks == ()
