"""A visited broker's side of hand-over (Triad-1 4.6): pull the context, take it, acknowledge.

The cell around it is `visit_cell`.
"""

from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.engine.handover.federation import Federation
from keymote.engine.handover.home import Desk
from keymote.engine.handover.keys import acknowledgement_tag, context_info
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.cose import sign1
from keymote.wire.fields import sizes_of
from keymote.wire.topic import HoAck, HoContext, HoCtx, HoDeny, HoPull, HoPullClaims, HoReq

_SIZES: Final = sizes_of(1)
_NONCE: Final = 16


def hear_request(desk: Desk, federation: Federation, data: bytes) -> HoReq:
    """Return an HO_REQ that this broker may pull for; nobody has authenticated it yet.

    Raises:
        PeerFault: E_FORMAT; E_TICKET when it is meant for another broker, or its home is this one or not listed.
    """
    request = HoReq.decode(data, _SIZES)
    if request.vis != desk.broker_id:
        raise PeerFault(ErrorCode.E_TICKET, "HO_REQ for another broker")
    if request.home == desk.broker_id:
        raise PeerFault(ErrorCode.E_TICKET, "HO_REQ at the home broker", do="connect with the ticket")
    federation.broker(request.home)
    return request


def pull(desk: Desk, request: HoReq, entropy: Entropy) -> tuple[bytes, bytes]:
    """Return (nV, HO_PULL)."""
    nV = entropy.draw(_NONCE)
    claims = HoPullClaims(desk.broker_id, nV, request.encode())
    return nV, HoPull(sign1(desk.signing, HoPull.mt, claims.encode(), kid=desk.kid)).encode()


def take_context(desk: Desk, federation: Federation, request: HoReq, pulled: bytes, data: bytes) -> HoContext:
    """Return the context in HO_CTX, which answers this very HO_PULL.

    Raises:
        PeerFault: E_FORMAT, E_TICKET, E_AUTH unless the home broker signed it for this pull and sealed it to us, or when
            it is about another client or another count.
    """
    message = HoCtx.decode(data, _SIZES)
    home = federation.signer(request.home, message.envelope.kid)
    sealed = message.envelope.check(home.verifier, HoCtx.mt, sha256(pulled))
    plaintext = desk.sealing.door.open(desk.sealing.seed, context_info(request.home, desk.broker_id, pulled), sealed)
    context = HoContext.decode(plaintext, _SIZES)
    if (context.client_id, context.ho_ctr) != (request.client_id, request.ho_ctr):
        raise PeerFault(ErrorCode.E_AUTH, "HO_CTX is about another client or another hand-over")
    return context


def acknowledge(K_v: Secret, request: HoReq, nV: bytes) -> bytes:
    """Return HO_ACK."""
    return HoAck(nV, acknowledgement_tag(K_v, request, nV)).encode()


def deny(request: HoReq, code: ErrorCode) -> bytes:
    """Return HO_DENY, a hint."""
    return HoDeny(request.client_id, code, request.nC).encode()
