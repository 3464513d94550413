"""A coordinator as a process, on real sockets and real TLS, spoken to by our client, curl and openssl."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from coordinators import DEADLINE_S, Authority, Coordinator, Manager, free_port, keymote

from keymote.engine.faces import EnrolmentFailed
from keymote.engine.queries import FindDevice, RegisterCredential, ReportRevocation
from keymote.errors import ErrorCode, PeerFault, Unavailable
from keymote.transports.http_client import CoordinatorClient, introduce
from keymote.wire import admin, admin_files, signed
from keymote.wire.cose import sign1
from keymote.wire.credential import SignedCredential, kid_of
from keymote.wire.pairwise import Revnote, RevnoteClaims

OPEN = {"/health", "/ready", "/version", "/.well-known/keymote", "/api/v1/k"}


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make()


@pytest.fixture(scope="module")
def north(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    made = Coordinator.make(tmp_path_factory.mktemp("coordinators") / "north", authority).start()
    yield made
    assert made.stop() == 0


@pytest.fixture
async def manager(north: Coordinator, tmp_path: Path) -> AsyncIterator[Manager]:
    made = await Manager(north, north.label(f"m-{tmp_path.name}"[:40]), tmp_path / "manager").ready()
    yield made
    await made.client.close()


def dev_id(manager: Manager, number: int = 1) -> bytes:
    """Return an id of this manager's own that is surely not the manager's."""
    return bytes([manager.nm_id[0] ^ 0xFF]) + manager.nm_id[1:7] + bytes([number])


# ------------------------------------------------------------------ who may call


def test_every_route_but_the_open_ones_needs_authorization(north: Coordinator) -> None:
    status, body = north.curl("/api/v1/openapi.json")
    assert status == 200
    description = json.loads(body)
    assert description["openapi"].startswith("3.1")
    called = 0
    for path, methods in description["paths"].items():
        concrete = (
            path.replace("{dev_id}", "00" * 8)
            .replace("{nm_id}", "00" * 8)
            .replace("{serial}", "00" * 8)
            .replace("{gid}", "00" * 8)
        )
        for method in methods:
            status, body = north.curl(concrete, "-X", method.upper(), token=False)
            called += 1
            if path in OPEN:
                assert status in {200, 400}, path
            else:
                assert (status, json.loads(body)["status"]) == (401, 401), path
    assert called > 20
    assert north.curl("/nowhere", token=False)[0] == 401
    assert north.curl("/nowhere")[0] == 404
    assert north.curl("/api/v1/openapi.json", token=False)[0] == 401


@pytest.mark.parametrize("token", ["", "x", "A" * 43])
def test_another_token_is_refused(north: Coordinator, token: str) -> None:
    status, _ = north.curl("/api/v1/devices", "-H", f"Authorization: Bearer {token}", token=False)
    assert status == 401


def test_openssl_sees_tls_1_3_only_and_the_certificate_of_the_hosts(north: Coordinator) -> None:
    def connect(*options: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{north.port}", "-CAfile", str(north.ca), *options],
            input=b"",
            capture_output=True,
            timeout=20,
            check=False,
        )

    fine = connect("-verify_return_error", "-verify_hostname", "localhost")
    assert fine.returncode == 0
    assert b"TLSv1.3" in fine.stdout
    assert b"Verify return code: 0 (ok)" in fine.stdout
    assert connect("-tls1_2").returncode != 0
    assert connect("-verify_return_error", "-verify_hostname", "other.example").returncode != 0


def test_problems_are_problem_json(north: Coordinator) -> None:
    for path, options, status in (
        ("/api/v1/devices/zz", [], 400),
        ("/api/v1/devices/0000000000000000", [], 404),
        ("/api/v1/devices?limit=0", [], 400),
        ("/api/v1/revocations", ["-X", "POST", "-d", '{"kind": "everything"}'], 400),
        ("/api/v1/revocations", ["-X", "POST", "-d", "{"], 400),
        ("/api/v1/acks", ["-X", "POST", "-d", '{"upto": 0}'], 403),
        ("/api/v1/managers", ["-X", "POST", "-d", "x" * 20_000], 413),
        ("/health", ["-X", "DELETE"], 405),
    ):
        found, body = north.curl(path, "-H", "Content-Type: application/json", *options)
        assert found == status, (path, found, body)
        problem = json.loads(body)
        assert problem["status"] == status
        assert problem["title"]


# ------------------------------------------------------------------ managers


async def test_EN18_a_manager_enrols_with_its_code_over_https(manager: Manager, north: Coordinator) -> None:
    claims = SignedCredential.decode(manager.credential).claims
    assert (claims.sub, claims.sig_pk) == (manager.nm_id, manager.key.public)
    view = json.loads(north.curl(f"/api/v1/managers/{manager.label.nm_id}")[1])
    assert view["state"] == "active"
    assert admin.from_base64url(view["credential"]) == manager.credential


async def test_a_wrong_code_enrols_nobody(north: Coordinator, tmp_path: Path) -> None:
    made = Manager(north, north.label("wrong-code"), tmp_path / "manager")
    outcome = await made.enrol(code=bytes(16))
    assert isinstance(outcome, EnrolmentFailed)
    assert json.loads(north.curl(f"/api/v1/managers/{made.label.nm_id}")[1])["state"] == "pending"
    view = await introduce(north.url, north.root, _now())
    assert view.nc_id == admin.id_of(made.label.nc_id)


async def test_a_code_works_once(manager: Manager, north: Coordinator, tmp_path: Path) -> None:
    thief = Manager(north, manager.label, tmp_path / "thief")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            await thief.enrol()
    view = json.loads(north.curl(f"/api/v1/managers/{manager.label.nm_id}")[1])
    assert admin.from_base64url(view["credential"]) == manager.credential


def test_a_code_stands_in_no_answer_no_log_and_no_database(north: Coordinator) -> None:
    keymote("coordinator", "manager", "add", "silent", "--data", str(north.folder), "--url", north.url)
    path = north.folder / "silent.label"
    assert path.stat().st_mode & 0o777 == 0o600
    label = admin_files.read_file(path.read_bytes(), admin_files.ManagerLabel, path.name)
    raw = admin.from_base64url(label.code)
    answers = north.curl("/api/v1/managers?limit=500")[1] + north.curl("/api/v1/audit?limit=500")[1]
    assert label.code not in answers
    for path in north.folder.iterdir():
        if path.name != "silent.label":
            content = path.read_bytes()
            assert raw not in content, path
            assert label.code.encode() not in content, path


def test_the_same_name_twice_is_a_conflict(north: Coordinator) -> None:
    north.label("twice")
    ran = keymote(
        "coordinator", "manager", "add", "twice", "--data", str(north.folder), "--url", north.url, check=False
    )
    assert ran.returncode == 1
    assert "twice" in ran.stderr


async def test_a_request_that_somebody_else_signed_gets_no_certificate(manager: Manager, tmp_path: Path) -> None:
    from keymote.transports import tls

    request = tls.new_request(manager.password)
    thief = manager.suite.generate_signing_key(manager.entropy)
    claims = signed.CertificateRequest(manager.nc_id, manager.nm_id, kid_of(request.der) * 4)
    bare = CoordinatorClient(manager.coordinator.url, manager.authority)
    for key, kid, code in (
        (thief, kid_of(manager.credential), ErrorCode.E_AUTH),
        (manager.key, kid_of(manager.credential), ErrorCode.E_CRED),
    ):
        with pytest.raises(PeerFault) as fault:
            await bare.certificate(manager.nm_id, request.der, signed.write(key, claims, kid=kid))
        assert fault.value.code is code
    await bare.close()


async def test_a_certificate_of_another_authority_ends_in_the_handshake(manager: Manager, tmp_path: Path) -> None:
    from keymote.transports import tls

    foreign = tls.Authority.create("foreign", _now())
    request = tls.new_request(manager.password)
    name = tls.ManagerName(manager.nm_id, kid_of(manager.credential))
    (tmp_path / "c").write_text(foreign.issue_client(request.der, name, _now()))
    (tmp_path / "k").write_bytes(request.key)
    client = CoordinatorClient(
        manager.coordinator.url,
        manager.authority,
        certificate=tmp_path / "c",
        key=tmp_path / "k",
        password=manager.password,
    )
    with pytest.raises(Unavailable):
        await client.find(FindDevice(dev_id(manager)))
    await client.close()


async def test_curl_with_the_managers_certificate_is_that_manager(manager: Manager, north: Coordinator) -> None:
    shown = ["--cert", str(manager.cert_path), "--key", str(manager.key_path), "--pass", bytes(32).hex()]
    body = json.dumps({"credential": admin.to_base64url(manager.vouch(dev_id(manager)).raw)})
    options = [*shown, "-X", "POST", "-H", "Content-Type: application/json", "-d", body]
    assert north.curl("/api/v1/devices", *options, token=False)[0] == 201
    assert north.curl("/metrics", *shown, token=False)[0] == 403
    assert north.curl("/api/v1/managers", *options, token=False)[0] in {400, 403}
    assert north.curl("/api/v1/devices", *options[-6:])[0] == 403


# ------------------------------------------------------------------ devices


async def test_a_device_is_registered_found_revoked_and_refused(manager: Manager, north: Coordinator) -> None:
    credential = manager.vouch(dev_id(manager))
    receipt = await manager.client.register(RegisterCredential(credential.raw))
    assert await manager.client.register(RegisterCredential(credential.raw)) == receipt
    claims = signed.read(receipt.raw, signed.Receipt).claims
    assert claims.digest == credential.digest

    found = await manager.client.find(FindDevice(dev_id(manager)))
    assert (found.credential, found.cred_NM) == (credential.raw, manager.credential)
    assert found.manager.startswith("coap://127.0.0.1:")

    with pytest.raises(PeerFault) as fault:
        await manager.client.register(RegisterCredential(manager.vouch(dev_id(manager)).raw))
    assert fault.value.code is ErrorCode.E_CRED

    body = json.dumps({"kind": "device", "id": dev_id(manager).hex(), "reason": 2})
    status, answer = north.curl("/api/v1/revocations", "-H", "Content-Type: application/json", "-d", body)
    assert status == 201
    assert json.loads(answer)["safe_after_ms"] is None
    with pytest.raises(PeerFault) as fault:
        await manager.client.find(FindDevice(dev_id(manager)))
    assert fault.value.code is ErrorCode.E_NOSHARE
    serial = credential.claims.serial.hex()
    assert json.loads(north.curl(f"/api/v1/status/{serial}")[1])["status"] == "revoked"


async def test_suspension_is_lifted_and_revocation_is_not(manager: Manager, north: Coordinator) -> None:
    await manager.client.register(RegisterCredential(manager.vouch(dev_id(manager)).raw))
    path, json_body = f"/api/v1/devices/{dev_id(manager).hex()}/state", ["-H", "Content-Type: application/json"]

    def change(state: str) -> int:
        return north.curl(path, *json_body, "-X", "PUT", "-d", json.dumps({"state": state}))[0]

    assert change("suspended") == 200
    with pytest.raises(PeerFault) as fault:
        await manager.client.find(FindDevice(dev_id(manager)))
    assert fault.value.code is ErrorCode.E_NOSHARE
    assert change("active") == 200
    await manager.client.find(FindDevice(dev_id(manager)))
    north.curl("/api/v1/revocations", *json_body, "-d", json.dumps({"kind": "device", "id": dev_id(manager).hex()}))
    assert change("active") == 403


async def test_an_unknown_device_is_unknown(manager: Manager) -> None:
    with pytest.raises(PeerFault) as fault:
        await manager.client.find(FindDevice(b"\xff" * 8))
    assert fault.value.code is ErrorCode.E_UNKNOWN_ID


async def test_lists_come_in_pages(manager: Manager, north: Coordinator) -> None:
    for number in range(1, 6):
        await manager.client.register(RegisterCredential(manager.vouch(dev_id(manager, number)).raw))
    seen: list[str] = []
    path = f"/api/v1/devices?limit=2&manager={manager.nm_id.hex()}"
    after: str | None = None
    while True:
        page = json.loads(north.curl(path + (f"&after={after}" if after else ""))[1])
        assert len(page["items"]) <= 2
        seen += [item["dev_id"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert seen == [dev_id(manager, number).hex() for number in range(1, 6)]
    assert json.loads(north.curl(f"{path}&state=revoked")[1])["items"] == []
    assert len(json.loads(north.curl(f"{path}&state=active")[1])["items"]) == 2
    assert north.curl(f"{path}&state=lost")[0] == 400


# ------------------------------------------------------------------ events


async def test_events_reach_the_manager_and_its_acknowledgement_makes_it_safe(
    manager: Manager, north: Coordinator
) -> None:
    await manager.client.register(RegisterCredential(manager.vouch(dev_id(manager)).raw))
    start = json.loads(north.curl("/api/v1/events?limit=500")[1])["cursor"]
    heard: list[admin.EventView] = []

    async def listen() -> None:
        async for event in manager.client.events(start):
            heard.append(event)
            await manager.client.acknowledge(event.id)
            return

    listening = asyncio.create_task(listen())
    await _until(lambda: manager.client.connected)
    body = json.dumps({"kind": "device", "id": dev_id(manager).hex(), "reason": 1})
    line = json.loads(north.curl("/api/v1/revocations", "-H", "Content-Type: application/json", "-d", body)[1])
    async with asyncio.timeout(DEADLINE_S):
        await listening
    assert [(event.kind, event.subject, event.data["reason"]) for event in heard] == [
        ("device.revoke", dev_id(manager).hex(), 1)
    ]
    page = json.loads(north.curl(f"/api/v1/revocations?after={line['id'] - 1}")[1])
    assert manager.nm_id.hex() not in page["items"][0]["waiting"]


async def test_curl_hears_the_event_stream_with_ids(manager: Manager, north: Coordinator) -> None:
    start = json.loads(north.curl("/api/v1/events?limit=500")[1])["cursor"]
    await manager.client.register(RegisterCredential(manager.vouch(dev_id(manager)).raw))
    body = json.dumps({"kind": "device", "id": dev_id(manager).hex()})
    north.curl("/api/v1/revocations", "-H", "Content-Type: application/json", "-d", body)
    listening = await asyncio.create_subprocess_exec(
        "curl", "-sN", "--cacert", str(north.ca), "-H", f"Authorization: Bearer {north.token}",
        "-H", "Accept: text/event-stream", f"{north.url}/api/v1/events?after={start}",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert listening.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(DEADLINE_S):
        while "event: device.revoke" not in lines:
            lines.append((await listening.stdout.readline()).decode().strip())
    listening.kill()
    await listening.communicate()
    assert f"id: {start + 1}" in lines
    assert "event: device.revoke" in lines


async def test_a_revoked_manager_is_out_at_once(manager: Manager, north: Coordinator) -> None:
    await manager.client.register(RegisterCredential(manager.vouch(dev_id(manager)).raw))
    ended = asyncio.get_running_loop().create_future()

    async def listen() -> None:
        try:
            async for _ in manager.client.events(0):
                continue
        except PeerFault as fault:
            ended.set_result(fault.code)

    listening = asyncio.create_task(listen())
    await _until(lambda: manager.client.connected)
    keymote("coordinator", "manager", "revoke", manager.label.nm_id, "--data", str(north.folder), "--url", north.url)
    async with asyncio.timeout(DEADLINE_S):
        assert await ended is ErrorCode.E_NOSHARE
    await listening
    with pytest.raises(PeerFault) as fault:
        await manager.client.register(RegisterCredential(manager.vouch(dev_id(manager, 2)).raw))
    assert fault.value.code is ErrorCode.E_NOSHARE
    assert north.curl(f"/api/v1/lookup/{dev_id(manager).hex()}")[0] == 403


async def test_RV03_a_session_is_revoked_by_its_managers_own_note(manager: Manager) -> None:
    def note(key: object, kid: bytes, psid: bytes = b"session1") -> bytes:
        claims = RevnoteClaims(psid + b"", b"keyident", 2, b"accused!", _now())
        return Revnote(sign1(key, Revnote.mt, claims.encode(), kid=kid)).encode()

    kid = kid_of(manager.credential)
    psid = manager.nm_id
    assert await manager.client.report(ReportRevocation(note(manager.key, kid, psid)))
    assert await manager.client.report(ReportRevocation(note(manager.key, kid, psid)))
    thief = manager.suite.generate_signing_key(manager.entropy)
    with pytest.raises(PeerFault) as forged:
        await manager.client.report(ReportRevocation(note(thief, kid)))
    assert forged.value.code is ErrorCode.E_AUTH
    assert await manager.client.report(
        ReportRevocation(note(manager.key, b"formerly"))
    )  # an earlier credential (RN-07)


async def test_only_managers_acknowledge_and_only_what_exists(manager: Manager) -> None:
    from keymote.errors import CallerFault

    with pytest.raises(CallerFault, match="does not exist"):
        await manager.client.acknowledge(10**6)
    with pytest.raises(PeerFault):
        await manager.client.announce_endpoint(b"\0" * 8, "coap://127.0.0.1:1")


# ------------------------------------------------------------------ trust without first use


async def test_a_stranger_trusts_the_coordinator_through_the_authority_alone(north: Coordinator) -> None:
    met = await introduce(north.url, north.root, _now())
    assert met.authority == north.ca.read_text()
    wrong = Authority.make().root.pin
    with pytest.raises(PeerFault) as fault:
        await introduce(north.url, wrong, _now())
    assert fault.value.code is ErrorCode.E_CRED


async def test_nobody_answers_on_a_free_port() -> None:
    bare = CoordinatorClient(f"https://localhost:{free_port()}", _some_authority())
    with pytest.raises(Unavailable, match="does not answer"):
        await bare.hello()
    await bare.close()


async def test_another_certificate_is_not_trusted(north: Coordinator) -> None:
    bare = CoordinatorClient(north.url, _some_authority())
    with pytest.raises(Unavailable, match="not to be trusted"):
        await bare.hello()
    await bare.close()


def test_metrics_count_and_name_no_device(north: Coordinator) -> None:
    status, body = north.curl("/metrics")
    assert status == 200
    names = {line.split("{")[0].split()[0] for line in body.splitlines() if line and not line.startswith("#")}
    assert all(name.startswith("keymote_") for name in names)
    assert {"keymote_registrations_total", "keymote_devices", "keymote_audit_entries"} <= names
    assert not any(len(word) == 16 and set(word) <= set("0123456789abcdef") for word in body.replace('"', " ").split())


def _now() -> int:
    import time

    return int(time.time())


def _some_authority() -> str:
    from keymote.transports import tls

    return tls.Authority.create("somebody", _now()).pem


async def _until(condition: object) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110  polls with a deadline
            await asyncio.sleep(0.01)
