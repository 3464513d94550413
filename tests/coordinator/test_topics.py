"""Topics as an operator wants them: who may be granted what, what a manager lays down, what other changes do to it."""

import asyncio

import pytest
from office import Office
from topic_world import BOTH, OTHER, PUBLISH, SUBSCRIBE, TS, Ward, mote, v

from keymote.engine.policy.topic_charter import MOST_GRANTS, TopicGone
from keymote.engine.policy.topic_events import ClientForgotten, ClientMade
from keymote.errors import CallerFault, ErrorCode, PeerFault, RefusedByPolicy
from keymote.host.ledger import Transaction
from keymote.host.register import DeviceState, RevocationKind, Taken
from keymote.host.topic_register import FileClient, Topic, Why

PUMP = b"pump\0\0\0\4"


@pytest.fixture
async def ward(office: Office) -> Ward:
    return await Ward.built(office)


def gone(*taken: tuple[int, bool, int]) -> tuple[TopicGone, ...]:
    return tuple(TopicGone(mote(number), compromised, v(since)) for number, compromised, since in taken)


# ------------------------------------------------------------------ rules and grants


async def test_CT06_a_rule_and_what_its_manager_lays_down(ward: Ward) -> None:
    topic = await ward.topic(m0=PUBLISH, m1=SUBSCRIBE)
    rule = (await ward.rules())["ward/7/#"]
    assert (rule.version, rule.gone, rule.rotations) == (v(1), (), 0)
    assert [(each.client, each.roles, each.sig_pk) for each in rule.grants] == [(mote(0), 1, b""), (mote(1), 2, b"")]
    assert await ward.rules(OTHER) == {}
    await ward.office.topics.grant(topic.tid, {mote(2): BOTH})
    await ward.office.topics.rotate(topic.tid)
    rule = (await ward.rules())["ward/7/#"]
    assert (rule.version, rule.rotations, len(rule.grants)) == (v(3), 1, 3)
    events = [event for event in await ward.office.outbox.events(0, 100) if event.kind == "topic.change"]
    assert [(event.subject, event.data["version"]) for event in events] == [(TS, v(1)), (TS, v(2)), (TS, v(3))]
    assert await ward.actions() == ["topic.create", "topic.grant", "topic.rotate"]


async def test_CT06_twice_is_once(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH)
    await ward.office.topics.grant(topic.tid, {mote(0): BOTH})
    with pytest.raises(PeerFault, match="never granted anything"):
        await ward.office.topics.revoke(topic.tid, [mote(0), mote(3)], compromised=True)
    assert await ward.version() == v(1)
    for _ in range(2):
        await ward.office.topics.revoke(topic.tid, [mote(0)], compromised=False)
    assert (await ward.rules())["ward/7/#"].gone == gone((0, False, 2))


async def test_CT06_a_filter_has_one_rule_and_its_topics_one_manager(ward: Ward) -> None:
    await ward.office.manager(OTHER)
    await ward.topic()
    with pytest.raises(Taken):
        await ward.topic()
    with pytest.raises(Taken):
        await ward.topic(manager=OTHER)
    for shared in ("#", "ward/+/pulse", "ward/7/pulse"):
        with pytest.raises(RefusedByPolicy, match="led by manager"):
            await ward.topic(shared, manager=OTHER)
    await ward.topic("ward/8/#", manager=OTHER)
    await ward.topic("ward/7/pulse")
    assert list(await ward.rules()) == ["ward/7/#", "ward/7/pulse"]
    assert list(await ward.rules(OTHER)) == ["ward/8/#"]


async def test_CT07_only_active_clients_of_the_manager_are_granted_anything(ward: Ward) -> None:
    office = ward.office
    elsewhere = await office.manager(OTHER)
    await ward.enrol(mote(8), at=elsewhere)
    await office.revocations.change_state(mote(3), DeviceState.SUSPENDED)
    topic = await ward.topic(m0=BOTH)
    for client, kind in ((mote(9), PeerFault), (mote(8), RefusedByPolicy), (mote(3), RefusedByPolicy)):
        with pytest.raises(kind):
            await office.topics.grant(topic.tid, {mote(1): SUBSCRIBE, client: SUBSCRIBE})
    assert await ward.version() == v(1)
    with pytest.raises(PeerFault) as caught:
        await office.topics.grant(b"nothing!", {mote(1): SUBSCRIBE})
    assert caught.value.code is ErrorCode.E_UNKNOWN_ID
    with pytest.raises(PeerFault):
        await ward.topic("bay/#", manager=b"nobody!!")
    await office.manager(b"manager3", enrol=False)
    with pytest.raises(RefusedByPolicy):
        await ward.topic("bay/#", manager=b"manager3")
    with pytest.raises(CallerFault):
        await ward.topic("bay/#/x")


async def test_CT07_a_rule_has_room_for_as_many_as_an_epoch_has_numbers(ward: Ward) -> None:
    made = [number.to_bytes(8, "big") for number in range(1, MOST_GRANTS + 2)]

    def file_clients(tx: Transaction) -> None:
        for client in made:
            tx.topics.put_client(FileClient(client, TS, "c", 0))

    await ward.office.desk.ledger.write(file_clients)
    topic = await ward.topic()
    await ward.office.topics.grant(topic.tid, dict.fromkeys(made[:-1], SUBSCRIBE))
    with pytest.raises(RefusedByPolicy, match="at most 256"):
        await ward.office.topics.grant(topic.tid, {made[-1]: SUBSCRIBE})


async def test_CT08_publishers_of_a_signed_topic_are_named_by_the_key_in_force(ward: Ward) -> None:
    topic = await ward.topic(policy="signed", m0=BOTH, m1=SUBSCRIBE)
    keys = [each.sig_pk for each in (await ward.rules())["ward/7/#"].grants]
    assert keys == [ward.cards[mote(0)].claims.sig_pk, b""]
    before = ward.cards[mote(0)]
    await ward.enrol(mote(0), replaces=before.claims.serial)  # it has rejoined, with new keys
    rule = (await ward.rules())["ward/7/#"]
    assert rule.grants[0].sig_pk == ward.cards[mote(0)].claims.sig_pk != before.claims.sig_pk
    assert (rule.version, rule.gone) == (v(2), gone((0, False, 2)))
    await ward.report(ClientMade(PUMP, "pump 4"))
    with pytest.raises(RefusedByPolicy, match="no key to sign with"):
        await ward.office.topics.grant(topic.tid, {PUMP: PUBLISH})
    await ward.office.topics.grant(topic.tid, {PUMP: SUBSCRIBE})


async def test_CT09_clients_of_provisioning_files_are_granted_and_revoked_by_their_id(ward: Ward) -> None:
    office = ward.office
    topic = await ward.topic()
    with pytest.raises(PeerFault, match="no device here"):
        await office.topics.grant(topic.tid, {PUMP: BOTH})
    await ward.report(ClientMade(PUMP, "pump 4"))
    await office.topics.grant(topic.tid, {PUMP: BOTH})
    assert (await ward.rules())["ward/7/#"].may(PUMP, PUBLISH)
    await office.topics.revoke(topic.tid, [PUMP], compromised=True)
    rule = (await ward.rules())["ward/7/#"]
    assert (rule.grants, rule.gone) == ((), (TopicGone(PUMP, compromised=True, since=v(3)),))
    await office.topics.grant(topic.tid, {PUMP: BOTH})
    await ward.report(ClientForgotten(PUMP))
    assert (await ward.rules())["ward/7/#"].grants == ()
    with pytest.raises(PeerFault):
        await office.topics.grant(topic.tid, {PUMP: SUBSCRIBE})


async def test_CT09_nobody_reports_somebody_elses_client(ward: Ward) -> None:
    await ward.office.manager(OTHER)
    await ward.report(ClientMade(PUMP, "pump 4"))
    for event, by in (
        (ClientMade(PUMP, "mine"), OTHER),
        (ClientForgotten(PUMP), OTHER),
        (ClientMade(mote(0), "x"), TS),
    ):
        assert len((await ward.report(event, by=by)).refused) == 1
    (client,) = await ward.office.topic_pictures.clients(b"", 10)
    assert (client.name, client.nm_id) == ("pump 4", TS)


# ------------------------------------------------------------------ taking away


async def test_CT10_fewer_roles_are_a_taking_and_more_are_not(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH, m1=PUBLISH)
    await ward.office.topics.grant(topic.tid, {mote(0): SUBSCRIBE, mote(1): BOTH})
    rule = (await ward.rules())["ward/7/#"]
    assert (rule.version, rule.gone) == (v(2), gone((0, False, 2)))
    assert [each.roles for each in rule.grants] == [SUBSCRIBE, BOTH]


async def test_CT10_who_went_without_haste_can_be_put_out_with_haste(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH, m1=BOTH)
    for compromised in (False, True, True):
        await ward.office.topics.revoke(topic.tid, [mote(0)], compromised=compromised)
    assert (await ward.rules())["ward/7/#"].gone == gone((0, True, 3))
    await ward.office.topics.grant(topic.tid, {mote(0): SUBSCRIBE})
    rule = (await ward.rules())["ward/7/#"]
    assert rule.may(mote(0), SUBSCRIBE)
    assert rule.taken_from(mote(0), v(2)) is not None  # epochs of before end, whoever was let in again
    assert rule.taken_from(mote(0), v(4)) is None


@pytest.mark.parametrize(
    ("to", "why", "compromised"),
    [
        (DeviceState.SUSPENDED, Why.SUSPENDED, True),
        (DeviceState.RETIRED, Why.RETIRED, False),
        (DeviceState.REVOKED, Why.REVOKED, True),
    ],
)
async def test_CT11_a_device_that_goes_loses_its_grants(
    ward: Ward, to: DeviceState, why: Why, compromised: bool
) -> None:
    office = ward.office
    topic = await ward.topic(m0=BOTH, m1=BOTH)
    await ward.topic("bay/#", m0=SUBSCRIBE)
    if to is DeviceState.REVOKED:
        await office.revocations.revoke(RevocationKind.DEVICE, mote(0), 2)
    else:
        await office.revocations.change_state(mote(0), to)
    for rule in (await ward.rules()).values():
        assert not rule.may(mote(0), SUBSCRIBE)
        assert [(each.client, each.compromised) for each in rule.gone] == [(mote(0), compromised)]
    (taking,) = (await office.topic_pictures.one(topic.tid)).takings
    assert taking.taking.why is why
    if to is DeviceState.SUSPENDED:
        await office.revocations.change_state(mote(0), DeviceState.ACTIVE)
        rule = (await ward.rules())["ward/7/#"]
        assert rule.may(mote(0), BOTH & PUBLISH)
        assert rule.taken_from(mote(0), v(2)) is not None
    else:
        assert await office.desk.ledger.read(lambda tx: tx.topics.grants_of(mote(0))) == []


async def test_CT11_revoked_while_it_went_is_compromised(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH, m1=BOTH)
    await ward.office.topics.revoke(topic.tid, [mote(0)], compromised=False)
    await ward.office.revocations.revoke(RevocationKind.DEVICE, mote(0), 2)
    await ward.office.revocations.revoke(RevocationKind.DEVICE, mote(0), 2)
    assert (await ward.rules())["ward/7/#"].gone == gone((0, True, 3))


async def test_CT11_a_renewed_credential_takes_nothing_away(ward: Ward) -> None:
    await ward.topic(m0=BOTH)
    held = ward.cards[mote(0)].claims
    renewed = ward.office.device(
        ward.manager, mote(0), E1=held.E1, E2=held.E2, sig_pk=held.sig_pk, serial=b"renewed!", iat=held.iat + 5
    )
    await ward.office.registry.register_device(TS, renewed.raw, held.serial)
    assert (await ward.rules())["ward/7/#"].gone == ()
    assert await ward.version() == v(1)


async def test_CT12_a_rule_that_is_closed_is_in_no_charter(ward: Ward) -> None:
    topic = await ward.topic(m0=BOTH)
    await ward.topic("ward/#", m1=BOTH)
    before = await ward.version()
    closed = await ward.office.topics.close(topic.tid)
    assert list(await ward.rules()) == ["ward/#"]
    assert await ward.version() == closed.version == before + 1
    with pytest.raises(PeerFault):
        await ward.office.topics.close(topic.tid)
    await ward.topic(m0=BOTH)


async def test_CT06_who_asks_at_the_same_time_gets_versions_of_their_own(ward: Ward) -> None:
    made = await asyncio.gather(*(ward.topic(f"ward/{number}", m0=BOTH) for number in range(5)))
    assert sorted(topic.version for topic in made) == [v(each) for each in (1, 2, 3, 4, 5)]
    assert all(isinstance(topic, Topic) for topic in made)
    version, _, first = await ward.office.topics.charter(TS, "", 2)
    _, _, rest = await ward.office.topics.charter(TS, first[-1].filter, 10)
    assert (version, [rule.filter for rule in (*first, *rest)]) == (v(5), [f"ward/{number}" for number in range(5)])
