"""What a client of a trusted system keeps: its chain on disk; wishes, names of sessions and half a ticket in memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from keymote import cbor
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.engine.base import Peer
from keymote.engine.topic.exchange import ClientEnd
from keymote.engine.topic.key_chain import KeyChain
from keymote.engine.topic.repeating import Patience
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.topic import KeyGrant

MOST_TOPICS: Final = 256
"""Sessions whose names are kept in memory."""
MOST_UNNAMED: Final = 8
"""Pushed grants that are kept until it is known of which topic they are."""
_VERSION: Final = 1


class Wish(NamedTuple):
    """A topic and a role of KREQ; no topic to connect."""

    topic: str
    role: int


class Home(NamedTuple):
    """K_home, before its ticket has come: `name` is 8 bytes of that ticket's hash."""

    name: bytes
    K_home: Secret
    life_s: int


class Asking(NamedTuple):
    """The request under way; with `home`, it was answered and only the ticket is missing."""

    data: bytes
    patience: Patience
    home: Home | None = None


_NO_TOPICS: Final[Mapping[tuple[bytes, int], str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ChainCell:
    """A client. The first of `wishes` is `asking`; `topics`: (sess, role) -> the topic, for pushes, which do not name it.

    `unnamed`: what was pushed to a subscriber after a restart, before it has asked for the topic again.
    `requests` counts, so that a reliable link that gives up on an old one is not heard.
    """

    end: ClientEnd
    at: Peer
    wishes: tuple[Wish, ...] = ()
    asking: Asking | None = None
    topics: Mapping[tuple[bytes, int], str] = field(default_factory=lambda: _NO_TOPICS)
    tickets: tuple[bytes, ...] = ()
    unnamed: tuple[KeyGrant, ...] = ()
    requests: int = field(default=0, compare=False)


def record(cell: ChainCell) -> bytes:
    """Return what outlives a restart, at most some 500 bytes: of the requests at this k, how many they are, and the last one."""
    end, chain = cell.end, cell.end.chain
    asked, last = end.forgotten + len(end.asked), end.asked[-1] if end.asked else b""
    secret = chain.ck.expose()
    return cbor.encode(
        [_VERSION, end.suite.id, chain.client_id, chain.k, secret, asked, last, end.acknowledged, cell.at]
    )


def load(data: bytes, suites: Callable[[int], Suite]) -> ChainCell:
    match cbor.decode(data):
        case [1, int(suite), bytes(client), int(k), bytes(ck), int(asked), bytes(last), bytes(acknowledged), str(at)]:
            chain = KeyChain(client, k, Secret(ck))
            kept = (last,) if last else ()
            return ChainCell(ClientEnd(suites(suite), chain, kept, acknowledged, asked - len(kept)), at)
    raise PeerFault(ErrorCode.E_FORMAT, "not the record of a client's chain")


def same_record(old: ChainCell, new: ChainCell) -> bool:
    return old.end is new.end and old.at == new.at
