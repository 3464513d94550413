"""Group messages over HTTP: `POST /groups/<gid>/<kid>` with one message, answered by a bundle of those that wait.

Plain ASGI, because a web framework would double the memory of a manager for one route. Nothing but the messages themselves
authenticates anybody: there is no session, no cookie and no login, and the same post twice changes nothing.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import parse_qsl

from keymote import cbor
from keymote.errors import ErrorCode, KeymoteError, PeerFault
from keymote.transports.http_server import Receive, Scope, Send
from keymote.wire.admin import PROBLEM_TYPE, Problem, encode
from keymote.wire.fields import Sizes
from keymote.wire.json_form import MOST_JSON, from_json, to_json

CBOR: Final = "application/cbor"
OCTETS: Final = "application/octet-stream"
JSON: Final = "application/json"
POSTS_PER_S: Final = 128
"""Posts of one address that are served in a second: a street behind one translating router is one address."""
MOST_ADDRESSES: Final = 1024
BODY_S: Final = 5.0
"""How long a body may take to arrive."""
MOST_WAIT_S: Final = 25
"""Longest `Prefer: wait=` (RFC 7240) that is honoured, in seconds."""

_PATH: Final = re.compile(r"/groups/([0-9a-f]{16})/([0-9a-f]{16})")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_WAIT: Final = re.compile(r"(?:^|[,;\s])wait=([0-9]{1,4})(?=$|[,;\s])")
_FORMS: Final = {CBOR: CBOR, OCTETS: CBOR, JSON: JSON}
_STATUS: Final = {ErrorCode.E_UNKNOWN_ID: 404, ErrorCode.E_STATE: 409, ErrorCode.E_LIMIT: 429}
"""Every other fault of a peer is 400."""


class Posted(Protocol):
    """What the door answers: a bundle, empty when nothing waits, and the number to ask for next."""

    @property
    def following(self) -> int: ...
    @property
    def bundle(self) -> bytes: ...


class Door(Protocol):
    """The gateway behind the route."""

    def sizes(self, gid: bytes) -> Sizes:
        """Return the lengths of the group's suite; PeerFault for a group that is not led here."""
        ...

    async def post(self, gid: bytes, kid: bytes, client: str, data: bytes, after: int, wait_s: float) -> Posted:
        """Take in one message, or none, from an IP address; PeerFault or Unavailable when it is not even that."""
        ...


class _Refusal(Exception):
    """An answer of this layer; `headers` go with it."""

    def __init__(self, status: int, title: str, detail: str = "", *headers: tuple[bytes, bytes]) -> None:
        super().__init__(title)
        self.problem = Problem(title, status, detail=detail)
        self.headers = headers


class _Asked(NamedTuple):
    gid: bytes
    kid: bytes
    after: int
    wait_s: float
    body_form: str
    answer_form: str


class GroupApplication:
    """An ASGI application over a `Door`."""

    def __init__(self, door: Door, clock: Callable[[], float]) -> None:
        self._door = door
        self._clock = clock
        self._spent: OrderedDict[str, tuple[float, int]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        try:
            self._count(scope)
            status, headers, body = await self._served(scope, receive)
        except _Refusal as refusal:
            status, headers, body = _problem(refusal.problem, refusal.headers)
        except KeymoteError as fault:
            status, headers, body = _fault(fault)
        lengths = [(b"content-length", b"%d" % len(body))] if status != 204 else []
        head = [*headers, *lengths, (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})

    async def _served(self, scope: Scope, receive: Receive) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        asked = _asked(scope)
        sizes = self._door.sizes(asked.gid)
        body = await _body(receive, MOST_JSON if asked.body_form == JSON else cbor.MAX_SIZE_BUNDLE)
        data = from_json(body, sizes) if body and asked.body_form == JSON else body
        posting = self._door.post(asked.gid, asked.kid, _client(scope), data, asked.after, asked.wait_s)
        posted = await (_while_connected(posting, receive) if asked.wait_s else posting)
        again = f'<{scope["path"]}?after={posted.following}>; rel="next"'.encode()
        headers = [(b"link", again)]
        if not posted.bundle:
            return 204, headers, b""
        answer = to_json(posted.bundle, sizes) if asked.answer_form == JSON else posted.bundle
        return 200, [*headers, (b"content-type", asked.answer_form.encode())], answer

    def _count(self, scope: Scope) -> None:
        address, now = _client(scope), self._clock()
        since, count = self._spent.pop(address, (now, 0))
        if not since <= now < since + 1.0:
            since, count = now, 0
        self._spent[address] = since, count + 1
        if len(self._spent) > MOST_ADDRESSES:
            self._spent.popitem(last=False)
        if count >= POSTS_PER_S:
            raise _Refusal(429, "Too many requests", f"at most {POSTS_PER_S} in a second", (b"retry-after", b"1"))


def _client(scope: Scope) -> str:
    """Return the IP address of a request, "" where the server does not know it."""
    address: str = (scope.get("client") or ("",))[0]
    return address


def _asked(scope: Scope) -> _Asked:
    """Return what the head of a request asks for."""
    found = _PATH.fullmatch(scope["path"])
    if found is None:
        raise _Refusal(404, "Not found", "the route is /groups/GID/KID, 16 lower-case hex digits each")
    if scope["method"] != "POST":
        raise _Refusal(405, "Method not allowed", "", (b"allow", b"POST"))
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    if headers.get("content-encoding", "identity") != "identity":
        raise _Refusal(415, "Unsupported media type", "bodies come as they are")
    body_form = _FORMS.get(headers.get("content-type", CBOR).partition(";")[0].strip().lower())
    if body_form is None:
        raise _Refusal(415, "Unsupported media type", f"post {CBOR}, {OCTETS} or {JSON}")
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    after = dict(query).get("after", "0")
    if not _NUMBER.fullmatch(after) or len(query) > 1 or (query and query[0][0] != "after"):
        raise _Refusal(400, "Wrong request", "the query is after=NUMBER, or nothing")
    waits = _WAIT.search(headers.get("prefer", ""))
    wait_s = min(int(waits[1]), MOST_WAIT_S) if waits else 0
    gid, kid = map(bytes.fromhex, found.groups())
    return _Asked(gid, kid, int(after), wait_s, body_form, _accepted(headers.get("accept", ""), body_form))


def _accepted(accept: str, body_form: str) -> str:
    """Return the form of the answer: that of the request, unless the client accepts only the other."""
    ranges = {part.partition(";")[0].strip().lower() for part in accept.split(",")} - {""}
    if not ranges or ranges & {body_form, "*/*", "application/*"}:
        return body_form
    if len(forms := {_FORMS[each] for each in ranges if each in _FORMS}) == 1:
        return forms.pop()
    if forms:
        return body_form
    raise _Refusal(406, "Not acceptable", f"answers are {CBOR} or {JSON}")


async def _body(receive: Receive, most: int) -> bytes:
    """Return a request's body as soon as it is whole; refuse it as soon as it is too long or too slow."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                part = await receive()
                if part["type"] != "http.request":
                    raise _Refusal(400, "Wrong request", "the client has gone")
                body += part.get("body", b"")
                if len(body) > most:
                    raise _Refusal(413, "Body too large", f"at most {most} bytes", (b"connection", b"close"))
                if not part.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise _Refusal(408, "Request timeout", "", (b"connection", b"close")) from None


async def _while_connected(work: Coroutine[Any, Any, Posted], receive: Receive) -> Posted:
    """Return the result of `work`, which ends when its client has gone."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(receive())
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise _Refusal(400, "Wrong request", "the client has gone")
    finally:
        working.cancel()
        gone.cancel()


def _fault(fault: KeymoteError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    if isinstance(fault, PeerFault):
        status = _STATUS.get(fault.code, 400)
        return _problem(Problem("Refused", status, detail=fault.what, do=fault.do, code=fault.code.name), ())
    problem = Problem("Unavailable", 503, detail=fault.what, do=fault.do)
    return _problem(problem, ((b"retry-after", b"5"),))


def _problem(
    problem: Problem, headers: tuple[tuple[bytes, bytes], ...]
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    return problem.status, [*headers, (b"content-type", PROBLEM_TYPE.encode())], encode(problem)
