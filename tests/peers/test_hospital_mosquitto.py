"""The hospital on three real Mosquitto brokers: 50 patients in a few processes, 300 moves, and every reading counted (WD rules)."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from keymote.stories.nursery import Nursery
from keymote.stories.offices import Office, appoint, open_offices
from keymote.stories.processes import Cast, free_port, own_environment
from keymote.stories.ward import BROKERS, VITAL, Ward, WardBroker
from keymote.stories.ward_logs import logged

pytestmark = [pytest.mark.peers, pytest.mark.timeout(420)]
PROCESSES = 5
PATIENTS = 50
MOVES = 300
START_S = 30


class Mosquittos:
    """Real brokers, each with the configuration that `keymote agent init` wrote, and a log of everything that it does."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.running: dict[int, subprocess.Popen[bytes]] = {}

    async def start(self, broker: WardBroker) -> None:
        conf = broker.folder / "mosquitto.conf"
        with conf.open("a") as more:
            more.write(f"user root\nlog_dest file {broker.folder}/mosquitto.log\nlog_type all\n")
        self.running[broker.mqtt] = subprocess.Popen([self.program, "-c", str(conf)], stderr=subprocess.DEVNULL)  # noqa: ASYNC220
        async with asyncio.timeout(START_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", broker.mqtt)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    return

    async def save(self, brokers: Sequence[WardBroker]) -> None:
        """Let each broker write what it holds to its disk, and return when it lies there."""
        files = [broker.folder / "mosquitto.db" for broker in brokers]
        before = [written(file) for file in files]
        for process in self.running.values():
            process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(START_S):
            while any(written(file) == was for file, was in zip(files, before, strict=True)):  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.05)

    def end(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait()


def written(file: Path) -> tuple[int, int]:
    """Return which file lies under this name, and since when: a broker writes a new one and puts it in its place."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


@contextlib.contextmanager
def captured(program: str, ports: list[int], to: Path):
    """Capture what passes at these ports of loopback; root may."""
    wanted = " or ".join(f"tcp port {port}" for port in ports)
    capture = subprocess.Popen(
        [program, "-q", "-i", "lo", "-f", wanted, "-w", str(to)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        capture.send_signal(signal.SIGINT)
        capture.wait()


@pytest.fixture
async def ward(tmp_path: Path, program: Callable[[str], str]) -> AsyncIterator[tuple[Ward, Mosquittos]]:
    """A ward whose brokers are prepared, and not started."""
    brokers = Mosquittos(program("mosquitto"))
    names = [f"p{number:02d}" for number in range(PATIENTS)]
    groups = [names[start::PROCESSES] for start in range(PROCESSES)]
    try:
        async with await Nursery.open(own_environment()) as nursery, Cast(tmp_path, nursery) as cast:
            office = Office("hospital", tmp_path / "hospital", free_port())
            await open_offices(cast, [office])
            await appoint(cast, office, "--port", "0")
            made = Ward(cast, office, groups, "mosquitto", brokers.start, read_every_s=2.0)
            await made.prepare()
            yield made, brokers
            await made.close()
    finally:
        brokers.end()


async def measured(story: Ward, more: int) -> None:
    """Wait until every patient has logged so many readings more, however fast this machine lets it walk."""

    def counts() -> dict[str, int]:
        return {topic: len(texts) for topic, texts in logged(sorted((story.folder / "logs").glob("*.log"))).items()}

    wanted = {topic: count + more for topic, count in counts().items() if topic.endswith(f"/{VITAL}")}
    async with asyncio.timeout(START_S):
        while True:
            now = counts()
            if all(now[topic] >= count for topic, count in wanted.items()):
                return
            await asyncio.sleep(0.1)


@pytest.mark.skipif(os.geteuid() != 0, reason="looks into brokers' memory and captures loopback")
async def test_WD09_three_hundred_moves_over_mosquitto_lose_nothing_and_show_nothing(
    ward: tuple[Ward, Mosquittos], tmp_path: Path, program: Callable[[str], str]
) -> None:
    story, brokers = ward
    capture = tmp_path / "lo.pcap"
    with captured(program("dumpcap"), [broker.mqtt for broker in story.brokers], capture):
        await story.open()
        rounds = MOVES // PATIENTS // 2
        await asyncio.gather(*(story.walk(name, rounds) for name in story.names))
        await story.met()  # who first asks for a key after a rotation learns nothing of before it
        await story.rotate()
        await story.rotated(2)
        await story.met(2)
        await story.station_does("sleep")  # its sessions stay at the brokers, and fill
        await asyncio.gather(*(story.walk(name, rounds) for name in story.names))
        await measured(story, 3)
        await brokers.save(story.brokers)
        held = await asyncio.to_thread(story.saw, [process.pid for process in brokers.running.values()])
        queued = [(broker.folder / "mosquitto.db").read_bytes().count(b"ward/p") for broker in story.brokers]
        await story.station_does("wake")
        counts = await story.stop()
        tally = await story.tally()
    assert story.moves == counts["moves"] == MOVES
    assert counts["handed over"] >= MOVES // 2
    assert tally.due >= (1 + 2 + 3) * PATIENTS and tally.opened == tally.due, tally
    assert (tally.lost, tally.twice, tally.out_of_order, tally.strange) == (0, 0, 0, 0)
    pids = [process.pid for process in brokers.running.values()]
    pids += [broker.role.pid for broker in story.brokers if broker.role is not None]
    assert len(pids) == 2 * len(BROKERS)
    for searched in (held, story.saw(pids)):
        assert (searched["memory"], searched["files"], searched["logs"]) == (False, [], [])
        assert searched["traffic"] is False and searched["finds"] is True
    assert min(queued) >= 10, "the station's queues were on the brokers' disks when those were searched"
    assert story.word.encode() not in capture.read_bytes()
    assert capture.stat().st_size > 100 * tally.due
