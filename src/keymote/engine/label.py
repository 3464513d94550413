"""The code on a device's label: how it is printed, typed back and turned into the secret of an enrolment (Triad-1 2.3).

A 128-bit code is 16 random bytes, printed as 26 characters of base32 and a Luhn check character that finds every single
wrong character and nearly every swapped pair. A digit code is printed as it is.
"""

import base64
from dataclasses import dataclass
from typing import Final

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault

CODE_SIZE: Final = 16
MIN_DIGITS: Final = 8
MAX_DIGITS: Final = 64
_STRONG_DIGITS: Final = 39
"""Decimal digits that hold 128 bits."""
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_PRINTED: Final = 27
_GROUP: Final = 4


@dataclass(frozen=True, slots=True)
class Code:
    """What a label proves knowledge of. `weak`: fewer than 128 bits, so only a suite with a PAKE may use it."""

    otc: Secret
    weak: bool

    def prs(self, code_NM: bytes = b"") -> Secret:
        """Return PRS = CBOR[OTC_D, code_NM], both as byte strings."""
        return Secret(cbor.encode_array(self.otc.expose(), code_NM))

    def printed(self) -> str:
        """Return the printed form in groups of four; it is the secret itself, for label printers only."""
        raw = self.otc.expose()
        if self.weak or len(raw) != CODE_SIZE:
            return raw.decode("ascii")
        plain = base64.b32encode(raw).decode().rstrip("=")
        plain += check_character(plain)
        return "-".join(plain[start : start + _GROUP] for start in range(0, len(plain), _GROUP))


def new_code(entropy: Entropy) -> Code:
    """Return a fresh 128-bit code."""
    while True:
        code = Code(Secret(entropy.draw(CODE_SIZE)), weak=False)
        if not code.printed().replace("-", "").isdigit():  # would read back as a digit code
            return code


def parse_code(text: str) -> Code:
    """Return the code that somebody typed or scanned; spaces, hyphens and case do not matter.

    Raises:
        CallerFault: a wrong character, length or check character; the message never repeats the code.
    """
    plain = "".join(text.split()).replace("-", "").upper()
    if plain.isascii() and plain.isdigit():
        if not MIN_DIGITS <= len(plain) <= MAX_DIGITS:
            raise CallerFault(f"code of {len(plain)} digits", do=f"a digit code has {MIN_DIGITS} to {MAX_DIGITS}")
        return Code(Secret(plain.encode()), weak=len(plain) < _STRONG_DIGITS)
    if len(plain) != _PRINTED:
        raise CallerFault(
            f"code of {len(plain)} characters", do=f"a code has {_PRINTED} characters besides hyphens, or digits only"
        )
    for position, character in enumerate(plain, start=1):
        if character not in _ALPHABET:
            raise CallerFault(
                f"character {position} of the code is none of A-Z, 2-7", do="read 0 as O, 1 as I or L, 8 as B"
            )
    if check_character(plain[:-1]) != plain[-1]:
        raise CallerFault("the code's check character does not fit", do="read the label again")
    raw = base64.b32decode(plain[:-1] + "=" * 6)
    if base64.b32encode(raw).decode().rstrip("=") != plain[:-1]:
        raise CallerFault("the code's last character cannot be", do="read the label again")
    return Code(Secret(raw), weak=False)


def check_character(plain: str) -> str:
    """Return the Luhn mod 32 check character of a base32 string."""
    total = 0
    for position, character in enumerate(reversed(plain)):
        doubled = _ALPHABET.index(character) * (2 if position % 2 == 0 else 1)
        total += doubled // 32 + doubled % 32
    return _ALPHABET[-total % 32]
