"""How a trusted system says no: a grant of nothing, so that the client knows who refused it (docs/decisions/0186)."""

from typing import Final

from keymote.errors import ErrorCode
from keymote.wire.topic import KeyGrant

NO_SESSION: Final = bytes(8)


def denial(code: ErrorCode) -> KeyGrant:
    """Return the grant that refuses with this code: no messages, no life, no key."""
    return KeyGrant(NO_SESSION, int(code), 0, 0, bytes(32), 0, 0, 0)


def denied(grant: KeyGrant) -> ErrorCode | None:
    """Return the code with which a grant refuses, None for one that opens something."""
    if grant.sess != NO_SESSION or grant.max_msgs or grant.life_s:
        return None
    return ErrorCode(grant.epoch) if grant.epoch in set(ErrorCode) else ErrorCode.E_CRED
