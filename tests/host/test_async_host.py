"""The driver under asyncio: real timers, callers that await, commits that end on another thread."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keymote.crypto.entropy import Entropy, SystemEntropy
from keymote.engine.base import CellKey, Command, Due, Durability, Item, Kind, Node, Now, Received, Report, Send
from keymote.errors import CallerFault, Unavailable
from keymote.host import async_host
from keymote.host.async_host import AsyncHost, SystemClock, call_soon
from keymote.host.driver import Driver
from keymote.host.ports import Store
from keymote.storage.file import FileStore
from keymote.storage.memory import MemoryStore
from keymote.storage.seal import FileKey
from keymote.storage.sql import open_database
from keymote.storage.sql_store import SqlStore
from keymote.transports.memory import MemoryNetwork

KEY = CellKey("count", b"")


@dataclass(frozen=True)
class Add(Command):
    amount: int
    after_s: float = 0.0


@dataclass(frozen=True)
class Total(Report):
    total: int


@dataclass(frozen=True)
class Count:
    total: int
    deadline: float | None = None


def step(cell: Count | None, item: Item, now: Now, _entropy: Entropy) -> tuple[Count, Sequence[Any]]:
    total = cell.total if cell is not None else 0
    match item:
        case Add(amount) if amount < 0:
            raise CallerFault("only upwards")
        case Add(amount, after_s):
            deadline = now.mono + after_s if after_s else None
            return Count(total + amount, deadline), [Total(total + amount)]
        case Received(peer, data):
            return Count(total + len(data)), [Send(peer, b"%d" % (total + len(data)))]
        case Due():
            return Count(total), [Total(-1)]
        case _:
            raise AssertionError(item)


COUNT = Kind(
    "count",
    Durability.DURABLE,
    step,
    record=lambda cell: b"%d" % cell.total,
    load=lambda _id, record: Count(int(record)),
    deadline=lambda cell: cell.deadline,
)
NODE = Node({"count": COUNT}, lambda _peer, _data: [KEY])


@asynccontextmanager
async def running(store: Store, rang: asyncio.Event | None = None) -> AsyncIterator[AsyncHost]:
    def report(_key: CellKey, report: Report) -> None:
        if rang is not None and report == Total(-1):
            rang.set()

    link = MemoryNetwork().attach("me", print)
    driver = Driver(NODE, store, link, SystemClock, SystemEntropy(), lambda *_ask: None, report)
    host = AsyncHost(driver, SystemClock)
    host.start()
    yield host
    await host.close()
    store.close()


async def sql_store(folder: Path) -> Store:
    kek = FileKey(folder / "kek", SystemEntropy(), create=True)
    soon = call_soon(asyncio.get_running_loop())
    return SqlStore(open_database(folder / "db", history="cells"), kek, SystemEntropy(), call_soon=soon)


async def file_store(folder: Path) -> Store:
    kek = FileKey(folder / "kek", SystemEntropy(), create=True)
    return FileStore(folder / "rows", kek, SystemEntropy(), call_soon=call_soon(asyncio.get_running_loop()))


@pytest.mark.parametrize("open_store", [sql_store, file_store])
async def test_many_callers_share_commits_and_all_hear_their_own_answer(open_store: Any, tmp_path: Path) -> None:
    async with running(await open_store(tmp_path)) as host:
        answers = await asyncio.gather(*(host.command(KEY, Add(1)) for _ in range(100)))
        assert answers == [[Total(number)] for number in range(1, 101)]
        assert await host.receive("peer", b"four") == [Send("peer", b"104")]
    async with running(await open_store(tmp_path)) as host:
        assert host.driver.peek(KEY) == Count(104)


async def test_a_deadline_rings_without_anybody_calling() -> None:
    rang = asyncio.Event()
    async with running(MemoryStore(), rang) as host:
        await host.command(KEY, Add(1, after_s=30.0))
        await host.command(KEY, Add(1, after_s=0.02))
        async with asyncio.timeout(10):
            await rang.wait()


async def test_errors_reach_the_caller_as_they_are() -> None:
    store = MemoryStore()
    async with running(store) as host:
        with pytest.raises(CallerFault, match="only upwards"):
            await host.command(KEY, Add(-1))
        store.fail_at = frozenset({1})
        with pytest.raises(Unavailable):
            await host.command(KEY, Add(5))
        assert await host.command(KEY, Add(2)) == [Total(2)]


async def test_a_caller_who_gave_up_harms_nobody() -> None:
    store = MemoryStore(held=True)
    async with running(store) as host:
        caller = asyncio.ensure_future(host.command(KEY, Add(1)))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        store.release()
        store.held = False
        assert host.driver.faults == 0
        assert await host.command(KEY, Add(1)) == [Total(2)]


async def test_close_waits_for_the_commit_under_way(tmp_path: Path) -> None:
    store = await sql_store(tmp_path)
    async with running(store) as host:
        callers = [asyncio.ensure_future(host.command(KEY, Add(1))) for _ in range(10)]
        await asyncio.sleep(0)
        await host.close()
        assert [caller.done() for caller in callers] == [True] * 10
        with pytest.raises(Unavailable, match="closing"):
            await host.command(KEY, Add(1))


async def test_close_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_host, "CLOSING_S", 0.01)
    store = MemoryStore(held=True)
    async with running(store) as host:
        host.datagram("peer", b"x")
        with pytest.raises(Unavailable, match="does not finish"):
            await host.close()
        store.release()


def test_a_bridge_to_a_closed_loop_drops_the_call() -> None:
    loop = asyncio.new_event_loop()
    soon = call_soon(loop)
    loop.close()
    soon(lambda: pytest.fail("called"))
