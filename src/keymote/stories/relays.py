"""Ways between real sockets that take time, and remember what passed: a radio, a wire, and somebody who listens.

relay = await TcpRelay.open("127.0.0.1", 1883, one_way_s=0.025)
... clients connect to relay.port; relay.heard holds every byte, both ways
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final, Self

LONGEST: Final = 1 << 16
_COAP_ANSWERS: Final = 0x20
"""The bit that ACK and RST have in the first byte of CoAP."""
MOST_KEPT: Final = 64 << 20
"""Bytes that a relay remembers."""


class TcpRelay:
    """Hands bytes on after `one_way_s`, in order, each way."""

    def __init__(self, host: str, port: int, one_way_s: float) -> None:
        self._target = host, port
        self._one_way_s = one_way_s
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.heard = bytearray()

    @classmethod
    async def open(cls, host: str, port: int, one_way_s: float = 0.0, *, listen: int = 0) -> Self:
        """Return a relay to `host` and `port` that listens on 127.0.0.1."""
        made = cls(host, port, one_way_s)
        made._server = await asyncio.start_server(made._connected, "127.0.0.1", listen)
        return made

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Let go of every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        there: asyncio.StreamWriter | None = None
        try:
            await asyncio.sleep(2 * self._one_way_s)  # SYN and its answer
            back, there = await asyncio.open_connection(*self._target)
            await asyncio.gather(self._carry(reader, there), self._carry(back, writer))
        except (OSError, asyncio.CancelledError):
            pass  # either end has gone, or we close
        finally:
            self._open.discard(task)
            for end in (writer, there):
                if end is not None:
                    end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def hand_on() -> None:
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not data:
                    with contextlib.suppress(OSError):
                        writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()

        handing = asyncio.ensure_future(hand_on())
        try:
            while data := await reader.read(LONGEST):
                if len(self.heard) < MOST_KEPT:
                    self.heard += data
                under_way.put_nowait((loop.time() + self._one_way_s, data))
            under_way.put_nowait((loop.time() + self._one_way_s, b""))
            await handing
        finally:
            handing.cancel()


class UdpRelay:
    """Hands datagrams on after `one_way_s`; each source gets a socket of its own towards the target.

    `sent` and `answered` count datagrams to the target and back; `requests` those sent that are neither ACK nor RST of CoAP.
    """

    def __init__(self, host: str, port: int, one_way_s: float) -> None:
        self._target = host, port
        self.one_way_s = one_way_s
        self._loop = asyncio.get_running_loop()
        self._door: asyncio.DatagramTransport | None = None
        self._ways: dict[tuple[str, int], asyncio.Task[asyncio.DatagramTransport]] = {}
        self.heard = bytearray()
        self.sent = self.answered = self.requests = 0

    @classmethod
    async def open(cls, host: str, port: int, one_way_s: float = 0.0, *, listen: int = 0) -> Self:
        """Return a relay to `host` and `port` that listens on 127.0.0.1."""
        made = cls(host, port, one_way_s)
        made._door, _ = await made._loop.create_datagram_endpoint(
            lambda: _Ear(made._asked), local_addr=("127.0.0.1", listen)
        )
        return made

    @property
    def port(self) -> int:
        assert self._door is not None
        port: int = self._door.get_extra_info("sockname")[1]
        return port

    async def close(self) -> None:
        """Close all sockets."""
        if self._door is not None:
            self._door.close()
        for way in self._ways.values():
            (await way).close()

    def _asked(self, data: bytes, source: tuple[str, int]) -> None:
        self.sent += 1
        self.requests += bool(data) and not data[0] & _COAP_ANSWERS
        self._keep(data)
        self._loop.call_later(self.one_way_s, self._hand_on, data, source)

    def _hand_on(self, data: bytes, source: tuple[str, int]) -> None:
        way = self._ways.get(source)
        if way is None:
            way = self._ways[source] = self._loop.create_task(self._way(source))
        if way.done():
            way.result().sendto(data)
        else:
            way.add_done_callback(lambda done: done.result().sendto(data))

    async def _way(self, source: tuple[str, int]) -> asyncio.DatagramTransport:
        def answered(data: bytes, _from: tuple[str, int]) -> None:
            self.answered += 1
            self._keep(data)
            if self._door is not None:
                self._loop.call_later(self.one_way_s, self._door.sendto, data, source)

        transport, _ = await self._loop.create_datagram_endpoint(lambda: _Ear(answered), remote_addr=self._target)
        return transport

    def _keep(self, data: bytes) -> None:
        if len(self.heard) < MOST_KEPT:
            self.heard += data


class _Ear(asyncio.DatagramProtocol):
    def __init__(self, heard: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._heard = heard

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._heard(data, addr)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there: as in any network, the datagram is lost."""
