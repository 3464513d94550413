"""The four roots of every error that Keymote raises, sorted by who must act.

* `PeerFault`: what came from the network is wrong; nobody here can mend it. Carries the `ErrorCode` of Triad-1 1.11.
* `Incompatible`: both sides are sound, but they cannot work together (suite, version, schema).
* `CallerFault`: the person or program that called us must change something.
* `Unavailable`: a service, disk or peer does not answer now; trying again later may help.
"""

from enum import IntEnum, unique
from typing import ClassVar


@unique
class ErrorCode(IntEnum):
    """Local result of a refused input; on the wire only inside an authenticated channel (Triad-1 1.11)."""

    E_FORMAT = 1
    E_SUITE = 2
    E_POINT = 3
    E_COOKIE = 4
    E_UNKNOWN_ID = 5
    E_OTC_USED = 6
    E_AUTH = 7
    E_DLEQ = 8
    E_CRED = 9
    E_STATE = 10
    E_REPLAY = 11
    E_TIMEOUT = 12
    E_LIMIT = 13
    E_NOSHARE = 14
    E_CONFIRM = 15
    E_EPOCH = 16
    E_ROSTER = 17
    E_SUMY = 18
    E_R1SIG = 19
    E_R2SIG = 20
    E_DUPX = 21
    E_SKIP = 22
    E_TICKET = 23
    E_HO_CTR = 24
    E_BUSY = 25


class KeymoteError(Exception):
    """Root of the four roots; carries what happened and, where somebody can act, what to do."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, do: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.do = do

    def __str__(self) -> str:
        return f"{self.what}; {self.do}" if self.do else self.what


class PeerFault(KeymoteError):
    """A message or value from the network was refused; the state is unchanged."""

    def __init__(self, code: ErrorCode, what: str, *, do: str = "") -> None:
        super().__init__(what, do=do)
        self.code = code

    def __str__(self) -> str:
        return f"{self.code.name}: {super().__str__()}"


class Incompatible(KeymoteError):
    """Both sides are sound but cannot work together."""


class CallerFault(KeymoteError):
    """Whoever called must change something."""

    exit_code: ClassVar[int] = 2


class Unavailable(KeymoteError):
    """A service does not answer now; nothing was acknowledged, trying again later may help."""

    exit_code: ClassVar[int] = 3


class RefusedByPolicy(CallerFault):
    """The request was understood and a policy forbids it."""

    exit_code: ClassVar[int] = 4
