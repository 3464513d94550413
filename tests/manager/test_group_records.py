"""The encrypted log of a group at its gateway: what passed is on disk as it was sealed, goes up once, and makes room in time."""

import asyncio
from collections.abc import Sequence

import pytest
from gatehouse import GID, Gatehouse, Shelf
from test_group_service import Coordinator, Rows, service, settled

from keymote.engine.group.payload_faces import RecordPassed, SendToGroup
from keymote.errors import ErrorCode, PeerFault, Unavailable
from keymote.host.ports import Write
from keymote.lab.scenes import identity
from keymote.manager.app import records as keeping
from keymote.manager.group_desk import GroupDesk
from keymote.manager.group_records import BLOCK, BLOCK_SIZE, Passed, RecordLog, passed
from keymote.wire.admin import encode, from_base64url
from keymote.wire.admin_groups import GroupPolicy
from keymote.wire.admin_records import MOST_BODY, GroupRecords, LoggedRecord
from keymote.wire.gsec import Encrypt0, write

KEEP = GroupPolicy(period_s=0, keep_records=1000)
KID = b"kid-of-1"


def sealed(number: int, epoch16: int = 1, size: int = 8) -> bytes:
    return write(Encrypt0(b"\x01", number, epoch16, None, bytes(size)))


def record(number: int, size: int = 8) -> Passed:
    made = passed(1000 + number, 1, KID, "telemetry", sealed(number, size=size))
    assert made is not None
    return made


async def filled(shelf: Shelf, count: int, keep: int = 10_000, start: int = 0) -> RecordLog:
    log = RecordLog(shelf)
    for number in range(start, start + count):
        log.add(GID, record(number), keep)
        if number % 7 == 0:
            await log.flush()
    await log.flush()
    return log


async def drained(log: RecordLog) -> list[LoggedRecord]:
    taken: list[LoggedRecord] = []
    while log.groups():
        for batch in log.batches(GID):
            taken += batch
            await log.settle(GID, batch[-1].seq)
    return taken


# ------------------------------------------------------------------ what is kept


async def test_GL01_what_members_send_is_kept_as_they_sealed_it_by_who_for_what_and_in_which_epoch() -> None:
    house = Gatehouse.make(policy=KEEP)
    await house.state()
    epoch = await house.agreed("d1", "d2", "d3")
    house.tell("d1", SendToGroup(b"3 kW", "telemetry/power"))
    house.tell("d2", SendToGroup(b"shed", "load", signed=True))
    await house.rest(2.0)
    heard = [report for _, _, report in house.scene.sim.hosts["nm1"].reports if isinstance(report, RecordPassed)]
    await house.records.flush()
    ((one, two),) = RecordLog(house.shelf).batches(GID)
    assert (one.resource, one.epoch, one.number, one.kid) == ("telemetry/power", epoch, 0, heard[0].kid.hex())
    assert (two.resource, two.seq) == ("load", 2)
    assert [from_base64url(each.record) for each in (one, two)] == [report.record for report in heard]
    assert all(b"3 kW" not in row and b"shed" not in row for row in house.shelf.rows.values())


async def test_GL01_a_group_whose_policy_keeps_nothing_has_no_log() -> None:
    house = Gatehouse.make()
    await house.state()
    assert await house.agreed("d1", "d2", "d3")
    house.tell("d1", SendToGroup(b"3 kW", "telemetry/power"))
    await house.rest(2.0)
    assert any(isinstance(report, RecordPassed) for _, _, report in house.scene.sim.hosts["nm1"].reports)
    assert not await house.records.flush()
    assert not house.records.waiting(GID)


@pytest.mark.parametrize(
    ("newest", "epoch16", "meant"),
    [(1, 1, 1), (1, 2, 2), (70_000, 4463, 69_999), (65_536, 65_535, 65_535), (65_535, 0, 65_536), (0, 40_000, 40_000)],
)
def test_GL01_sixteen_bits_name_the_nearest_epoch(newest: int, epoch16: int, meant: int) -> None:
    made = passed(0, newest, KID, "", sealed(3, epoch16))
    assert made is not None
    assert (made.epoch, made.number) == (meant, 3)


def test_GL01_what_is_no_record_is_not_kept() -> None:
    assert passed(0, 1, KID, "telemetry", b"\x01\x02") is None


# ------------------------------------------------------------------ on disk


@pytest.mark.parametrize("count", [1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE + 5])
async def test_GL02_what_a_commit_took_survives_and_goes_up_in_order(count: int) -> None:
    shelf = Shelf()
    await filled(shelf, count)
    log = RecordLog(shelf)  # it was killed
    log.add(GID, record(count), 10_000)  # and this one is not on disk yet
    assert log.waiting(GID) == count
    taken = await drained(RecordLog(shelf))
    assert [each.seq for each in taken] == list(range(1, count + 1))
    assert [each.number for each in taken] == list(range(count))
    again = await filled(shelf, 2, start=500)
    assert [each.seq for each in await drained(again)] == [count + 1, count + 2]  # a number is never used again
    assert not [
        key for key in shelf.rows if key.kind == BLOCK and key.id[8:] < (count // BLOCK_SIZE).to_bytes(8, "big")
    ]


async def test_GL02_a_commit_writes_what_came_and_not_what_waits() -> None:
    shelf = Shelf()
    log = await filled(shelf, 10 * BLOCK_SIZE)
    written: list[Write] = []
    keep = shelf.keep

    async def counted(writes: Sequence[Write]) -> None:
        written.extend(writes)
        await keep(writes)

    shelf.keep = counted  # type: ignore[method-assign]
    log.add(GID, record(7), 10_000)
    await log.flush()
    assert len(written) == 2  # one block and one row of places
    assert sum(len(write.record or b"") for write in written) < 200


async def test_GL02_nothing_is_lost_or_twice_while_the_store_fails() -> None:
    class Broken(Shelf):
        broken = False

        async def keep(self, writes: Sequence[Write]) -> None:
            if self.broken:
                raise Unavailable("the disk is full")
            await super().keep(writes)

    shelf = Broken()
    log = await filled(shelf, 10)
    shelf.broken = True
    log.add(GID, record(10), 1000)
    with pytest.raises(Unavailable):
        await log.flush()
    log.add(GID, record(11), 1000)
    shelf.broken = False
    assert await log.flush()
    assert [each.number for each in await drained(RecordLog(shelf))] == list(range(12))


# ------------------------------------------------------------------ bounds


@pytest.mark.parametrize("keep", [1, 10, BLOCK_SIZE, 150])
async def test_GL03_the_oldest_gives_way_and_is_counted(keep: int) -> None:
    shelf = Shelf()
    await filled(shelf, 200, keep)
    log = RecordLog(shelf)
    assert (log.waiting(GID), log.dropped(GID)) == (keep, 200 - keep)
    assert sum(key.kind == BLOCK for key in shelf.rows) <= keep // BLOCK_SIZE + 2
    assert [each.number for each in await drained(log)] == list(range(200 - keep, 200))


async def test_GL03_what_cannot_be_written_is_bounded_too() -> None:
    log = RecordLog(Shelf())
    for number in range(50):
        log.add(GID, record(number), 10)
    assert log.dropped(GID) == 40
    await log.flush()
    assert [each.number for each in await drained(log)] == list(range(40, 50))


async def test_GL03_a_restored_backup_begins_new_numbers() -> None:
    shelf = Shelf()
    await filled(shelf, 100)
    log = RecordLog(shelf, generation=1)
    assert (log.waiting(GID), log.dropped(GID)) == (0, 100)
    log.add(GID, record(0), 1000)
    await log.flush()
    assert sum(key.kind == BLOCK for key in shelf.rows) == 1
    assert [each.seq for each in await drained(RecordLog(shelf, generation=1))] == [(1 << 32) + 1]


# ------------------------------------------------------------------ upwards


async def test_GL04_a_batch_is_what_one_call_carries() -> None:
    log = RecordLog(Shelf())
    for number in range(BLOCK_SIZE):
        log.add(GID, record(number, size=1000), 1000)
    await log.flush()
    batches = log.batches(GID)
    assert len(batches) > 1
    assert [each.seq for batch in batches for each in batch] == list(range(1, BLOCK_SIZE + 1))
    sizes = [len(encode(GroupRecords(list(batch)))) for batch in batches]
    assert all(size <= MOST_BODY for size in sizes)
    assert max(sizes) > MOST_BODY * 0.9


async def test_GL04_a_coordinator_that_knows_more_is_followed() -> None:
    log = await filled(Shelf(), 10)
    await log.settle(GID, 700)
    assert (log.waiting(GID), log.dropped(GID)) == (0, 10)
    log.add(GID, record(0), 1000)
    await log.flush()
    assert [each.seq for each in await drained(log)] == [11 * BLOCK_SIZE + 1]


async def test_GL04_records_wait_for_the_coordinator_and_go_up_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "COMMIT_S", 0.001)
    monkeypatch.setattr(keeping, "UPLOAD_S", 0.005)
    house, rows, coordinator = Gatehouse.make(policy=KEEP), Rows(), Coordinator()
    coordinator.charters[GID] = house.office.charter()
    made = service(house, rows, coordinator)
    try:
        await made.changed(GID)
        coordinator.away = True
        for number in range(100):
            made.heard(RecordPassed(GID, identity("d1"), "telemetry", sealed(number)))
        await settled(lambda: made.records.waiting(GID) == 100)
        (shown,) = (await GroupDesk(made).handlers()["group.show"]({"group": GID.hex()}),)
        assert isinstance(shown, dict)
        assert (shown["records_waiting"], shown["records_dropped"]) == (100, 0)
    finally:
        await made.close()
    assert RecordLog(rows).waiting(GID) == 100  # closing puts on disk what came last
    made = service(house, rows, coordinator)
    try:
        coordinator.away = False
        await settled(lambda: not made.records.waiting(GID))
    finally:
        await made.close()
    assert [(gid, item.number) for gid, item in coordinator.records] == [(GID, number) for number in range(100)]


async def test_GL04_records_that_are_refused_for_good_hold_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "COMMIT_S", 0.001)
    monkeypatch.setattr(keeping, "UPLOAD_S", 0.005)

    class Refusing:
        calls = 0

        async def hand_in_records(self, gid: bytes, items: Sequence[LoggedRecord]) -> object:
            self.calls += 1
            raise PeerFault(ErrorCode.E_NOSHARE, "another manager led it")

    log, archive = await filled(Shelf(), 3), Refusing()
    kept = keeping.RecordKeeping(log, lambda: archive)  # type: ignore[arg-type,return-value]
    kept.start()
    try:
        async with asyncio.timeout(5):
            while kept.waiting(GID):  # noqa: ASYNC110  nobody sets an event for it
                await asyncio.sleep(0.005)
    finally:
        await kept.close()
    assert archive.calls == 1
