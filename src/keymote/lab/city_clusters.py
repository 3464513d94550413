"""A cluster of a city, and what the authority signs for it."""

from collections.abc import Mapping
from dataclasses import dataclass

from keymote.crypto.suite import Suite
from keymote.engine.group.charter import Charter
from keymote.lab.people import Person
from keymote.lab.scenes import YEARS
from keymote.lab.simulator import EPOCH
from keymote.wire.group import MOST, DelegationClaims, RosterClaims
from keymote.wire.group_signed import write


@dataclass(slots=True)
class Cluster:
    """A ring of the city: `names` of its members, the first two its delegate and deputy; `epoch` its newest one."""

    level: int
    at: int
    gid: bytes
    gateway: Person
    names: list[str]
    epoch: int = 0

    @property
    def delegate(self) -> str:
        return self.names[0]

    @property
    def deputy(self) -> str:
        return self.names[1]

    @property
    def segment(self) -> str:
        """The radio cell in which its members and its gateway hear each other."""
        return f"ring {self.gid.hex()}"


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs for the city, and the suite of all its keys."""

    person: Person
    suite: Suite

    def charter(self, cluster: Cluster) -> Charter:
        """Return what the members of a ring are provisioned with; the delegation tells them their gateway."""
        return Charter(cluster.gid, self.suite.id, self.person.kid, self.person.signing.public)

    def delegation(self, cluster: Cluster) -> bytes:
        """Return the delegation for the gateway of a ring."""
        gw = cluster.gateway
        claims = DelegationClaims(cluster.gid, gw.kid, gw.signing.public, EPOCH + YEARS, MOST)
        return write(self.person.signing, claims, kid=self.person.kid)

    def roster(self, cluster: Cluster, people: Mapping[str, Person], *, top: bool) -> bytes:
        """Return a ring's first roster, with the positions of its delegate and deputy; the `top` ring has neither."""
        entries = tuple(sorted(people[name].entry for name in cluster.names))
        delegate = deputy = None
        if not top:
            kids = [entry.kid for entry in entries]
            delegate, deputy = kids.index(people[cluster.delegate].kid), kids.index(people[cluster.deputy].kid)
        claims = RosterClaims(cluster.gid, 1, entries, delegate, deputy)
        return write(self.person.signing, claims, kid=self.person.kid)
