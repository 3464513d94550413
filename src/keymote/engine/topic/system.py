"""A client as its trusted system sees it: the kind `topic-client`, one cell for each (Triad-1 4.4).

It answers KREQ with what the host and the topic's session say, and brings what sessions owe by KPUSH: one message at a
time, for each acknowledged grant moves the chain. Grants that were withdrawn meanwhile are not sent again.
"""

from collections.abc import Callable, Sequence
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import HASH_SIZE, sha256
from keymote.crypto.suite import Suite
from keymote.engine.base import (
    Answer,
    Ask,
    CellKey,
    Due,
    Durability,
    Failed,
    Item,
    Kind,
    Now,
    Output,
    Peer,
    Received,
    Send,
    Step,
    Tell,
    Told,
    replace,
)
from keymote.engine.policy.topic_events import KeyRefused
from keymote.engine.policy.topic_filters import check_topic
from keymote.engine.topic.admission import issue_ticket
from keymote.engine.topic.between import Dropped, Fetch, Give, Held, Join, Owe, Settled, Turned, Unreachable, Withdraw
from keymote.engine.topic.ciphers import ASCON
from keymote.engine.topic.denial import NO_SESSION, denial
from keymote.engine.topic.exchange import (
    Acknowledged,
    Outdated,
    Receipt,
    Repeated,
    SystemEnd,
    Wanted,
    acknowledge,
    answer,
    hear,
    push,
)
from keymote.engine.topic.faces import (
    CLIENT,
    SESSION,
    ForgetClient,
    RegisterClient,
    ResumeClient,
    Terms,
    TicketFor,
    TicketTerms,
    WhoMay,
    topic_of,
)
from keymote.engine.topic.key_chain import KeyChain
from keymote.engine.topic.repeating import Patience
from keymote.engine.topic.system_state import GLANCE, LAST, ClientCell, Owed, Pending, glance, load, record, same_record
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.registry import peek
from keymote.wire.topic import CONNECT, Kack, KeyGrant, Kreq, TicketBody

MOST_PENDING: Final = 8
"""Requests of one client that the host is asked about at a time; a further one takes the place of the oldest."""
_ID: Final = 8
_TICKET_ID: Final = 8
_SESS: Final = 8
_REF: Final = 6


def client_kind(suites: Callable[[int], Suite]) -> Kind:
    """Return the kind `topic-client`."""

    def step(cell: ClientCell | None, item: Item, now: Now, entropy: Entropy) -> Step:
        match item:
            case RegisterClient() | Told(RegisterClient()):
                return _registered(item if isinstance(item, RegisterClient) else item.command, suites), ()
            case ForgetClient() | Told(ForgetClient()):
                return None, ()
            case Told(Owe(session, client, role)) if cell is None:
                return None, [Tell(CellKey(SESSION, session), Unreachable(client, role))]
            case Received() if cell is None:
                raise PeerFault(ErrorCode.E_UNKNOWN_ID, "nobody is registered under this client id")
        if cell is None:
            return None, ()
        match item:
            case Received(peer, data):
                return _received(cell, peer, data, now, entropy)
            case Answer(ref, result):
                return _answered(cell, ref, result, now, entropy)
            case Told(command):
                return _told(cell, command, now, entropy)
            case ResumeClient(at):
                return replace(cell, at=at or cell.at, patience=_soon(cell, now)), ()
            case Due():
                return _due(cell, now)
            case Failed(_, ref):
                return _out_of_reach(cell, now) if ref == cell.sent else (cell, ())
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not for a client's cell")

    return Kind(
        CLIENT,
        Durability.DURABLE,
        step,
        record=record,
        load=lambda _, data: load(data, suites),
        deadline=lambda cell: None if cell.patience is None else cell.patience.at,
        same_record=same_record,
    )


def _registered(wish: object, suites: Callable[[int], Suite]) -> ClientCell:
    assert isinstance(wish, RegisterClient)
    if len(wish.client_id) != _ID:
        raise CallerFault(f"a client id of {len(wish.client_id)} bytes", do="give 8")
    return ClientCell(SystemEnd(suites(wish.suite), KeyChain(wish.client_id, 0, wish.chain_key)), wish.at)


# ------------------------------------------------------------------ what the client says


def _received(cell: ClientCell, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> Step:
    match peek(data)[0]:
        case Kreq.mt:
            return _requested(cell, peer, data, now, entropy)
        case Kack.mt:
            heard = acknowledge(cell.end, data)
            return _acknowledged(replace(cell, at=peer), heard, now)
        case mt:
            raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not for a trusted system")


def _requested(cell: ClientCell, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> Step:
    found = hear(cell.end, data)
    match found:
        case Repeated(message):
            cell = replace(cell, at=cell.at or peer, patience=_soon(cell, now))  # anybody can say it again (TC-27)
            again = (message, cell.ticket) if cell.ticket and message == cell.unheard else (message,)
            return cell, [Send(peer, each) for each in again]
        case Outdated(request):
            return _outdated(replace(cell, at=cell.at or peer), request, now, entropy)
    request = found.request
    if request.role != CONNECT:
        check_topic(request.topic)
    if any(each.data == data for each in cell.pending):
        return cell, ()
    ref = 1 + int.from_bytes(sha256(data)[:_REF], "big")
    pending = (*cell.pending, Pending(ref, data, peer))[-MOST_PENDING:]
    query = (
        TicketFor(cell.client_id) if request.role == CONNECT else WhoMay(cell.client_id, request.topic, request.role)
    )
    return replace(cell, at=peer, pending=pending), [Ask(ref, query)]


def _outdated(cell: ClientCell, request: Kreq, now: Now, entropy: Entropy) -> Step:
    """Push what holds now in place of an answer that was withdrawn; to who is owed nothing any more, that it is refused.

    While an acknowledgement is waited for, nothing: anybody can say a request again (TC-27).
    """
    if Owed(topic_of(request.topic).id, request.role) in cell.owed:
        return replace(cell, patience=_soon(cell, now)), ()
    waits = cell.patience is not None and not cell.patience.given_up
    return (cell, ()) if waits else _pushed(cell, denial(ErrorCode.E_CRED), now, entropy)


def _acknowledged(cell: ClientCell, heard: Acknowledged, now: Now) -> Step:
    cell = replace(cell, end=heard.end, ticket=b"", patience=glance(now) if cell.owed else None)
    return cell, _confirmed(cell, heard.receipt)


def _confirmed(cell: ClientCell, receipt: Receipt) -> Sequence[Output]:
    """Return what tells the session, which is found by its sess, that a grant was taken."""
    if receipt.role == CONNECT or receipt.sess == NO_SESSION:
        return ()
    return [Tell(CellKey(SESSION, receipt.sess), Held(cell.client_id, receipt.role, receipt.epoch))]


# ------------------------------------------------------------------ what the host and sessions say


def _answered(cell: ClientCell, ref: int, result: object, now: Now, entropy: Entropy) -> Step:
    """Go on with a request that the host was asked about. A host that cannot tell says nothing, and so do we."""
    found = _wanted(cell, ref)
    if found is None:
        return _dropped(cell, ref), ()
    pending, wanted = found
    cell = replace(cell, end=wanted.end)
    said = [] if wanted.confirmed is None else list(_confirmed(cell, wanted.confirmed))
    request = wanted.request
    match result:
        case Terms(full=True):
            cell, outputs = _refused(cell, pending, wanted, ErrorCode.E_LIMIT, now)
            return cell, [*said, *outputs]
        case Terms(rule) if rule is not None:
            join = Join(ref, cell.client_id, request.topic, request.role, rule)
            return cell, [*said, Tell(topic_of(request.topic), join)]
        case TicketTerms():
            grant, ticket = _ticket(cell.client_id, result, entropy)
            cell, outputs = _given(cell, pending, wanted, grant, now, ticket)
            return cell, [*said, *outputs]
        case Terms() | None:
            cell, outputs = _refused(cell, pending, wanted, ErrorCode.E_CRED, now)
            return cell, [*said, *outputs]
    return _dropped(cell, ref), said


def _told(cell: ClientCell, command: object, now: Now, entropy: Entropy) -> Step:
    match command:
        case Give(0, _, _, grant):
            return _pushed(cell, grant, now, entropy)
        case Give(ref, session, role, grant):
            found = _wanted(cell, ref)
            owed = Owed(session, role)
            if owed not in cell.owed:
                cell = replace(cell, owed=(*cell.owed, owed))
            return (_dropped(cell, ref), ()) if found is None else _given(cell, *found, grant, now)
        case Turned(ref, _, code):
            found = _wanted(cell, ref)
            return (_dropped(cell, ref), ()) if found is None else _refused(cell, *found, code, now)
        case Dropped(ref):
            return _dropped(cell, ref), ()
        case Owe(session, _, role, urgent):
            return _owing(cell, Owed(session, role), now, urgent=urgent)
        case Settled(session, role):
            left = tuple(each for each in cell.owed if each != Owed(session, role))
            idle = cell.patience is None or cell.patience.attempt == GLANCE
            return replace(cell, owed=left, patience=(glance(now) if left else None) if idle else cell.patience), ()
        case Withdraw(sess, below):
            return replace(cell, end=cell.end.withdrawn(sess, below)), ()
    raise PeerFault(ErrorCode.E_STATE, "not for a client's cell")


def _wanted(cell: ClientCell, ref: int) -> tuple[Pending, Wanted] | None:
    """Return a request that waits, if it is still to be answered: the chain may have moved since it came."""
    pending = next((each for each in cell.pending if each.ref == ref), None)
    if pending is None:
        return None
    try:
        found = hear(cell.end, pending.data)
    except PeerFault:
        return None
    return (pending, found) if isinstance(found, Wanted) else None


def _dropped(cell: ClientCell, ref: int) -> ClientCell:
    return replace(cell, pending=tuple(each for each in cell.pending if each.ref != ref))


def _given(
    cell: ClientCell, pending: Pending, wanted: Wanted, grant: KeyGrant, now: Now, ticket: bytes = b""
) -> tuple[ClientCell, list[Output]]:
    end, message = answer(wanted, grant)
    cell = replace(
        _dropped(cell, pending.ref), end=end, patience=Patience.first(now), ticket=ticket, sent=cell.sent + 1
    )
    sends: list[Output] = [Send(pending.peer, message, cell.sent)]
    return cell, [*sends, Send(pending.peer, ticket)] if ticket else sends


def _refused(
    cell: ClientCell, pending: Pending, wanted: Wanted, code: ErrorCode, now: Now
) -> tuple[ClientCell, list[Output]]:
    cell, outputs = _given(cell, pending, wanted, denial(code), now)
    return cell, [*outputs, KeyRefused(cell.client_id, wanted.request.topic, code)]


def _ticket(client_id: bytes, terms: TicketTerms, entropy: Entropy) -> tuple[KeyGrant, bytes]:
    """Return the grant of a fresh K_home and its ticket; the grant's sess names the ticket, which nobody else authenticates."""
    K_home = entropy.draw(HASH_SIZE)
    body = TicketBody(client_id, K_home, terms.rights, terms.life_s, entropy.draw(_TICKET_ID))
    ticket = issue_ticket(terms.K_ts_broker, terms.broker_id, body, entropy)
    return KeyGrant(sha256(ticket)[:_SESS], 0, 0, ASCON, K_home, 0, 0, terms.life_s), ticket


# ------------------------------------------------------------------ what is owed


def _owing(cell: ClientCell, owed: Owed, now: Now, *, urgent: bool) -> Step:
    """Note that a session owes something; bring it at once if it is urgent, or as soon as nothing else is under way."""
    others = tuple(each for each in cell.owed if each != owed)
    if urgent:
        return replace(cell, owed=(owed, *others)), [_fetch(cell, owed)]
    cell = replace(cell, owed=cell.owed if owed in cell.owed else (*others, owed))
    return replace(cell, patience=_soon(cell, now)), ()


def _soon(cell: ClientCell, now: Now) -> Patience | None:
    """Return when to look what is owed: now, unless an acknowledgement is waited for."""
    patience = cell.patience
    return glance(now) if cell.owed and (patience is None or patience.given_up) else patience


def _fetch(cell: ClientCell, owed: Owed) -> Output:
    return Tell(CellKey(SESSION, owed.session), Fetch(owed.session, cell.client_id, owed.role))


def _pushed(cell: ClientCell, grant: KeyGrant, now: Now, entropy: Entropy) -> Step:
    """Send a grant that nobody asked for; who is out of reach gets it at the pace of those who are."""
    if not cell.at:
        return _out_of_reach(cell, now)
    end, message = push(cell.end, grant, entropy)
    slow = cell.patience is not None and cell.patience.given_up
    patience = cell.patience if slow else Patience.first(now)
    sent = cell.sent + 1
    return replace(cell, end=end, patience=patience, ticket=b"", sent=sent), [Send(cell.at, message, sent)]


def _due(cell: ClientCell, now: Now) -> Step:
    """Look what is owed, or say the newest message again; who has not answered for 14 s is asked less and less often."""
    patience = cell.patience
    if patience is None or now.mono < patience.at:
        return cell, ()
    if patience.last and not patience.given_up:
        return _out_of_reach(cell, now)
    repeats = cell.unheard and (not patience.given_up or not cell.end.open[-1].request)
    if patience.attempt != GLANCE and repeats:
        again = (cell.unheard, cell.ticket) if cell.ticket else (cell.unheard,)
        return replace(cell, patience=patience.again(now)), [Send(cell.at, each, cell.sent) for each in again]
    if not cell.owed:
        return replace(cell, patience=None), ()
    patience = patience.again(now) if patience.given_up else None
    return replace(cell, patience=patience), [_fetch(cell, cell.owed[0])]


def _out_of_reach(cell: ClientCell, now: Now) -> Step:
    """Wait no longer: the sessions park this client, and what they owe is offered after longer and longer pauses."""
    if not cell.owed:
        return replace(cell, patience=None), ()
    given_up = Patience(now.mono, LAST).again(now)
    lost = [Tell(CellKey(SESSION, owed.session), Unreachable(cell.client_id, owed.role)) for owed in cell.owed]
    return replace(cell, patience=given_up), lost
