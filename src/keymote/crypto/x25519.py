"""X25519 (RFC 7748) by libsodium: key pairs cost half of what OpenSSL takes."""

from typing import ClassVar

from nacl import bindings
from nacl.exceptions import RuntimeError as SodiumError

from keymote.crypto.dh import DH_SIZE, DhPublic
from keymote.crypto.entropy import Entropy
from keymote.crypto.group import refused_point
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault


class X25519:
    """Every 32 bytes are a public key; those of low order show at the product (RFC 9528 9.2)."""

    __slots__ = ()

    name: ClassVar[str] = "X25519"
    cose_crv: ClassVar[int] = 4

    def key_pair(self, entropy: Entropy) -> "X25519Key":
        """Return a key made of 32 drawn bytes."""
        return X25519Key(entropy.draw(DH_SIZE))

    def private(self, raw: Secret) -> "X25519Key":
        """Return the key pair of 32 stored bytes."""
        if len(raw) != DH_SIZE:
            raise CallerFault(f"an X25519 private key has {DH_SIZE} bytes, this one {len(raw)}")
        return X25519Key(raw.expose())

    def check(self, encoding: bytes) -> DhPublic:
        """Return a received public key; PeerFault E_POINT unless it has 32 bytes."""
        if len(encoding) != DH_SIZE:
            raise refused_point(f"an X25519 public key has {DH_SIZE} bytes, this one {len(encoding)}")
        return DhPublic(X25519.name, encoding, encoding)


class X25519Key:
    """A private key of 32 bytes, clamped by libsodium at each use."""

    __slots__ = ("_private", "public")

    curve: ClassVar[str] = X25519.name

    def __init__(self, private: bytes) -> None:
        self._private = private
        self.public = bindings.crypto_scalarmult_base(private)

    def __repr__(self) -> str:
        return "X25519Key()"

    def agree(self, peer: DhPublic) -> bytes:
        """Return the shared secret; PeerFault E_POINT when it is all zeros, which a point of low order forces."""
        try:
            return bindings.crypto_scalarmult(self._private, peer.native)
        except SodiumError:
            raise refused_point("a public key of low order") from None
