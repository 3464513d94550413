"""Groups as an operator wants them: who may belong, what the coordinator signs, and what other changes do to them."""

from dataclasses import replace

import pytest
from group_world import GW, OTHER, Street, meter, roster_in
from office import NOW, Office, made_identity

from keymote.coordinator import groups_rules as rules
from keymote.coordinator.authority import Root
from keymote.coordinator.groups import Groups
from keymote.coordinator.identity import FormerKey
from keymote.crypto.entropy import SeededEntropy
from keymote.engine.audit import Entry
from keymote.engine.group.charter import Charter, next_roster, with_delegation
from keymote.errors import ErrorCode, Incompatible, PeerFault, RefusedByPolicy, Unavailable
from keymote.host.group_register import Group, GroupState
from keymote.host.register import DeviceState, RevocationKind, Taken
from keymote.wire.admin import from_base64url
from keymote.wire.admin_groups import CharterView
from keymote.wire.credential import Role, SignedCredential, kid_of


@pytest.fixture
async def street(office: Office) -> Street:
    return await Street.built(office)


def believed(office: Office, view: CharterView) -> Charter:
    """Return the charter that a member makes of what it is told: under the coordinator's credential alone."""
    raw = from_base64url(view.credential)
    claims = SignedCredential.decode(raw).claims
    bare = Charter(bytes.fromhex(view.gid), view.suite, kid_of(raw), claims.sig_pk)
    return with_delegation(bare, from_base64url(view.delegation), office.desk.identity.trust.key, office.desk.now)


async def actions(office: Office) -> list[str]:
    return [Entry.decode(link.entry).action for link in await office.desk.ledger.read(lambda tx: tx.audit(0, 500))]


# ------------------------------------------------------------------ creating


async def test_CG02_a_member_believes_the_papers_of_a_new_group(street: Street) -> None:
    group = await street.group()
    view = await street.charter(group)
    charter = believed(street.office, view)
    assert (charter.gw_kid, charter.max_n) == (street.gateway.credential.kid, 32)
    held = next_roster(
        charter, None, from_base64url(view.roster), street.office.desk.identity.trust.key, street.office.desk.now
    )
    assert (held.ver, held.entries) == (1, street.entries([0, 1, 2]))
    assert [each.dev_id for each in view.members] == [meter(number).hex() for number in (0, 1, 2)]
    assert await street.events() == [{"rev": 1, "nm_id": GW.hex()}]
    assert "group.create" in await actions(street.office)


async def test_CG02_with_central_the_coordinator_signs_every_roster(street: Street) -> None:
    group = await street.group(central=True)
    assert believed(street.office, await street.charter(group)).max_n == 0
    await street.office.groups.change_members(group.gid, [meter(3)], [meter(0)], 3)
    claims = roster_in(await street.charter(group))
    assert (claims.ver, claims.entries) == (2, street.entries([1, 2, 3]))


async def test_CG02_a_gateway_that_leads_signs_the_later_rosters_itself(street: Street) -> None:
    group = await street.group()
    before = await street.charter(group)
    await street.report(group, street.roster(group, 2, [0, 1, 2]))
    await street.office.groups.change_members(group.gid, [meter(3)], [], 3)
    after = await street.charter(group)
    assert (after.roster, after.rev) == (before.roster, before.rev + 1)
    assert len(after.members) == 4


async def test_CG02_until_the_gateway_leads_the_roster_is_that_of_now(street: Street) -> None:
    group = await street.group()
    await street.office.revocations.revoke(RevocationKind.DEVICE, meter(0), 2)
    claims = roster_in(await street.charter(group))
    assert (claims.ver, claims.entries) == (2, street.entries([1, 2]))


async def test_in_edge_mode_the_gateway_is_a_member(street: Street) -> None:
    group = await street.group([0], mode="edge")
    kids = {entry.kid for entry in roster_in(await street.charter(group)).entries}
    assert kids == {street.kid(0), street.gateway.credential.kid}


@pytest.mark.parametrize(("members", "edge"), [(0, False), (1, False), (0, True), (33, False), (32, True)])
def test_CG01_a_ring_has_two_to_thirty_two_members(members: int, edge: bool) -> None:
    with pytest.raises(RefusedByPolicy, match="members") as refused:
        rules.check_size(members, edge=edge)
    assert refused.value.do


@pytest.mark.parametrize(("members", "edge"), [(2, False), (1, True), (32, False), (31, True)])
def test_CG01_two_and_thirty_two_are_a_ring(members: int, edge: bool) -> None:
    rules.check_size(members, edge=edge)


async def test_CG01_a_group_of_one_is_not_made(street: Street) -> None:
    with pytest.raises(RefusedByPolicy, match="at least 2"):
        await street.group([0])
    assert await street.events() == []


@pytest.mark.parametrize("state", [DeviceState.SUSPENDED, DeviceState.REVOKED, DeviceState.RETIRED])
async def test_CG01_only_active_devices_are_let_in(street: Street, state: DeviceState) -> None:
    if state is DeviceState.REVOKED:
        await street.office.revocations.revoke(RevocationKind.DEVICE, meter(0), 0)
    else:
        await street.office.revocations.change_state(meter(0), state)
    with pytest.raises(RefusedByPolicy, match=state.value):
        await street.group()


async def test_CG01_a_member_is_enrolled_at_the_gateway(street: Street) -> None:
    other = await street.office.manager(OTHER)
    await street.enrol(meter(9), at=other)
    with pytest.raises(RefusedByPolicy, match="cannot invite it") as refused:
        await street.group([0, 9])
    assert "its own manager" in refused.value.do


async def test_CG01_a_key_of_another_suite_is_refused_with_what_to_do(street: Street) -> None:
    seat = rules.Seat(meter(0), GW, b"kid-----", bytes(33), 17, b"")
    device = await street.office.desk.ledger.read(lambda tx: tx.device(meter(0)))
    assert device is not None
    with pytest.raises(Incompatible, match="suite 17") as refused:
        rules.check_member(device, seat, GW, 1)
    assert refused.value.do


async def test_nobody_unknown_belongs_to_a_group_or_leads_one(street: Street) -> None:
    for call in (street.group([0, 99]), street.office.groups.change_members(b"nowhere!", [meter(0)], [], 3)):
        with pytest.raises(PeerFault) as fault:
            await call
        assert fault.value.code is ErrorCode.E_UNKNOWN_ID
    await street.office.manager(OTHER, enrol=False)
    group = await street.group()
    with pytest.raises(RefusedByPolicy, match="pending"):
        await street.office.groups.move(group.gid, OTHER)
    with pytest.raises(PeerFault, match="never added"):
        await street.office.groups.move(group.gid, b"nobody--")


async def test_two_groups_have_two_names(street: Street) -> None:
    await street.group()
    with pytest.raises(Taken):
        await street.group()


# ------------------------------------------------------------------ changing


async def test_CG03_each_change_raises_rev_and_the_same_again_does_not(street: Street) -> None:
    group = await street.group()
    groups = street.office.groups
    for _ in range(2):
        await groups.change_members(group.gid, [meter(3)], [meter(0)], 3)
        await groups.allow(group.gid, [meter(0)], [])
    await groups.rekey(group.gid, 4)
    assert [event["rev"] for event in await street.events()] == [1, 2, 3, 4]
    view = await street.charter(group)
    assert (view.rev, view.rekey, view.rekey_reason) == (4, 1, 4)
    assert [each.dev_id for each in view.allowed] == [meter(0).hex()]


async def test_CG03_a_charter_is_for_the_gateway_alone(street: Street) -> None:
    group = await street.group()
    await street.office.manager(OTHER)
    with pytest.raises(PeerFault) as fault:
        await street.charter(group, OTHER)
    assert fault.value.code is ErrorCode.E_NOSHARE


async def test_CG14_who_was_put_out_may_not_come_back_by_itself(street: Street) -> None:
    group = await street.group(allowed=[0, 3])
    await street.office.groups.change_members(group.gid, [], [meter(0)], 4)
    view = await street.charter(group)
    assert [each.dev_id for each in view.allowed] == [meter(3).hex()]
    assert [(each.dev_id, each.kids, each.reason) for each in view.gone] == [(meter(0).hex(), [street.kid(0).hex()], 4)]


async def test_a_group_does_not_shrink_below_two_by_an_operators_word(street: Street) -> None:
    group = await street.group([0, 1])
    with pytest.raises(RefusedByPolicy, match="at least 2"):
        await street.office.groups.change_members(group.gid, [], [meter(0)], 3)


async def test_CG04_another_gateway_gets_papers_that_outrank_the_ones_before(street: Street) -> None:
    group = await street.group()
    await street.report(group, street.roster(group, 41, [0, 1, 2]))
    before = believed(street.office, await street.charter(group))
    other = await street.office.manager(OTHER)
    await street.office.groups.move(group.gid, OTHER)
    view = await street.charter(group, OTHER)
    keys = street.office.desk.identity.trust.key
    after = with_delegation(before, from_base64url(view.delegation), keys, street.office.desk.now)
    assert (after.gw_kid, after.not_after > before.not_after) == (other.credential.kid, True)
    assert roster_in(view).ver == 41 + rules.HANDOVER
    assert (await street.events())[-1]["nm_id"] == OTHER.hex()


async def test_GH07_the_home_manager_of_a_member_reads_the_charter_and_nobody_else_does(street: Street) -> None:
    group = await street.group([0, 1], allowed=[2])
    await street.office.manager(OTHER)
    await street.office.manager(b"gateway3")
    await street.office.groups.move(group.gid, OTHER)
    assert await street.charter(group, GW) == await street.charter(group, OTHER)
    with pytest.raises(PeerFault) as fault:
        await street.charter(group, b"gateway3")
    assert fault.value.code is ErrorCode.E_NOSHARE
    for number in (0, 1):
        await street.office.revocations.revoke(RevocationKind.DEVICE, meter(number), 2)
    assert [each.dev_id for each in (await street.charter(group)).allowed] == [meter(2).hex()]
    await street.office.groups.allow(group.gid, [], [meter(2)])
    with pytest.raises(PeerFault) as fault:  # nobody of the group is enrolled there any more
        await street.charter(group, GW)
    assert fault.value.code is ErrorCode.E_NOSHARE


async def test_GH07_who_only_invites_reports_nothing_under_the_new_lead(street: Street) -> None:
    group = await street.group([0, 1])
    await street.enrol(meter(9), at=await street.office.manager(OTHER))
    with pytest.raises(PeerFault) as fault:
        await street.report(group, street.epoch(7, [0, 1]), by=OTHER)
    assert fault.value.code is ErrorCode.E_NOSHARE


async def test_a_closed_group_stays_closed(street: Street) -> None:
    group = await street.group()
    for _ in range(2):
        await street.office.groups.close(group.gid)
    view = await street.charter(group)
    assert (view.state, view.members, view.rev) == ("closed", [], 2)
    with pytest.raises(RefusedByPolicy, match="closed"):
        await street.office.groups.change_members(group.gid, [meter(0)], [], 3)
    with pytest.raises(RefusedByPolicy, match="closed"):
        await street.office.groups.rekey(group.gid, 1)


# ------------------------------------------------------------------ what else happens


async def test_CG05_revoking_a_device_takes_it_out_of_every_group_at_once(street: Street) -> None:
    first = await street.group()
    second = await street.office.groups.create("diagnostics", GW, first.settings, [meter(1), meter(2)], [meter(0)])
    await street.office.revocations.revoke(RevocationKind.DEVICE, meter(0), 2)
    for group in (first, second):
        view = await street.charter(group)
        assert meter(0).hex() not in {each.dev_id for each in [*view.members, *view.allowed]}
        assert [(each.dev_id, each.reason) for each in view.gone] == [(meter(0).hex(), 4)]
    events = await street.office.outbox.events(0, 100)
    assert [event.kind for event in events if event.at_ms == events[-1].at_ms][-3:] == [
        "device.revoke",
        "group.change",
        "group.change",
    ]


async def test_CG05_retiring_a_device_takes_it_out_without_haste(street: Street) -> None:
    group = await street.group()
    await street.office.revocations.change_state(meter(0), DeviceState.RETIRED)
    view = await street.charter(group)
    assert [(each.dev_id, each.reason) for each in view.gone] == [(meter(0).hex(), 3)]


async def test_CG05_a_rejoin_with_new_keys_puts_the_old_ones_out(street: Street) -> None:
    group = await street.group()
    old = street.cards[meter(0)]
    new = await street.enrol(meter(0), replaces=old.claims.serial)
    view = await street.charter(group)
    assert [each.kid for each in view.members if each.dev_id == meter(0).hex()] == [new.kid.hex()]
    assert view.gone == [], "the device is a member, under another kid"
    (gap,) = (await street.office.pictures.one(group.gid)).gaps
    assert (gap.removal.kids, gap.removal.cause.value, gap.removal.reason) == ((old.kid,), "superseded", 3)


async def test_CG06_a_suspended_device_is_on_no_roster_until_it_is_taken_back(street: Street) -> None:
    group = await street.group()
    await street.office.revocations.change_state(meter(0), DeviceState.SUSPENDED)
    away = await street.charter(group)
    assert roster_in(away).entries == street.entries([1, 2])
    assert [each.reason for each in away.gone] == [3]
    picture = await street.office.pictures.one(group.gid)
    assert [each.word for each in picture.members] == ["suspended", "waiting", "waiting"]
    await street.office.revocations.change_state(meter(0), DeviceState.ACTIVE)
    back = await street.charter(group)
    assert (roster_in(back).entries, back.gone) == (street.entries([0, 1, 2]), [])


async def test_CG07_a_renewed_credential_changes_a_members_kid_and_nothing_else(street: Street) -> None:
    group = await street.group()
    old = street.cards[meter(0)]
    claims = replace(old.claims, serial=b"renewed1", iat=NOW + 1)
    new = await street.enrol(meter(0), replaces=old.claims.serial, **_as_changes(claims))
    view = await street.charter(group)
    assert [each.kid for each in view.members if each.dev_id == meter(0).hex()] == [new.kid.hex()]
    assert view.gone == []
    assert new.kid != old.kid


async def test_CG07_a_gateway_with_a_renewed_credential_leads_under_it(street: Street) -> None:
    group = await street.group()
    office, old = street.office, street.gateway.credential
    assert old is not None
    claims = replace(old.claims, serial=b"renewed1", iat=NOW + 1)
    new = office.issuer.vouch(GW, Role.MANAGER, office.nc_id, **_as_changes(claims))
    await office.registry.register_manager(new.raw)
    charter = believed(office, await street.charter(group))
    assert (charter.gw_kid, charter.gw_pk) == (new.kid, old.claims.sig_pk)
    assert (await street.charter(group)).rev == 2


def _as_changes(claims: object) -> dict[str, object]:
    names = ("serial", "iat", "E1", "E2", "sig_pk", "exp")
    return {name: getattr(claims, name) for name in names}


async def test_CG08_after_a_key_roll_the_papers_are_under_the_credential_in_force(street: Street, root: Root) -> None:
    group = await street.group()
    await street.report(group, street.roster(group, 5, [0, 1, 2]))
    office, old = street.office, street.office.desk.identity
    key_rolled = made_identity(office.nc_id, root, b"next")
    rolled = replace(key_rolled, former=(FormerKey(old.credential.raw, b""),))
    office.desk = replace(office.desk, identity=rolled)
    office.groups = Groups(office.desk, SeededEntropy(b"again"))
    with pytest.raises(Unavailable):
        await street.charter(group)
    assert await office.groups.keep_papers() == 1
    view = await street.charter(group)
    charter = believed(office, view)
    assert charter.ra_kid == rolled.credential.kid != old.credential.kid
    held = next_roster(charter, None, from_base64url(view.roster), rolled.trust.key, office.desk.now)
    assert held.ver == 5 + rules.HANDOVER
    assert await office.groups.keep_papers() == 0


async def test_CG09_a_delegation_is_renewed_when_a_third_of_it_is_left(street: Street) -> None:
    group = await street.group()
    before = believed(street.office, await street.charter(group))
    street.office.clock.ms += (rules.DELEGATION_S * 2 // 3 - 60) * 1000
    assert await street.office.groups.keep_papers() == 0
    street.office.clock.ms += 120_000
    assert await street.office.groups.keep_papers() == 1
    after = believed(street.office, await street.charter(group))
    assert after.not_after - before.not_after >= rules.DELEGATION_S * 2 // 3
    assert roster_in(await street.charter(group)).ver == 1


async def test_CG10_fewer_than_two_pause_a_group_and_more_begin_it_anew(street: Street) -> None:
    group = await street.group([0, 1])
    await street.report(group, street.roster(group, 7, [0, 1]))
    await street.office.revocations.revoke(RevocationKind.DEVICE, meter(0), 2)
    assert (await street.charter(group)).state == GroupState.PAUSED
    with pytest.raises(RefusedByPolicy, match="paused"):
        await street.office.groups.rekey(group.gid, 1)
    await street.office.groups.change_members(group.gid, [meter(2)], [], 3)
    view = await street.charter(group)
    assert view.state == GroupState.ACTIVE
    assert (roster_in(view).ver, roster_in(view).entries) == (7 + rules.HANDOVER, street.entries([1, 2]))


async def test_the_group_of_a_revoked_gateway_says_so_and_can_be_moved(street: Street) -> None:
    group = await street.group()
    await street.office.revocations.revoke(RevocationKind.MANAGER, GW, 2)
    assert (await street.office.pictures.one(group.gid)).gateway.state.value == "revoked"
    await street.office.manager(OTHER)
    moved: Group = await street.office.groups.move(group.gid, OTHER)
    assert moved.nm_id == OTHER
    assert await street.office.groups.keep_papers() == 0
