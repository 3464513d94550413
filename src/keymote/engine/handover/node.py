"""The cells of a broker's agent, and its table of routes."""

from collections.abc import Sequence
from typing import Final

from keymote.engine.base import CellKey, Node, Peer
from keymote.engine.handover.faces import AgentContext, home_of, visit_of
from keymote.engine.handover.home_cell import home_kind
from keymote.engine.handover.visit_cell import visit_kind
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.enrolment import Error
from keymote.wire.fields import sizes_of
from keymote.wire.handover import Between, HoNoted, HoPub, HoRelease, HoReleased
from keymote.wire.registry import peek, peek_id
from keymote.wire.topic import Connauth, HoCtx, HoPull, HoReq

FROM_CLIENTS: Final = frozenset({Connauth.mt, HoReq.mt, HoPub.mt, HoNoted.mt})
"""What an agent takes from anybody, HO_NOTED from the trusted system among it. `Between` comes from listed brokers alone."""
_AT_HOME: Final = frozenset({HoPull.mt, HoReleased.mt})
_VISITED: Final = frozenset({HoCtx.mt, Error.mt, HoRelease.mt})
_SIZES: Final = sizes_of(1)


def agent_node(context: AgentContext) -> Node:
    """Return the cells of an agent."""
    kinds = (home_kind(context), visit_kind(context))
    return Node({kind.name: kind for kind in kinds}, _route)


def _route(_peer: Peer, data: bytes) -> Sequence[CellKey]:
    mt, _ = peek(data)
    if mt in (Connauth.mt, HoNoted.mt):
        return (home_of(peek_id(data, mt)),)
    if mt in (HoReq.mt, HoPub.mt):
        return (visit_of(peek_id(data, mt)),)
    if mt == Between.mt:
        frame = Between.decode(data, _SIZES)
        inner, _ = peek(frame.body)
        if inner in _AT_HOME:
            return (home_of(frame.client_id),)
        if inner in _VISITED:
            return (visit_of(frame.client_id),)
    raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not for a broker's agent")
