"""When a credential is renewed, and what both sides of it decide alike (docs/decisions/0121); no state, no network."""

from datetime import UTC, datetime
from typing import Final

from keymote.errors import ErrorCode, PeerFault
from keymote.wire.credential import Claims, Role

RENEW_BEFORE_S: Final = 30 * 86400
"""How long before its expiry a credential is renewed, if that is not more than a third of its life."""
AGAIN_S: Final = 86400
"""Pause before an unanswered wish or an unconfirmed credential is repeated, if an eighth of the time left is not less."""

_MENDS: Final = {
    Role.DEVICE: "run the device, which asks its manager for a new one; if that refuses: keymote device rejoin ID",
    Role.MANAGER: "keymote manager renew",
    Role.COORDINATOR: "keymote authority certify --request nc.req, and put the answer in nc.cred",
}


def lead_s(claims: Claims) -> int:
    """Return how many seconds before its expiry this credential is due: 30 days, at most a third of its life (RN-01)."""
    return min(RENEW_BEFORE_S, (claims.exp - claims.iat) // 3)


def due_at(claims: Claims) -> int:
    """Return from when (UTC seconds) on this credential is to be renewed."""
    return claims.exp - lead_s(claims)


def again_s(claims: Claims) -> int:
    """Return the pause in seconds between two attempts: a day, for short lives an eighth of the time that is left."""
    return max(1, min(AGAIN_S, lead_s(claims) // 8))


def same_keys(one: Claims, other: Claims) -> bool:
    """Tell whether two credentials are for the same owner, keys and place: one may stand in for the other."""
    return _keys(one) == _keys(other)


def _keys(claims: Claims) -> tuple[object, ...]:
    return (
        *(claims.sub, claims.iss, claims.suite, claims.nc_id, claims.role),
        *(claims.E1, claims.E2, claims.sig_pk),
    )


def expired(claims: Claims, wall: int) -> PeerFault | None:
    """Return why this credential is refused at `wall` (UTC seconds), with the date and what mends it; None: it is valid."""
    if wall <= claims.exp:
        return None
    when = datetime.fromtimestamp(claims.exp, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    what = f"credential of {claims.role.name.lower()} {claims.sub.hex()} expired on {when}"
    return PeerFault(ErrorCode.E_CRED, what, do=_MENDS.get(claims.role, "have its issuer issue a new one"))
