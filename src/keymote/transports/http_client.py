"""The manager's side of its coordinator: enrolment datagrams, certificate, register, look-ups, events.

A new manager calls `introduce` with the pinned root, then makes a client without certificate and enrols; with its
credential it asks for a certificate and makes a client with it, which does the rest.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx

from keymote.crypto.secret import Secret
from keymote.engine.policy.topic_charter import TopicCharter
from keymote.engine.policy.topic_events import TopicReport
from keymote.engine.queries import (
    DeviceFound,
    FindDevice,
    FindManager,
    ManagerFound,
    Receipt,
    RegisterCredential,
    ReportRevocation,
)
from keymote.errors import Unavailable
from keymote.host.topic_desk import Taken
from keymote.transports import http_topics
from keymote.transports.http_caller import HttpCaller, Introduced, found_of, introduce, manager_of
from keymote.transports.tls import client_context
from keymote.wire import admin, admin_groups, admin_records

__all__ = ["CoordinatorClient", "Introduced", "introduce"]

DATAGRAM: Final = "application/octet-stream"
SILENCE_S: Final = 45.0
"""An event stream without even a heartbeat for this long is dead."""
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 30.0


class CoordinatorClient:
    """Calls to one coordinator under its certificate authority (PEM text).

    Every method raises PeerFault when the coordinator refuses (E_CRED duplicate, E_UNKNOWN_ID, E_NOSHARE suspended or
    revoked) and Unavailable when it does not answer.
    """

    def __init__(
        self,
        url: str,
        authority: str,
        *,
        certificate: Path | None = None,
        key: Path | None = None,
        password: Secret | None = None,
    ) -> None:
        context = client_context(authority, certificate, key, password)
        self._caller = HttpCaller(url, context)
        self._enrolling = HttpCaller(url, context, connections=1)
        """The engine binds an enrolment to its connection."""
        self.connected = False
        """Whether the event stream is up."""
        self._closed = False

    async def close(self) -> None:
        """Let go of all connections; whoever listens to events hears no more of them here."""
        self._closed = True
        await self._caller.close()
        await self._enrolling.close()

    # Enrolment

    async def hello(self) -> bytes:
        """Return the coordinator's HELLO, with which a manager's enrolment begins."""
        return await self._enrolling.request("GET", admin.ENROLMENT)

    async def exchange(self, datagram: bytes) -> bytes | None:
        """Send one enrolment datagram and return the one that answers it, None for silence."""
        return await self._enrolling.request("POST", admin.ENROLMENT, body=datagram, media=DATAGRAM) or None

    async def certificate(self, nm_id: bytes, request: bytes, proof: bytes) -> str:
        """Return a TLS certificate (PEM) for a PKCS #10 request (DER) and the signed object (type 241) over it."""
        answer = await self._caller.request(
            "POST",
            f"{admin.API}/managers/{nm_id.hex()}/certificate",
            body=admin.encode(admin.IssueCertificate(admin.to_base64url(request))),
            headers={"Authorization": f"Keymote {admin.to_base64url(proof)}"},
        )
        return admin.decode(answer, admin.Certificate).certificate

    # What engines ask

    async def register(self, query: RegisterCredential) -> Receipt:
        """Enter a device's credential; the same bytes again give the same receipt."""
        replaces = query.replaces.hex() if query.replaces else None
        body = admin.RegisterDevice(admin.to_base64url(query.credential), replaces)
        answer = await self._caller.request("POST", f"{admin.API}/devices", body=admin.encode(body))
        return Receipt(admin.from_base64url(admin.decode(answer, admin.Registration).receipt))

    async def find(self, query: FindDevice) -> DeviceFound:
        """Return where a device is, at this coordinator or a federated one; the chain is for the engine to verify."""
        return found_of(await self._caller.get(f"{admin.API}/lookup/{query.dev_id.hex()}", admin.FoundView))

    async def find_manager(self, query: FindManager) -> ManagerFound:
        """Return who a manager is, of this coordinator or a federated one; the chain is for the engine to verify."""
        path = f"{admin.API}/lookup/managers/{query.nm_id.hex()}"
        return manager_of(await self._caller.get(path, admin.FoundManagerView))

    async def report(self, query: ReportRevocation) -> bool:
        """Hand in the signed note of a revoked session; again is once."""
        body = admin.Revoke("session", revnote=admin.to_base64url(query.revnote))
        await self._caller.request("POST", f"{admin.API}/revocations", body=admin.encode(body))
        return True

    # What a manager says of itself

    async def announce_endpoint(self, nm_id: bytes, endpoint: str, hybrid_key: bytes = b"") -> None:
        """Say where other managers reach this one, for example `coap://192.0.2.7:5683`, and publish its hybrid key."""
        path = f"{admin.API}/managers/{nm_id.hex()}/endpoint"
        said = admin.Endpoint(endpoint, admin.to_base64url(hybrid_key))
        await self._caller.request("PUT", path, body=admin.encode(said))

    async def acknowledge(self, upto: int) -> None:
        """Say that every event up to this one was acted on."""
        await self._caller.request("POST", f"{admin.API}/acks", body=admin.encode(admin.Acknowledge(upto)))

    # Groups that it leads

    async def charter(self, gid: bytes) -> admin_groups.CharterView:
        """Return what should be of a group that this manager leads; PeerFault E_NOSHARE when another one leads it."""
        return await self._caller.get(f"{admin.API}/groups/{gid.hex()}/charter", admin_groups.CharterView)

    async def report_groups(self, gid: bytes, items: Sequence[admin_groups.GroupReport]) -> admin_groups.ReportsTaken:
        """Hand in one batch (`admin_groups.batches`) of reports on a group, oldest first; again is once."""
        body = admin.encode(admin_groups.GroupReports(list(items)))
        answer = await self._caller.request("POST", f"{admin.API}/groups/{gid.hex()}/reports", body=body)
        return admin.decode(answer, admin_groups.ReportsTaken)

    async def hand_in_records(
        self, gid: bytes, items: Sequence[admin_records.LoggedRecord]
    ) -> admin_records.RecordsTaken:
        """Hand in one batch of a group's encrypted log, oldest first; again is once."""
        body = admin.encode(admin_records.GroupRecords(list(items)))
        answer = await self._caller.request("POST", f"{admin.API}/groups/{gid.hex()}/records", body=body)
        return admin.decode(answer, admin_records.RecordsTaken)

    # Topics that it leads (host.topic_desk)

    async def topic_charter(self) -> TopicCharter:
        return await http_topics.topic_charter(self._caller)

    async def report_topics(self, items: Sequence[TopicReport]) -> Taken:
        return await http_topics.report_topics(self._caller, items)

    # Events

    async def events(self, after: int) -> AsyncIterator[admin.EventView]:
        """Yield events behind the cursor `after`, in order and until this is closed; reconnects with growing pauses.

        An event may come again after a reconnection when the cursor that is given is old: acting on it twice must be
        acting on it once.

        Raises:
            PeerFault: the coordinator does not admit this manager any more.
        """
        pause_s = FIRST_PAUSE_S
        while not self._closed:
            with suppress(Unavailable):
                async for event in self._stream(after):
                    pause_s = FIRST_PAUSE_S
                    if event is not None and event.id > after:
                        after = event.id
                        yield event
            self.connected = False
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311  # spreads reconnections, no secret
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _stream(self, after: int) -> AsyncIterator[admin.EventView | None]:
        """Yield the events of one connection, None for a sign of life."""
        timeout = httpx.Timeout(10.0, read=SILENCE_S)
        headers = {"Accept": "text/event-stream"}
        path = f"{admin.API}/events"
        async with self._caller.stream(
            "GET", path, params={"after": after}, headers=headers, timeout=timeout
        ) as response:
            self.connected = True
            async for line in response.aiter_lines():
                if line.startswith("data:") and len(line) > len("data: "):
                    yield admin.decode(line.removeprefix("data:").strip().encode(), admin.EventView)
                elif line.startswith(":"):
                    yield None
