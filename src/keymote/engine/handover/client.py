"""A client's side of hand-over: symmetric cryptography only, two datagrams (Triad-1 4.6).

`ho_ctr` only grows: whoever calls `begin` has stored the next number before (HO-02).
"""

from dataclasses import dataclass, replace
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret, equal
from keymote.engine.handover.keys import (
    acknowledgement_tag,
    key_at_home,
    key_on_visit,
    place_tag,
    request_tag,
    visited_key,
    visitor_password,
)
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.handover import BrokerAt
from keymote.wire.topic import HoAck, HoDeny, HoReq

_SIZES: Final = sizes_of(1)
_NONCE: Final = 8


@dataclass(frozen=True, slots=True)
class AwaitAck:
    """HO_REQ is out."""

    K_home: Secret
    request: HoReq


@dataclass(frozen=True, slots=True)
class Visit:
    """Served at a visited broker under K_v."""

    vis: bytes
    ho_ctr: int
    K_v: Secret
    password: Secret
    nonces: bytes


def begin(
    K_home: Secret, client_id: bytes, home: bytes, vis: bytes, ho_ctr: int, entropy: Entropy
) -> tuple[AwaitAck, bytes]:
    """Return HO_REQ to the broker `vis`, and what to keep until its answer; repeat the same bytes when none comes."""
    unsigned = HoReq(client_id, home, vis, ho_ctr, entropy.draw(_NONCE), bytes(16))
    request = replace(unsigned, tag=request_tag(K_home, unsigned))
    return AwaitAck(K_home, request), request.encode()


def finish(state: AwaitAck, data: bytes) -> Visit:
    """Return K_v and the password at the broker after HO_ACK.

    Raises:
        PeerFault: E_AUTH when nobody with this client's context sent it (wait on), E_FORMAT.
    """
    answer = HoAck.decode(data, _SIZES)
    K_v = visited_key(state.K_home, state.request, answer.nV)
    if not equal(acknowledgement_tag(K_v, state.request, answer.nV), answer.tag):
        raise PeerFault(ErrorCode.E_AUTH, "HO_ACK is not of the broker that holds this client's context")
    password = visitor_password(K_v, state.request.nC, answer.nV)
    return Visit(state.request.vis, state.request.ho_ctr, K_v, password, state.request.nC + answer.nV)


def place_at_home(K_home: Secret, nC: bytes, nB: bytes, data: bytes) -> str:
    """Return where the home broker is, after CONNACK-AUTH; E_AUTH for a BROKER_AT that its agent did not send."""
    return _place(key_at_home(K_home, nC), nC + nB, data)


def place_on_visit(visit: Visit, data: bytes) -> str:
    """Return where the visited broker is, after HO_ACK; E_AUTH for a BROKER_AT that its agent did not send."""
    return _place(key_on_visit(visit.K_v, visit.nonces[:_NONCE], visit.nonces[_NONCE:]), visit.nonces, data)


def _place(key: Secret, nonces: bytes, data: bytes) -> str:
    message = BrokerAt.decode(data, _SIZES)
    if not equal(place_tag(key, nonces, message), message.tag):
        raise PeerFault(ErrorCode.E_AUTH, "where the broker is does not come from its agent")
    return message.place


def denied(state: AwaitAck, data: bytes) -> ErrorCode:
    """Return why the visited broker says no: a hint that nobody authenticates; E_STATE when it answers another request."""
    answer = HoDeny.decode(data, _SIZES)
    if (answer.client_id, answer.nC) != (state.request.client_id, state.request.nC):
        raise PeerFault(ErrorCode.E_STATE, "HO_DENY of another request")
    return ErrorCode(answer.code)
