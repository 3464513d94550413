"""The coordinator's store: groups, savepoints, failing disks, and tables that are what the migrations make."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from keymote.engine.audit import GENESIS, recompute
from keymote.errors import CallerFault, Unavailable
from keymote.host.ledger import Transaction
from keymote.host.register import Device, DeviceState, Head, Manager, Registered, RevocationKind, Taken
from keymote.storage.sql import Database, open_database
from keymote.storage.sql_audit import read_audit
from keymote.storage.sql_ledger import GROUP, SqlLedger
from keymote.storage.sql_registry import metadata

MANAGER = Manager(b"manager1", "north")


def credential(serial: bytes, sub: bytes = b"device-1", reg_no: int = 1) -> Registered:
    return Registered(serial, sub, b"manager1", b"raw" + serial, reg_no, 1, b"receipt")


@pytest.fixture
def database(empty_database: Callable[[str], Path | str]) -> Database:
    return open_database(empty_database("registry"), history="registry")


@pytest.fixture
async def ledger(database: Database) -> AsyncIterator[SqlLedger]:
    made = SqlLedger(database)
    yield made
    await made.close()


async def test_what_was_written_is_there_after_reopening(empty_database: Callable[[str], Path | str]) -> None:
    where = empty_database("registry")
    first = SqlLedger(open_database(where, history="registry"))
    await first.write(lambda tx: tx.put_manager(MANAGER))
    await first.close()
    again = SqlLedger(open_database(where, history="registry"))
    assert await again.read(lambda tx: tx.manager(b"manager1")) == MANAGER
    await again.close()


async def test_a_failing_piece_undoes_itself_alone(ledger: SqlLedger) -> None:
    def fails(tx: Transaction) -> None:
        tx.put_manager(Manager(b"manager9", "south"))
        raise CallerFault("changed my mind")

    outcomes = await asyncio.gather(
        ledger.write(lambda tx: tx.put_manager(MANAGER)),
        ledger.write(fails),
        ledger.write(lambda tx: tx.count("reg_no")),
        return_exceptions=True,
    )
    assert outcomes[0] is None
    assert isinstance(outcomes[1], CallerFault)
    assert outcomes[2] == 1
    assert await ledger.read(lambda tx: tx.manager(b"manager9")) is None
    assert await ledger.read(lambda tx: tx.manager(b"manager1")) == MANAGER


async def test_who_waits_shares_one_commit(ledger: SqlLedger, database: Database) -> None:
    commits: list[int] = []
    event.listen(database.writer, "commit", lambda _connection: commits.append(1))
    held = threading.Event()
    blocking = asyncio.create_task(ledger.write(lambda _tx: held.wait(10)))
    await asyncio.sleep(0)
    many = [asyncio.create_task(ledger.write(lambda tx: tx.count("reg_no"))) for _ in range(GROUP + 20)]
    await asyncio.sleep(0)
    held.set()
    await blocking
    assert sorted(await asyncio.gather(*many)) == list(range(1, GROUP + 21))
    assert len(commits) <= 4


async def test_counters_and_numbers_are_never_given_twice(ledger: SqlLedger) -> None:
    values = await asyncio.gather(*(ledger.write(lambda tx: tx.count("status_epoch")) for _ in range(50)))
    assert sorted(values) == list(range(1, 51))
    first = await ledger.write(lambda tx: tx.add_event(1, "alarm.clone", b"device-1", {"n": 1}))
    second = await ledger.write(lambda tx: tx.add_event(2, "alarm.clone", b"device-1", {"n": 2}))
    assert second.id == first.id + 1
    assert await ledger.read(lambda tx: tx.events(first.id, 10)) == [second]
    assert await ledger.read(lambda tx: tx.last_event()) == second.id


async def test_readers_cannot_write(ledger: SqlLedger) -> None:
    with pytest.raises(Unavailable):
        await ledger.read(lambda tx: tx.put_manager(MANAGER))
    assert await ledger.read(lambda tx: tx.manager(b"manager1")) is None


async def test_a_full_disk_is_unavailable_and_service_goes_on_when_there_is_room(tmp_path: Path) -> None:
    database = open_database(tmp_path / "registry.db", history="registry")
    room = {"pages": 1_000_000}

    @event.listens_for(database.writer, "begin")
    def _limit(connection: Any) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {room['pages']}")

    ledger = SqlLedger(database)
    await ledger.write(lambda tx: tx.put_manager(MANAGER))
    used = await ledger.write(lambda tx: tx._connection.exec_driver_sql("PRAGMA page_count").scalar())  # noqa: SLF001
    room["pages"] = used

    def fill(tx: Transaction) -> None:
        for number in range(2000):
            tx.add_event(number, "filler", b"device-1", {"text": "x" * 200})

    outcomes = await asyncio.gather(
        ledger.write(fill), ledger.write(lambda tx: tx.count("reg_no")), return_exceptions=True
    )
    assert any(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert "full" in str(next(outcome for outcome in outcomes if isinstance(outcome, Unavailable)))
    assert await ledger.read(lambda tx: tx.events(0, 10)) == []
    assert await ledger.read(lambda tx: tx.manager(b"manager1")) == MANAGER
    room["pages"] = 1_000_000
    await ledger.write(fill)
    assert len(await ledger.read(lambda tx: tx.events(0, 3000))) == 2000
    await ledger.close()


async def test_a_closed_ledger_says_so(database: Database) -> None:
    ledger = SqlLedger(database)
    await ledger.close()
    await ledger.close()
    with pytest.raises(Unavailable):
        await ledger.write(lambda tx: tx.count("reg_no"))
    with pytest.raises(Unavailable):
        await ledger.read(lambda tx: tx.last_event())


async def test_constraints_speak_the_language_of_the_register(ledger: SqlLedger) -> None:
    await ledger.write(lambda tx: tx.put_manager(MANAGER))
    await ledger.write(lambda tx: tx.add_credential(credential(b"serial-1")))
    for second in (credential(b"serial-1", b"device-2", 2), credential(b"serial-2", b"device-1", 3)):
        with pytest.raises(Taken):
            await ledger.write(lambda tx, second=second: tx.add_credential(second))
    with pytest.raises(Taken, match="north"):
        await ledger.write(lambda tx: tx.put_manager(Manager(b"manager2", "north")))
    device = Device(b"device-1", b"manager1", DeviceState.ACTIVE, b"serial-1")
    await ledger.write(lambda tx: tx.put_device(device))
    assert await ledger.read(lambda tx: tx.count_devices()) == {DeviceState.ACTIVE: 1}
    assert await ledger.read(lambda tx: tx.devices(b"", 10, state=DeviceState.REVOKED)) == []
    assert await ledger.read(lambda tx: tx.devices(b"", 10, nm_id=b"manager1")) == [device]


async def test_one_note_per_session_is_the_databases_business(ledger: SqlLedger) -> None:
    def note(tx: Transaction) -> None:
        made = tx.add_event(1, "session.revoke", b"session1", {})
        tx.add_revocation(RevocationKind.SESSION, b"session1", 0, 1, "manager:00", 0, made.id, b"note")

    await ledger.write(note)
    with pytest.raises(Unavailable):
        await ledger.write(note)
    assert len(await ledger.read(lambda tx: tx.revocations(0, 10))) == 1


async def test_the_audit_log_is_read_beside_a_running_writer(tmp_path: Path) -> None:
    ledger = SqlLedger(open_database(tmp_path / "registry.db", history="registry"))
    for number in range(5):
        await ledger.write(lambda tx, number=number: tx.append_audit(b"entry %d" % number))
    last = await ledger.read(lambda tx: tx.last_audit())
    assert last is not None
    await ledger.write(lambda tx: tx.add_head(Head(5, last.h, 1, b"signed")))
    links, heads = read_audit(tmp_path / "registry.db")
    assert recompute(links, {head.seq: head.h for head in heads}).entries == 5
    assert links[0].h != GENESIS
    await ledger.close()


def test_reading_an_audit_log_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(CallerFault):
        read_audit(tmp_path / "absent.db")
    (tmp_path / "noise.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Unavailable):
        read_audit(tmp_path / "noise.db")


def test_the_tables_are_those_that_the_migrations_make(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with database.writer.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    database.close()
