"""The cipher suites of EDHOC that this version runs (RFC 9528 3.6): 0 over X25519 and Ed25519, 2 over P-256.

Both encrypt by AES-CCM-16-64-128, hash by SHA-256 and authenticate static keys by MACs of 8 bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from keymote.crypto.aead import AES_CCM_16_64_128, Aead
from keymote.crypto.dh import Curve
from keymote.crypto.sign import SignatureScheme, SigningKey, VerifyKey
from keymote.crypto.suite import Secret

# ruff: noqa: PLC0415  # late imports: a device loads the libraries of the suite that it runs


@dataclass(frozen=True, slots=True)
class EdhocSuite:
    """Curve, signature and AEAD under one number; lengths in bytes."""

    id: int
    curve: Curve
    signatures: SignatureScheme
    cose_crv_of_signatures: int
    """Number of the signature keys' curve in COSE's registry (RFC 9053 7.1)."""
    aead: Aead = AES_CCM_16_64_128
    aead_key_size: int = 16

    def signing_key(self, seed: Secret) -> SigningKey:
        """Return the key pair of a stored 32-byte seed; CallerFault for a seed that is none."""
        public, sign = self.signatures.signer(seed)
        return SigningKey(self.id, public, seed, sign)

    def verify_key(self, encoding: bytes) -> VerifyKey:
        """Return a public signature key, 32 bytes (Ed25519) or compressed (P-256); PeerFault E_POINT for an unfit one."""
        return VerifyKey(self.id, encoding, self.signatures.verifier(encoding))


def _suite_0() -> EdhocSuite:
    from keymote.crypto.ed25519 import Ed25519
    from keymote.crypto.x25519 import X25519

    return EdhocSuite(0, X25519(), Ed25519(), cose_crv_of_signatures=6)


def _suite_2() -> EdhocSuite:
    from keymote.crypto.p256 import Es256
    from keymote.crypto.p256_ecdh import P256Ecdh

    return EdhocSuite(2, P256Ecdh(), Es256(), cose_crv_of_signatures=1)


_SUITES: Final[Mapping[int, Callable[[], EdhocSuite]]] = {0: _suite_0, 2: _suite_2}
EDHOC_SUITES: Final = tuple(_SUITES)
"""Numbers of the suites that this version runs."""


@cache
def edhoc_suite(number: int) -> EdhocSuite:
    """Return the suite with this number, one of `EDHOC_SUITES`; KeyError is a fault of our own code."""
    return _SUITES[number]()
