"""`/revocations`, `/events`, `/acks` and `/audit`."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Final

from litestar import Response, get, post
from litestar.params import Parameter
from litestar.response import ServerSentEvent
from litestar.response.sse import ServerSentEventMessage

from keymote.coordinator.api.callers import AfterNumber, Call, Limit, demand, demand_reader
from keymote.coordinator.api.gate import ManagerCaller, Operator
from keymote.coordinator.api.services import Services
from keymote.coordinator.api.views import audit_view, event_view, head_view, revocation_view
from keymote.coordinator.rules import Safety
from keymote.errors import CallerFault, PeerFault
from keymote.host.register import Revocation, RevocationKind
from keymote.wire.admin import (
    Acknowledge,
    AuditPage,
    EventPage,
    HeadView,
    RevocationPage,
    RevocationView,
    Revoke,
    from_base64url,
    id_of,
    to_base64url,
)
from keymote.wire.admin_files import AuditExport

HEARTBEAT_S: Final = 15.0
"""A comment in an idle event stream, so that both sides and what lies between know that it lives."""
LONGEST_WAIT_S: Final = 60.0
BATCH: Final = 100

Wait = Annotated[float, Parameter(ge=0, le=LONGEST_WAIT_S, description="Seconds to wait for the first event.")]


@post("/revocations", status_code=201, tags=["revocation"])
async def revoke(request: Call, services: Services, data: Revoke) -> RevocationView:
    """Revoke a device, a manager or a credential (operator), or hand in a session's note (manager)."""
    kind = RevocationKind(data.kind)
    if kind is RevocationKind.SESSION:
        manager = demand(request, ManagerCaller)
        if data.revnote is None:
            raise CallerFault("a session is revoked by its manager's note", do="send it as `revnote`")
        line = await services.revocations.report_session(manager.nm_id, from_base64url(data.revnote))
    else:
        demand(request, Operator)
        if data.id is None:
            raise CallerFault("say whom to revoke", do="send the id as 16 hex digits")
        line = await services.revocations.revoke(kind, id_of(data.id), data.reason)
        if line.kind is RevocationKind.MANAGER:
            await services.enrolment.revoke(line.subject, data.reason)
    services.counted.revocations.labels(kind.value).inc()
    return await _view(services, line, await services.outbox.safety_of(line))


@get("/revocations", tags=["revocation"])
async def list_revocations(
    request: Call, services: Services, after: AfterNumber = 0, limit: Limit = 100
) -> RevocationPage:
    """List what was revoked, who has not acted on it yet and how long the others took."""
    demand_reader(request)
    lines, epoch = await services.outbox.revocations(after, limit)
    found = [await _view(services, line, safety) for line, safety in lines]
    return RevocationPage(found, found[-1].id if len(found) == limit else None, epoch)


async def _view(services: Services, line: Revocation, safety: Safety) -> RevocationView:
    """Return a line of the list with how far it has come at managers, in groups and in topics."""
    gaps, reaches = await services.pictures.gaps_of(line), await services.topics.pictures.reach_of(line)
    return revocation_view(line, safety, gaps, reaches)


@get("/events", tags=["events"])
async def events(
    request: Call, services: Services, after: AfterNumber = 0, limit: Limit = BATCH, wait: Wait = 0.0
) -> Response[EventPage] | ServerSentEvent:
    """Events behind the cursor: a page, after waiting for it if wanted, or an endless `text/event-stream`."""
    demand_reader(request)
    if "text/event-stream" in request.headers.get("accept", ""):
        last = request.headers.get("last-event-id", "")
        return ServerSentEvent(_stream(request, services, int(last) if last.isdecimal() else after))
    found = [event_view(event) for event in await services.outbox.awaited(after, limit, wait)]
    return Response(EventPage(found, found[-1].id if found else after))


async def _stream(request: Call, services: Services, after: int) -> AsyncIterator[ServerSentEventMessage]:
    """Yield events until the caller goes, is revoked, or the coordinator stops."""
    with services.counted.streams.track_inprogress():
        yield ServerSentEventMessage(None, comment="events", retry=1000)
        while not services.desk.news.closed:
            found = await services.outbox.awaited(after, BATCH, HEARTBEAT_S)
            if not found:
                yield ServerSentEventMessage(None, comment="alive")
            for event in found:
                view = event_view(event)
                data = {"id": view.id, "ts": view.ts, "kind": view.kind, "subject": view.subject, "data": view.data}
                yield ServerSentEventMessage(id=event.id, event=event.kind, data=json.dumps(data))
                after = event.id
            if found and not await _still_admitted(request, services):
                return


async def _still_admitted(request: Call, services: Services) -> bool:
    caller = request.user
    if not isinstance(caller, ManagerCaller):
        return True
    try:
        manager, _ = await services.managers.one(caller.nm_id)
    except PeerFault:
        return False
    return manager.state.value == "active"


@post("/acks", status_code=204, tags=["events"])
async def acknowledge(request: Call, services: Services, data: Acknowledge) -> Response[None]:
    """A manager has acted on every event up to this one."""
    await services.outbox.acknowledge(demand(request, ManagerCaller).nm_id, data.upto)
    return Response(None, status_code=204)


@get("/audit", tags=["audit"])
async def list_audit(request: Call, services: Services, after: AfterNumber = 0, limit: Limit = 100) -> AuditPage:
    """List entries of the audit log with their hashes."""
    demand(request, Operator)
    found = [audit_view(link) for link in await services.auditing.entries(after, limit)]
    return AuditPage(found, found[-1].seq if len(found) == limit else None)


@get("/audit/head", tags=["audit"])
async def audit_head(request: Call, services: Services) -> HeadView:
    """Sign the head of the audit log as it is now; keep it to find out later whether the log was rewritten."""
    demand_reader(request)
    return head_view(await services.auditing.head())


@get("/audit/export", tags=["audit"])
async def export_audit(request: Call, services: Services) -> AuditExport:
    """Give out the whole log with all its signed heads, for `keymote audit verify --file`."""
    demand(request, Operator)
    kept, newest = await services.auditing.heads(), await services.auditing.head()
    entries, after = [], 0  # read after the heads: the log must reach as far as they do
    while batch := await services.auditing.entries(after, 1000):
        entries += [audit_view(link) for link in batch]
        after = batch[-1].seq
    heads = [head_view(head) for head in (*kept, newest)]
    identity = services.desk.identity
    former = [to_base64url(each.credential) for each in identity.former]
    return AuditExport(identity.nc_id.hex(), to_base64url(identity.credential.raw), entries, heads, former)


ROUTES = [revoke, list_revocations, events, acknowledge, list_audit, audit_head, export_audit]
