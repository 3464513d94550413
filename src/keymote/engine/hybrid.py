"""The post-quantum profile of a manager: with whom it runs, and what NMAUTH seals for it (Triad-1 2.5, 2.9).

Each manager publishes its hybrid key, signed by its credential's key, beside its credential. Two managers run the
profile if both have published one; a run that then comes without κ, or with κ that nobody expects, is refused. So nobody
between them can talk them out of it, and a manager that demands it refuses who does not have it (docs/decisions/0120).
"""

from functools import lru_cache
from typing import Final

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.hybrid import PUBLIC_SIZE, HybridKey
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import equal
from keymote.crypto.suite import SigningKey, VerifyKey
from keymote.engine.context import PostQuantum, RegistrarContext
from keymote.errors import ErrorCode, PeerFault
from keymote.wire import signed
from keymote.wire.credential import SignedCredential, kid_of

KAPPA_SIZE: Final = 32
_REMEMBERED: Final = 256
"""Managers whose signed key need not be verified with each session."""


def statement(context: RegistrarContext) -> bytes:
    """Return what this manager publishes: its hybrid key, then type 244 over it; empty where the profile is off."""
    key = _own_key(context)
    return b"" if key is None else published(key.public, context.id, context.signing)


def published(public: bytes, nm_id: bytes, signing: SigningKey) -> bytes:
    """Return a hybrid public key (1216 bytes) followed by its owner's word for it."""
    return public + signed.write(signing, signed.HybridPublic(nm_id, sha256(public)))


def examined(published: bytes, nm_id: bytes, key: VerifyKey) -> bytes:
    """Return the public key in what `nm_id` has published; E_FORMAT, E_CRED or E_AUTH unless `key` vouches for it."""
    public, word = published[:PUBLIC_SIZE], published[PUBLIC_SIZE:]
    claims = signed.read(word, signed.HybridPublic).verified_by(key)
    if claims.nm_id != nm_id or not equal(claims.digest, sha256(public)):
        raise PeerFault(ErrorCode.E_CRED, "post-quantum key of another manager")
    return public


def hybrid_key_of(context: RegistrarContext, cred_NM: bytes, published: bytes) -> bytes:
    """Return the key to which κ is sealed for the manager of `cred_NM`, which is verified; empty: κ is not due.

    Raises:
        PeerFault: E_SUITE if it has published none and this manager demands one; E_CRED or E_AUTH if what the
            coordinator handed on as its key is not signed by it.
    """
    policy = context.policy.post_quantum
    if policy is PostQuantum.OFF:
        return b""
    if not published:
        if policy is PostQuantum.REQUIRED:
            raise PeerFault(
                ErrorCode.E_SUITE,
                "the peer's manager has no post-quantum key, and this manager demands the post-quantum profile",
                do="run it with --post-quantum on as well, or this one without `required`",
            )
        return b""
    claims = SignedCredential.decode(cred_NM).claims
    return _examined(published, claims.sub, context.trust.key(claims.suite, claims.sig_pk))


_examined = lru_cache(_REMEMBERED)(examined)


def seal_kappa(
    context: RegistrarContext, public: bytes, psid: bytes, cred_peer: bytes, entropy: Entropy
) -> tuple[bytes, bytes]:
    """Return (κ, ct_κ) for the manager of `cred_peer`; both empty without its key (AU-07)."""
    own = _own_key(context)
    if own is None or not public:
        return b"", b""
    kappa = entropy.draw(KAPPA_SIZE)
    return kappa, own.door.seal(public, _info(psid, context.chain[0], cred_peer), kappa)


def open_kappa(context: RegistrarContext, public: bytes, psid: bytes, cred_peer: bytes, ct_kappa: bytes) -> bytes:
    """Return the peer's κ, empty where none is due; E_SUITE if it is missing or nobody expects it, E_AUTH if altered."""
    own = _own_key(context)
    due = own is not None and bool(public)
    if due is not bool(ct_kappa):
        what = "without its post-quantum share" if due else "with a post-quantum share that is not due"
        raise PeerFault(ErrorCode.E_SUITE, f"NMAUTH {what}")
    if own is None or not ct_kappa:
        return b""
    kappa = own.door.open(own.seed, _info(psid, cred_peer, context.chain[0]), ct_kappa)
    if len(kappa) != KAPPA_SIZE:
        raise PeerFault(ErrorCode.E_FORMAT, f"post-quantum share of {len(kappa)} bytes, {KAPPA_SIZE} are due")
    return kappa


def refuses(context: RegistrarContext, *, hybrid: bool, weak: bool = False) -> str:
    """Return why this manager's policy forbids a session, empty if it allows it (PQ-04, PQ-05).

    `hybrid`: κ can reach everybody; `weak`: a device of ours enrolled with a code below 128 bits, so its K_link does not
    outlast a quantum computer.
    """
    if context.policy.post_quantum is not PostQuantum.REQUIRED:
        return ""
    if not hybrid:
        return "the other manager does not run the post-quantum profile, which this one demands"
    return "the device enrolled with a code below 128 bits, too short for the post-quantum profile" if weak else ""


def _own_key(context: RegistrarContext) -> HybridKey | None:
    return None if context.policy.post_quantum is PostQuantum.OFF else context.hybrid


def _info(psid: bytes, cred_from: bytes, cred_to: bytes) -> bytes:
    return cbor.encode_array("TRIAD1/A/nn", psid, kid_of(cred_from), kid_of(cred_to))
