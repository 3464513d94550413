"""What gateways report: taken once and in order, believed where it is signed; conflicts by name, and the time to safe."""

import pytest
from group_world import GW, OTHER, Street, meter
from hypothesis import given
from hypothesis import strategies as st
from office import Office

from keymote.coordinator import groups_rules as rules
from keymote.engine.audit import Entry
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.host.group_register import EpochLine, Gone, Group, Removal
from keymote.host.register import DeviceState, RevocationKind, Taken
from keymote.wire.admin import to_base64url
from keymote.wire.admin_groups import (
    AbsentReport,
    BlameReport,
    EvictedReport,
    JoinedReport,
    LeftReport,
    RefusedReport,
    RosterReport,
)


@pytest.fixture
async def street(office: Office) -> Street:
    return await Street.built(office)


async def led(street: Street, *, allowed: tuple[int, ...] = (), **more: object) -> Group:
    """Return a group of three that is in its first epoch."""
    group = await street.group(allowed=allowed, **more)
    await street.report(group, street.roster(group, 1, [0, 1, 2], _ra(street)), street.epoch(1, [0, 1, 2]))
    await street.acknowledge()
    return group


def _ra(street: Street) -> object:
    issuer = street.office.issuer
    issuer.credential = street.office.desk.identity.credential
    return issuer


async def live(street: Street) -> list[tuple[str, int | None, tuple[str, ...]]]:
    found = await street.office.pictures.conflicts(0, 100, live=True)
    return [(each.conflict.kind.value, each.conflict.number, tuple(each.managers)) for each in found]


async def notes(street: Street) -> list[str]:
    links = await street.office.desk.ledger.read(lambda tx: tx.audit(0, 500))
    return [Entry.decode(link.entry).action for link in links]


# ------------------------------------------------------------------ taking reports


async def test_CG11_reports_are_taken_once_however_often_they_come(street: Street) -> None:
    group = await street.group(allowed=[3])
    batch = [
        street.roster(group, 2, [0, 1, 2]),
        street.epoch(1, [0, 1, 2], ver=2),
        JoinedReport(next(street.said), street.office.clock.ms, meter(3).hex(), "device"),
        AbsentReport(next(street.said), street.office.clock.ms, 2, [street.kid(0).hex()], excluded=True),
        RefusedReport(next(street.said), street.office.clock.ms, "a stranger asked"),
    ]
    first = await street.report(group, *batch)
    assert (first.upto, first.refused) == (5, [])
    before = (await street.charter(group), await notes(street))
    assert await street.report(group, *batch) == first
    assert await street.report(group, *batch[:2]) == first
    assert (await street.charter(group), await notes(street)) == before
    assert before[0].reported == 5
    assert before[1][-5:] == ["group.roster", "group.epoch", "group.join", "group.absent", "group.refuse"]


async def test_CG11_reports_ascend(street: Street) -> None:
    group = await street.group()
    later, earlier = street.epoch(2, [0, 1]), street.epoch(1, [0, 1])
    with pytest.raises(CallerFault, match="oldest first"):
        await street.report(group, earlier, later)
    assert (await street.office.pictures.one(group.gid)).group.epoch == 0


async def test_CG11_who_never_led_a_group_does_not_report_on_it(street: Street) -> None:
    group = await street.group()
    await street.office.manager(OTHER)
    with pytest.raises(PeerFault) as fault:
        await street.report(group, street.epoch(1, [0, 1]), by=OTHER)
    assert fault.value.code is ErrorCode.E_NOSHARE


async def test_CG11_a_gateway_that_was_replaced_hands_in_what_it_has_kept(street: Street) -> None:
    group = await led(street)
    await street.office.manager(OTHER)
    await street.office.groups.move(group.gid, OTHER)
    taken = await street.report(group, street.roster(group, 2, [0, 1]), street.epoch(2, [0, 1], ver=2))
    assert taken.refused == []
    assert [line.epoch for line, _ in await street.office.pictures.epochs(group.gid, 0, 10)] == [1, 2]


@pytest.mark.parametrize("by", ["device", "operator here"])
async def test_CG21_a_gateway_that_was_replaced_lets_nobody_in(street: Street, by: str) -> None:
    group = await led(street, allowed=(3,))
    await street.office.manager(OTHER)
    await street.office.groups.move(group.gid, OTHER)
    taken = await street.report(group, JoinedReport(next(street.said), street.office.clock.ms, meter(3).hex(), by))
    assert "led by another manager" in taken.refused[0][1]
    assert len((await street.charter(group, OTHER)).members) == 3


async def test_CG21_a_gateway_that_was_replaced_does_not_say_how_far_the_group_is(street: Street) -> None:
    group = await led(street)
    other = await street.office.manager(OTHER)
    group = await street.office.groups.move(group.gid, OTHER)
    far = street.epoch(2**32 - 1, [0, 1, 2])
    assert [seq for seq, _ in (await street.report(group, far)).refused] == [far.seq]
    ver = (await street.charter(group, OTHER)).roster_ver + 1
    now = [street.roster(group, ver, [0, 1, 2], other), street.epoch(1002, [0, 1], ver=ver)]
    assert (await street.report(group, *now, by=OTHER)).refused == []
    late, above = street.epoch(2, [0, 1, 2]), street.epoch(1003, [0, 1, 2])
    assert [seq for seq, _ in (await street.report(group, late, above)).refused] == [above.seq]
    picture = await street.office.pictures.one(group.gid)
    assert picture.group.epoch == 1002
    assert picture.waiting == [meter(2)]


@pytest.mark.parametrize("forged", ["stranger", "altered", "of another group", "under central"])
async def test_CG12_a_roster_that_nobody_entitled_signed_is_refused_and_holds_up_nothing(
    street: Street, forged: str
) -> None:
    group = await street.group(central=forged == "under central")
    signer = await street.office.manager(OTHER) if forged == "stranger" else None
    item = street.roster(group, 2, [0, 1, 2], signer)
    if forged == "altered":
        raw = bytearray(street.signed(group, 2, [0, 1, 2]))
        raw[-1] ^= 1
        item = RosterReport(item.seq, item.ts_ms, to_base64url(bytes(raw)))
    if forged == "of another group":
        other = await street.office.groups.create("other", GW, group.settings, [meter(0), meter(1)], [])
        item = RosterReport(item.seq, item.ts_ms, to_base64url(street.signed(other, 2, [0, 1, 2])))
    taken = await street.report(group, item, street.epoch(1, [0, 1, 2]))
    assert [seq for seq, _ in taken.refused] == [item.seq]
    assert await street.office.pictures.rosters(group.gid, 0, 10) == []
    assert (await street.office.pictures.one(group.gid)).group.epoch == 1
    assert "group.disbelieve" in await notes(street)


async def test_CG12_a_roster_that_was_signed_after_the_delegation_is_refused(street: Street) -> None:
    group = await street.group()
    street.office.clock.ms += (rules.DELEGATION_S + 1) * 1000
    taken = await street.report(group, street.roster(group, 2, [0, 1, 2]))
    assert "delegation had ended" in taken.refused[0][1]


async def test_CG23_a_version_that_nobody_can_reach_is_refused_and_the_group_goes_on(street: Street) -> None:
    group = await led(street)
    await street.office.manager(OTHER)
    taken = await street.report(group, street.roster(group, 2**32 - 1, [0, 1, 2]), street.epoch(2, [0, 1, 2]))
    assert "no ring has changed so often" in taken.refused[0][1]
    assert len(taken.refused) == 1
    moved = await street.office.groups.move(group.gid, OTHER)
    assert moved.roster_ver == 1 + rules.HANDOVER


async def test_rosters_and_epochs_are_told_by_name(street: Street) -> None:
    group = await led(street)
    await street.report(group, street.roster(group, 2, [0, 1]), street.epoch(2, [0, 1], ver=2))
    signers = [(line.ver, by) for line, by in await street.office.pictures.rosters(group.gid, 0, 10)]
    assert signers == [(1, "coordinator"), (2, "gateway1")]
    epochs = await street.office.pictures.epochs(group.gid, 1, 10)
    assert [sorted(members) for _, members in epochs] == [[meter(0), meter(1)]]


# ------------------------------------------------------------------ members


async def test_CG13_an_allowed_device_that_was_let_in_is_a_member(street: Street) -> None:
    group = await led(street, allowed=(3,))
    await street.report(group, JoinedReport(next(street.said), street.office.clock.ms, meter(3).hex(), "device"))
    view = await street.charter(group)
    assert [each.dev_id for each in view.members] == [meter(number).hex() for number in range(4)]


@pytest.mark.parametrize("why", ["not allowed", "suspended", "revoked"])
async def test_CG13_who_may_not_be_a_member_does_not_become_one(street: Street, why: str) -> None:
    group = await led(street, allowed=() if why == "not allowed" else (3,))
    if why == "suspended":
        await street.office.revocations.change_state(meter(3), DeviceState.SUSPENDED)
    if why == "revoked":
        await street.office.revocations.revoke(RevocationKind.DEVICE, meter(3), 2)
    joined = JoinedReport(next(street.said), street.office.clock.ms, meter(3).hex(), "device")
    assert len((await street.report(group, joined)).refused) == 1
    assert meter(3).hex() not in {each.dev_id for each in (await street.charter(group)).members}


async def test_CG13_an_operator_at_the_gateway_lets_in_whom_the_coordinator_never_allowed(street: Street) -> None:
    group = await led(street)
    joined = JoinedReport(next(street.said), street.office.clock.ms, meter(3).hex(), "operator here")
    assert (await street.report(group, joined)).refused == []
    assert len((await street.charter(group)).members) == 4


async def test_CG14_who_left_may_come_back_and_who_was_put_out_there_may_not(street: Street) -> None:
    group = await led(street, allowed=(0, 1))
    now = street.office.clock.ms
    await street.report(
        group,
        LeftReport(next(street.said), now, meter(0).hex()),
        EvictedReport(next(street.said), now, meter(1).hex(), 4),
    )
    view = await street.charter(group)
    assert [each.dev_id for each in view.allowed] == [meter(0).hex()]
    assert [(each.dev_id, each.reason) for each in view.gone] == [(meter(0).hex(), 3), (meter(1).hex(), 4)]


async def test_CG14_who_was_put_out_there_before_it_came_in_may_not_come_in(street: Street) -> None:
    group = await led(street, allowed=(3,))
    taken = await street.report(group, EvictedReport(next(street.said), street.office.clock.ms, meter(3).hex()))
    view = await street.charter(group)
    assert (taken.refused, view.allowed, [each.dev_id for each in view.gone]) == ([], [], [meter(3).hex()])


async def test_an_old_word_does_not_put_out_who_was_taken_in_again(street: Street) -> None:
    group = await led(street)
    before = street.office.clock.ms
    await street.office.groups.change_members(group.gid, [meter(3)], [meter(0)], 3)
    street.office.clock.ms += 1000
    await street.office.groups.change_members(group.gid, [meter(0)], [], 3)
    taken = await street.report(group, EvictedReport(next(street.said), before, meter(0).hex()))
    assert "again" in taken.refused[0][1]
    assert meter(0).hex() in {each.dev_id for each in (await street.charter(group)).members}


async def test_a_member_that_cheated_is_out_and_its_evidence_in_the_audit_log(street: Street) -> None:
    group = await led(street)
    blame = BlameReport(
        next(street.said), street.office.clock.ms, 2, street.kid(0).hex(), "E_DLEQ", to_base64url(b"R2"), evicted=True
    )
    await street.report(group, blame)
    view = await street.charter(group)
    assert [(each.dev_id, each.reason) for each in view.gone] == [(meter(0).hex(), 4)]
    assert "group.blame" in await notes(street)


# ------------------------------------------------------------------ time to safe


async def test_CG15_a_revocation_is_safe_when_an_epoch_without_the_device_is_confirmed(street: Street) -> None:
    group, clock = await led(street), street.office.clock
    line = await street.office.revocations.revoke(RevocationKind.DEVICE, meter(0), 2)
    (gap,) = await street.office.pictures.gaps_of(line)
    assert (gap.safe_after_ms, gap.waiting) == (None, (meter(1), meter(2)))
    clock.ms += 400
    await street.report(group, street.roster(group, 2, [1, 2]), street.epoch(2, [1], ver=2))
    clock.ms += 9000
    (gap,) = await street.office.pictures.gaps_of(line)
    assert (gap.safe_after_ms, gap.waiting) == (400, (meter(2),))
    await street.report(group, street.epoch(3, [1, 2], ver=3))
    (gap,) = await street.office.pictures.gaps_of(line)
    assert (gap.safe_after_ms, gap.waiting) == (400, ())
    picture = await street.office.pictures.one(group.gid)
    assert [(each.dev_id, each.word, each.lag) for each in picture.members] == [
        (meter(1), "in", 0),
        (meter(2), "in", 0),
    ]


async def test_CG15_an_epoch_that_still_holds_the_device_makes_nothing_safe(street: Street) -> None:
    group = await led(street)
    line = await street.office.revocations.revoke(RevocationKind.DEVICE, meter(0), 2)
    street.office.clock.ms += 100
    await street.report(group, street.epoch(2, [0, 1, 2], began_ms=0))
    (gap,) = await street.office.pictures.gaps_of(line)
    assert gap.safe_after_ms is None
    street.office.clock.ms += 100
    await street.report(group, street.epoch(3, [1, 2]))
    (gap,) = await street.office.pictures.gaps_of(line)
    assert gap.safe_after_ms == 200


@pytest.mark.parametrize("before", ["put out", "left"])
async def test_CG22_a_revocation_counts_groups_that_the_device_is_not_safely_out_of(
    street: Street, before: str
) -> None:
    group, clock = await led(street), street.office.clock
    if before == "put out":
        await street.office.groups.change_members(group.gid, [], [meter(0)], 3)
    else:
        await street.report(group, LeftReport(next(street.said), clock.ms, meter(0).hex()))
    clock.ms += 1000
    line = await street.office.revocations.revoke(RevocationKind.DEVICE, meter(0), 2)
    (gap,) = await street.office.pictures.gaps_of(line)
    assert gap.safe_after_ms is None
    assert (await street.charter(group)).gone[-1].reason == 4  # the last word counts
    clock.ms += 300
    await street.report(group, street.epoch(2, [1, 2], ver=2))
    (gap,) = await street.office.pictures.gaps_of(line)
    assert gap.safe_after_ms == 300
    assert (await street.charter(group)).gone == []


async def test_CG15_who_never_had_a_key_is_out_when_the_gateway_knows(street: Street) -> None:
    group = await led(street, allowed=(3,))
    street.office.clock.ms += 1000
    line = await street.office.revocations.revoke(RevocationKind.DEVICE, meter(3), 2)
    (gap,) = await street.office.pictures.gaps_of(line)
    assert gap.safe_after_ms is None
    street.office.clock.ms += 70
    await street.acknowledge()
    (gap,) = await street.office.pictures.gaps_of(line)
    assert gap.safe_after_ms == 70
    await street.office.groups.keep_papers()
    assert (await street.charter(group)).gone == []


async def test_CG15_a_group_that_ended_is_safe_when_its_gateway_knows(street: Street) -> None:
    group = await street.group([0, 1])
    await street.report(group, street.roster(group, 1, [0, 1], _ra(street)), street.epoch(1, [0, 1]))
    line = await street.office.revocations.revoke(RevocationKind.DEVICE, meter(0), 2)
    street.office.clock.ms += 50
    await street.acknowledge()
    (gap,) = await street.office.pictures.gaps_of(line)
    assert gap.safe_after_ms == 50


@given(
    last=st.integers(0, 5),
    at=st.integers(0, 1000),
    first=st.none() | st.tuples(st.integers(1, 9), st.integers(0, 2000)),
    acted=st.none() | st.integers(0, 2000),
    led_=st.booleans(),
)
def test_CG15_nothing_is_safe_before_it_happened_nor_without_a_word_of_the_gateway(
    last: int, at: int, first: tuple[int, int] | None, acted: int | None, led_: bool
) -> None:
    removal = Removal(b"g" * 8, meter(0), Gone.EVICTED, 3, (), at, 1, last)
    line = None if first is None else EpochLine(b"g" * 8, first[0], GW, b"k" * 8, 1, 1, 3, (), first[1], first[1])
    since = rules.safe_at(removal, line, acted, led=led_)
    if since is None:
        return
    assert since >= at
    assert acted is not None or (line is not None and line.epoch > last and line.confirmed_ms == since)
    if led_ and last:
        assert line is not None
        assert line.epoch > last


# ------------------------------------------------------------------ conflicts


async def test_CG16_an_epoch_with_a_device_that_was_revoked_before_is_a_conflict_until_it_is_out(
    street: Street,
) -> None:
    group = await led(street)
    await street.office.revocations.revoke(RevocationKind.DEVICE, meter(0), 2)
    street.office.clock.ms += 1000
    await street.report(group, street.epoch(2, [0, 1, 2]))
    assert await live(street) == [("revoked-member", 2, ("gateway1",))]
    picture = await street.office.pictures.one(group.gid)
    assert meter(0).hex() in picture.conflicts[0].conflict.text
    assert (await street.events("alarm.conflict"))[0]["device"] == meter(0).hex()
    await street.report(group, street.epoch(3, [1, 2], ver=2))
    assert await live(street) == []


async def test_CG16_an_epoch_that_was_begun_before_the_revocation_is_none(street: Street) -> None:
    group = await led(street)
    began = street.office.clock.ms
    street.office.clock.ms += 1000
    await street.office.revocations.revoke(RevocationKind.DEVICE, meter(0), 2)
    street.office.clock.ms += 1000
    await street.report(group, street.epoch(2, [0, 1, 2], began_ms=began))
    assert await live(street) == []


async def test_CG17_two_rosters_of_one_version_are_a_conflict(street: Street) -> None:
    group = await led(street)
    other = await street.office.manager(OTHER)
    await street.report(group, street.roster(group, 1001, [0, 1]))
    await street.office.groups.move(group.gid, OTHER)
    street.said = iter(range(1, 9))
    await street.report(group, street.roster(group, 1001, [0, 1, 2], other), by=OTHER)
    await street.report(group, street.roster(group, 1001, [0, 1, 2], other), by=OTHER)
    assert await live(street) == [("two-rosters", 1001, ("gateway1", "gateway2"))]
    await street.report(group, street.epoch(2, [0, 1, 2], ver=2001), by=OTHER)
    assert await live(street) == []


async def test_CG17_one_epoch_number_from_two_gateways_is_a_conflict(street: Street) -> None:
    group = await led(street)
    await street.office.manager(OTHER)
    await street.office.groups.move(group.gid, OTHER)
    await street.report(group, street.epoch(2, [0, 1, 2], key=1))
    street.said = iter(range(1, 9))
    await street.report(group, street.epoch(2, [0, 1, 2], key=2), by=OTHER)
    assert await live(street) == [("two-epochs", 2, ("gateway1", "gateway2"))]
    await street.report(group, street.epoch(3, [0, 1, 2], key=2), by=OTHER)
    assert await live(street) == []


async def test_GL08_a_roster_with_somebody_unknown_is_a_conflict_until_it_is_said_who_that_is(street: Street) -> None:
    group = await led(street)
    await street.report(group, street.roster(group, 2, [0, 1, 2, 3]))
    assert await live(street) == [("unknown-member", 2, ("gateway1",))]
    (named,) = await street.office.pictures.conflicts(0, 10, live=True)
    assert named.conflict.subject == street.kid(3)
    assert "alarm.conflict" in await notes(street)
    await street.report(group, JoinedReport(next(street.said), 1, meter(3).hex(), "operator here"))
    assert await live(street) == []


async def test_GL08_who_is_told_behind_the_roster_is_no_stranger(street: Street) -> None:
    group = await led(street)
    roster = street.roster(group, 2, [0, 1, 2, 3])
    await street.report(group, roster, JoinedReport(next(street.said), 1, meter(3).hex(), "operator here"))
    assert await live(street) == []


async def test_GL08_a_stranger_is_of_the_past_when_a_later_roster_is_without_it(street: Street) -> None:
    group = await led(street)
    await street.report(group, street.roster(group, 2, [0, 1, 2, 3]), street.epoch(2, [0, 1, 2, 3], ver=2))
    assert await live(street) == [("unknown-member", 2, ("gateway1",))]
    await street.report(group, street.roster(group, 3, [0, 1, 2, 3]), street.epoch(3, [0, 1, 2, 3], ver=3))
    assert [kind for kind, _, _ in await live(street)] == ["unknown-member"] * 2
    await street.report(group, street.roster(group, 4, [0, 1, 2]), street.epoch(4, [0, 1, 2], ver=4))
    assert await live(street) == []


async def test_CG18_a_device_that_another_manager_enrols_is_a_conflict_until_it_is_retired(street: Street) -> None:
    other = await street.office.manager(OTHER)
    for _ in range(2):
        with pytest.raises(Taken):
            await street.enrol(meter(0), at=other)
    assert await live(street) == [("taken-device", None, ("gateway1", "gateway2"))]
    await street.office.revocations.change_state(meter(0), DeviceState.RETIRED)
    assert await live(street) == []
    await street.enrol(meter(0), at=other)


# ------------------------------------------------------------------ pruning


async def test_old_epochs_go_and_the_newest_stay(street: Street) -> None:
    group = await led(street)
    await street.report(group, *(street.epoch(number, [0, 1, 2]) for number in (2, 3)))
    street.office.clock.ms += 100 * 86400 * 1000
    assert await street.office.groups.prune() == 2
    assert [line.epoch for line, _ in await street.office.pictures.epochs(group.gid, 0, 10)] == [3]
    assert await street.office.groups.prune() == 0
