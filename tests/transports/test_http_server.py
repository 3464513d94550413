"""The HTTP server by itself: ports, answers without delay, and the client certificate in the scope."""

import asyncio
import json
import socket

import pytest

from keymote.errors import CallerFault
from keymote.transports.http_server import HttpServer


async def application(scope, receive, send) -> None:
    body = json.dumps({"path": scope["path"], "tls": "tls" in scope.get("extensions", {})}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> dict[str, object]:
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-length"))
    answer: dict[str, object] = json.loads(await reader.readexactly(length))
    return answer


async def test_a_free_port_is_taken_and_named() -> None:
    server = HttpServer(application, "127.0.0.1", 0)
    await server.start()
    port = int(server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await get(reader, writer, "/x") == {"path": "/x", "tls": False}
    writer.close()
    await server.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_answers_do_not_wait_for_acknowledgements() -> None:
    """Nagle's algorithm against delayed acknowledgements costs 40 ms an answer where it is on."""
    server = HttpServer(application, "127.0.0.1", 0)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    await get(reader, writer, "/")
    (accepted,) = server.sockets
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    writer.close()
    await server.stop()


async def test_a_port_that_is_taken_or_an_address_that_is_not_ours_says_so() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(CallerFault, match="choose another with --port"):
            await HttpServer(application, "127.0.0.1", holder.getsockname()[1]).start()
    with pytest.raises(CallerFault, match=r"203\.0\.113\.1"):
        await HttpServer(application, "203.0.113.1", 0).start()


async def test_several_servers_share_a_process_and_leave_signals_alone() -> None:
    import signal

    before = signal.getsignal(signal.SIGTERM)
    servers = [HttpServer(application, "127.0.0.1", 0) for _ in range(2)]
    for server in servers:
        await server.start()
    assert signal.getsignal(signal.SIGTERM) is before
    assert len({server.url for server in servers}) == 2
    for server in servers:
        await server.stop()
