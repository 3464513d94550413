"""Composes the cells of a role, and its table of routes: clear header -> cell."""

from collections.abc import Sequence
from typing import Final

from keymote.engine.base import CellKey, Node, Peer
from keymote.engine.context import DeviceContext, RegistrarContext
from keymote.engine.enrolment.device import newcomer_kind
from keymote.engine.enrolment.registrar import registrar_kind
from keymote.engine.enrolment.registrar_cell import bind_alias, endpoint_alias
from keymote.engine.faces import GATE, OWN_ENROLMENT, enrolment_of, peer_manager, session_of
from keymote.engine.gate import gate_kind
from keymote.engine.group.faces import membership_of, ring_of
from keymote.engine.group.gateway import ring_kind
from keymote.engine.group.member import membership_kind
from keymote.engine.group.party import Party
from keymote.engine.group.root import root_kind
from keymote.engine.group.root_faces import root_of
from keymote.engine.group.root_gateway import root_gateway_kind
from keymote.engine.handover.moves_cell import moves_kind, moves_of
from keymote.engine.link import link_kind
from keymote.engine.link_faces import OWN_LINK
from keymote.engine.nmauth import nmauth_kind, nmauth_of
from keymote.engine.own import own_kind
from keymote.engine.pairwise.device import device_session_kind
from keymote.engine.pairwise.manager import manager_session_kind
from keymote.engine.pairwise.relay import RELAYED
from keymote.engine.peer import peer_kind
from keymote.engine.topic.client import chain_kind
from keymote.engine.topic.faces import OWN_CHAIN, client_of
from keymote.engine.topic.nodes import TO_CLIENT, TO_SYSTEM
from keymote.engine.topic.session import session_kind
from keymote.engine.topic.system import client_kind
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.enrolment import (
    Bind,
    Cookie,
    Cred,
    DoneMessage,
    Error,
    Hello,
    Join,
    Newcred,
    Offer,
    Renew,
    Share,
    Vpt,
)
from keymote.wire.fields import sizes_of
from keymote.wire.group import (
    Blame,
    Bundle,
    Commit,
    Delegation,
    JoinRequest,
    Need,
    Root,
    Roster,
    Round1,
    Round1Compact,
    Round2,
    Round3,
    Start,
    Wrap,
)
from keymote.wire.group_record import GroupRecord
from keymote.wire.handover import HoMoved
from keymote.wire.invitation import Invite, Invited, Uninvite
from keymote.wire.pairwise import (
    Keyreq,
    Link,
    NmAuth1,
    NmAuth2,
    Peercred,
    Revnote,
    RevnoteClaims,
    Revoke,
    Sessreq,
    Shreq,
    Shresp,
    Xcred,
    XshareRequest,
)
from keymote.wire.registry import peek, peek_id, peek_signed_id

_TO_NEWCOMER: Final = frozenset({Hello.mt, Offer.mt, Vpt.mt, Cred.mt, Cookie.mt})
_OF_GROUPS: Final = frozenset(
    kind.mt
    for kind in (
        Delegation, Start, Round1, Round1Compact, Round2, Round3, Commit, Blame, Roster, JoinRequest, Need, Bundle, GroupRecord
    )
)  # fmt: skip
_OF_ROOTS: Final = frozenset({Root.mt, Wrap.mt})
"""Name the root group, or the run of the ring that the root key is wrapped for."""
_ID_IN_CLEAR: Final = frozenset({Round1Compact.mt, Need.mt, Bundle.mt, GroupRecord.mt})
_SIGNED_ELEMENTS: Final = 2
"""[mt, COSE_Sign1]; R3 has two forms."""
_NMAUTH_ELEMENTS: Final = 8
_NMAUTH3_BYTES: Final = 28
"""[22, psid, AEAD of nothing]; A3 between devices is at least 61 bytes."""


def device_node(context: DeviceContext) -> Node:
    """Return the cells of a device, or of a manager as a newcomer at its coordinator."""
    party = Party(context.signing, context.trust, context.has_clock, context.generation)
    kinds = (
        newcomer_kind(context),
        link_kind(context.trust.suite, _device_body, context.generation),
        device_session_kind(context),
        membership_kind(party),
        root_kind(party),
        chain_kind(context.trust.suite),
    )
    return Node({kind.name: kind for kind in kinds}, _device_route)


def registrar_node(context: RegistrarContext) -> Node:
    """Return the cells of a manager; those of a coordinator, which only enrols, lack what belongs to sessions."""
    kinds = [
        gate_kind(context),
        registrar_kind(context),
        link_kind(context.trust.suite, _registrar_body, context.generation),
        own_kind(context),
    ]
    if context.membership is not None:
        party = Party(context.signing, context.trust, True, context.generation)
        kinds += [nmauth_kind(context), peer_kind(context), manager_session_kind(context)]
        kinds += [ring_kind(party), membership_kind(party), root_kind(party), root_gateway_kind(party)]
        kinds += [client_kind(context.trust.suite), session_kind(), moves_kind()]
    return Node({kind.name: kind for kind in kinds}, _manager_route if context.membership else _registrar_route)


# ------------------------------------------------------------------ routes


def _device_route(_peer: Peer, data: bytes) -> Sequence[CellKey]:
    mt, _ = peek(data)
    if mt in RELAYED:
        return (session_of(peek_id(data, mt)),)
    if mt == Link.mt:
        return CellKey("link", peek_id(data, mt)), OWN_LINK
    if mt in _TO_NEWCOMER:
        return (OWN_ENROLMENT,)
    if mt in _OF_GROUPS:
        return (membership_of(_group_in(mt, data)),)
    if mt in _OF_ROOTS:
        return (root_of(peek_signed_id(data)),)
    if mt in TO_CLIENT:
        return (OWN_CHAIN,)
    raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not for a device")


def _registrar_route(peer: Peer, data: bytes) -> Sequence[CellKey]:
    mt, _ = peek(data)
    if mt == Join.mt:
        return (GATE,)
    if mt == Link.mt:
        return (CellKey("link", peek_id(data, mt)),)
    if mt == Bind.mt:
        return enrolment_of(endpoint_alias(peer)), enrolment_of(bind_alias(data))
    if mt in (Share.mt, DoneMessage.mt):
        return (enrolment_of(endpoint_alias(peer)),)
    raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not for a registrar")


def group_in(data: bytes) -> bytes | None:
    """Return the gid, or the sid8 of the run, that a message of a group names; None for any other, E_FORMAT for neither."""
    mt, _ = peek(data)
    return _group_in(mt, data) if mt in _OF_GROUPS else None


def _group_in(mt: int, data: bytes) -> bytes:
    """Return the gid, or the sid8 of the run, that a message of a group names."""
    if mt in _ID_IN_CLEAR or (mt == Round3.mt and peek(data)[1] > _SIGNED_ELEMENTS):
        return peek_id(data, mt)
    return peek_signed_id(data)


def _manager_route(peer: Peer, data: bytes) -> Sequence[CellKey]:
    mt, count = peek(data)
    if mt in _OF_GROUPS:
        group = _group_in(mt, data)
        return ring_of(group), membership_of(group)
    if mt in _OF_ROOTS:
        group = peek_signed_id(data)
        return ring_of(group), root_of(group)
    if mt in (NmAuth1.mt, NmAuth2.mt) and count == _NMAUTH_ELEMENTS:
        return (nmauth_of(peek_id(data, mt)),)
    if mt == Keyreq.mt and len(data) == _NMAUTH3_BYTES:
        return (nmauth_of(peek_id(data, mt)),)
    if mt in RELAYED:
        return (session_of(peek_id(data, mt)),)
    if mt in TO_SYSTEM:
        return (client_of(peek_id(data, mt)),)
    if mt == HoMoved.mt:
        return (moves_of(peek_id(data, mt)),)
    return _registrar_route(peer, data)


# ------------------------------------------------------------------ bodies of LINK records


def _device_body(_link: bytes, _peer_id: bytes, mt: int, body: bytes) -> CellKey:
    match mt:
        case Peercred.mt | Newcred.mt | Invite.mt | Uninvite.mt:
            return OWN_ENROLMENT
        case Shresp.mt:
            return session_of(peek_id(body, mt))
        case Error.mt | Revnote.mt:
            return session_of(_session_in(mt, body))
        case _:
            raise PeerFault(ErrorCode.E_STATE, f"message {mt} in LINK is not for a device")


def _registrar_body(link: bytes, peer_id: bytes, mt: int, body: bytes) -> CellKey:
    if link == peer_id:
        match mt:
            case Sessreq.mt | Shreq.mt | Revoke.mt | Renew.mt | Invited.mt:
                return enrolment_of(peer_id)
            case Error.mt:
                return session_of(_session_in(mt, body))
    else:
        match mt:
            case Xcred.mt:
                return peer_manager(peer_id)
            case XshareRequest.mt:
                return session_of(peek_id(body, mt))
            case Error.mt | Revnote.mt:
                return session_of(_session_in(mt, body))
    raise PeerFault(ErrorCode.E_STATE, f"message {mt} in LINK is not for a registrar")


def _session_in(mt: int, body: bytes) -> bytes:
    """Return the psid of an ERROR or REVNOTE, whose header does not show it."""
    sizes = sizes_of(1)  # neither has a field whose length depends on the suite
    if mt == Error.mt:
        psid = Error.decode(body, sizes).psid
        if psid is None:
            raise PeerFault(ErrorCode.E_FORMAT, "ERROR that names no session")
        return psid
    return RevnoteClaims.decode(Revnote.decode(body, sizes).envelope.payload, sizes).psid
