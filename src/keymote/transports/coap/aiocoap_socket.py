"""Sockets of ours as aiocoap wants to see them: the CoAP endpoint's own, and connections that are secured below CoAP."""

import logging
from collections import deque
from typing import Any, Final, Protocol

from aiocoap import error, interfaces
from aiocoap.messagemanager import MessageManager
from aiocoap.transports.generic_udp import GenericMessageInterface

from keymote.transports.coap.endpoint import peer_of

REMEMBERED_S: Final = 45.0
"""Longest time over which a client repeats a request (RFC 7252 MAX_TRANSMIT_SPAN)."""
MAX_REMEMBERED: Final = 1024


class Wire(Protocol):
    """What carries messages to an address: the endpoint, or a DTLS server's connections."""

    @property
    def address(self) -> str: ...

    def transmit_raw(self, data: bytes, address: tuple[str, int]) -> None: ...


class RemoteAddress(interfaces.EndpointAddress):  # type: ignore[misc]  # untyped library
    """A peer by the wire that reaches it; `party` is set when the wire itself has proved who it is."""

    is_multicast = False
    is_multicast_locally = False
    scheme = "coap"

    def __init__(self, wire: Wire, address: tuple[str, int], scheme: str = "coap", party: object = None) -> None:
        self.wire = wire
        self.address = address
        self.scheme = scheme
        self.party = party

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteAddress) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"<{self.uri_base}>"

    @property
    def _key(self) -> tuple[Wire, tuple[str, int]]:
        return self.wire, self.address

    def send(self, data: bytes) -> None:
        self.wire.transmit_raw(data, self.address)

    @property
    def hostinfo(self) -> str:
        return peer_of(self.address).partition("://")[2]

    @property
    def uri_base(self) -> str:
        return f"{self.scheme}://{self.hostinfo}"

    @property
    def hostinfo_local(self) -> str:
        return self.wire.address.partition("://")[2]

    @property
    def uri_base_local(self) -> str:
        return self.wire.address

    @property
    def blockwise_key(self) -> tuple[Wire, tuple[str, int]]:
        return self._key


class SharedSocket(GenericMessageInterface):  # type: ignore[misc]  # untyped library
    """aiocoap's transport: it is handed messages, and sends through their addresses."""

    def __init__(self, messages: Any, log: logging.Logger, loop: Any) -> None:
        super().__init__(messages, log, loop)
        self._mman: Any = messages  # None after shutdown

    def take(self, data: bytes, remote: RemoteAddress) -> None:
        if self._mman is not None:
            self._received_datagram(remote, data)

    def lose(self, wire: Wire, address: tuple[str, int]) -> None:
        """End what is under way over a wire that reaches nobody any more."""
        if self._mman is not None:
            self._received_exception(RemoteAddress(wire, address), error.NetworkError("the connection is closed"))

    async def recognize_remote(self, remote: object) -> bool:
        return isinstance(remote, RemoteAddress)

    async def shutdown(self) -> None:
        self._mman = None


class BoundedMessages(MessageManager):  # type: ignore[misc]  # untyped library
    """aiocoap's message layer with a bounded memory of what it has answered.

    The library keeps 2.3 KiB of each request for 247 s, a stranger's too: 1 000 a second would be 570 MB. A protected request
    that is repeated after it was forgotten is refused by its context's replay window.
    """

    def __init__(self, tokens: Any) -> None:
        super().__init__(tokens)
        self._by_age: deque[tuple[float, tuple[Any, int]]] = deque()

    def _deduplicate_message(self, message: Any) -> bool:
        """Return whether this is the repetition of a message, and answer it as before."""
        now = self.loop.time()
        while self._by_age and (len(self._by_age) >= MAX_REMEMBERED or self._by_age[0][0] < now - REMEMBERED_S):
            self._recent_messages.pop(self._by_age.popleft()[1], None)
        key = (message.remote, message.mid)
        if key in self._recent_messages:
            repeated: bool = super()._deduplicate_message(message)
            return repeated
        self._recent_messages[key] = None
        self._by_age.append((now, key))
        return False
