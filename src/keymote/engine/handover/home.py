"""A home broker's side of hand-over: is it the client, is it later than the last, is it a broker of the federation (Triad-1 4.6).

Functions over what the broker keeps of a client; the cell around them is `home_cell`.
"""

from dataclasses import dataclass, field
from typing import Final

from keymote.crypto.hpke import SealingKey
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret, equal
from keymote.engine.handover.federation import Federation
from keymote.engine.handover.keys import context_info, request_tag, visited_key
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.cose import Signer, sign1
from keymote.wire.fields import sizes_of
from keymote.wire.topic import HoContext, HoCtx, HoPull, HoPullClaims, HoReq, Right

_SIZES: Final = sizes_of(1)


@dataclass(frozen=True, slots=True)
class Desk:
    """Who a broker's agent is: its id, the card that it signs under, its keys."""

    broker_id: bytes
    kid: bytes
    signing: Signer = field(repr=False)
    sealing: SealingKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pull:
    """A verified HO_PULL: a listed broker says that this request reached it."""

    raw: bytes
    nV: bytes
    request: HoReq


@dataclass(frozen=True, slots=True)
class Handed:
    """A client that may go: under this key, with this HO_CTX."""

    K_v: Secret
    context: bytes


def read_pull(data: bytes, federation: Federation) -> Pull:
    """Return what a HO_PULL says after checking who signed it.

    Raises:
        PeerFault: E_FORMAT, E_TICKET for a broker that is not listed, E_AUTH for a signature that is not its own or for
            a request that was meant for another broker than the one that signs.
    """
    message = HoPull.decode(data, _SIZES)
    claims = HoPullClaims.decode(message.envelope.payload, _SIZES)
    broker = federation.signer(claims.vis, message.envelope.kid)
    message.envelope.check(broker.verifier, HoPull.mt)
    request = HoReq.decode(claims.request, _SIZES)
    if request.vis != claims.vis:
        raise PeerFault(ErrorCode.E_AUTH, "HO_REQ was meant for another broker")
    return Pull(data, claims.nV, request)


def hear_pull(
    desk: Desk, federation: Federation, K_home: Secret, last_ctr: int, pull: Pull, rights: tuple[Right, ...], life_s: int,
    state: bytes,
) -> Handed:  # fmt: skip
    """Return HO_CTX for the broker that pulls; the caller stores the new count before it leaves (HO-05).

    Raises:
        PeerFault: E_TICKET when the request names another home; E_AUTH unless the client made it; E_HO_CTR unless its
            count is above the last (a replay, or the second of two brokers that race with one count).
    """
    request = pull.request
    if request.home != desk.broker_id:
        raise PeerFault(ErrorCode.E_TICKET, "HO_REQ names another home broker")
    if not equal(request_tag(K_home, request), request.tag):
        raise PeerFault(ErrorCode.E_AUTH, "HO_REQ was not made by the client that it names")
    if request.ho_ctr <= last_ctr:
        raise PeerFault(ErrorCode.E_HO_CTR, f"hand-over {request.ho_ctr} after {last_ctr}")
    vis = federation.broker(request.vis)
    K_v = visited_key(K_home, request, pull.nV)
    body = HoContext(request.client_id, K_v.expose(), request.ho_ctr, life_s, rights, state).encode()
    sealed = desk.sealing.door.seal(vis.sealing, context_info(desk.broker_id, request.vis, pull.raw), body)
    envelope = sign1(desk.signing, HoCtx.mt, sealed, ctx=sha256(pull.raw), kid=desk.kid)
    return Handed(K_v, HoCtx(envelope).encode())
