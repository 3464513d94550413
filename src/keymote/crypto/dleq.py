"""Proof that one secret scalar lies behind two public points (Chaum-Pedersen, Fiat-Shamir; Triad-1 1.9).

The context is hashed into the challenge, so the proof also signs it: proof of possession, consistency and binding to a
transcript in 64 bytes. Cost in scalar multiplications: 2 to prove, 4 to verify.
"""

from typing import Final

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import LABELS
from keymote.crypto.secret import Secret, equal
from keymote.crypto.suite import Point, Suite
from keymote.errors import CallerFault, ErrorCode, PeerFault

HEDGE_SIZE: Final = 32
"""Random bytes in the nonce k, hashed with d and ctx: a generator that repeats itself does not betray d (I-08)."""


def prove(
    suite: Suite, d: Secret, B1: Point, P1: Point, B2: Point, P2: Point, label: str, ctx: bytes, entropy: Entropy
) -> tuple[bytes, bytes]:
    """Return (c, s), 32 bytes each: the prover of P1 = d·B1 and P2 = d·B2 knows d, in the context `ctx`."""
    k = suite.hash_to_scalar(b"dleq-k" + d.expose() + entropy.draw(HEDGE_SIZE) + ctx)
    c = _challenge(suite, label, ctx, B1, P1, B2, P2, _times(suite, k, B1), suite.mul(k, B2))
    return c.expose(), suite.scalar_mul_add(c, d, k).expose()


def verify(
    suite: Suite, c: bytes, s: bytes, B1: bytes, P1: bytes, B2: bytes, P2: bytes, label: str, ctx: bytes
) -> None:
    """Return if (c, s) proves that one scalar takes B1 to P1 and B2 to P2, in the context `ctx`.

    Raises:
        PeerFault: E_POINT for a point that `check` refuses, E_FORMAT for a c or s that is no scalar from 1 to q - 1,
            E_DLEQ when the proof does not hold.
    """
    verify_checked(suite, c, s, *(suite.check(point) for point in (B1, P1, B2, P2)), label=label, ctx=ctx)


def verify_checked(
    suite: Suite, c: bytes, s: bytes, B1: Point, P1: Point, B2: Point, P2: Point, *, label: str, ctx: bytes
) -> None:
    """Do what `verify` does with points that were checked when they came."""
    challenge = Secret(suite.check_scalar(c))
    response = Secret(suite.check_scalar(s))
    try:
        A1 = suite.sub(_times(suite, response, B1), suite.mul(challenge, P1))
        A2 = suite.sub(suite.mul(response, B2), suite.mul(challenge, P2))
    except PeerFault:  # a commitment of zero: the points were good, so it is the proof that is not
        raise _refused() from None
    if not equal(_challenge(suite, label, ctx, B1, P1, B2, P2, A1, A2).expose(), c):
        raise _refused()


def _times(suite: Suite, k: Secret, base: Point) -> Point:
    """Return k·base, by the tables of the generator where it is that: a third of the cost."""
    return suite.base_mul(k) if base == suite.generator else suite.mul(k, base)


def _challenge(suite: Suite, label: str, ctx: bytes, *points: Point) -> Secret:
    if label not in LABELS:
        raise CallerFault(f"{label!r} is not a label of the protocol")
    return suite.hash_to_scalar(cbor.encode_array("TRIAD1/" + label, ctx, *points))


def _refused() -> PeerFault:
    return PeerFault(ErrorCode.E_DLEQ, "no one scalar is proven to lie behind the two points")
