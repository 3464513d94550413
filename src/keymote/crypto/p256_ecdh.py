"""ECDH over P-256 by OpenSSL, by the x-coordinate alone (RFC 9528 3.7): either y gives the same x of the product."""

from functools import cached_property
from typing import ClassVar, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keymote.crypto.dh import DH_SIZE, DhPublic
from keymote.crypto.entropy import Entropy
from keymote.crypto.group import refused_point
from keymote.crypto.p256 import P256
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault

_CURVE: Final = ec.SECP256R1()
_ECDH: Final = ec.ECDH()


class P256Ecdh:
    """Private keys are scalars from 1 to q - 1, 32 bytes big endian; public keys are x, 32 bytes big endian."""

    __slots__ = ()

    name: ClassVar[str] = "P-256"
    cose_crv: ClassVar[int] = 1

    def key_pair(self, entropy: Entropy) -> "P256Key":
        """Return a key made of 32 drawn bytes; drawn again when they are no scalar (FIPS 186-5 A.2.2), 2^-32."""
        while not 0 < (d := int.from_bytes(entropy.draw(DH_SIZE), "big")) < P256.order:
            pass
        return P256Key(d)

    def private(self, raw: Secret) -> "P256Key":
        """Return the key pair of 32 stored bytes."""
        d = int.from_bytes(raw.expose(), "big")
        if len(raw) != DH_SIZE or not 0 < d < P256.order:
            raise CallerFault("not a private scalar of P-256", do="restore the key from a backup or make a new one")
        return P256Key(d)

    def check(self, encoding: bytes) -> DhPublic:
        """Return a received x; PeerFault E_POINT unless it has 32 bytes, is below p and lies on the curve."""
        if len(encoding) != DH_SIZE:
            raise refused_point(f"an x-coordinate of P-256 has {DH_SIZE} bytes, this one {len(encoding)}")
        try:
            native = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, b"\x02" + encoding)
        except ValueError:
            raise refused_point("not the x-coordinate of a point of P-256") from None
        return DhPublic(P256Ecdh.name, encoding, native)


class P256Key:
    """A private key as OpenSSL wants it."""

    curve: ClassVar[str] = P256Ecdh.name

    def __init__(self, d: int) -> None:
        self._key = ec.derive_private_key(d, _CURVE)

    @cached_property
    def public(self) -> bytes:
        """The x-coordinate."""
        return self._key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)[1:]

    def __repr__(self) -> str:
        return "P256Key()"

    def agree(self, peer: DhPublic) -> bytes:
        """Return x of the product; it is never the identity, since the curve has prime order and `peer` was checked."""
        return self._key.exchange(_ECDH, peer.native)
