"""The MQTT-SN side of an agent: a mote that proved who it is connects as itself, from where it proved it.

CONNAUTH and HO_REQ come as Keymote datagrams on topic id 0xFFF0. Once the agent has answered one, that address may CONNECT
with the client's id in hex as MQTT-SN client id; the gateway has the password of the account, the mote needs none.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from keymote.crypto.secret import Secret
from keymote.engine.base import Peer
from keymote.engine.mqttsn.faces import Address
from keymote.errors import PeerFault
from keymote.transports.mqtt.paho_loop import BrokerPlace
from keymote.transports.mqtt.upstream import Upstream
from keymote.transports.mqttsn import SCHEME, GatewayOptions, MqttSnGateway
from keymote.wire.admin import to_base64url
from keymote.wire.registry import peek
from keymote.wire.topic import ConnackAuth, Connauth, HoAck, HoReq

MOST_ASKING: Final = 1024
"""Addresses that asked within `ASKED_S`."""
ASKED_S: Final = 30.0
"""An address speaks for one client so long after its last request: every answer to that has come by then, or never will.

Answers do not name the client. If an address could ask for another one meanwhile, it would have that one's account by the
answer to its own request.
"""
_ID: Final = slice(4, 12)
_BYTES_8: Final = b"\x48"


class Motes:
    """Motes at one agent's broker. `receive` takes their datagrams, `send` and `account` say what came of them."""

    def __init__(
        self, options: GatewayOptions, broker: tuple[str, int], receive: Callable[[Peer, bytes], None]
    ) -> None:
        self._receive = receive
        self._clock = asyncio.get_running_loop().time
        self._asking: dict[Peer, tuple[str, float]] = {}
        self._proved: dict[str, Peer] = {}
        self._passwords: dict[str, Secret] = {}
        upstream = Upstream(BrokerPlace(*broker), "", self._passwords.get)
        self.gateway: Final = MqttSnGateway(options, upstream, receive=self._heard, admits=self._admits)

    def send(self, peer: Peer, data: bytes) -> None:
        """Bring an answer to a mote; one that says that it proved itself lets it connect from there."""
        if peek(data)[0] in (ConnackAuth.mt, HoAck.mt) and peer in self._asking:
            self._proved[self._asking[peer][0]] = peer
        self.gateway.send(peer, data)

    def opened(self, client: str, password: Secret) -> None:
        """Know the account of a client at the broker."""
        self._passwords[client] = Secret(to_base64url(password.expose()).encode())

    def closed(self, client: str) -> None:
        """Forget a client that has no account any more."""
        self._passwords.pop(client, None)
        self._proved.pop(client, None)

    def _heard(self, peer: Peer, data: bytes) -> None:
        client = _claimed(data)
        if not client or self._may_ask(peer, client):
            self._receive(peer, data)

    def _may_ask(self, peer: Peer, client: str) -> bool:
        """Remember who asks for whom; no other client for a while, and nobody when too many ask."""
        now = self._clock()
        asked = self._asking.get(peer)
        if asked is None and len(self._asking) >= MOST_ASKING:
            self._asking = {known: entry for known, entry in self._asking.items() if now < entry[1] + ASKED_S}
            if len(self._asking) >= MOST_ASKING:
                return False
        if asked is not None and asked[0] != client and now < asked[1] + ASKED_S:
            return False
        self._asking[peer] = client, now
        return True

    def _admits(self, client: str, address: Address) -> bool:
        return self._proved.get(client) == f"{SCHEME}{address}"


def _claimed(data: bytes) -> str:
    """Return the client that a request names, in hex; nothing has been proved yet."""
    try:
        asks = peek(data)[0] in (Connauth.mt, HoReq.mt) and data[3:4] == _BYTES_8
    except PeerFault:
        return ""
    return data[_ID].hex() if asks else ""
