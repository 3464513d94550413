"""The suites of this version; a suite is a number, and no message carries curve parameters (attack A-05)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from keymote.crypto.aead import AES_CCM_16_64_128, AES_CCM_16_128_128, CHACHA20_POLY1305
from keymote.crypto.ed25519 import Ed25519
from keymote.crypto.pake import cpace
from keymote.crypto.ristretto255 import Ristretto255
from keymote.crypto.suite import Suite
from keymote.errors import ErrorCode, PeerFault

_RISTRETTO255: Final = Ristretto255()
_CPACE: Final = cpace(_RISTRETTO255.map_to_point)

R255_CP: Final = Suite(1, "R255-CP", _RISTRETTO255, Ed25519(), CHACHA20_POLY1305, CHACHA20_POLY1305, _CPACE)
R255_CCM: Final = Suite(2, "R255-CCM", _RISTRETTO255, Ed25519(), AES_CCM_16_128_128, AES_CCM_16_64_128, _CPACE)

SUITES: Final[Mapping[int, Suite]] = MappingProxyType({suite.id: suite for suite in (R255_CP, R255_CCM)})
"""Every suite that this version runs, by its number."""


def suite_by_id(suite_id: int) -> Suite:
    """Return the suite with this number; PeerFault E_SUITE for one that we do not run."""
    suite = SUITES.get(suite_id)
    if suite is None:
        raise PeerFault(ErrorCode.E_SUITE, f"suite {suite_id} is not among {sorted(SUITES)}")
    return suite
