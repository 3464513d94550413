"""How a city is founded: its clusters as the plan says, a gateway for each, and meters who move in and take their seats."""

from typing import Final

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.kdf import sha256
from keymote.crypto.suites import SUITES
from keymote.engine.chain import Trust
from keymote.engine.group.faces import Resume, ring_of
from keymote.engine.group.root_faces import FormRoot, root_gateway_of, root_of
from keymote.errors import CallerFault
from keymote.lab.city import CONTROL, City, Progress, silent
from keymote.lab.city_clusters import Authority, Cluster
from keymote.lab.city_costs import Plan
from keymote.lab.people import AUTHORITY, certified, gateway_node
from keymote.lab.simulator import Channel, Simulator
from keymote.wire.group import MOST

MOST_EVENTS: Final = 100_000_000


def city(
    meters: int,
    *,
    seed: bytes = b"city",
    suite: int = 1,
    most: int = MOST,
    multicast: bool = True,
    edge: bool = False,
    recording: bool = False,
    channel: Channel | None = None,
    progress: Progress = silent,
) -> City:
    """Return a city of so many meters, at least two clusters of them, who are provisioned; `form` is yet to be said.

    `most` members in a ring. `edge`: the gateways of the leaves are members of them as well, and their delegates, beside the
    meters. `recording` keeps what was on the air and on the disks.
    """
    entropy = SeededEntropy(seed)
    ours = SUITES[suite]
    root = ours.generate_signing_key(entropy.fork(AUTHORITY))
    ra = certified(AUTHORITY, ours, None, entropy.fork("ra"), root)
    sim = Simulator(seed, channel=channel or Channel(latency_s=0.002), recording=recording)
    sim.most_events = MOST_EVENTS
    made = City(
        sim, Authority(ra, ours), entropy, Trust((), {suite: ours}), sha256(b"root " + seed)[:8], multicast=multicast
    )
    sim.hear = made.hear
    plan = Plan.of(meters, most)
    if len(plan.levels) < 2:
        raise CallerFault(f"{meters} meters fit one ring; a city has at least two clusters", do="ask for more meters")
    for level, sizes in enumerate(plan.levels):
        made.levels.append([_cluster(made, level, at) for at in range(len(sizes))])
    made.people[CONTROL] = certified(CONTROL, ours, made.top.gateway, entropy.fork(CONTROL))
    _inhabit(made, plan, progress, edge=edge)
    top = made.top
    sim.command(top.gateway.name, root_gateway_of(made.gid_root), FormRoot(made.gid_root, top.gid, top.gateway.kid))
    return made


def _cluster(made: City, level: int, at: int) -> Cluster:
    """Return an empty cluster whose gateway is on."""
    name, gid = f"gw{level}.{at}", sha256(f"ring {level}.{at}".encode())[:8]
    gateway = certified(name, made.authority.suite, None, made.entropy.fork(name), made.authority.person.signing)
    at_boot = tuple((key, Resume()) for key in (root_gateway_of(made.gid_root), ring_of(gid), root_of(made.gid_root)))
    made.sim.add(name, gateway_node(gateway, made.trust), segment=name, at_boot=at_boot)
    empty = Cluster(level, at, gid, gateway, [])
    made.sim.reach.tune(name, gid, empty.segment)
    return empty


def _inhabit(made: City, plan: Plan, progress: Progress, *, edge: bool) -> None:
    """Let the meters move in, and take their seats: delegates of each level in the clusters of the next one."""
    number = 0
    for cluster, size in zip(made.levels[0], plan.levels[0], strict=True):
        if edge:
            made.people[cluster.gateway.name] = cluster.gateway
            made.enroot(cluster.gateway.name)
            made.seat(cluster, cluster.gateway.name)
        for _ in range(size):
            name = f"m{number}"
            number += 1
            made.move_in(name, cluster)
            made.seat(cluster, name)
        progress("meters", number, plan.meters)
    for below, level, sizes in zip(made.levels, made.levels[1:], plan.levels[1:], strict=False):
        seats = iter([cluster.delegate for cluster in below])
        for cluster, size in zip(level, sizes, strict=True):
            for _ in range(size):
                made.seat(cluster, next(seats))
