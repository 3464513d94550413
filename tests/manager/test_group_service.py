"""The service of all groups: what it keeps on disk, in which order it tells it, and what it does while nobody listens."""

import asyncio
from collections.abc import Sequence

import pytest
from gatehouse import GID, Cells, Gatehouse, Shelf

from keymote.engine.base import CellKey
from keymote.errors import CallerFault, ErrorCode, PeerFault, Unavailable
from keymote.host.ports import Done, Write
from keymote.lab.scenes import identity
from keymote.manager import group_reports as says
from keymote.manager.app import groups as service_module
from keymote.manager.app.groups import GroupService
from keymote.manager.group_desk import GroupDesk
from keymote.manager.group_log import MOST_WAITING, GroupLog
from keymote.manager.group_record import GROUP, GroupRecord, Here, Said, What
from keymote.wire.admin_groups import CharterView, GroupReport, LeftReport, ReportsTaken
from keymote.wire.admin_records import LoggedRecord, RecordsTaken

OTHER = b"\x68" * 8


class Rows(Shelf):
    """The same rows as a database offers them; `broken`: commits fail."""

    broken = False

    def commit(self, writes: Sequence[Write], done: Done) -> None:
        if self.broken:
            done(Unavailable("the disk is full"))
            return
        for write in writes:
            if write.record is None:
                self.rows.pop(write.key, None)
            else:
                self.rows[write.key] = write.record
        done(None)


class Coordinator:
    """Hears reports and states charters; `away` while it cannot be reached."""

    def __init__(self) -> None:
        self.away = False
        self.refusal: PeerFault | None = None
        self.charters: dict[bytes, CharterView] = {}
        self.heard: list[tuple[bytes, GroupReport]] = []
        self.asked: list[str] = []
        self.upto = 0
        self.records: list[tuple[bytes, LoggedRecord]] = []
        self.records_upto = 0

    async def charter(self, gid: bytes) -> CharterView:
        self._reached("charter")
        if gid not in self.charters:
            raise PeerFault(ErrorCode.E_NOSHARE, "another manager leads it")
        return self.charters[gid]

    async def report_groups(self, gid: bytes, items: Sequence[GroupReport]) -> ReportsTaken:
        self._reached("reports")
        self.heard += [(gid, item) for item in items if item.seq > self.upto]
        self.upto = max(self.upto, items[-1].seq)
        return ReportsTaken(self.upto)

    async def hand_in_records(self, gid: bytes, items: Sequence[LoggedRecord]) -> RecordsTaken:
        self._reached("records")
        self.records += [(gid, item) for item in items if item.seq > self.records_upto]
        self.records_upto = max(self.records_upto, items[-1].seq)
        return RecordsTaken(self.records_upto)

    def _reached(self, what: str) -> None:
        if self.away:
            raise Unavailable("the coordinator is away")
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(what)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "SYNC_S", 0.01)


def service(house: Gatehouse, rows: Rows, coordinator: Coordinator, generation: int = 0) -> GroupService:
    context = house.scene.managers["nm1"]

    def own() -> object:
        return context.membership

    made = GroupService(
        Cells(house.scene), rows, lambda: coordinator, own, context.trust.key,  # type: ignore[arg-type]
        nm_id=identity("nm1").hex(), place=b"", generation=generation,
    )  # fmt: skip
    made.start()
    return made


async def settled(holds: object) -> None:
    assert callable(holds)
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110  nobody sets an event for it
            await asyncio.sleep(0.005)  # the pause of a poll with a deadline


# ------------------------------------------------------------------ the log


async def test_GS13_reports_are_kept_in_order_until_they_were_taken() -> None:
    shelf = Shelf()
    log = GroupLog(shelf)
    for number in range(3):
        await log.add(GID, number, says.left(identity("d1")))
        await log.add(OTHER, number, says.left(identity("d2")))
    log = GroupLog(shelf)  # a restart
    batches = list(log.batches())
    assert [(gid, [report.seq for report in batch]) for gid, batch in batches] == [
        (GID, [1]), (OTHER, [2]), (GID, [3]), (OTHER, [4]), (GID, [5]), (OTHER, [6]),
    ]  # fmt: skip
    await log.settle(batches[0][1])
    assert len(GroupLog(shelf)) == 5
    assert await GroupLog(shelf).add(GID, 9, says.left(identity("d1"))) == 7  # a number is never used again


async def test_GS13_a_restored_manager_counts_in_the_block_of_its_generation_and_above_what_was_heard() -> None:
    shelf = Shelf()
    assert await GroupLog(shelf).add(GID, 0, says.left(identity("d1"))) == 1
    restored = GroupLog(shelf, generation=2)
    assert await restored.add(GID, 0, says.left(identity("d1"))) == (2 << 32) + 1
    upto = 3 << 32
    offset = await restored.go_on_above(upto)
    seqs = [report.seq for _, batch in GroupLog(shelf).batches() for report in batch]
    assert seqs == [upto + 1, (2 << 32) + 1 + offset]
    record = GroupRecord(GID, here=(Here(1, What.LEFT, identity("d1")),)).renumbered(offset)
    assert record.here[0].seq == seqs[0]
    assert await restored.add(GID, 0, says.left(identity("d1"))) == seqs[1] + 1


async def test_GS13_the_oldest_report_gives_way_when_too_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_WAITING >= 7 * 24 * 60
    monkeypatch.setattr("keymote.manager.group_log.MOST_WAITING", 3)
    shelf = Shelf()
    log = GroupLog(shelf)
    for number in range(5):
        await log.add(GID, number, says.left(identity("d1")))
    for kept in (log, GroupLog(shelf)):
        assert [report.seq for _, batch in kept.batches() for report in batch] == [3, 4, 5]


async def test_GS29_who_belongs_gives_way_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keymote.manager.group_log.MOST_WAITING", 3)
    shelf = Shelf()
    log = GroupLog(shelf)
    await log.add(GID, 0, says.evicted(identity("d1"), 4))
    for number in range(4):
        await log.add(GID, number, says.refused("the same again"))
    for kept in (log, GroupLog(shelf)):
        assert [report.seq for _, batch in kept.batches() for report in batch] == [1, 4, 5]


async def test_a_groups_record_survives_the_disk() -> None:
    house = Gatehouse.make()
    record = GroupRecord(
        GID, house.office.charter(), 3, 7, 9, (Here(4, What.EVICTED, identity("d1"), 4),),
        {identity("d2"): Said(b"d" * 16, True, b"k" * 8, b"f" * 8)},
    )  # fmt: skip
    assert GroupRecord.decode(GID, record.encode()) == record
    assert GroupRecord.decode(GID, GroupRecord(GID).encode()) == GroupRecord(GID)


# ------------------------------------------------------------------ the service


@pytest.mark.usefixtures("quick")
async def test_GS13_reports_go_up_before_a_charter_is_fetched_and_wait_while_nobody_answers() -> None:
    house, rows, coordinator = Gatehouse.make(), Rows(), Coordinator()
    await GroupLog(rows).add(GID, 0, says.left(identity("d1")))
    coordinator.away = True
    made = service(house, rows, coordinator)
    try:
        with pytest.raises(Unavailable):
            await made.changed(GID)
        assert (made.waiting, coordinator.heard) == (1, [])
        coordinator.charters[GID] = house.office.charter()
        coordinator.away = False
        await made.changed(GID)
        assert coordinator.asked.index("reports") < coordinator.asked.index("charter")
        assert [type(item) for _, item in coordinator.heard] == [LeftReport]
        (steward,) = made.stewards()
        assert steward.record.charter == coordinator.charters[GID]
        await settled(lambda: made.waiting == 0)
        assert GroupRecord.decode(GID, rows.rows[CellKey(GROUP, GID)]).charter == coordinator.charters[GID]
    finally:
        await made.close()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("code", [ErrorCode.E_CRED, ErrorCode.E_AUTH])
async def test_GS28_a_certificate_that_is_out_of_date_loses_no_report_and_no_charter(code: ErrorCode) -> None:
    house, rows, coordinator = Gatehouse.make(), Rows(), Coordinator()
    await GroupLog(rows).add(GID, 0, says.left(identity("d1")))
    coordinator.charters[GID] = house.office.charter()
    coordinator.refusal = PeerFault(code, "the certificate belongs to an earlier credential")
    made = service(house, rows, coordinator)
    try:
        with pytest.raises(Unavailable):
            await made.changed(GID)
        assert made.waiting == 1
        coordinator.refusal = None
        await made.changed(GID)
        assert [type(item) for _, item in coordinator.heard] == [LeftReport]
        assert made.stewards()
    finally:
        await made.close()


class Registers(Coordinator):
    """Counts each group's reports apart, as a coordinator does."""

    def __init__(self, known: dict[bytes, int]) -> None:
        super().__init__()
        self.known = known

    async def report_groups(self, gid: bytes, items: Sequence[GroupReport]) -> ReportsTaken:
        self.upto = self.known.get(gid, 0)
        taken = await super().report_groups(gid, items)
        self.known[gid] = taken.upto
        return taken


@pytest.mark.usefixtures("quick")
async def test_GS13_when_numbers_begin_anew_no_group_is_told_twice() -> None:
    house, rows, coordinator = Gatehouse.make(), Rows(), Registers({GID: 50})
    log = GroupLog(rows)
    await log.add(GID, 0, says.left(identity("d1")))
    await log.add(OTHER, 0, says.left(identity("d2")))
    made = service(house, rows, coordinator)
    try:
        await settled(lambda: made.waiting == 0)
        assert [(gid, item.seq) for gid, item in coordinator.heard] == [(GID, 51), (OTHER, 52)]
    finally:
        await made.close()


@pytest.mark.usefixtures("quick")
async def test_GS20_a_group_of_another_manager_is_forgotten() -> None:
    house, rows, coordinator = Gatehouse.make(), Rows(), Coordinator()
    coordinator.charters[GID] = house.office.charter()
    made = service(house, rows, coordinator)
    try:
        await made.changed(GID)
        del coordinator.charters[GID]
        await made.changed(GID)
        await made.changed(OTHER)  # never ours
        assert not made.stewards()
        assert CellKey(GROUP, GID) not in rows.rows
    finally:
        await made.close()


@pytest.mark.usefixtures("quick")
async def test_a_charter_that_cannot_be_read_or_kept_is_not_acted_on() -> None:
    house, rows, coordinator = Gatehouse.make(), Rows(), Coordinator()
    coordinator.charters[GID] = house.office.charter(credential=b"no credential")
    made = service(house, rows, coordinator)
    try:
        with pytest.raises(CallerFault):
            await made.changed(GID)
        assert not made.stewards()
        coordinator.charters[GID] = house.office.charter(credential=b"")
        rows.broken = True
        with pytest.raises(Unavailable):
            await made.changed(GID)
        rows.broken = False
        await made.changed(GID)
        assert made.stewards()
        assert made.faults == 0
    finally:
        await made.close()


# ------------------------------------------------------------------ the desk


async def test_an_operator_names_groups_by_name_or_gid_and_devices_by_id() -> None:
    house, rows, coordinator = Gatehouse.make(), Rows(), Coordinator()
    coordinator.charters[GID] = house.office.charter()
    made = service(house, rows, coordinator)
    try:
        await made.changed(GID)
        desk = GroupDesk(made).handlers()
        (line,) = await desk["group.list"]({})  # type: ignore[misc]
        assert line == {
            "gid": GID.hex(),
            "name": "street",
            "state": "active",
            "rev": 2,
            "n": 0,
            "epoch": 0,
            "leads": True,
        }
        for name in ("street", GID.hex()):
            shown = await desk["group.show"]({"group": name})
            assert isinstance(shown, dict)
            assert {member["state"] for member in shown["members"]} == {"invited"}
        with pytest.raises(CallerFault, match="not led here"):
            await desk["group.show"]({"group": "avenue"})
        with pytest.raises(CallerFault, match="16 hex digits"):
            await desk["group.evict"]({"group": "street", "dev_id": "d1"})
        with pytest.raises(CallerFault, match="3 to 4"):
            await desk["group.evict"]({"group": "street", "dev_id": identity("d1").hex(), "reason": 1})
        with pytest.raises(CallerFault, match="no ring"):
            await desk["group.rekey"]({"group": "street"})
        evicted = await desk["group.evict"]({"group": "street", "dev_id": identity("d1").hex()})
        assert evicted == {"gid": GID.hex(), "dev_id": identity("d1").hex(), "state": "evicted"}
    finally:
        await made.close()


async def test_where_the_coordinator_signs_every_roster_nobody_is_said_to_be_out_before_it_has() -> None:
    house, rows, coordinator = Gatehouse.make(central=True), Rows(), Coordinator()
    coordinator.charters[GID] = house.office.charter()
    made = service(house, rows, coordinator)
    try:
        await made.changed(GID)
        desk = GroupDesk(made).handlers()
        for verb in ("evict", "add"):
            done = await desk[f"group.{verb}"]({"group": "street", "dev_id": identity("d1").hex()})
            assert done == {"gid": GID.hex(), "dev_id": identity("d1").hex(), "state": "waits for the coordinator"}
    finally:
        await made.close()
