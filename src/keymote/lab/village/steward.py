"""The service of a gateway in the simulator: what its ring reports becomes happenings, what the policy decides commands.

Everything here could be the manager's; only its clock, its disk and its link are the simulator's.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from keymote.engine.base import Peer, Report
from keymote.engine.group.faces import (
    Amend,
    ForgetGroup,
    JoinAsked,
    LeaveAsked,
    Locate,
    MemberBlamed,
    MembersAbsent,
    Rekey,
    RingCommitted,
    RingHeld,
    RosterIssued,
    RunStarted,
    ring_of,
)
from keymote.engine.group.payload_faces import RecordPassed
from keymote.engine.group.ring import roster_hash
from keymote.engine.policy.conflicts import EpochSeen, RosterSeen
from keymote.engine.policy.group_faces import (
    NOBODY,
    Allowed,
    Asked,
    Change,
    Confirmed,
    Counted,
    Decision,
    Dissolve,
    Evicted,
    Form,
    GroupPolicy,
    Happening,
    Left,
    Members,
    Missed,
    Passed,
    Refusal,
    Refuse,
    Renew,
    Revoked,
    Rostered,
)
from keymote.engine.policy.groups import GroupState, decide, due_at
from keymote.errors import CallerFault, PeerFault
from keymote.lab.simulator import EPOCH
from keymote.lab.street import GW, Street
from keymote.lab.village.office import JoinedHere, SealedRecord
from keymote.lab.village.uplink import Uplink
from keymote.wire.fields import sizes_of
from keymote.wire.group import JoinClaims, RosterClaims
from keymote.wire.group_fields import Cause, Entry
from keymote.wire.group_signed import read, read_roster


class Decided(NamedTuple):
    """What was decided, when (virtual seconds), and why it could not be done, if it could not."""

    at: float
    decision: Decision
    failed: str = ""


@dataclass(slots=True)
class Steward:
    """The service. `register`: kid -> entry of all whom the coordinator has named, members and those who may join.

    `allowed`, `revoked` and `evicted` are on its disk, as `register` is; `state` is not.
    """

    street: Street
    policy: GroupPolicy
    uplink: Uplink
    gateway: str = GW
    register: dict[bytes, Entry] = field(default_factory=dict)
    allowed: Members = NOBODY
    revoked: Members = NOBODY
    evicted: Members = NOBODY
    state: GroupState = field(init=False)
    reports: deque[Report] = field(default_factory=deque)
    decided: list[Decided] = field(default_factory=list)
    _begun: dict[int, float] = field(default_factory=dict)
    _sent: dict[bytes, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = GroupState(self.policy, self.now)

    @property
    def now(self) -> int:
        return int(EPOCH + self.street.sim.now)

    @property
    def up(self) -> bool:
        return self.street.sim.hosts[self.gateway].up

    def due_at(self) -> float | None:
        """Return the virtual time at which the policy wants to be asked; None: never, or the gateway is off."""
        at = due_at(self.state) if self.up else None
        return None if at is None else float(at - EPOCH)

    # ------------------------------------------------------------------ what people and the coordinator say

    def name(self, entries: Mapping[bytes, Entry], *, allowed: bool) -> None:
        """Learn of members, or of who may join without the coordinator."""
        self.register |= entries
        if allowed:
            self.allowed |= frozenset(entries)
            self.say(Allowed(self.allowed))

    def revoke(self, kids: Members) -> None:
        """Learn that the credentials of these are worthless."""
        self.revoked |= kids
        self.say(Revoked(kids))

    def evict(self, kids: Members) -> None:
        """Throw these out, as an operator at the gateway does."""
        self.evicted |= kids
        self.say(Evicted(kids))

    def say(self, happening: Happening) -> None:
        """Tell the policy, and carry out what it decides."""
        self.state, decisions = decide(self.state, happening, self.now)
        for decision in decisions:
            self._carry_out(decision)

    def _carry_out(self, decision: Decision) -> None:
        failed = ""
        try:
            match decision:
                case Change(add, remove, reason):
                    entries = tuple(self.register[kid] for kid in sorted(add))
                    self._ring(Amend(entries, tuple(sorted(remove)), int(reason)))
                case Renew(reason):
                    self._ring(Rekey(Cause(int(reason))))
                case Dissolve():
                    self._ring(ForgetGroup())
                case Form():
                    failed = "only the coordinator signs a first roster"
                case Refuse():
                    pass
        except (CallerFault, PeerFault) as fault:
            failed = str(fault)
        self.decided.append(Decided(self.street.sim.now, decision, failed))

    def _ring(self, command: Amend | Rekey | ForgetGroup | Locate) -> None:
        self.street.sim.command(self.gateway, ring_of(self.street.gid), command)

    # ------------------------------------------------------------------ what the ring says

    def work(self) -> None:
        """Take in all reports, and do what time demands."""
        while self.reports:
            self._heard(self.reports.popleft())
        if self.up:
            self.say(Passed())

    def _heard(self, report: Report) -> None:
        at = self.street.sim.now
        match report:
            case RingHeld(_, _, kids, absent, epoch, _):
                self._restarted(frozenset(kids), frozenset(absent), epoch)
            case RunStarted(_, epoch, _, _, _):
                self._begun[epoch] = at
            case RingCommitted(gid, epoch, _, _, key_id, kids):
                began_ms = int((EPOCH + self._begun.get(epoch, at)) * 1000)
                self.uplink.keep(at, EpochSeen(gid, self._kid, epoch, key_id, frozenset(kids), began_ms))
                self._sent.clear()
                self.say(Confirmed(frozenset(kids)))
            case RosterIssued(gid, ver, roster):
                entries = self._entries(roster)
                self.uplink.keep(at, RosterSeen(gid, self._kid, ver, roster_hash(gid, entries)))
                self.say(Rostered(frozenset(entry.kid for entry in entries), self.state.absent))
            case MembersAbsent(_, _, kids, excluded):
                self.say(Missed(frozenset(kids), excluded))
            case MemberBlamed(_, _, kid, _, _, evicted):
                self.evicted |= {kid}
                self.say(Left(kid, granted=evicted))
                self.say(Evicted(frozenset((kid,))))
            case LeaveAsked(_, kid, granted):
                self.say(Left(kid, granted))
            case JoinAsked(_, kid, peer, request):
                self._asked(kid, peer, request)
            case RecordPassed(_, kid, resource, record):
                self.uplink.keep(at, SealedRecord(kid, resource, record))
                self._sent[kid] = self._sent.get(kid, 0) + 1
                self.say(Counted(self._sent[kid]))

    @property
    def _kid(self) -> bytes:
        return self.street.people[self.gateway].kid

    def _entries(self, roster: bytes) -> tuple[Entry, ...]:
        claims = read_roster(roster, sizes_of(self.street.suite.id)).claims
        assert isinstance(claims, RosterClaims)
        return claims.entries

    def _restarted(self, kids: Members, absent: Members, epoch: int) -> None:
        """Begin anew with what is on disk: what the ring holds, whom we know, and where members listen."""
        self.state = GroupState(self.policy, self.now)
        self._begun.setdefault(epoch, self.street.sim.now)
        self._ring(Locate(self.street.peers()))
        for happening in (Allowed(self.allowed), Revoked(self.revoked), Evicted(self.evicted), Rostered(kids, absent)):
            self.say(happening)

    def _asked(self, kid: bytes, peer: Peer, request: bytes) -> None:
        """Let the policy judge who can be told by its signature; nobody else gets an answer."""
        entry = self.register.get(kid)
        if entry is None:
            self.decided.append(Decided(self.street.sim.now, Refuse(kid, Refusal.STRANGER)))
            return
        suite = self.street.suite.id
        try:
            read(request, JoinClaims, sizes_of(suite)).verified_by(self.street.trust.key(suite, entry.sig_pk))
        except PeerFault as fault:
            self.decided.append(Decided(self.street.sim.now, Refuse(kid, Refusal.STRANGER), fault.what))
            return
        self._ring(Locate({kid: peer}))
        known = kid in self.state.members
        self.say(Asked(kid))
        if not known and kid in self.state.members:
            self.uplink.keep(self.street.sim.now, JoinedHere(kid))
