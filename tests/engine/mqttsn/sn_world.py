"""A gateway between motes of ours, or handwritten packets, and a broker in memory, in simulated time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random

from keymote.engine.base import Now, Received, Send
from keymote.engine.mqttsn.aggregating import Aggregator
from keymote.engine.mqttsn.faces import (
    Acknowledge,
    Announce,
    Arrived,
    Close,
    Closed,
    FromBroker,
    Hand,
    Message,
    Open,
    Opened,
    Publish,
    Published,
    Reopen,
    Reply,
    Session,
    Settings,
    Subscribe,
    Subscribed,
    Tick,
    ToBroker,
    Unsubscribe,
    Unsubscribed,
)
from keymote.engine.mqttsn.gateway import Gateway
from keymote.engine.mqttsn.mote import Mote
from keymote.engine.mqttsn.mote_faces import Hear, Incoming, MoteInput, MoteOutput, Transmit
from keymote.engine.mqttsn.topics import covers
from keymote.wire import mqttsn
from keymote.wire.mqttsn import Packet

GATEWAY = "gateway"


@dataclass
class Held:
    """What the broker knows of one client."""

    session: Session
    clean: bool
    will: Message | None
    online: bool = True
    filters: dict[str, int] = field(default_factory=dict)
    unacknowledged: dict[int, Message] = field(default_factory=dict)
    queued: list[Message] = field(default_factory=list)


class Broker:
    """A broker in memory: sessions, filters, QoS; what is not acknowledged is said again after a reconnection."""

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        self.published: list[Message] = []
        self.acknowledged: list[tuple[str, Message]] = []
        self.wants: list[ToBroker] = []
        self.refuses = False
        self.silent = False
        self._refs = count(1)

    def want(self, wish: ToBroker) -> list[FromBroker]:
        """Do as the gateway wants and return what it hears at once."""
        self.wants.append(wish)
        if self.silent:
            return []
        held = self.held.get(wish.session.client)
        match wish:
            case Open(session, clean, will):
                if self.refuses:
                    return [Closed(session)]
                if held is None or clean or held.clean:
                    held = Held(session, clean, will)
                held.session, held.clean, held.will, held.online = session, clean, will, True
                self.held[session.client] = held
                return [Opened(session), *self._again(held)]
            case Reopen() if held is not None:
                return self._again(held)
            case Close() if held is not None:
                held.online = False
                if held.clean:
                    del self.held[wish.session.client]
            case Subscribe(session, ref, pattern, qos) if held is not None:
                if pattern.startswith("secret"):
                    return [Subscribed(session, ref, None)]
                held.filters[pattern] = qos
                return [Subscribed(session, ref, qos)]
            case Unsubscribe(session, ref, pattern) if held is not None:
                held.filters.pop(pattern, None)
                return [Unsubscribed(session, ref)]
            case Publish(session, ref, message):
                answer: list[FromBroker] = [Published(session, ref)] if ref else []
                return [*answer, *self.publish(message)]
            case Acknowledge(session, ref) if held is not None and ref in held.unacknowledged:
                self.acknowledged.append((session.client, held.unacknowledged.pop(ref)))
        return []

    def publish(self, message: Message) -> list[FromBroker]:
        """Bring a message to whoever subscribed."""
        self.published.append(message)
        heard: list[FromBroker] = []
        for held in self.held.values():
            granted = [qos for pattern, qos in held.filters.items() if covers(pattern, message.topic)]
            if not granted:
                continue
            copy = message._replace(qos=min(message.qos, max(granted)))
            if held.online:
                heard.append(self._arrived(held, copy))
            elif copy.qos:
                held.queued.append(copy)
        return heard

    def _arrived(self, held: Held, message: Message) -> Arrived:
        ref = next(self._refs) if message.qos else 0
        if ref:
            held.unacknowledged[ref] = message
        return Arrived(held.session, ref, message)

    def _again(self, held: Held) -> list[FromBroker]:
        again: list[FromBroker] = [Arrived(held.session, ref, said) for ref, said in held.unacknowledged.items()]
        queued, held.queued = held.queued, []
        return [*again, *(self._arrived(held, message) for message in queued)]


@dataclass
class Air:
    """What happens to a datagram between two radios: chances out of 1."""

    loss: float = 0.0
    double: float = 0.0
    late: float = 0.0


class World:
    """Everything together; time passes only in `run`."""

    def __init__(
        self, settings: Settings | None = None, *, seed: int = 1, air: Air | None = None, aggregating: bool = False
    ) -> None:
        self.now = 1000.0
        self.broker = Broker()
        self.settings = settings or Settings()
        self.aggregator = Aggregator() if aggregating else None
        self.handed: list[Hand] = []
        self.keymote: Callable[[Hand], list[bytes]] | None = None
        self.gateway = Gateway(self.settings, keymote=True)
        self.air = air or Air()
        self.motes: dict[str, Mote] = {}
        self.reports: dict[str, list[MoteOutput]] = {}
        self.heard: dict[str, list[Packet]] = {}
        self.wire: list[tuple[str, str, bytes]] = []
        self.announced: list[bytes] = []
        self.block: Callable[[str, str, Packet], bool] = lambda _source, _to, _packet: False
        self._random = Random(seed)
        self._events: list[tuple[float, int, str, str, bytes]] = []
        self._numbers = count()

    def mote(self, name: str, **options: object) -> Mote:
        """Put a mote of ours into the air."""
        mote = self.motes[name] = Mote(name, **options)  # type: ignore[arg-type]
        self.reports[name] = []
        return mote

    def wish(self, name: str, *items: MoteInput) -> None:
        for item in items:
            self._from_mote(name, item)

    def send(self, source: str, *packets: Packet | bytes) -> None:
        """Let a handwritten client say something."""
        for packet in packets:
            self._carry(source, GATEWAY, packet if isinstance(packet, bytes) else packet.encode())

    def publish(self, topic: str, data: bytes, qos: int = 1, *, retain: bool = False) -> None:
        """Let somebody else publish through the broker."""
        for item in self.broker.publish(Message(topic, data, qos, retain)):
            self.tell(item)

    def tell(self, item: FromBroker) -> None:
        """Let the gateway hear the broker, through who shares the connection if that is so."""
        for heard in [item] if self.aggregator is None else self.aggregator.heard(item):
            self._to_gateway(heard)

    def want(self, wish: ToBroker) -> None:
        """Let the broker hear the gateway."""
        onwards, back = ([wish], []) if self.aggregator is None else self.aggregator.want(wish)
        for each in onwards:
            for answer in self.broker.want(each):
                self.tell(answer)
        for item in back:
            self._to_gateway(item)

    def said(self, name: str, kind: type) -> list:
        """Return what a mote of ours reported, or a handwritten client heard, of one kind."""
        return [found for found in [*self.reports.get(name, []), *self.heard.get(name, [])] if isinstance(found, kind)]

    def messages(self, name: str) -> list[bytes]:
        return [report.message.data for report in self.said(name, Incoming)]

    def run(self, seconds: float = 0.5) -> None:
        """Let time pass."""
        until = self.now + seconds
        while True:
            at, who = self._next_deadline()
            if self._events and self._events[0][0] <= min(at, until):
                moment, _, source, to, data = heappop(self._events)
                self.now = max(self.now, moment)
                self._deliver(source, to, data)
            elif at <= until:
                self.now = max(self.now, at)
                if who == GATEWAY:
                    self._to_gateway(Tick())
                else:
                    self._from_mote(who, Tick())
            else:
                break
        self.now = until

    # ------------------------------------------------------------------

    def _next_deadline(self) -> tuple[float, str]:
        found = [(self.gateway.deadline(), GATEWAY), *((mote.deadline(), name) for name, mote in self.motes.items())]
        return min(((at, who) for at, who in found if at is not None), default=(float("inf"), ""))

    def _carry(self, source: str, to: str, data: bytes) -> None:
        self.wire.append((source, to, data))
        draw = self._random.random
        for _ in range(1 + (draw() < self.air.double)):
            if draw() >= self.air.loss:
                delay = 0.01 + (draw() * 3.0 if draw() < self.air.late else 0.0)
                heappush(self._events, (self.now + delay, next(self._numbers), source, to, data))

    def _deliver(self, source: str, to: str, data: bytes) -> None:
        try:
            if self.block(source, to, mqttsn.decode(data)):
                return
        except Exception:  # noqa: BLE001, S110  garbage is for the gateway to judge
            pass
        if to == GATEWAY:
            self._to_gateway(Received(source, data))
        elif to in self.motes:
            self._from_mote(to, Hear(data))
        else:
            self.heard.setdefault(to, []).append(mqttsn.decode(data))

    def _to_gateway(self, item: object) -> None:
        for output in self.gateway.handle(item, self._clock()):  # type: ignore[arg-type]
            match output:
                case Send(peer, data):
                    self._carry(GATEWAY, peer, data)
                case Announce(data):
                    self.announced.append(data)
                case Hand():
                    self.handed.append(output)
                    for data in self.keymote(output) if self.keymote else []:
                        self._to_gateway(Reply(output.address, data))
                case _:
                    self.want(output)

    def _from_mote(self, name: str, item: MoteInput) -> None:
        for output in self.motes[name].handle(item, self._clock()):
            if isinstance(output, Transmit):
                self._carry(name, GATEWAY, output.data)
            else:
                self.reports[name].append(output)

    def _clock(self) -> Now:
        return Now(self.now, 1_790_000_000 + int(self.now))
