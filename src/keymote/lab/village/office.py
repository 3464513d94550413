"""The coordinator as a village sees it: what it wants, what it was told, and what of that does not fit together.

It is not the product's coordinator, which is transactions over a register; it shares the pure rules for conflicts with it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from keymote.engine.policy.conflicts import Conflict, Enrolment, EpochSeen, Revocation, RosterSeen, conflicts


class SealedRecord(NamedTuple):
    """A record as it passed a gateway: who is said to have sent it, for which resource, and the GSEC."""

    kid: bytes
    resource: str
    record: bytes


class Enrolled(NamedTuple):
    """A gateway has enrolled a device."""

    dev_id: bytes


class JoinedHere(NamedTuple):
    """A gateway has let in a member that was allowed."""

    kid: bytes


Fact = RosterSeen | EpochSeen | SealedRecord | Enrolled | JoinedHere


class Item(NamedTuple):
    """One line of a gateway's log; `seq` grows."""

    seq: int
    at: float
    fact: Fact


@dataclass(slots=True)
class Office:
    """What the coordinator knows. `revoked`: kid -> UTC milliseconds."""

    revoked: dict[bytes, int] = field(default_factory=dict)
    rosters: set[RosterSeen] = field(default_factory=set)
    epochs: set[EpochSeen] = field(default_factory=set)
    enrolments: set[Enrolment] = field(default_factory=set)
    joined: list[bytes] = field(default_factory=list)
    records: list[SealedRecord] = field(default_factory=list)
    repeated: int = 0
    taken: dict[bytes, int] = field(default_factory=dict)

    def take(self, gateway: bytes, items: Iterable[Item]) -> int:
        """Take in a batch; what was taken before changes nothing. Return the highest number that is known now."""
        for seq, _, fact in items:
            if seq <= self.taken.get(gateway, 0):
                self.repeated += 1
                continue
            self.taken[gateway] = seq
            match fact:
                case RosterSeen():
                    self.rosters.add(fact)
                case EpochSeen():
                    self.epochs.add(fact)
                case SealedRecord():
                    self.records.append(fact)
                case Enrolled(dev_id):
                    self.enrolments.add(Enrolment(dev_id, gateway))
                case JoinedHere(kid):
                    self.joined.append(kid)
        return self.taken.get(gateway, 0)

    def conflicts(self) -> Sequence[Conflict]:
        """Return what does not fit together in all that was reported so far."""
        revocations = [Revocation(kid, at_ms) for kid, at_ms in self.revoked.items()]
        return conflicts(self.rosters, self.epochs, revocations, self.enrolments)
