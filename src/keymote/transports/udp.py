"""Plain datagrams: one UDP socket, and where it is configured the multicast group beside it."""

import asyncio
import socket
from collections.abc import Callable
from errno import EADDRNOTAVAIL
from typing import Final, Self, cast

from keymote.engine.base import MULTICAST, Peer
from keymote.errors import CallerFault, Unavailable
from keymote.transports.coap.multicast import Group, GroupListener, allow_sending

RECEIVE_BUFFER: Final = 1 << 20
"""Bytes that we ask the kernel to hold while we are busy."""

Heard = Callable[[Peer, bytes], None]


class UdpSocket(asyncio.DatagramProtocol):
    """Datagrams from and to peers named `ADDRESS:PORT`, an IPv6 address in brackets."""

    def __init__(self, heard: Heard, group: Group | None = None) -> None:
        self._heard = heard
        self._group = group
        self._transport: asyncio.DatagramTransport | None = None
        self._listener: GroupListener | None = None

    @classmethod
    async def open(cls, bind: tuple[str, int], heard: Heard, group: Group | None = None) -> Self:
        """Bind one address (port 0: any free one); in a group, hear what is sent to it, too.

        Raises:
            CallerFault: the address is not one of this machine, or stands for all of them.
            Unavailable: the port is taken, or the group cannot be joined.
        """
        host, port = bind
        if host in ("", "0.0.0.0", "::"):  # noqa: S104  named to refuse it
            raise CallerFault(f"cannot listen on {host or 'no address'}", do="bind one address of this machine")
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            sock.bind((host, port))
            if group is not None:
                allow_sending(sock, group)
            sock.setblocking(False)
        except OSError as error:
            sock.close()
            if isinstance(error, socket.gaierror) or error.errno == EADDRNOTAVAIL:
                raise CallerFault(f"{host} is not an address of this machine", do="bind one that is") from error
            raise Unavailable(
                f"cannot bind udp {host}:{port}: {error.strerror}", do="stop what uses the port or choose another"
            ) from error
        self = cls(heard, group)
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=sock)
        if group is not None:
            try:
                self._listener = await GroupListener.join(group, self._overheard)
            except BaseException:
                self.close()
                raise
        return self

    @property
    def address(self) -> Peer:
        """The name under which peers reach this socket."""
        assert self._transport is not None
        return name_of(self._transport.get_extra_info("sockname"))

    def send(self, peer: Peer, data: bytes) -> None:
        """Send one datagram; to `MULTICAST` it goes to the group, or nowhere without one. What UDP loses is lost."""
        if self._transport is None:
            return
        if peer != MULTICAST:
            self._transport.sendto(data, address_of(peer))
        elif self._group is not None:
            self._transport.sendto(data, (self._group.address, self._group.port))

    def close(self) -> None:
        """Stop at once."""
        if self._listener is not None:
            self._listener.close()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    # ------------------------------------------------------------------ what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # asyncio's own class is none by inheritance

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._heard(name_of(addr), data)

    def error_received(self, exc: Exception) -> None:
        """A port unreachable of some peer: whoever waits for it has timers."""

    def _overheard(self, data: bytes, address: tuple[str, int]) -> None:
        peer = name_of(address)
        if self._transport is not None and peer != self.address:
            self._heard(peer, data)


def name_of(address: tuple[str, int]) -> Peer:
    """Return the name of a socket address."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_of(peer: Peer, *, any_port: bool = False) -> tuple[str, int]:
    """Return the numeric address behind a name; with `any_port` port 0 may stand for one that is free.

    Raises:
        CallerFault: it is not ADDRESS:PORT.
    """
    host, _, port = peer.rpartition(":")
    if not host or not port.isdigit() or not (not any_port) <= int(port) < 1 << 16:
        raise CallerFault(f"{peer!r} is not ADDRESS:PORT", do="for example 127.0.0.1:1885")
    return host.removeprefix("[").removesuffix("]"), int(port)
