"""Nodes that speak of topic keys and of nothing else: a client of a provisioning file, and a trusted system in the lab."""

from collections.abc import Callable, Sequence
from typing import Final

from keymote.crypto.suite import Suite
from keymote.engine.base import CellKey, Node, Peer
from keymote.engine.topic.client import chain_kind
from keymote.engine.topic.faces import OWN_CHAIN, client_of
from keymote.engine.topic.session import session_kind
from keymote.engine.topic.system import client_kind
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.registry import peek, peek_id
from keymote.wire.topic import Kack, Kpush, Kreq, Kresp, Ticket

TO_CLIENT: Final = frozenset({Kresp.mt, Kpush.mt, Ticket.mt})
TO_SYSTEM: Final = frozenset({Kreq.mt, Kack.mt})
"""Message types; these name the client in clear."""


def client_node(suites: Callable[[int], Suite]) -> Node:
    """Return the cells of a client that was never enrolled."""
    return Node({"topic-chain": chain_kind(suites)}, _to_client)


def system_node(suites: Callable[[int], Suite]) -> Node:
    """Return the cells of a trusted system that enrols nobody."""
    kinds = client_kind(suites), session_kind()
    return Node({kind.name: kind for kind in kinds}, _to_system)


def _to_client(_peer: Peer, data: bytes) -> Sequence[CellKey]:
    mt, _ = peek(data)
    if mt in TO_CLIENT:
        return (OWN_CHAIN,)
    raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not for a client")


def _to_system(_peer: Peer, data: bytes) -> Sequence[CellKey]:
    mt, _ = peek(data)
    if mt in TO_SYSTEM:
        return (client_of(peek_id(data, mt)),)
    raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not for a trusted system")
