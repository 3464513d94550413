"""Keys and tags of hand-over, each in one place (Triad-1 4.6)."""

from dataclasses import replace

from keymote import cbor
from keymote.crypto.kdf import lexp, mac16, sha256
from keymote.crypto.secret import Secret
from keymote.wire.handover import BrokerAt, HoRelease, HoReleased
from keymote.wire.topic import HoReq

_RELEASE = b"release"
_RELEASED = b"released"
_AT = b"at"


def request_tag(K_home: Secret, request: HoReq) -> bytes:
    """Return the tag of HO_REQ; the broker that it names as visited is inside."""
    key = lexp(K_home, "C/ho-auth", cbor.encode_array(request.client_id))
    return mac16(key, request.encode(without=1))


def visited_key(K_home: Secret, request: HoReq, nV: bytes) -> Secret:
    """Return K_v: for one client, one broker, one count and one pair of nonces."""
    context = cbor.encode_array(request.client_id, request.vis, request.ho_ctr, request.nC, nV)
    return lexp(K_home, "C/ho-key", context)


def acknowledgement_tag(K_v: Secret, request: HoReq, nV: bytes) -> bytes:
    """Return the tag of HO_ACK over the bytes of HO_REQ and nV."""
    return mac16(key_on_visit(K_v, request.nC, nV), request.encode(), nV)


def visitor_password(K_v: Secret, nC: bytes, nV: bytes) -> Secret:
    """Return what a visiting client shows its broker: lexp(K_v, "C/conn", nC ‖ nV, 32), as K_home gives it at home (8 on 4.4)."""
    return lexp(K_v, "C/conn", nC + nV)


def broker_at(key: Secret, nonces: bytes, client_id: bytes, place: str) -> bytes:
    """Return BROKER_AT; `key` and `nonces` are those of the answer that it follows (see `key_at_home`, `key_on_visit`)."""
    unsigned = BrokerAt(client_id, place, bytes(16))
    return replace(unsigned, tag=place_tag(key, nonces, unsigned)).encode()


def place_tag(key: Secret, nonces: bytes, message: BrokerAt) -> bytes:
    """Return the tag of BROKER_AT (decision 0197)."""
    return mac16(key, _AT, nonces, message.encode(without=1))


def key_at_home(K_home: Secret, nC: bytes) -> Secret:
    """Return the key of CONNACK-AUTH (4.4)."""
    return lexp(K_home, "C/conn", nC)


def key_on_visit(K_v: Secret, nC: bytes, nV: bytes) -> Secret:
    """Return the key of HO_ACK."""
    return lexp(K_v, "C/ho-fin", cbor.encode_array(nC, nV))


def context_info(home: bytes, vis: bytes, pull: bytes) -> bytes:
    """Return the `info` of HPKE in HO_CTX."""
    return cbor.encode_array("TRIAD1/C/ho", home, vis, sha256(pull))


def release(K_v: Secret, client_id: bytes, ho_ctr: int, following: bytes) -> bytes:
    """Return HO_RELEASE: the stay whose key is K_v is over."""
    unsigned = HoRelease(client_id, ho_ctr, following, bytes(16))
    return replace(unsigned, tag=release_tag(K_v, unsigned)).encode()


def release_tag(K_v: Secret, message: HoRelease) -> bytes:
    """Return the tag of HO_RELEASE (decision 0197)."""
    return mac16(_release_key(K_v, message.client_id, message.ho_ctr), _RELEASE, message.encode(without=1))


def released_tag(K_v: Secret, message: HoReleased) -> bytes:
    """Return the tag of HO_RELEASED (decision 0197)."""
    return mac16(_release_key(K_v, message.client_id, message.ho_ctr), _RELEASED, message.encode(without=1))


def _release_key(K_v: Secret, client_id: bytes, ho_ctr: int) -> Secret:
    return lexp(K_v, "C/ho", cbor.encode_array(client_id, ho_ctr))
