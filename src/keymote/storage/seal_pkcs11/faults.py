"""What goes wrong with tokens, sorted by what somebody can do about it."""

from typing import Final

from keymote.errors import CallerFault, Unavailable


class TokenAway(Unavailable):
    """The module, the token or its process does not answer; the same question may be answered later."""


class PinRefused(CallerFault):
    """The token does not let us in. Nothing may try again by itself: a few wrong PINs lock a token for good."""


class KeyUnfit(CallerFault):
    """The key is not one that may be trusted with data keys, or it did not wrap what it should unwrap."""


class KeyMissing(KeyUnfit):
    """The token has no such key."""


FAULTS: Final = {kind.__name__: kind for kind in (CallerFault, KeyMissing, KeyUnfit, PinRefused, TokenAway)}
"""What the process that meets the token may answer, by name."""
