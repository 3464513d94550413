"""The gate: who is who, who must wait, and that nobody else comes through. Called as ASGI calls it, without sockets."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from office import NOW, Office

from keymote.coordinator.api.gate import CALLERS, RATES, Gate, ManagerCaller, Operator, Prover, Stranger
from keymote.coordinator.api.problems import problem_of
from keymote.coordinator.api.services import Counted
from keymote.coordinator.rules import Bucket
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, ErrorCode, Incompatible, KeymoteError, PeerFault, RefusedByPolicy, Unavailable
from keymote.host.register import RevocationKind, Taken
from keymote.transports import tls

TOKEN = b"fV3nUq0Zt7Lk"


@dataclass
class Door:
    """A gate before an application that notes who came in."""

    gate: Gate
    seen: list[object]
    now: list[float]
    authority: tls.Authority

    async def call(
        self,
        path: str = "/api/v1/devices",
        *,
        authorization: str = "",
        certificate: bytes | None = None,
        host: str = "a",
    ) -> tuple[int, dict[bytes, bytes], dict[str, object]]:
        sent: list[dict[str, object]] = []

        async def receive() -> dict[str, object]:
            return {"type": "http.request"}

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "client": (host, 1),
            "headers": [(b"authorization", authorization.encode())] if authorization else [],
            "extensions": {"tls": {"client_cert": certificate}},
        }
        await self.gate(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in sent)  # type: ignore[misc]
        return sent[0]["status"], dict(sent[0]["headers"]), json.loads(body or b"{}")  # type: ignore[return-value,arg-type]


@pytest.fixture
def door(office: Office) -> Door:
    seen: list[object] = []
    now = [0.0]

    async def application(scope: dict[str, object], receive: object, send: object) -> None:
        seen.append(scope["user"])
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    authority = tls.Authority.create("nc-a", NOW)
    services = SimpleNamespace(token=Secret(TOKEN), managers=office.managers, authority=authority, counted=Counted())
    return Door(Gate(application, services, mono=lambda: now[0]), seen, now, authority)  # type: ignore[arg-type]


def certificate(door: Door, nm_id: bytes, kid: bytes) -> bytes:
    request = tls.new_request(Secret(bytes(32)))
    return tls.certificate_der(door.authority.issue_client(request.der, tls.ManagerName(nm_id, kid), NOW))


async def test_the_token_makes_an_operator(door: Door) -> None:
    assert (await door.call(authorization=f"Bearer {TOKEN.decode()}"))[0] == 200
    assert door.seen == [Operator()]


@pytest.mark.parametrize(
    "authorization", ["Bearer", "Bearer ", "Bearer x", f"Bearer {TOKEN.decode()}x", f"Basic {TOKEN.decode()}", "x"]
)
async def test_anything_else_makes_nobody(door: Door, authorization: str) -> None:
    status, headers, problem = await door.call(authorization=authorization)
    assert (status, problem["status"], door.seen) == (401, 401, [])
    assert headers[b"content-type"] == b"application/problem+json"
    assert b"www-authenticate" in headers
    assert TOKEN.decode() not in json.dumps(problem)


async def test_an_active_managers_certificate_makes_that_manager_until_it_is_revoked(
    door: Door, office: Office
) -> None:
    manager = await office.manager(b"manager1")
    shown = certificate(door, manager.id, manager.credential.kid)
    assert (await door.call(certificate=shown))[0] == 200
    assert door.seen == [ManagerCaller(b"manager1")]
    await office.revocations.revoke(RevocationKind.MANAGER, b"manager1", 2)
    status, _, problem = await door.call(certificate=shown)
    assert (status, problem["code"], len(door.seen)) == (403, "E_NOSHARE", 1)


async def test_a_certificate_under_an_earlier_credential_is_refused(door: Door, office: Office) -> None:
    await office.manager(b"manager1")
    status, _, problem = await door.call(certificate=certificate(door, b"manager1", b"old-kid-"))
    assert (status, problem["code"]) == (422, "E_CRED")


async def test_another_authoritys_certificate_names_nobody(door: Door, office: Office) -> None:
    manager = await office.manager(b"manager1")
    foreign = Door(door.gate, [], [0.0], tls.Authority.create("nc-a", NOW))
    shown = certificate(foreign, manager.id, manager.credential.kid)
    assert (await door.call(certificate=shown))[0] == 422
    assert (await door.call("/health", certificate=b"noise"))[0] == 422
    assert door.seen == []


async def test_open_paths_let_strangers_pass_as_strangers(door: Door) -> None:
    for path in ("/health", "/ready", "/version", "/.well-known/keymote", "/api/v1/k"):
        assert (await door.call(path))[0] == 200
    assert door.seen == [Stranger()] * 5


@pytest.mark.parametrize("path", [f"/api/v1/managers/{'00' * 8}/certificate", f"/api/v1/federation/devices/{'00' * 8}"])
async def test_a_proof_opens_what_it_can_prove_and_nothing_else(door: Door, path: str) -> None:
    assert (await door.call(path, authorization="Keymote YQ.Yg"))[0] == 200
    assert door.seen == [Prover((b"a", b"b"))]
    assert (await door.call(path, authorization="Keymote !"))[0] == 400
    for other in ("/api/v1/openapi.json", "/api/v1/devices", "/metrics", f"{path}/more", "/nowhere"):
        assert (await door.call(other, authorization="Keymote YQ.Yg"))[0] == 401


async def test_who_asks_too_often_is_told_when_to_come_again_and_is_let_in_then(door: Door) -> None:
    rate, burst = RATES[Stranger]
    for _ in range(int(burst)):
        assert (await door.call("/api/v1/k"))[0] == 200
    for _ in range(5):
        status, headers, problem = await door.call("/api/v1/k")
        assert (status, problem["code"]) == (429, "E_LIMIT")
        assert int(headers[b"retry-after"]) >= 1
    assert (await door.call("/api/v1/k", host="b"))[0] == 200, "others are not held back"
    assert (await door.call("/health"))[0] == 200, "health is never limited"
    door.now[0] += 1 / rate
    assert (await door.call("/api/v1/k"))[0] == 200


async def test_the_gate_remembers_a_bounded_number_of_callers(door: Door) -> None:
    for number in range(CALLERS + 10):
        await door.call("/api/v1/k", host=str(number))
    assert len(door.gate._buckets) == CALLERS  # noqa: SLF001  a bound on memory has no other face


def test_a_bucket_refills_at_its_rate_and_not_above_its_size() -> None:
    bucket = Bucket(2.0, 0.0)
    for _ in range(2):
        after = bucket.taken(0.0, rate=1.0, burst=2.0)
        assert isinstance(after, Bucket)
        bucket = after
    assert bucket.taken(0.0, rate=1.0, burst=2.0) == 1.0
    assert bucket.taken(0.25, rate=1.0, burst=2.0) == 0.75
    assert bucket.taken(100.0, rate=1.0, burst=2.0) == Bucket(1.0, 100.0)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Taken("taken"), 409),
        (PeerFault(ErrorCode.E_CRED, "x"), 422),
        (PeerFault(ErrorCode.E_UNKNOWN_ID, "x"), 404),
        (PeerFault(ErrorCode.E_NOSHARE, "x"), 403),
        (PeerFault(ErrorCode.E_AUTH, "x"), 401),
        (PeerFault(ErrorCode.E_BUSY, "x"), 503),
        (PeerFault(ErrorCode.E_FORMAT, "x"), 400),
        (RefusedByPolicy("x"), 403),
        (CallerFault("x"), 400),
        (Incompatible("x"), 400),
        (Unavailable("x"), 503),
        (KeymoteError("internal secret"), 500),
    ],
)
def test_each_error_has_its_status(error: KeymoteError, status: int) -> None:
    problem = problem_of(error)
    assert problem.status == status
    assert "internal" not in problem.detail
