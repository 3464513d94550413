"""Who vouches for whom: the walk from a credential up to a pinned key (Triad-1 1.6)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from keymote.crypto.suite import Point, Suite, VerifyKey
from keymote.engine.renewal import expired
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.credential import Claims, Credential, Role, SignedCredential

MAY_ISSUE: Final[Mapping[Role, frozenset[Role]]] = {
    Role.AUTHORITY: frozenset({Role.COORDINATOR}),
    Role.COORDINATOR: frozenset({Role.MANAGER, Role.GATEWAY, Role.ROSTER_AUTHORITY, Role.BROKER}),
    Role.MANAGER: frozenset({Role.DEVICE}),
    Role.GATEWAY: frozenset({Role.DEVICE}),
}
"""Role of the issuer -> roles of credentials that its key may sign."""

CLOCK_SKEW_S: Final = 300
_REMEMBERED: Final = 1024
"""Credentials that one node need not examine twice within a while."""

Issuer = tuple[bytes, int, bytes, Role]
"""(id, suite, sig_pk, role) of whoever signed a credential."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A public key that is trusted because somebody put it there: a coordinator's or the authority's."""

    id: bytes
    suite: int
    sig_pk: bytes
    role: Role = Role.COORDINATOR


@dataclass(frozen=True, slots=True)
class Trust:
    """What a node checks chains against. `suites` are those that it can verify with.

    The same credentials come again with every session: a key and a point are examined, and an issuer's signature over
    a credential is verified, once while this object remembers it. Names, roles and times are judged each time.
    """

    pins: tuple[Pin, ...]
    suites: Mapping[int, Suite]
    key: Callable[[int, bytes], VerifyKey] = field(init=False, repr=False, compare=False)
    """`(suite id, sig_pk)` -> the examined key; E_POINT for one that Triad-1 1.2.5 refuses, E_SUITE for the suite."""
    point: Callable[[int, bytes], Point] = field(init=False, repr=False, compare=False)
    """`(suite id, E1 or E2 of a credential)` -> the checked point; E_POINT. Never for points that come once."""
    _vouched: Callable[[bytes, int, bytes], Credential] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        def examined(suite_id: int, sig_pk: bytes) -> VerifyKey:
            return self.suite(suite_id).verify_key(sig_pk)

        def checked(suite_id: int, encoding: bytes) -> Point:
            return self.suite(suite_id).check(encoding)

        def vouched(raw: bytes, suite_id: int, sig_pk: bytes) -> Credential:
            return SignedCredential.decode(raw).verified_by(self.key(suite_id, sig_pk))

        object.__setattr__(self, "key", lru_cache(_REMEMBERED)(examined))
        object.__setattr__(self, "point", lru_cache(2 * _REMEMBERED)(checked))
        object.__setattr__(self, "_vouched", lru_cache(_REMEMBERED)(vouched))

    def pin(self, issuer: bytes) -> Pin | None:
        """Return the pinned key of `issuer`."""
        return next((pin for pin in self.pins if pin.id == issuer), None)

    def suite(self, suite_id: int) -> Suite:
        """Return a suite; E_SUITE when this node does not run it."""
        try:
            return self.suites[suite_id]
        except KeyError:
            raise PeerFault(ErrorCode.E_SUITE, f"suite {suite_id} is not run here") from None

    def verify(self, chain: Sequence[bytes], role: Role, wall: int | None) -> Credential:
        """Return the first credential of `chain` after checking every link up to a pinned key.

        `chain` is the credential, its issuer's, that one's issuer's...; what lies above a pinned issuer is not looked at.
        `wall` None: this node has no clock and cannot judge expiry (Triad-1 1.13).

        Raises:
            PeerFault: E_CRED for a broken, expired or wrongly issued link, a wrong role or a chain that ends nowhere.
        """
        signed = [SignedCredential.decode(raw) for raw in chain]
        if not signed or signed[0].claims.role is not role:
            raise PeerFault(ErrorCode.E_CRED, f"not the credential of a {role.name.lower()}")
        first: Credential | None = None
        for position, credential in enumerate(signed):
            pin = self.pin(credential.claims.iss)
            if pin is not None:
                issuer = self._standing(pin, signed[position + 1 :], wall)
            elif position + 1 < len(signed):
                above = signed[position + 1].claims
                issuer = (above.sub, above.suite, above.sig_pk, above.role)
            else:
                break
            verified = self.verify_one(credential, issuer, wall)
            first = first or verified
            if pin is not None:
                return first
        raise PeerFault(ErrorCode.E_CRED, "chain ends at an issuer that is not pinned")

    def _standing(self, pin: Pin, above: Sequence[SignedCredential], wall: int | None) -> Issuer:
        """Return who signs for a pinned coordinator now: its pinned key, or the one to which that has handed over.

        A coordinator rolls its key by a credential of itself for the new key, signed by the old one (CR-11); such
        credentials stand above what they signed, the newest first. Roots do not roll: they are pinned anew.
        """
        issuer: Issuer = (pin.id, pin.suite, pin.sig_pk, pin.role)
        for handover in reversed([each for each in above if each.claims.iss == each.claims.sub == pin.id]):
            if pin.role is not Role.COORDINATOR or handover.claims.role is not Role.COORDINATOR:
                raise PeerFault(ErrorCode.E_CRED, "only a coordinator hands over to another key of its own")
            _in_time(handover.claims, wall)
            claims = self._vouched(handover.raw, issuer[1], issuer[2]).claims
            issuer = (claims.sub, claims.suite, claims.sig_pk, claims.role)
        return issuer

    def verify_one(self, signed: SignedCredential, issuer: Issuer, wall: int | None) -> Credential:
        """Return `signed` as verified by the key of `issuer`; E_CRED when the issuer may not, or did not, sign it."""
        _may_vouch(signed, issuer, wall)
        return self._vouched(signed.raw, issuer[1], issuer[2])


def _may_vouch(signed: SignedCredential, issuer: Issuer, wall: int | None) -> None:
    """Refuse a credential that its issuer may not have signed, or not for this time (CR-03, CR-04)."""
    issuer_id, _, _, issuer_role = issuer
    claims = signed.claims
    if claims.iss != issuer_id:
        raise PeerFault(ErrorCode.E_CRED, "credential names another issuer")
    if claims.role not in MAY_ISSUE.get(issuer_role, frozenset()):
        raise PeerFault(
            ErrorCode.E_CRED, f"a {issuer_role.name.lower()} may not vouch for a {claims.role.name.lower()}"
        )
    _in_time(claims, wall)


def _in_time(claims: Claims, wall: int | None) -> None:
    """Refuse a credential outside its dates, where somebody has a clock (CR-04, RN-08)."""
    if wall is None:
        return
    late = expired(claims, wall)
    if late is not None:
        raise late
    if wall < claims.iat - CLOCK_SKEW_S:
        raise PeerFault(ErrorCode.E_CRED, f"credential is valid from {claims.iat} on, now is {wall}")
