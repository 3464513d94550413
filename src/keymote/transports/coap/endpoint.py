"""One UDP socket as a `Link`: CoAP on `coap://host:port`, for our own resources and for an application's beside."""

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from errno import EADDRNOTAVAIL
from functools import lru_cache, partial
from typing import Final, Protocol, Self, cast

from keymote.engine.base import MULTICAST, Peer
from keymote.errors import CallerFault, PeerFault, Unavailable
from keymote.transports.coap.inbox import MAX_INBOXES, Inbox, decode_answer, encode_fetch, pseudonym
from keymote.transports.coap.message import OCTETS, CoapMessage, Code, Kind, Option, empty, uint
from keymote.transports.coap.multicast import Group, GroupListener, allow_sending
from keymote.transports.coap.records import request_of
from keymote.transports.coap.requests import Requests, Timing
from keymote.transports.coap.responses import OUR_ROOTS, Receive, Responses, is_hello
from keymote.wire.group_record import is_group_record

DEFAULT_PORT: Final = 5683
RECEIVE_BUFFER: Final = 1 << 20
"""Bytes that we ask the kernel to hold while we are busy: at a thousand requests a second some milliseconds count."""
_SCHEME: Final = "coap://"
_DATAGRAMS: Final = (b"k",)
"""Path of the resource that takes every datagram but a group's record."""


def peer_of(address: tuple[str, int]) -> Peer:
    """Return the handle of a socket address: `coap://127.0.0.1:5683`."""
    host, port = address[0], address[1]
    return f"{_SCHEME}[{host}]:{port}" if ":" in host else f"{_SCHEME}{host}:{port}"


@lru_cache(maxsize=4096)
def address_of(peer: Peer) -> tuple[str, int]:
    """Return the numeric address behind a handle.

    Raises:
        CallerFault: it is not of the form coap://ADDRESS or coap://ADDRESS:PORT.
    """
    host, port = peer.removeprefix(_SCHEME), str(DEFAULT_PORT)
    if host.startswith("["):
        host, _, rest = host[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif ":" in host:
        host, _, port = host.partition(":")
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
        number = int(port)
    except (OSError, ValueError):
        number = 0
    if not (peer.startswith(_SCHEME) and 0 < number < 1 << 16):
        raise CallerFault(f"{peer!r} is not a CoAP endpoint", do="write coap://ADDRESS:PORT with a numeric address")
    return host, number


class Application(Protocol):
    """Further resources on the same socket (aiocoap's): hears every message that is not ours."""

    def heard(self, data: bytes, address: tuple[str, int]) -> None: ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class Traffic:
    """UDP payloads of one endpoint since it was opened, acknowledgements and repetitions included."""

    messages: int = 0
    octets: int = 0

    def count(self, data: bytes) -> None:
        """Count one payload, sent or received."""
        self.messages += 1
        self.octets += len(data)


class CoapEndpoint(asyncio.DatagramProtocol):
    """A reliable `Link`: confirmable, and `failed` is called within 10 s when a peer does not answer.

    `receive(peer, datagram, settled)` takes in what peers send; what the node answers at once rides on the response.
    What does not reach a device waits in its inbox, under the pseudonym of the link to it.
    """

    reliable = True

    def __init__(self, receive: Receive, timing: Timing, group: Group | None) -> None:
        self._receive = receive
        self._group = group
        self._ring = group
        self._loop = asyncio.get_running_loop()
        self._mid = secrets.randbelow(1 << 16)
        self._hello = b""
        self._wanted: dict[bytes, int] = {}
        self._lids: dict[Peer, bytes] = {}
        self._solicited = b""
        self._listener: GroupListener | None = None
        self._attending: GroupListener | None = None
        self._application: Application | None = None
        self._polls: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None
        self.inbox: Final = Inbox()
        self.traffic: Final = Traffic()
        self._requests = Requests(self._transmit, self._next_mid, timing)
        self._responses = Responses(
            self._transmit,
            self._next_mid,
            self._loop.time,
            receive,
            lambda peer, data: self.send(peer, data, None),
            self.inbox,
            lambda: self._hello,
        )

    @classmethod
    async def open(
        cls,
        bind: tuple[str, int],
        receive: Receive,
        *,
        timing: Timing | None = None,
        group: Group | None = None,
        listen: bool = False,
    ) -> Self:
        """Bind one address (port 0: any free one). `group` is where HELLOs go; with `listen` they are heard, too.

        Raises:
            CallerFault: the address is not one of this machine, or stands for all of them.
            Unavailable: the port is taken, or the group cannot be joined.
        """
        host, port = bind
        if host in ("", "0.0.0.0", "::"):  # noqa: S104  named to refuse it
            raise CallerFault(f"cannot serve CoAP on {host or 'no address'}", do="bind one address of this machine")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            sock.bind((host, port))
            if group is not None and family is socket.AF_INET:
                allow_sending(sock, group)
            sock.setblocking(False)
        except OSError as error:
            sock.close()
            if isinstance(error, socket.gaierror) or error.errno == EADDRNOTAVAIL:
                raise CallerFault(f"{host} is not an address of this machine", do="bind one that is") from error
            raise Unavailable(
                f"cannot bind udp {host}:{port}: {error.strerror}", do="stop what uses the port or choose another"
            ) from error
        self = cls(receive, timing or Timing(), group)
        await self._loop.create_datagram_endpoint(lambda: self, sock=sock)
        if listen and group is not None:
            try:
                self._listener = await GroupListener.join(group, self._heard_by_all)
            except BaseException:
                self.close()
                raise
        return self

    @property
    def address(self) -> Peer:
        """The handle under which peers reach this endpoint."""
        return peer_of(self.socket_address)

    @property
    def socket_address(self) -> tuple[str, int]:
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")[:2]
        return host, port

    # ------------------------------------------------------------------ the link

    def send(self, peer: Peer, data: bytes, failed: Callable[[], None] | None) -> None:
        """Carry one datagram; to `MULTICAST` it goes unconfirmed, and a HELLO stays what `GET /k` answers.

        A group's record goes to the resource that it is for; what the path says does not stand in the body.
        """
        path, body = request_of(data) if is_group_record(data) else (_DATAGRAMS, data)
        if peer == MULTICAST:
            if is_hello(data):
                self._hello = data
                self._announce(data, self._group)
            else:
                self._announce(body, self._ring, path)
            return
        lid = self._box_of(peer, data)
        if lid is not None and self.inbox.expects_reader(lid, self._loop.time()):
            self.inbox.keep(lid, data, self._loop.time())
            self._transmit(peer, self._unconfirmed(body, path))  # should the device be awake
            return
        self._requests.ask(
            peer,
            Code.POST,
            path,
            body,
            partial(self._answered, peer),
            partial(self._undelivered, lid, data, failed),
        )

    async def attend(self, group: Group) -> None:
        """Send what is for everybody in a ring to `group` from now on, and hear it there.

        Raises:
            Unavailable: this machine cannot join the group.
        """
        if group == self._ring and self._listener is not None:
            return
        assert self._transport is not None
        listener = await GroupListener.join(group, self._heard_by_all)
        allow_sending(self._transport.get_extra_info("socket"), group)
        if self._attending is not None:
            self._attending.close()
        self._ring, self._attending = group, listener

    def discover(self, peer: Peer, failed: Callable[[], None] | None = None) -> None:
        """Ask one endpoint for its HELLO (`GET /k`); it arrives as a datagram of that peer."""
        self._requests.ask(peer, Code.GET, (b"k",), b"", partial(self._answered, peer), failed)

    def solicit(self) -> None:
        """Ask everybody in the group for a HELLO (RFC 7252 8.1); those that come are heard as datagrams."""
        if self._transport is None or self._group is None:
            return
        self._solicited = secrets.token_bytes(4)
        question = CoapMessage(Kind.NON, Code.GET, self._next_mid(), self._solicited, ((Option.URI_PATH, b"k"),))
        self._transport.sendto(question.encode(), (self._group.address, self._group.port))

    def poll(self, every_s: float, where: Callable[[], tuple[Peer, Sequence[bytes]] | None]) -> None:
        """Fetch what waits at a manager until `close`, for a device that cannot be reached.

        `where` returns the manager's address and the pseudonyms under which the device's link may be spoken to now (the
        present and the next one), or the client's id where there is no link by design; None while there is no link yet.
        """
        task = self._loop.create_task(self._polling(every_s, where), name="inbox")
        self._polls.add(task)
        task.add_done_callback(self._polls.discard)

    def name_box(self, peer: Peer, name: bytes) -> None:
        """Keep what cannot be delivered to `peer` under this name of 8 bytes, until a LINK record to it names another one."""
        self._lids.pop(peer, None)
        self._lids[peer] = name

    def fetch(self, peer: Peer, lid: bytes) -> None:
        """Fetch what waits under one pseudonym and was not fetched before; again at once while something came."""
        body = encode_fetch(lid, self._wanted.get(lid, 0))
        self._requests.ask(peer, Code.FETCH, (b"k", b"inbox"), body, partial(self._fetched, peer, lid), None)

    # ------------------------------------------------------------------ an application beside us

    def mount(self, application: Application) -> None:
        """Hand messages for other resources to `application` from now on."""
        self._application = application

    def transmit_raw(self, data: bytes, address: tuple[str, int]) -> None:
        """Send the application's datagram from our socket."""
        if self._transport is not None:
            self.traffic.count(data)
            self._transport.sendto(data, address)

    def close(self) -> None:
        """Stop at once; requests under way end without a word."""
        for task in self._polls:
            task.cancel()
        self._requests.close()
        for listener in (self._listener, self._attending):
            if listener is not None:
                listener.close()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    # ------------------------------------------------------------------ datagrams

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # asyncio's own class is none by inheritance

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.traffic.count(data)
        try:
            message = CoapMessage.decode(data)
        except PeerFault:
            return  # RFC 7252 4.2: silently ignored; a reset would tell a scanner who listens
        peer = peer_of(addr)
        if message.is_request:
            if message.kind in (Kind.CON, Kind.NON):
                self._request(peer, message, data, addr)
        elif message.kind is Kind.CON and message.code == Code.EMPTY:
            self._transmit(peer, empty(Kind.RST, message.mid))  # a ping
        elif message.kind is Kind.NON and self._solicited and message.token == self._solicited:
            self._answered(peer, message.payload)  # one of possibly many managers
        elif not self._requests.heard(peer, message):
            if self._application is not None:
                self._application.heard(data, addr)
            elif message.kind is Kind.CON:
                self._transmit(peer, empty(Kind.RST, message.mid))

    def error_received(self, exc: Exception) -> None:
        """A port unreachable of some peer: its requests end by their own timers."""

    def _request(self, peer: Peer, message: CoapMessage, data: bytes, addr: tuple[str, int]) -> None:
        if self._application is not None and message.path[:1] not in OUR_ROOTS:
            self._application.heard(data, addr)
        else:
            self._responses.heard(peer, message)

    def _heard_by_all(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is None or addr[:2] == self.socket_address:
            return
        self.traffic.count(data)
        try:
            self._responses.heard_by_all(peer_of(addr), CoapMessage.decode(data))
        except PeerFault:
            return

    def _transmit(self, peer: Peer, data: bytes) -> None:
        if self._transport is not None:
            self.traffic.count(data)
            self._transport.sendto(data, address_of(peer))

    def _announce(self, body: bytes, group: Group | None, path: tuple[bytes, ...] = _DATAGRAMS) -> None:
        if self._transport is not None and group is not None:
            datagram = self._unconfirmed(body, path)
            self.traffic.count(datagram)
            self._transport.sendto(datagram, (group.address, group.port))

    def _unconfirmed(self, body: bytes, path: tuple[bytes, ...]) -> bytes:
        options = (*((Option.URI_PATH, part) for part in path), (Option.CONTENT_FORMAT, uint(OCTETS)))
        return CoapMessage(Kind.NON, Code.POST, self._next_mid(), b"", options, body).encode()

    def _next_mid(self) -> int:
        self._mid = (self._mid + 1) & 0xFFFF
        return self._mid

    # ------------------------------------------------------------------ what comes back

    def _answered(self, peer: Peer, answer: bytes) -> None:
        if answer:
            self._receive(peer, answer, None)

    def _box_of(self, peer: Peer, data: bytes) -> bytes | None:
        """Return the inbox of the device at `peer`: the pseudonym under which it was spoken to last, None for others.

        Only what we send counts, because the engine sends LINK records to nobody but the proved end of a link.
        """
        lid = pseudonym(data)
        if lid is None:
            return self._lids.get(peer)
        self._lids.pop(peer, None)
        self._lids[peer] = lid
        if len(self._lids) > MAX_INBOXES:
            del self._lids[next(iter(self._lids))]
        return lid

    def _undelivered(self, lid: bytes | None, data: bytes, failed: Callable[[], None] | None) -> None:
        """Keep a datagram for the device that did not answer; it may come for it within the day."""
        if lid is not None:
            self.inbox.keep(lid, data, self._loop.time())
            if self.inbox.expects_reader(lid, self._loop.time()):
                return  # it has come for its mail meanwhile
        if failed is not None:
            failed()

    async def _polling(self, every_s: float, where: Callable[[], tuple[Peer, Sequence[bytes]] | None]) -> None:
        while True:
            linked = where()
            if linked is not None:
                peer, lids = linked
                self._wanted = {lid: self._wanted.get(lid, 0) for lid in lids}
                for lid in lids:
                    self.fetch(peer, lid)
            await asyncio.sleep(every_s)

    def _fetched(self, peer: Peer, lid: bytes, answer: bytes) -> None:
        try:
            following, datagrams = decode_answer(answer)
        except PeerFault:
            return
        self._wanted[lid] = following
        for datagram in datagrams:
            self._receive(peer, datagram, None)
        if datagrams:
            self.fetch(peer, lid)
