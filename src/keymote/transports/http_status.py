"""`/health` and `/metrics` of a process that is no web server: GET on a loopback port, one answer a connection.

Prometheus' text format comes from its own library; the few lines of HTTP/1.1 are ours, because a web framework would
double the memory of a manager for two read-only pages.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from keymote.errors import Unavailable
from keymote.transports.metrics import CONTENT_TYPE, Metrics

MAX_REQUEST: Final = 8192
PATIENCE_S: Final = 5.0
MAX_CLIENTS: Final = 32


@dataclass(frozen=True, slots=True)
class Health:
    """`ok` decides between 200 and 503; `facts` are shown as they are."""

    ok: bool
    facts: Mapping[str, object] = field(default_factory=dict)


class StatusServer:
    """Serves until closed."""

    def __init__(self, health: Callable[[], Health], metrics: Metrics) -> None:
        self._health = health
        self._metrics = metrics
        self._server: asyncio.Server | None = None
        self._clients = 0

    @classmethod
    async def open(cls, bind: tuple[str, int], health: Callable[[], Health], metrics: Metrics) -> Self:
        """Listen at `bind` (port 0: any free one). Unavailable when the port is taken."""
        self = cls(health, metrics)
        try:
            self._server = await asyncio.start_server(self._serve, *bind, limit=MAX_REQUEST)
        except OSError as error:
            raise Unavailable(
                f"cannot bind tcp {bind[0]}:{bind[1]}: {error.strerror}", do="stop what uses the port or choose another"
            ) from error
        return self

    @property
    def address(self) -> tuple[str, int]:
        assert self._server is not None  # open() has returned
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            if self._clients <= MAX_CLIENTS:
                async with asyncio.timeout(PATIENCE_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(head.split(b"\r\n", 1)[0].split(b" ")))
                    await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # not a request, or nobody waits for the answer
        finally:
            self._clients -= 1
            writer.close()

    def _answer(self, request: list[bytes]) -> bytes:
        match request:
            case [b"GET" | b"HEAD", b"/health", _]:
                health = self._health()
                body = json.dumps({"ok": health.ok, **health.facts}).encode()
                answer = _response("200 OK" if health.ok else "503 Service Unavailable", "application/json", body)
            case [b"GET" | b"HEAD", b"/metrics", _]:
                answer = _response("200 OK", CONTENT_TYPE, self._metrics.render())
            case [b"GET" | b"HEAD", _, _]:
                answer = _response("404 Not Found", "text/plain", b"/health or /metrics\n")
            case _:
                answer = _response("405 Method Not Allowed", "text/plain", b"GET only\n")
        return answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if request[0] == b"HEAD" else answer


def _response(status: str, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
