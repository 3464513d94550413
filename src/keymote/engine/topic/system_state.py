"""What a trusted system keeps of one client: the chain, and what at its present number must not be sealed again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from keymote import cbor
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.engine.base import MAX_RECORD, Now, Peer
from keymote.engine.topic.exchange import Open, Receipt, SystemEnd
from keymote.engine.topic.key_chain import KeyChain
from keymote.engine.topic.repeating import WAITS_S, Patience
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.topic import Kack

MOST_ADDRESS: Final = 64
"""Characters of an address that is stored; a longer one is lost with a restart."""
_VERSION: Final = 1
_TAG: Final = 8


class Pending(NamedTuple):
    """A request that the host is asked about, and where it came from. `ref` is made of its hash: no two share one."""

    ref: int
    data: bytes
    peer: Peer


class Owed(NamedTuple):
    """A session (16 bytes of its key) that owes this client an epoch in this role."""

    session: bytes
    role: int


@dataclass(frozen=True, slots=True)
class ClientCell:
    """A client. Only `end` and `at` are stored; sessions say again what they owe.

    `patience`: until when the newest grant may stay without KACK, or a moment to see what is owed next (`glance`). `ticket`
    belongs to the newest KRESP, if that carries a K_home. `sent` counts messages, so that a reliable link that gives up on an
    old one is not heard.
    """

    end: SystemEnd
    at: Peer = ""
    pending: tuple[Pending, ...] = ()
    owed: tuple[Owed, ...] = ()
    patience: Patience | None = None
    ticket: bytes = b""
    sent: int = field(default=0, compare=False)

    @property
    def client_id(self) -> bytes:
        return self.end.chain.client_id

    @property
    def unheard(self) -> bytes:
        """Return the newest message without KACK, empty if there is none that may be sent again."""
        return self.end.open[-1].message if self.end.open else b""


GLANCE: Final = -1
"""As an attempt: nothing is under way, it is time to look what is owed."""
LAST: Final = len(WAITS_S) - 1
"""The attempt after which nobody waits any longer."""


def glance(now: Now) -> Patience:
    return Patience(now.mono, GLANCE)


def record(cell: ClientCell) -> bytes:
    """Return what outlives a restart: of all grants at k their names, of the newest one the message (docs/decisions/0181)."""
    end = cell.end
    names = [[sent.request, sent.kack[-_TAG:], *sent.receipt] for sent in end.open]
    at = cell.at if len(cell.at.encode()) <= MOST_ADDRESS else ""
    chain = end.chain
    return cbor.encode([_VERSION, end.suite.id, chain.client_id, chain.k, chain.ck.expose(), at, names, cell.unheard])


def load(data: bytes, suites: Callable[[int], Suite]) -> ClientCell:
    items: Any = cbor.decode(data, max_size=MAX_RECORD)
    match items:
        case [1, suite, client, k, ck, at, names, newest]:
            sent = [Open(name, Kack(client, tag).encode(), b"", Receipt(*rest)) for name, tag, *rest in names]
            if sent:
                sent[-1] = sent[-1]._replace(message=newest)
            return ClientCell(SystemEnd(suites(suite), KeyChain(client, k, Secret(ck)), tuple(sent)), at)
    raise PeerFault(ErrorCode.E_FORMAT, "not the record of a trusted system's client")


def same_record(old: ClientCell, new: ClientCell) -> bool:
    return old.end is new.end and old.at == new.at
