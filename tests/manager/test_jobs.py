"""The jobs of a service: one after the other, and again when the store could not keep what one of them changed."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

import pytest

from keymote.errors import RefusedByPolicy, Unavailable
from keymote.manager.app import jobs as jobs_module
from keymote.manager.app.jobs import Job, Jobs

WITHIN_S = 10


class Diary:
    """Jobs that note when they were done, and may fail once."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.came = asyncio.Event()

    def job(self, name: str, error: Exception | None = None) -> Job:
        async def noted() -> None:
            self.done.append(name)
            self.came.set()
            await asyncio.sleep(0)
            if error is not None:
                raise error

        return noted

    async def until(self, *names: str) -> None:
        async with asyncio.timeout(WITHIN_S):
            while tuple(self.done) != names:
                self.came.clear()
                await self.came.wait()


@contextmanager
def working(jobs: Jobs) -> Iterator[None]:
    task = asyncio.get_running_loop().create_task(jobs.work())
    try:
        yield
    finally:
        task.cancel()


async def test_jobs_are_done_in_their_order_and_whoever_waits_for_one_hears_how_it_ended() -> None:
    diary = Diary()
    jobs = Jobs("tests", diary.job("resume"))
    jobs.put(diary.job("first"))
    jobs.put(diary.job("second"))
    with working(jobs):
        await jobs.do(diary.job("third"))
        assert diary.done == ["first", "second", "third"]
        with pytest.raises(RefusedByPolicy):
            await jobs.do(diary.job("refused", RefusedByPolicy("not here", do="elsewhere")))
        with pytest.raises(ZeroDivisionError):
            await jobs.do(diary.job("bug", ZeroDivisionError()))
        await jobs.do(diary.job("last"))
    assert (diary.done[-1], jobs.faults) == ("last", 0)  # the asker knows of the bug


async def test_who_waits_no_more_stops_nobody() -> None:
    diary = Diary()
    jobs = Jobs("tests", diary.job("resume"))
    asked = [asyncio.ensure_future(jobs.do(diary.job("asked", error))) for error in (None, ZeroDivisionError())]
    await asyncio.sleep(0)
    for each in asked:
        each.cancel()
    with working(jobs):
        await jobs.do(diary.job("last"))
    assert (diary.done, jobs.faults) == (["asked", "asked", "last"], 0)


async def test_a_fault_or_a_bug_in_one_job_stops_no_other_and_after_each_is_called() -> None:
    diary, ended = Diary(), []
    jobs = Jobs("tests", diary.job("resume"), after=lambda: ended.append(diary.done[-1]))
    jobs.put(diary.job("refused", RefusedByPolicy("not here", do="elsewhere")))
    jobs.put(diary.job("bug", ZeroDivisionError()))
    with working(jobs):
        await jobs.do(diary.job("last"))
        assert jobs.faults == 1
        assert ended[:2] == ["refused", "bug"]


async def test_what_the_store_could_not_keep_is_resumed_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "RETRY_S", 0.0)
    diary = Diary()
    jobs = Jobs("tests", diary.job("resume"))
    jobs.put(diary.job("kept", Unavailable("the disk is full", do="make space")))
    jobs.put(diary.job("next"))
    with working(jobs):
        await diary.until("kept", "next", "resume")
    assert jobs.faults == 0


async def test_time_demands_a_tick_when_it_is_due_and_nothing_waits() -> None:
    diary = Diary()
    jobs = Jobs("tests", diary.job("resume"), tick=diary.job("tick"), due_in=lambda: inf if "tick" in diary.done else 0)
    jobs.put(diary.job("first"))
    with working(jobs):
        await diary.until("first", "tick")


async def test_a_tick_before_the_pause_is_over_leaves_what_failed_to_be_resumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs_module, "RETRY_S", 0.5)
    diary = Diary()
    jobs = Jobs("tests", diary.job("resume"), tick=diary.job("tick"), due_in=lambda: inf if "tick" in diary.done else 0)
    jobs.put(diary.job("kept", Unavailable("the disk is full", do="make space")))
    with working(jobs):
        await diary.until("kept", "tick", "resume")
