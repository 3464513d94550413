"""The sessions of an MQTT-SN gateway at an MQTT broker: a connection for each client, or a shared one, and the gateway's own.

A subscription is asked for with QoS 1 at most, and a message acknowledged when the gateway says so: of QoS 2 a client
library keeps the only copy between PUBREC and PUBCOMP, and ours is in memory (decision 0194).
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Final

from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import MQTTErrorCode

from keymote.crypto.secret import Secret
from keymote.engine.mqttsn.aggregating import Aggregator
from keymote.engine.mqttsn.faces import (
    OWN,
    Acknowledge,
    Arrived,
    Close,
    Closed,
    FromBroker,
    Message,
    Open,
    Opened,
    Publish,
    Published,
    Reopen,
    Session,
    Subscribe,
    Subscribed,
    ToBroker,
    Unsubscribe,
    Unsubscribed,
)
from keymote.transports.mqtt.paho_loop import BrokerPlace, Ears, PahoLoop

OPENING_S: Final = 15.0
"""How long a new session may take to be accepted by the broker."""
MOST_GRANTED: Final = 1

logger = logging.getLogger(__name__)

Heard = Callable[[FromBroker], None]


Accounts = Callable[[str], Secret | None]
"""The password under which a client comes to the broker, its client id being the user; None: it may not."""


class Upstream:
    """All sessions of one gateway; `client_id` is the gateway's own at the broker, empty where it has none.

    With `accounts` every client has its own user and password there.
    """

    def __init__(self, place: BrokerPlace, client_id: str, accounts: Accounts | None = None) -> None:
        self._place, self._client_id, self._accounts = place, client_id, accounts
        self._links: dict[str, _Link] = {}
        self._closing: dict[asyncio.Task[None], str] = {}
        self._heard: Heard = lambda _item: None

    async def start(self, heard: Heard) -> None:
        """Begin to connect the gateway's own session; a broker that is away is waited for."""
        self._heard = heard
        if self._client_id:
            self._links[OWN.client] = _Link(OWN, self._place, self._client_id, heard, clean=True, will=None)

    @property
    def connections(self) -> int:
        """How many sessions the broker has accepted, the gateway's own included."""
        return sum(link.is_up for link in self._links.values())

    def want(self, wish: ToBroker) -> None:
        """Do as the gateway wants, without waiting; what belongs to a former session is ignored."""
        session = wish.session
        if isinstance(wish, Open):
            self._let_go(session.client)
            place = self._place_of(session.client)
            if place is None:
                asyncio.get_running_loop().call_soon(self._heard, Closed(session))
                return
            before = [task for task, client in self._closing.items() if client == session.client]
            self._links[session.client] = _Link(
                session, place, session.client, self._closed, clean=wish.clean, will=wish.will, after=before
            )
            return
        link = self._links.get(session.client)
        if link is None or link.session != session:
            return
        if isinstance(wish, Close):
            self._let_go(session.client)
        else:
            link.want(wish)

    async def close(self) -> None:
        """Disconnect everything in good order: no will is published."""
        for client in list(self._links):
            self._let_go(client)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _place_of(self, client: str) -> BrokerPlace | None:
        if self._accounts is None:
            return self._place
        password = self._accounts(client)
        return None if password is None else replace(self._place, user=client, password=password)

    def _closed(self, item: FromBroker) -> None:
        if isinstance(item, Closed):
            self._let_go(item.session.client)
        self._heard(item)

    def _let_go(self, client: str) -> None:
        link = self._links.pop(client, None)
        if link is not None:
            task = asyncio.get_running_loop().create_task(link.close(), name="mqtt goodbye")
            self._closing[task] = client
            task.add_done_callback(self._closing.pop)


class SharedUpstream:
    """The same with one connection for all clients whose session is a clean one."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream, self._machine = upstream, Aggregator()
        self._heard: Heard = lambda _item: None

    async def start(self, heard: Heard) -> None:
        self._heard = heard
        await self._upstream.start(self._from_broker)

    @property
    def connections(self) -> int:
        return self._upstream.connections

    def want(self, wish: ToBroker) -> None:
        onwards, back = self._machine.want(wish)
        for each in onwards:
            self._upstream.want(each)
        for item in back:  # not before the gateway has said all that it is saying
            asyncio.get_running_loop().call_soon(self._heard, item)

    async def close(self) -> None:
        await self._upstream.close()

    def _from_broker(self, item: FromBroker) -> None:
        for each in self._machine.heard(item):
            self._heard(each)


@dataclass(slots=True)
class _Asked:
    """What the broker was asked and has not answered, by packet id; said again on a new connection."""

    published: dict[int, int] = field(default_factory=dict)
    others: dict[int, Subscribe | Unsubscribe] = field(default_factory=dict)


class _Link:
    """One session's connection."""

    def __init__(
        self,
        session: Session,
        place: BrokerPlace,
        client_id: str,
        heard: Heard,
        *,
        clean: bool,
        will: Message | None,
        after: Collection["asyncio.Task[None]"] = (),
    ) -> None:
        self.session = session
        self._heard = heard
        self._opened = False
        self._asked = _Asked()
        self._idle = asyncio.Event()
        self._idle.set()
        self._unsaid: list[Subscribe | Unsubscribe] = []
        self._filters: dict[str, int] = {}
        ears = Ears(self._up, self._down, self._message, self._published, self._subscribed, self._unsubscribed)
        self._paho = PahoLoop(place, client_id, ears, clean=clean, will=will, after=after)
        loop = asyncio.get_running_loop()
        self._patience = None if session == OWN else loop.call_later(OPENING_S, self._give_up)

    @property
    def is_up(self) -> bool:
        return self._paho.is_up

    def want(self, wish: ToBroker) -> None:
        match wish:
            case Publish(_, ref, message):
                self._publish(ref, message)
            case Subscribe() | Unsubscribe():
                self._ask(wish)
            case Acknowledge(_, ref):
                self._paho.paho.ack(ref, 1)  # lost with the connection: the broker says the message again
            case Reopen():
                self._paho.again()

    async def close(self) -> None:
        self._heard = lambda _item: None
        self._settle()
        await self._paho.close(self._idle)

    # ------------------------------------------------------------------ asking

    def _publish(self, ref: int, message: Message) -> None:
        try:
            told = self._paho.paho.publish(message.topic, message.data, message.qos, message.retain)
        except ValueError:  # longer than MQTT carries
            told = None
        if not message.qos:
            return
        if told is None or told.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            if ref:
                asyncio.get_running_loop().call_soon(self._heard, Published(self.session, ref, taken=False))
        else:
            self._asked.published[told.mid] = ref
            self._idle.clear()

    def _ask(self, wish: Subscribe | Unsubscribe) -> None:
        if not self._paho.is_up:
            self._unsaid.append(wish)
            return
        if isinstance(wish, Subscribe):
            code, mid = self._paho.paho.subscribe(wish.filter, min(wish.qos, MOST_GRANTED))
        else:
            self._filters.pop(wish.filter, None)
            code, mid = self._paho.paho.unsubscribe(wish.filter)
        if code is MQTTErrorCode.MQTT_ERR_SUCCESS and mid is not None:
            self._asked.others[mid] = wish
        else:
            self._unsaid.append(wish)

    # ------------------------------------------------------------------ hearing

    def _up(self, session_present: bool) -> None:
        self._settle()
        unsaid = [*self._asked.others.values(), *self._unsaid]
        self._asked.others, self._unsaid = {}, []
        if not session_present:
            for pattern, qos in self._filters.items():
                self._paho.paho.subscribe(pattern, qos)
        for wish in unsaid:
            self._ask(wish)
        if not self._opened:
            self._opened = True
            self._heard(Opened(self.session))

    def _down(self, refused: bool) -> None:
        if refused:
            logger.warning("the broker refuses a session", extra={"client": self.session.client})
        if self.session == OWN:
            self._opened = False
        if refused or self.session == OWN:
            self._give_up()

    def _give_up(self) -> None:
        self._heard(Closed(self.session))

    def _settle(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _message(self, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return  # MQTT forbids it (1.5.3)
        said = Message(topic, bytes(message.payload), message.qos, message.retain)
        self._heard(Arrived(self.session, message.mid if message.qos else 0, said))

    def _published(self, mid: int) -> None:
        ref = self._asked.published.pop(mid, 0)
        if not self._asked.published:
            self._idle.set()
        if ref:
            self._heard(Published(self.session, ref))

    def _subscribed(self, mid: int, granted: bool, qos: int) -> None:
        wish = self._asked.others.pop(mid, None)
        if isinstance(wish, Subscribe):
            if granted:
                self._filters[wish.filter] = qos
            self._heard(Subscribed(self.session, wish.ref, qos if granted else None))

    def _unsubscribed(self, mid: int) -> None:
        wish = self._asked.others.pop(mid, None)
        if wish is not None:
            self._heard(Unsubscribed(self.session, wish.ref))
