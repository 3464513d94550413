"""The route of group messages over HTTP by itself: what it hands on, how much, how often, and for how long."""

import asyncio
import json
from typing import Any, NamedTuple

import pytest

from keymote.errors import ErrorCode, PeerFault, Unavailable
from keymote.transports import http_groups
from keymote.transports.http_groups import MOST_WAIT_S, POSTS_PER_S, GroupApplication
from keymote.wire import group
from keymote.wire.fields import Sizes, sizes_of
from keymote.wire.json_form import to_json

GID, KID = b"\x67" * 8, b"\x6b" * 8
PATH = f"/groups/{GID.hex()}/{KID.hex()}"
NEED = group.Need(GID, group.What.START, 0).encode()


class Posted(NamedTuple):
    following: int
    bundle: bytes


class Door:
    """Notes what is posted; answers by `answer`."""

    def __init__(self) -> None:
        self.posts: list[tuple[bytes, bytes, bytes, int, float]] = []
        self.clients: list[str] = []
        self.answer: Posted | Exception = Posted(7, group.Bundle(GID, (NEED,)).encode())
        self.never = asyncio.Event()
        self.asked = asyncio.Event()

    def sizes(self, gid: bytes) -> Sizes:
        if gid != GID:
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, "no such group")
        return sizes_of(1)

    async def post(self, gid: bytes, kid: bytes, client: str, data: bytes, after: int, wait_s: float) -> Posted:
        self.clients.append(client)
        self.posts.append((gid, kid, data, after, wait_s))
        self.asked.set()
        if isinstance(self.answer, Exception):
            raise self.answer
        if wait_s:
            await self.never.wait()
        return self.answer


class Client:
    """Calls the application as a server does, with a clock of its own."""

    def __init__(self) -> None:
        self.door = Door()
        self.now = 0.0
        self.application = GroupApplication(self.door, lambda: self.now)
        self.gone = asyncio.Event()

    async def __call__(
        self, path: str = PATH, body: bytes = b"", *, query: str = "", address: str = "192.0.2.1", parts: int = 1,
        **headers: str,
    ) -> tuple[int, dict[str, str], bytes]:  # fmt: skip
        said = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "http", "method": "POST", "path": path, "query_string": query.encode(), "headers": said,
            "client": (address, 1),
        }  # fmt: skip
        size = max(1, -(-len(body) // parts))
        pieces = [body[at : at + size] for at in range(0, len(body), size)] or [b""]

        async def receive() -> dict[str, Any]:
            if pieces:
                return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}
            await self.gone.wait()
            return {"type": "http.disconnect"}

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await self.application(scope, receive, send)
        start, end = sent
        return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, end["body"]


@pytest.fixture
def client() -> Client:
    return Client()


async def test_GF10_a_message_is_handed_on_and_answered_in_the_form_of_the_request(client: Client) -> None:
    status, headers, body = await client(body=NEED, query="after=5", content_type="application/cbor", parts=3)
    assert (status, body) == (200, group.Bundle(GID, (NEED,)).encode())
    assert headers["content-type"] == "application/cbor"
    assert headers["link"] == f'<{PATH}?after=7>; rel="next"'
    assert headers["cache-control"] == "no-store"
    status, headers, body = await client(
        body=to_json(NEED, sizes_of(1)), content_type="application/json; charset=utf-8"
    )
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body)["datagrams"][0]["message"] == "NEED"
    assert client.door.posts == [(GID, KID, NEED, 5, 0), (GID, KID, NEED, 0, 0)]
    client.door.answer = Posted(7, b"")
    status, headers, body = await client()
    assert (status, body) == (204, b"")
    assert "content-length" not in headers


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "cbor"),
        ("*/*", "cbor"),
        ("application/*;q=0.5", "cbor"),
        ("application/json", "json"),
        ("text/html, application/json;q=0.9", "json"),
        ("application/octet-stream", "cbor"),
        ("application/json, application/cbor", "cbor"),
    ],
)
async def test_GF10_a_client_may_ask_for_the_other_form(client: Client, accept: str, form: str) -> None:
    _, headers, _ = await client(body=NEED, accept=accept)
    assert headers["content-type"] == f"application/{form}"


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (PeerFault(ErrorCode.E_UNKNOWN_ID, "x"), 404, "E_UNKNOWN_ID"),
        (PeerFault(ErrorCode.E_STATE, "x"), 409, "E_STATE"),
        (PeerFault(ErrorCode.E_LIMIT, "x"), 429, "E_LIMIT"),
        (PeerFault(ErrorCode.E_FORMAT, "x"), 400, "E_FORMAT"),
        (Unavailable("x"), 503, None),
    ],
)
async def test_GF12_an_error_is_a_problem_with_its_code(
    client: Client, fault: Exception, status: int, code: str
) -> None:
    client.door.answer = fault
    found, headers, body = await client(body=NEED)
    problem = json.loads(body)
    assert (found, problem["status"], problem.get("code")) == (status, status, code)
    assert headers["content-type"] == "application/problem+json"
    assert ("retry-after" in headers) is (status == 503)


async def test_GF12_one_address_gets_so_many_posts_a_second_and_others_theirs(client: Client) -> None:
    statuses = [(await client())[0] for _ in range(POSTS_PER_S + 2)]
    assert statuses == [200] * POSTS_PER_S + [429] * 2
    assert (await client(address="192.0.2.2"))[0] == 200
    assert client.door.clients[-2:] == ["192.0.2.1", "192.0.2.2"]
    client.now = 1.0
    assert (await client())[0] == 200
    assert len(client.door.posts) == POSTS_PER_S + 2


async def test_GF12_a_body_that_is_too_long_or_never_ends_is_given_up(client: Client, monkeypatch) -> None:
    status, headers, _ = await client(body=bytes(8193), parts=9)
    assert (status, headers["connection"]) == (413, "close")
    assert (await client(body=bytes(8192)))[0] == 200
    monkeypatch.setattr(http_groups, "BODY_S", 0.01)

    async def silent() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": PATH, "query_string": b"", "headers": [], "client": None}
    await client.application(scope, silent, send)
    assert sent[0]["status"] == 408
    assert len(client.door.posts) == 1


async def test_GF11_a_wait_ends_with_its_client_and_has_a_bound(client: Client) -> None:
    waiting = asyncio.ensure_future(client(prefer="respond-async, wait=9999"))
    async with asyncio.timeout(5):
        await client.door.asked.wait()
    assert client.door.posts[0][4] == MOST_WAIT_S
    client.gone.set()
    async with asyncio.timeout(5):
        assert (await waiting)[0] == 400
    client.door.never.set()
    client.gone.clear()
    assert (await client(prefer="wait=1"))[0] == 200
    assert (await client(prefer="await=5"))[0] == 200
    assert client.door.posts[-1][4] == 0
