"""A city of meters: clusters of at most 32 under one root key, every cell the product's own (Triad-1 3.7).

Each cluster has a gateway in relay mode and a radio cell of its own; its delegate sits in a cluster of the next level as well.
What a coordinator and the managers would do (name delegates, bring ROOT to all gateways, tell a deputy of its new ring) the
city does by the commands that they have for it.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from keymote.crypto.entropy import SeededEntropy
from keymote.engine.base import Report
from keymote.engine.chain import Trust
from keymote.engine.group.faces import (
    HERE,
    Above,
    Amend,
    AskToLeave,
    FormRing,
    GroupReady,
    JoinGroup,
    Level,
    Locate,
    Rekey,
    Resume,
    RingPlan,
    membership_of,
    ring_of,
)
from keymote.engine.group.ring_states import RingCell
from keymote.engine.group.root_faces import (
    HandOn,
    JoinRoot,
    RatchetRoot,
    RootAnnounced,
    RootCharter,
    RootReady,
    root_gateway_of,
    root_of,
)
from keymote.engine.group.root_states import RootCell
from keymote.engine.group.states import MembershipCell
from keymote.lab.city_clusters import Authority, Cluster
from keymote.lab.city_costs import Plan
from keymote.lab.people import Person, certified, meter_node
from keymote.lab.simulator import Simulator
from keymote.lab.simulator.world import Harvest
from keymote.lab.sweep import spread
from keymote.wire.group import EDGE, RELAY
from keymote.wire.group_fields import Cause

LEFT: Final = 3
COMPROMISED: Final = 4
CONTROL: Final = "control"
"""Who may send to the whole city, besides the first delegates."""
PATIENCE_S: Final = 60.0
"""Virtual seconds within which every act of a city without losses must be over."""

Progress = Callable[[str, int, int], None]
"""(what is done, how many, of how many)."""


def silent(_what: str, _done: int, _of: int) -> None:
    return None


@dataclass(slots=True)
class City:
    """A city ready to act in. `levels[0]` are the clusters of meters, the last level is the top ring alone."""

    sim: Simulator
    authority: Authority
    entropy: SeededEntropy
    trust: Trust
    gid_root: bytes
    people: dict[str, Person] = field(default_factory=dict)
    levels: list[list[Cluster]] = field(default_factory=list)
    multicast: bool = True
    e: int = 0
    ready: Counter[tuple[bytes, int]] = field(default_factory=Counter)
    """(gid, epoch) -> members that have confirmed it; (gid_root, e) -> members that have the root key."""
    off: set[str] = field(default_factory=set)
    """Meters that are gone, and do not count any more."""

    # ------------------------------------------------------------------ who there is

    @property
    def top(self) -> Cluster:
        return self.levels[-1][0]

    @property
    def clusters(self) -> list[Cluster]:
        return [cluster for level in self.levels for cluster in level]

    @property
    def plan(self) -> Plan:
        """Return the sizes that the clusters have now."""
        return Plan(tuple(tuple(len(cluster.names) for cluster in level) for level in self.levels))

    @property
    def meters(self) -> list[str]:
        return [name for cluster in self.levels[0] for name in cluster.names]

    def leaf_of(self, name: str) -> Cluster:
        return next(cluster for cluster in self.levels[0] if name in cluster.names)

    def root_cell(self, name: str) -> RootCell:
        cell: RootCell = self.sim.hosts[name].cells[root_of(self.gid_root)]
        return cell

    def member_cell(self, name: str, cluster: Cluster) -> MembershipCell:
        cell: MembershipCell = self.sim.hosts[name].cells[membership_of(cluster.gid)]
        return cell

    def ring_cell(self, cluster: Cluster) -> RingCell:
        cell: RingCell = self.sim.hosts[cluster.gateway.name].cells[ring_of(cluster.gid)]
        return cell

    def agreed(self) -> bool:
        """Return whether every meter has the root key of the newest e, and all have the same."""
        cells = [self.root_cell(name) for name in self.meters]
        keys = {cell.lasting.key.key.expose() for cell in cells if cell.lasting.key is not None}
        return len(keys) == 1 and all(cell.lasting.e == self.e and cell.lasting.key is not None for cell in cells)

    def fork(self, label: str) -> "City":
        """Return a copy of this city whose future is its own."""
        sim = self.sim.fork(label)
        levels = [[replace(cluster, names=list(cluster.names)) for cluster in level] for level in self.levels]
        twin = replace(
            self, sim=sim, levels=levels, people=dict(self.people), ready=Counter(self.ready), off=set(self.off)
        )
        twin.entropy = self.entropy.fork(f"fork {label}")
        sim.hear = twin.hear
        return twin

    # ------------------------------------------------------------------ acts

    def form(self, progress: Progress = silent, processes: int = 1) -> None:
        """Form every ring, the leaves first and the top last, whose key makes the first root key.

        Leaves do not know of each other, so they can be formed in some `processes` at a time.
        """
        leaves, rings = self.levels[0], self.clusters
        there = leaves if processes > 1 else []
        for done, harvest in enumerate(spread(self._formed, range(len(there)), processes)):
            self.sim.adopt(harvest)
            progress("rings", done + 1, len(rings))
        for leaf in there:
            leaf.epoch = 1
        for done, cluster in enumerate(rings[len(there) :]):
            self._form(cluster)
            progress("rings", len(there) + done + 1, len(rings))
        self.await_root()

    def _formed(self, at: int) -> Harvest:
        """Form a leaf; return what has become of who is there."""
        leaf = self.levels[0][at]
        self._form(leaf)
        return self.sim.harvest(list({leaf.gateway.name, *leaf.names}))

    def _form(self, cluster: Cluster) -> None:
        signed = self.authority.roster(cluster, self.people, top=cluster is self.top)
        leader = cluster.gateway.name
        mode = EDGE if leader in cluster.names else RELAY
        plan = RingPlan(mode, 0, self.multicast, self.gid_root if cluster is self.top else b"")
        peers = {self.people[name].kid: HERE if name == leader else name for name in cluster.names}
        self.await_ring(
            cluster, FormRing(self.authority.charter(cluster), signed, plan, self.authority.delegation(cluster), peers)
        )

    def join(self, leaf: Cluster, name: str) -> None:
        """Let a new meter into a leaf: the leaf's run, and one step of the root key (backward secrecy)."""
        self.move_in(name, leaf)
        self.seat(leaf, name)
        self.await_ring(leaf, Amend(add=(self.people[name].entry,)))
        self.sim.command(self.top.gateway.name, root_gateway_of(self.gid_root), RatchetRoot())
        self.await_root()

    def leave(self, name: str) -> None:
        """Let an ordinary meter go at its own wish: the leaf's run, then the top ring's, and a fresh root key."""
        leaf = self.leaf_of(name)
        leaf.names.remove(name)
        self.off.add(name)
        self.sim.command(name, membership_of(leaf.gid), AskToLeave())
        self.await_ring(leaf)
        self.refresh(LEFT)

    def lose_delegate(self, name: str) -> None:
        """Let a delegate die: each ring in which it sat runs again with deputies in its places, then comes a fresh root key."""
        self.sim.hosts[name].lose_power()
        self.off.add(name)
        self.evict(name)

    def evict(self, name: str) -> None:
        """Take a meter out of every ring in which it sits, level 0 first; where it was delegate its deputy takes the places."""
        self.off.add(name)
        gone, promoted = self.people[name], ""
        seats = [cluster for cluster in self.clusters if name in cluster.names]
        for cluster in seats:
            heir = cluster.deputy if cluster.delegate == name else ""
            place = cluster.names.index(name)
            cluster.names[place : place + 1] = [promoted] if promoted else []
            add = (self.people[promoted].entry,) if promoted else ()
            if promoted:
                self.provision(promoted, cluster)
            if place == 0:  # the deputy comes first, whoever is new comes later
                cluster.names.remove(heir)
                cluster.names.insert(0, heir)
                if promoted:
                    cluster.names.remove(promoted)
                    cluster.names.append(promoted)
            self.await_ring(cluster, Amend(add=add, remove=(gone.kid,), reason=COMPROMISED))
            promoted = heir
        if self.top not in seats:
            self.refresh(COMPROMISED)
        else:
            self.await_root()

    def refresh(self, reason: int) -> None:
        """Make a fresh root key by a run of the top ring."""
        self.await_ring(self.top, Rekey(Cause(reason)))
        self.await_root()

    def announce(self) -> None:
        """Make a fresh root key, and let half a second pass after its ROOT, whoever gets the key."""
        self.await_ring(self.top, Rekey(Cause(COMPROMISED)))
        self.e += 1
        self.sim.run_for(0.5)

    # ------------------------------------------------------------------ how

    def await_ring(self, cluster: Cluster, command: FormRing | Amend | Rekey | None = None) -> None:
        """Say something to a ring's gateway, and let time pass until all members have confirmed the next epoch."""
        cluster.epoch += 1
        wanted = (cluster.gid, cluster.epoch)
        if command is not None:
            self.sim.command(cluster.gateway.name, ring_of(cluster.gid), command)
        self._await(lambda: self.ready[wanted] >= len(cluster.names), f"ring {cluster.level}.{cluster.at}")

    def await_root(self) -> None:
        """Let time pass until every meter has the next root key."""
        self.e += 1
        wanted, everybody = (self.gid_root, self.e), sum(name not in self.off for name in self.meters)
        self._await(lambda: self.ready[wanted] >= everybody, f"root key {self.e}")

    def _await(self, reached: Callable[[], bool], what: str) -> None:
        if not self.sim.run_until(reached, PATIENCE_S):
            raise RuntimeError(f"{what} is not agreed on within {PATIENCE_S} s")
        self.sim.run_for(0.1)  # what is in the air still arrives

    def hear(self, name: str, report: Report) -> None:
        """Be the application of everybody: count who is ready, and bring each ROOT to the gateways of all rings."""
        match report:
            case GroupReady(gid, epoch) if name not in self.off:
                self.ready[gid, epoch] += 1
            case RootReady(gid_root, e) if name not in self.off:
                self.ready[gid_root, e] += 1
            case RootAnnounced(root=root):
                for cluster in self.clusters[:-1]:
                    self.sim.command(cluster.gateway.name, ring_of(cluster.gid), HandOn(root))

    # ------------------------------------------------------------------ who moves in

    def move_in(self, name: str, leaf: Cluster) -> None:
        """Put a meter into the city, with a key and a credential, and the root group provisioned."""
        self.people[name] = certified(name, self.authority.suite, leaf.gateway, self.entropy.fork(name))
        at_boot = ((root_of(self.gid_root), Resume()),)
        self.sim.add(name, meter_node(self.people[name], self.trust), segment=name, at_boot=at_boot)
        self.enroot(name)

    def enroot(self, name: str) -> None:
        """Let a node take part in the root group; after that it may be given seats in rings."""
        head = self.top.gateway
        charter = RootCharter(self.gid_root, self.authority.suite.id, head.kid, head.signing.public)
        wish = JoinRoot(charter, self.people[name].kid, (self.people[CONTROL].entry,))
        self.sim.command(name, root_of(self.gid_root), wish)

    def provision(self, name: str, cluster: Cluster) -> None:
        """Tell a meter that it belongs to a ring, and the ring's gateway where it listens."""
        host, key, leader = self.sim.hosts[name], membership_of(cluster.gid), cluster.gateway.name
        if (name, cluster.gid) not in self.sim.reach.tuned:
            self.sim.reach.tune(name, cluster.gid, cluster.segment)
        if (key, Resume()) not in host.at_boot:
            host.at_boot = (*host.at_boot, (key, Resume()))
        above = Above(self.gid_root, top=cluster is self.top)
        place = HERE if name == leader else leader
        wish = JoinGroup(
            self.authority.charter(cluster), self.people[name].kid, place, Level.V1, self.multicast, above=above
        )
        self.sim.command(name, key, wish)
        if cluster.epoch:
            self.sim.command(leader, ring_of(cluster.gid), Locate({self.people[name].kid: name}))

    def seat(self, leaf: Cluster, name: str) -> None:
        """Give a meter a place in a cluster, in which no run with it has been begun."""
        self.provision(name, leaf)
        leaf.names.append(name)
