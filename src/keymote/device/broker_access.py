"""A client at its broker's agent: let in by ticket (CONNAUTH), or handed over from one broker to the next (HO_REQ).

    access = await connect_via_agent(CoapEndpoint.open, "coap://10.0.7.1:5684", client_id, K_home, ticket)
    aiomqtt.Client(access.host, access.port, identifier=access.client_id, username=access.user, password=access.password)
    ...
    access = await hand_over(CoapEndpoint.open, "coap://10.0.8.1:5684", K_home, client_id, access.broker_id, there, counter)

No public-key operation; `counter` (`storage.counter.StoredCounter`) stores a number before it is used. After E_HO_CTR call
again, with the next number; after any other denial ask the trusted system for a new ticket and connect with that.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from keymote.crypto.entropy import Entropy, SystemEntropy
from keymote.crypto.secret import Secret
from keymote.engine.base import Peer
from keymote.engine.handover import client
from keymote.engine.topic.admission import admitted, connect, lower_layer_key
from keymote.errors import PeerFault, Unavailable
from keymote.host.batches import Settled
from keymote.wire.admin import to_base64url
from keymote.wire.fields import sizes_of
from keymote.wire.handover import BrokerAt, HoPub
from keymote.wire.registry import peek
from keymote.wire.topic import ConnackAuth, Connauth, HoAck, HoDeny, Ticket

ANSWER_S: Final = 10.0
"""How long an agent may take, with its broker and another agent behind it."""
_SIZES: Final = sizes_of(1)
T = TypeVar("T")
Receive = Callable[[Peer, bytes, Settled | None], None]


@dataclass(frozen=True, slots=True)
class BrokerAccess:
    """What any MQTT client needs to connect; user name and client id are the same."""

    broker_id: bytes
    host: str
    port: int
    client_id: str
    password: str = field(repr=False)

    @property
    def user(self) -> str:
        return self.client_id


class Endpoint(Protocol):
    """A socket towards agents: `CoapEndpoint`."""

    def send(self, peer: Peer, data: bytes, failed: Callable[[], None] | None) -> None: ...

    def close(self) -> None: ...


Bind = Callable[[tuple[str, int], Any], Awaitable[Endpoint]]
"""Opens one, and gives it who receives `(peer, data, settled)`: `CoapEndpoint.open`."""


class Counter(Protocol):
    """Numbers for hand-overs of one client; they only grow."""

    def reserve(self) -> int:
        """Return the next number, which is never returned again, whatever happens after this call."""
        ...


class AgentDenied(Unavailable):
    """The agent hints why it does not take the client over: `code`; nobody authenticates such a hint."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(what, do="try another broker, then ask the trusted system for a ticket and connect with that")
        self.code = code


async def connect_via_agent(
    bind: Bind,
    agent: Peer,
    client_id: bytes,
    K_home: Secret,
    ticket: bytes,
    *,
    entropy: Entropy | None = None,
    listen: str = "127.0.0.1",
) -> BrokerAccess:
    """Show a ticket to the agent of the broker that it is for; `listen` is our address towards it.

    Raises:
        Unavailable: no agent that can open this ticket has answered. It is silent to whom it refuses.
    """
    broker_id = Ticket.decode(ticket, _SIZES).broker_id
    asked = connect(K_home, client_id, ticket, entropy or SystemEntropy())
    asked_with = Connauth.decode(asked, _SIZES).nC
    async with _Talk.open(bind, listen) as talk:
        talk.say(agent, asked)
        answer = await talk.hear(ConnackAuth.mt, lambda data: admitted(K_home, asked, data))
        place = await talk.hear(BrokerAt.mt, lambda data: client.place_at_home(K_home, asked_with, answer, data))
    return _access(broker_id, place, client_id, lower_layer_key(K_home, asked_with, answer))


async def hand_over(
    bind: Bind, agent: Peer, K_home: Secret, client_id: bytes, home: bytes, vis: bytes, counter: Counter, *,
    readings: Sequence[tuple[str, bytes]] = (), entropy: Entropy | None = None, listen: str = "127.0.0.1",
) -> BrokerAccess:  # fmt: skip
    """Go to the broker `vis`, whose agent this is; `readings` (topic, PUB) go along in the same datagram.

    Raises:
        AgentDenied: it says no, and why. Unavailable: it does not answer.
    """
    made = client.begin(K_home, client_id, home, vis, counter.reserve(), entropy or SystemEntropy())
    state, request = made
    behind = b"".join(HoPub(client_id, topic, pub).encode() for topic, pub in readings)
    async with _Talk.open(bind, listen) as talk:
        talk.say(agent, request + behind)

        def heard(data: bytes) -> client.Visit:
            if peek(data)[0] == HoDeny.mt:
                code = client.denied(state, data)
                raise AgentDenied(code, f"{agent} does not take this client over: {code.name}")
            return client.finish(state, data)

        visit = await talk.hear((HoAck.mt, HoDeny.mt), heard)
        place = await talk.hear(BrokerAt.mt, lambda data: client.place_on_visit(visit, data))
    return _access(vis, place, client_id, visit.password)


def _access(broker_id: bytes, place: str, client_id: bytes, password: Secret) -> BrokerAccess:
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        raise Unavailable(f"the agent names {place!r} as its broker", do="its operator must name HOST:PORT")
    return BrokerAccess(broker_id, host, int(port), client_id.hex(), to_base64url(password.expose()))


class _Talk:
    """One exchange with an agent on a socket of its own."""

    _endpoint: Endpoint

    def __init__(self) -> None:
        self._heard: list[bytes] = []
        self._news = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, bind: Bind, listen: str) -> AsyncIterator["_Talk"]:
        """Bind a free port."""
        made = cls()
        made._endpoint = await bind((listen, 0), made._receive)
        try:
            yield made
        finally:
            made._endpoint.close()

    def say(self, agent: Peer, data: bytes) -> None:
        self._endpoint.send(agent, data, None)

    async def hear(self, kind: int | tuple[int, ...], read: Callable[[bytes], T]) -> T:
        """Return what the first datagram of this kind says that `read` believes; others are left alone."""
        kinds = (kind,) if isinstance(kind, int) else kind
        try:
            async with asyncio.timeout(ANSWER_S):
                while True:
                    for data in list(self._heard):
                        with contextlib.suppress(PeerFault):
                            if peek(data)[0] in kinds:
                                self._heard.remove(data)
                                return read(data)
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError as error:
            raise Unavailable("the agent does not answer", do="check its address, or ask for a new ticket") from error

    def _receive(self, _peer: Peer, data: bytes, settled: Settled | None = None) -> None:
        if len(self._heard) < 16:
            self._heard.append(data)
            self._news.set()
        if settled is not None:
            settled([])
