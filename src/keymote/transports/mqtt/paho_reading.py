"""paho's `Client`, which reads what has come, and writes what waits, with one call of the system each.

The library asks the system three times for each packet (its first byte, its length, the rest), waits in `select` between
packets, and sends each of its own alone. What that costs is about what protecting and opening a reading costs, so that a
protected client keeps up with a bare one.
"""

import socket
from typing import Any, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode, _ConnectionState

AT_ONCE: Final = 4096
"""Bytes that are read at once: some 30 small readings, so that acknowledgements are not kept back for long."""
MOST_TOGETHER: Final = 64
"""Packets that are sent at once."""


class BufferedClient(Client):
    """A `Client` with bytes in hand between the socket and the library's own parser.

    `_ahead`: bytes of packets in its queue that left with the one before.
    """

    _held = b""
    _at = 0
    _may_read = False
    _ahead = 0

    def reconnect(self) -> MQTTErrorCode:
        """As paho's; what was in hand belonged to the connection before. Small packets do not wait for each other."""
        self._held, self._at, self._ahead = b"", 0, 0
        code = super().reconnect()
        sock = self.socket()
        if isinstance(sock, socket.socket) and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return code

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """As paho's, with one read of the socket, until nothing is in hand any more, for `select` does not see it."""
        self._may_read = True
        code = super().loop_read(max_packets)
        while self._at < len(self._held) and code is MQTTErrorCode.MQTT_ERR_SUCCESS:
            code = super().loop_read(max_packets)
        return code

    def _sock_recv(self, bufsize: int) -> bytes:
        at = self._at
        if at == len(self._held):
            if self._transport == "websockets":  # has a buffer of its own
                return super()._sock_recv(bufsize)
            if not self._may_read:  # or one busy connection would hold everything up that runs beside it
                raise BlockingIOError
            self._may_read = False
            self._held, at = super()._sock_recv(max(AT_ONCE, bufsize)), 0
        taken = self._held[at : at + bufsize]
        self._at = at + len(taken)
        return taken

    def _sock_send(self, buf: bytes | bytearray) -> int:
        if self._ahead:
            sent = min(self._ahead, len(buf))
            self._ahead -= sent
            return sent
        waiting = self._out_packet
        behind = min(len(waiting), MOST_TOGETHER)
        if not behind or self._state is _ConnectionState.MQTT_CS_DISCONNECTING or type(self._sock) is not socket.socket:
            return super()._sock_send(
                buf
            )  # nothing follows a DISCONNECT; TLS and websockets have rules for a second try
        together = b"".join((buf, *(waiting[number]["packet"] for number in range(behind))))  # other threads may append
        sent = super()._sock_send(together)
        self._ahead = max(0, sent - len(buf))
        return min(sent, len(buf))


def read_at_once(client: Any) -> None:
    """Let a bare paho client, which somebody else has made, read as a `BufferedClient` does."""
    client.__class__ = BufferedClient
