"""An application's own resources on the device's socket, for those who prove a session's key: by OSCORE or by DTLS."""

import inspect
import logging
from typing import Any, Final, Self

import aiocoap
import aiocoap.error
import aiocoap.resource
from aiocoap import oscore
from aiocoap.tokenmanager import TokenManager
from aiocoap.transports.oscore import OSCOREAddress, TransportOSCORE

from keymote.engine.base import Peer
from keymote.engine.exports import OscoreParameters
from keymote.errors import CallerFault, Unavailable
from keymote.host.resources import Answered, Asked, Handler, Party
from keymote.transports.coap.aiocoap_socket import BoundedMessages, RemoteAddress, SharedSocket, Wire
from keymote.transports.coap.endpoint import CoapEndpoint, address_of
from keymote.transports.coap.message import LINK_FORMAT
from keymote.transports.coap.oscore import Contexts, ProtectedAddress, ProtectedSite, SessionContext
from keymote.transports.coap.responses import CORE_LINKS, OUR_ROOTS

_LOG: Final = "keymote.coap"


class _Resource(aiocoap.resource.Resource):  # type: ignore[misc]  # untyped library
    """The only kind of resource there is: protected, unless its declaration says otherwise.

    aiocoap's site wrapper lets requests without OSCORE through to the resources, so the guard stands here, before the
    handler and before blocks are collected, once for all of them.
    """

    def __init__(self, handler: Handler, *, unprotected: bool) -> None:
        super().__init__()
        self._handler = handler
        self._unprotected = unprotected

    async def render_to_pipe(self, pipe: Any) -> None:
        if _party(pipe.request.remote) is None:
            if not self._unprotected:
                raise aiocoap.error.Unauthorized
            if pipe.request.opt.block1 is not None:
                raise aiocoap.error.RequestEntityTooLarge  # nothing of a stranger is kept between two requests
        await super().render_to_pipe(pipe)

    async def render(self, request: Any) -> Any:
        party = _party(request.remote)
        content_format = request.opt.content_format
        asked = Asked(
            method=request.code.name,
            payload=request.payload,
            content_format=None if content_format is None else int(content_format),
            peer="" if party is None else party.peer,
            psid=b"" if party is None else party.psid,
        )
        result = self._handler(asked)
        answered = await result if inspect.isawaitable(result) else result
        return aiocoap.Message(
            code=_code(answered.code), payload=answered.payload, content_format=answered.content_format
        )


class _Observable(_Resource, aiocoap.resource.ObservableResource):  # type: ignore[misc]  # untyped library
    """A resource whose changes are sent to those who observe it (RFC 7641)."""


def _party(remote: object) -> Party | None:
    """Return whose session protects a request, None for a stranger's."""
    match remote:
        case OSCOREAddress(security_context=SessionContext() as context):
            return Party(context.psid, context.peer)
        case RemoteAddress(party=Party() as party):
            return party
        case _:
            return None


class CoapApplication:
    """Resources and requests of an application beside the endpoint's own, on the endpoint's socket."""

    def __init__(self, endpoint: CoapEndpoint) -> None:
        self._endpoint = endpoint
        self._contexts: Final = Contexts()
        self._site = aiocoap.resource.Site()
        self._resources: dict[str, _Resource] = {}
        self._context = aiocoap.Context(
            serversite=ProtectedSite(self._site, self._contexts),
            loggername=_LOG,
            server_credentials=self._contexts,
        )
        tokens = TokenManager(self._context)
        messages = BoundedMessages(tokens)
        self._socket = SharedSocket(messages, logging.getLogger(_LOG), self._context.loop)
        messages.message_interface = self._socket
        tokens.token_interface = messages
        self._context.request_interfaces += [TransportOSCORE(self._context, self._context), tokens]
        self.serve(".well-known/core", self._core, unprotected=True)

    @property
    def contexts(self) -> Contexts:
        return self._contexts

    @classmethod
    def mounted(cls, endpoint: CoapEndpoint) -> Self:
        """Return an application that hears what reaches `endpoint` for other resources than its own."""
        self = cls(endpoint)
        endpoint.mount(self)
        return self

    def serve(self, path: str, handler: Handler, *, unprotected: bool = False, observable: bool = False) -> None:
        """Answer requests for `path` by `handler`: requests of open sessions only, unless declared `unprotected`."""
        parts = tuple(path.strip("/").split("/"))
        if not all(parts) or (parts[0].encode(),) in OUR_ROOTS or path in self._resources:
            raise CallerFault(f"cannot serve {path!r}", do="choose a path that is not taken, and not below /k or /g")
        kind = _Observable if observable else _Resource
        resource = self._resources[path] = kind(handler, unprotected=unprotected)
        self._site.add_resource(parts, resource)

    def changed(self, path: str) -> None:
        """Send what `path` is now to those who observe it."""
        resource = self._resources.get(path)
        if not isinstance(resource, _Observable):
            raise CallerFault(f"{path!r} is not observable", do="serve it with observable=True")
        resource.updated_state()

    def admit(self, parameters: OscoreParameters, peer: str) -> None:
        """Accept requests under a session's key from now on; `peer` is the other device's id, for handlers."""
        self._contexts.admit(parameters, peer)

    def dismiss(self, psid: bytes) -> None:
        """End a session's context at once; observations and requests under way under it end."""
        self._contexts.dismiss(psid)

    def was_used(self, psid: bytes) -> bool:
        """Return whether a message was protected under the session's context: then nobody else may have it."""
        context = self._contexts.of(psid)
        return context is not None and context.protected > 0

    async def request(
        self, psid: bytes, at: Peer, method: str, path: str, payload: bytes = b"", content_format: int | None = None
    ) -> Answered:
        """Ask the session's peer for a resource.

        Raises:
            Unavailable: the peer does not answer, or its answer is not protected by the session's key.
            CallerFault: the session has no context here.
        """
        context = self._contexts.of(psid)
        if context is None:
            raise CallerFault("the session is over, or was handed over", do="pair again")
        message = aiocoap.Message(code=_method(method), payload=payload, content_format=content_format)
        message.opt.uri_path = tuple(path.strip("/").split("/"))
        message.remote = ProtectedAddress(context, RemoteAddress(self._endpoint, address_of(at)))
        try:
            response = await self._context.request(message).response
        except (aiocoap.error.Error, oscore.ProtectionInvalid, oscore.NotAProtectedMessage) as error:
            raise Unavailable(f"no protected answer from {at}: {type(error).__name__}", do="try again later") from error
        answered_format = response.opt.content_format
        return Answered(
            response.payload, None if answered_format is None else int(answered_format), response.code.dotted
        )

    def heard(self, data: bytes, address: tuple[str, int]) -> None:
        """Take a message from the endpoint."""
        self._socket.take(data, RemoteAddress(self._endpoint, address))

    def heard_secured(self, data: bytes, wire: Wire, address: tuple[str, int], party: Party) -> None:
        """Take a message that came over a connection on which `party` has proved its session's key (DTLS)."""
        self._socket.take(data, RemoteAddress(wire, address, "coaps", party))

    def lost_secured(self, wire: Wire, address: tuple[str, int]) -> None:
        """Forget a connection that is closed: observations and requests under way over it end."""
        self._socket.lose(wire, address)

    async def close(self) -> None:
        """End every context and all that is under way."""
        self._contexts.dismiss_all()
        await self._context.shutdown()

    def _core(self, _asked: Asked) -> Answered:
        links = [CORE_LINKS.decode(), *(f"</{path}>" for path in self._resources if not path.startswith(".well-known"))]
        return Answered(",".join(links).encode(), LINK_FORMAT)


def _method(name: str) -> Any:
    try:
        return aiocoap.Code[name.upper()]
    except KeyError as error:
        raise CallerFault(f"{name!r} is not a CoAP method", do="choose GET, POST, PUT, DELETE or FETCH") from error


def _code(dotted: str) -> Any:
    major, _, minor = dotted.partition(".")
    return aiocoap.Code(int(major) << 5 | int(minor))
