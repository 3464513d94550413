"""Who hears a HELLO: everybody who joined the group of all CoAP nodes on one network interface (RFC 7252 12.8)."""

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, cast

from keymote.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Group:
    """An IPv4 multicast group on the interface that has the address `interface`.

    Another port keeps apart what must not hear each other, two demonstrations on one machine for instance.
    """

    address: str = "224.0.1.187"
    port: int = 5683
    interface: str = "127.0.0.1"


def allow_sending(sock: socket.socket, group: Group) -> None:
    """Let multicast leave `sock` through the group's interface, reach this machine too, and stay in its network."""
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(group.interface))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)


class GroupListener(asyncio.DatagramProtocol):
    """A socket that hears what is sent to a group; any number of processes of a machine may listen."""

    def __init__(self, heard: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._heard = heard
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def join(cls, group: Group, heard: Callable[[bytes, tuple[str, int]], None]) -> Self:
        """Listen; `heard(datagram, source address)`. Unavailable when this machine cannot join."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((group.address, group.port))
            membership = struct.pack("4s4s", socket.inet_aton(group.address), socket.inet_aton(group.interface))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            sock.setblocking(False)
        except OSError as error:
            sock.close()
            raise Unavailable(
                f"cannot join {group.address}:{group.port} on {group.interface}: {error.strerror}",
                do="configure the manager's address instead of discovery",
            ) from error
        listener = cls(heard)
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: listener, sock=sock)
        return listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # asyncio's own class is none by inheritance

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._heard(data, addr)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
