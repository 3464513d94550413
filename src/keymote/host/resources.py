"""CoAP resources as an application sees them, and what must stand behind them: whose key protects a request, and how."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from keymote.engine.base import Peer
from keymote.engine.exports import OscoreParameters


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as a handler gets it. `peer` and `psid` tell by whose session it came; both empty: unprotected."""

    method: str
    payload: bytes
    content_format: int | None
    peer: str
    psid: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """A handler's answer; `code` is a CoAP response code such as 2.05 or 4.04."""

    payload: bytes = b""
    content_format: int | None = None
    code: str = "2.05"


Handler = Callable[[Asked], Answered | Awaitable[Answered]]


class Party(NamedTuple):
    """Who proved a session's key: the session, and the other device's id."""

    psid: bytes
    peer: str


class Resources(Protocol):
    """An application's resources on the node's socket, and its requests to those of others."""

    def serve(self, path: str, handler: Handler, *, unprotected: bool = False, observable: bool = False) -> None:
        """Answer requests for `path`: of open sessions only, unless declared `unprotected`."""
        ...

    def changed(self, path: str) -> None:
        """Send what `path` is now to those who observe it."""
        ...

    async def request(
        self, psid: bytes, at: Peer, method: str, path: str, payload: bytes = b"", content_format: int | None = None
    ) -> Answered:
        """Ask the session's peer for a resource."""
        ...

    def admit(self, parameters: OscoreParameters, peer: str) -> None:
        """Accept and make requests under a session's key from now on."""
        ...

    def dismiss(self, psid: bytes) -> None:
        """End a session's context at once, with what is under way under it."""
        ...

    def was_used(self, psid: bytes) -> bool:
        """Return whether a message was protected under the session's context."""
        ...


class Connections(Protocol):
    """Secured connections whose keys are looked up by identity (DTLS-PSK)."""

    def end(self, identity: str) -> int:
        """Close those under this key at once; return how many there were."""
        ...
