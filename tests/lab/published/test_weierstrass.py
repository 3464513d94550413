"""The attacked arithmetic must be right, or the attacks would prove nothing."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from keymote.crypto.entropy import SeededEntropy
from keymote.lab.published.pairwise import random_point, random_scalar
from keymote.lab.published.weierstrass import ORDER, P256, Curve


@pytest.mark.parametrize("seed", [b"one", b"two"])
def test_multiples_of_the_generator_are_those_of_openssl(seed: bytes) -> None:
    k = random_scalar(SeededEntropy(seed))
    one = ec.derive_private_key(1, ec.SECP256R1()).public_key().public_numbers()
    many = ec.derive_private_key(k, ec.SECP256R1()).public_key().public_numbers()
    assert P256.mul(k, (one.x, one.y)) == (many.x, many.y)


def test_group_laws() -> None:
    entropy = SeededEntropy(b"laws")
    P, Q = random_point(P256, entropy), random_point(P256, entropy)
    assert P256.holds(P)
    assert P256.mul(ORDER, P) is None
    assert P256.add(P, Q) == P256.add(Q, P)
    assert P256.sub(P256.add(P, Q), Q) == P
    assert P256.add(P, P256.neg(P)) is None
    assert P256.mul(-3, P) == P256.neg(P256.add(P, P256.add(P, P)))
    assert P256.sum(P, Q, None, P256.neg(Q)) == P


def test_b_does_not_enter() -> None:
    other = Curve(P256.p, P256.a, 7)
    P = random_point(other, SeededEntropy(b"b"))
    assert not P256.holds(P)
    assert P256.mul(5, P) == other.mul(5, P)
