"""Serving an ASGI application over HTTP or HTTPS: the home of uvicorn.

uvicorn does not pass the client certificate on, so a protocol subclass puts its DER bytes into
`scope["extensions"]["tls"]["client_cert"]`. Signals stay with the composition root, for several servers share a process.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from keymote.errors import CallerFault

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

KEEP_ALIVE_S: Final = 30
CONNECTIONS: Final = 1000
CLOSING_S: Final = 3


class _Protocol(H11Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the parent
        super().connection_made(transport)
        connection = transport.get_extra_info("ssl_object")
        if connection is None:
            return
        certificate: bytes | None = connection.getpeercert(binary_form=True)
        application: Any = self.app

        async def identified(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})["tls"] = {"client_cert": certificate}
            await application(scope, receive, send)

        self.app = identified


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """One listening socket and its application, in the running event loop."""

    def __init__(self, application: Application, host: str, port: int, context: ssl.SSLContext | None = None) -> None:
        self._host, self._port, self._context = host, port, context
        config = uvicorn.Config(
            application,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=CLOSING_S,
            ssl_context_factory=None if context is None else lambda _config, _default: context,
        )
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it listens; defined after `start`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'http' if self._context is None else 'https'}://{host}:{self._port}"

    @property
    def sockets(self) -> list[Any]:
        """The sockets of the connections that are open now."""
        return [each.transport.get_extra_info("socket") for each in self._server.server_state.connections]

    async def start(self) -> None:
        """Listen; port 0 takes a free one.

        Raises:
            CallerFault: the port is taken, or the host is not ours.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # asyncio turns Nagle's algorithm off only where the protocol is named; with it, each answer waits 40 ms
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((self._host, self._port))
        except OSError as error:
            listening.close()
            raise CallerFault(
                f"cannot listen on {self._host} port {self._port}: {error.strerror}",
                do="end the program that holds it, or choose another with --port",
            ) from error
        self._port = listening.getsockname()[1]
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]), name=f"http {self._port}")
        while not self._server.started:
            if self._serving.done():
                await self._serving
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Stop listening, let answers finish for at most 3 s, close."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
