"""The one place where an error becomes an HTTP answer (RFC 9457)."""

import logging
from typing import Final

from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from keymote.errors import CallerFault, ErrorCode, Incompatible, KeymoteError, PeerFault, RefusedByPolicy, Unavailable
from keymote.host.register import Taken
from keymote.wire.admin import PROBLEM_TYPE, Problem, encode

_STATUS: Final = {
    ErrorCode.E_UNKNOWN_ID: 404,
    ErrorCode.E_NOSHARE: 403,
    ErrorCode.E_AUTH: 401,
    ErrorCode.E_LIMIT: 429,
    ErrorCode.E_BUSY: 503,
    ErrorCode.E_CRED: 422,
}
"""Every other fault of a peer is 400."""

RETRY_AFTER_S: Final = 5

logger = logging.getLogger(__name__)


def problem_of(error: KeymoteError) -> Problem:
    """Return what the caller is told; `code` is the Triad-1 error by which programs go."""
    match error:
        case Taken():
            return Problem("Conflict", 409, detail=error.what, do=error.do, code=error.code.name)
        case PeerFault():
            return Problem(
                "Refused", _STATUS.get(error.code, 400), detail=error.what, do=error.do, code=error.code.name
            )
        case RefusedByPolicy():
            return Problem("Refused by policy", 403, detail=error.what, do=error.do)
        case Unavailable():
            return Problem("Unavailable", 503, detail=error.what, do=error.do)
        case Incompatible() | CallerFault():
            return Problem("Wrong request", 400, detail=error.what, do=error.do)
        case _:
            return Problem("Internal error", 500)


def headers_of(problem: Problem) -> dict[str, str]:
    """Return the headers that go with a problem."""
    match problem.status:
        case 401:
            return {"WWW-Authenticate": "Bearer, Keymote"}
        case 429 | 503:
            return {"Retry-After": str(RETRY_AFTER_S)}
        case _:
            return {}


def respond(problem: Problem) -> Response[bytes]:
    """Return the response for a problem."""
    return Response(encode(problem), status_code=problem.status, media_type=PROBLEM_TYPE, headers=headers_of(problem))


def on_fault(request: Request[object, object, State], error: KeymoteError) -> Response[bytes]:
    """Answer an error of ours."""
    if isinstance(error, Unavailable):
        logger.warning("unavailable: %s", error, extra={"path": request.url.path})
    return respond(problem_of(error))


def on_http(_request: Request[object, object, State], error: HTTPException) -> Response[bytes]:
    """Answer what Litestar refuses: no route, no such method, a body or query of another form."""
    fields = error.extra if isinstance(error.extra, list) else []
    detail = "; ".join(f"{field.get('key', 'body')}: {field.get('message')}" for field in fields) or error.detail
    return respond(Problem(_TITLES.get(error.status_code, "Wrong request"), error.status_code, detail=detail))


def on_bug(request: Request[object, object, State], error: Exception) -> Response[bytes]:
    """Answer a bug of ours without a word of it; the log has it all."""
    logger.error("bug in a route", exc_info=error, extra={"path": request.url.path})
    return respond(Problem("Internal error", 500))


_TITLES: Final = {404: "Not found", 405: "Method not allowed", 413: "Body too large", 415: "Unsupported media type"}
