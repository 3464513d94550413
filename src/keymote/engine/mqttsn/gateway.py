"""The gateway of MQTT-SN 1.2: every client that speaks to it, in front of an MQTT broker that it sees as sessions.

Nobody authenticates in MQTT-SN, so a client id belongs to the address that connected with it for as long as it lives
(decision 0195); what is malformed, unknown or out of turn is counted and changes nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from math import inf
from typing import Final

from keymote.engine.base import Now, Peer, Received, replace
from keymote.engine.mqttsn.clients import Challenger, Client, Step, say, tell
from keymote.engine.mqttsn.connecting import (
    connected,
    disconnected,
    opened,
    pinged,
    refused,
    silent,
    will_changed,
    will_told,
)
from keymote.engine.mqttsn.delivering import answered, arrived, heard_again, pumped, repeated
from keymote.engine.mqttsn.faces import (
    KEYMOTE_TOPIC,
    OWN,
    Address,
    Announce,
    Arrived,
    Closed,
    FromBroker,
    Hand,
    Input,
    Message,
    Note,
    Opened,
    Output,
    Publish,
    Reply,
    Settings,
    Tick,
    Wanted,
)
from keymote.engine.mqttsn.publishing import published, registered, released, settled, subscribed, unsubscribed
from keymote.engine.mqttsn.states import CONNECTED, GONE, State
from keymote.engine.mqttsn.topics import Topics, has_wildcard, name_of
from keymote.errors import ErrorCode, PeerFault
from keymote.wire import mqttsn
from keymote.wire.mqttsn import (
    Advertise,
    Connack,
    Connect,
    Disconnect,
    Forward,
    GwInfo,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
    Regack,
    Register,
    SearchGw,
    Unsubscribe,
    WillMsg,
    WillMsgUpd,
    WillTopic,
    WillTopicUpd,
)
from keymote.wire.mqttsn_fields import Predefined, ReturnCode

MOST_NODE: Final = 32
"""Bytes of a wireless node's id behind a forwarder."""
_ASKING: Final = (Register, mqttsn.Publish, mqttsn.Subscribe, Unsubscribe, Pingreq, WillTopicUpd, WillMsgUpd)
"""Packets of a client that believes that it is connected. DISCONNECT is none: two gateways would answer each other forever."""
_CONNECTING: Final = frozenset({State.AWAIT_WILL_TOPIC, State.AWAIT_WILL_MESSAGE, State.AWAIT_BROKER})


Admits = Callable[[str, Address], bool]
"""`(client id, where)`: whether this client may connect from there."""


class Gateway:
    """All clients of one gateway. `keymote`: somebody here takes the payloads of `KEYMOTE_TOPIC`.

    With `admits` nobody else may connect, and nobody publishes without a connection (QoS -1) but Keymote datagrams.
    """

    def __init__(self, settings: Settings, *, keymote: bool = False, admits: Admits | None = None) -> None:
        self.settings: Final = settings
        self.tally: Final[Counter[str]] = Counter()
        self._keymote = keymote
        self._admits = admits
        self._clients: dict[str, Client] = {}
        self._bound: dict[Address, str] = {}
        self._deadlines: dict[str, float] = {}
        self._advertise_at = 0.0 if settings.advertise_s else inf

    def handle(self, item: Input, now: Now) -> list[Wanted]:
        """Take in one item and return what it leads to, in order; `tally` counts the rest."""
        match item:
            case Received(peer, data):
                outputs = self._datagram(peer, data, now)
            case Tick():
                outputs = self._due(now)
            case Reply(address, data):
                outputs = self._replied(address, data, now)
            case _:
                outputs = self._from_broker(item, now)
        self.tally.update(output.what for output in outputs if isinstance(output, Note))
        return [output for output in outputs if not isinstance(output, Note)]

    def deadline(self) -> float | None:
        """Return when `Tick` is due on the monotonic clock."""
        at = min(self._deadlines.values(), default=inf)
        at = min(at, self._advertise_at)
        return None if at == inf else at

    def states(self) -> Counter[State]:
        """Return how many clients are in each state."""
        return Counter(client.phase for client in self._clients.values())

    def state(self, client: str) -> State:
        """Return the state of one client; of one that was never heard it is disconnected."""
        known = self._clients.get(client)
        return State.DISCONNECTED if known is None else known.phase

    def waiting(self) -> Mapping[str, int]:
        """Return how many messages wait for each client that some wait for."""
        return {client.id: len(client.queue) for client in self._clients.values() if client.queue}

    # ------------------------------------------------------------------ datagrams

    def _datagram(self, peer: Peer, data: bytes, now: Now) -> list[Output]:
        try:
            packet, address = _unwrapped(peer, data)
        except PeerFault:
            return [Note("malformed")]
        match packet:
            case Connect():
                return self._connect(address, packet, now)
            case SearchGw():
                return [say(address, GwInfo(self.settings.gw_id))]
            case Advertise() | GwInfo():
                return [Note("unexpected")]
        client = self._clients.get(self._bound.get(address, ""))
        if client is None or client.phase in GONE:
            return self._stranger(address, client, packet)
        if isinstance(packet, Pingreq) and packet.client_id not in (None, client.id):
            return [Note("address-refused")]
        outputs = self._unchallenged(client)
        client = replace(self._clients[client.id], heard_at=now.mono)
        client, more = self._heard(client, packet, now)
        return [*outputs, *self._kept(client, more)]

    def _stranger(self, address: Address, gone: Client | None, packet: Packet) -> list[Output]:
        """Answer somebody who is not connected: QoS -1 needs no connection, the others had better connect."""
        match packet:
            case mqttsn.Publish(qos=-1, topic=topic, data=data):
                if topic == Predefined(KEYMOTE_TOPIC) and self._keymote:
                    return [Hand(address, "", data)]
                if self._admits is not None:
                    return [Note("stranger")]
                name = name_of(topic, Topics(), self.settings.predefined)
                if name is None or has_wildcard(name):
                    return [Note("unknown-topic")]
                return [Publish(OWN, 0, Message(name, data, 0, packet.retain))]
            case Pingreq(client_id=str(named)) if named in self._clients and self._clients[named].phase not in GONE:
                return [Note("address-refused")]
            case Disconnect() if gone is not None:
                return [tell(gone, Disconnect())]
            case _ if isinstance(packet, _ASKING):
                return [Note("stranger"), say(address, Disconnect())]
            case _:
                return [Note("stranger")]

    def _heard(self, client: Client, packet: Packet, now: Now) -> Step:
        """Step a client that is not gone by a packet from its address."""
        settings = self.settings
        match packet:
            case WillTopic() | WillMsg():
                return will_told(client, packet, settings, now)
            case Disconnect():
                return disconnected(client, packet, now)
            case _ if client.phase not in CONNECTED:
                return client, [Note("unexpected")]
            case Register():
                client, outputs = registered(client, packet, settings)
            case mqttsn.Publish():
                client, outputs = published(client, packet, settings, keymote=self._keymote)
            case Regack() | Puback() | Pubrec() | Pubcomp():
                client, outputs = answered(client, packet, settings, now)
            case Pubrel():
                client, outputs = released(client, packet)
            case mqttsn.Subscribe():
                client, outputs = subscribed(client, packet, settings)
            case Unsubscribe():
                client, outputs = unsubscribed(client, packet, settings)
            case WillTopicUpd() | WillMsgUpd():
                client, outputs = will_changed(client, packet)
            case Pingreq():
                return pinged(heard_again(client), settings, now)
            case Pingresp():
                outputs = []
            case _:
                return client, [Note("unexpected")]
        client, more = pumped(heard_again(client), settings, now) if client.phase is State.ACTIVE else (client, [])
        return client, [*outputs, *more]

    # ------------------------------------------------------------------ who is who

    def _connect(self, address: Address, packet: Connect, now: Now) -> list[Output]:
        if self._admits is not None and not self._admits(packet.client_id, address):
            return [Note("not-admitted"), say(address, Connack(ReturnCode.NOT_SUPPORTED))]
        outputs: list[Output] = []
        other = self._clients.get(self._bound.get(address, ""))
        if other is not None and other.id != packet.client_id and other.phase not in GONE:
            outputs += self._kept(*silent(other))  # its address is somebody else's now
        client = self._clients.get(packet.client_id)
        if client is not None and client.address != address and client.phase not in GONE and self._admits is None:
            return [*outputs, *self._challenged(client, address, packet, now)]
        if client is None or client.phase in GONE:
            if not self._has_room(client):
                return [*outputs, Note("congestion"), say(address, Connack(ReturnCode.CONGESTION))]
            client = replace(client or Client(packet.client_id, address), address=address)
        else:
            outputs += self._unchallenged(client)
            client = self._clients[client.id]
            if client.address != address:  # it proved there who it is
                outputs += [Note("address-moved"), tell(client, Disconnect())]
                client = replace(client, address=address)
        return [*outputs, *self._kept(*connected(client, packet, self.settings, now))]

    def _has_room(self, client: Client | None) -> bool:
        """Say whether one more may connect; the client that has been gone for longest is forgotten for it."""
        connecting = sum(known.phase in _CONNECTING for known in self._clients.values())
        if connecting >= self.settings.most_connecting:
            return False
        if client is not None or len(self._clients) < self.settings.most_clients:
            return True
        gone = min((known for known in self._clients.values() if known.phase in GONE), key=_heard_at, default=None)
        if gone is None:
            return False
        self._forget(gone)
        return True

    def _challenged(self, client: Client, address: Address, packet: Connect, now: Now) -> list[Output]:
        """Give the bound address a chance to show itself before another one has its client id."""
        if client.challenger is not None and client.challenger.address == address:
            return []  # it repeats itself
        if client.challenger is not None or client.phase in (State.ASLEEP, State.AWAKE):
            return [Note("address-refused"), say(address, Connack(ReturnCode.CONGESTION))]
        challenger = Challenger(address, packet, now.mono + self.settings.probe_s)
        return self._kept(replace(client, challenger=challenger), [tell(client, Pingreq())])

    def _unchallenged(self, client: Client) -> list[Output]:
        """Refuse whoever wanted the client id: the bound address was heard."""
        if client.challenger is None:
            return []
        to = client.challenger.address
        refusal: list[Output] = [Note("address-refused"), say(to, Connack(ReturnCode.CONGESTION))]
        return self._kept(replace(client, challenger=None), refusal)

    def _kept(self, client: Client, outputs: list[Output]) -> list[Output]:
        """Commit a step of one client."""
        old = self._clients.get(client.id)
        if old is not None and old.address != client.address:
            self._forget(old)
        self._clients[client.id] = client
        self._bound[client.address] = client.id
        self._deadlines[client.id] = client.deadline(self.settings)
        return outputs

    def _forget(self, client: Client) -> None:
        del self._clients[client.id], self._deadlines[client.id]
        if self._bound.get(client.address) == client.id:
            del self._bound[client.address]

    # ------------------------------------------------------------------ the broker, and who sits here

    def _from_broker(self, item: FromBroker, now: Now) -> list[Output]:
        client = self._clients.get(item.session.client)
        if client is None or client.turn != item.session.turn or not client.open:
            return []
        match item:
            case Opened():
                return self._kept(*opened(client, self.settings, now))
            case Closed():
                return self._kept(*refused(client))
            case Arrived(_, ref, message):
                return self._kept(*arrived(client, ref, message, self.settings, now))
            case _:
                return self._kept(*settled(client, item))

    def _replied(self, address: Address, data: bytes, now: Now) -> list[Output]:
        topic = Predefined(KEYMOTE_TOPIC)
        client = self._clients.get(self._bound.get(address, ""))
        if client is None or client.phase not in CONNECTED:
            return [say(address, mqttsn.Publish(topic, data))]
        return self._kept(*arrived(client, 0, Message("", data), self.settings, now, topic))

    # ------------------------------------------------------------------ time

    def _due(self, now: Now) -> list[Output]:
        outputs: list[Output] = []
        for name, at in list(self._deadlines.items()):
            if at <= now.mono:
                outputs += self._client_due(self._clients[name], now)
        if now.mono >= self._advertise_at:
            duration = self.settings.advertise_s
            self._advertise_at = now.mono + duration
            outputs.append(Announce(Advertise(self.settings.gw_id, duration).encode()))
        return outputs

    def _client_due(self, client: Client, now: Now) -> list[Output]:
        challenger = client.challenger
        if challenger is not None and now.mono >= challenger.at:
            old = tell(client, Disconnect())
            client = replace(client, address=challenger.address, challenger=None)
            client, outputs = connected(client, challenger.packet, self.settings, now)
            return self._kept(client, [Note("address-moved"), old, *outputs])
        if now.mono >= client.silent_at(self.settings):
            return self._kept(*silent(client))
        return self._kept(*repeated(client, self.settings, now))


def _heard_at(client: Client) -> float:
    return client.heard_at


def _unwrapped(peer: Peer, data: bytes) -> tuple[Packet, Address]:
    """Return the packet in a datagram and who said it; PeerFault for anything else."""
    packet = mqttsn.decode(data)
    if not isinstance(packet, Forward):
        return packet, Address(peer)
    if not 0 < len(packet.node) <= MOST_NODE:
        raise PeerFault(ErrorCode.E_FORMAT, f"a node id of {len(packet.node)} bytes behind a forwarder")
    return mqttsn.decode(packet.inner), Address(peer, packet.node)
