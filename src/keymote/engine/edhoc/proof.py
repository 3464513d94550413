"""Signature_or_MAC_2 and _3: how each side shows that it holds the key of its credential (RFC 9528 5.3.2, 5.4.2)."""

from collections.abc import Callable
from typing import Final

from keymote.crypto.kdf import HASH_SIZE
from keymote.crypto.secret import Secret, equal
from keymote.crypto.sign import SigningKey
from keymote.engine.edhoc import schedule
from keymote.engine.edhoc.credentials import Own, Peer
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.edhoc import Eads

METHODS: Final = range(4)
"""0: both sign; 1: I signs, R has a static key; 2: I has a static key, R signs; 3: both have static keys (3.2)."""

MAC_SIZE: Final = 8
"""Bytes of the MAC by a static key in every suite that we run (RFC 9528 3.6)."""

Mac = Callable[[Secret, bytes, int], bytes]
"""`schedule.mac_2` or `schedule.mac_3`."""


def initiator_signs(method: int) -> bool:
    """Return whether I signs in this method."""
    return method in (0, 1)


def responder_signs(method: int) -> bool:
    """Return whether R signs in this method."""
    return method in (0, 2)


def prove(mac: Mac, PRK: Secret, own: Own, head: bytes, TH: bytes, eads: Eads, signed_by: SigningKey | None) -> bytes:
    """Return Signature_or_MAC of our side; `head` is C_R in message_2, else empty; None proves a static key by a MAC."""
    context = head + schedule.context(own.id_cred, TH, own.cred, eads)
    if signed_by is None:
        return mac(PRK, context, MAC_SIZE)
    return signed_by.sign(schedule.to_be_signed(own.id_cred, TH, own.cred, eads, mac(PRK, context, HASH_SIZE)))


def verify(mac: Mac, PRK: Secret, peer: Peer, head: bytes, TH: bytes, eads: Eads, proof: bytes, *, signs: bool) -> None:
    """Return if `proof` is that of the key in the peer's credential; PeerFault E_AUTH if not."""
    context = head + schedule.context(peer.id_cred, TH, peer.cred, eads)
    if signs:
        signed = schedule.to_be_signed(peer.id_cred, TH, peer.cred, eads, mac(PRK, context, HASH_SIZE))
        peer.verify_key().verify(signed, proof)
    elif not equal(mac(PRK, context, MAC_SIZE), proof):
        raise PeerFault(ErrorCode.E_AUTH, "the MAC is not that of the peer's static key")
