"""The operator's side of a coordinator: the bearer token of its token file, and the certificate authority it trusts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from keymote.crypto.secret import Secret
from keymote.errors import CallerFault
from keymote.transports.http_caller import HttpCaller
from keymote.transports.tls import client_context, load_certificate
from keymote.wire import admin

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Page(Protocol[T_co]):
    """A part of a list; `next` is the value of `after` for the following one, None on the last."""

    @property
    def items(self) -> Sequence[T_co]: ...

    @property
    def next(self) -> str | int | None: ...


class OperatorClient:
    """Calls with a bearer token; raises the four roots as `HttpCaller` does."""

    def __init__(self, url: str, authority: Path, token: Secret) -> None:
        try:
            pem = authority.read_text()
        except OSError as error:
            raise CallerFault(f"cannot read certificate authority {authority}: {error.strerror}") from error
        load_certificate(pem)
        headers = {"Authorization": f"Bearer {token.expose().decode()}"}
        self._caller = HttpCaller(url, client_context(pem), headers=headers)

    async def get(self, path: str, kind: type[T], **query: Any) -> T:
        """Return a GET below `/api/v1` as a value of this kind; parameters that are None are left out."""
        given = {name: value for name, value in query.items() if value is not None}
        return await self._caller.get(f"{admin.API}{path}", kind, params=given)

    async def whole(self, path: str, kind: type[Page[T]], **query: Any) -> list[T]:
        """Return a list below `/api/v1` that comes in pages of this kind, all of it."""
        found: list[T] = []
        after: str | int | None = None
        while True:
            page = await self.get(path, kind, after=after, limit=admin.MAX_PAGE, **query)
            found += page.items
            after = page.next
            if after is None:
                return found

    async def send(self, method: str, path: str, body: Struct, kind: type[T]) -> T:
        """Return the answer to a body sent below `/api/v1`."""
        return admin.decode(await self._caller.request(method, f"{admin.API}{path}", body=admin.encode(body)), kind)

    async def ask(self, method: str, path: str, kind: type[T]) -> T:
        """Return the answer to a call without a body below `/api/v1`."""
        return admin.decode(await self._caller.request(method, f"{admin.API}{path}"), kind)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._caller.close()
