"""What others would do on the same devices and the same radio: the scripts of `lab.baselines` with sizes measured in this run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from keymote.bench.group_baselines import handshake, sizes
from keymote.bench.operations import Counts
from keymote.bench.reproduce.paper001.streets import Latency
from keymote.engine.base import Peer
from keymote.lab.baselines import SCHEMES, Event, Script, play
from keymote.lab.baselines.script import SERVER
from keymote.lab.energy import Cost, Kind, Profile, Traffic, cost
from keymote.lab.simulator import Channel

METER: Final = "paper-001-p256"
GATEWAY: Final = "gateway-p256"
CHANNEL: Final = Channel(0.005, 0.005)
SHOWN: Final = "m1"
"""The meter whose bytes and energy are given: an ordinary one, who commits to nothing."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One scheme in one event: its latency, all its bytes on the air, and what one meter sends, hears and computes."""

    name: str
    title: str
    event: Event
    latency: Latency
    octets: int
    operations: Counts
    traffic: Traffic
    kind: Kind

    def energy(self, device: Profile) -> Cost:
        return cost(device, self.operations, self.traffic)

    def as_json(self, device: Profile) -> dict[str, object]:
        spent = self.energy(device)
        return {
            "scheme": self.name,
            "title": self.title,
            "event": str(self.event),
            "latency": self.latency.as_json(),
            "bytes": self.octets,
            "meter": {
                "operations": dict(sorted(self.operations.items())),
                "sent": list(self.traffic.sent),
                "received": list(self.traffic.received),
                "energy_mj": round(spent.total_j * 1e3, 3),
            },
            "sizes": str(self.kind),
        }


def compared(
    ns: Sequence[int], runs: int, devices: Mapping[str, Profile], seed: bytes
) -> Mapping[tuple[str, Event, int], Compared]:
    """Return every scheme in every event for every size of a street."""

    def device(name: Peer) -> Profile:
        return devices[GATEWAY if name == SERVER else METER]

    found: dict[tuple[str, Event, int], Compared] = {}
    for n in ns:
        measured = sizes(n)
        for name, (title, make) in SCHEMES.items():
            for event in Event:
                script = make([f"m{at}" for at in range(n)], event, measured)
                seconds = [
                    play(script, device, CHANNEL, seed + f"{name} {event} {n} {run}".encode()).seconds
                    for run in range(runs)
                ]
                found[name, event, n] = Compared(
                    name,
                    title,
                    event,
                    Latency.of(n, seconds),
                    script.octets,
                    Counts(script.operations_of(SHOWN)),
                    _traffic(script, SHOWN),
                    handshake().kind if "tls" in name else Kind.MEASURED,
                )
    return found


def _traffic(script: Script, name: Peer) -> Traffic:
    sent = [flow.octets for flow in script.flows if flow.source == name]
    return Traffic(tuple(sent), tuple(flow.octets for flow in script.heard_by(name)))
