"""The root key of a hierarchy and what travels in a WRAP (Triad-1 3.7): pure functions of keys and public names."""

from keymote import cbor
from keymote.crypto.kdf import expand, lexp
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.engine.group.ring import SID8

KCV_SIZE = 16


def root_key(mk_top: Secret, gid_root: bytes, e: int) -> Secret:
    """Return RK_e = lexp(MK_top, "B/root", CBOR[gid_root, e], 32), a fresh root key of the top ring."""
    return lexp(mk_top, "B/root", cbor.encode_array(gid_root, e))


def ratcheted(rk: Secret, gid_root: bytes, e: int) -> Secret:
    """Return RK_e of RK_{e-1}: whoever has only the new one never finds the old one (B-18)."""
    return lexp(rk, "B/root-ratchet", cbor.encode_array(gid_root, e))


def kcv_of(rk: Secret) -> bytes:
    """Return the 16 bytes by which ROOT names a root key without giving it away."""
    return expand(rk, "B/kcv", b"", KCV_SIZE)


def wrapped(suite: Suite, mk: Secret, sid: bytes, gid_root: bytes, e: int, rk: Secret) -> bytes:
    """Return RK_e under the key of the ring that ran as `sid`: 32 bytes and a tag, the same by whomever it is made.

    The zero nonce is safe: a key for each (sid, gid_root, e, kcv), and one plaintext under it.
    """
    return suite.seal_once(_wrap_key(mk, sid, gid_root, e, kcv_of(rk)), _wrap_aad(sid, gid_root, e), rk.expose())


def unwrapped(suite: Suite, mk: Secret, sid: bytes, gid_root: bytes, e: int, kcv: bytes, ct: bytes) -> Secret:
    """Return what a WRAP holds; E_AUTH unless this ring's key was used for this e and kcv. Its kcv is still to be compared."""
    return Secret(suite.open_once(_wrap_key(mk, sid, gid_root, e, kcv), _wrap_aad(sid, gid_root, e), ct))


def _wrap_key(mk: Secret, sid: bytes, gid_root: bytes, e: int, kcv: bytes) -> Secret:
    return lexp(mk, "B/wrap", cbor.encode_array(sid, gid_root, e, kcv))


def _wrap_aad(sid: bytes, gid_root: bytes, e: int) -> bytes:
    return cbor.encode_array(sid[:SID8], gid_root, e)
