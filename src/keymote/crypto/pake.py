"""The start of enrolment: a key from the one-time code (Triad-1 2.4 E1, E2).

The ristretto suites run CPace (draft-irtf-cfrg-cpace-21), which a short code survives. P-256 has no map here, so
suite 17 runs plain Diffie-Hellman with the code in the key derivation, where a code below 128 bits would fall to a
dictionary (attack A-11).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from keymote.crypto.group import Point
from keymote.crypto.secret import Secret

CPACE_RISTRETTO255: Final = b"CPaceRistretto255"
PSK_DH_P256: Final = b"TRIAD1-PSKDH-P256"

_SHA512_BLOCK: Final = 128


@dataclass(frozen=True, slots=True)
class Pake:
    """One way to turn the code into a generator and the exchanged points into the key ISK."""

    takes_short_codes: bool
    dsi: bytes
    _generator: Callable[[bytes, bytes, bytes], Point] = field(repr=False)

    def start(self, prs: bytes, ci: bytes, sid: bytes) -> Point:
        """Return B, the base of both ephemeral keys, from the codes `prs`, the identities `ci` and the nonce `sid`."""
        return self._generator(prs, ci, sid)

    def isk(self, sid: bytes, K: Point, Y_D: Point, ad_D: bytes, Y_N: Point, ad_N: bytes) -> Secret:
        """Return the 64-byte ISK = SHA512(lv(DSI‖"_ISK", sid, K) ‖ lv(Y_D, ad_D) ‖ lv(Y_N, ad_N))."""
        return Secret(hashlib.sha512(lv(self.dsi + b"_ISK", sid, K, Y_D, ad_D, Y_N, ad_N)).digest())


def cpace(map_to_point: Callable[[bytes], Point]) -> Pake:
    """Return CPace-ristretto255-SHA512 over the group's map of 64 bytes to a point."""

    def generator(prs: bytes, ci: bytes, sid: bytes) -> Point:
        return map_to_point(hashlib.sha512(generator_string(CPACE_RISTRETTO255, prs, ci, sid)).digest())

    return Pake(True, CPACE_RISTRETTO255, generator)


def psk_dh(base: Point) -> Pake:
    """Return the exchange over the group's own generator; the code enters by the key derivation only."""
    return Pake(False, PSK_DH_P256, lambda *_codes_and_names: base)


def generator_string(dsi: bytes, prs: bytes, ci: bytes, sid: bytes) -> bytes:
    """Return lv(DSI, PRS, zeros, CI, sid); the zeros fill the first SHA-512 block, so that PRS is absorbed alone."""
    padding = max(0, _SHA512_BLOCK - 1 - len(lv(prs)) - len(lv(dsi)))
    return lv(dsi, prs, bytes(padding), ci, sid)


def lv(*fields: bytes) -> bytes:
    """Return the fields, each behind its length in LEB128 (seven bits a byte, the lowest first)."""
    return b"".join(_leb128(len(field)) + field for field in fields)


def _leb128(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
