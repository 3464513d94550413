"""The brokers that a manager stands behind as trusted system: their cards, what it shares with each, and the list that it signs.

A client's home broker is the one that an operator assigned to it, else the first that was added. What it may do there is
what the charter of topics grants it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey, Suite
from keymote.engine.base import CellKey
from keymote.engine.handover.listing import read_card
from keymote.engine.policy.topic_charter import TopicRule
from keymote.engine.topic.faces import TicketTerms
from keymote.errors import CallerFault, PeerFault
from keymote.host.ports import Write
from keymote.manager.group_log import Shelf
from keymote.wire import signed
from keymote.wire.federation import MOST_BROKERS, BrokerCard, FederationClaims, FederationList
from keymote.wire.topic import MOST_RIGHTS, Right

BROKER: Final = "broker"
ASSIGNED: Final = "broker-of-client"
LIST: Final = CellKey("broker-list", b"")
TICKET_LIFE_S: Final = 86_400
_SHARED: Final = 32
_LARGE: Final = 4096


class SignedList(NamedTuple):
    """The list in force: its number, the statement (type 245), and the content that this is about."""

    version: int
    statement: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that was added; `number` tells the order."""

    number: int
    raw: bytes = field(repr=False)
    card: BrokerCard
    shared: Secret


Rules = Callable[[], Iterable[TopicRule]]
Gone = Callable[[], Iterable[bytes]]


class Brokers:
    """Not for two tasks at once; only `terms` may be asked at any time. `suite` is that of agents' keys."""

    def __init__(
        self, shelf: Shelf, signing: SigningKey, suite: Suite, nm_id: bytes, entropy: Entropy, now: Callable[[], int],
        rules: Rules, gone: Gone,
    ) -> None:  # fmt: skip
        self._shelf, self._signing, self._suite, self._nm_id = shelf, signing, suite, nm_id
        self._entropy, self._now, self._rules, self._gone = entropy, now, rules, gone
        found = [_opened(row) for row in shelf.of_kind(BROKER)]
        self._brokers = {broker.card.broker_id: broker for broker in sorted(found, key=lambda each: each.number)}
        self._assigned = {row.key.id: row.record for row in shelf.of_kind(ASSIGNED) if row.record is not None}
        saved = shelf.load(LIST)
        numbers: Any = [0, 0, bytes(_SHARED)] if saved is None else cbor.decode(saved)
        self._version, self._at, self._digest = numbers

    def all(self) -> Mapping[bytes, Broker]:
        """Return every broker by its id, in the order in which they were added."""
        return self._brokers

    def named(self, name: str) -> Broker:
        """Return the broker with this id (16 hex digits); CallerFault when there is none."""
        for broker_id, broker in self._brokers.items():
            if broker_id.hex() == name:
                return broker
        raise CallerFault(f"no broker {name!r} here", do="see keymote manager broker list")

    # ------------------------------------------------------------------ what cells ask

    def terms(self, client_id: bytes) -> TicketTerms | None:
        """Return what a client's ticket says; None while there is no broker, or nothing that it may do."""
        assigned = self._assigned.get(client_id)
        home = next(iter(self._brokers.values()), None) if assigned is None else self._brokers.get(assigned)
        rights = self._rights(client_id)
        if home is None or not rights or client_id in set(self._gone()):
            return None
        return TicketTerms(home.card.broker_id, home.shared, rights, TICKET_LIFE_S)

    def shared_with(self, broker_id: bytes) -> Secret | None:
        """Return K_TS-broker; None for a broker that is none of ours."""
        broker = self._brokers.get(broker_id)
        return None if broker is None else broker.shared

    def _rights(self, client_id: bytes) -> tuple[Right, ...]:
        granted = [
            Right(rule.filter, grant.roles)
            for rule in self._rules()
            for grant in rule.grants
            if grant.client == client_id
        ]
        return tuple(granted[:MOST_RIGHTS])

    # ------------------------------------------------------------------ what operators want

    async def add(self, card: bytes) -> Broker:
        """Take a broker in, or its new card in place of the old one; what it shares with us is new either way.

        Raises:
            CallerFault: the card is none, or there are too many brokers.
            Unavailable: the store does not take it; nothing has changed.
        """
        try:
            read = read_card(card, self._suite)
        except PeerFault as fault:
            raise CallerFault(
                f"this is no agent's card: {fault.what}", do="name the file `card` of its directory"
            ) from fault
        if read.broker_id not in self._brokers and len(self._brokers) >= MOST_BROKERS:
            raise CallerFault(f"there are {MOST_BROKERS} brokers already", do="remove one")
        before = self._brokers.get(read.broker_id)
        number = (
            max((each.number for each in self._brokers.values()), default=0) + 1 if before is None else before.number
        )
        broker = Broker(number, card, read, Secret(self._entropy.draw(_SHARED)))
        row = cbor.encode([broker.number, broker.raw, broker.shared.expose()])
        await self._shelf.keep([Write(CellKey(BROKER, read.broker_id), row)])
        self._brokers[read.broker_id] = broker
        return broker

    async def remove(self, broker: Broker) -> None:
        """Put a broker out: from the next list on nobody hands over to it, and it gets no tickets at once."""
        broker_id = broker.card.broker_id
        idle = [client for client, home in self._assigned.items() if home == broker_id]
        writes = [Write(CellKey(BROKER, broker_id), None), *(Write(CellKey(ASSIGNED, client), None) for client in idle)]
        await self._shelf.keep(writes)
        del self._brokers[broker_id]
        for client in idle:
            del self._assigned[client]

    async def assign(self, client_id: bytes, broker: Broker) -> None:
        """Make a broker the home of a client, from its next ticket on."""
        await self._shelf.keep([Write(CellKey(ASSIGNED, client_id), broker.card.broker_id)])
        self._assigned[client_id] = broker.card.broker_id

    async def current(self) -> SignedList:
        """Return the list as it is now, under a new number if anything has changed since the last one."""
        emergency = tuple(sorted({rule.filter for rule in self._rules() if rule.emergency}))
        cards = tuple(broker.raw for broker in self._brokers.values())
        content = FederationList(cards, emergency, tuple(sorted(set(self._gone())))).encode()
        digest = sha256(content)
        if digest != self._digest:
            version, at = self._version + 1, self._now()
            await self._shelf.keep([Write(LIST, cbor.encode([version, at, digest]))])
            self._version, self._at, self._digest = version, at, digest
        claims = FederationClaims(self._nm_id, self._version, self._at, digest)
        return SignedList(self._version, signed.write(self._signing, claims), content)


def _opened(row: Write) -> Broker:
    fields: Any = cbor.decode(row.record or b"", max_size=_LARGE)
    number, raw, shared = fields
    return Broker(number, raw, signed.read(raw, BrokerCard).claims, Secret(shared))
