"""The fastest vetted call of each operation, bare: the libraries as they come, arguments ready, results thrown away.

Where two vetted libraries compute the same, both are measured in every round and the faster one counts.
"""

import hashlib
import hmac
import os
import time
from collections.abc import Callable, Mapping
from typing import Final

import rbcl
from Crypto.PublicKey.ECC import EccPoint  # type: ignore[attr-defined]  # documented there, not re-exported there
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nacl import bindings

Call = Callable[[], object]

MESSAGE: Final = bytes(range(200))
"""As long as what is signed or hashed in a session."""
PLAINTEXT: Final = bytes(64)
AAD: Final = bytes(32)
KEY: Final = bytes(range(32))
SLICE_NS: Final = 500_000
"""Time for each call in each round."""


def calls(suite: int) -> Mapping[str, tuple[Call, ...]]:
    """Return the bare calls that do each operation of `operations.toml` in a suite."""
    return {**_common(), **(_p256() if suite == 17 else _ristretto255())}


def clock(call: Call) -> float:
    """Return the processor time of one `call` in microseconds, measured over about half a millisecond."""
    now = time.thread_time_ns
    started = now()
    call()
    number = max(1, SLICE_NS // max(1, now() - started))
    started = now()
    for _ in range(number):
        call()
    return (now() - started) / number / 1000


def prices(suite: int) -> Mapping[str, float]:
    """Return what each operation costs now, in microseconds: the fastest of its calls."""
    return {operation: min(map(clock, ways)) for operation, ways in calls(suite).items()}


def _common() -> Mapping[str, tuple[Call, ...]]:
    return {
        "hmac": (lambda: hmac.digest(KEY, MESSAGE[:64], "sha256"),),
        "hash": (lambda: hashlib.sha256(MESSAGE).digest(),),
        "isk": (lambda: hashlib.sha512(MESSAGE).digest(),),
    }


def _ristretto255() -> Mapping[str, tuple[Call, ...]]:
    k = rbcl.crypto_core_ristretto255_scalar_reduce(os.urandom(64))
    c = rbcl.crypto_core_ristretto255_scalar_reduce(os.urandom(64))
    P = rbcl.crypto_core_ristretto255_from_hash(os.urandom(64))
    Q = rbcl.crypto_core_ristretto255_from_hash(os.urandom(64))
    public, secret = bindings.crypto_sign_seed_keypair(KEY)
    signed = bindings.crypto_sign(MESSAGE, secret)
    signature = signed[:64]
    openssl = ed25519.Ed25519PrivateKey.from_private_bytes(KEY)
    openssl_public = openssl.public_key()
    kept = ChaCha20Poly1305(KEY)
    nonce = bytes(12)
    order = 2**252 + 27742317777372353535851937790883648493
    return {
        "base_mul": (lambda: rbcl.crypto_scalarmult_ristretto255_base(k),),
        "mul": (lambda: rbcl.crypto_scalarmult_ristretto255(k, P),),
        "map": (lambda: rbcl.crypto_core_ristretto255_from_hash(os.urandom(64)),),
        "generator": (lambda: rbcl.crypto_core_ristretto255_from_hash(hashlib.sha512(MESSAGE).digest()),),
        "add": (lambda: rbcl.crypto_core_ristretto255_add(P, Q),),
        "check": (lambda: rbcl.crypto_core_ristretto255_is_valid_point(P),),
        "random_scalar": (lambda: rbcl.crypto_core_ristretto255_scalar_reduce(os.urandom(64)),),
        "hash_to_scalar": (lambda: rbcl.crypto_core_ristretto255_scalar_reduce(hashlib.sha512(MESSAGE).digest()),),
        "check_scalar": (lambda: int.from_bytes(c, "little") < order,),
        "scalar_mul_add": (
            lambda: rbcl.crypto_core_ristretto255_scalar_add(rbcl.crypto_core_ristretto255_scalar_mul(c, k), k),
        ),
        "sign": (lambda: bindings.crypto_sign(MESSAGE, secret), lambda: openssl.sign(MESSAGE)),
        "verify": (
            lambda: bindings.crypto_sign_open(signed, public),
            lambda: openssl_public.verify(signature, MESSAGE),
        ),
        "key_check": (lambda: bindings.crypto_core_ed25519_is_valid_point(public),),
        "aead": (lambda: ChaCha20Poly1305(KEY).encrypt(nonce, PLAINTEXT, AAD),),
        "record": (lambda: kept.encrypt(nonce, PLAINTEXT, AAD),),
    }


def _p256() -> Mapping[str, tuple[Call, ...]]:
    curve, ecdh, order = ec.SECP256R1(), ec.ECDH(), 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    private = ec.derive_private_key(0x1D5, curve)
    other = ec.derive_private_key(0x2E7, curve).public_key()
    compressed = other.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    numbers = other.public_numbers()
    P = EccPoint(numbers.x, numbers.y, "P-256")
    Q = P.double()
    signing, verifying = ec.ECDSA(SHA256(), deterministic_signing=True), ec.ECDSA(SHA256())
    signature = private.sign(MESSAGE, signing)
    public = private.public_key()
    kept = AESCCM(KEY[:16], tag_length=16)
    nonce = bytes(13)
    wide = os.urandom(64)
    k, c, d = (int.from_bytes(os.urandom(32), "big") % order for _ in range(3))

    def base_mul() -> object:
        key = ec.derive_private_key(k, curve).public_key()
        return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)

    return {
        "base_mul": (base_mul,),
        "mul": (lambda: private.exchange(ecdh, other),),
        "map": (base_mul,),
        "generator": (lambda: None,),
        "add": (lambda: (P + Q).xy,),
        "check": (lambda: ec.EllipticCurvePublicKey.from_encoded_point(curve, compressed),),
        "random_scalar": (lambda: int.from_bytes(os.urandom(64), "big") % order,),
        "hash_to_scalar": (lambda: int.from_bytes(hashlib.sha512(MESSAGE).digest(), "big") % order,),
        "check_scalar": (lambda: int.from_bytes(wide[:32], "big") < order,),
        "scalar_mul_add": (lambda: (c * d + k) % order,),
        "sign": (lambda: private.sign(MESSAGE, signing),),
        "verify": (lambda: public.verify(signature, MESSAGE, verifying),),
        "key_check": (lambda: ec.EllipticCurvePublicKey.from_encoded_point(curve, compressed),),
        "aead": (lambda: AESCCM(KEY[:16], tag_length=16).encrypt(nonce, PLAINTEXT, AAD),),
        "record": (lambda: kept.encrypt(nonce, PLAINTEXT, AAD),),
    }
