"""Asking another coordinator of the federation for a device."""

import time
from typing import Protocol, TypeVar

from keymote.engine.chain import Pin
from keymote.engine.queries import DeviceFound, ManagerFound
from keymote.errors import Unavailable
from keymote.transports.http_caller import HttpCaller, found_of, introduce, manager_of
from keymote.transports.tls import client_context
from keymote.wire import admin
from keymote.wire.credential import Credential

T = TypeVar("T")


class Asking(Protocol):
    """The identity of the coordinator that asks."""

    @property
    def credential(self) -> Credential: ...

    @property
    def root(self) -> Pin:
        """The authority that both coordinators trust."""
        ...

    def lookup(self, to: bytes, dev_id: bytes, ts: int) -> bytes:
        """Return the signed question (type 242)."""
        ...


class PeerCoordinator:
    """The port `PeerLink` over HTTPS. Who the peer is, it learns at the first question, by the authority alone."""

    def __init__(self, url: str, asking: Asking) -> None:
        self.url, self._asking = url, asking
        self._known: tuple[bytes, HttpCaller] | None = None

    async def find(self, dev_id: bytes) -> DeviceFound:
        """Return what the peer says of a device of its own; see the port."""
        return found_of(await self._ask("devices", dev_id, admin.FoundView))

    async def find_manager(self, nm_id: bytes) -> ManagerFound:
        """Return what the peer says of a manager of its own; see the port."""
        return manager_of(await self._ask("managers", nm_id, admin.FoundManagerView))

    async def _ask(self, what: str, subject: bytes, kind: type[T]) -> T:
        now = int(time.time())
        if self._known is None:
            peer = await introduce(self.url, self._asking.root, now)
            self._known = (peer.nc_id, HttpCaller(self.url, client_context(peer.authority)))
        nc_id, caller = self._known
        proof = (self._asking.lookup(nc_id, subject, now), self._asking.credential.raw)
        headers = {"Authorization": "Keymote " + ".".join(map(admin.to_base64url, proof))}
        path = f"{admin.API}/federation/{what}/{subject.hex()}"
        try:
            return await caller.get(path, kind, headers=headers)
        except Unavailable:
            await self.close()  # its certificate authority may be another one by now: meet again at the next question
            raise

    async def close(self) -> None:
        """Let go of the connections."""
        if self._known is not None:
            await self._known[1].close()
            self._known = None
