"""Suspension, retirement and revocation: final where they must be, once however often, and known to everybody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from office import NOW, Issuer, Office

from keymote.coordinator import rules
from keymote.coordinator.rules import safety
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.suites import SUITES
from keymote.engine.audit import Entry
from keymote.errors import CallerFault, ErrorCode, PeerFault, RefusedByPolicy
from keymote.host.register import Acknowledgement, Device, DeviceState, Event, RevocationKind
from keymote.wire.cose import sign1
from keymote.wire.pairwise import Revnote, RevnoteClaims

D1 = b"device-1"


async def enrolled(office: Office, dev_id: bytes = D1) -> Issuer:
    manager = await office.manager(b"manager1")
    await office.registry.register_device(manager.id, office.device(manager, dev_id).raw, None)
    return manager


async def actions(office: Office) -> list[str]:
    return [Entry.decode(link.entry).action for link in await office.desk.ledger.read(lambda tx: tx.audit(0, 100))]


async def test_RV08_each_change_of_the_list_raises_the_status_epoch(office: Office) -> None:
    await enrolled(office)
    first = await office.revocations.revoke(RevocationKind.DEVICE, D1, 2)
    second = await office.revocations.revoke(RevocationKind.MANAGER, b"manager1", 1)
    assert (first.status_epoch, second.status_epoch) == (1, 2)
    assert (await office.outbox.revocations(0, 10))[1] == 2


async def test_revoking_twice_is_revoking_once(office: Office) -> None:
    await enrolled(office)
    first = await office.revocations.revoke(RevocationKind.DEVICE, D1, 2)
    assert await office.revocations.revoke(RevocationKind.DEVICE, D1, 4) == first
    assert len(await office.outbox.events(0, 100)) == 1
    assert (await actions(office)).count("device.revoke") == 1


async def test_a_credential_in_force_takes_its_device_with_it(office: Office) -> None:
    manager = await office.manager(b"manager1")
    credential = office.device(manager, D1)
    await office.registry.register_device(manager.id, credential.raw, None)
    line = await office.revocations.revoke(RevocationKind.CREDENTIAL, credential.claims.serial, 1)
    assert (line.kind, line.subject) == (RevocationKind.DEVICE, D1)
    with pytest.raises(PeerFault) as fault:
        await office.registry.find(D1)
    assert fault.value.code is ErrorCode.E_NOSHARE


async def test_a_superseded_credential_can_be_revoked_without_touching_its_device(office: Office) -> None:
    manager = await office.manager(b"manager1")
    old, new = office.device(manager, D1), office.device(manager, D1)
    await office.registry.register_device(manager.id, old.raw, None)
    await office.registry.register_device(manager.id, new.raw, old.claims.serial)
    await office.revocations.revoke(RevocationKind.CREDENTIAL, old.claims.serial, 1)
    assert (await office.registry.status(old.claims.serial))[0] == "revoked"
    assert (await office.registry.find(D1)).credential == new.raw


async def test_the_devices_of_a_revoked_manager_start_no_sessions(office: Office) -> None:
    manager = await office.manager(b"manager1")
    credential = office.device(manager, D1)
    await office.registry.register_device(manager.id, credential.raw, None)
    await office.revocations.revoke(RevocationKind.MANAGER, manager.id, 2)
    with pytest.raises(PeerFault) as fault:
        await office.registry.find(D1)
    assert fault.value.code is ErrorCode.E_NOSHARE
    assert (await office.registry.status(credential.claims.serial))[0] == "revoked"


@pytest.mark.parametrize("kind", [RevocationKind.DEVICE, RevocationKind.MANAGER, RevocationKind.CREDENTIAL])
async def test_nobody_unknown_is_revoked(office: Office, kind: RevocationKind) -> None:
    with pytest.raises(PeerFault) as fault:
        await office.revocations.revoke(kind, b"\0" * 8, 0)
    assert fault.value.code is ErrorCode.E_UNKNOWN_ID
    assert await actions(office) == []


async def test_a_retired_device_stays_retired(office: Office) -> None:
    await enrolled(office)
    await office.revocations.change_state(D1, DeviceState.RETIRED)
    for act in (
        office.revocations.change_state(D1, DeviceState.ACTIVE),
        office.revocations.change_state(D1, DeviceState.SUSPENDED),
        office.revocations.revoke(RevocationKind.DEVICE, D1, 0),
    ):
        with pytest.raises(RefusedByPolicy):
            await act


@given(st.lists(st.sampled_from(list(DeviceState)), max_size=12))
def test_no_way_of_an_operator_leads_back_from_revoked(wishes: list[DeviceState]) -> None:
    device, was_revoked = Device(D1, b"manager1", DeviceState.ACTIVE, b"serial-1"), False
    for wish in wishes:
        try:
            device = rules.moved(device, wish)
        except RefusedByPolicy:
            assert wish not in rules.TRANSITIONS[device.state]
        was_revoked |= device.state is DeviceState.REVOKED
        assert not (was_revoked and device.state in {DeviceState.ACTIVE, DeviceState.SUSPENDED, DeviceState.PENDING})


# ------------------------------------------------------------------ sessions


def revnote(manager: Issuer, psid: bytes = b"session1", **changes: object) -> bytes:
    claims = RevnoteClaims(psid, b"key-id--", 2, b"accused-", NOW)
    key, kid = changes.get("key", manager.key), changes.get("kid", manager.credential and manager.credential.kid)
    return Revnote(sign1(key, changes.get("mt", Revnote.mt), claims.encode(), kid=kid)).encode()


async def test_RV03_a_managers_note_is_entered_once_and_kept_as_evidence(office: Office) -> None:
    manager = await office.manager(b"manager1")
    note = revnote(manager)
    first = await office.revocations.report_session(manager.id, note)
    assert await office.revocations.report_session(manager.id, note) == first
    assert (first.subject, first.reason, first.evidence) == (b"session1", 2, note)
    assert [event.kind for event in await office.outbox.events(0, 10)] == ["session.revoke"]
    assert (await office.outbox.revocations(0, 10))[1] == 0, "no credential changed"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"key": SUITES[1].generate_signing_key(SeededEntropy(b"thief"))}, ErrorCode.E_AUTH),
        ({"mt": 29}, ErrorCode.E_AUTH),
    ],
    ids=["key", "type"],
)
async def test_a17_a_note_that_the_manager_did_not_sign_is_refused(
    office: Office, changes: dict[str, object], code: ErrorCode
) -> None:
    manager = await office.manager(b"manager1")
    with pytest.raises(PeerFault) as fault:
        await office.revocations.report_session(manager.id, revnote(manager, **changes))
    assert fault.value.code is code
    assert (await office.outbox.revocations(0, 10))[0] == []


async def test_RN07_a_note_under_a_credential_that_was_renewed_since_is_the_managers_own(office: Office) -> None:
    manager = await office.manager(b"manager1")
    await office.revocations.report_session(manager.id, revnote(manager, kid=b"renewed!"))
    assert len((await office.outbox.revocations(0, 10))[0]) == 1


async def test_a_session_is_not_an_operators_to_revoke(office: Office) -> None:
    with pytest.raises(PeerFault) as fault:
        await office.revocations.revoke(RevocationKind.SESSION, b"session1", 0)
    assert fault.value.code is ErrorCode.E_FORMAT


# ------------------------------------------------------------------ outbox and time to safe


async def test_the_time_to_safe_is_that_of_the_slowest_active_manager(office: Office) -> None:
    await enrolled(office)
    await office.manager(b"manager2")
    line = await office.revocations.revoke(RevocationKind.DEVICE, D1, 2)
    assert (await office.outbox.safety_of(line)).waiting == (b"manager1", b"manager2")
    office.clock.ms += 120
    await office.outbox.acknowledge(b"manager1", line.event)
    assert await office.outbox.safety_of(line) == rules.Safety((b"manager2",), None)
    office.clock.ms += 300
    await office.outbox.acknowledge(b"manager2", line.event)
    office.clock.ms += 5000
    await office.outbox.acknowledge(b"manager1", line.event)
    assert await office.outbox.safety_of(line) == rules.Safety((), 420)


async def test_a_revoked_manager_is_not_waited_for(office: Office) -> None:
    await enrolled(office)
    line = await office.revocations.revoke(RevocationKind.MANAGER, b"manager1", 2)
    assert await office.outbox.safety_of(line) == rules.Safety((), 0)


@given(
    st.dictionaries(st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 1000), max_size=3),
    st.sets(st.sampled_from([b"a", b"b", b"c"])),
)
def test_safe_means_that_every_active_manager_has_acknowledged(acks: dict[bytes, int], active: set[bytes]) -> None:
    event = Event(5, 0, "device.revoke", D1, {})
    found = safety(event, active, [Acknowledgement(nm_id, 5, at) for nm_id, at in acks.items()])
    assert set(found.waiting) == active - set(acks)
    assert (found.safe_after_ms is None) == bool(found.waiting)
    if not found.waiting:
        assert found.safe_after_ms == max((acks[nm_id] for nm_id in active), default=0)


async def test_nobody_acknowledges_the_future_and_cursors_never_go_back(office: Office) -> None:
    await enrolled(office)
    line = await office.revocations.revoke(RevocationKind.DEVICE, D1, 2)
    with pytest.raises(CallerFault):
        await office.outbox.acknowledge(b"manager1", line.event + 1)
    await office.outbox.acknowledge(b"manager1", line.event)
    await office.outbox.acknowledge(b"manager1", 0)
    manager = await office.desk.ledger.read(lambda tx: tx.manager(b"manager1"))
    assert manager.acknowledged == line.event


async def test_who_waits_for_events_wakes_with_the_first(office: Office) -> None:
    import asyncio

    await enrolled(office)
    waiting = asyncio.create_task(office.outbox.awaited(0, 10, 30.0))
    await asyncio.sleep(0)
    await office.revocations.revoke(RevocationKind.DEVICE, D1, 2)
    async with asyncio.timeout(5):
        assert [event.kind for event in await waiting] == ["device.revoke"]
    assert await office.outbox.awaited(99, 10, 0.0) == []
    waiting = asyncio.create_task(office.outbox.awaited(99, 10, 30.0))
    await asyncio.sleep(0)
    office.desk.news.close()
    async with asyncio.timeout(5):
        assert await waiting == []


async def test_every_change_stands_in_the_audit_log_with_its_actor(office: Office) -> None:
    await enrolled(office)
    await office.revocations.change_state(D1, DeviceState.SUSPENDED)
    await office.revocations.change_state(D1, DeviceState.SUSPENDED)
    await office.revocations.change_state(D1, DeviceState.ACTIVE)
    await office.revocations.revoke(RevocationKind.DEVICE, D1, 2)
    links = await office.desk.ledger.read(lambda tx: tx.audit(0, 100))
    found = [(entry.actor, entry.action) for entry in (Entry.decode(link.entry) for link in links)]
    name = f"manager:{b'manager1'.hex()}"
    assert found == [
        ("operator", "manager.add"),
        ("coordinator", "manager.register"),
        (name, "manager.endpoint"),
        (name, "device.register"),
        ("operator", "device.suspend"),
        ("operator", "device.resume"),
        ("operator", "device.revoke"),
    ]
