"""Messages of topic keys (Triad-1 4.4, 4.6): clients and their trusted system, brokers' agents, and hand-over; PUB is in `pub`.

What is sealed inside them are the `...Grant`, `...Body` and `...Context` arrays below.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, NamedTuple

from keymote import cbor
from keymote.wire import layout
from keymote.wire.cose import InlineSign1, Sign1
from keymote.wire.fields import CODE, ID, MAC, TAG, FieldType, Number, Octets, OneOf, Sizes, Text, Uint, refuse
from keymote.wire.layout import MISMATCH, Part
from keymote.wire.message import Body, Message, body, message
from keymote.wire.pub import MT as PUB_TYPE
from keymote.wire.pub import InlinePublished, Published

MOST_TOPIC: Final = 255
"""Bytes of a topic or a filter in UTF-8."""
MOST_RIGHTS: Final = 16
"""Filters of one ticket."""
PUBLISH: Final = 1
SUBSCRIBE: Final = 2
CONNECT: Final = 3
"""Roles of KREQ. In a ticket, bit 0 is the right to publish and bit 1 the right to subscribe."""

TOPIC: Final = Text(MOST_TOPIC)
NONCE: Final = Octets(8)
TAG8: Final = Octets(8)
_LEAST_GRANT: Final = 50
MOST_PUBLISHERS: Final = 16
"""Publishers that one grant names."""
_MOST_GRANT: Final = 70 + 1 + MOST_PUBLISHERS * 38 + 9
GRANT: Final = Octets(_LEAST_GRANT + TAG, _MOST_GRANT + TAG)
"""A sealed `KeyGrant`."""
_LEAST_TICKET: Final = 71
_MOST_TICKET: Final = 1024
_TICKET_HEAD: Final = 28
"""Bytes of a TICKET besides its ciphertext, whose head has 2 bytes or 3."""


# ------------------------------------------------------------------ client and trusted system


@message(48)
class Kreq(Message):
    """Client -> TS: the key of this topic, under key number `k` of the client's chain. No topic ("") where role is connect."""

    client_id: Annotated[bytes, ID]
    k: Annotated[int, Uint()]
    nC: Annotated[bytes, NONCE]
    topic: Annotated[str, TOPIC]
    role: Annotated[int, Number(PUBLISH, CONNECT)]
    tag: Annotated[bytes, TAG8]


@message(49)
class Kresp(Message):
    """TS -> client: a sealed `KeyGrant` for the KREQ whose hash its key depends on."""

    k: Annotated[int, Uint()]
    ct: Annotated[bytes, GRANT]


@message(50)
class Kack(Message):
    """Client -> TS: KRESP or KPUSH has come, and the chain has stepped."""

    client_id: Annotated[bytes, ID]
    tag: Annotated[bytes, TAG8]


@message(51)
class Kpush(Message):
    """TS -> client: a sealed `KeyGrant` that nobody asked for; a new epoch."""

    k: Annotated[int, Uint()]
    nTS: Annotated[bytes, NONCE]
    ct: Annotated[bytes, GRANT]


class Publisher(NamedTuple):
    """A chain of readings that a subscriber may meet: its number, and the key of who countersigns them, empty for nobody."""

    snd: int
    sig_pk: bytes = b""


@dataclass(frozen=True, slots=True)
class Publishers:
    """A list of at most 16 `[snd, sig_pk]`, held as a tuple of `Publisher`."""

    octets: ClassVar[bool] = False

    def accept(self, item: object, sizes: Sizes) -> object:
        if isinstance(item, list) and len(item) <= MOST_PUBLISHERS:
            return tuple(_publisher(entry, sizes) for entry in item)
        raise refuse(f"at most {MOST_PUBLISHERS} pairs of a number and a signature key", item)

    def emit(self, value: object) -> object:
        assert isinstance(value, tuple)
        return [list(publisher) for publisher in value]

    def part(self, sizes: Sizes) -> Part:
        return layout.listed(_pair(Publisher, _SND, _SIG_PK, sizes), 0, MOST_PUBLISHERS)

    def write(self, value: tuple[Publisher, ...]) -> bytes:
        return cbor.encode([list(publisher) for publisher in value])


_SND: Final = Uint(8)
_SIG_PK: Final = OneOf((0, 32, 33))
"""Of Ed25519 or of P-256; the suite of the grant says nothing of it."""


def _publisher(entry: object, sizes: Sizes) -> Publisher:
    match entry:
        case [int(snd), bytes(sig_pk)]:
            _SND.accept(snd, sizes)
            _SIG_PK.accept(sig_pk, sizes)
            return Publisher(snd, sig_pk)
    raise refuse("a number and a signature key", entry)


def _pair(made: Callable[[Any, Any], Any], first: FieldType, second: FieldType, sizes: Sizes) -> layout.Take:
    """Return the reader of an array of two fields, whose value is what `made` makes of them."""
    take_first, take_second = layout.take_of(first.part(sizes)), layout.take_of(second.part(sizes))

    def take(data: bytes, at: int, values: list[Any]) -> int:
        if data[at] != 0x82:
            return MISMATCH
        found: list[Any] = []
        at = take_first(data, at + 1, found)
        if at > 0:
            at = take_second(data, at, found)
        if at > 0:
            values.append(made(*found))
        return at

    return take


@body
class KeyGrant(Body):
    """What opens a topic, or in role connect a broker: then `SK` is K_home, and a ticket follows.

    `cs` is the cipher (4.5), `snd` the number of a publisher's chain, `seq0` its first index, `life_s` seconds. Who
    subscribes, and nobody else, is told the `publishers` of this epoch; `snd` is then the first one's, 0 if there is none
    yet. Every epoch of a session has the same `sess`. A subscriber is also told the `oldest` epoch whose readings count: none
    before a rotation for compromise does.
    """

    sess: Annotated[bytes, ID]
    epoch: Annotated[int, Uint()]
    snd: Annotated[int, Uint(8)]
    cs: Annotated[int, Uint(8)]
    SK: Annotated[bytes, Octets(32)] = field(repr=False)
    seq0: Annotated[int, Uint()]
    max_msgs: Annotated[int, Uint()]
    life_s: Annotated[int, Uint()]
    publishers: Annotated[tuple[Publisher, ...], Publishers()] | None = None
    oldest: Annotated[int, Uint()] | None = None


# ------------------------------------------------------------------ readings


@message(PUB_TYPE)
class Pub(Message):
    """Publisher -> broker -> subscribers: one reading; its topic is known from the carrier."""

    published: Annotated[Published, InlinePublished()]


# ------------------------------------------------------------------ admission to a broker


class Right(NamedTuple):
    """A topic filter and what may be done there: bit 0 publish, bit 1 subscribe."""

    filter: str
    rights: int


@dataclass(frozen=True, slots=True)
class Rights:
    """A list of at most 16 `[filter, rights]`, held as a tuple of `Right`."""

    octets: ClassVar[bool] = False

    def accept(self, item: object, sizes: Sizes) -> object:
        if isinstance(item, list) and len(item) <= MOST_RIGHTS:
            return tuple(_right(entry, sizes) for entry in item)
        raise refuse(f"at most {MOST_RIGHTS} pairs of a filter and rights from 1 to 3", item)

    def emit(self, value: object) -> object:
        assert isinstance(value, tuple)
        return [list(right) for right in value]

    def part(self, sizes: Sizes) -> Part:
        return layout.listed(_pair(Right, TOPIC, _RIGHT, sizes), 0, MOST_RIGHTS)

    def write(self, value: tuple[Right, ...]) -> bytes:
        return cbor.encode([list(right) for right in value])


_RIGHT: Final = Number(1, PUBLISH | SUBSCRIBE)


def _right(entry: object, sizes: Sizes) -> Right:
    match entry:
        case [str(name), int(rights)]:
            TOPIC.accept(name, sizes)
            _RIGHT.accept(rights, sizes)
            return Right(name, rights)
    raise refuse("a filter and rights", entry)


@message(53)
class Ticket(Message):
    """TS -> client -> broker: a `TicketBody` sealed for this broker, opaque to the client."""

    broker_id: Annotated[bytes, ID]
    nonce: Annotated[bytes, Octets(13)]
    ct: Annotated[bytes, Octets(_LEAST_TICKET, _MOST_TICKET)]


@body
class TicketBody(Body):
    """Who holds K_home, and what it may do for `life_s` seconds."""

    client_id: Annotated[bytes, ID]
    K_home: Annotated[bytes, Octets(32)] = field(repr=False)
    rights: Annotated[tuple[Right, ...], Rights()]
    life_s: Annotated[int, Uint()]
    ticket_id: Annotated[bytes, ID]


@message(54)
class Connauth(Message):
    """Client -> broker's agent: a ticket (the bytes of a TICKET), and proof of the key inside."""

    client_id: Annotated[bytes, ID]
    ticket: Annotated[bytes, Octets(_LEAST_TICKET + _TICKET_HEAD, _MOST_TICKET + _TICKET_HEAD + 1)]
    nC: Annotated[bytes, NONCE]
    tag: Annotated[bytes, MAC]


@message(55)
class ConnackAuth(Message):
    """Broker's agent -> client: admitted; it holds the key too."""

    nB: Annotated[bytes, Octets(16)]
    tag: Annotated[bytes, MAC]


# ------------------------------------------------------------------ hand-over


@message(56)
class HoReq(Message):
    """Client -> visited broker: take me over from my home broker, which can check this tag. `ho_ctr` only grows."""

    client_id: Annotated[bytes, ID]
    home: Annotated[bytes, ID]
    vis: Annotated[bytes, ID]
    ho_ctr: Annotated[int, Uint()]
    nC: Annotated[bytes, NONCE]
    tag: Annotated[bytes, MAC]


_LEAST_HO_REQ: Final = 57
_MOST_HO_REQ: Final = 61


@message(57)
class HoPull(Message):
    """Visited -> home broker: this client is here. A signed `HoPullClaims`, ctx empty."""

    envelope: Annotated[Sign1, InlineSign1(kid=True)]


@body
class HoPullClaims(Body):
    """`request` holds the bytes of the HO_REQ."""

    vis: Annotated[bytes, ID]
    nV: Annotated[bytes, Octets(16)]
    request: Annotated[bytes, Octets(_LEAST_HO_REQ, _MOST_HO_REQ)]


@message(58)
class HoCtx(Message):
    """Home -> visited broker: what it needs to serve the client. A signed HPKE ciphertext, ctx SHA-256 of the HO_PULL."""

    envelope: Annotated[Sign1, InlineSign1(kid=True)]


@body
class HoContext(Body):
    """What HO_CTX seals: a key for this broker and this stay alone, rights, and the home broker's state of the session."""

    client_id: Annotated[bytes, ID]
    K_v: Annotated[bytes, Octets(32)] = field(repr=False)
    ho_ctr: Annotated[int, Uint()]
    life_s: Annotated[int, Uint()]
    rights: Annotated[tuple[Right, ...], Rights()]
    state: Annotated[bytes, Octets(0, 512)]


@message(59)
class HoAck(Message):
    """Visited broker -> client: served from now on, under K_v."""

    nV: Annotated[bytes, Octets(16)]
    tag: Annotated[bytes, MAC]


@message(60)
class HoDeny(Message):
    """Visited broker -> client: a hint that nobody authenticates; try elsewhere, then CONNAUTH."""

    client_id: Annotated[bytes, ID]
    code: Annotated[int, CODE]
    nC: Annotated[bytes, NONCE]
