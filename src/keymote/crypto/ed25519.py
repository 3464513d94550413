"""Ed25519 signatures (RFC 8032), computed by libsodium; the home of `nacl`.

libsodium and not OpenSSL, because OpenSSL accepts keys of small order, under which one constant signature verifies for
every message (attacks A-12, I-02); libsodium names them, and is twice as fast.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from nacl import bindings
from nacl.exceptions import BadSignatureError

from keymote.crypto.entropy import Entropy
from keymote.crypto.group import refused_point
from keymote.crypto.secret import Secret
from keymote.crypto.sign import SIGNATURE_SIZE
from keymote.errors import CallerFault

KEY_SIZE: Final = 32
SEED_SIZE: Final = 32


class Ed25519:
    """Seeds and public keys are 32 bytes."""

    __slots__ = ()

    def draw_seed(self, entropy: Entropy) -> Secret:
        """Return 32 drawn bytes; each is a seed."""
        return Secret(entropy.draw(SEED_SIZE))

    def signer(self, seed: Secret) -> tuple[bytes, Callable[[bytes], bytes]]:
        """Return the public key of the 32-byte `seed` and its signing function."""
        if len(seed) != SEED_SIZE:
            raise CallerFault(f"an Ed25519 seed has {SEED_SIZE} bytes, this one {len(seed)}")
        public, secret_key = bindings.crypto_sign_seed_keypair(seed.expose())
        return public, partial(_sign, secret_key)

    def verifier(self, encoding: bytes) -> Callable[[bytes, bytes], bool]:
        """Return the verifying function of a public key.

        Raises:
            PeerFault: E_POINT unless it is the canonical encoding of a point of the prime-order subgroup, not of
                small order (Triad-1 1.2.5).
        """
        if len(encoding) != KEY_SIZE or not bindings.crypto_core_ed25519_is_valid_point(encoding):
            raise refused_point("not an Ed25519 key of the prime-order subgroup")
        return partial(_accepts, encoding)


def _sign(secret_key: bytes, message: bytes) -> bytes:
    return bindings.crypto_sign(message, secret_key)[:SIGNATURE_SIZE]


def _accepts(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        bindings.crypto_sign_open(signature + message, public)
    except BadSignatureError:
        return False
    return True
