"""Calls over HTTPS, and what a failed one means: everything comes back as one of the four roots."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import httpx

from keymote.engine.chain import Pin
from keymote.engine.introduction import introduced
from keymote.engine.queries import DeviceFound, ManagerFound
from keymote.errors import CallerFault, ErrorCode, KeymoteError, PeerFault, RefusedByPolicy, Unavailable
from keymote.transports.tls import certificate_der, unverified_context
from keymote.wire import admin
from keymote.wire.credential import Credential

TIMEOUT_S: Final = 10.0
MAX_ANSWER: Final = 4 * 1024 * 1024
T = TypeVar("T")

_ROOTS: Final[dict[int, type[CallerFault | RefusedByPolicy | Unavailable]]] = {
    400: CallerFault,
    403: RefusedByPolicy,
    404: CallerFault,
    405: CallerFault,
    413: CallerFault,
    422: CallerFault,
    429: Unavailable,
}


class HttpCaller:
    """One coordinator's URL with the trust and the identity to call it; keeps its connections."""

    def __init__(
        self, url: str, context: ssl.SSLContext, *, headers: dict[str, str] | None = None, connections: int = 10
    ) -> None:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self.url = url.rstrip("/")
        self._client = httpx.AsyncClient(
            base_url=self.url, verify=context, headers=headers, timeout=TIMEOUT_S, limits=limits, trust_env=False
        )

    @asynccontextmanager
    async def stream(self, method: str, path: str, **more: Any) -> AsyncIterator[httpx.Response]:
        """Open a call and give its answer, unread, when the status is a success.

        Raises:
            PeerFault: the service refused with a Triad-1 error. CallerFault, RefusedByPolicy: it refused otherwise.
            Unavailable: it does not answer, its certificate is not trusted, or it says 5xx.
        """
        if self._client.is_closed:
            raise Unavailable(f"the connection to {self.url} was closed here", do="try again")
        try:
            async with self._client.stream(method, path, **more) as response:
                if not response.is_success:
                    raise refusal(self.url, response.status_code, await _content(response))
                yield response
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error

    async def request(
        self, method: str, path: str, *, body: bytes | None = None, media: str = "application/json", **more: Any
    ) -> bytes:
        """Return the body of an answer, at most 4 MiB; raises as `stream` does."""
        headers = {**more.pop("headers", {}), **({} if body is None else {"Content-Type": media})}
        async with self.stream(method, path, content=body, headers=headers, **more) as response:
            return await _content(response)

    async def get(self, path: str, kind: type[T], **more: Any) -> T:
        """Return the body of a GET as a value of this kind."""
        return admin.decode(await self.request("GET", path, **more), kind)

    async def close(self) -> None:
        await self._client.aclose()


def unreachable(url: str, error: Exception) -> Unavailable:
    """Return what a failed connection means; a certificate that is not trusted says so."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        return Unavailable(
            f"{url} shows a certificate that is not to be trusted: {cause.verify_message}",
            do="check the host name, the clock and that it is the right coordinator",
        )
    return Unavailable(f"{url} does not answer: {str(error) or type(error).__name__}", do="is the coordinator running?")


async def _content(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_ANSWER:
            raise Unavailable(f"{response.url.host} sends more than {MAX_ANSWER} bytes")
    return bytes(content)


def refusal(url: str, status: int, content: bytes) -> KeymoteError:
    """Return the error in an unsuccessful answer; `code` decides, then the status."""
    try:
        problem = admin.decode(content, admin.Problem)
    except PeerFault:
        problem = admin.Problem(f"status {status}", status)
    what = problem.detail or problem.title
    if problem.code in ErrorCode.__members__:
        code = ErrorCode[problem.code]
        if code is ErrorCode.E_LIMIT:
            return Unavailable(f"{url} is asked too often", do="try again later")
        return PeerFault(code, what, do=problem.do)
    if status == httpx.codes.CONFLICT:
        return PeerFault(ErrorCode.E_CRED, what, do=problem.do)
    return _ROOTS.get(status, Unavailable)(f"{url}: {what}", do=problem.do)


class Introduced:
    """A coordinator that was met for the first time: its verified credential and its certificate authority (PEM)."""

    def __init__(self, credential: Credential, authority: str) -> None:
        self.credential, self.authority = credential, authority

    @property
    def nc_id(self) -> bytes:
        return self.credential.claims.sub


async def introduce(url: str, root: Pin, now: int) -> Introduced:
    """Ask a coordinator who it is and believe nothing that the pinned `root` does not vouch for.

    Raises:
        PeerFault: E_CRED when credential, binding and certificate authority do not chain to `root`.
        Unavailable: it does not answer.
    """
    caller = HttpCaller(url, unverified_context())
    try:
        said = await caller.get(admin.INTRODUCTION, admin.Introduction)
    finally:
        await caller.close()
    credential, binding = admin.from_base64url(said.credential), admin.from_base64url(said.binding)
    authority = said.certificate_authority
    return Introduced(introduced(credential, certificate_der(authority), binding, root, now), authority)


def found_of(view: admin.FoundView) -> DeviceFound:
    """Return a look-up's answer as the engines take it."""
    parts = (view.credential, view.cred_nm, view.cred_nc, view.hybrid_key)
    credential, cred_nm, cred_nc, hybrid_key = map(admin.from_base64url, parts)
    return DeviceFound(credential, cred_nm, cred_nc, view.manager, hybrid_key)


def manager_of(view: admin.FoundManagerView) -> ManagerFound:
    """Return a manager's look-up as the engines take it."""
    cred_nm, cred_nc, hybrid_key = map(admin.from_base64url, (view.cred_nm, view.cred_nc, view.hybrid_key))
    return ManagerFound(cred_nm, cred_nc, view.manager, hybrid_key)
