"""What a prime-order group offers to the protocols (Triad-1 1.1, 1.2.3, 1.2.4)."""

from collections.abc import Sequence
from typing import Final, NewType, Protocol

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.errors import ErrorCode, PeerFault

Point = NewType("Point", bytes)
"""The encoding of a group element other than the identity; only `check` and the arithmetic make one."""

SCALAR_SIZE: Final = 32
"""Bytes of a scalar in every group: little endian in ristretto255, big endian in P-256."""

WIDE_SIZE: Final = 64
"""Bytes that are drawn or hashed before a reduction mod q, so that the bias is below 2^-250."""


class Group(Protocol):
    """A group of prime order q, written additively; every result is a `Point`, and the identity is refused E_POINT."""

    @property
    def point_size(self) -> int:
        """Bytes of an encoded point."""
        ...

    @property
    def order(self) -> int:
        """The prime q."""
        ...

    @property
    def generator(self) -> Point:
        """The standard generator."""
        ...

    def check(self, encoding: bytes) -> Point: ...

    def check_scalar(self, encoding: bytes) -> bytes: ...

    def random_scalar(self, entropy: Entropy) -> Secret: ...

    def random_point(self, entropy: Entropy) -> Point: ...

    def base_mul(self, k: Secret) -> Point: ...

    def mul(self, k: Secret, P: Point) -> Point: ...

    def add(self, P: Point, Q: Point) -> Point: ...

    def sub(self, P: Point, Q: Point) -> Point: ...

    def partial_sums(self, P: Point, received: Sequence[bytes]) -> Sequence[Point]: ...

    def hash_to_scalar(self, data: bytes) -> Secret: ...

    def scalar_mul_add(self, c: Secret, d: Secret, k: Secret) -> Secret: ...


def refused_point(why: str) -> PeerFault:
    """Return the fault for an encoding or a result that is no usable point."""
    return PeerFault(ErrorCode.E_POINT, why)


def refused_scalar() -> PeerFault:
    """Return the fault for bytes that are not the encoding of a scalar from 1 to q - 1."""
    return PeerFault(ErrorCode.E_FORMAT, f"not a canonical scalar of {SCALAR_SIZE} bytes")
