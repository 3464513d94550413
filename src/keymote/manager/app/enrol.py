"""`keymote manager enrol`: the same engine as a device's, over HTTPS, then a TLS certificate for every later call."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from keymote import cbor
from keymote.crypto.entropy import Entropy, SystemEntropy
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey
from keymote.engine.base import CellKey, Peer, Report
from keymote.engine.context import DeviceContext
from keymote.engine.enrolment.device_cell import AwaitCred
from keymote.engine.faces import OWN_ENROLMENT, Enrolled, EnrolmentFailed, Provision
from keymote.engine.node import device_node
from keymote.errors import CallerFault, ErrorCode, KeymoteError, PeerFault, Unavailable
from keymote.host.async_host import AsyncHost, SystemClock
from keymote.host.driver import Driver
from keymote.manager.app.directory import OWN_CELLS, Directory
from keymote.manager.app.own import OwnStore
from keymote.storage.private_files import write_private
from keymote.transports import tls
from keymote.transports.http_client import CoordinatorClient, introduce
from keymote.wire import admin, signed
from keymote.wire.credential import Role, kid_of

ENROL_S: Final = 20.0
COORDINATOR: Final[Peer] = "coordinator"


def newcomer_context(directory: Directory, signing: SigningKey) -> DeviceContext:
    """Return what the manager is towards its coordinator."""
    return DeviceContext(
        id=directory.nm_id,
        suite=directory.suite,
        signing=signing,
        trust=directory.trust,
        role=Role.MANAGER,
        coordinators=(directory.nc_id,),
        has_clock=True,
    )


async def enrol(directory: Directory) -> Enrolled:
    """Enrol with the label's code and get a certificate; doing it again only renews the certificate.

    Raises:
        PeerFault: the coordinator does not know the code, or does not chain to the pinned root.
        Unavailable: it does not answer.
    """
    entropy = SystemEntropy()
    own = OwnStore(directory.folder / OWN_CELLS, directory.kek, entropy)
    try:
        url = directory.identity.coordinators[0]
        context = newcomer_context(directory, own.signing_key(directory.suite))
        met = await introduce(url, directory.trust.pins[0], int(time.time()))
        if met.nc_id != directory.nc_id:
            raise PeerFault(ErrorCode.E_CRED, f"{url} is coordinator {met.nc_id.hex()}, the label names another one")
        write_private(directory.folder / "ca.pem", met.authority.encode(), mode=0o644)
        bare = CoordinatorClient(url, met.authority)
        try:
            enrolled = await _enrolled(directory, context, own, bare, entropy)
            await certify(directory, context.signing, kid_of(enrolled.credential), own, bare)
        finally:
            await bare.close()
        directory.forget_label()
        return enrolled
    finally:
        own.close()


async def certify(
    directory: Directory, signing: SigningKey, kid: bytes, own: OwnStore, client: CoordinatorClient
) -> None:
    """Get a fresh TLS key and a certificate for it, proved by the manager's own signature key."""
    request = tls.new_request(own.password())
    claims = signed.CertificateRequest(directory.nc_id, directory.nm_id, sha256(request.der))
    certificate = await client.certificate(directory.nm_id, request.der, signed.write(signing, claims, kid=kid))
    write_private(directory.folder / "tls.key", request.key)
    write_private(directory.folder / "tls.pem", certificate.encode(), mode=0o644)


async def _enrolled(
    directory: Directory, context: DeviceContext, own: OwnStore, client: CoordinatorClient, entropy: Entropy
) -> Enrolled:
    try:
        held = own.membership(context)
    except CallerFault:
        pass
    else:
        return Enrolled(context.id, held.credential.raw, held.issuers[0], b"".join(held.issuers[1:]))
    outcome: asyncio.Future[Enrolled] = asyncio.get_running_loop().create_future()

    def reported(_key: CellKey, report: Report) -> None:
        if outcome.done():
            return
        match report:
            case Enrolled():
                outcome.set_result(report)
            case EnrolmentFailed(code, _):
                outcome.set_exception(
                    PeerFault(code, "the coordinator and the label do not agree", do="ask for a new label")
                )

    def unreachable(error: KeymoteError) -> None:
        if not outcome.done():
            outcome.set_exception(error)

    link = HttpLink(client, unreachable)
    clock = SystemClock()
    driver = Driver(device_node(context), own.store, link, clock, entropy, no_service, reported)
    link.driver = driver
    host = AsyncHost(driver, clock)
    host.start()
    try:
        if not isinstance(
            driver.peek(OWN_ENROLMENT), AwaitCred
        ):  # else BIND was out when we were stopped: it is repeated
            prs = Secret(cbor.encode_array(admin.from_base64url(directory.label().code), b""))
            await host.command(OWN_ENROLMENT, Provision(prs))
            for send in await host.receive(COORDINATOR, await client.hello()):
                link.send(COORDINATOR, send.data, None)
        async with asyncio.timeout(ENROL_S):
            enrolled = await outcome
        await link.settled()
    except TimeoutError as error:
        raise Unavailable(
            f"{directory.identity.coordinators[0]} did not finish the enrolment", do="is the label's code used already?"
        ) from error
    else:
        return enrolled
    finally:
        await host.close()


class HttpLink:
    """Each datagram is a POST; what answers it goes back to the driver."""

    reliable = True

    def __init__(self, client: CoordinatorClient, failed: Callable[[KeymoteError], object]) -> None:
        self._client = client
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()
        self.driver: Driver | None = None

    def send(self, peer: Peer, data: bytes, failed: Callable[[], None] | None) -> None:
        task = asyncio.create_task(self._exchange(peer, data))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Return when nothing is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def _exchange(self, peer: Peer, data: bytes) -> None:
        try:
            answer = await self._client.exchange(data)
        except KeymoteError as error:
            self._failed(error)
            return
        if answer is not None and self.driver is not None:
            self.driver.receive(peer, answer)


def no_service(_key: CellKey, _query: object, answer: Callable[[object], None]) -> None:
    answer(Unavailable("a newcomer asks no service"))
