"""Real coordinators as processes, and a manager made of the real engine, client and certificates, for end-to-end tests."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import keymote as keymote_package
from keymote import cbor
from keymote.cli.authority import pin_file
from keymote.coordinator.app.directory import Directory
from keymote.coordinator.authority import Root
from keymote.crypto.entropy import SystemEntropy
from keymote.crypto.secret import Secret
from keymote.crypto.suites import SUITES
from keymote.engine.chain import Pin, Trust
from keymote.engine.context import DeviceContext
from keymote.engine.faces import OWN_ENROLMENT, Enrolled, EnrolmentFailed, Provision
from keymote.engine.node import device_node
from keymote.host.async_host import AsyncHost, SystemClock
from keymote.host.driver import Driver
from keymote.storage.memory import MemoryStore
from keymote.stories.processes import free_port
from keymote.transports import tls
from keymote.transports.http_client import CoordinatorClient, introduce
from keymote.wire import admin, admin_files, signed
from keymote.wire.credential import Claims, Credential, Role, SignedCredential, issue, kid_of

DEADLINE_S = 60.0
LAUNCH = [sys.executable, "-m", "keymote.cli"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(keymote_package.__file__).parents[1])}


def keymote(*args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    ran = subprocess.run(
        [sys.executable, "-m", "keymote.cli", *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=ENVIRONMENT,
    )
    if check and ran.returncode != 0:
        raise AssertionError(f"keymote {' '.join(args)} exits {ran.returncode}: {ran.stderr}")
    return ran


@dataclass
class Authority:
    """A root in memory; `keymote authority` itself is tested where its commands are."""

    root: Root

    @classmethod
    def make(cls) -> "Authority":
        return cls(Root.create(1, SystemEntropy()))

    def certify(self, folder: Path, asked: str = "nc.req", answer: str = "nc.cred") -> None:
        request = admin_files.read_file((folder / asked).read_bytes(), admin_files.RequestFile, asked)
        now = int(time.time())
        credential = self.root.certify(admin.from_base64url(request.request), now, SystemEntropy().draw(8))
        carried = admin_files.CredentialFile(admin.to_base64url(credential.raw), pin_file(self.root))
        (folder / answer).write_bytes(admin_files.write_file(carried))


@dataclass
class Coordinator:
    """One coordinator's directory and, while it runs, its process."""

    folder: Path
    port: int
    peers: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = None
    options: tuple[str, ...] = ()

    @classmethod
    def make(
        cls, folder: Path, authority: Authority, peers: tuple[str, ...] = (), port: int = 0, suite: int = 1
    ) -> "Coordinator":
        folder.mkdir()
        Directory.create(folder, folder.name, suite, ["localhost", "127.0.0.1"], SystemEntropy(), int(time.time()))
        authority.certify(folder)
        return cls(folder, port or free_port(), peers)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def token(self) -> str:
        return (self.folder / "token").read_text().strip()

    @property
    def root(self) -> Pin:
        carried = admin_files.read_file((self.folder / "nc.cred").read_bytes(), admin_files.CredentialFile, "nc.cred")
        root = carried.root
        return Pin(admin.id_of(root.id), root.suite, admin.from_base64url(root.sig_pk), Role.AUTHORITY)

    def start(self) -> "Coordinator":
        arguments = ["coordinator", "run", "--data", str(self.folder), "--port", str(self.port), "--log-level", "debug"]
        for peer in self.peers:
            arguments += ["--peer", peer]
        arguments += self.options
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [*LAUNCH, *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=ENVIRONMENT,
            )
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise AssertionError((self.folder / "log").read_text())
        assert json.loads(line)["ready"] is True
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process is None:
            return 0
        os.kill(self.process.pid, number)
        try:
            return self.process.wait(DEADLINE_S)
        finally:
            if self.process.stdout:
                self.process.stdout.close()
            self.process = None

    def curl(self, path: str, *options: str, token: bool = True) -> tuple[int, str]:
        """Return (status, body) as curl, a client that is not ours, sees it."""
        authorization = ["-H", f"Authorization: Bearer {self.token}"] if token else []
        ran = subprocess.run(
            ["curl", "-s", "--max-time", "15", "--cacert", str(self.ca), "-w", "\n%{http_code}", *authorization,
             *options, f"{self.url}{path}"],
            capture_output=True, timeout=30, check=True,
        )  # fmt: skip
        body, _, status = ran.stdout.rpartition(b"\n")
        return int(status), body.decode(errors="replace")

    def post(self, path: str, body: object, method: str = "POST") -> tuple[int, dict[str, object]]:
        """Return (status, JSON) of an operator's call."""
        status, answer = self.curl(path, "-X", method, "-H", "Content-Type: application/json", "-d", json.dumps(body))
        return status, json.loads(answer)

    def label(self, name: str) -> admin_files.ManagerLabel:
        carried = admin_files.read_file((self.folder / "nc.cred").read_bytes(), admin_files.CredentialFile, "nc.cred")
        nc_id = SignedCredential.decode(admin.from_base64url(carried.credential)).claims.sub.hex()
        nm_id, code = os.urandom(8).hex(), admin.to_base64url(os.urandom(16))
        status, _ = self.post("/api/v1/managers", {"nm_id": nm_id, "name": name, "code": code})
        assert status == 201
        return admin_files.ManagerLabel(nm_id, name, code, nc_id, [self.url], carried.root)


class Replies:
    """The link of a manager that enrols: each datagram is a POST, its answer comes back to the driver."""

    reliable = True

    def __init__(self, client: CoordinatorClient) -> None:
        self.client = client
        self.driver: Driver
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, peer: str, data: bytes, failed: object) -> None:
        task = asyncio.create_task(self._exchange(peer, data))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _exchange(self, peer: str, data: bytes) -> None:
        answer = await self.client.exchange(data)
        if answer is not None:
            self.driver.receive(peer, answer)

    async def settle(self) -> None:
        while self._tasks:
            await asyncio.gather(*self._tasks)


@dataclass
class Manager:
    """A manager with everything that it needs to talk to its coordinator."""

    coordinator: Coordinator
    label: admin_files.ManagerLabel
    folder: Path
    client: CoordinatorClient = field(init=False)
    credential: bytes = b""
    nc_id: bytes = b""
    entropy: SystemEntropy = field(default_factory=SystemEntropy)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.suite = SUITES[1]
        self.key = self.suite.generate_signing_key(self.entropy)
        self.nm_id = admin.id_of(self.label.nm_id)
        self.password = Secret(bytes(32))

    async def enrol(self, code: bytes | None = None) -> Enrolled | EnrolmentFailed:
        """Enrol with the label's code (or another) by the engine of Triad-1 2.4 over HTTPS."""
        now = int(time.time())
        met = await introduce(self.coordinator.url, self.coordinator.root, now)
        self.authority, self.nc_id = met.authority, met.nc_id
        bare = CoordinatorClient(self.coordinator.url, met.authority)
        link, heard = Replies(bare), asyncio.get_running_loop().create_future()
        trust = Trust((self.coordinator.root,), SUITES)
        context = DeviceContext(self.nm_id, self.suite, self.key, trust, Role.MANAGER, has_clock=True)

        def report(_key: object, said: object) -> None:
            if isinstance(said, Enrolled | EnrolmentFailed) and not heard.done():
                heard.set_result(said)

        clock = SystemClock()
        driver = Driver(
            device_node(context), MemoryStore(), link, clock, self.entropy, lambda *_: None, report,
        )  # fmt: skip
        link.driver = driver
        host = AsyncHost(driver, clock)
        host.start()
        prs = cbor.encode_array(code or admin.from_base64url(self.label.code), b"")
        await host.command(OWN_ENROLMENT, Provision(Secret(prs)))
        for send in await host.receive("coordinator", await bare.hello()):
            link.send("coordinator", send.data, None)
        try:
            async with asyncio.timeout(DEADLINE_S):
                outcome = await heard
            await link.settle()
        finally:
            await host.close()
            await bare.close()
        if isinstance(outcome, Enrolled):
            self.credential = outcome.credential
        return outcome

    async def certified(self) -> None:
        """Get the TLS certificate that every later call shows."""
        bare = CoordinatorClient(self.coordinator.url, self.authority)
        request = tls.new_request(self.password)
        claims = signed.CertificateRequest(self.nc_id, self.nm_id, _sha256(request.der))
        proof = signed.write(self.key, claims, kid=kid_of(self.credential))
        certificate = await bare.certificate(self.nm_id, request.der, proof)
        await bare.close()
        self.cert_path, self.key_path = self.folder / "tls.pem", self.folder / "tls.key"
        self.cert_path.write_text(certificate)
        self.key_path.write_bytes(request.key)
        self.client = CoordinatorClient(
            self.coordinator.url,
            self.authority,
            certificate=self.cert_path,
            key=self.key_path,
            password=self.password,
        )

    async def ready(self) -> "Manager":
        assert isinstance(await self.enrol(), Enrolled)
        await self.certified()
        await self.client.announce_endpoint(self.nm_id, f"coap://127.0.0.1:{free_port()}")
        return self

    def vouch(self, dev_id: bytes) -> Credential:
        own = SignedCredential.decode(self.credential).claims
        E1 = self.suite.random_point(self.entropy)
        now = int(time.time())
        claims = Claims(
            iss=self.nm_id,
            sub=dev_id,
            exp=now + 86400,
            iat=now,
            serial=self.entropy.draw(8),
            suite=1,
            nc_id=own.nc_id,
            E1=E1,
            E2=self.suite.mul(self.suite.random_scalar(self.entropy), E1),
            sig_pk=self.suite.generate_signing_key(self.entropy).public,
            status_epoch=0,
            role=Role.DEVICE,
        )
        return issue(self.key, claims)


def _sha256(data: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(data).digest()
