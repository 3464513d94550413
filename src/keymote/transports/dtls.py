"""DTLS 1.2 with pre-shared keys over one UDP socket, for clients that got their key by `pair export` (extra `dtls`).

A source address costs nothing until it has returned a cookie (RFC 6347 4.2.1); keys are looked up among the live sessions
at each handshake; `end` closes what runs under a revoked one at once. Importing raises Unavailable without the extra.
"""

import asyncio
import contextlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from errno import EADDRNOTAVAIL
from itertools import islice
from typing import Any, Final, Self, cast

from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, Unavailable

try:
    from mbedtls.exceptions import TLSError
    from mbedtls.tls import (
        DTLSConfiguration,
        DTLSVersion,
        HandshakeStep,
        HelloVerifyRequest,
        ServerContext,
        TLSWrappedBuffer,
        WantReadError,
        WantWriteError,
    )
except ImportError as error:
    raise Unavailable("DTLS needs the package python-mbedtls", do="install keymote[dtls]") from error

Address = tuple[str, int]

DEFAULT_PORT: Final = 5684
"""coaps (RFC 7252 12.7)."""
CIPHERS: Final = (
    "TLS-ECDHE-PSK-WITH-CHACHA20-POLY1305-SHA256",
    "TLS-PSK-WITH-AES-128-CCM-8",
    "TLS-PSK-WITH-AES-128-GCM-SHA256",
)
"""In our order of preference: an ECDH exchange when the client can (Triad-1 2.8), AEADs only."""
MAX_PAYLOAD: Final = 16384
"""Bytes of one record (RFC 6347 4.1)."""

_HEADER: Final = 13
_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_UNKNOWN_KEY: Final = 16
_OUTGOING: Final = 65536


@dataclass(frozen=True, slots=True)
class Limits:
    """What strangers may cost: a peer takes about 48 KiB, and the one that was quiet longest gives way to a new one."""

    peers: int = 512
    handshakes: int = 64
    handshake_s: float = 10.0
    idle_s: float = 300.0


class DtlsPeer:
    """A client that has proven to know the key of `identity`; also the wire on which CoAP answers it."""

    __slots__ = ("_server", "heard_at", "identity", "remote", "tls")

    def __init__(self, server: "DtlsServer", remote: Address, identity: str, tls: TLSWrappedBuffer, now: float) -> None:
        self._server = server
        self.remote: Final = remote
        self.identity: Final = identity
        self.tls: Final = tls
        self.heard_at = now

    @property
    def address(self) -> str:
        """Where the client reaches us."""
        return self._server.address

    def transmit_raw(self, data: bytes, _remote: Address | None = None) -> None:
        """Send one record; nothing happens when the client is gone, whoever has its port now."""
        self._server.send(self, data)


@dataclass(slots=True, eq=False)
class _Handshake:
    """A client whose address is proven; `claimed` is the identity that it has named, "" before."""

    remote: Address
    tls: TLSWrappedBuffer
    since: float
    claimed: str = ""


class _Keyring(Mapping[str, bytes]):
    """The view of the live sessions' keys that the library asks during a handshake; remembers for which identity."""

    def __init__(self, lookup: Callable[[str], Secret | None]) -> None:
        self.lookup: Final = lookup
        self.asked = ""

    def __getitem__(self, identity: str) -> bytes:
        """Return the key; for an unknown identity one that nobody has, so that both end alike (RFC 4279 2)."""
        self.asked = identity
        key = self.lookup(identity)
        return secrets.token_bytes(_UNKNOWN_KEY) if key is None else key.expose()

    def __iter__(self) -> Iterator[str]:
        """Name nobody: identities are known to those who ask for them."""
        return iter(())

    def __len__(self) -> int:
        return 0


class DtlsServer(asyncio.DatagramProtocol):
    """Speaks DTLS with every client that knows a key of `lookup(identity)`; `heard(peer, payload)` takes what they say.

    The client's timers drive retransmission on both sides: a lost flight of ours is asked for again.
    """

    def __init__(
        self,
        lookup: Callable[[str], Secret | None],
        heard: Callable[[DtlsPeer, bytes], None],
        limits: Limits,
    ) -> None:
        self._keys = _Keyring(lookup)
        self._context = ServerContext(
            DTLSConfiguration(
                validate_certificates=False,  # there are none
                ciphers=CIPHERS,
                lowest_supported_version=DTLSVersion.DTLSv1_2,
                pre_shared_key_store=self._keys,
            )
        )
        self._heard = heard
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._shaking: OrderedDict[Address, _Handshake] = OrderedDict()
        self._peers: OrderedDict[Address, DtlsPeer] = OrderedDict()
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.ended: Callable[[DtlsPeer], None] = lambda _peer: None
        """Called when an established client is gone, for whatever reason."""

    @classmethod
    async def open(
        cls,
        bind: Address,
        lookup: Callable[[str], Secret | None],
        heard: Callable[[DtlsPeer, bytes], None],
        *,
        limits: Limits | None = None,
    ) -> Self:
        """Bind one address (port 0: any free one) and serve until `close`.

        Raises:
            CallerFault: the address is not one of this machine.
            Unavailable: the port is taken.
        """
        self = cls(lookup, heard, limits or Limits())
        try:
            await self._loop.create_datagram_endpoint(lambda: self, local_addr=bind)
        except OSError as error:
            host, port = bind
            if error.errno == EADDRNOTAVAIL:
                raise CallerFault(f"{host} is not an address of this machine", do="bind one that is") from error
            raise Unavailable(
                f"cannot bind udp {host}:{port}: {error.strerror}", do="stop what uses the port or choose another"
            ) from error
        return self

    @property
    def socket_address(self) -> Address:
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")[:2]
        return host, port

    @property
    def address(self) -> str:
        """Where clients reach this server: `coaps://127.0.0.1:5684`."""
        host, port = self.socket_address
        return f"coaps://[{host}]:{port}" if ":" in host else f"coaps://{host}:{port}"

    @property
    def identities(self) -> frozenset[str]:
        """The identities of the clients that are connected now."""
        return frozenset(peer.identity for peer in self._peers.values())

    @property
    def connections(self) -> int:
        return len(self._peers)

    @property
    def handshakes(self) -> int:
        """Clients that have returned a cookie and not yet proven a key."""
        return len(self._shaking)

    def send(self, peer: DtlsPeer, payload: bytes) -> None:
        """Send one record; nothing happens when the peer is gone."""
        if self._peers.get(peer.remote) is not peer:
            return
        if len(payload) > MAX_PAYLOAD:
            raise CallerFault(f"{len(payload)} bytes, a record takes at most {MAX_PAYLOAD}", do="send it in parts")
        peer.tls.write(payload)
        self._flush(peer)

    def end(self, identity: str) -> int:
        """Close every connection under this key with close_notify; return how many there were.

        A handshake under way for it fails, if `lookup` does not know the identity any more.
        """
        ending = [peer for peer in self._peers.values() if peer.identity == identity]
        for peer in ending:
            self._drop(peer, say=True)
        return len(ending)

    def close(self) -> None:
        """Close every connection and the socket."""
        for peer in tuple(self._peers.values()):
            self._drop(peer, say=True)
        self._shaking.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    # ------------------------------------------------------------------ datagrams

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # asyncio's own class is none by inheritance

    def error_received(self, exc: Exception) -> None:
        """A port unreachable of some client: it ends by its idle time."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        address: Address = addr[:2]
        for record in _records(data):
            if (shaking := self._shaking.get(address)) is not None:
                self._shake(shaking, record)
            elif (peer := self._peers.get(address)) is not None and not _begins(record):
                self._take(peer, record)
            elif _begins(record):  # also of a client that lost its state: the old one stays until it has proven itself
                self._knock(address, record)

    def _knock(self, address: Address, record: bytes) -> None:
        """Answer a ClientHello by a cookie and remember nothing; when it brings the cookie begin a handshake."""
        newcomer = _Handshake(address, self._context.wrap_buffers(), self._loop.time())
        newcomer.tls.setcookieparam(repr(address).encode())
        try:
            self._advance(newcomer, record)
        except HelloVerifyRequest:
            self._flush(newcomer)
        except TLSError:
            self._flush(newcomer)  # the alert, shorter than what asked for it
        else:
            if len(self._shaking) >= self._limits.handshakes:
                self._shaking.popitem(last=False)
            self._shaking[address] = newcomer
            self._watch()

    def _shake(self, shaking: _Handshake, record: bytes) -> None:
        self._keys.asked = ""
        try:
            done = self._advance(shaking, record)
        except TLSError:
            self._flush(shaking)  # the alert
            del self._shaking[shaking.remote]
            return
        shaking.claimed = self._keys.asked or shaking.claimed
        if done:
            del self._shaking[shaking.remote]
            self._admit(shaking)

    def _advance(self, shaking: _Handshake, record: bytes) -> bool:
        """Feed one record to a handshake and send what it says; return whether it is complete."""
        shaking.tls.receive_from_network(record)
        while not _complete(shaking.tls):
            try:
                shaking.tls.do_handshake()
            except WantWriteError:
                self._flush(shaking)
            except WantReadError:
                self._flush(shaking)
                return False
        self._flush(shaking)
        return True

    def _admit(self, shaking: _Handshake) -> None:
        """Let a client in, unless its key was revoked during the handshake."""
        peer = DtlsPeer(self, shaking.remote, shaking.claimed, shaking.tls, self._loop.time())
        known = self._peers.get(peer.remote)
        if known is not None:
            self._drop(known, say=False)  # it starts anew from the same port
        if self._keys.lookup(peer.identity) is None:
            self._farewell(peer)
            return
        if len(self._peers) >= self._limits.peers:
            self._drop(next(iter(self._peers.values())), say=True)
        self._peers[peer.remote] = peer
        self._watch()

    def _take(self, peer: DtlsPeer, record: bytes) -> None:
        """Open one record of an established client; what does not verify is dropped without a word (RFC 6347 4.1.2.7)."""
        peer.tls.receive_from_network(record)
        try:
            payload = peer.tls.read(MAX_PAYLOAD)
        except (WantReadError, WantWriteError):
            self._flush(peer)  # our last flight once more, if the client has missed it
            return
        except TLSError:  # close_notify, or an authentic fatal alert
            self._drop(peer, say=True)
            return
        if payload:
            peer.heard_at = self._loop.time()
            self._peers.move_to_end(peer.remote)
            self._heard(peer, bytes(payload))

    # ------------------------------------------------------------------ what leaves

    def _flush(self, whose: DtlsPeer | _Handshake) -> None:
        data = whose.tls.peek_outgoing(_OUTGOING)
        if data and self._transport is not None:
            whose.tls.consume_outgoing(len(data))
            self._transport.sendto(data, whose.remote)

    def _drop(self, peer: DtlsPeer, *, say: bool) -> None:
        del self._peers[peer.remote]
        if say:
            self._farewell(peer)
        self.ended(peer)

    def _farewell(self, peer: DtlsPeer) -> None:
        with contextlib.suppress(TLSError):
            peer.tls.shutdown()
        self._flush(peer)

    # ------------------------------------------------------------------ who was quiet for too long

    def _watch(self) -> None:
        """Wake up when the oldest handshake or the quietest client is due; one timer serves all."""
        oldest: list[DtlsPeer | _Handshake] = [*islice(self._shaking.values(), 1), *islice(self._peers.values(), 1)]
        if not oldest:
            return
        due = min(map(self._due, oldest))
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._sweep)

    def _due(self, whose: DtlsPeer | _Handshake) -> float:
        if isinstance(whose, DtlsPeer):
            return whose.heard_at + self._limits.idle_s
        return whose.since + self._limits.handshake_s

    def _sweep(self) -> None:
        self._timer = None
        now = self._loop.time()
        for shaking in [one for one in self._shaking.values() if self._due(one) <= now]:
            del self._shaking[shaking.remote]
        for peer in [one for one in self._peers.values() if self._due(one) <= now]:
            self._drop(peer, say=True)
        self._watch()


def _records(datagram: bytes) -> Iterator[bytes]:
    """Yield the records of a datagram one by one, as the library wants them; the rest of a broken one is dropped."""
    while len(datagram) >= _HEADER:
        end = _HEADER + int.from_bytes(datagram[11:13], "big")
        if end > len(datagram):
            return
        yield datagram[:end]
        datagram = datagram[end:]


def _begins(record: bytes) -> bool:
    """Return whether a record is an unprotected ClientHello."""
    return (
        len(record) > _HEADER
        and record[0] == _HANDSHAKE
        and record[3:5] == b"\0\0"
        and record[_HEADER] == _CLIENT_HELLO
    )


def _complete(tls: TLSWrappedBuffer) -> bool:
    state: object = tls._handshake_state  # noqa: SLF001  the library gives no other sign, and its stub calls it an int
    return state is HandshakeStep.HANDSHAKE_OVER
