"""The group ristretto255 (RFC 9496), computed by libsodium.

Three traps of the library decide the shape of this file (attack I-01): it calls the identity a valid point, it overlooks
the unused top bit, so that each point has a second encoding, and its addition answers an invalid encoding with the
identity instead of an error. So `check` comes before any arithmetic, and every sum is compared with the identity. A
fourth (rule IM-14): an identity product is a bare RuntimeError.
"""

import hashlib
from collections.abc import Sequence
from typing import ClassVar, Final

from keymote.crypto import libsodium
from keymote.crypto.entropy import Entropy
from keymote.crypto.group import SCALAR_SIZE, WIDE_SIZE, Point, refused_point, refused_scalar
from keymote.crypto.secret import Secret
from keymote.errors import ErrorCode, PeerFault

_IDENTITY: Final = bytes(32)
_ZERO: Final = bytes(SCALAR_SIZE)


class Ristretto255:
    """Points are 32 bytes; scalars 32 bytes little endian."""

    __slots__ = ()

    point_size: ClassVar[int] = 32
    order: ClassVar[int] = 2**252 + 27742317777372353535851937790883648493
    generator: ClassVar[Point] = Point(
        bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76")
    )

    def check(self, encoding: bytes) -> Point:
        """Return `encoding` as a point.

        Raises:
            PeerFault: E_POINT unless it is the canonical 32-byte encoding of an element other than the identity.
        """
        if (
            len(encoding) != 32
            or encoding == _IDENTITY
            or encoding[31] > 0x7F  # RFC 9496 4.3.1 refuses it; this libsodium masks the bit
            or not libsodium.is_valid_point(encoding)
        ):
            raise refused_point("not a canonical ristretto255 point, or the identity")
        return Point(encoding)

    def check_scalar(self, encoding: bytes) -> bytes:
        """Return the 32 bytes of a received scalar from 1 to q - 1; PeerFault E_FORMAT for anything else."""
        if len(encoding) != SCALAR_SIZE or not 0 < int.from_bytes(encoding, "little") < self.order:
            raise refused_scalar()
        return encoding

    def random_scalar(self, entropy: Entropy) -> Secret:
        """Return a uniform scalar other than zero, from 64 drawn bytes."""
        while (k := libsodium.scalar_reduce(entropy.draw(WIDE_SIZE))) == _ZERO:
            pass
        return Secret(k)

    def random_point(self, entropy: Entropy) -> Point:
        """Return a uniform point whose discrete logarithm nobody knows: the one-way map of 64 drawn bytes."""
        return self.map_to_point(entropy.draw(WIDE_SIZE))

    def map_to_point(self, uniform: bytes) -> Point:
        """Return H2G of exactly 64 uniform bytes (RFC 9496 4.3.4, constant time in libsodium)."""
        if len(uniform) != WIDE_SIZE:
            raise ValueError(f"the one-way map takes {WIDE_SIZE} bytes, not {len(uniform)}")
        return _not_identity(libsodium.from_hash(uniform))

    def base_mul(self, k: Secret) -> Point:
        """Return k times the generator of RFC 9496."""
        try:
            return Point(libsodium.scalarmult_base(k.expose()))
        except RuntimeError:
            raise refused_point("the product is the identity") from None

    def mul(self, k: Secret, P: Point) -> Point:
        """Return k times P."""
        try:
            return Point(libsodium.scalarmult(k.expose(), P))
        except RuntimeError:
            raise refused_point("the product is the identity") from None

    def add(self, P: Point, Q: Point) -> Point:
        """Return P + Q."""
        return _not_identity(libsodium.add(P, Q))

    def sub(self, P: Point, Q: Point) -> Point:
        """Return P - Q."""
        return _not_identity(libsodium.sub(P, Q))

    def partial_sums(self, P: Point, received: Sequence[bytes]) -> Sequence[Point]:
        """Return P + Q1, P + Q1 + Q2... of received encodings.

        libsodium's addition decodes both points by the function behind `is_valid_point`, and answers the identity where
        one of them fails (I-01); so what `check` asks beyond that is asked here, and a result that is the identity is
        refused whichever way it came about.
        """
        sums: list[Point] = []
        for encoding in received:
            if len(encoding) != 32 or encoding == _IDENTITY or encoding[31] > 0x7F:
                raise refused_point("not a canonical ristretto255 point, or the identity")
            P = _not_identity(libsodium.add(P, encoding))
            sums.append(P)
        return sums

    def hash_to_scalar(self, data: bytes) -> Secret:
        """Return H2S: SHA-512 of `data`, little endian, mod q; PeerFault E_FORMAT for zero."""
        k = libsodium.scalar_reduce(hashlib.sha512(data).digest())
        if k == _ZERO:
            raise PeerFault(ErrorCode.E_FORMAT, "a hash to scalar of zero")
        return Secret(k)

    def scalar_mul_add(self, c: Secret, d: Secret, k: Secret) -> Secret:
        """Return c·d + k mod q."""
        product = libsodium.scalar_mul(c.expose(), d.expose())
        return Secret(libsodium.scalar_add(product, k.expose()))


def _not_identity(encoding: bytes) -> Point:
    if encoding == _IDENTITY:
        raise refused_point("the result is the identity")
    return Point(encoding)
