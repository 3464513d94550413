"""Worlds of protocol B for tests, attacks and measurements: a roster authority, a gateway and the meters of a street.

Everything is run by the product's engines. Names: `gw` is the gateway, `m0`, `m1`... the meters; all hear each other's
multicasts. Enrolment is left out: keys and credentials are simply there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.suite import Suite
from keymote.crypto.suites import SUITES
from keymote.engine.base import Command, Peer, Report
from keymote.engine.chain import Pin, Trust
from keymote.engine.group.charter import Charter
from keymote.engine.group.faces import (
    HERE,
    FormRing,
    GroupReady,
    JoinGroup,
    Level,
    Resume,
    RingPlan,
    membership_of,
    ring_of,
)
from keymote.engine.group.ring_states import RingCell
from keymote.engine.group.states import Epoch, MembershipCell
from keymote.lab.people import AUTHORITY, Person, certified, gateway_node, meter_node
from keymote.lab.scenes import YEARS, identity
from keymote.lab.simulator import EPOCH, Channel, Simulator
from keymote.lab.simulator.witness import Witness, WitnessedSuite
from keymote.wire.credential import Role
from keymote.wire.group import EDGE, RELAY, DelegationClaims, RosterClaims
from keymote.wire.group_signed import write

GW: Final = "gw"
HANDED_OVER: Final = 1000
"""Roster versions by which another gateway begins higher: above all that the old one may have signed meanwhile."""


@dataclass(slots=True)
class Street:
    """A street ready to act in. `ver` is the version of the newest roster that the authority signed, `leader` the gateway
    that leads it now.
    """

    sim: Simulator
    suite: Suite
    gid: bytes
    plan: RingPlan
    level: Level
    compact: bool
    delegated: bool
    people: dict[str, Person]
    ra: Person
    witness: Witness
    entropy: SeededEntropy
    trust: Trust
    ver: int = 0
    names: list[str] = field(default_factory=list)
    leader: str = GW

    # ------------------------------------------------------------------ what the authority signs

    def charter(self) -> Charter:
        """Return what a node is provisioned with: the gateway itself, or only the authority where a delegation will tell."""
        charter = Charter(self.gid, self.suite.id, self.ra.kid, self.ra.signing.public)
        gw = self.people[self.leader]
        return (
            charter if self.delegated else Charter(charter.gid, charter.suite, *self._ra(), gw.kid, gw.signing.public)
        )

    def _ra(self) -> tuple[bytes, bytes]:
        return self.ra.kid, self.ra.signing.public

    def delegation(self, gateway: str = "", not_after: int = EPOCH + YEARS, max_n: int = 32) -> bytes:
        """Return the authority's delegation for a gateway, the one that leads unless told otherwise."""
        gw = self.people[gateway or self.leader]
        claims = DelegationClaims(self.gid, gw.kid, gw.signing.public, not_after, max_n)
        return write(self.ra.signing, claims, kid=self.ra.kid)

    def roster(self, names: Iterable[str], ver: int | None = None) -> bytes:
        """Return a roster of these, signed by the authority, of the next version unless told otherwise."""
        self.ver = self.ver + 1 if ver is None else ver
        entries = tuple(sorted(self.people[name].entry for name in names))
        return write(self.ra.signing, RosterClaims(self.gid, self.ver, entries, None, None), kid=self.ra.kid)

    # ------------------------------------------------------------------ acting

    def provision(self, *names: str) -> None:
        """Tell meters, and in edge mode the gateway, that they belong to the group."""
        for name in names:
            here = name == GW
            level = Level.V0 if here else self.level
            gateway = HERE if here else self.sim.hosts[self.leader].address
            wish = JoinGroup(
                self.charter(), self.people[name].kid, gateway, level, self.plan.multicast, self.compact and not here
            )
            self.tell(name, wish)

    def form(self, *names: str) -> None:
        """Let the gateway lead these (all meters if none is named), and in edge mode itself; nothing runs yet."""
        members = [*(names or self.names), *([GW] if self.plan.mode == EDGE else [])]
        charter = self.charter()
        delegation = self.delegation() if self.delegated else b""
        self.ring(FormRing(charter, self.roster(members), self.plan, delegation, self.peers(*members)))

    def peers(self, *names: str) -> dict[bytes, Peer]:
        """Return where these listen, by kid."""
        return {
            self.people[name].kid: HERE if name == GW else self.sim.hosts[name].address
            for name in (names or self.names)
        }

    def tell(self, name: str, command: Command) -> Sequence[Report]:
        """Say something to a member's cell."""
        return self.sim.command(name, membership_of(self.gid), command)

    def ring(self, command: Command) -> Sequence[Report]:
        """Say something to the gateway's cell."""
        return self.sim.command(self.leader, ring_of(self.gid), command)

    def hand_over(self, gateway: str, *names: str, after_epoch: int) -> None:
        """Let another gateway, in reach of the first of these, lead them: a longer delegation, a roster far above."""
        self.people[gateway] = certified(gateway, self.suite, None, self.entropy.fork(gateway), self.ra.signing)
        near = self.sim.reach.segments[names[0]] if names else GW
        self.sim.add(
            gateway,
            gateway_node(self.people[gateway], self.trust),
            segment=near,
            at_boot=((ring_of(self.gid), Resume()),),
        )
        self.leader = gateway
        longer = self.delegation(not_after=EPOCH + 2 * YEARS)
        roster = self.roster(names or self.names, ver=self.ver + HANDED_OVER)
        self.ring(FormRing(self.charter(), roster, self.plan, longer, self.peers(*names), after_epoch))

    def add(self, name: str) -> None:
        """Put one more meter into the street; it is not provisioned yet."""
        self.seat(name, certified(name, self.suite, self.people[GW], self.entropy.fork(name)))
        self.names.append(name)

    def seat(self, name: str, person: Person) -> None:
        """Put a node into the street that holds somebody's key and credential."""
        self.people[name] = person
        _add_meter(self, name)

    # ------------------------------------------------------------------ looking

    def cell(self, name: str) -> MembershipCell | None:
        """Return the cell of a member."""
        cell: MembershipCell | None = self.sim.hosts[name].cells.get(membership_of(self.gid))
        return cell

    def lead(self) -> RingCell:
        """Return the cell of the gateway."""
        cell: RingCell = self.sim.hosts[self.leader].cells[ring_of(self.gid)]
        return cell

    def active(self, name: str) -> Epoch | None:
        """Return the epoch that a member has confirmed."""
        cell = self.cell(name)
        return None if cell is None else cell.lasting.active

    def members(self) -> list[str]:
        """Return the names on the roster that the gateway holds."""
        kids = self.lead().lasting.held.kids
        return [name for name, person in self.people.items() if person.kid in kids]

    def newest(self) -> int:
        """Return the epoch of the newest START."""
        claims = self.lead().lasting.started()
        return 0 if claims is None else claims.epoch

    def agreed(self, *names: str) -> bool:
        """Return whether these (all on the roster if none is named) are active in the newest epoch, which is committed."""
        if not self.lead().lasting.commit:
            return False
        epochs = [self.active(name) for name in (names or self.members())]
        return all(epoch is not None and epoch.number == self.newest() for epoch in epochs)

    def run(self, within_s: float = 60.0) -> bool:
        """Let time pass until all on the roster agree; return whether they did."""
        return self.sim.run_until(self.agreed, within_s)

    def keys(self) -> dict[int, set[bytes]]:
        """Return epoch -> the different MK under which anybody is active in it now."""
        found: dict[int, set[bytes]] = {}
        for name in self.people:
            if name in self.sim.hosts and (epoch := self.active(name)) is not None:
                found.setdefault(epoch.number, set()).add(epoch.group.key.expose())
        return found

    def heard(self, name: str) -> list[GroupReady]:
        return self.sim.heard(name, GroupReady)


def street(
    n: int = 3,
    *,
    suite: int = 1,
    mode: int = RELAY,
    level: Level = Level.V1,
    multicast: bool = True,
    compact: bool = False,
    delegated: bool = True,
    lifetime_s: int = 0,
    seed: bytes = b"street",
    channel: Channel | None = None,
    formed: bool = True,
) -> Street:
    """Return a street of `n` meters that are provisioned; unless told otherwise the ring's first START is in the air."""
    entropy = SeededEntropy(seed)
    witness = Witness()
    ours: Suite = WitnessedSuite(SUITES[suite], witness)
    root = ours.generate_signing_key(entropy.fork(AUTHORITY))
    trust_pin = Pin(identity(AUTHORITY), suite, root.public, Role.AUTHORITY)
    people = {GW: certified(GW, ours, None, entropy.fork("gw"), root)}
    names = [f"m{at}" for at in range(n)]
    people |= {name: certified(name, ours, people[GW], entropy.fork(name)) for name in names}
    sim = Simulator(seed, channel=channel)
    sim.witness = witness
    plan = RingPlan(mode, lifetime_s, multicast)
    ra = certified(AUTHORITY, ours, None, entropy.fork("ra"), root)
    trust = Trust((trust_pin,), {suite: ours})
    made = Street(
        sim, ours, b"\x67" * 8, plan, level, compact, delegated, people, ra, witness, entropy, trust, names=names
    )
    sim.add(GW, gateway_node(people[GW], trust), segment=GW, at_boot=((ring_of(made.gid), Resume()),))
    for name in names:
        _add_meter(made, name, trust)
    made.provision(*names, *([GW] if mode == EDGE else []))
    if formed:
        made.form()
    return made


def _add_meter(made: Street, name: str, trust: Trust | None = None) -> None:
    owner = made.people[name]
    known = trust or Trust((), {made.suite.id: made.suite})

    made.sim.add(name, meter_node(owner, known), segment=GW, at_boot=((membership_of(made.gid), Resume()),))
