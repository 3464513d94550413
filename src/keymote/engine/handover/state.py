"""The state of a session in HO_CTX: which broker brings what waits for the client (decision 0197)."""

from keymote import cbor
from keymote.errors import ErrorCode, PeerFault


def encode_origin(broker_id: bytes) -> bytes:
    """Return CBOR[broker_id]: the queue is there."""
    return cbor.encode([broker_id])


def decode_origin(data: bytes) -> bytes:
    """Return the broker that brings the queue; E_FORMAT for anything else than one id of 8 bytes."""
    match cbor.decode_array(data):
        case [bytes(broker_id)] if len(broker_id) == 8:
            return broker_id
    raise PeerFault(ErrorCode.E_FORMAT, "the state of a session names one broker")
