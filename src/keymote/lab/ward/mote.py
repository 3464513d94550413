"""A patient's way into brokers, as a cell of the laboratory around the product's functions: CONNAUTH at home, HO_REQ elsewhere.

It asks again after 2 and 4 s, and 8 s later (Triad-1 4.6), then says that it needs a new ticket. Nothing here uses a public key.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.engine.base import (
    CellKey,
    Command,
    Due,
    Durability,
    Item,
    Kind,
    Node,
    Now,
    Output,
    Peer,
    Received,
    Report,
    Send,
    Step,
    replace,
)
from keymote.engine.handover.client import AwaitAck, begin, denied, finish
from keymote.engine.topic.admission import admitted, connect
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.registry import peek
from keymote.wire.topic import ConnackAuth, HoAck, HoDeny

MOTE: Final = CellKey("mote", b"")
PATIENCE_S: Final = (2.0, 4.0, 8.0)
_TO_MOTE: Final = frozenset({ConnackAuth.mt, HoAck.mt, HoDeny.mt})


@dataclass(frozen=True, slots=True)
class Hold(Command):
    """Here is a ticket for the broker `home`, and the key inside."""

    K_home: Secret
    ticket: bytes = field(repr=False)
    home: bytes


@dataclass(frozen=True, slots=True)
class Attach(Command):
    """Get in at the broker `at`, whose agent listens at `peer`: with the ticket at home, by hand-over elsewhere.

    `behind`: readings that follow HO_REQ in its datagram.
    """

    at: bytes
    peer: Peer
    behind: bytes = b""


@dataclass(frozen=True, slots=True)
class Detach(Command):
    """The radio does not reach anybody any more."""


@dataclass(frozen=True, slots=True)
class Attached(Report):
    """Served at this broker, after so many datagrams of the mote."""

    at: bytes
    handed_over: bool
    datagrams: int


@dataclass(frozen=True, slots=True)
class TicketNeeded(Report):
    """This broker does not let the mote in: the full way leads over the trusted system."""

    at: bytes
    code: ErrorCode


@dataclass(frozen=True, slots=True)
class Knocking:
    """A request is out, `tries` times so far; `state` is what opens the answer, None for CONNAUTH."""

    at: bytes
    peer: Peer
    data: bytes
    behind: bytes
    state: AwaitAck | None
    tries: int
    again_at: float


@dataclass(frozen=True, slots=True)
class Mote:
    """`ho_ctr` is on disk before it is used."""

    client_id: bytes
    ho_ctr: int = 0
    K_home: Secret | None = None
    ticket: bytes = field(default=b"", repr=False)
    home: bytes = b""
    knocking: Knocking | None = None


def with_mote(node: Node, client_id: bytes) -> Node:
    """Return a client's node that also knows its way into brokers."""

    def route(peer: Peer, data: bytes) -> Sequence[CellKey]:
        return (MOTE,) if peek(data)[0] in _TO_MOTE else node.route(peer, data)

    def load(_id: bytes, record: bytes) -> Mote:
        return Mote(client_id, int.from_bytes(record, "big"))

    def step(cell: Mote | None, item: Item, now: Now, entropy: Entropy) -> Step:
        return _step(cell or Mote(client_id), item, now, entropy)

    kind = Kind(
        MOTE.kind,
        Durability.DURABLE,
        step,
        record=lambda cell: cell.ho_ctr.to_bytes(8, "big"),
        load=load,
        deadline=lambda cell: None if cell.knocking is None else cell.knocking.again_at,
    )
    return Node({**node.kinds, kind.name: kind}, route)


def _step(cell: Mote, item: Item, now: Now, entropy: Entropy) -> Step:
    match item:
        case Hold(K_home, ticket, home):
            return replace(cell, K_home=K_home, ticket=ticket, home=home), ()
        case Attach():
            return _knock(cell, item, now, entropy)
        case Detach():
            return replace(cell, knocking=None), ()
        case Received(peer, data) if cell.knocking is not None and peer == cell.knocking.peer:
            return _heard(cell, cell.knocking, data)
        case Due() if cell.knocking is not None:
            return _again(cell, cell.knocking, now, entropy)
    raise PeerFault(ErrorCode.E_STATE, "nothing that the mote waits for")


def _knock(cell: Mote, wish: Attach, now: Now, entropy: Entropy) -> Step:
    if cell.K_home is None:
        return cell, [TicketNeeded(wish.at, ErrorCode.E_TICKET)]
    state, ctr = None, cell.ho_ctr
    if wish.at == cell.home:
        data = connect(cell.K_home, cell.client_id, cell.ticket, entropy)
    else:
        ctr += 1
        state, data = begin(cell.K_home, cell.client_id, cell.home, wish.at, ctr, entropy)
    knocking = Knocking(wish.at, wish.peer, data, wish.behind if state else b"", state, 1, now.mono + PATIENCE_S[0])
    return replace(cell, ho_ctr=ctr, knocking=knocking), [Send(wish.peer, data + knocking.behind)]


def _heard(cell: Mote, knocking: Knocking, data: bytes) -> Step:
    state = knocking.state
    mt = peek(data)[0]
    if state is None and mt == ConnackAuth.mt:
        assert cell.K_home is not None
        admitted(cell.K_home, knocking.data, data)
    elif state is not None and mt == HoAck.mt:
        finish(state, data)
    elif state is not None and mt == HoDeny.mt:
        return replace(cell, knocking=None), [TicketNeeded(knocking.at, denied(state, data))]
    else:
        raise PeerFault(ErrorCode.E_STATE, f"message {mt} answers no request of the mote")
    return replace(cell, knocking=None), [Attached(knocking.at, state is not None, knocking.tries)]


def _again(cell: Mote, knocking: Knocking, now: Now, entropy: Entropy) -> Step:
    outputs: list[Output]
    if knocking.tries == len(PATIENCE_S):
        outputs = [TicketNeeded(knocking.at, ErrorCode.E_TIMEOUT)]
        return replace(cell, knocking=None), outputs
    again_at = now.mono + PATIENCE_S[knocking.tries]
    data = knocking.data
    if knocking.state is None:  # a broker answers no CONNAUTH twice
        assert cell.K_home is not None
        data = connect(cell.K_home, cell.client_id, cell.ticket, entropy)
    outputs = [Send(knocking.peer, data + knocking.behind)]
    return replace(cell, knocking=replace(knocking, data=data, tries=knocking.tries + 1, again_at=again_at)), outputs
