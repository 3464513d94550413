"""Sealing to a credential: ElGamal key encapsulation with base E1, then the suite's AEAD (Triad-1 1.10).

Whoever knows d with E2 = d·E1 opens. The published equations fix E1 as the base, so HPKE, which fixes the standard
generator, does not fit.
"""

from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import extract, lexp, sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, Suite


def seal(suite: Suite, E1: Point, E2: Point, ctx: bytes, plaintext: bytes, entropy: Entropy) -> tuple[Point, bytes]:
    """Return (C1, ct): `plaintext` for the owner of (E1, E2), bound to `ctx`; ct is 16 bytes longer than it."""
    r = suite.random_scalar(entropy)
    C1 = suite.mul(r, E1)
    return C1, suite.seal_once(_key(C1, E1, E2, suite.mul(r, E2), ctx), ctx, plaintext)


def open_(suite: Suite, d: Secret, E1: Point, E2: Point, C1: bytes, ctx: bytes, ct: bytes) -> bytes:
    """Return the plaintext of `seal`.

    Raises:
        PeerFault: E_POINT for a C1 that `check` refuses, E_AUTH for another key, another `ctx` or a changed byte.
    """
    C1 = suite.check(C1)
    return suite.open_once(_key(C1, E1, E2, suite.mul(d, C1), ctx), ctx, ct)


def _key(C1: Point, E1: Point, E2: Point, Z: Point, ctx: bytes) -> Secret:
    return lexp(extract(sha256(C1 + E1 + E2), Z), "seal", ctx)
