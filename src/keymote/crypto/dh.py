"""Diffie-Hellman as EDHOC uses it (RFC 9528 3.7): public keys and shared secrets are 32 bytes on both curves.

Not `group`: the protocols of Triad-1 add points and check each result, EDHOC only ever takes one coordinate of a product.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Protocol

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret

DH_SIZE: Final = 32
"""Bytes of a public key (u of X25519, x of P-256), of a private key and of a shared secret."""


@dataclass(frozen=True, slots=True)
class DhPublic:
    """A peer's key that its curve has checked, kept parsed."""

    curve: str
    encoding: bytes
    native: Any = field(repr=False, compare=False)


class DhKey(Protocol):
    """A private key and its public one."""

    @property
    def curve(self) -> str:
        """Name of the curve, equal in every key that `agree` accepts."""
        ...

    @property
    def public(self) -> bytes:
        """The 32-byte public key."""
        ...

    def agree(self, peer: DhPublic) -> bytes:
        """Return the 32-byte shared secret; PeerFault E_POINT when `peer` forces it to zero."""
        ...


class Curve(Protocol):
    """How a suite makes and checks keys."""

    name: ClassVar[str]
    cose_crv: ClassVar[int]
    """Number in COSE's registry of elliptic curves (RFC 9053 7.1)."""

    def key_pair(self, entropy: Entropy) -> DhKey:
        """Return an ephemeral key made of drawn bytes."""
        ...

    def private(self, raw: Secret) -> DhKey:
        """Return the key pair of 32 stored bytes; CallerFault when they are no private key."""
        ...

    def check(self, encoding: bytes) -> DhPublic:
        """Return a received public key; PeerFault E_POINT unless it has 32 bytes and belongs to the curve."""
        ...
