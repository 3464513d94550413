"""Guards against what libraries do by themselves: points, scalars, encodings, signatures, randomness, time, logs."""

# ruff: noqa: SLF001  # a guard is private by its nature

import hashlib
from typing import Any

import cbor2
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from keymote import cbor
from keymote.crypto import dleq, libsodium, p256, secret
from keymote.crypto.ed25519 import Ed25519
from keymote.crypto.entropy import SystemEntropy
from keymote.crypto.ristretto255 import Ristretto255
from keymote.crypto.secret import Secret
from keymote.lab.attacks import ciphers, observation, signatures
from keymote.wire import cose
from keymote.wire.cose import Sign1

# ------------------------------------------------------------------ points and scalars


def unguarded_points(patch: pytest.MonkeyPatch) -> None:
    """Accept every encoding, and let arithmetic return the identity, as the bare library does."""

    def mul(_self: object, k: Secret, P: bytes) -> bytes:
        try:
            return libsodium.scalarmult(k.expose(), P)
        except RuntimeError:
            return bytes(32)

    patch.setattr(Ristretto255, "check", lambda _self, encoding: encoding)
    patch.setattr(Ristretto255, "mul", mul)
    patch.setattr(Ristretto255, "add", lambda _self, P, Q: libsodium.add(P, Q))
    patch.setattr(Ristretto255, "sub", lambda _self, P, Q: libsodium.sub(P, Q))


def unreduced_scalars(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ristretto255, "check_scalar", lambda _self, encoding: encoding)


# ------------------------------------------------------------------ encodings and signatures


def any_cbor(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cbor, "decode", lambda data, **_: cbor2.loads(data))


def any_ed25519_key(patch: pytest.MonkeyPatch) -> None:
    """Verify with OpenSSL, which takes keys of any order (libsodium refuses them a second time)."""
    patch.setattr(
        Ed25519,
        "verifier",
        lambda _self, key: lambda message, signature: signatures.openssl_accepts(key, message, signature),
    )


def both_values_of_s(patch: pytest.MonkeyPatch) -> None:
    def accepts(public: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> bool:
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        try:
            public.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True

    patch.setattr(p256, "_accepts", accepts)


def agile_signatures(patch: pytest.MonkeyPatch) -> None:
    """Take the algorithm from the message, as general COSE libraries do."""
    accepted = cose._ANY_PROTECTED | {bytes.fromhex("a10107"), bytes.fromhex("a10127")}
    patch.setattr(cose, "_ANY_PROTECTED", accepted)

    def check(self: Sign1, verifier: Any, mt: int, ctx: bytes = b"") -> bytes:
        from keymote.crypto.suites import suite_by_id

        assert signatures.agile_accepts(self, verifier.encoding, suite_by_id(verifier.suite_id), mt, ctx)
        return self.payload

    patch.setattr(Sign1, "check", check)


def mirrored_signatures(patch: pytest.MonkeyPatch) -> None:
    """Sign and verify the JSON that people see instead of the bytes."""
    patch.setattr(cose, "_to_be_signed", lambda _protected, _suite, _mt, _ctx, payload: signatures.mirror(payload))


# ------------------------------------------------------------------ randomness, time, logs, answers


def buffered_randomness(patch: pytest.MonkeyPatch) -> None:
    """Give the source a state of its own in the process, which a snapshot copies."""

    class Buffered:
        def __init__(self) -> None:
            self.drawn = 0

        def draw(self, n: int) -> bytes:
            self.drawn += 1
            return hashlib.shake_256(b"pool" + bytes([self.drawn])).digest(n)

    from keymote.lab.attacks import randomness

    assert randomness.SystemEntropy is SystemEntropy
    patch.setattr(randomness, "SystemEntropy", Buffered)


def unhedged_proofs(patch: pytest.MonkeyPatch) -> None:
    """Draw the proof's nonce from the generator alone."""

    def prove(suite, d, B1, P1, B2, P2, label, ctx, entropy):
        k = suite.hash_to_scalar(entropy.draw(32))
        c = dleq._challenge(suite, label, ctx, B1, P1, B2, P2, suite.mul(k, B1), suite.mul(k, B2))
        return c.expose(), suite.scalar_mul_add(c, d, k).expose()

    patch.setattr(dleq, "prove", prove)


def early_exit(patch: pytest.MonkeyPatch) -> None:
    for name, _ in observation.comparing_modules():
        patch.setattr(f"{name}.equal", lambda a, b: a == b)
    assert secret.equal(b"a", b"a")


def talkative_secrets(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Secret, "__repr__", lambda self: f"Secret({self._raw!r})")


def no_known_answers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ciphers, "startup", lambda _suites: None)
