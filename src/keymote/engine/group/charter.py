"""Who may speak for a group, and who belongs to it: delegation and rosters (Triad-1 3.3, 3.4, 8)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

from keymote.crypto.suite import VerifyKey
from keymote.engine.base import replace
from keymote.engine.group.ring import roster_hash
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.group import EDGE, FEWEST, MOST, DelegationClaims, RosterClaims, RosterDelta
from keymote.wire.group_fields import Entry
from keymote.wire.group_signed import Claimed, read, read_roster
from keymote.wire.message import Body

Keys = Callable[[int, bytes], VerifyKey]
"""`(suite id, sig_pk)` -> the examined key; E_POINT for one that Triad-1 1.2.5 refuses. `Trust.key` is one."""

C = TypeVar("C", bound=Body)


@dataclass(frozen=True, slots=True)
class Charter:
    """What a gid is provisioned with: its suite, the roster authority, and the gateway once it is known.

    `gw_kid` and `gw_pk` are provisioned or come by a delegation, which also gives `not_after` (UTC seconds) and `max_n`,
    the members at most in a roster that the gateway signs. `max_n` 0: it signs none.
    """

    gid: bytes
    suite: int
    ra_kid: bytes
    ra_pk: bytes
    gw_kid: bytes = b""
    gw_pk: bytes = b""
    not_after: int = 0
    max_n: int = 0

    def may_enlist(self, n: int, wall: int | None) -> bool:
        """Return whether the gateway may sign a roster of `n` members now; `wall` None: nobody here knows the time."""
        return n <= self.max_n and (wall is None or wall <= self.not_after)


@dataclass(frozen=True, slots=True)
class Held:
    """The roster of the highest version that this node has verified. `digest` is its roster_hash, `kids` are its members."""

    gid: bytes
    ver: int
    entries: tuple[Entry, ...]
    delegate_idx: int | None = None
    deputy_idx: int | None = None
    digest: bytes = field(init=False)
    kids: tuple[bytes, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", roster_hash(self.gid, self.entries))
        object.__setattr__(self, "kids", tuple([entry.kid for entry in self.entries]))

    def position(self, kid: bytes) -> int | None:
        """Return the idx of a member; None when it is not one."""
        return self.kids.index(kid) if kid in self.kids else None

    def claims(self) -> RosterClaims:
        """Return the whole roster as a message claims it."""
        return RosterClaims(self.gid, self.ver, self.entries, self.delegate_idx, self.deputy_idx)

    def without(self, kids: Iterable[bytes]) -> tuple[Entry, ...]:
        """Return the entries that are left without these."""
        gone = frozenset(kids)
        return tuple(entry for entry in self.entries if entry.kid not in gone)


class LacksBase(PeerFault):
    """A delta of a roster that is not held here: the whole one must be asked for."""


def refuse(what: str) -> NoReturn:
    """Refuse a roster, or somebody who speaks for a group without being entitled to."""
    raise PeerFault(ErrorCode.E_ROSTER, what)


def spoken_by(claimed: Claimed[C], kid: bytes, key: VerifyKey, ctx: bytes = b"") -> C:
    """Return what the RA or the gateway says; E_ROSTER unless the header names it and its signature verifies (GR-13)."""
    if claimed.kid != kid:
        refuse("spoken in the name of somebody who may not speak for this group")
    try:
        return claimed.verified_by(key, ctx)
    except PeerFault as fault:
        if fault.code is ErrorCode.E_FORMAT:
            raise
        raise PeerFault(ErrorCode.E_ROSTER, "not signed by whom its header names") from fault


def with_delegation(charter: Charter, data: bytes, keys: Keys, wall: int | None) -> Charter:
    """Return the charter after a delegation; the very one that is held changes nothing (GR-14).

    Raises:
        PeerFault: E_ROSTER unless the RA signed it for this group and it lasts longer than the one that is held;
            E_POINT for an unfit key.
    """
    claimed = read(data, DelegationClaims, sizes_of(charter.suite))
    claims = spoken_by(claimed, charter.ra_kid, keys(charter.suite, charter.ra_pk))
    if claims.gid != charter.gid:
        refuse("delegation for another group")
    keys(charter.suite, claims.gw_sig_pk)
    delegated = replace(
        charter, gw_kid=claims.gw_kid, gw_pk=claims.gw_sig_pk, not_after=claims.not_after, max_n=claims.max_n
    )
    if delegated == charter:
        return charter
    if claims.not_after <= charter.not_after:
        refuse("a delegation that lasts longer was accepted before")
    if wall is not None and wall > claims.not_after:
        refuse("delegation has expired")
    return delegated


def next_roster(charter: Charter, held: Held | None, data: bytes, keys: Keys, wall: int | None) -> Held:
    """Return the roster that a ROSTER makes of the one that is held; `held` itself for a repetition of it (GR-15, GR-16).

    Raises:
        PeerFault: E_ROSTER for a signer who may not, a version that is not higher, another roster of the held version,
            a delta that does not fit; `LacksBase` for a delta of another base; E_POINT for an unfit key of a member.
    """
    claimed = read_roster(data, sizes_of(charter.suite))
    by_gateway = claimed.kid == charter.gw_kid != charter.ra_kid
    kid, key = (charter.gw_kid, charter.gw_pk) if by_gateway else (charter.ra_kid, charter.ra_pk)
    claims = spoken_by(claimed, kid, keys(charter.suite, key))
    if claims.gid != charter.gid:
        refuse("roster of another group")
    if held is not None and claims.ver < held.ver:
        refuse(f"roster {claims.ver}, version {held.ver} was accepted before")
    new = _whole(held, claims)
    if held is not None and new.ver == held.ver:
        if new == held:
            return held
        refuse(f"two rosters of one version, {held.ver}")
    if by_gateway and not charter.may_enlist(len(new.entries), wall):
        refuse("the gateway may not sign this roster")
    for entry in new.entries:
        keys(charter.suite, entry.sig_pk)
    return new


def _whole(held: Held | None, claims: RosterClaims | RosterDelta) -> Held:
    match claims:
        case RosterClaims(gid, ver, entries, delegate_idx, deputy_idx):
            return _placed(gid, ver, entries, delegate_idx, deputy_idx)
        case RosterDelta(gid, ver, base_ver, added, removed, delegate_idx, deputy_idx):
            if held is not None and ver == held.ver:
                return held  # its base is gone; nobody can tell two deltas of one version apart
            if held is None or base_ver != held.ver:
                raise LacksBase(ErrorCode.E_ROSTER, f"delta of roster {base_ver}, which is not held")
            if not set(removed) <= set(held.kids):
                refuse("delta removes somebody who is not on the roster")
            entries = merged(held.without(removed), added)
            return _placed(gid, ver, entries, delegate_idx, deputy_idx)


def merged(entries: Iterable[Entry], added: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return both in the order of their kids; E_ROSTER for a kid twice or a ring that is too small or too large."""
    together = tuple(sorted([*entries, *added]))
    if len({entry.kid for entry in together}) < len(together):
        refuse("a kid stands twice on the roster")
    if not FEWEST <= len(together) <= MOST:
        refuse(f"a ring of {len(together)} members")
    return together


def _placed(gid: bytes, ver: int, entries: tuple[Entry, ...], delegate_idx: int | None, deputy_idx: int | None) -> Held:
    if any(idx is not None and idx >= len(entries) for idx in (delegate_idx, deputy_idx)):
        refuse("delegate or deputy is not on the roster")
    return Held(gid, ver, entries, delegate_idx, deputy_idx)


def check_mode(held: Held, gw_kid: bytes, mode: int) -> None:
    """Refuse a gateway that hides in a relay's roster, or is missing in that of edge mode (GR-17, attack B-09)."""
    if (held.position(gw_kid) is not None) is not (mode == EDGE):
        refuse("the gateway is on the roster in edge mode and nowhere else")
