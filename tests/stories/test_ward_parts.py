"""Small parts of the ward's story: ways that take time, logs that are compared, and places that are searched (WD rules)."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keymote.stories.relays import TcpRelay, UdpRelay
from keymote.stories.searching import files_hold, memory_holds
from keymote.stories.ward_logs import Log, compare, logged


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data.upper())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_a_stream_takes_its_time_keeps_its_order_and_is_remembered() -> None:
    async with echo() as port:
        relay = await TcpRelay.open("127.0.0.1", port, 0.02)
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        began = time.perf_counter()
        writer.write(b"abc")
        writer.write(b"def")
        assert await reader.readexactly(6) == b"ABCDEF"
        assert time.perf_counter() - began >= 0.04
        assert sorted(relay.heard) == sorted(b"abcdefABCDEF")
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await relay.close()


async def test_datagrams_take_their_time_and_acknowledgements_are_no_requests() -> None:
    loop = asyncio.get_running_loop()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
    ):
        for each in (there, here):
            each.bind(("127.0.0.1", 0))
            each.setblocking(False)
        relay = await UdpRelay.open(*there.getsockname(), 0.01)
        here.connect(("127.0.0.1", relay.port))
        began = time.perf_counter()
        for first in (b"\x40", b"\x60"):  # CON, ACK
            await loop.sock_sendall(here, first + b"q")
        asked, source = await loop.sock_recvfrom(there, 100)
        await loop.sock_sendto(there, b"answer", source)
        assert await loop.sock_recv(here, 100) == b"answer"
        assert time.perf_counter() - began >= 0.02 and asked == b"\x40q"
        assert (relay.sent, relay.requests, relay.answered) == (2, 1, 1)
        assert bytes(relay.heard) == b"\x40q\x60qanswer"
        await relay.close()
        await asyncio.sleep(0)  # a transport closes in the loop's next turn


def test_WD05_logs_are_compared_reading_by_reading(tmp_path: Path) -> None:
    said, opened = Log(tmp_path / "said"), Log(tmp_path / "opened")
    for text in ("1", "2", "3", "4"):
        said.write("t", text)
    for text in ("1", "3", "2", "2", "7"):
        opened.write("t", text)
    opened.write("other", "1")
    for log in (said, opened):
        log.close()
    tally = compare(logged([tmp_path / "said"]), logged([tmp_path / "opened", tmp_path / "not-there"]))
    assert tally == (4, 6, 1, 1, 1, 2)
    with (tmp_path / "said").open("a") as cut_off:
        cut_off.write('["t", "5')
    assert logged([tmp_path / "said"]) == {"t": ["1", "2", "3", "4"]}


def test_WD06_what_stands_in_memory_and_files_is_found(tmp_path: Path) -> None:
    secret = b"pulse " + os.urandom(8).hex().encode()
    kept = bytearray(secret)
    assert memory_holds(os.getpid(), [secret]) is True
    assert kept == secret
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "broker.log").write_bytes(b"x" + secret)
    (tmp_path / "other.log").write_bytes(b"nothing")
    assert files_hold(tmp_path, [secret, b"another"]) == ["broker.log"]
    assert files_hold(tmp_path, [b"absent"]) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="others may not look into a process that forbids it")
def test_WD06_a_process_without_the_text_is_told_from_one_that_nobody_may_look_into() -> None:
    assert memory_holds(os.getppid(), [b"never said " + b"anywhere " + b"here"]) in (False, None)
    assert memory_holds(1 << 22, [b"x"]) is None
