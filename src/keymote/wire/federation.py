"""The list of brokers that a trusted system signs, and the card that each broker's agent hands in for it (Triad-1 4.6).

A card (type 246) is signed by its own key. The list is a file, because it has more bytes than a message: what the trusted
system signs (type 245) is the SHA-256 of its content (decision 0196).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Self

from keymote import cbor
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import HASH, ID, SIZES, Octets, Text, Uint
from keymote.wire.message import Body, body

MOST_LIST: Final = 1 << 20
"""Bytes of a list."""
MOST_BROKERS: Final = 256
CARD: Final = 246
FEDERATION: Final = 245
_MOST_GONE: Final = 10_000
_ID: Final = 8
_TEXT: Final = Text(128)


@body
class BrokerCard(Body):
    """Agent: this broker signs with `sig_pk` (Ed25519), is sealed to at `kex_pk` (X25519), shows `certificate` (DER) in TLS.

    `agent` is where other agents reach it (https://), `coap` where clients do, `mqtt` is its broker (HOST:PORT).
    """

    broker_id: Annotated[bytes, ID]
    sig_pk: Annotated[bytes, HASH]
    kex_pk: Annotated[bytes, HASH]
    certificate: Annotated[bytes, Octets(64, 640)]
    agent: Annotated[str, _TEXT]
    coap: Annotated[str, _TEXT]
    mqtt: Annotated[str, _TEXT]


@body
class FederationClaims(Body):
    """Trusted system: the list number `version`, made at `ts` (UTC seconds), has a content with this SHA-256."""

    nm_id: Annotated[bytes, ID]
    version: Annotated[int, Uint()]
    ts: Annotated[int, Uint()]
    digest: Annotated[bytes, HASH]


@dataclass(frozen=True, slots=True)
class FederationList:
    """Content of a list: signed cards, filters of emergency topics, clients whose rights were taken back."""

    cards: tuple[bytes, ...]
    emergency: tuple[str, ...]
    gone: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the one encoding."""
        return cbor.encode([list(self.cards), list(self.emergency), list(self.gone)])

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the list in `data`; E_FORMAT for anything else."""
        match cbor.decode(data, max_size=MOST_LIST):
            case [list(cards), list(emergency), list(gone)] if len(cards) <= MOST_BROKERS and len(gone) <= _MOST_GONE:
                pass
            case _:
                raise PeerFault(ErrorCode.E_FORMAT, "not a list of brokers")
        filters = tuple(str(_TEXT.accept(name, SIZES[1])) for name in emergency)
        return cls(_strings(cards), filters, _strings(gone, _ID))


def _strings(items: Sequence[object], length: int = 0) -> tuple[bytes, ...]:
    found = tuple(item for item in items if type(item) is bytes and len(item) in (length, length or len(item)))
    if len(found) != len(items):
        raise PeerFault(ErrorCode.E_FORMAT, "not a list of brokers")
    return found
