"""What passes between brokers' agents, over HTTPS with pinned certificates: frames of hand-over, and queues of clients.

`POST /k` takes a frame and answers with the frame that answers it; `POST /queue/<client id>` takes messages, in order, and
answers when the broker here has taken them.
"""

import asyncio
import contextlib
import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from keymote import cbor
from keymote.crypto.secret import Secret
from keymote.engine.base import Peer, Send
from keymote.errors import ErrorCode, KeymoteError, PeerFault, Unavailable
from keymote.transports import tls_pinned
from keymote.transports.http_caller import HttpCaller
from keymote.transports.http_server import HttpServer, Receive, Scope
from keymote.transports.http_server import Send as Say
from keymote.transports.mqtt.packets import Delivery

MEDIA: Final = "application/cbor"
MOST_FRAME: Final = 1280
MOST_QUEUE: Final = 1 << 20
"""Bytes of one batch of messages."""
_OVERHEAD: Final = 16
"""More than CBOR adds to a message, and to all of them."""
_QUEUE: Final = re.compile(r"/queue/([0-9a-f]{16})")
_DONE, _CONTENT, _REFUSED, _NOT_HERE, _BUSY, _UNKNOWN = 204, 200, 403, 409, 503, 404

TakeFrame = Callable[[bytes, bytes], Awaitable[Sequence[Send]]]
"""`(broker id, frame)`: what the cells answer."""
TakeQueue = Callable[[bytes, bytes, Sequence[Delivery]], Awaitable[bool]]
"""`(broker id, client id, messages)`: whether the client is served here and that broker may bring its queue."""

logger = logging.getLogger(__name__)


class AgentServer:
    """Serves other agents; `known` maps the certificates (DER) of the present list to broker ids."""

    def __init__(
        self,
        address: tuple[str, int],
        context: ssl.SSLContext,
        known: Mapping[bytes, bytes],
        frame: TakeFrame,
        queue: TakeQueue,
    ) -> None:
        self.known = known
        self._context = context
        self._frame, self._queue = frame, queue

        async def application(scope: Scope, receive: Receive, send: Say) -> None:
            await self._application(scope, receive, send)

        self._http = HttpServer(application, *address, context)  # uvicorn takes a bound method for another protocol

    @property
    def url(self) -> str:
        return self._http.url

    async def start(self) -> None:
        """Listen; CallerFault when the port is taken."""
        await self._http.start()

    async def stop(self) -> None:
        """Hang up on other agents, which keep their connections for the next time, and close."""
        for each in self._http.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        await self._http.stop()

    def knows(self, known: Mapping[bytes, bytes]) -> None:
        """Let in the brokers of a new list, and nobody else."""
        tls_pinned.also_knows(self._context, [der for der in known if der not in self.known])
        self.known = known

    async def _application(self, scope: Scope, receive: Receive, send: Say) -> None:
        if scope["type"] != "http":
            return
        code, body = await self._answer(scope, receive)
        headers = [(b"content-type", MEDIA.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        certificate = scope.get("extensions", {}).get("tls", {}).get("client_cert")
        broker = self.known.get(certificate or b"")
        if broker is None:
            return _REFUSED, b""
        queue = _QUEUE.fullmatch(scope["path"])
        if scope["method"] != "POST" or (queue is None and scope["path"] != "/k"):
            return _UNKNOWN, b""
        try:
            data = await _body(receive, MOST_FRAME if queue is None else MOST_QUEUE)
            if queue is None:
                answers = await self._frame(broker, data)
                return (_CONTENT, answers[0].data) if answers else (_DONE, b"")
            taken = await self._queue(broker, bytes.fromhex(queue[1]), read_queue(data))
        except PeerFault as fault:
            logger.info("refused of another agent: %s", fault)
            return _REFUSED, b""
        except Unavailable as error:
            logger.warning("cannot serve another agent: %s", error)
            return _BUSY, b""
        return (_DONE if taken else _NOT_HERE), b""


class AgentCallers:
    """Connections to other agents by their URL; `identity` is our certificate, its key, and the key's password."""

    def __init__(self, identity: tuple[Path, Path, Secret]) -> None:
        self._identity = identity
        self._known: dict[Peer, bytes] = {}
        self._callers: dict[Peer, HttpCaller] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def knows(self, known: Mapping[Peer, bytes]) -> None:
        """Call the brokers of a new list, by URL and certificate (DER), and nobody else."""
        self._known = dict(known)
        for peer in [peer for peer in self._callers if peer not in known]:
            await self._callers.pop(peer).close()

    def send(
        self, peer: Peer, data: bytes, heard: Callable[[Peer, bytes], None], failed: Callable[[], None] | None
    ) -> None:
        """Carry a frame; `heard` gets its answer, `failed` is called when there is none."""
        task = asyncio.create_task(self._carry(peer, data, heard, failed), name="frame to another agent")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def bring(self, peer: Peer, client_id: bytes, messages: Sequence[Delivery]) -> None:
        """Return when the broker there has taken these messages; Unavailable, CallerFault when it has not."""
        for batch in batches(messages):
            await self._caller(peer).request("POST", f"/queue/{client_id.hex()}", body=write_queue(batch), media=MEDIA)

    @property
    def busy(self) -> bool:
        """Whether a frame is under way."""
        return bool(self._tasks)

    async def close(self) -> None:
        """End what is under way, and the connections."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for caller in self._callers.values():
            await caller.close()
        self._callers.clear()

    async def _carry(
        self, peer: Peer, data: bytes, heard: Callable[[Peer, bytes], None], failed: Callable[[], None] | None
    ) -> None:
        try:
            answer = await self._caller(peer).request("POST", "/k", body=data, media=MEDIA)
        except KeymoteError as error:
            logger.info("another agent does not take a frame: %s", error)
            if failed is not None:
                failed()
            return
        if answer:
            heard(peer, answer)

    def _caller(self, peer: Peer) -> HttpCaller:
        certificate = self._known.get(peer)
        if certificate is None:
            raise Unavailable(f"{peer} is not in the list of brokers", do="give the agent a newer list")
        if peer not in self._callers:
            self._callers[peer] = HttpCaller(peer, tls_pinned.client_context(*self._identity, certificate))
        return self._callers[peer]


def batches(messages: Sequence[Delivery]) -> Iterator[Sequence[Delivery]]:
    """Yield messages in order, as many at once as one request takes.

    One that alone is too large is left out, with a word in the log: no reading of ours is, and a queue must not stop for it.
    """
    batch: list[Delivery] = []
    size = 0
    for each in messages:
        takes = len(each.payload) + len(each.topic.encode()) + _OVERHEAD
        if takes > MOST_QUEUE - _OVERHEAD:
            logger.warning("a message of %d bytes stays behind its client", len(each.payload))
            continue
        if size + takes > MOST_QUEUE - _OVERHEAD:
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += takes
    if batch:
        yield batch


def write_queue(messages: Sequence[Delivery]) -> bytes:
    """Return messages as CBOR [[topic, payload, qos, retain], ...]."""
    return cbor.encode([[each.topic, each.payload, each.qos, each.retain] for each in messages])


def read_queue(data: bytes) -> Sequence[Delivery]:
    """Return the messages of `write_queue`; E_FORMAT for anything else."""
    entries: Any = cbor.decode_array(data, max_size=MOST_QUEUE)
    found = []
    for entry in entries:
        match entry:
            case [str(topic), bytes(payload), 0 | 1 | 2 as qos, bool(retain)]:
                found.append(Delivery(topic, payload, int(qos), retain, 0))
            case _:
                raise PeerFault(ErrorCode.E_FORMAT, "not a message of a queue")
    return found


async def _body(receive: Receive, most: int) -> bytes:
    parts, size, more = [], 0, True
    while more:
        event = await receive()
        if event["type"] != "http.request":
            raise Unavailable("the other agent hung up")
        part = event.get("body", b"")
        size += len(part)
        if size > most:
            raise PeerFault(ErrorCode.E_FORMAT, f"more than {most} bytes")
        parts.append(part)
        more = event.get("more_body", False)
    return b"".join(parts)
