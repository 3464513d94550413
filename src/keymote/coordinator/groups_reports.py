"""What gateways report of their groups: taken once, in order, believed only where it is signed or concerns their own doing.

A report that cannot be believed is named in the answer and in the audit log, and never holds up the ones behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import assert_never

from keymote.coordinator import groups_rules as rules
from keymote.coordinator.desk import Desk, by_manager
from keymote.coordinator.group_changes import changed, found, removal_of, seat_of
from keymote.coordinator.group_conflicts import Conflicts
from keymote.coordinator.group_safety import settle
from keymote.coordinator.groups import admit
from keymote.crypto.kdf import sha256
from keymote.crypto.suite import VerifyKey
from keymote.errors import CallerFault, ErrorCode, KeymoteError, PeerFault, RefusedByPolicy
from keymote.host.group_register import EpochLine, Gone, Group, GroupState, Kid, Member, Removal, RosterLine
from keymote.host.ledger import Transaction
from keymote.wire.admin import from_base64url
from keymote.wire.admin_groups import (
    AbsentReport,
    BlameReport,
    EpochReport,
    EvictedReport,
    GroupReport,
    JoinedReport,
    LeftReport,
    RefusedReport,
    RosterReport,
)
from keymote.wire.fields import sizes_of
from keymote.wire.group import RosterClaims, RosterDelta
from keymote.wire.group_signed import Claimed, read_roster


@dataclass(frozen=True, slots=True)
class Taken:
    """Reports up to `upto` were dealt with; `refused` are (seq, why)."""

    upto: int
    refused: Sequence[tuple[int, str]]


class GroupReports:
    """The desk at which gateways hand in what happened."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def take(self, caller: bytes, gid: bytes, items: Sequence[GroupReport]) -> Taken:
        """Enter the reports of the manager `caller` that are new; doing it again changes nothing.

        Raises:
            PeerFault: E_UNKNOWN_ID; E_NOSHARE for a manager that never led this group.
            CallerFault: the reports do not ascend.
        """
        if any(one.seq >= other.seq for one, other in pairwise(items)):
            raise CallerFault("reports must ascend by seq", do="send the oldest first")

        def work(tx: Transaction) -> Taken:
            group = found(tx, gid)
            if caller != group.nm_id and all(lead.nm_id != caller for lead in tx.groups.leads(gid)):
                raise PeerFault(ErrorCode.E_NOSHARE, f"manager {caller.hex()} never led group {group.name}")
            return _Batch(self._desk, tx, caller, group).take(items)

        taken = await self._desk.ledger.write(work)
        self._desk.news.ring()
        return taken


@dataclass(slots=True)
class _Batch:
    """The reports of one call, in one transaction; what they change of the group is announced once, at the end."""

    desk: Desk
    tx: Transaction
    caller: bytes
    group: Group
    removals: list[Removal] = field(default_factory=list)
    rosters: list[tuple[RosterLine, Sequence[bytes]]] = field(default_factory=list)
    altered: bool = False

    @property
    def leads(self) -> bool:
        """Whether this manager is the group's gateway now."""
        return self.caller == self.group.nm_id

    def take(self, items: Sequence[GroupReport]) -> Taken:
        gid, refused = self.group.gid, list[tuple[int, str]]()
        upto = self.tx.groups.reported(gid, self.caller)
        for item in items:
            if item.seq <= upto:
                continue
            upto = item.seq
            try:
                self._enter(item)
            except KeymoteError as fault:
                refused.append((item.seq, fault.what))
                self._note("group.disbelieve", seq=item.seq, why=fault.what[:200])
        for line, kids in self.rosters:  # who is on them is told behind them
            Conflicts(self.desk, self.tx).of_members(self.group, line, kids)
        self.tx.groups.put_reported(gid, self.caller, upto)
        self.group = replace(self.group, reported_ms=self.desk.now_ms())
        if self.altered:
            self.group = changed(self.desk, self.tx, self.group, removals=self.removals)
        else:
            self.tx.groups.put(self.group)
        settle(self.desk, self.tx, self.group)
        return Taken(upto, refused)

    def _enter(self, item: GroupReport) -> None:
        match item:
            case RosterReport():
                self._roster(item)
            case EpochReport():
                self._epoch(item)
            case JoinedReport(dev_id=dev_id, by=by):
                self._joined(bytes.fromhex(dev_id), by)
            case LeftReport(ts_ms=ts_ms, dev_id=dev_id):
                self._gone(bytes.fromhex(dev_id), Gone.LEFT, ts_ms)
            case EvictedReport(ts_ms=ts_ms, dev_id=dev_id, reason=reason):
                self._gone(bytes.fromhex(dev_id), Gone.EVICTED, ts_ms, reason)
            case BlameReport():
                self._blamed(item)
            case AbsentReport(epoch=epoch, kids=kids, excluded=excluded):
                absent = b"".join(map(bytes.fromhex, kids))
                self._note("group.absent", epoch=epoch, kids=absent, excluded=int(excluded))
            case RefusedReport(text=text, dev_id=dev_id):
                self._note("group.refuse", text=text, device=bytes.fromhex(dev_id or ""))
            case _:
                assert_never(item)

    # ------------------------------------------------------------------ rosters and epochs

    def _roster(self, item: RosterReport) -> None:
        raw = from_base64url(item.roster)
        claimed = read_roster(raw, sizes_of(self.group.suite))
        claims = self._verified(claimed, item.ts_ms // 1000)
        if not isinstance(claims, RosterClaims):
            raise PeerFault(ErrorCode.E_FORMAT, "a whole roster is reported, not a delta")
        if claims.gid != self.group.gid:
            raise PeerFault(ErrorCode.E_ROSTER, "roster of another group")
        if claims.ver > rules.LAST_VERSION:
            raise PeerFault(
                ErrorCode.E_EPOCH, f"version {claims.ver}: no ring has changed so often", do="replace the gateway"
            )
        ts_ms, n = min(item.ts_ms, self.desk.now_ms()), len(claims.entries)
        line = RosterLine(claims.gid, claims.ver, sha256(raw), claimed.kid, self.caller, n, ts_ms, raw)
        if not self.tx.groups.add_roster(line):
            return
        self._note("group.roster", ver=line.ver, n=n, digest=line.digest)
        self.group = replace(self.group, ver=max(self.group.ver, line.ver))
        self._heard(line.ver)
        Conflicts(self.desk, self.tx).of_roster(self.group, line)
        self.rosters.append((line, [entry.kid for entry in claims.entries]))

    def _verified(self, claimed: Claimed[RosterClaims | RosterDelta], ts: int) -> RosterClaims | RosterDelta:
        """Return a roster's claims; E_ROSTER unless we signed it, or this manager did while it was entitled to."""
        key = self.desk.identity.authorities.get(claimed.kid)
        if key is None:
            key = self._own_key(claimed.kid, ts)
        try:
            return claimed.verified_by(key)
        except PeerFault as fault:
            raise PeerFault(ErrorCode.E_ROSTER, "roster is not signed by whom its header names") from fault

    def _own_key(self, kid: bytes, ts: int) -> VerifyKey:
        lead = self.tx.groups.lead(self.group.gid, kid)
        if lead is None or lead.nm_id != self.caller or self.group.settings.central:
            raise PeerFault(ErrorCode.E_ROSTER, "roster is signed by somebody who may not sign rosters of this group")
        if ts > lead.not_after:
            raise PeerFault(ErrorCode.E_ROSTER, "roster was signed after the delegation had ended")
        return self.desk.identity.trust.key(self.group.suite, lead.sig_pk)

    def _epoch(self, item: EpochReport) -> None:
        kids = tuple(map(bytes.fromhex, item.kids))
        confirmed, now = min(item.ts_ms, self.desk.now_ms()), self.group
        if not self.leads and item.epoch > now.epoch + (0 if now.formed else rules.HANDOVER):
            raise PeerFault(ErrorCode.E_EPOCH, f"epoch {item.epoch}, another manager has led on at {now.epoch}")
        line = EpochLine(
            gid=now.gid,
            epoch=item.epoch,
            nm_id=self.caller,
            key_id=bytes.fromhex(item.key_id),
            attempt=item.attempt,
            ver=item.ver,
            reason=item.reason,
            kids=kids,
            began_ms=min(item.began_ms, confirmed),
            confirmed_ms=confirmed,
        )
        if not self.tx.groups.add_epoch(line):
            return
        self._note("group.epoch", epoch=line.epoch, ver=line.ver, key_id=line.key_id, n=len(kids))
        owners = {kid.kid: kid for kid in self.tx.groups.kids(now.gid)}
        self.tx.groups.confirm(now.gid, kids, line.epoch)
        if line.epoch > now.epoch or (self.leads and line.epoch == now.epoch):
            self.group = replace(now, epoch=line.epoch, key_id=line.key_id, confirmed_ms=confirmed)
        self._heard(line.ver)
        self._reach_back(line)
        Conflicts(self.desk, self.tx).of_epoch(self.group, line, {name: kid.dev_id for name, kid in owners.items()})

    def _heard(self, ver: int) -> None:
        """The gateway leads the ring as soon as it has the roster that we signed for it, or a later one."""
        if self.leads and ver >= self.group.roster_ver and self.group.state is GroupState.ACTIVE:
            self.group = replace(self.group, formed=True)

    def _reach_back(self, line: EpochLine) -> None:
        """An epoch that still held somebody who had been removed before: not safe until a later one."""
        for removal in self.tx.groups.open_removals(line.gid):
            if line.epoch > removal.last_with and not frozenset(removal.kids).isdisjoint(line.kids):
                self.tx.groups.put_removal(replace(removal, last_with=line.epoch))

    # ------------------------------------------------------------------ members

    def _joined(self, dev_id: bytes, by: str) -> None:
        """A device came in there; it stays unless it may not be a member (then the charter lacks it, and it goes again)."""
        held = self._standing(dev_id)
        device, seat = self.tx.device(dev_id), seat_of(self.tx, dev_id)
        if seat is not None:
            self._name(seat.kid, dev_id)
        if held.member:
            return
        if not self.leads:
            raise RefusedByPolicy(f"group {self.group.name} is led by another manager, which lets devices in")
        if device is None:
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"device {dev_id.hex()} is not registered here")
        if self.group.state is GroupState.CLOSED:
            raise RefusedByPolicy(f"group {self.group.name} was closed")
        if by == "device" and not held.allowed:
            raise RefusedByPolicy(f"device {dev_id.hex()} may not join group {self.group.name} by itself")
        rules.check_member(device, seat, self.caller, self.group.suite)
        inside = sum(each.member for each in self.tx.groups.members(self.group.gid))
        rules.check_size(inside + 1, edge=self.group.settings.mode == rules.EDGE)
        admit(self.desk, self.tx, self.group, held)
        self._note("group.join", device=dev_id, by=by)
        self.altered = True

    def _gone(self, dev_id: bytes, cause: Gone, ts_ms: int, reason: int | None = None) -> None:
        """A device left, or was put out there; who was put out may not come back by itself."""
        held, at_ms = self._standing(dev_id), min(ts_ms, self.desk.now_ms())
        if not held.member and (cause is Gone.LEFT or not held.allowed):
            return
        if ts_ms < held.since_ms and cause is not Gone.LEFT:
            raise RefusedByPolicy(f"device {dev_id.hex()} was taken in again after that")
        self.tx.groups.put_member(replace(held, member=False, allowed=held.allowed and cause is Gone.LEFT))
        self.removals.append(removal_of(self.tx, self.group, dev_id, cause, at_ms, reason))
        self._note("group.leave" if cause is Gone.LEFT else "group.evict", device=dev_id, cause=cause.value)
        self.altered = True

    def _blamed(self, item: BlameReport) -> None:
        kid = bytes.fromhex(item.kid)
        evidence = from_base64url(item.evidence)
        self._note("group.blame", epoch=item.epoch, kid=kid, code=item.code, evidence=sha256(evidence))
        owner = next((each for each in self.tx.groups.kids(self.group.gid) if each.kid == kid), None)
        if item.evicted and owner is not None:
            self._gone(owner.dev_id, Gone.BLAMED, item.ts_ms)

    def _standing(self, dev_id: bytes) -> Member:
        gid = self.group.gid
        held = next((each for each in self.tx.groups.members(gid) if each.dev_id == dev_id), None)
        return held or Member(gid, dev_id, member=False, allowed=False)

    def _name(self, kid: bytes, dev_id: bytes) -> None:
        """Remember whose kid this is, also of somebody who may not be a member: its epochs are then told by name."""
        if all(each.kid != kid for each in self.tx.groups.kids(self.group.gid)):
            self.tx.groups.put_kid(Kid(self.group.gid, kid, dev_id))
            Conflicts(self.desk, self.tx).member_known(kid)

    def _note(self, action: str, **details: int | str | bytes) -> None:
        self.desk.note(self.tx, by_manager(self.caller), action, self.group.gid, **details)
