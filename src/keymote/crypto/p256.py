"""The group P-256 and ESP256 signatures; the home of PyCryptodome and of `cryptography`'s elliptic curves.

Who computes what (decision 0010): OpenSSL decodes points, signs, and multiplies; its Python face gives only the x of a
product, so y comes from the x of the neighbouring product (k + 1)·P. PyCryptodome's `EccPoint` adds, because OpenSSL's
face offers no addition at all (rule IM-12). Both multiply in constant time.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import ClassVar, Final

from Crypto.PublicKey.ECC import EccPoint  # type: ignore[attr-defined]  # documented there, not re-exported there
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keymote.crypto.entropy import Entropy
from keymote.crypto.group import SCALAR_SIZE, WIDE_SIZE, Point, refused_point, refused_scalar
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, ErrorCode, PeerFault

_CURVE: Final = ec.SECP256R1()
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_FIELD: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_POINT_SIZE: Final = 33
_ECDH: Final = ec.ECDH()
_SIGN: Final = ec.ECDSA(SHA256(), deterministic_signing=True)
_VERIFY: Final = ec.ECDSA(SHA256())


class P256:
    """Points are 33 bytes, SEC 1 compressed; scalars 32 bytes big endian."""

    __slots__ = ()

    point_size: ClassVar[int] = _POINT_SIZE
    order: ClassVar[int] = _ORDER
    generator: ClassVar[Point] = Point(
        bytes.fromhex("036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296")
    )

    def check(self, encoding: bytes) -> Point:
        """Return `encoding` as a point.

        Raises:
            PeerFault: E_POINT unless it is the compressed encoding (02 or 03, x below p) of a point on the curve. The
                identity has no encoding of this length.
        """
        if isinstance(encoding, _Decoded):
            return Point(encoding)
        point = _Decoded(encoding)
        point.key  # noqa: B018  # decoding is the check
        return Point(point)

    def check_scalar(self, encoding: bytes) -> bytes:
        """Return the 32 bytes of a received scalar from 1 to q - 1; PeerFault E_FORMAT for anything else."""
        if len(encoding) != SCALAR_SIZE or not 0 < int.from_bytes(encoding, "big") < _ORDER:
            raise refused_scalar()
        return encoding

    def random_scalar(self, entropy: Entropy) -> Secret:
        """Return a uniform scalar other than zero, from 64 drawn bytes."""
        while (k := int.from_bytes(entropy.draw(WIDE_SIZE), "big") % _ORDER) == 0:
            pass
        return _scalar(k)

    def random_point(self, entropy: Entropy) -> Point:
        """Return r·G and forget r: this group has no one-way map here (Triad-1 2.1)."""
        return self.base_mul(self.random_scalar(entropy))

    def base_mul(self, k: Secret) -> Point:
        """Return k·G."""
        multiplier = k.parsed(_Multiplier)
        if multiplier.value == 0:
            raise refused_point("the product is the identity")
        return Point(multiplier.key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint))

    def mul(self, k: Secret, P: Point) -> Point:
        """Return k·P."""
        multiplier, point = k.parsed(_Multiplier), _decoded(P)
        if not multiplier.has_neighbour:
            return _encode(point.element * multiplier.value)
        x, y = point.xy
        X = int.from_bytes(multiplier.key.exchange(_ECDH, point.key), "big")
        X_next = int.from_bytes(multiplier.next_key.exchange(_ECDH, point.key), "big")
        # the chord through P and kP meets the curve in -(k + 1)P: (Y - y)^2 = (X_next + X + x)(X - x)^2; solved for Y
        Y_squared = ((X * X - 3) * X + _B) % _FIELD
        Y = (Y_squared + y * y - (X_next + X + x) * (X - x) ** 2) * pow(2 * y, -1, _FIELD) % _FIELD
        if (Y * Y - Y_squared) % _FIELD:
            raise ArithmeticError("two products of one point contradict each other")
        return Point(_Decoded.at(X, Y))

    def add(self, P: Point, Q: Point) -> Point:
        """Return P + Q."""
        return _encode(_decoded(P).element + _decoded(Q).element)

    def sub(self, P: Point, Q: Point) -> Point:
        """Return P - Q."""
        return _encode(_decoded(P).element + -_decoded(Q).element)

    def partial_sums(self, P: Point, received: Sequence[bytes]) -> Sequence[Point]:
        """Return P + Q1, P + Q1 + Q2... of received encodings, each checked first."""
        sums: list[Point] = []
        for encoding in received:
            P = self.add(P, self.check(encoding))
            sums.append(P)
        return sums

    def hash_to_scalar(self, data: bytes) -> Secret:
        """Return H2S: SHA-512 of `data`, big endian, mod q; PeerFault E_FORMAT for zero."""
        k = int.from_bytes(hashlib.sha512(data).digest(), "big") % _ORDER
        if k == 0:
            raise PeerFault(ErrorCode.E_FORMAT, "a hash to scalar of zero")
        return _scalar(k)

    def scalar_mul_add(self, c: Secret, d: Secret, k: Secret) -> Secret:
        """Return c·d + k mod q."""
        product = int.from_bytes(c.expose(), "big") * int.from_bytes(d.expose(), "big")
        return _scalar((product + int.from_bytes(k.expose(), "big")) % _ORDER)


class Esp256:
    """ECDSA over P-256 with SHA-256, RFC 6979 nonces and the lower s; public keys are compressed points."""

    __slots__ = ()

    def draw_seed(self, entropy: Entropy) -> Secret:
        """Return a fresh private scalar."""
        return P256().random_scalar(entropy)

    def signer(self, seed: Secret) -> tuple[bytes, Callable[[bytes], bytes]]:
        """Return the public key of the private scalar `seed` and its signing function.

        Raises:
            CallerFault: the stored bytes are no scalar from 1 to q - 1.
        """
        value = int.from_bytes(seed.expose(), "big")
        if len(seed) != SCALAR_SIZE or not 0 < value < _ORDER:
            raise CallerFault("not a private scalar of P-256", do="restore the key from a backup or enrol anew")
        private = ec.derive_private_key(value, _CURVE)
        public = private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        return public, partial(_sign, private)

    def verifier(self, encoding: bytes) -> Callable[[bytes, bytes], bool]:
        """Return the verifying function of a compressed public key; PeerFault E_POINT for any other bytes."""
        return partial(_accepts, _load_compressed(encoding))


class Es256(Esp256):
    """ECDSA as other protocols verify it: EDHOC's ES256 (RFC 9528) knows no lower s, so either s of a peer is accepted."""

    __slots__ = ()

    def verifier(self, encoding: bytes) -> Callable[[bytes, bytes], bool]:
        """Return the verifying function of a compressed public key; PeerFault E_POINT for any other bytes."""
        return partial(_accepts_either, _load_compressed(encoding))


class _Multiplier:
    """A scalar k as OpenSSL wants it: the private keys k and k + 1, each made at its first use, dying with its secret."""

    def __init__(self, raw: bytes) -> None:
        self.value = int.from_bytes(raw, "big") % _ORDER

    @property
    def has_neighbour(self) -> bool:
        """Whether k·P and (k + 1)·P are points other than P, -P and the identity."""
        return 1 < self.value < _ORDER - 1

    @cached_property
    def key(self) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(self.value, _CURVE)

    @cached_property
    def next_key(self) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(self.value + 1, _CURVE)


class _Decoded(bytes):
    """An encoding that keeps what the libraries made of it: a square root and two objects, each paid at most once."""

    @classmethod
    def at(cls, x: int, y: int) -> "_Decoded":
        """Return the point with these coordinates, which an arithmetic has produced."""
        point = cls((b"\x03" if y & 1 else b"\x02") + x.to_bytes(32, "big"))
        point.__dict__["xy"] = (x, y)
        return point

    @cached_property
    def key(self) -> ec.EllipticCurvePublicKey:
        if "xy" in self.__dict__:
            x, y = self.xy
            return _load(b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big"))
        return _load_compressed(self)

    @cached_property
    def xy(self) -> tuple[int, int]:
        numbers = self.key.public_numbers()
        return numbers.x, numbers.y

    @cached_property
    def element(self) -> EccPoint:
        return EccPoint(*self.xy, "P-256")


def _decoded(P: Point) -> _Decoded:
    return P if isinstance(P, _Decoded) else _Decoded(P)


def _encode(element: EccPoint) -> Point:
    x, y = element.xy
    if x == 0 and y == 0:  # how EccPoint writes the identity; (0, 0) is not on the curve
        raise refused_point("the result is the identity")
    point = _Decoded.at(x, y)
    point.__dict__["element"] = element
    return Point(point)


def _load_compressed(encoding: bytes) -> ec.EllipticCurvePublicKey:
    if len(encoding) != _POINT_SIZE:
        raise refused_point(f"a compressed point has {_POINT_SIZE} bytes, this one {len(encoding)}")
    return _load(encoding)


def _load(encoding: bytes) -> ec.EllipticCurvePublicKey:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, encoding)
    except ValueError:
        raise refused_point("not a point of P-256") from None


def _scalar(value: int) -> Secret:
    return Secret(value.to_bytes(SCALAR_SIZE, "big"))


def _sign(private: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    r, s = decode_dss_signature(private.sign(message, _SIGN))
    s = min(s, _ORDER - s)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _accepts(public: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> bool:
    if int.from_bytes(signature[32:], "big") > _ORDER // 2:
        return False  # Triad-1 1.2.5: of (r, s) and (r, q - s), which both verify, one is accepted (attack I-04)
    return _accepts_either(public, message, signature)


def _accepts_either(public: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> bool:
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        public.verify(encode_dss_signature(r, s), message, _VERIFY)
    except InvalidSignature:
        return False
    return True
