"""OSCORE contexts (RFC 8613) under sessions' keys, and the site that lets only their requests through to a resource.

Contexts live in memory and die with their session, so their sequence numbers need no disk: a restart ends every session,
and no context is ever restored.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import aiocoap
import aiocoap.error
from aiocoap import credentials, oscore
from aiocoap.oscore_sitewrapper import OscoreSiteWrapper
from aiocoap.transports.oscore import OSCOREAddress

from keymote.engine.exports import OSCORE_ALGORITHM, OscoreParameters
from keymote.transports.coap.message import MAX_SZX

MAX_MESSAGES: Final = 1 << 20
"""Messages that a context protects (Triad-1 1.8)."""
MAX_FORGERIES: Final = 1 << 16
"""Messages with a bad tag, of 8 bytes, that a context bears (Triad-1 1.8)."""
WINDOW: Final = 32

_EDHOC: Final = (".well-known", "edhoc")


class SessionContext(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):  # type: ignore[misc]  # untyped library
    """One session's OSCORE context; `end` makes it useless and stops what is under way with it."""

    echo_recovery = None  # a window is never lost while the context lives
    authenticated_claims = ()

    def __init__(self, parameters: OscoreParameters, peer: str, worn_out: Callable[[], object]) -> None:
        self.alg_aead = oscore.algorithms[OSCORE_ALGORITHM]
        self.hashfun = oscore.hashfunctions["sha256"]
        self.sender_id = parameters.sender_id
        self.recipient_id = parameters.recipient_id
        self.id_context = parameters.psid
        self.psid = parameters.psid
        self.peer = peer
        self._worn_out = worn_out
        self.derive_keys(parameters.salt, parameters.secret.expose())
        self.sender_sequence_number = 0
        self.recipient_replay_window = oscore.ReplayWindow(WINDOW, lambda: None)
        self.recipient_replay_window.initialize_empty()
        self.alive = True
        self.protected = 0
        self.forgeries = 0
        self.under_way: set[asyncio.Task[Any]] = set()

    def end(self) -> None:
        """Protect and open nothing any more, and end observations and requests under way."""
        self.alive = False
        self.sender_key = self.recipient_key = b""
        for task in self.under_way:
            task.cancel()

    def post_seqnoincrease(self) -> None:
        """Nothing to store: the context does not outlive this process."""

    def protect(self, message: Any, request_id: Any = None, *, kid_context: Any = True) -> Any:
        if not self.alive or self.protected >= MAX_MESSAGES:
            raise oscore.ContextUnavailable("the session is over")
        self.protected += 1
        if self.protected == MAX_MESSAGES:
            self._worn_out()
        return super().protect(message, request_id, kid_context=kid_context)

    def unprotect(self, protected_message: Any, request_id: Any = None) -> Any:
        if not self.alive or self.forgeries >= MAX_FORGERIES:
            raise oscore.ProtectionInvalid("the session is over")
        try:
            return super().unprotect(protected_message, request_id)
        except oscore.ReplayError:
            raise
        except oscore.ProtectionInvalid:
            self.forgeries += 1
            if self.forgeries == MAX_FORGERIES:
                self._worn_out()
            raise


class Contexts(credentials.CredentialsMap):  # type: ignore[misc]  # untyped library
    """The contexts of the open sessions, found at once by what a request's header says, or by their session."""

    def __init__(self) -> None:
        super().__init__()
        self._by_header: dict[tuple[bytes, bytes], SessionContext] = {}
        self._by_psid: dict[bytes, SessionContext] = {}
        self.worn_out: Callable[[bytes], None] = lambda _psid: None
        """Called with the psid, outside of any request, when a context has reached a limit and refuses from now on."""

    def admit(self, parameters: OscoreParameters, peer: str) -> None:
        """Take a session's context in, in place of an older one of the same session."""
        self.dismiss(parameters.psid)
        loop = asyncio.get_running_loop()
        context = SessionContext(parameters, peer, lambda: loop.call_soon(self.worn_out, parameters.psid))
        self._by_psid[parameters.psid] = context
        self._by_header[parameters.psid, parameters.recipient_id] = context

    def dismiss(self, psid: bytes) -> None:
        """End a session's context, if there is one."""
        context = self._by_psid.pop(psid, None)
        if context is not None:
            del self._by_header[psid, context.recipient_id]
            context.end()

    def dismiss_all(self) -> None:
        for psid in tuple(self._by_psid):
            self.dismiss(psid)

    def of(self, psid: bytes) -> SessionContext | None:
        return self._by_psid.get(psid)

    def find_oscore(self, unprotected: Any) -> SessionContext:
        """Return the context for a request's header; KeyError, as the library wants it, when there is none."""
        return self._by_header[unprotected.get(oscore.COSE_KID_CONTEXT), unprotected[oscore.COSE_KID]]


class ProtectedSite(OscoreSiteWrapper):  # type: ignore[misc]  # untyped library
    """The library's wrapper, whose renderings end with the session; without its EDHOC, which we do not offer."""

    async def render_to_pipe(self, pipe: Any) -> None:
        """Serve one request, an observation until it ends.

        A dismissed context cannot protect a farewell: its observers get 4.01 in clear, which ends the observation.
        """
        if pipe.request.opt.uri_path == _EDHOC:
            raise aiocoap.error.NotFound
        try:
            context = self.server_credentials.find_oscore(oscore.verify_start(pipe.request))
        except (KeyError, oscore.NotAProtectedMessage, oscore.DecodeError):
            await super().render_to_pipe(pipe)
            return
        task = asyncio.current_task()
        assert task is not None
        context.under_way.add(task)
        try:
            await super().render_to_pipe(pipe)
        except asyncio.CancelledError:
            if context.alive:
                raise
            raise aiocoap.error.Unauthorized from None
        except oscore.ContextUnavailable:
            raise aiocoap.error.Unauthorized from None
        finally:
            context.under_way.discard(task)


class ProtectedAddress(OSCOREAddress):  # type: ignore[misc]  # untyped library
    """A peer behind a context: blocks of 512 bytes inside the protection, where the outer message has room for more."""

    __slots__ = ()
    maximum_block_size_exp = MAX_SZX
    maximum_payload_size = 16 << MAX_SZX
