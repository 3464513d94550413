"""paho's `Client`, which reads what has come at once instead of byte by byte.

The library asks the system three times for each packet (its first byte, its length, the rest), and waits in `select` between
packets. What that costs is about what opening a reading costs, so that a protected subscriber keeps up with a bare one.
"""

import socket
from typing import Any, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode

AT_ONCE: Final = 4096
"""Bytes that are read at once: some 30 small readings, so that acknowledgements are not kept back for long."""


class BufferedClient(Client):
    """A `Client` with bytes in hand between the socket and the library's own parser."""

    _held = b""
    _at = 0
    _may_read = False

    def reconnect(self) -> MQTTErrorCode:
        """As paho's; what was in hand belonged to the connection before. Small packets do not wait for each other."""
        self._held, self._at = b"", 0
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


def read_at_once(client: Any) -> None:
    """Let a bare paho client, which somebody else has made, read as a `BufferedClient` does."""
    client.__class__ = BufferedClient
