"""The kind `home`: a client whose tickets are for this broker. Durable: last count, K_home, rights, expiry, whereabouts."""

from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.engine.base import (
    Answer,
    Ask,
    Due,
    Durability,
    Failed,
    Item,
    Kind,
    Now,
    Output,
    Peer,
    Received,
    Refused,
    Send,
    Step,
    replace,
)
from keymote.engine.handover.faces import (
    AccountOpen,
    AgentContext,
    CloseAccount,
    Connected,
    HandedOver,
    Moved,
    OpenAccount,
    Resume,
    Revoke,
    SessionMoved,
)
from keymote.engine.handover.home import Pull, hear_pull, read_pull
from keymote.engine.handover.home_states import (
    MOST_CONNECTS,
    MOST_OVER,
    MOST_RECORD,
    Away,
    Held,
    Here,
    HomeCell,
    Opening,
    load,
    record,
)
from keymote.engine.handover.keys import broker_at, key_at_home
from keymote.engine.handover.notices import AGAIN_S, Notices, told, with_release, without_answered
from keymote.engine.handover.reporting import Untold, said, still_said, with_move, without_noted
from keymote.engine.handover.state import encode_origin
from keymote.engine.topic.admission import admit, lower_layer_key
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.enrolment import Error
from keymote.wire.fields import sizes_of
from keymote.wire.handover import NOWHERE, Between, HoNoted, HoReleased, MoveBody
from keymote.wire.registry import peek
from keymote.wire.topic import ConnackAuth, Connauth, HoPull

_SIZES: Final = sizes_of(1)


def home_kind(context: AgentContext) -> Kind:
    """Return the kind `home` of an agent."""
    return Kind(
        "home",
        Durability.DURABLE,
        _Steps(context).step,
        record=record,
        load=load,
        deadline=lambda cell: cell.again_at if cell.notices or cell.untold else None,
        wake_at=lambda cell: None if cell.held is None else cell.held.expires,
        most_record=MOST_RECORD,
    )


class _Steps:
    def __init__(self, context: AgentContext) -> None:
        self.context = context

    def step(self, cell: HomeCell | None, item: Item, now: Now, entropy: Entropy) -> Step:
        match item:
            case Received(peer, data):
                return self._datagram(cell, peer, data, now, entropy)
            case _ if cell is None:
                if isinstance(item, (Resume, Revoke, SessionMoved)):
                    return None, ()
                raise PeerFault(ErrorCode.E_UNKNOWN_ID, "no client of this broker")
            case Answer(ref, result):
                return self._opened(cell, ref, result)
            case Due():
                return self._due(cell, now)
            case Failed():
                return replace(cell, again_at=now.mono + AGAIN_S), ()
            case Resume():
                return self._resumed(cell, now)
            case Revoke():
                return self._ended(cell, now)
            case SessionMoved(ho_ctr):
                return self._moved(cell, ho_ctr)
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not for a client at its home broker")

    def _datagram(self, cell: HomeCell | None, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> Step:
        mt, _ = peek(data)
        if mt == Connauth.mt:
            return self._connect(cell or HomeCell(), peer, data, now, entropy)
        if mt == HoNoted.mt and cell is not None:
            me = self.context.desk.broker_id
            return replace(cell, untold=without_noted(cell.untold, self.context.shared, me, data)), ()
        if mt != Between.mt:
            raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not for a home broker")
        frame = Between.decode(data, _SIZES)
        inner, _ = peek(frame.body)
        if inner == HoPull.mt:
            return self._pulled(cell, peer, frame, now, entropy)
        if inner == HoReleased.mt and cell is not None:
            return replace(cell, notices=without_answered(cell.notices, frame.body)), ()
        raise PeerFault(ErrorCode.E_STATE, f"message {inner} between agents is not for a home broker")

    # ------------------------------------------------------------------ at home

    def _connect(self, cell: HomeCell, peer: Peer, data: bytes, now: Now, entropy: Entropy) -> Step:
        """CONNAUTH: prove the ticket, come home if away, get an account (BA-01)."""
        request, body, answer = admit(self.context.shared, self.context.desk.broker_id, data, entropy)
        if request.client_id in self.context.federation.gone:
            raise PeerFault(ErrorCode.E_TICKET, "the trusted system took this client's rights back")
        if body.ticket_id in cell.over:
            raise PeerFault(ErrorCode.E_TICKET, "a ticket whose life is over")
        held, nB = cell.held, ConnackAuth.decode(answer, _SIZES).nB
        over, outputs, notices, untold, returns = cell.over, list[Output](), cell.notices, cell.untold, False
        if held is not None and isinstance(held.place, Away):
            me = self.context.desk.broker_id
            notices, outputs = self._let_go(held, held.place, me, notices)
            untold, went = self._told(untold, request.client_id, held.place.vis, me, held.last_ctr, now, entropy)
            outputs += went
            returns = True
        if held is not None and held.ticket_id == body.ticket_id:
            if now.wall >= held.expires:
                raise PeerFault(ErrorCode.E_TICKET, "a ticket whose life is over")
            if request.nC in held.nCs:
                raise PeerFault(ErrorCode.E_REPLAY, "CONNAUTH came before")
            held = replace(held, nCs=(*held.nCs, request.nC)[-MOST_CONNECTS:], nB=nB, place=Here())
        else:
            over = over if held is None else (*over, held.ticket_id)[-MOST_OVER:]
            expires = now.wall + body.life_s
            held = Held(
                request.client_id,
                body.ticket_id,
                Secret(body.K_home),
                body.rights,
                expires,
                (request.nC,),
                nB,
                0,
                Here(),
            )
        ref = cell.asked + 1
        answers = (answer, *self._place(held, request.client_id))
        opening = Opening(ref, peer, answers, request.client_id)
        again_at = now.mono + AGAIN_S if notices or untold else None
        new = HomeCell(over, held, notices, untold, asked=ref, opening=opening, again_at=again_at)
        return new, [*outputs, Ask(ref, self._account(request.client_id, held, session=returns))]

    def _place(self, held: Held, client_id: bytes) -> tuple[bytes, ...]:
        nC, nB = held.nCs[-1], held.nB
        place = self.context.place
        return (broker_at(key_at_home(held.K_home, nC), nC + nB, client_id, place),) if place else ()

    def _account(self, client_id: bytes, held: Held, *, session: bool = False) -> OpenAccount:
        password = lower_layer_key(held.K_home, held.nCs[-1], held.nB)
        return OpenAccount(client_id, password, held.rights, held.expires, session)

    def _opened(self, cell: HomeCell, ref: int, result: object) -> Step:
        opening = cell.opening
        if opening is None or opening.ref != ref:
            return cell, ()  # asked again meanwhile
        cell = replace(cell, opening=None)
        if not isinstance(result, AccountOpen):
            return cell, [Refused(opening.peer, ErrorCode.E_BUSY, "the broker does not open an account now")]
        connected = Connected(opening.client_id, self.context.desk.broker_id)
        answers = [Send(opening.peer, answer) for answer in opening.answers] if opening.peer else []
        return cell, [*answers, connected]

    # ------------------------------------------------------------------ away

    def _pulled(self, cell: HomeCell | None, peer: Peer, frame: Between, now: Now, entropy: Entropy) -> Step:
        """HO_PULL of a listed broker; what is wrong with the client's request it hears by name, for its HO_DENY (HO-06)."""
        pull = read_pull(frame.body, self.context.federation)
        if pull.request.client_id != frame.client_id:
            raise PeerFault(ErrorCode.E_FORMAT, "HO_PULL about another client than its frame says")
        if cell is not None and cell.handed is not None and cell.handed[0] == sha256(pull.raw):
            return cell, [Send(peer, Between(frame.client_id, cell.handed[1]).encode())]
        try:
            return self._hand_over(cell, peer, pull, now, entropy)
        except PeerFault as fault:
            error = Error(HoPull.mt, fault.code, pull.nV[:8]).encode()
            return cell, [
                Send(peer, Between(frame.client_id, error).encode()),
                Refused(peer, fault.code, fault.what),
            ]

    def _hand_over(self, cell: HomeCell | None, peer: Peer, pull: Pull, now: Now, entropy: Entropy) -> Step:
        request, me = pull.request, self.context.desk.broker_id
        client_id, vis = request.client_id, request.vis
        if cell is None or cell.held is None or client_id in self.context.federation.gone:
            raise PeerFault(ErrorCode.E_TICKET, "not a client of this broker", do="get a ticket and connect")
        held = cell.held
        left = held.expires - now.wall
        if left <= 0:
            raise PeerFault(ErrorCode.E_TICKET, "the client's ticket is over", do="get a new one")
        origin, moved = me, False
        if isinstance(held.place, Away) and held.place.moved:
            origin, moved = held.place.vis, True
        handed = hear_pull(
            self.context.desk, self.context.federation, held.K_home, held.last_ctr, pull, held.rights, left,
            encode_origin(origin),
        )  # fmt: skip
        notices, outputs = cell.notices, list[Output]()
        if isinstance(held.place, Away) and held.place.vis != vis:
            notices, outputs = self._let_go(held, held.place, vis, notices)
        place = Away(vis, request.ho_ctr, handed.K_v, moved)
        outputs.append(Send(peer, Between(client_id, handed.context).encode()))
        before, untold = held.place.vis if isinstance(held.place, Away) else me, cell.untold
        if before != vis:  # else the client asks again
            untold, went = self._told(untold, client_id, before, vis, request.ho_ctr, now, entropy)
            outputs += went
        again_at = now.mono + AGAIN_S if notices or untold else None
        new = HomeCell(
            cell.over, replace(held, last_ctr=request.ho_ctr, place=place), notices, untold, asked=cell.asked,
            again_at=again_at, handed=(sha256(pull.raw), handed.context),
        )  # fmt: skip
        if not moved:
            outputs.append(Moved(client_id, vis, request.ho_ctr))
        return new, outputs

    def _told(
        self, untold: tuple[Untold, ...], client_id: bytes, origin: bytes, to: bytes, ho_ctr: int, now: Now, entropy: Entropy
    ) -> tuple[tuple[Untold, ...], list[Output]]:  # fmt: skip
        """Report a move, and tell the trusted system of it if it can be reached (4.6)."""
        outputs: list[Output] = [HandedOver(client_id, origin, to, ho_ctr)]
        if self.context.trusted:
            move, me = MoveBody(client_id, origin, to, ho_ctr, now.wall), self.context.desk.broker_id
            untold = with_move(untold, self.context.shared, me, move, entropy)
            outputs += said(untold[-1:], self.context.trusted)
        return untold, outputs

    def _let_go(self, held: Held, place: Away, following: bytes, notices: Notices) -> tuple[Notices, list[Output]]:
        kept, notice = with_release(notices, held, place, following)
        return kept, told((notice,), self.context.federation)

    def _moved(self, cell: HomeCell, ho_ctr: int) -> Step:
        held = cell.held
        if held is None or not isinstance(held.place, Away) or held.place.ho_ctr != ho_ctr or held.place.moved:
            return cell, ()
        new = replace(cell, held=replace(held, place=replace(held.place, moved=True)))
        return new, [CloseAccount(held.client_id)]

    # ------------------------------------------------------------------ the end, and the beginning of a process

    def _due(self, cell: HomeCell, now: Now) -> Step:
        outputs = list[Output]()
        if cell.held is not None and now.wall >= cell.held.expires:
            cell, ended = self._over(cell)
            outputs += ended
        if (cell.notices or cell.untold) and cell.again_at is not None and now.mono >= cell.again_at:
            notices = tuple(notice for notice in cell.notices if notice.until > now.wall)
            untold = still_said(cell.untold, now)
            cell = replace(cell, notices=notices, untold=untold, again_at=now.mono + AGAIN_S)
            outputs += [*told(notices, self.context.federation), *said(untold, self.context.trusted)]
        return cell, outputs

    def _ended(self, cell: HomeCell, now: Now) -> Step:
        held = cell.held
        if held is None:
            return cell, ()
        outputs = list[Output]()
        if isinstance(held.place, Away):
            notices, outputs = self._let_go(held, held.place, NOWHERE, cell.notices)
            cell = replace(cell, notices=notices, again_at=now.mono + AGAIN_S)
        cell, ended = self._over(cell)
        return cell, [*outputs, *ended]

    def _over(self, cell: HomeCell) -> tuple[HomeCell, list[Output]]:
        """Erase K_home; the ticket stays known as one that is over (BA-04)."""
        assert cell.held is not None
        over = (*cell.over, cell.held.ticket_id)[-MOST_OVER:]
        closed: list[Output] = [CloseAccount(cell.held.client_id)]
        return replace(cell, over=over, held=None, opening=None, handed=None), closed

    def _resumed(self, cell: HomeCell, now: Now) -> Step:
        held, outputs = cell.held, told(cell.notices, self.context.federation)
        outputs += said(cell.untold, self.context.trusted)
        cell = replace(cell, again_at=now.mono + AGAIN_S if cell.notices or cell.untold else None)
        match held:
            case Held(place=Away(vis, ho_ctr, _, False)):
                return cell, [*outputs, Moved(held.client_id, vis, ho_ctr)]
            case Held(place=Here()) if held.expires > now.wall:
                ref = cell.asked + 1
                opening = Opening(ref, "", (), held.client_id)
                account = Ask(ref, self._account(held.client_id, held))
                return replace(cell, asked=ref, opening=opening), [*outputs, account]
        return cell, outputs
