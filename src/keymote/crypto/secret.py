"""The one type for key material: it hides, compares in constant time, and does not travel."""

import hmac
from collections.abc import Callable
from typing import NoReturn, TypeVar

_Parsed = TypeVar("_Parsed")


def equal(a: bytes, b: bytes) -> bool:
    """Return whether two byte strings are the same, in time that depends on their lengths only (Triad-1 1.2.6)."""
    return hmac.compare_digest(a, b)


class Secret:
    """Key material of any length, in bytes.

    `repr` tells the length only, `==` takes constant time, hashing, pickling and copying are refused: the bytes leave
    through `expose` alone, so a reviewer finds every use by one name. What a library parsed from the bytes (a cipher
    object, a private key) is kept here by `parsed` and therefore dies with the secret, not in a cache of its own.

    Python cannot wipe `bytes` (Triad-1 1.15): dropping the last reference is the erasure that this type offers.
    """

    __slots__ = ("_made", "_maker", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw if type(raw) is bytes else bytes(raw)
        self._maker: object = None
        self._made: object = None

    def expose(self) -> bytes:
        """Return the bytes: for a primitive, a sealed store, or an export the operator asked for; never for a log."""
        return self._raw

    def parsed(self, maker: Callable[[bytes], _Parsed]) -> _Parsed:
        """Return `maker(bytes)`, kept from the last call if it asked for the same `maker` (a module-level function)."""
        if self._maker is not maker:
            self._made = maker(self._raw)
            self._maker = maker
        return self._made  # type: ignore[return-value]  # made by this very maker, as the line above ensures

    def __len__(self) -> int:
        return len(self._raw)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._raw, other._raw)

    __hash__ = None  # type: ignore[assignment]  # a hash is a fingerprint, and dictionaries outlive sessions

    def __repr__(self) -> str:
        return f"Secret({len(self._raw)} bytes)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse `pickle`, `copy.copy` and `copy.deepcopy`, which all come through here."""
        raise TypeError("a Secret is neither pickled nor copied; expose() is its one door")

    def __bool__(self) -> NoReturn:
        """Refuse truth: `if key:` would silently ask for the length."""
        raise TypeError("a Secret has no truth value; ask `is None` or `len`")
