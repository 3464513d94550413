"""An MQTT 3.1.1 broker in our own process, for tests, demonstrations and small sites: the one home of amqtt.

    broker = await EmbeddedBroker.start(authenticate, may)
    ... clients connect to broker.port ...
    await broker.close()

amqtt answers nothing to version 5, changes a session before it has asked who is there, and keeps passwords. So the
connection is ours until the CONNECT is read and admitted; amqtt gets it afterwards, without the credentials.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Final, Literal, Self

from keymote.errors import Unavailable
from keymote.transports.mqtt.connect import ACCEPTED_LEVEL, BadConnect, Connect, read_connect, refusal

try:
    from amqtt.adapters import ReaderAdapter, StreamReaderAdapter, StreamWriterAdapter
    from amqtt.broker import Broker, RetainedApplicationMessage
    from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
except ImportError as error:
    raise Unavailable("the embedded broker needs the package amqtt", do="install keymote[broker]") from error

Action = Literal["publish", "subscribe", "receive"]
Authenticate = Callable[[str, str, bytes], bool | Awaitable[bool]]
"""`(client id, user, password)`, each empty where CONNECT has none; whether the client may come in under this id."""
May = Callable[[str, str, Action], bool]
"""`(client id, topic or filter, action)`; asked at each subscription, and for each message at both its ends."""

CONNECT_S: Final = 5.0
"""Time for a client to say all of its CONNECT."""
MOST_CONNECTIONS: Final = 1024
_LISTENER: Final = "default"
_BAD_CREDENTIALS: Final = 5
_BUSY: Final = 3

_log = logging.getLogger(__name__)


class EmbeddedBroker:
    """A broker that is served from `start` to `close`; sessions, queues and retained messages are in memory."""

    def __init__(self, authenticate: Authenticate, may: May) -> None:
        self._authenticate = authenticate
        self._clients: dict[str, asyncio.StreamWriter] = {}
        self._open: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        for name in ("amqtt", "transitions"):  # they log every packet, and a traceback for every piece of garbage
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._broker = Broker(
            {
                "listeners": {_LISTENER: {"type": "external"}},
                "plugins": {f"{__name__}.Admitted": {}, f"{__name__}.Allowed": {"may": may}},
            }
        )

    @classmethod
    async def start(
        cls,
        authenticate: Authenticate,
        may: May,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> Self:
        """Return a broker that serves at `host` and `port`, 0 for any free one.

        Raises:
            Unavailable: the port is taken.
        """
        made = cls(authenticate, may)
        await made._broker.start()
        try:
            made._server = await asyncio.start_server(made._connected, host, port, ssl=tls)
        except OSError as error:
            await made._broker.shutdown()
            what = f"cannot listen at {host}:{port}: {error.strerror}"
            raise Unavailable(what, do="choose another port") from error
        return made

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def clients(self) -> frozenset[str]:
        """The ids of the clients that are connected now."""
        return frozenset(self._clients)

    def kick(self, client_id: str) -> bool:
        """Close the connection of a client, whose session stays; whether there was one."""
        writer = self._clients.get(client_id)
        if writer is not None:
            writer.transport.abort()
        return writer is not None

    def session(self, client_id: str) -> Any | None:
        """Return amqtt's session of a client."""
        return self._broker._sessions.get(client_id, (None, None))[0]  # noqa: SLF001  amqtt shows it no other way

    async def settled(self) -> None:
        """Return when what the broker has acknowledged lies in the queues that it is for."""
        while self._on_their_way():  # noqa: ASYNC110  amqtt sets no event
            await asyncio.sleep(0)
        for _ in range(4):  # the message that was taken from there last
            await asyncio.sleep(0)

    def _on_their_way(self) -> bool:
        """Return whether messages are neither with their publisher nor in a queue."""
        sessions = self._broker._sessions.values()  # noqa: SLF001  amqtt shows them no other way
        queues = [session.delivered_message_queue for session, _ in sessions]
        return not all(queue.empty() for queue in (*queues, self._broker._broadcast_queue))  # noqa: SLF001

    async def put_out(self, client_id: str) -> None:
        """Close the connection of a client, and put what it has not acknowledged, which amqtt would forget, before its queue."""
        session = self.session(client_id)
        if session is None or not session.transitions.is_connected():
            return
        await asyncio.sleep(0)  # messages that are on their way to the connection are in flight after this
        sent = list(session.inflight_out.values())
        session.transitions.disconnect()  # from here on amqtt queues
        for each in reversed(sent):
            self.queue_first(client_id, each.topic, bytes(each.data), each.qos)
        self.kick(client_id)
        async with asyncio.timeout(CONNECT_S):
            while client_id in self._clients:  # noqa: ASYNC110  amqtt sets no event
                await asyncio.sleep(0.002)

    def queue_first(self, client_id: str, topic: str, payload: bytes, qos: int) -> None:
        """Put a message at the head of what waits for a client."""
        session = self.session(client_id)
        if session is not None:
            queue = session.retained_messages._queue  # noqa: SLF001  asyncio.Queue has no other front
            queue.appendleft(RetainedApplicationMessage(None, topic, payload, qos))

    async def forget(self, client_id: str) -> None:
        """Close the connection of a client and forget its session, subscriptions and queue."""
        self.kick(client_id)
        await self._broker._delete_session(client_id)  # noqa: SLF001  what amqtt does for a clean session

    async def close(self) -> None:
        """Stop: all connections end, and with them sessions and queued messages. Once more does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._broker.shutdown()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            connect = await self._admitted(reader, writer)
            if connect is not None:
                await self._serve(connect, reader, writer)
        except asyncio.CancelledError:
            pass  # `close`
        except Exception as error:  # noqa: BLE001  # whatever amqtt meets in garbage ends this connection alone
            _log.debug("a client's connection ended: %s", type(error).__name__)
        finally:
            self._open.discard(task)
            writer.close()

    async def _admitted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Connect | None:
        """Return the CONNECT of a client that may come in; the others are told why not."""
        try:
            async with asyncio.timeout(CONNECT_S):
                connect = await read_connect(reader)
        except (BadConnect, TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
            _log.debug("no CONNECT: %s", error)
            return None
        code = 0
        if connect.level != ACCEPTED_LEVEL:
            code = 1
        elif len(self._open) > MOST_CONNECTIONS:
            code = _BUSY
        else:
            said = self._authenticate(connect.client_id, connect.user, connect.password)
            if not (await said if isawaitable(said) else said):
                code = _BAD_CREDENTIALS
        if code == 0:
            return connect
        _log.debug("a CONNECT of level %d was refused, code %d", connect.level, code)
        writer.write(refusal(connect.level, code))
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        return None

    async def _serve(self, connect: Connect, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if connect.client_id:
            self._clients[connect.client_id] = writer
        try:
            replayed = _Replayed(connect.without_credentials(), reader)
            await self._broker.external_connected(replayed, StreamWriterAdapter(writer), _LISTENER)
        finally:
            if self._clients.get(connect.client_id) is writer:
                del self._clients[connect.client_id]


class _Replayed(ReaderAdapter):  # type: ignore[misc]  # amqtt publishes no types
    """A stream with bytes that were taken from it put back in front."""

    def __init__(self, head: bytes, rest: asyncio.StreamReader) -> None:
        self._head = head
        self._rest = StreamReaderAdapter(rest)

    async def read(self, n: int = -1) -> bytes:
        if not self._head:
            data: bytes = await self._rest.read(n)
            return data
        taken, self._head = (self._head, b"") if n < 0 else (self._head[:n], self._head[n:])
        return taken

    def feed_eof(self) -> None:
        self._rest.feed_eof()


class Admitted(BaseAuthPlugin):  # type: ignore[misc]  # amqtt publishes no types
    """Tells amqtt that whoever reaches it was admitted by `EmbeddedBroker`, which alone hands connections on."""

    async def authenticate(self, *, session: Any) -> bool:
        session.is_anonymous = False  # or amqtt keeps no queue for it
        return True


class Allowed(BaseTopicPlugin):  # type: ignore[misc]  # amqtt publishes no types
    """Passes amqtt's questions about topics on."""

    @dataclass
    class Config:
        """What `EmbeddedBroker` gives it."""

        may: Any
        """A `May`; the library that fills this class checks no callables."""

    async def topic_filtering(self, *, session: Any = None, topic: Any = None, action: Any = None) -> bool:
        return bool(self.config.may(session.client_id, topic, str(action.value)))
