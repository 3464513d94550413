"""What the libraries under our suites get wrong, and that our doors still stand before it (Triad-1 0, rows 14 to 16)."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, Suite
from keymote.selftest.checks import Checks

_SMALL_ORDER: Final = (
    "0100000000000000000000000000000000000000000000000000000000000000",  # the identity: verifies everything
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
)
"""Ed25519 public keys of order 1, 2, 4, 8 and 8, under which a constant signature verifies (I-02)."""


def traps(suite: Suite, checks: Checks) -> None:
    """Check the guards of one suite: identity and invalid points (I-01, IM-14, IM-12), bad keys (I-02), malleability (I-04)."""
    k, zero = Secret(_scalar(suite, 7)), Secret(bytes(32))
    order = Secret(_scalar(suite, suite.order))
    P = suite.base_mul(k)
    invalid = Point(b"\xff" * suite.point_size)
    refusals: Mapping[str, Callable[[], object]] = {
        "the identity's encoding": partial(suite.check, bytes(suite.point_size)),
        "an invalid encoding": partial(suite.check, invalid),
        "a point of another length": partial(suite.check, P + b"\0"),
        "a point added to an invalid encoding": partial(suite.add, P, invalid),
        "an invalid encoding added to a point": partial(suite.add, invalid, P),
        "a point less an invalid encoding": partial(suite.sub, P, invalid),
        "a multiple of an invalid encoding": partial(suite.mul, k, invalid),
        "a point less itself": partial(suite.sub, P, P),
        "zero times a point": partial(suite.mul, zero, P),
        "the group's order times a point": partial(suite.mul, order, P),
        "zero times the generator": partial(suite.base_mul, zero),
        "a signature key that is no point": partial(suite.verify_key, bytes(invalid)),
    }
    for what, act in refusals.items():
        with checks.refused(what, "E_POINT"):
            act()
    for what, scalar in (("zero", zero), ("the group's order", order)):
        with checks.refused(f"{what} as a received scalar", "E_FORMAT"):
            suite.check_scalar(scalar.expose())
    checks.equal("P + P", suite.add(P, P), suite.base_mul(Secret(_scalar(suite, 14))))
    (_twisted_keys if suite.point_size == 32 else _second_signature)(suite, checks)


def _twisted_keys(suite: Suite, checks: Checks) -> None:
    P = suite.base_mul(Secret(_scalar(suite, 7)))
    with checks.refused("a point's second encoding, with the top bit set", "E_POINT"):
        suite.check(P[:31] + bytes([P[31] | 0x80]))
    for key in _SMALL_ORDER:
        with checks.refused(f"the Ed25519 key {key[:4]}.. of small order", "E_POINT"):
            suite.verify_key(bytes.fromhex(key))


def _second_signature(suite: Suite, checks: Checks) -> None:
    key = suite.signing_key(Secret(_scalar(suite, 7)))
    signature = key.sign(b"selftest")
    s = suite.order - int.from_bytes(signature[32:], "big")
    with checks.refused("the other s of an ECDSA signature", "E_AUTH"):
        suite.verify_key(key.public).verify(b"selftest", signature[:32] + s.to_bytes(32, "big"))


def _scalar(suite: Suite, value: int) -> bytes:
    return value.to_bytes(32, "little" if suite.point_size == 32 else "big")
