"""A client's moves told to the trusted system, for the audit alone (Triad-1 4.6): what an agent says, and how it is answered.

Sealed by AES-CCM-16-128-128 under lexp(K_TS-broker, "C/ho", broker_id): where people are is nobody else's business.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from keymote import cbor
from keymote.crypto.aead import AES_CCM_16_128_128
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import lexp, mac16
from keymote.crypto.secret import Secret, equal
from keymote.engine.base import Now, Peer, Send
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.handover import HoMoved, HoNoted, MoveBody

MOST_UNTOLD: Final = 4
"""Moves of one client that the trusted system has not noted; older ones stand in the agent's log alone."""
UNTOLD_S: Final = 86_400
"""For how long a move is said again."""
_NOTED: Final = b"noted"
_SIZES: Final = sizes_of(1)


class Untold(NamedTuple):
    """HO_MOVED, the same bytes each time, until it is noted or `until` (UTC seconds)."""

    ho_ctr: int
    data: bytes
    until: int


def with_move(
    untold: Sequence[Untold], shared: Secret, broker_id: bytes, move: MoveBody, entropy: Entropy
) -> tuple[Untold, ...]:
    """Return what the trusted system has not noted, and this move."""
    nonce = entropy.draw(AES_CCM_16_128_128.nonce_size)
    key = _key(shared, broker_id)
    ct = AES_CCM_16_128_128.seal_with(key, nonce, _aad(broker_id), move.encode())
    said = Untold(move.ho_ctr, HoMoved(broker_id, nonce, ct).encode(), move.at + UNTOLD_S)
    return (*untold, said)[-MOST_UNTOLD:]


def said(untold: Sequence[Untold], trusted: Peer) -> list[Send]:
    """Return what is sent to the trusted system, if the agent knows where it is."""
    return [Send(trusted, each.data, each.ho_ctr) for each in untold] if trusted else []


def still_said(untold: Sequence[Untold], now: Now) -> tuple[Untold, ...]:
    """Return what is to be said again."""
    return tuple(each for each in untold if each.until > now.wall)


def without_noted(untold: Sequence[Untold], shared: Secret, broker_id: bytes, data: bytes) -> tuple[Untold, ...]:
    """Return all but the move that HO_NOTED answers; E_AUTH when it answers none."""
    answer, key = HoNoted.decode(data, _SIZES), _key(shared, broker_id)
    for each in untold:
        if each.ho_ctr == answer.ho_ctr:
            nonce = HoMoved.decode(each.data, _SIZES).nonce
            if equal(_tag(key, nonce, answer), answer.tag):
                return tuple(other for other in untold if other is not each)
    raise PeerFault(ErrorCode.E_AUTH, "HO_NOTED of a move that was not told")


def open_move(shared: Secret, data: bytes) -> MoveBody:
    """Return the move that a broker's agent tells; E_FORMAT, or E_AUTH when it does not share this key."""
    message = HoMoved.decode(data, _SIZES)
    key = _key(shared, message.broker_id)
    plaintext = AES_CCM_16_128_128.open_with(key, message.nonce, _aad(message.broker_id), message.ct)
    return MoveBody.decode(plaintext, _SIZES)


def note(shared: Secret, data: bytes, move: MoveBody) -> bytes:
    """Return HO_NOTED for the HO_MOVED in `data`."""
    message = HoMoved.decode(data, _SIZES)
    unsigned = HoNoted(move.client_id, move.ho_ctr, bytes(16))
    return replace(unsigned, tag=_tag(_key(shared, message.broker_id), message.nonce, unsigned)).encode()


def _key(shared: Secret, broker_id: bytes) -> Secret:
    return lexp(shared, "C/ho", cbor.encode_array(broker_id))


def _aad(broker_id: bytes) -> bytes:
    return cbor.encode_array("TRIAD1", HoMoved.mt, broker_id)


def _tag(key: Secret, nonce: bytes, answer: HoNoted) -> bytes:
    return mac16(key, _NOTED, nonce, answer.encode(without=1))
