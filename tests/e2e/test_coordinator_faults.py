"""Two operators, kill -9, a full disk, a tampered log: coordinators as processes under bad circumstances."""

import asyncio
import json
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from coordinators import DEADLINE_S, ENVIRONMENT, Authority, Coordinator, Manager, free_port, keymote

from keymote.crypto.suites import SUITES
from keymote.engine.chain import Trust
from keymote.engine.queries import FindDevice, RegisterCredential
from keymote.errors import ErrorCode, PeerFault, Unavailable
from keymote.wire import admin, admin_files
from keymote.wire.credential import Role

pytestmark = [pytest.mark.timeout(300), pytest.mark.long]


def dev_id(manager: Manager, number: int = 1) -> bytes:
    """Return an id of this manager's own that is surely not the manager's."""
    return bytes([manager.nm_id[0] ^ 0xFF]) + manager.nm_id[1:7] + bytes([number])


async def first_refusal(manager: Manager, wanted: bytes) -> ErrorCode:
    """Ask until the answer of before, which may be kept for two seconds, is no longer given."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await manager.client.find(FindDevice(wanted))
            except PeerFault as fault:
                return fault.code
            await asyncio.sleep(0.1)


async def test_two_operators_find_each_others_devices_through_the_common_authority(tmp_path: Path) -> None:
    authority, stranger = Authority.make(), Authority.make()
    north_port, south_port, west_port = free_port(), free_port(), free_port()
    urls = [f"https://localhost:{port}" for port in (north_port, south_port, west_port)]
    north = Coordinator.make(tmp_path / "north", authority, (urls[1], urls[2]), north_port).start()
    south = Coordinator.make(tmp_path / "south", authority, (urls[0],), south_port).start()
    west = Coordinator.make(tmp_path / "west", stranger, (urls[0],), west_port).start()
    try:
        nm1 = await Manager(north, north.label("nm1"), tmp_path / "nm1").ready()
        nm2 = await Manager(south, south.label("nm2"), tmp_path / "nm2").ready()
        nm3 = await Manager(west, west.label("nm3"), tmp_path / "nm3").ready()
        here, there = nm1.vouch(dev_id(nm1)), nm2.vouch(dev_id(nm2))
        await nm1.client.register(RegisterCredential(here.raw))
        await nm2.client.register(RegisterCredential(there.raw))

        found = await nm1.client.find(FindDevice(dev_id(nm2)))
        chain = [found.credential, found.cred_NM, found.cred_NC]
        assert Trust((north.root,), SUITES).verify(chain, Role.DEVICE, None).raw == there.raw
        assert found.manager.startswith("coap://")
        assert (await nm2.client.find(FindDevice(dev_id(nm1)))).credential == here.raw

        with pytest.raises((PeerFault, Unavailable)) as unknown:
            await nm1.client.find(FindDevice(b"\xff" * 8))
        assert isinstance(unknown.value, PeerFault)
        assert unknown.value.code is ErrorCode.E_CRED, "west is certified by another authority and not believed"
        with pytest.raises(PeerFault) as refused:
            await nm3.client.find(FindDevice(dev_id(nm1)))
        assert refused.value.code is ErrorCode.E_CRED

        south.post(f"/api/v1/devices/{dev_id(nm2).hex()}/state", {"state": "suspended"}, "PUT")
        assert await first_refusal(nm1, dev_id(nm2)) is ErrorCode.E_NOSHARE

        assert south.stop() == 0
        with pytest.raises((Unavailable, PeerFault)):
            await nm1.client.find(FindDevice(dev_id(nm2, 2)))
        for manager in (nm1, nm2, nm3):
            await manager.client.close()
    finally:
        for coordinator in (north, south, west):
            coordinator.stop()


async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    north = Coordinator.make(tmp_path / "north", Authority.make()).start()
    try:
        manager = await Manager(north, north.label("nm1"), tmp_path / "nm1").ready()
        receipts: dict[bytes, bytes] = {}
        for round_ in range(2):
            credentials = {bytes([round_, n]) * 4: manager.vouch(bytes([round_, n]) * 4) for n in range(12)}

            async def register(name: bytes, raw: bytes) -> None:
                receipts[name] = (await manager.client.register(RegisterCredential(raw))).raw

            tasks = [asyncio.create_task(register(name, c.raw)) for name, c in credentials.items()]
            async with asyncio.timeout(DEADLINE_S):
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                assert done
            assert north.stop(signal.SIGKILL) == -signal.SIGKILL
            await asyncio.gather(*tasks, return_exceptions=True)
            north.start()
            for name in [name for name in receipts if name in credentials]:
                again = await manager.client.register(RegisterCredential(credentials[name].raw))
                assert again.raw == receipts[name]
            for name, credential in credentials.items():
                receipts[name] = (await manager.client.register(RegisterCredential(credential.raw))).raw
        assert len(receipts) == 24
        verdict = json.loads(keymote("audit", "verify", "--data", str(north.folder), "-o", "json").stdout)
        assert (verdict["ok"], verdict["first_bad"]) == (True, None)
        await manager.client.close()
    finally:
        north.stop()


async def test_a_pending_code_survives_kill_9(tmp_path: Path) -> None:
    north = Coordinator.make(tmp_path / "north", Authority.make()).start()
    try:
        label = north.label("nm1")
        north.stop(signal.SIGKILL)
        north.start()
        manager = await Manager(north, label, tmp_path / "nm1").ready()
        await manager.client.close()
    finally:
        north.stop()


async def test_the_event_stream_goes_on_behind_its_cursor_after_kill_9(tmp_path: Path) -> None:
    north = Coordinator.make(tmp_path / "north", Authority.make()).start()
    heard: asyncio.Queue[admin.EventView] = asyncio.Queue()
    try:
        manager = await Manager(north, north.label("nm1"), tmp_path / "nm1").ready()
        for number in (1, 2):
            await manager.client.register(RegisterCredential(manager.vouch(dev_id(manager, number)).raw))

        async def listen() -> None:
            async for event in manager.client.events(0):
                await heard.put(event)

        listening = asyncio.create_task(listen())
        async with asyncio.timeout(DEADLINE_S * 2):
            north.post("/api/v1/revocations", {"kind": "device", "id": dev_id(manager, 1).hex()})
            first = await heard.get()
            north.stop(signal.SIGKILL)
            north.start()
            north.post("/api/v1/revocations", {"kind": "device", "id": dev_id(manager, 2).hex()})
            second = await heard.get()
        listening.cancel()
        assert [(event.kind, event.subject) for event in (first, second)] == [
            ("device.revoke", dev_id(manager, number).hex()) for number in (1, 2)
        ]
        assert second.id == first.id + 1
        assert heard.empty()
        await manager.client.close()
    finally:
        north.stop()


async def test_a_full_disk_answers_503_and_service_comes_back_with_the_space(tmp_path: Path) -> None:
    north = Coordinator.make(tmp_path / "north", Authority.make()).start()
    try:
        manager = await Manager(north, north.label("nm1"), tmp_path / "nm1").ready()
        assert north.process is not None
        pid = north.process.pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
        with pytest.raises(Unavailable):
            await manager.client.register(RegisterCredential(manager.vouch(dev_id(manager)).raw))
        status, problem = north.post("/api/v1/managers", {"nm_id": "00" * 8, "name": "x", "code": "A" * 22})
        assert (status, problem["status"]) == (503, 503)
        assert north.curl("/health")[0] == 200
        assert north.curl("/api/v1/devices")[0] == 200
        assert north.process.poll() is None
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await manager.client.register(RegisterCredential(manager.vouch(dev_id(manager)).raw))
        await manager.client.close()
    finally:
        assert north.stop() == 0


# ------------------------------------------------------------------ the audit log


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Coordinator:
    """A coordinator with a log of some length, at rest."""
    folder = tmp_path_factory.mktemp("audit")
    north = Coordinator.make(folder / "north", Authority.make()).start()
    for number in range(4):
        north.label(f"nm{number}")
    keymote("audit", "export", "--out", str(folder / "export.json"), "--data", str(north.folder), "--url", north.url)
    head = keymote("audit", "head", "--data", str(north.folder), "--url", north.url).stdout
    (folder / "head.json").write_text(head)
    assert north.stop() == 0
    return north


def verify(*options: str) -> tuple[int, dict[str, object]]:
    ran = keymote("audit", "verify", "-o", "json", *options, check=False)
    return ran.returncode, json.loads(ran.stdout)


def test_an_honest_log_verifies(stopped: Coordinator) -> None:
    code, verdict = verify("--data", str(stopped.folder))
    assert (code, verdict["ok"], verdict["entries"]) == (0, True, 4)
    assert verdict["heads"], "a head is signed at a clean end"


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("UPDATE audit SET entry = x'00' WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 3", 3),
        ("DELETE FROM audit WHERE seq = 4", 4),
        ("UPDATE audit SET h = x'00' WHERE seq = 1", 1),
        ("DELETE FROM audit", 1),
    ],
)
def test_a_log_that_was_changed_names_the_first_bad_entry(
    stopped: Coordinator, tmp_path: Path, statement: str, first_bad: int
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(stopped.folder, copy)
    with sqlite3.connect(copy / "registry.db") as database:
        database.execute(statement)
    database.close()
    code, verdict = verify("--data", str(copy))
    assert (code, verdict["ok"], verdict["first_bad"]) == (1, False, first_bad)


def test_a_head_that_somebody_else_signed_is_noticed(stopped: Coordinator, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(stopped.folder, copy)
    with sqlite3.connect(copy / "registry.db") as database:
        (raw,) = database.execute("SELECT signed FROM audit_head").fetchone()
        database.execute("UPDATE audit_head SET signed = ?", (raw[:-1] + bytes([raw[-1] ^ 1]),))
    database.close()
    code, verdict = verify("--data", str(copy))
    assert (code, verdict["ok"]) == (1, False)
    assert "signature" in str(verdict["why"])


def test_an_export_verifies_elsewhere_and_a_kept_head_betrays_a_rewritten_one(
    stopped: Coordinator, tmp_path: Path
) -> None:
    export, head = stopped.folder.parent / "export.json", stopped.folder.parent / "head.json"
    pin = stopped.root
    root = tmp_path / "root.pin"
    root.write_bytes(
        admin_files.write_file(admin_files.RootPin(pin.suite, pin.id.hex(), admin.to_base64url(pin.sig_pk)))
    )
    assert verify("--file", str(export), "--head", str(head), "--root", str(root))[0] == 0
    document = json.loads(export.read_text())
    document["entries"] = document["entries"][:2]
    document["heads"] = []
    shortened = tmp_path / "shortened.json"
    shortened.write_text(json.dumps(document))
    assert verify("--file", str(shortened))[0] == 0, "nothing in it betrays the end that is missing"
    code, verdict = verify("--file", str(shortened), "--head", str(head))
    assert (code, verdict["first_bad"]) == (1, 3)
    other = Authority.make().root.pin
    root.write_bytes(admin_files.write_file(admin_files.RootPin(1, other.id.hex(), admin.to_base64url(other.sig_pk))))
    assert verify("--file", str(export), "--root", str(root))[0] == 1


# ------------------------------------------------------------------ what goes wrong at the start


def run_once(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "keymote.cli", "coordinator", "run", "--data", str(folder), "--port", "0", *options],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=ENVIRONMENT,
    )


def test_a_port_that_is_taken_is_named(stopped: Coordinator, tmp_path: Path) -> None:
    import socket

    copy = tmp_path / "copy"
    shutil.copytree(stopped.folder, copy)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        ran = run_once(copy, "--port", str(port))
    assert ran.returncode == 2
    assert f"port {port}" in ran.stderr


def test_a_second_process_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    north = Coordinator.make(tmp_path / "north", Authority.make()).start()
    try:
        ran = run_once(north.folder)
        assert ran.returncode == 2
        assert "in use by process" in ran.stderr
    finally:
        assert north.stop() == 0
