"""Registration: idempotent, unique, chained, and loud about clones."""

import asyncio
from dataclasses import replace

import pytest
from office import NOW, Issuer, Office

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.hybrid import HybridKey, draw_seed
from keymote.engine.hybrid import published
from keymote.engine.queries import ManagerFound
from keymote.errors import ErrorCode, PeerFault
from keymote.host.register import CredentialState, DeviceState, RevocationKind, Taken
from keymote.wire import signed
from keymote.wire.credential import Credential, Role, issue

D1 = b"device-1"


async def kinds(office: Office) -> list[str]:
    return [event.kind for event in await office.outbox.events(0, 100)]


async def test_a_registered_credential_gets_a_receipt_that_the_coordinator_signed(office: Office) -> None:
    manager = await office.manager(b"manager1")
    credential = office.device(manager, D1)
    outcome = await office.registry.register_device(manager.id, credential.raw, None)
    assert outcome.created
    key = office.desk.identity.key
    receipt = signed.read(outcome.registered.receipt, signed.Receipt)
    verifier = office.desk.identity.trust.suite(1).verify_key(key.public)
    assert receipt.verified_by(verifier) == signed.Receipt(credential.digest, outcome.registered.reg_no, NOW)


async def test_the_same_bytes_again_give_the_same_receipt_and_no_new_line(office: Office) -> None:
    manager = await office.manager(b"manager1")
    credential = office.device(manager, D1)
    first = await office.registry.register_device(manager.id, credential.raw, None)
    length = await office.desk.ledger.read(lambda tx: tx.last_audit())
    again = await office.registry.register_device(manager.id, credential.raw, None)
    assert (again.created, again.registered) == (False, first.registered)
    assert await office.desk.ledger.read(lambda tx: tx.last_audit()) == length


async def test_a_second_credential_for_a_dev_id_is_refused_and_raises_an_alarm(office: Office) -> None:
    manager = await office.manager(b"manager1")
    await office.registry.register_device(manager.id, office.device(manager, D1).raw, None)
    with pytest.raises(Taken) as taken:
        await office.registry.register_device(manager.id, office.device(manager, D1).raw, None)
    assert taken.value.code is ErrorCode.E_CRED
    assert (await kinds(office))[-1] == "alarm.clone"


async def test_one_device_under_two_managers_is_refused_even_with_replaces(office: Office) -> None:
    first, second = await office.manager(b"manager1"), await office.manager(b"manager2")
    credential = office.device(first, D1)
    await office.registry.register_device(first.id, credential.raw, None)
    with pytest.raises(Taken):
        await office.registry.register_device(second.id, office.device(second, D1).raw, credential.claims.serial)
    assert (await kinds(office))[-1] == "alarm.clone"


async def test_a_serial_that_is_taken_is_refused(office: Office) -> None:
    manager = await office.manager(b"manager1")
    first = office.device(manager, D1)
    await office.registry.register_device(manager.id, first.raw, None)
    with pytest.raises(Taken):
        await office.registry.register_device(
            manager.id, office.device(manager, b"device-2", serial=first.claims.serial).raw, None
        )


async def test_a_rejoin_supersedes_the_named_serial_at_once(office: Office) -> None:
    manager = await office.manager(b"manager1")
    old, new = office.device(manager, D1), office.device(manager, D1)
    await office.registry.register_device(manager.id, old.raw, None)
    outcome = await office.registry.register_device(manager.id, new.raw, old.claims.serial)
    assert outcome.created
    assert (await office.registry.status(old.claims.serial))[0] == "superseded"
    assert await office.registry.status(new.claims.serial) == ("active", 1)
    assert (await office.registry.find(D1)).credential == new.raw
    found, epoch = await office.outbox.revocations(0, 10)
    assert [(line.kind, line.subject) for line, _ in found] == [(RevocationKind.CREDENTIAL, old.claims.serial)]
    assert epoch == 1
    with pytest.raises(Taken):
        await office.registry.register_device(manager.id, office.device(manager, D1).raw, old.claims.serial)


async def test_a_revoked_device_comes_back_by_a_rejoin_only(office: Office) -> None:
    manager = await office.manager(b"manager1")
    old, new = office.device(manager, D1), office.device(manager, D1)
    await office.registry.register_device(manager.id, old.raw, None)
    await office.revocations.revoke(RevocationKind.DEVICE, D1, 2)
    with pytest.raises(Taken):
        await office.registry.register_device(manager.id, new.raw, None)
    await office.registry.register_device(manager.id, new.raw, old.claims.serial)
    device = await office.desk.ledger.read(lambda tx: tx.device(D1))
    assert (device.state, device.serial) == (DeviceState.ACTIVE, new.claims.serial)
    assert (await office.registry.status(old.claims.serial))[0] == "revoked"


async def test_a_rejoin_does_not_lift_a_suspension(office: Office) -> None:
    manager = await office.manager(b"manager1")
    old, new = office.device(manager, D1), office.device(manager, D1)
    await office.registry.register_device(manager.id, old.raw, None)
    await office.revocations.change_state(D1, DeviceState.SUSPENDED)
    await office.registry.register_device(manager.id, new.raw, old.claims.serial)
    with pytest.raises(PeerFault) as fault:
        await office.registry.find(D1)
    assert fault.value.code is ErrorCode.E_NOSHARE


async def test_a_retired_dev_id_is_free_for_another_manager(office: Office) -> None:
    first, second = await office.manager(b"manager1"), await office.manager(b"manager2")
    await office.registry.register_device(first.id, office.device(first, D1).raw, None)
    await office.revocations.change_state(D1, DeviceState.RETIRED)
    outcome = await office.registry.register_device(second.id, office.device(second, D1).raw, None)
    assert outcome.registered.iss == second.id


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"role": Role.MANAGER}, ErrorCode.E_CRED),
        ({"nc_id": b"coord--B"}, ErrorCode.E_CRED),
        ({"exp": NOW - 1}, ErrorCode.E_CRED),
        ({"iat": NOW + 301}, ErrorCode.E_CRED),
        ({"iss": b"manager2"}, ErrorCode.E_CRED),
        ({"sig_pk": bytes(32)}, ErrorCode.E_POINT),
        ({"E1": bytes(32)}, ErrorCode.E_POINT),
        ({"suite": 4}, ErrorCode.E_SUITE),
    ],
    ids=["role", "coordinator", "expired", "not yet", "issuer", "signature key", "identity", "suite"],
)
async def test_CR03_what_a_manager_may_not_vouch_for_is_refused(
    office: Office, changes: dict[str, object], code: ErrorCode
) -> None:
    manager = await office.manager(b"manager1")
    await office.manager(b"manager2")
    with pytest.raises(PeerFault) as fault:
        await office.registry.register_device(manager.id, office.device(manager, D1, **changes).raw, None)
    assert fault.value.code is code
    assert await office.desk.ledger.read(lambda tx: tx.device(D1)) is None


async def test_CR02_a_credential_that_another_key_signed_is_refused(office: Office) -> None:
    manager = await office.manager(b"manager1")
    thief = Issuer(manager.id, (await office.manager(b"manager2")).key, manager.entropy)
    with pytest.raises(PeerFault) as fault:
        await office.registry.register_device(manager.id, office.device(thief, D1).raw, None)
    assert fault.value.code is ErrorCode.E_CRED


@pytest.mark.parametrize("enrolled", [False, True])
async def test_only_an_active_manager_registers(office: Office, enrolled: bool) -> None:
    manager = await office.manager(b"manager1", enrol=enrolled)
    if enrolled:
        await office.revocations.revoke(RevocationKind.MANAGER, manager.id, 2)
    with pytest.raises(PeerFault) as fault:
        await office.registry.register_device(manager.id, office.device(manager, D1).raw, None)
    assert fault.value.code is ErrorCode.E_NOSHARE


async def test_a_manager_enrols_again_under_a_new_credential(office: Office) -> None:
    manager = await office.manager(b"manager1")
    new = office.issuer.vouch(manager.id, Role.MANAGER, office.nc_id, serial=b"serial-2")
    assert (await office.registry.register_manager(new.raw)).created
    assert not (await office.registry.register_manager(new.raw)).created
    assert (await office.registry.status(b"manager1"))[0] == "superseded"
    with pytest.raises(PeerFault) as fault:
        await office.managers.admit(manager.id, manager.credential.kid)
    assert fault.value.code is ErrorCode.E_CRED
    assert (await office.managers.admit(manager.id, new.kid)).serial == b"serial-2"


async def test_a_manager_that_was_never_added_gets_no_credential(office: Office) -> None:
    with pytest.raises(PeerFault) as fault:
        await office.registry.register_manager(office.issuer.vouch(b"stranger", Role.MANAGER, office.nc_id).raw)
    assert fault.value.code is ErrorCode.E_UNKNOWN_ID


async def test_of_many_claims_at_once_exactly_one_wins(office: Office) -> None:
    manager = await office.manager(b"manager1")
    claims = [office.device(manager, D1) for _ in range(20)]
    results = await asyncio.gather(
        *(office.registry.register_device(manager.id, claim.raw, None) for claim in claims), return_exceptions=True
    )
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert sum(isinstance(result, Taken) for result in results) == 19


async def test_the_database_itself_refuses_two_active_credentials(office: Office) -> None:
    manager = await office.manager(b"manager1")
    registered = (await office.registry.register_device(manager.id, office.device(manager, D1).raw, None)).registered
    from dataclasses import replace

    with pytest.raises(Taken):
        await office.desk.ledger.write(lambda tx: tx.add_credential(replace(registered, serial=b"serial-2", reg_no=99)))
    await office.desk.ledger.write(
        lambda tx: tx.add_credential(
            replace(registered, serial=b"serial-2", reg_no=99, state=CredentialState.SUPERSEDED)
        )
    )


async def test_numbers_of_the_register_grow_without_gaps(office: Office) -> None:
    manager = await office.manager(b"manager1")
    numbers = []
    for index in range(5):
        credential = office.device(manager, bytes([index]) * 8)
        numbers.append((await office.registry.register_device(manager.id, credential.raw, None)).registered.reg_no)
        with pytest.raises(Taken):
            await office.registry.register_device(manager.id, office.device(manager, bytes([index]) * 8).raw, None)
    assert numbers == list(range(numbers[0], numbers[0] + 5))


async def test_PQ03_a_hybrid_key_is_handed_on_as_its_manager_signed_it_and_another_one_is_refused(
    office: Office,
) -> None:
    one, other = await office.manager(b"manager1"), await office.manager(b"manager2")
    key = HybridKey.of(draw_seed(SeededEntropy(b"hybrid")))
    own, foreign = (published(key.public, one.id, issuer.key) for issuer in (one, other))
    renamed = published(key.public, other.id, one.key)
    await office.managers.announce_endpoint(one.id, "coap://127.0.0.1:1", own)
    for wrong, code in ((foreign, ErrorCode.E_AUTH), (renamed, ErrorCode.E_CRED), (own[:-1], ErrorCode.E_FORMAT)):
        with pytest.raises(PeerFault) as fault:
            await office.managers.announce_endpoint(one.id, "coap://127.0.0.1:2", wrong)
        assert fault.value.code is code
    assert await office.registry.find_manager(one.id) == ManagerFound(
        one.credential.raw, office.desk.identity.credential.raw, "coap://127.0.0.1:1", own
    )
    await office.managers.announce_endpoint(one.id, "coap://127.0.0.1:1")
    assert (await office.registry.find_manager(one.id)).hybrid_key == b""  # withdrawn


# ------------------------------------------------------------------ renewal


async def test_RN02_a_renewal_revokes_nothing_and_revoking_either_credential_ends_the_device(office: Office) -> None:
    manager = await office.manager(b"manager1")
    first = office.device(manager, D1)
    await office.registry.register_device(manager.id, first.raw, None)
    second = renewal_of(manager, first, b"serial 2")
    await office.registry.register_device(manager.id, second.raw, first.claims.serial)
    assert await office.registry.status(first.claims.serial) == ("renewed", 0)
    assert await office.registry.status(second.claims.serial) == ("active", 0)
    assert (await office.registry.find(D1)).credential == second.raw
    assert "credential.superseded" not in await kinds(office)
    await office.revocations.revoke(RevocationKind.CREDENTIAL, first.claims.serial, 2)
    with pytest.raises(PeerFault) as fault:
        await office.registry.find(D1)
    assert fault.value.code is ErrorCode.E_NOSHARE


async def test_RN06_a_revoked_device_gets_no_renewal_but_may_rejoin(office: Office) -> None:
    manager = await office.manager(b"manager1")
    first = office.device(manager, D1)
    await office.registry.register_device(manager.id, first.raw, None)
    await office.revocations.revoke(RevocationKind.DEVICE, D1, 2)
    with pytest.raises(PeerFault) as fault:
        await office.registry.register_device(manager.id, renewal_of(manager, first, b"2").raw, first.claims.serial)
    assert fault.value.code is ErrorCode.E_NOSHARE
    rejoined = office.device(manager, D1)
    await office.registry.register_device(manager.id, rejoined.raw, first.claims.serial)
    assert (await office.registry.find(D1)).credential == rejoined.raw


async def test_RN04_a_rejoin_may_name_a_credential_that_was_renewed_since(office: Office) -> None:
    manager = await office.manager(b"manager1")
    first = office.device(manager, D1)
    await office.registry.register_device(manager.id, first.raw, None)
    await office.registry.register_device(manager.id, renewal_of(manager, first, b"2").raw, first.claims.serial)
    rejoined = office.device(manager, D1)
    await office.registry.register_device(manager.id, rejoined.raw, first.claims.serial)
    assert (await office.registry.find(D1)).credential == rejoined.raw


async def test_RN07_a_manager_is_admitted_by_the_certificate_of_before_its_renewal(office: Office) -> None:
    manager = await office.manager(b"manager1")
    other = await office.manager(b"manager2")
    newer = renewal_of(office.issuer, manager.credential, b"newer NM")
    await office.registry.register_manager(newer.raw)
    for kid in (manager.credential.kid, newer.kid):
        assert (await office.managers.admit(manager.id, kid)).kid == newer.kid
    with pytest.raises(PeerFault):
        await office.managers.admit(manager.id, other.credential.kid)


def renewal_of(issuer: Issuer, before: Credential, serial: bytes) -> Credential:
    claims = before.claims
    return issue(issuer.key, replace(claims, serial=serial.ljust(8), iat=claims.iat + 1, exp=claims.exp + 1))
