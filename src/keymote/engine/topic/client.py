"""A client of a trusted system: the kind `topic-chain`, one cell (Triad-1 4.4).

Its record holds the chain and what the trusted system may still ask for, never a key of a topic: those are in the report
`KeyTaken` alone. Before KACK leaves, CK_{k+1} is stored and CK_k is gone.
"""

from collections.abc import Callable, Sequence
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.engine.base import (
    Due,
    Durability,
    Failed,
    Item,
    Kind,
    Now,
    Output,
    Received,
    Send,
    Step,
    Tell,
    Told,
    replace,
)
from keymote.engine.link_faces import OWN_LINK, Forward
from keymote.engine.policy.topic_filters import check_topic
from keymote.engine.topic.client_state import (
    MOST_TOPICS,
    MOST_UNNAMED,
    Asking,
    ChainCell,
    Home,
    Wish,
    load,
    record,
    same_record,
)
from keymote.engine.topic.denial import denied
from keymote.engine.topic.exchange import MOST_OPEN, ClientEnd, Granted, request, take
from keymote.engine.topic.faces import (
    BY_LINK,
    CHAIN,
    AskForKey,
    ForgetChain,
    KeyDenied,
    KeyTaken,
    Provision,
    Relocate,
    TicketTaken,
)
from keymote.engine.topic.key_chain import KeyChain
from keymote.engine.topic.repeating import Patience
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.registry import peek
from keymote.wire.topic import CONNECT, PUBLISH, SUBSCRIBE, KeyGrant, Kpush, Kreq, Kresp, Ticket

MOST_WISHES: Final = 65
"""The one under way, and 64 that wait."""
MOST_TICKETS: Final = 2
"""Tickets kept until it is known which one is meant: whoever is on the way could send others."""
_ID: Final = 8
_SESS: Final = 8
_NO_POINTS: Final = sizes_of(1)


def chain_kind(suites: Callable[[int], Suite]) -> Kind:
    """Return the kind `topic-chain`."""

    def step(cell: ChainCell | None, item: Item, now: Now, entropy: Entropy) -> Step:
        match item:
            case Provision() | Told(Provision()):
                return _provisioned(item if isinstance(item, Provision) else item.command, suites), ()
            case AskForKey(topic, role) if cell is None:
                return None, [KeyDenied(topic, role, ErrorCode.E_STATE)]
            case ForgetChain() | Told(ForgetChain()):
                return None, ()
            case Failed() | Due() if cell is None:
                return None, ()
        if cell is None:
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, "this client has no chain with a trusted system")
        match item:
            case Received(_, data) if peek(data)[0] == Ticket.mt:
                return _ticket(cell, data, now, entropy)
            case Received(_, data):
                return _taken(cell, data, now, entropy)
            case AskForKey(topic, role):
                return _asked(cell, Wish(topic, role), now, entropy)
            case Relocate(at):
                return replace(cell, at=at), ()
            case Due():
                return _due(cell, now, entropy)
            case Failed(_, ref):
                return _given_up(cell) if cell.asking is not None and ref == cell.requests else (cell, ())
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not for a client of a trusted system")

    return Kind(
        CHAIN,
        Durability.DURABLE,
        step,
        record=record,
        load=lambda _, data: load(data, suites),
        deadline=lambda cell: None if cell.asking is None else cell.asking.patience.at,
        same_record=same_record,
    )


def _provisioned(wish: object, suites: Callable[[int], Suite]) -> ChainCell:
    assert isinstance(wish, Provision)
    if len(wish.client_id) != _ID:
        raise CallerFault(f"a client id of {len(wish.client_id)} bytes", do="give 8")
    return ChainCell(ClientEnd(suites(wish.suite), KeyChain(wish.client_id, 0, wish.chain_key)), wish.at)


# ------------------------------------------------------------------ asking


def _asked(cell: ChainCell, wish: Wish, now: Now, entropy: Entropy) -> Step:
    """Begin to ask, or let the wish wait behind the others; CallerFault for what no trusted system would answer."""
    try:
        if (wish.role == CONNECT) is not (wish.topic == ""):
            raise PeerFault(ErrorCode.E_FORMAT, "a topic is asked for to publish or subscribe, and none to connect")
        if wish.topic:
            check_topic(wish.topic)
    except PeerFault as fault:
        raise CallerFault(fault.what, do="name one concrete topic") from fault
    if wish in cell.wishes:
        return cell, ()
    if len(cell.wishes) >= MOST_WISHES:
        return cell, [KeyDenied(*wish, ErrorCode.E_LIMIT)]
    return _on(replace(cell, wishes=(*cell.wishes, wish)), now, entropy)


def _on(cell: ChainCell, now: Now, entropy: Entropy, outputs: Sequence[Output] = ()) -> Step:
    """Ask for the first wish unless an answer is waited for; after 16 requests at one k the last one is sent again (TC-05)."""
    if cell.asking is not None or not cell.wishes:
        return cell, outputs
    end = cell.end
    if end.forgotten + len(end.asked) < MOST_OPEN:
        end, data = request(end, *cell.wishes[0], entropy)
    else:
        data = end.asked[-1]
    cell = replace(cell, end=end, asking=Asking(data, Patience.first(now)), requests=cell.requests + 1)
    return cell, [*outputs, _towards(cell, data, cell.requests)]


def _due(cell: ChainCell, now: Now, entropy: Entropy) -> Step:
    """Say it again, the same bytes, so that a repetition costs the trusted system nothing; then give up."""
    asking = cell.asking
    if asking is None or now.mono < asking.patience.at:
        return cell, ()
    if asking.patience.last:
        return _given_up(cell)
    again = asking.patience.again(now)
    if asking.home is None:
        return replace(cell, asking=asking._replace(patience=again)), [_towards(cell, asking.data, cell.requests)]
    # the ticket is lost, and its KREQ answered: only another request brings another one
    cell, outputs = _on(replace(cell, asking=None, tickets=()), now, entropy)
    assert cell.asking is not None
    return replace(cell, asking=cell.asking._replace(patience=again)), outputs


def _given_up(cell: ChainCell) -> Step:
    """Nobody answers: tell so of all that was wished, for the next wish would wait as long."""
    denials = [KeyDenied(*wish, ErrorCode.E_TIMEOUT) for wish in cell.wishes]
    return replace(cell, wishes=(), asking=None, tickets=()), denials


def _towards(cell: ChainCell, data: bytes, ref: int = 0) -> Output:
    return Tell(OWN_LINK, Forward(data)) if cell.at == BY_LINK else Send(cell.at, data, ref)


# ------------------------------------------------------------------ taking


def _taken(cell: ChainCell, data: bytes, now: Now, entropy: Entropy) -> Step:
    if peek(data)[0] not in (Kresp.mt, Kpush.mt):
        raise PeerFault(ErrorCode.E_STATE, f"message {peek(data)[0]} is not for a client")
    found = take(cell.end, data)
    said, before = _towards(cell, found.kack), cell.asking
    if not isinstance(found, Granted):
        return cell, [said]
    cell, wish = _stepped(replace(cell, end=found.end), found)
    if wish is None:
        return _on(cell, now, entropy, [said])
    code = denied(found.grant)
    if code is not None:
        return _on(_done(cell, wish), now, entropy, [said, KeyDenied(*wish, code)])
    if wish.role == CONNECT:
        home = Home(found.grant.sess, Secret(found.grant.SK), found.grant.life_s)
        return _matched(_waiting_for_ticket(cell, home, before, now), now, entropy, [said])
    cell, waited = _named(_done(cell, wish), wish, found.grant)
    reports = [KeyTaken(wish.topic, wish.role, grant, grant.publishers or ()) for grant in (found.grant, *waited)]
    return _on(cell, now, entropy, [said, *reports])


def _named(cell: ChainCell, wish: Wish, grant: KeyGrant) -> tuple[ChainCell, list[KeyGrant]]:
    """Return what was pushed before it was known that this session is of that topic, and the cell without it (TC-13)."""
    mine = [each for each in cell.unnamed if each.sess == grant.sess and wish.role == SUBSCRIBE]
    return replace(cell, unnamed=tuple(each for each in cell.unnamed if each not in mine)) if mine else cell, mine


def _stepped(cell: ChainCell, found: Granted) -> tuple[ChainCell, Wish | None]:
    """Return the cell at k + 1, where what was asked at k must be asked anew, and what the grant is for; None: nobody knows."""
    grant = found.grant
    if cell.asking is not None and cell.asking.home is None:
        cell = replace(cell, asking=None)
    if found.request:
        asked = Kreq.decode(found.request, _NO_POINTS)
        wish = Wish(asked.topic, asked.role)
        if denied(grant) is not None or wish.role == CONNECT:
            return cell, wish
        topics = {name: topic for name, topic in cell.topics.items() if topic != wish.topic or name[1] != wish.role}
        if len(topics) >= MOST_TOPICS:
            del topics[next(iter(topics))]
        topics[grant.sess, wish.role] = wish.topic
        return replace(cell, topics=topics), wish
    role = SUBSCRIBE if grant.publishers is not None else PUBLISH
    topic = cell.topics.get((grant.sess, role))
    if topic is None and role == SUBSCRIBE:
        cell = replace(cell, unnamed=(*cell.unnamed, grant)[-MOST_UNNAMED:])
    return cell, None if topic is None else Wish(topic, role)


def _done(cell: ChainCell, wish: Wish) -> ChainCell:
    return replace(cell, wishes=tuple(each for each in cell.wishes if each != wish))


# ------------------------------------------------------------------ tickets


def _waiting_for_ticket(cell: ChainCell, home: Home, before: Asking | None, now: Now) -> ChainCell:
    """Wait for the ticket of K_home; tries that were lost before count."""
    attempt = 0 if before is None else before.patience.attempt
    patience, wish = Patience.first(now)._replace(attempt=attempt), Wish("", CONNECT)
    wishes = (wish, *(each for each in cell.wishes if each != wish))
    return replace(cell, wishes=wishes, asking=Asking(b"", patience, home))


def _ticket(cell: ChainCell, data: bytes, now: Now, entropy: Entropy) -> Step:
    """Keep a TICKET that may be meant: nobody has authenticated it, K_home's grant says which one it is (TC-08)."""
    Ticket.decode(data, _NO_POINTS)
    if not cell.wishes or cell.wishes[0].role != CONNECT:
        raise PeerFault(ErrorCode.E_STATE, "a ticket that nobody asked for")
    if data in cell.tickets:
        return cell, ()
    return _matched(replace(cell, tickets=(*cell.tickets, data)[-MOST_TICKETS:]), now, entropy, ())


def _matched(cell: ChainCell, now: Now, entropy: Entropy, outputs: Sequence[Output]) -> Step:
    home = None if cell.asking is None else cell.asking.home
    ticket = next((each for each in cell.tickets if home is not None and sha256(each)[:_SESS] == home.name), None)
    if home is None or ticket is None:
        return cell, outputs
    cell = replace(_done(cell, Wish("", CONNECT)), asking=None, tickets=())
    return _on(cell, now, entropy, [*outputs, TicketTaken(home.K_home, ticket, home.life_s)])
