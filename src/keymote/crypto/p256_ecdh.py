"""ECDH over P-256 by the x-coordinate alone (RFC 9528 3.7): either y gives the same x of the product.

OpenSSL computes, reached by one of two doors: the interpreter's own libcrypto where it is open, `cryptography` elsewhere.
"""

from functools import cache
from typing import Any, ClassVar, Final, Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keymote.crypto.dh import DH_SIZE, DhPublic
from keymote.crypto.entropy import Entropy
from keymote.crypto.group import refused_point
from keymote.crypto.libcrypto import open_door
from keymote.crypto.p256 import P256
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault

_CURVE: Final = ec.SECP256R1()
_ECDH: Final = ec.ECDH()


class XArithmetic(Protocol):
    """Who computes. Scalars (from 1 to q - 1) and x-coordinates are 32 bytes, big endian; the objects are its own."""

    def scalar(self, d: bytes) -> Any: ...

    def point(self, x: bytes) -> Any:
        """Return a point with this x; ValueError when there is none."""
        ...

    def base(self, k: Any) -> bytes:
        """Return x of k·G."""
        ...

    def product(self, k: Any, P: Any) -> bytes:
        """Return x of k·P, which is never the identity, since the curve has prime order."""
        ...


class ByCryptography:
    """`cryptography`'s key objects."""

    def scalar(self, d: bytes) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(int.from_bytes(d, "big"), _CURVE)

    def point(self, x: bytes) -> ec.EllipticCurvePublicKey:
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, b"\x02" + x)

    def base(self, k: ec.EllipticCurvePrivateKey) -> bytes:
        return k.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)[1:]

    def product(self, k: ec.EllipticCurvePrivateKey, P: ec.EllipticCurvePublicKey) -> bytes:
        return k.exchange(_ECDH, P)


@cache
def _fastest() -> XArithmetic:
    return open_door() or ByCryptography()


class P256Ecdh:
    """Private keys are scalars from 1 to q - 1, 32 bytes big endian; public keys are x, 32 bytes big endian."""

    __slots__ = ("_arithmetic",)

    name: ClassVar[str] = "P-256"
    cose_crv: ClassVar[int] = 1

    def __init__(self, arithmetic: XArithmetic | None = None) -> None:
        self._arithmetic = arithmetic or _fastest()

    def key_pair(self, entropy: Entropy) -> "P256Key":
        """Return a key made of 32 drawn bytes; drawn again when they are no scalar (FIPS 186-5 A.2.2), 2^-32."""
        while not 0 < int.from_bytes(d := entropy.draw(DH_SIZE), "big") < P256.order:
            pass
        return P256Key(d, self._arithmetic)

    def private(self, raw: Secret) -> "P256Key":
        """Return the key pair of 32 stored bytes."""
        d = raw.expose()
        if len(d) != DH_SIZE or not 0 < int.from_bytes(d, "big") < P256.order:
            raise CallerFault("not a private scalar of P-256", do="restore the key from a backup or make a new one")
        return P256Key(d, self._arithmetic)

    def check(self, encoding: bytes) -> DhPublic:
        """Return a received x; PeerFault E_POINT unless it has 32 bytes, is below p and lies on the curve."""
        if len(encoding) != DH_SIZE:
            raise refused_point(f"an x-coordinate of P-256 has {DH_SIZE} bytes, this one {len(encoding)}")
        try:
            return DhPublic(P256Ecdh.name, encoding, self._arithmetic.point(encoding))
        except ValueError:
            raise refused_point("not the x-coordinate of a point of P-256") from None


class P256Key:
    """A private scalar as its arithmetic wants it, and x of its product with the generator."""

    __slots__ = ("_arithmetic", "_k", "public")

    curve: ClassVar[str] = P256Ecdh.name

    def __init__(self, d: bytes, arithmetic: XArithmetic) -> None:
        self._arithmetic = arithmetic
        self._k = arithmetic.scalar(d)
        self.public = arithmetic.base(self._k)

    def __repr__(self) -> str:
        return "P256Key()"

    def agree(self, peer: DhPublic) -> bytes:
        """Return x of the product."""
        return self._arithmetic.product(self._k, peer.native)
