"""What needs no authorization: health, version, introduction and enrolment datagrams; and the metrics, which do."""

from litestar import Response, get, post

from keymote.coordinator.api.callers import Call, demand
from keymote.coordinator.api.gate import Operator
from keymote.coordinator.api.services import Services
from keymote.errors import ErrorCode, PeerFault
from keymote.transports.metrics import CONTENT_TYPE
from keymote.wire.admin import ENROLMENT, INTRODUCTION, Introduction, to_base64url

MAX_DATAGRAM = 2048


@get("/health", tags=["service"])
async def health() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@get("/ready", tags=["service"])
async def ready(services: Services) -> dict[str, str]:
    """The register answers too; 503 while it does not."""
    await services.desk.ledger.read(lambda tx: tx.counter("reg_no"))
    return {"status": "ready"}


@get("/version", tags=["service"])
async def version(services: Services) -> dict[str, str]:
    """Version of the program and of this interface, and who this is."""
    return {"version": services.version, "api": "v1", "nc_id": services.desk.identity.nc_id.hex()}


@get(INTRODUCTION, tags=["service"])
async def introduction(services: Services) -> Introduction:
    """What a stranger who pins the authority needs to trust this coordinator's certificates."""
    credential = to_base64url(services.desk.identity.credential.raw)
    return Introduction(credential, services.authority.pem, to_base64url(services.binding))


@get(ENROLMENT, tags=["service"])
async def hello(services: Services) -> Response[bytes]:
    """The current HELLO, with which a manager begins its enrolment."""
    return Response(await services.enrolment.hello(), media_type="application/octet-stream")


@post(ENROLMENT, status_code=200, tags=["service"])
async def exchange(request: Call, services: Services) -> Response[bytes]:
    """One enrolment datagram of a manager each way; refused ones get the same 204 as those without an answer."""
    datagram = await request.body()
    if not 0 < len(datagram) <= MAX_DATAGRAM:
        raise PeerFault(ErrorCode.E_FORMAT, f"a datagram has 1 to {MAX_DATAGRAM} bytes")
    peer = "https://unknown" if request.client is None else f"https://{request.client.host}:{request.client.port}"
    answer = await services.enrolment.exchange(peer, datagram)
    if answer is None:
        return Response(b"", status_code=204)
    return Response(answer, media_type="application/octet-stream")


@get("/metrics", tags=["service"])
async def metrics(request: Call, services: Services) -> Response[bytes]:
    """Counters in Prometheus' text form."""
    demand(request, Operator)
    return Response(await services.measure(), media_type=CONTENT_TYPE)


ROUTES = [health, ready, version, introduction, hello, exchange, metrics]
