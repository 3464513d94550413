"""The outbox is bounded: what every manager has acted on goes after its time, what a revocation tells stays."""

import pytest
from office import Office

from keymote.coordinator import rules
from keymote.coordinator.outbox import KEPT_MS, PRUNED_AT_ONCE
from keymote.host.register import Acknowledgement, RevocationKind

M1, M2, D1 = b"manager1", b"manager2", b"device-1"


async def announce(office: Office, count: int) -> int:
    """Announce changes that no revocation refers to; return the last one's number."""
    events = [
        await office.desk.ledger.write(lambda tx: office.desk.announce(tx, "device.suspend", D1)) for _ in range(count)
    ]
    return events[-1].id


async def kept(office: Office) -> list[int]:
    return [event.id for event in await office.outbox.events(0, 10_000)]


async def acknowledged(office: Office, event: int) -> list[Acknowledgement]:
    return list(await office.desk.ledger.read(lambda tx: tx.acknowledgements(event)))


async def test_what_every_active_manager_has_acted_on_goes_when_it_is_old(office: Office) -> None:
    for manager in (M1, M2):
        await office.manager(manager)
    last = await announce(office, 6)
    await office.outbox.acknowledge(M1, last)
    await office.outbox.acknowledge(M2, 4)
    assert await office.outbox.prune() == 0, "a manager restored from a backup asks for them again"
    office.clock.ms += KEPT_MS + 1
    await office.outbox.prune()
    assert await kept(office) == [5, 6]
    await office.outbox.acknowledge(M2, last)
    office.clock.ms += KEPT_MS + 1
    await office.outbox.prune()
    assert await kept(office) == [6]
    assert await announce(office, 1) == 7


async def test_a_revoked_manager_holds_nothing_back_and_an_absent_one_does(office: Office) -> None:
    for manager in (M1, M2):
        await office.manager(manager)
    await office.outbox.acknowledge(M1, await announce(office, 6))
    office.clock.ms += KEPT_MS + 1
    await office.outbox.prune()
    assert len(await kept(office)) == 6
    line = await office.revocations.revoke(RevocationKind.MANAGER, M2, 1)
    await office.outbox.prune()
    assert await kept(office) == [line.event]


async def test_the_revocation_list_and_the_time_to_safe_outlive_the_pruning(office: Office) -> None:
    manager = await office.manager(M1)
    await office.manager(M2)
    await office.registry.register_device(manager.id, office.device(manager, D1).raw, None)
    lines = []
    for number in range(3):
        await announce(office, 3)
        dev_id = b"device%02d" % number
        await office.registry.register_device(manager.id, office.device(manager, dev_id).raw, None)
        line = await office.revocations.revoke(RevocationKind.DEVICE, dev_id, 1)
        lines.append(line)
        for nm_id, after_ms in ((M1, 20), (M2, 300)):
            office.clock.ms += after_ms
            for upto in range(line.event - 3, line.event + 1):
                await office.outbox.acknowledge(nm_id, upto)
    last = await announce(office, 50)
    for nm_id in (M1, M2):
        for upto in range(last - 49, last + 1):
            await office.outbox.acknowledge(nm_id, upto)
    safe = [await office.outbox.safety_of(line) for line in lines]
    assert safe == [rules.Safety((), 320)] * 3
    office.clock.ms += KEPT_MS + 1
    rows = await office.outbox.prune()
    assert await kept(office) == [*(line.event for line in lines), last]
    assert rows == 3 * 3 + 49 + 2 * (3 * 3 + 49), (
        "events, and acknowledgements of both managers; the newest of each stay"
    )
    assert [await office.outbox.safety_of(line) for line in lines] == safe
    assert [found for found, _ in (await office.outbox.revocations(0, 10))[0]] == lines
    assert await office.outbox.prune() == 0


async def test_one_transaction_prunes_a_bounded_number_of_rows(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await office.manager(M1)

    def many(tx):
        for _ in range(2 * PRUNED_AT_ONCE + 2):
            event = office.desk.announce(tx, "device.suspend", D1)
        return event.id

    await office.outbox.acknowledge(M1, await office.desk.ledger.write(many))
    office.clock.ms += KEPT_MS + 1
    writes = []
    write = type(office.desk.ledger).write

    async def counted(self, work):
        rows = await write(self, work)
        writes.append(rows)
        return rows

    monkeypatch.setattr(type(office.desk.ledger), "write", counted)
    assert await office.outbox.prune() == sum(writes)
    assert len(writes) == 4
    assert max(writes) <= PRUNED_AT_ONCE + 1
    assert len(await kept(office)) == 1


async def test_a_manager_behind_the_pruned_events_reads_what_is_there(office: Office) -> None:
    await office.manager(M1)
    await office.outbox.acknowledge(M1, await announce(office, 6))
    office.clock.ms += KEPT_MS + 1
    await office.outbox.prune()
    assert [event.id for event in await office.outbox.awaited(2, 10, 0.0)] == [6]
