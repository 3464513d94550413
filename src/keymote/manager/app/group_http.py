"""The HTTP face of a gateway, put together: a port of its own, off unless an operator wants it (docs/decisions/0167)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from keymote.engine.base import CellKey, Peer
from keymote.errors import CallerFault
from keymote.host.async_host import AsyncHost
from keymote.host.ports import Link
from keymote.manager.group_face import GroupFace


@dataclass(frozen=True, slots=True)
class GroupsHttp:
    """Where it listens, and the PEM files of its TLS certificate, None for plain HTTP."""

    listen: tuple[str, int]
    tls: tuple[Path, Path] | None = None

    @classmethod
    def at(cls, address: str, certificate: Path | None, key: Path | None) -> Self:
        """Return what `ADDRESS:PORT` and the files mean; CallerFault when that is not clear."""
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise CallerFault(f"{address!r} is not ADDRESS:PORT", do="for example 127.0.0.1:8080")
        if (certificate is None) is not (key is None):
            raise CallerFault("TLS needs a certificate and its key", do="give both, or neither")
        files = None if certificate is None or key is None else (certificate, key)
        return cls((host.strip("[]"), int(port)), files)


class HttpFace:
    """The listening socket, the door behind it, and the link that stands before the node's own."""

    def __init__(self, wanted: GroupsHttp, air: Link) -> None:
        from keymote.transports import tls  # noqa: PLC0415  a manager without this face does not load a web server
        from keymote.transports.http_groups import GroupApplication  # noqa: PLC0415
        from keymote.transports.http_server import HttpServer  # noqa: PLC0415

        clock = asyncio.get_running_loop().time
        self.link: Final = GroupFace(air, clock)
        context = None if wanted.tls is None else tls.web_context(*wanted.tls)
        self._server: Final = HttpServer(GroupApplication(self.link, clock), *wanted.listen, context)

    @property
    def url(self) -> str:
        """Where members post: this, then /groups/GID/KID."""
        return self._server.url

    async def start(self, host: AsyncHost) -> None:
        """Listen; CallerFault when the port is taken or the host is not ours."""
        self.link.attach(_Node(host))
        await self._server.start()

    async def stop(self) -> None:
        """Let those who wait go, and close."""
        self.link.mailboxes.close()
        await self._server.stop()


@dataclass(frozen=True, slots=True)
class _Node:
    """The face's view of the node."""

    host: AsyncHost

    async def receive(self, peer: Peer, data: bytes) -> Sequence[Any]:
        return await self.host.receive(peer, data)

    def look(self, key: CellKey) -> Any | None:
        return self.host.driver.look(key)
