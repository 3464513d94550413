"""The door to the P-256 arithmetic of the libcrypto that the interpreter itself uses, the one behind `hashlib`.

`cryptography` has its own OpenSSL, whose Python face makes a key object of every number first, and each object is converted
once more at its first use: a key pair, a received point and three products, one side of EDHOC, cost 240 us there and 205 us
here (decision 0072). The functions are OpenSSL's EC_POINT interface, which its own ECDH calls; they compute on P-256 in
constant time. An interpreter whose libcrypto is out of reach (built in
statically) has no such door: `open_door` returns None, and `cryptography` computes.

Every C function is called with the interpreter's lock held, and nothing but the constant group is shared between calls.
"""

import ctypes
from collections.abc import Callable
from typing import Any, Final

_NID_P256: Final = 415
_BN_FLG_CONSTTIME: Final = 4
_COMPRESSED: Final = 2
"""POINT_CONVERSION_COMPRESSED: 02 or 03, then x."""
_POINT_SIZE: Final = 33
_GENERATOR_X: Final = bytes.fromhex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296")

_p: Final = ctypes.c_void_p
_SIGNATURES: Final[dict[str, tuple[Any, ...]]] = {
    "BN_bin2bn": (_p, ctypes.c_char_p, ctypes.c_int, _p),
    "BN_clear_free": (None, _p),
    "BN_set_flags": (None, _p, ctypes.c_int),
    "EC_GROUP_new_by_curve_name": (_p, ctypes.c_int),
    "EC_POINT_clear_free": (None, _p),
    "EC_POINT_mul": (ctypes.c_int, _p, _p, _p, _p, _p, _p),
    "EC_POINT_new": (_p, _p),
    "EC_POINT_oct2point": (ctypes.c_int, _p, _p, ctypes.c_char_p, ctypes.c_size_t, _p),
    "EC_POINT_point2oct": (ctypes.c_size_t, _p, _p, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, _p),
    "ERR_clear_error": (None,),
}
"""Function -> type of its result, then of its arguments."""


class _Held:
    """An object of the library, wiped and freed with the last reference to it."""

    __slots__ = ("_free", "address")

    def __init__(self, address: int | None, free: Callable[[int], None]) -> None:
        if not address:
            raise MemoryError("libcrypto has no memory")
        self.address, self._free = address, free

    def __del__(self) -> None:
        if hasattr(self, "_free"):
            self._free(self.address)


class Libcrypto:
    """x-coordinates of products on P-256; numbers and coordinates are 32 bytes, big endian."""

    BN_bin2bn: Callable[..., int | None]
    BN_clear_free: Callable[[int], None]
    BN_set_flags: Callable[[int, int], None]
    EC_GROUP_new_by_curve_name: Callable[[int], int]
    EC_POINT_clear_free: Callable[[int], None]
    EC_POINT_mul: Callable[..., int]
    EC_POINT_new: Callable[[int], int | None]
    EC_POINT_oct2point: Callable[..., int]
    EC_POINT_point2oct: Callable[..., int]
    ERR_clear_error: Callable[[], None]

    def __init__(self, library: ctypes.PyDLL) -> None:
        for name, (result, *arguments) in _SIGNATURES.items():
            function = library[name]  # as this instance sees it: others who load the library have their own
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)
        self.group = self.EC_GROUP_new_by_curve_name(_NID_P256)

    def scalar(self, d: bytes) -> object:
        """Return a scalar from 1 to q - 1, which the caller has checked, as the other methods take it."""
        held = _Held(self.BN_bin2bn(d, len(d), None), self.BN_clear_free)
        self.BN_set_flags(held.address, _BN_FLG_CONSTTIME)
        return held

    def point(self, x: bytes) -> object:
        """Return a point with this x; ValueError when x is not below the prime or no point has it."""
        held = _Held(self.EC_POINT_new(self.group), self.EC_POINT_clear_free)
        if not self.EC_POINT_oct2point(self.group, held.address, b"\x02" + x, _POINT_SIZE, None):
            self.ERR_clear_error()
            raise ValueError("no point of P-256 has this x")
        return held

    def base(self, k: Any) -> bytes:
        """Return x of k·G."""
        return self._x(k.address, None, None)

    def product(self, k: Any, P: Any) -> bytes:
        """Return x of k·P."""
        return self._x(None, P.address, k.address)

    def _x(self, of_generator: int | None, P: int | None, of_P: int | None) -> bytes:
        group, encoding = self.group, ctypes.create_string_buffer(_POINT_SIZE)
        point = self.EC_POINT_new(group)
        if not point:
            raise MemoryError("libcrypto has no memory")
        try:
            if (
                self.EC_POINT_mul(group, point, of_generator, P, of_P, None)
                and self.EC_POINT_point2oct(group, point, _COMPRESSED, encoding, _POINT_SIZE, None) == _POINT_SIZE
            ):
                return encoding.raw[1:]
        finally:
            self.EC_POINT_clear_free(point)
        self.ERR_clear_error()
        raise ArithmeticError("libcrypto found no product on P-256")


def open_door() -> Libcrypto | None:
    """Return the arithmetic, None where the interpreter's libcrypto cannot be reached or is not what it seems."""
    try:
        import _hashlib  # noqa: PLC0415  # an interpreter without OpenSSL has none

        door = Libcrypto(ctypes.PyDLL(_hashlib.__file__))
        return door if door.base(door.scalar(bytes(31) + b"\x01")) == _GENERATOR_X else None
    except (ImportError, AttributeError, OSError, ArithmeticError, MemoryError):
        return None
