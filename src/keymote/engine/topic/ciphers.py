"""The ciphers of readings by their number cs (Triad-1 4.5)."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from keymote.crypto.aead import AES_CCM_16_64_128, AES_CCM_16_128_128, ASCON_AEAD128, CHACHA20_POLY1305, Aead
from keymote.crypto.lightweight.etm import HIGHT_ETM, RECTANGLE_128_ETM, TWINE_128_ETM
from keymote.errors import ErrorCode, PeerFault

ASCON: Final = 1
CIPHERS: Final[Mapping[int, Aead]] = {
    ASCON: ASCON_AEAD128,
    2: AES_CCM_16_64_128,
    3: CHACHA20_POLY1305,
    4: AES_CCM_16_128_128,
    16: HIGHT_ETM,
    17: TWINE_128_ETM,
    18: RECTANGLE_128_ETM,
}
DEFAULT: Final = frozenset({ASCON, 2, 3, 4})
"""What a client runs unless its owner says otherwise: no cipher with blocks of 64 bits."""
MOST_MESSAGES: Final = 1 << 20
"""Messages of one session under a cipher with blocks of 64 bits."""
_FIRST_OF_64_BITS: Final = 16


def cipher_of(cs: int, enabled: AbstractSet[int] = DEFAULT) -> Aead:
    """Return the cipher with this number; E_SUITE unless it is one, and enabled."""
    if cs not in CIPHERS or cs not in enabled:
        known = "is not enabled here" if cs in CIPHERS else "is none"
        raise PeerFault(ErrorCode.E_SUITE, f"cipher {cs} {known}", do=f"choose among {sorted(enabled)}")
    return CIPHERS[cs]


def most_messages(cs: int, asked: int) -> int:
    """Return how many messages a session of this cipher may have, `asked` at most."""
    return min(asked, MOST_MESSAGES) if cs >= _FIRST_OF_64_BITS else asked
