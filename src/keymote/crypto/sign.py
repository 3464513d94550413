"""Signing and verifying keys of any suite; the arithmetic behind them stands in `ed25519` and `p256`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.errors import ErrorCode, PeerFault

SIGNATURE_SIZE: Final = 64
"""Bytes of a signature in every suite: R‖S for Ed25519, r‖s for ESP256."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair that signs for one suite; `seed` (32 bytes) is all that has to be stored."""

    suite_id: int
    public: bytes
    seed: Secret
    _sign: Callable[[bytes], bytes] = field(repr=False, compare=False)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature, the same for the same message."""
        return self._sign(message)


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """A public key that passed Triad-1 1.2.5, kept parsed."""

    suite_id: int
    encoding: bytes
    _accepts: Callable[[bytes, bytes], bool] = field(repr=False, compare=False)

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return if `signature` is this key's over `message`.

        Raises:
            PeerFault: E_AUTH for any other 64 bytes, another length, or (ESP256) the higher of the two s.
        """
        if len(signature) != SIGNATURE_SIZE or not self._accepts(message, signature):
            raise PeerFault(ErrorCode.E_AUTH, "the signature does not verify")


class SignatureScheme(Protocol):
    """How a suite makes keys from bytes: parsed once, used often."""

    def draw_seed(self, entropy: Entropy) -> Secret:
        """Return a fresh 32-byte seed."""
        ...

    def signer(self, seed: Secret) -> tuple[bytes, Callable[[bytes], bytes]]:
        """Return the encoded public key of `seed` and the function that signs with it; CallerFault if it is none."""
        ...

    def verifier(self, encoding: bytes) -> Callable[[bytes, bytes], bool]:
        """Return the function that judges (message, 64-byte signature); PeerFault E_POINT for an unfit key."""
        ...
