"""One paho client in the running event loop, connected again and again until it is closed."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from keymote.crypto.secret import Secret

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike

KEEP_ALIVE_S: Final = 60
CONNECT_S: Final = 5.0
"""Time for one attempt to reach the broker."""
FIRST_PAUSE_S: Final = 0.1
"""Before the next attempt; each further one takes twice as long."""
LONGEST_PAUSE_S: Final = 30.0
STEADY_S: Final = 10.0
"""A connection that lasted as long is not part of a quarrel over its client id: the pauses begin anew."""
LINGER_S: Final = 2.0
"""What a closing connection waits for publications that the broker has not acknowledged."""


@dataclass(frozen=True, slots=True)
class BrokerPlace:
    """Where an MQTT broker is, and as whom we come."""

    host: str = "127.0.0.1"
    port: int = 1883
    user: str = ""
    password: Secret | None = None
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Ears:
    """Who hears what happens; all of it in the loop's thread. `up(session_present)`, `down(refused)`."""

    up: Callable[[bool], None]
    down: Callable[[bool], None]
    message: Callable[[MQTTMessage], None]
    published: Callable[[int], None]
    subscribed: Callable[[int, bool, int], None]
    """Packet id, whether it was granted, and with which QoS."""
    unsubscribed: Callable[[int], None]


class PahoLoop:
    """A connection under one client id; MQTT 3.1.1, which every broker speaks, and acknowledged by hand.

    `after`: the ends of connections before under the same client id, one of which the broker would otherwise take for the newer.
    """

    def __init__(
        self,
        place: BrokerPlace,
        client_id: str,
        ears: Ears,
        *,
        clean: bool,
        will: tuple[str, bytes, int, bool] | None = None,
        after: Collection["asyncio.Task[None]"] = (),
    ) -> None:
        self._place, self._ears = place, ears
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self.paho: Final = Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=clean,
            protocol=MQTTProtocolVersion.MQTTv311,
            manual_ack=True,
        )
        self.is_up = False
        self._ending = False
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._refused = False
        self._fds: dict[SocketLike, int] = {}
        self._pause_s = FIRST_PAUSE_S
        client = self.paho
        client.connect_timeout = CONNECT_S
        if place.user:
            client.username_pw_set(place.user, None if place.password is None else place.password.expose().decode())
        if place.tls is not None:
            client.tls_set_context(place.tls)
        if will is not None:
            topic, data, qos, retain = will
            client.will_set(topic, data, qos, retain)
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_message = self._message
        client.on_publish = lambda _client, _data, mid, _code, _properties: ears.published(mid)
        client.on_subscribe = self._subscribed
        client.on_unsubscribe = lambda _client, _data, mid, _codes, _properties: ears.unsubscribed(mid)
        client.on_socket_open, client.on_socket_close = self._opened, self._closed
        client.on_socket_register_write, client.on_socket_unregister_write = self._writes, self._wrote
        self._after = after
        self._connecting: asyncio.Future[None] | None = None
        self._task = self._loop.create_task(self._keep(), name=f"mqtt {client_id}")

    def again(self) -> None:
        """Connect anew: the broker says again what was not acknowledged."""
        self._pause_s = 0.0
        self.paho.disconnect()

    async def close(self, idle: asyncio.Event) -> None:
        """Disconnect in good order once `idle` is set or `LINGER_S` have passed; never connect again."""
        self._ending = True
        if self.is_up:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    await idle.wait()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if self._connecting is not None:  # a thread connects, and cannot be stopped: it must not come after who follows
            await asyncio.wait([self._connecting])
        self.paho.disconnect()

    # ------------------------------------------------------------------ staying connected

    async def _keep(self) -> None:
        if self._after:
            await asyncio.wait(self._after)
        while not self._ending:
            self._lost, self._refused = self._loop.create_future(), False
            began = self._loop.time()
            try:
                self._connecting = self._loop.run_in_executor(None, self._connect)
                await asyncio.shield(self._connecting)
            except (OSError, ValueError):
                self._ears.down(False)
            else:
                await self._until_lost()
                self.is_up = False
                if not self._ending:
                    self._ears.down(self._refused)
            if self._loop.time() - began > STEADY_S:
                self._pause_s = min(self._pause_s, FIRST_PAUSE_S)
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(max(FIRST_PAUSE_S, 2 * self._pause_s), LONGEST_PAUSE_S)

    def _connect(self) -> None:
        place = self._place
        self.paho.connect(place.host, place.port, KEEP_ALIVE_S)

    async def _until_lost(self) -> None:
        while not self._lost.done():
            await asyncio.wait([self._lost], timeout=1.0)
            self.paho.loop_misc()

    def _lose(self) -> None:
        if not self._lost.done():
            self._lost.set_result(None)

    # ------------------------------------------------------------------ what paho calls, in the loop

    def _connected(
        self, _client: Client, _data: Any, flags: ConnectFlags, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._refused = True
            self._lose()
        else:
            self.is_up = True
            self._ears.up(flags.session_present)

    def _disconnected(
        self, _client: Client, _data: Any, _flags: DisconnectFlags, _code: ReasonCode, _properties: Properties | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._lose)

    def _message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._ears.message(message)

    def _subscribed(
        self, _client: Client, _data: Any, mid: int, codes: list[ReasonCode], _properties: Properties | None
    ) -> None:
        granted = bool(codes) and not codes[0].is_failure
        self._ears.subscribed(mid, granted, int(codes[0].value) if granted else 0)

    # ------------------------------------------------------------------ sockets; paho calls from the thread that connects, too

    def _opened(self, client: Client, _data: Any, sock: "SocketLike") -> None:
        fd = self._fds[sock] = sock.fileno()
        self._in_loop(self._loop.add_reader, fd, self._read, client, sock)

    def _read(self, client: Client, sock: "SocketLike") -> None:
        client.loop_read()
        while isinstance(sock, ssl.SSLSocket) and sock in self._fds and sock.pending():
            client.loop_read()

    def _closed(self, _client: Client, _data: Any, sock: "SocketLike") -> None:
        fd = self._fds.pop(sock, -1)
        if fd >= 0:
            self._in_loop(self._loop.remove_reader, fd)
            self._in_loop(self._loop.remove_writer, fd)

    def _writes(self, client: Client, _data: Any, sock: "SocketLike") -> None:
        fd = self._fds.get(sock, -1)
        if fd >= 0:
            self._in_loop(self._loop.add_writer, fd, client.loop_write)

    def _wrote(self, _client: Client, _data: Any, sock: "SocketLike") -> None:
        fd = self._fds.get(sock, -1)
        if fd >= 0:
            self._in_loop(self._loop.remove_writer, fd)

    def _in_loop(self, call: Callable[..., object], *arguments: object) -> None:
        """Call something of the loop in its thread: at once where we are in it, before the socket's number is another's."""
        if threading.get_ident() == self._thread:
            self._safely(call, *arguments)
        else:
            self._loop.call_soon_threadsafe(self._safely, call, *arguments)

    @staticmethod
    def _safely(call: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(OSError, ValueError):  # a socket that the connecting thread closed meanwhile
            call(*arguments)
