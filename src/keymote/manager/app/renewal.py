"""A manager's own credential, renewed at its coordinator: RENEW and NEWCRED over HTTPS (docs/decisions/0121)."""

import asyncio
import logging
import time
from typing import Final

from keymote.crypto.entropy import SystemEntropy
from keymote.engine.base import CellKey, Refused, Report
from keymote.engine.context import Membership
from keymote.engine.faces import OWN_ENROLMENT, CredentialRenewed, RenewCredential
from keymote.engine.node import device_node
from keymote.engine.renewal import again_s, due_at
from keymote.errors import ErrorCode, KeymoteError, PeerFault, Unavailable
from keymote.host.async_host import AsyncHost, SystemClock
from keymote.host.driver import Driver
from keymote.manager.app.directory import Directory
from keymote.manager.app.enrol import HttpLink, certify, newcomer_context, no_service
from keymote.manager.app.own import OwnStore
from keymote.storage.private_files import read_file
from keymote.transports.http_client import CoordinatorClient, introduce
from keymote.wire.credential import Claims, SignedCredential

RENEW_S: Final = 20.0

logger = logging.getLogger(__name__)


def pause_s(claims: Claims, now: int, longest_s: float) -> float:
    """Return how long to wait before this credential is looked at again."""
    left = due_at(claims) - now
    return min(longest_s, max(1.0, left + 1.0) if left > 0 else again_s(claims))


async def rolled(directory: Directory, membership: Membership) -> bool:
    """Tell whether the coordinator has another key than the one that signed our credential (docs/decisions/0123).

    Raises:
        PeerFault: whoever answers does not chain to the pinned root.
        Unavailable: nobody answers.
    """
    met = await introduce(directory.identity.coordinators[0], directory.trust.pins[0], int(time.time()))
    if met.nc_id != directory.nc_id:
        raise PeerFault(ErrorCode.E_CRED, f"another coordinator answers: {met.nc_id.hex()}")
    above = SignedCredential.decode(membership.issuers[0]).claims
    return met.credential.claims.sig_pk != above.sig_pk


async def renew(directory: Directory, own: OwnStore) -> Membership:
    """Ask the coordinator for a newer credential, keep it, and return what the manager is by it.

    The link to the coordinator is that of the enrolment; it and the newer credential are on disk before they are used.

    Raises:
        PeerFault: the coordinator refuses, or what it told is not for this manager's keys.
        Unavailable: it does not answer, or has no newer credential for us.
    """
    folder, url = directory.folder, directory.identity.coordinators[0]
    authority = read_file(folder / "ca.pem", "coordinator's authority", do="keymote manager enrol").decode()
    context = newcomer_context(directory, own.signing_key(directory.suite))
    renewed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def reported(_key: CellKey, report: Report) -> None:
        match report:
            case CredentialRenewed() if not renewed.done():
                renewed.set_result(None)
            case Refused(_, code, what) if not renewed.done():
                logger.debug("refused", extra={"code": code.name, "what": what})

    def unreachable(error: KeymoteError) -> None:
        if not renewed.done():
            renewed.set_exception(error)

    client = CoordinatorClient(url, authority)
    link, clock = HttpLink(client, unreachable), SystemClock()
    driver = Driver(device_node(context), own.store, link, clock, SystemEntropy(), no_service, reported)
    link.driver = driver
    host = AsyncHost(driver, clock)
    try:
        host.start()
        for report in await host.command(OWN_ENROLMENT, RenewCredential()):
            if isinstance(report, Refused):
                raise PeerFault(report.code, report.what, do="keymote manager enrol")
        async with asyncio.timeout(RENEW_S):
            await renewed
        await link.settled()  # RENEW that names it is with the coordinator, too
    except TimeoutError as error:
        raise Unavailable(f"{url} has no newer credential for this manager", do="is it revoked?") from error
    finally:
        await host.close()
        await client.close()
    return own.membership(context)


async def renew_all(directory: Directory) -> Membership:
    """Renew the credential of a manager that is not running, and the TLS certificate under it (`keymote manager renew`).

    The credential is renewed when it is due, or when the coordinator has taken a new key.
    """
    own = OwnStore(directory.folder / "own.cells", directory.kek, SystemEntropy())
    try:
        membership = own.membership(newcomer_context(directory, own.signing_key(directory.suite)))
        if time.time() >= due_at(membership.credential.claims) or await rolled(directory, membership):
            membership = await renew(directory, own)
        url = directory.identity.coordinators[0]
        client = CoordinatorClient(url, read_file(directory.folder / "ca.pem", "coordinator's authority").decode())
        try:
            signing = own.signing_key(directory.suite)
            await certify(directory, signing, membership.credential.kid, own, client)
        finally:
            await client.close()
        return membership
    finally:
        own.close()
